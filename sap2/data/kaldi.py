"""Reader of Kaldi data folders, one folder per part: wav.scp and text, optionally segments, utt2spk and keywords.

wav.scp    rec1 wav/rec1.flac          relative to `root`, or absolute within it; commands are not run
segments   rec1-0001 rec1 12.30 15.85  optional; without it a recording is an utterance
text       rec1-0001 THE NEXT SLIDE
utt2spk    rec1-0001 anna              optional
keywords   rec1-0001 zorvan, meyer     optional, not Kaldi's: separated by commas, or by $ as in SlideSpeech
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sap2.data.entries import Entry, Read, confined, fields_by_id, part_folder
from sap2.data.quarantine import Rejected
from sap2.errors import InputError
from sap2.params import CorpusSource, PrepareSection

__all__ = ["Recordings", "Tables", "data_folder", "listed", "read", "scp_recordings"]

Recordings = dict[str, tuple[str, str]]  # id of a recording: location of its line, and its path


@dataclass
class Tables:
    """The tables of a data folder, by id; values are (location, rest of the line)."""

    text: dict[str, tuple[str, str]]
    segments: dict[str, tuple[str, str]]
    speakers: dict[str, tuple[str, str]]
    keywords: dict[str, tuple[str, str]]
    rejected: list[Rejected]


def read(section: PrepareSection) -> tuple[Read, dict[str, Any]]:
    """Read the entries of all parts.

    Raises: InputError: a part has no text or no wav.scp.
    """
    settings: CorpusSource = section.settings
    return _entries(Path(settings.root), settings.parts()), {"title": "Kaldi data folders"}


def _entries(root: Path, parts: list[tuple[str, str]]) -> Read:
    for split, part in parts:
        folder = part_folder(root, part, "kaldi")
        recordings, rejected = scp_recordings(folder)
        yield from rejected
        yield from data_folder(folder, root, split, recordings)


def scp_recordings(folder: Path) -> tuple[Recordings, list[Rejected]]:
    """Read a folder's wav.scp: its recordings, and the rejected lines."""
    return fields_by_id(folder / "wav.scp")


def data_folder(folder: Path, root: Path, split: str, recordings: Recordings) -> Read:
    """Yield a folder's utterances in the order of its text; each line gives an entry or a rejection."""
    tables = _tables(folder)
    yield from tables.rejected
    for id, (where, text) in tables.text.items():
        try:
            yield _entry(id, where, text.lower(), root, split, recordings, tables)
        except ValueError as fault:
            yield Rejected(id, where, str(fault))
    for id in tables.segments.keys() - tables.text.keys():
        yield Rejected(id, tables.segments[id][0], "no transcript: the segment is not in text")


def _tables(folder: Path) -> Tables:
    if not (folder / "text").is_file():
        raise InputError(
            f"{folder / 'text'}: no such file; expected a Kaldi data folder, with one ID TEXT per line here"
        )
    tables, rejected = {}, []
    for name in ("text", "segments", "utt2spk", "keywords"):
        tables[name], faults = fields_by_id(folder / name) if (folder / name).is_file() else ({}, [])
        rejected += faults
    return Tables(tables["text"], tables["segments"], tables["utt2spk"], tables["keywords"], rejected)


def _entry(id: str, where: str, text: str, root: Path, split: str, recordings: Recordings, tables: Tables) -> Entry:
    recording, start, end = id, 0.0, None
    if tables.segments:
        if id not in tables.segments:
            raise ValueError("no segment: the id is not in segments")
        recording, start, end = segment(tables.segments[id][1])
    if recording not in recordings:
        raise ValueError(f"no audio file: the recording {recording} is not in wav.scp")
    path = recordings[recording][1]
    if path.endswith("|"):
        raise ValueError(f"a command in wav.scp: {path[:60]}: commands are not run; write its output to a file")
    if re.search(r"\.ark:\d+$", path):
        raise ValueError(f"an archive in wav.scp: {path}: name the audio files themselves")
    return Entry(
        id=id,
        location=where,
        audio=confined(root, path),
        text=text,
        keywords=listed(tables.keywords.get(id, ("", ""))[1]),
        split=split,
        speaker=tables.speakers.get(id, ("", ""))[1] or None,
        talk=recording if tables.segments else None,
        start=start,
        end=end,
    )


def segment(rest: str) -> tuple[str, float, float | None]:
    """Parse a line of segments: `(recording, start, end)` in seconds; -1 means the end of the recording.

    Raises: ValueError: the line is malformed.
    """
    parts = rest.split()
    try:
        recording, start, end = parts[0], float(parts[1]), float(parts[2])
    except (IndexError, ValueError):
        raise ValueError(f"a broken segment: {rest!r}, expected RECORDING START END in seconds") from None
    if not (0 <= start < end or end == -1):
        raise ValueError(f"a broken segment: from {start:g} s to {end:g} s")
    return recording, start, None if end == -1 else end


def listed(text: str) -> tuple[str, ...]:
    """Split a line into lower-case keywords.

    >>> listed("ZORVAN$DEEP MEYER"), listed("zorvan, deep meyer")
    (('zorvan', 'deep meyer'), ('zorvan', 'deep meyer'))
    """
    return tuple(word.strip().lower() for word in re.split(r"[$,]", text) if word.strip())
