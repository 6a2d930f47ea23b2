"""Record of a run: a JSON file replaced atomically after every row, so that an interrupted run keeps its rows."""

import json
import os
import sys
from datetime import UTC, datetime
from pathlib import Path

from packages import ROOT
from report import markdown

RECORDS, REPORT, LOG = "records.json", "report.md", "log.txt"


class Records:
    """Rows by part in `records.json`, as tables in `report.md`; tracebacks in `log.txt`.

    Args:
        folder: Output folder; created if missing.
        settings: Options of the run.
    """

    def __init__(self, folder: Path, **settings):
        from sap2.tracking.provenance import code_state

        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        (folder / LOG).unlink(missing_ok=True)
        self.content = {
            "command": " ".join(["python", *sys.argv]),
            **code_state(ROOT),
            "date": datetime.now(UTC).date().isoformat(),
            **settings,
            "parts": [],
        }
        self.write()

    def start(self, part: str) -> None:
        self.content["parts"].append({"part": part, "state": "running", "rows": []})
        self.write()

    def row(self, figures: dict) -> None:
        """Add a row to the current part."""
        self.content["parts"][-1]["rows"].append(figures)
        self.write()

    def end(self, state: str, seconds: float, reason: str = "") -> None:
        """End the current part.

        Args:
            state: `done`, `done with errors`, `failed`, `out of time`, `interrupted` or `skipped`.
            reason: Reason for any state other than `done`.
        """
        self.content["parts"][-1] |= {"state": state, "seconds": round(seconds, 1)} | (
            {"reason": reason} if reason else {}
        )
        self.write()

    def log(self, text: str) -> None:
        with (self.folder / LOG).open("a", encoding="utf-8") as log:
            log.write(text.rstrip() + "\n\n")

    def write(self) -> None:
        _replace(self.folder / RECORDS, json.dumps(self.content, indent=1) + "\n")
        _replace(self.folder / REPORT, markdown(self.content))


def _replace(path: Path, text: str) -> None:
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(text, encoding="utf-8")
    os.replace(partial, path)
