"""docs/tutorial.md: its commands run as written, in a copy of the repository after `dvc repro`."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8")


@pytest.mark.slow  # runs the pipeline with the profile `test` first
def test_every_command_of_the_tutorial_runs_as_written(tmp_path, environment, repository, reproduced):
    folder = tmp_path / "clone"
    folder.mkdir()
    for name in ("params.yaml", "data", "models"):
        source = repository / name
        shutil.copytree(source, folder / name) if source.is_dir() else shutil.copy(source, folder)
    script = "".join(re.findall(r"^```sh\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE))
    assert script.count("sap2 ") >= 6
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script], cwd=folder, text=True, capture_output=True,
        env={**environment, "PYTHONPATH": str(ROOT), "PATH": f"{Path(sys.executable).parent}:{environment['PATH']}"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    keywords = (folder / "my_talk" / "keywords.tsv").read_text(encoding="utf-8")
    assert {"Kathryn Meyer", "Zorvan", "GPT-4"} <= {line.split("\t")[1] for line in keywords.splitlines()[1:]}
    assert (folder / "my_talk" / "talk.md").stat().st_size
    card = json.loads((folder / "data" / "prepared" / "card.json").read_text(encoding="utf-8"))
    assert sum(split["utterances"] for split in card["splits"].values()) == 6
    assert "B-WER 100.00" in re.sub(r" +", " ", done.stdout)
    assert "<html" in (folder / "my_talk" / "report.html").read_text(encoding="utf-8")


def test_the_tutorial_needs_only_files_of_make_repro():
    used = set(re.findall(r"\b((?:data|models)/[\w./-]+)", PAGE))
    assert used and all(name.startswith(("data/prepared", "data/lists")) for name in used)
    assert os.path.basename(__file__) in PAGE
