"""Entries, which corpus readers yield: a recording as its source names it, or the reason for rejecting it.

    reader (one module per corpus) --Entry | Rejected--> ingest --> manifests, audio, quarantine

A reader only handles its corpus's layout, not audio or manifests; what all corpora share is here and in `ingest`.
"""

import os
import re
import stat
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from sap2.constants import SPLITS, Seconds
from sap2.data.quarantine import Rejected
from sap2.errors import InputError

__all__ = [
    "SPLITS",
    "Entry",
    "Read",
    "confined",
    "fields_by_id",
    "part_folder",
    "plain_words",
    "spoken_symbols",
    "text_lines",
]


LONGEST_LINE = 1 << 20  # bytes; a longer line is no transcript


@dataclass(frozen=True)
class Entry:
    """A recording, or a span of a longer recording, before its audio is read.

    >>> Entry("talk3-0007", "talks/list.tsv:8", Path("talks/talk3-0007.flac"), "the next slide").split
    """

    id: str
    location: str  # file and line, for messages
    audio: Path | bytes  # a file, or a file's content where the corpus packs many into one
    text: str
    keywords: tuple[str, ...] = ()
    split: str | None = None  # None: assigned by a hash of talk or id
    speaker: str | None = None
    talk: str | None = None
    start: Seconds = 0.0  # of a span within the recording
    end: Seconds | None = None  # None: its end
    duration: Seconds | None = None  # from the source; used where audio is not decoded


Read = Iterator[Entry | Rejected]


def text_lines(path: Path, location: str | None = None) -> Iterator[tuple[str, str | Rejected]]:
    """Yield `(FILE:LINE, text)` of each non-blank line; a line that is too long or not UTF-8 is a `Rejected`.

    A byte order mark and Windows line ends are removed. Memory use does not depend on the file's size.
    Raises: InputError: the file is missing.
    """
    try:
        file = path.open("rb")
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); correct the path") from error
    with file:
        number = 0
        while line := file.readline(LONGEST_LINE + 1):
            number += 1
            where = f"{location or path}:{number}"
            if len(line) > LONGEST_LINE:
                while line and not line.endswith(b"\n"):
                    line = file.readline(LONGEST_LINE)
                yield where, Rejected("", where, f"the line is too long: more than {LONGEST_LINE:,} bytes")
                continue
            try:
                text = line.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
            except UnicodeDecodeError as error:
                reason = f"not UTF-8: {error.reason} at byte {error.start} of the line; save the file as UTF-8"
                yield where, Rejected("", where, reason)
                continue
            if text.strip():
                yield where, text


def fields_by_id(path: Path) -> tuple[dict[str, tuple[str, str]], list[Rejected]]:
    """Read Kaldi's table format, `ID REST` per line: `{id: (FILE:LINE, rest)}`, and the rejected lines."""
    fields: dict[str, tuple[str, str]] = {}
    rejected: list[Rejected] = []
    for where, line in text_lines(path):
        if isinstance(line, Rejected):
            rejected.append(line)
            continue
        id, _, rest = line.strip().partition(" ") if "\t" not in line else line.strip().partition("\t")
        if id in fields:
            rejected.append(Rejected(id, where, f"duplicate id: also at {fields[id][0]}, which is kept"))
        else:
            fields[id] = (where, rest.strip())
    return fields, rejected


def confined(root: Path, path: Path | str, kind_of_file: str = "audio file") -> Path:
    """Resolve `path`, relative to `root` unless absolute; it must lie within `root`, also after following links.

    Raises: ValueError: the file is missing or outside `root`; the message is the quarantine's reason.
    """
    folder, name = os.path.split(os.path.join(root, path))
    try:
        resolved = os.path.join(_real_folder(folder), name)
        kind = os.lstat(resolved).st_mode if name not in ("", ".", "..") else 0
        if not stat.S_ISREG(kind):  # a link, a folder, or dots at the end
            resolved = os.path.realpath(resolved, strict=True)
            kind = os.stat(resolved).st_mode
    except FileNotFoundError:
        resolved, kind = os.path.realpath(os.path.join(root, path)), 0
    except (OSError, RuntimeError, ValueError) as error:  # a loop of links, a name too long, a zero byte
        raise ValueError(f"unusable path: {str(path)[:200]!r}: {error}") from error
    if not resolved.startswith(os.path.join(_real_folder(str(root)), "")):
        raise ValueError(f"the path escapes the folder: {path}")
    if not stat.S_ISREG(kind):
        raise ValueError(f"no {kind_of_file}: {path} is not in the folder")
    return Path(resolved)


@lru_cache(maxsize=4096)  # a corpus has few folders of recordings
def _real_folder(folder: str) -> str:
    return os.path.realpath(folder, strict=True)


def part_folder(root: Path, part: str, source: str) -> Path:
    """Return the folder of a corpus part.

    Raises: InputError: the folder is missing; the message lists what is there instead.
    """
    folder = root / part
    if folder.is_dir():
        return folder
    if not root.is_dir():
        raise InputError(f"{root}: no such folder; set prepare.{source}.root to the corpus's folder")
    there = ", ".join(sorted(path.name for path in root.iterdir())[:12]) or "nothing"
    raise InputError(f"{folder}: no such folder; {root} holds {there}; correct train, dev or test of prepare.{source}")


def plain_words(text: str) -> str:
    """Normalise written text to a reference transcript: lower-case words without punctuation.

    >>> plain_words("Dr. Meyer's well-known talk, part 2!")
    "dr meyer's well-known talk part 2"
    """
    words = unicodedata.normalize("NFC", text).lower().replace("’", "'")
    words = re.sub(r"[^\w'\-\s]|_", " ", words)
    return " ".join(word.strip("'-") for word in words.split() if word.strip("'-"))


def spoken_symbols(text: str) -> list[str]:
    """Return the symbols of a text that are spoken but that `plain_words` removes, in order.

    >>> spoken_symbols("$30 & 5% more -- that's all.")
    ['$', '&', '%']
    """
    return [
        symbol for symbol in unicodedata.normalize("NFC", text)
        if symbol in "%‰&@#§" or (unicodedata.category(symbol) in ("Sc", "Sm", "So") and symbol not in "|~")
    ]  # fmt: skip
