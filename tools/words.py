"""Find wordings that are not plain technical English: `python tools/words.py` prints each with its line and reason.

Each rule is a regular expression with what to write instead. A rule belongs here once the project is free of its
matches; a file that still has some stands in REMAINING until it is rewritten.
"""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent
ENDINGS = {".py", ".md", ".yaml", ".yml", ".toml", ".html", ".j2", ".js", ".css", ""}
# What earlier versions wrote, what others publish, the changelog of past versions, and this file's own rules.
LEFT_OUT = (
    "tests/formats/",
    "sap2/assets/",
    "tools/words.py",
    "tests/test_words.py",
    "LICENSE",
    "NOTICE",
    "requirements.lock",
)


class Rule(NamedTuple):
    """A wording that must not appear."""

    pattern: str
    instead: str  # the reason, as what to write


RULES = [
    Rule(
        r"\b(?:is|are|was|were) no (?:JSON|SQLite|WAV|YAML|CSV|PDF|ZIP|TOML|stage|manifest)\b", '"is not a JSON object"'
    ),
    Rule(r"\btold (?:by|of)\b", '"is detected from", "is informed of": say which program does what'),
    Rule(r"\bin the place of\b", '"instead of"'),
    Rule(r"\bso many\b(?! (?:that|as)\b)", '"at most N", "this many", or the parameter that holds the number'),
    Rule(r"\bbeforehand\b", '"first", "before TRAINING starts": before what?'),
    Rule(r"\bone's own\b", '"your own"'),
    Rule(r"\b(?:nobody|no one) meant\b", '"malformed"'),
    Rule(r"\bmade anew\b", '"recreated"'),
    Rule(r"\bmend(?:s|ed|ing)?\b", '"fix", "repair", "recover"'),
    Rule(
        r"\b(?:whither|thereof|therein|wherein|whereof)\b",
        "a current word: from which, of it, in it",
    ),
    Rule(
        r"\b(?:Utterable|_look_at_the_machine)\b",
        "a name of the field: EncodedAudio, AudioInput, _log_system_metrics",
    ),
]
REMAINING: dict[str, set[str]] = {}  # a rule's pattern: files that still break it


class Finding(NamedTuple):
    """A wording that breaks a rule."""

    path: str
    line: int
    words: str
    rule: Rule


def findings(path: str, text: str) -> Iterator[Finding]:
    """What breaks a rule in a file's text; lines are joined, as a wording may be split between two."""
    for rule in RULES:
        if path in REMAINING.get(rule.pattern, ()):
            continue
        pattern = rule.pattern.replace(" ", r"(?:\s|\n[ \t]*#[ \t])+")
        for match in re.finditer(pattern, text):
            words = " ".join(match.group().replace("#", "").split())
            yield Finding(path, text.count("\n", 0, match.start()) + 1, words, rule)


def tracked() -> list[str]:
    """Files of the project that people read, by git."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    wanted = [name for name in names if Path(name).suffix in ENDINGS and not name.startswith(LEFT_OUT)]
    return [name for name in wanted if (ROOT / name).is_file()]


def main() -> int:
    """Print every finding; 1 if there is one."""
    found = [one for name in tracked() for one in findings(name, (ROOT / name).read_text(encoding="utf-8"))]
    for path, line, words, rule in found:
        print(f'{path}:{line}: "{words}"; write {rule.instead}')
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())
