r"""A folder of audio files with one TSV table, to manifests: the reader for your own recordings.

    talk/intro-01.flac
    talk/intro-02.wav
    talk/list.tsv

The TSV is UTF-8 with a header. `id` and `text` are required, other columns are optional:

    id        text                      keywords            split  audio          speaker  talk
    intro-01  welcome to meyer's talk   meyer, deep zorvan  train  intro-01.flac  anna     intro

Without `keywords` the stage `lists` draws them from the rare words. Without `audio` the file is ID with the ending of a
recording: .wav, .flac, .mp3, .m4a, …. Without `split` whole talks (utterances, if there is no `talk`) are assigned to
train, dev and test by a hash of their names and the seed, so that few of them move when the table grows.

A long recording has `subtitles` instead of a text, a SubRip or WebVTT file: it is cut into utterances at pauses between
subtitles. With `slides`, a file in the format of sap2/data/slides.py, keyword lists follow the slides' times:

    id     text  keywords  audio      subtitles  slides
    talk3        meyer     talk3.mp3  talk3.vtt  talk3.slides
"""

import csv
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from sap2.data.audio import load_audio
from sap2.data.biasing import read_words
from sap2.data.checks import id_fault
from sap2.data.entries import SPLITS, Entry, Read, confined, plain_words, spoken_symbols, text_lines
from sap2.data.quarantine import Rejected
from sap2.data.slides import Slide, read_slides, shown_between
from sap2.data.subtitles import read_cues, stretches
from sap2.errors import InputError
from sap2.manifest import MARKER
from sap2.params import FolderSource, PrepareSection

__all__ = ["read"]

_NEEDED = ("id", "text")
_OPTIONAL = ("keywords", "split", "audio", "speaker", "talk", "subtitles", "slides")
LONGEST_TALK = 6 * 3600.0  # seconds
_KINDS = "wav flac mp3 m4a ogg opus aiff mp4 mov webm mkv 3gp aac amr wma".split()
# Endings of recordings, tried in order for rows without `audio`.
_ENDINGS = tuple(ending for kind in _KINDS for ending in (f".{kind}", f".{kind.upper()}"))


def read(section: PrepareSection) -> tuple[Read, dict[str, Any]]:
    """Read the entries of the folder `prepare.folder.root`.

    Raises: InputError: the folder or its only TSV is missing, or a required column is.
    """
    settings: FolderSource = section.settings
    folder = Path(settings.root)
    table = _find_table(folder)
    lines = text_lines(table)
    header = _header(table, lines)
    warnings = _unnamed(folder, table, header) + _unspoken(folder, table, header)
    for warning in warnings:
        print(f"prepare: {warning}", file=sys.stderr)
    return _entries(lines, header, folder, section), {"table": str(table), "warnings": warnings}


def _unnamed(folder: Path, table: Path, header: list[str]) -> list[str]:
    """Return a warning if the folder has recordings that no row of the table names."""
    named = set()
    for _, line in text_lines(table):
        if not isinstance(line, Rejected):
            row = dict(zip(header, (cell.strip() for cell in line.split("\t")), strict=False))
            named |= {row.get("audio", ""), *(row.get("id", "") + ending for ending in _ENDINGS)}
    left = sorted(path.name for path in folder.iterdir() if path.suffix in _ENDINGS and path.name not in named)
    return [f"no row of {table.name} names {len(left)} recordings in {folder}, the first is {left[0]}"] if left else []


def _unspoken(folder: Path, table: Path, header: list[str]) -> list[str]:
    """Return a warning if transcripts have spoken symbols, which `plain_words` removes."""
    symbols: Counter[str] = Counter()
    texts, first = 0, ""
    for where, text in _texts(folder, table, header):
        if spoken := spoken_symbols(text):
            symbols.update(spoken)
            texts, first = texts + 1, first or where
    if not texts:
        return []
    counts = ", ".join(f"{symbol} {count}" for symbol, count in symbols.most_common(8))
    return [
        f"symbols are removed from {texts} texts ({counts}), first at {first}: write them as spoken, "
        "such as 30 dollars and 5 percent"
    ]


def _texts(folder: Path, table: Path, header: list[str]) -> Iterator[tuple[str, str]]:
    """Yield `(FILE:LINE, text)` of rows with a text, and `(FILE, text)` of the subtitles of other rows."""
    lines = text_lines(table)
    next(lines, None)
    for where, line in lines:
        if isinstance(line, Rejected):
            continue
        row = dict(zip(header, (cell.strip() for cell in line.split("\t")), strict=False))
        if row.get("text"):
            yield where, row["text"]
        elif row.get("subtitles"):
            try:
                path = confined(folder, row["subtitles"], "subtitles")
                yield from ((str(path), cue.text) for cue in read_cues(path))
            except ValueError:
                continue  # rejected with its reason by `_entries`


def _find_table(folder: Path) -> Path:
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; it must hold recordings with one TSV (prepare.folder.root)")
    named = folder / "manifest.tsv"
    if named.is_file():
        return named
    tables = sorted(folder.glob("*.tsv"))
    if len(tables) == 1:
        return tables[0]
    names = ", ".join(table.name for table in tables) or "none"
    raise InputError(f"{folder}: expected manifest.tsv or one *.tsv with the columns id and text; got {names}")


def _header(table: Path, lines: Iterator[tuple[str, str | Rejected]]) -> list[str]:
    where, line = next(lines, (f"{table}:1", ""))
    if isinstance(line, Rejected):
        raise InputError(f"{where}: {line.reason}")
    header = [name.strip().lower() for name in line.split("\t")]
    missing = [name for name in _NEEDED if name not in header]
    if missing or len(set(header)) < len(header):
        fault = f"lacks the column {', '.join(missing)}" if missing else "names a column twice"
        raise InputError(
            f"{where}: the header {fault}; got {', '.join(filter(None, header)) or 'nothing'}, expected tab-separated "
            f"{', '.join(_NEEDED)} (and {', '.join(_OPTIONAL)} if wanted)"
        )
    return header


def _entries(
    lines: Iterator[tuple[str, str | Rejected]], header: list[str], folder: Path, section: PrepareSection
) -> Read:
    for where, line in lines:
        if isinstance(line, Rejected):
            yield line
            continue
        cells = [cell.strip() for cell in line.split("\t")]
        row = dict(zip(header, cells + [""] * (len(header) - len(cells)), strict=False))
        try:
            if any(cells[len(header) :]):
                raise ValueError("too many columns: more cells than the header has; remove tabs from the text")
            entry = _entry(row, where, folder)
            if row.get("subtitles"):
                yield from _utterances(entry, row, folder, section)
            else:
                yield entry
        except ValueError as fault:
            yield Rejected(row["id"], where, str(fault))


def _entry(row: dict[str, str], where: str, folder: Path) -> Entry:
    if fault := id_fault(row["id"]):
        raise ValueError(fault)
    split = row.get("split", "").lower()
    if split not in ("", *SPLITS):
        raise ValueError(f"unknown split: {split!r}, expected {', '.join(SPLITS)} or nothing")
    return Entry(
        id=row["id"],
        location=where,
        audio=_find_audio(folder, row.get("audio", ""), row["id"]),
        text=row["text"] if MARKER.search(row["text"]) else plain_words(row["text"]),  # markers are rejected later
        keywords=tuple(keyword.lower() for keyword in _split_keywords(row.get("keywords", ""))),
        split=split or None,
        speaker=row.get("speaker") or None,
        talk=row.get("talk") or None,
    )


def _utterances(talk: Entry, row: dict[str, str], folder: Path, section: PrepareSection) -> Read:
    """Cut a long recording into utterances, each with its talk's keywords and the words of nearby slides."""
    settings: FolderSource = section.settings
    if talk.text:
        raise ValueError("a text and subtitles: leave one of the two columns empty")
    cues = read_cues(confined(folder, row["subtitles"], "subtitles"))
    slides: list[Slide] = []
    if row.get("slides"):
        common = read_words(settings.common_words_file) if settings.common_words_file else ()
        shown, rejected = read_slides(confined(folder, row["slides"], "slides"), frozenset(common))
        yield from rejected
        slides = shown.get(talk.id, [])
    try:
        samples = load_audio(talk.audio, max_duration=LONGEST_TALK)  # type: ignore[arg-type]  # a file of the folder
    except InputError as error:
        raise ValueError(f"unusable audio: {error}") from error
    for number, stretch in enumerate(stretches(samples, cues, settings.max_segment)):
        id = f"{talk.id}-{number:04d}"
        if stretch.fault:
            yield Rejected(id, talk.location, stretch.fault, stretch.end - stretch.start)
            continue
        words = shown_between(slides, stretch.start, stretch.end, section.slides)
        yield replace(
            talk,
            id=id,
            text=stretch.text if MARKER.search(stretch.text) else plain_words(stretch.text),
            keywords=(*talk.keywords, *words),
            talk=talk.talk or talk.id,
            start=stretch.start,
            end=stretch.end,
        )


def _split_keywords(cell: str) -> list[str]:
    """Split a cell into keywords. As in CSV, quotes protect a comma: "smith, john" is one keyword, rejected later."""
    quoted = '"' in cell and len(cell) < csv.field_size_limit()
    keywords = next(csv.reader([cell], skipinitialspace=True), []) if quoted else cell.split(",")
    return [keyword for keyword in keywords if keyword.strip()]


def _find_audio(folder: Path, named: str, id: str) -> Path:
    """Return the recording of a row.

    Raises: ValueError: the file is missing or outside the folder.
    """
    if named:
        return confined(folder, named)
    for ending in _ENDINGS:
        if (folder / f"{id}{ending}").is_file():
            return confined(folder, f"{id}{ending}")
    raise ValueError(f"no audio file: {id}.wav (or .flac, .mp3, .m4a, …) is not in the folder")
