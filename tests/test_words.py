"""Lint of wordings: its findings, and that the project has none."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TOOL = ROOT / "tools" / "words.py"


@pytest.fixture(scope="module")
def words():
    spec = importlib.util.spec_from_file_location("words", TOOL)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("x\nmlruns.db is no SQLite file", [(2, "is no SQLite")]),
        ("is not a SQLite database; there is no file", []),
        ("# text in the\n    # place of a name", [(1, "in the place of")]),
        ("at most so many words; so many that it fails", [(1, "so many")]),
        ("amends recommended", []),
        ("the file and the rows thereof", [(1, "thereof")]),
    ],
)
def test_a_wording_is_found_with_its_line(words, text, expected):
    assert [(finding.line, finding.words) for finding in words.findings("a.py", text)] == expected


def test_files_in_remaining_are_skipped(words, monkeypatch):
    rule = next(rule for rule in words.RULES if "one's own" in rule.pattern)
    monkeypatch.setitem(words.REMAINING, rule.pattern, {"old.md"})
    assert [len(list(words.findings(path, "one's own"))) for path in ("old.md", "new.md")] == [0, 1]


def test_the_project_breaks_no_rule():
    if not (ROOT / ".git").exists():
        pytest.skip("files are listed by git, and this is no clone")
    done = subprocess.run([sys.executable, TOOL], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")
