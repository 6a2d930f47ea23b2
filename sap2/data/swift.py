"""ms-swift messages, the format of the public metadata (jymh/SAP2-ASR): JSONL, or a JSON array, one file per part.

    {"messages": [
       {"role": "user", "content": "<audio>/a.wav</audio>Transcribe … <|startofcontext|>k1, k2<|endofcontext|>"},
       {"role": "assistant", "content": "transcribed text"}],
     "audios": "/a.wav"}

Both forms are read row by row, so memory use does not depend on the file's size.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from sap2.data.audio import sliced
from sap2.data.entries import Entry, Read, confined, text_lines
from sap2.data.quarantine import Rejected
from sap2.errors import InputError
from sap2.files import write_jsonl
from sap2.manifest import Utterance, audio_path, from_swift, spoken, stream_manifest, to_swift
from sap2.params import CorpusSource, PrepareSection, SwiftSource

__all__ = ["ExportLists", "export", "json_rows", "part_files", "read"]

ExportLists = Literal["full", "spoken", "predicted"]

BLOCK = 1 << 20  # characters read at once
LONGEST_ROW = 16 << 20  # characters


def read(section: PrepareSection) -> tuple[Read, dict[str, Any]]:
    """Read the entries of all parts; a part is a file under `prepare.swift.root`.

    Raises: InputError: a file is missing; while reading, it is not JSON.
    """
    settings: SwiftSource = section.settings
    return _entries(settings, part_files(settings, "swift")), {"title": "ms-swift messages"}


def part_files(settings: CorpusSource, source: str) -> list[tuple[str, Path]]:
    """Return `(split, file)` of each part, where parts are files under `root`.

    Raises: InputError: a file is missing.
    """
    files = [(split, Path(settings.root) / part) for split, part in settings.parts()]
    for _, file in files:
        if not file.is_file():
            raise InputError(f"{file}: no such file; correct root, train, dev or test of prepare.{source}")
    return files


def export(manifest: Path, output: Path, stage: Literal["pruner", "recogniser"], lists: ExportLists) -> int:
    """Write a manifest as message rows (JSONL) atomically; return the number of rows.

    Each row also has what messages cannot hold: id, duration, speaker, talk and the keyword list, so that reading it
    gives the same utterances. Audio paths become absolute.
    Raises: InputError: a row is not an utterance, or has no pruner output although `lists` is "predicted".
    """
    return write_jsonl(output, (_message(utterance, manifest, stage, lists) for utterance in stream_manifest(manifest)))


def _message(utterance: Utterance, manifest: Path, stage: Literal["pruner", "recogniser"], lists: ExportLists) -> dict:
    if lists == "predicted" and utterance.predicted is None:
        raise InputError(f'{manifest} ({utterance.id}): has no `predicted` list; run "sap2 prune", export data/pruned')
    if sliced(utterance.audio):
        raise InputError(
            f"{manifest} ({utterance.id}): its recording is in a shard, which messages cannot name; prepare without "
            "prepare.shard_size"
        )
    keywords = {"full": utterance.keywords, "spoken": spoken(utterance), "predicted": utterance.predicted}[lists]
    row = to_swift(utterance.with_audio(audio_path(utterance, manifest).resolve()), stage, keywords)
    about = {"keywords": keywords, "speaker": utterance.speaker, "talk": utterance.talk}
    return row | {name: value for name, value in about.items() if value is not None}


def _entries(settings: SwiftSource, files: list[tuple[str, Path]]) -> Read:
    root = Path(settings.root)
    for split, file in files:
        for where, row in json_rows(file):
            yield row if isinstance(row, Rejected) else _entry(row, where, split, root, settings.audio_prefix)


def _entry(row: dict[str, Any], where: str, split: str, root: Path, prefixes: dict[str, str]) -> Entry | Rejected:
    id = str(row.get("id") or "")
    try:
        # Without a duration in the row it is read from the recording; 1 is a placeholder that passes the check.
        utterance = from_swift(row, duration=1.0)
        stored = utterance.audio
        path = next((to + stored.removeprefix(old) for old, to in prefixes.items() if stored.startswith(old)), stored)
        audio = confined(root, path)
        keywords = row.get("keywords", utterance.keywords)  # unlike the messages, this list is unambiguous
        if not isinstance(keywords, list) or not all(isinstance(word, str) for word in keywords):
            raise ValueError(f"unusable keyword: expected a list of strings, got {keywords!r}")
    except (InputError, ValueError) as fault:
        return Rejected(id, where, str(fault))
    except (AttributeError, KeyError, TypeError) as fault:
        return Rejected(id, where, f"not a message row: {type(fault).__name__}: {fault}")
    return Entry(
        id=utterance.id,
        location=where,
        audio=audio,
        text=utterance.text,
        keywords=tuple(keywords),
        split=split,
        speaker=row.get("speaker"),
        talk=row.get("talk"),
        duration=utterance.duration if "duration" in row else None,
    )


def json_rows(path: Path) -> Iterator[tuple[str, dict[str, Any] | Rejected]]:
    """Yield `(FILE:ROW, object)` of a JSON array of objects, or of one object per line, read block by block.

    An unusable line is a `Rejected`; in a broken array the start of the next row is unknown.
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
    except (ValueError, RecursionError) as error:
        return Rejected("", where, f"not JSON: {error}")
    return row if isinstance(row, dict) else Rejected("", where, f"not a JSON object: got {type(row).__name__}")


def _array(file, path: Path) -> Iterator[tuple[str, dict[str, Any] | Rejected]]:
    """Yield the rows of an array after its opening bracket; `text[at:]` is not yet decoded."""
    decoder, text, at, number = json.JSONDecoder(), "", 0, 0
    separators = re.compile(r"[\s,]*")
    while True:
        at = separators.match(text, at).end()  # type: ignore[union-attr]  # matches the empty text, too
        if text.startswith("]", at):
            return
        try:
            row, end = decoder.raw_decode(text, at)
        except (ValueError, RecursionError) as error:
            more = file.read(BLOCK)
            if not more or len(text) - at > LONGEST_ROW:
                raise InputError(f"{path}: row {number + 1}: the array is broken or ends early ({error})") from error
            text, at = text[at:] + more, 0
            continue
        number += 1
        where = f"{path}:row {number}"
        yield (
            where,
            row if isinstance(row, dict) else Rejected("", where, f"not a JSON object: got {type(row).__name__}"),
        )
        at = end
