"""The record of a run: a JSON file that is replaced whole after every row, so that a cut run keeps what it had."""

import json
import os
import sys
from datetime import UTC, datetime
from pathlib import Path

from report import markdown
from rooms import ROOT

RECORDS, REPORT, LOG = "records.json", "report.md", "log.txt"


class Records:
    """Rows by part in `records.json`, as tables in `report.md`; tracebacks in `log.txt`.

    Args:
        folder: Where they are written; made when it is not there.
        settings: What the run was started with.
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
        """Add a row to the part that was started last."""
        self.content["parts"][-1]["rows"].append(figures)
        self.write()

    def end(self, state: str, seconds: float, reason: str = "") -> None:
        """End the part that was started last.

        Args:
            state: `done`, `done with errors`, `failed`, `out of time`, `interrupted` or `skipped`.
            reason: Why it is not `done`.
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
