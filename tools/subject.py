"""Check the subject of a commit message, as a hook of git: `room: effect`, at most 72 characters."""

import re
import sys
from pathlib import Path

LONGEST = 72
MADE_BY_GIT = ("Merge ", "Revert ", "fixup! ", "squash! ")


def fault(message: str) -> str | None:
    """What is wrong with a message's first line; None: nothing."""
    lines = [line for line in message.splitlines() if not line.startswith("#")]
    subject = lines[0] if lines else ""
    if subject.startswith(MADE_BY_GIT):
        return None
    if len(subject) > LONGEST:
        return f"the subject has {len(subject)} characters, expected at most {LONGEST}; move the rest to the body"
    if not re.match(r"[\w.,/ -]+: \S", subject):
        return f"the subject is {subject!r}, expected ROOM: EFFECT, as in 'evaluation: count an inserted word'"
    if len(lines) > 1 and lines[1].strip():
        return "the second line is not empty; leave a blank line between subject and body"
    return None


if __name__ == "__main__":
    if wrong := fault(Path(sys.argv[1]).read_text(encoding="utf-8")):
        sys.exit(f"commit message: {wrong}")
