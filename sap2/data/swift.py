"""ms-swift messages, the format of the public metadata (jymh/SAP2-ASR): JSONL, or one JSON array, a part a file.

    {"messages": [
       {"role": "user", "content": "<audio>/a.wav</audio>Transcribe … <|startofcontext|>k1, k2<|endofcontext|>"},
       {"role": "assistant", "content": "transcribed text"}],
     "audios": "/a.wav"}

Rows pass one by one, from either form, whatever the file's size.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sap2.data.entries import Entry, Read, confined, text_lines
from sap2.data.quarantine import Rejected
from sap2.errors import InputError
from sap2.manifest import from_swift
from sap2.params import PrepareSection, SwiftSource

__all__ = ["json_rows", "read"]

BLOCK = 1 << 20  # characters read at once
LONGEST_ROW = 16 << 20  # characters


def read(section: PrepareSection) -> tuple[Read, dict[str, Any]]:
    """The entries of all parts; a part is a file under `prepare.swift.root`.

    Raises: InputError: a file is missing; while reading, it is no JSON.
    """
    settings = section.swift
    for _, part in settings.parts():
        if not (Path(settings.root) / part).is_file():
            raise InputError(
                f"{Path(settings.root) / part}: no such file; correct prepare.swift (root, train, dev, test)"
            )
    return _entries(settings), {"title": "ms-swift messages"}


def _entries(settings: SwiftSource) -> Read:
    root = Path(settings.root)
    for split, part in settings.parts():
        for where, row in json_rows(root / part):
            yield row if isinstance(row, Rejected) else _entry(row, where, split, root, settings.audio_prefix)


def _entry(row: dict[str, Any], where: str, split: str, root: Path, prefixes: dict[str, str]) -> Entry | Rejected:
    id = str(row.get("id") or "")
    try:
        # The length is the recording's to tell where the row does not; 1 only lets the row through its own check.
        one = from_swift(row, duration=1.0)
        path = next(
            (to + one.audio.removeprefix(old) for old, to in prefixes.items() if one.audio.startswith(old)), one.audio
        )
        audio = confined(root, path)
    except (InputError, ValueError) as fault:
        return Rejected(id, where, str(fault))
    return Entry(
        id=one.id,
        location=where,
        audio=audio,
        text=one.text,
        keywords=tuple(one.keywords),
        split=split,
        speaker=row.get("speaker"),
        talk=row.get("talk"),
        duration=row.get("duration"),
    )


def json_rows(path: Path) -> Iterator[tuple[str, dict[str, Any] | Rejected]]:
    """`(FILE:ROW, object)` of a JSON array of objects, or of objects a line, read a block at a time.

    A line that cannot be used comes as a `Rejected`; within an array nothing tells where the next row starts.
    Raises: InputError: an array is broken or ends early.
    """
    with path.open(encoding="utf-8-sig", errors="surrogateescape") as file:
        start = file.read(1)
        while start.isspace():
            start = file.read(1)
        if start == "[":
            yield from _array(file, path)
            return
    for where, line in text_lines(path):
        yield where, line if isinstance(line, Rejected) else _object(line, where)


def _object(line: str, where: str) -> dict[str, Any] | Rejected:
    try:
        row = json.loads(line)
    except (json.JSONDecodeError, RecursionError) as error:
        return Rejected("", where, f"not JSON: {error}")
    return row if isinstance(row, dict) else Rejected("", where, f"no JSON object: got {type(row).__name__}")


def _array(file, path: Path) -> Iterator[tuple[str, dict[str, Any] | Rejected]]:
    """Rows of an array whose bracket was read. `text[at:]` is what is still to be decoded."""
    decoder, text, at, number = json.JSONDecoder(), "", 0, 0
    separators = re.compile(r"[\s,]*")
    while True:
        at = separators.match(text, at).end()
        if text.startswith("]", at):
            return
        try:
            row, end = decoder.raw_decode(text, at)
        except ValueError as error:
            more = file.read(BLOCK)
            if not more or len(text) - at > LONGEST_ROW:
                raise InputError(f"{path}: row {number + 1}: the array is broken or ends early ({error})") from error
            text, at = text[at:] + more, 0
            continue
        number += 1
        where = f"{path}:row {number}"
        yield where, row if isinstance(row, dict) else Rejected("", where, f"no JSON object: got {type(row).__name__}")
        at = end
