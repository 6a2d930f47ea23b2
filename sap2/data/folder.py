r"""Somebody's own recordings: a folder of audio files and one TSV, to manifests.

    talk/intro-01.flac
    talk/intro-02.wav
    talk/list.tsv

The TSV is UTF-8 with a header. `id` and `text` are needed, the rest is optional:

    id        text                      keywords            split  audio          speaker  talk
    intro-01  welcome to meyer's talk   meyer, deep zorvan  train  intro-01.flac  anna     intro

Without `keywords` the stage `lists` draws them from the rare words. Without `audio` the file is ID with the ending of a
recording: .wav, .flac, .mp3, .m4a, …. Without `split` whole talks (utterances, where there is no `talk`) are dealt to
train, dev and test by a hash of their names and the seed, so that a longer list later moves few of them.

A long recording comes with `subtitles` instead of a text, a SubRip or WebVTT file: it is cut into utterances where a
pause lies between subtitles. With `slides`, a file of the form of sap2/data/slides.py, their lists follow the time:

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
# Of recordings; where a row names none, the first that is there is taken.
_ENDINGS = tuple(ending for kind in _KINDS for ending in (f".{kind}", f".{kind.upper()}"))


def read(section: PrepareSection) -> tuple[Read, dict[str, Any]]:
    """The entries of the folder `prepare.folder.root`.

    Raises: InputError: no folder or no single TSV, or a header without its columns.
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
    """A warning where recordings lie beside the table that no row of it names."""
    named = set()
    for _, line in text_lines(table):
        if not isinstance(line, Rejected):
            row = dict(zip(header, (cell.strip() for cell in line.split("\t")), strict=False))
            named |= {row.get("audio", ""), *(row.get("id", "") + ending for ending in _ENDINGS)}
    left = sorted(path.name for path in folder.iterdir() if path.suffix in _ENDINGS and path.name not in named)
    return (
        [f"{len(left)} recordings in {folder} are named by no row of {table.name}, {left[0]} the first"] if left else []
    )


def _unspoken(folder: Path, table: Path, header: list[str]) -> list[str]:
    """A warning where transcripts hold symbols that people say and that `plain_words` leaves out."""
    symbols: Counter[str] = Counter()
    texts, first = 0, ""
    for where, text in _texts(folder, table, header):
        if found := spoken_symbols(text):
            symbols.update(found)
            texts, first = texts + 1, first or where
    if not texts:
        return []
    counts = ", ".join(f"{symbol} {count}" for symbol, count in symbols.most_common(8))
    return [
        f"symbols are left out of {texts} texts ({counts}), {first} the first: write them as they are said, "
        "such as 30 dollars and 5 percent"
    ]


def _texts(folder: Path, table: Path, header: list[str]) -> Iterator[tuple[str, str]]:
    """`(FILE:LINE, text)` of every row with a text, and `(FILE, text)` of every subtitle of the others."""
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
                continue  # quarantined with its reason when its turn comes


def _find_table(folder: Path) -> Path:
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; it must hold recordings with one TSV (prepare.folder.root)")
    named = folder / "manifest.tsv"
    if named.is_file():
        return named
    tables = sorted(folder.glob("*.tsv"))
    if len(tables) == 1:
        return tables[0]
    found = ", ".join(table.name for table in tables) or "none"
    raise InputError(f"{folder}: expected manifest.tsv or one *.tsv with the columns id and text; found {found}")


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
                raise ValueError("too many columns: more cells than the header names; is there a tab inside a text?")
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
        text=row["text"] if MARKER.search(row["text"]) else plain_words(row["text"]),  # markers are refused later
        keywords=tuple(keyword.lower() for keyword in _split_keywords(row.get("keywords", ""))),
        split=split or None,
        speaker=row.get("speaker") or None,
        talk=row.get("talk") or None,
    )


def _utterances(talk: Entry, row: dict[str, str], folder: Path, section: PrepareSection) -> Read:
    """A long recording's utterances, each with its talk's keywords and the words of the slides around it."""
    settings: FolderSource = section.settings
    if talk.text:
        raise ValueError("a text and subtitles: which is said? Leave one of the two empty")
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
    for number, one in enumerate(stretches(samples, cues, settings.max_segment)):
        id = f"{talk.id}-{number:04d}"
        if one.fault:
            yield Rejected(id, talk.location, one.fault, one.end - one.start)
            continue
        words = shown_between(slides, one.start, one.end, section.slides)
        yield replace(
            talk,
            id=id,
            text=one.text if MARKER.search(one.text) else plain_words(one.text),
            keywords=(*talk.keywords, *words),
            talk=talk.talk or talk.id,
            start=one.start,
            end=one.end,
        )


def _split_keywords(cell: str) -> list[str]:
    """Keywords of one cell. Quotes keep a comma in many tools: "smith, john" is one keyword, and one to refuse."""
    quoted = '"' in cell and len(cell) < csv.field_size_limit()
    keywords = next(csv.reader([cell], skipinitialspace=True), []) if quoted else cell.split(",")
    return [keyword for keyword in keywords if keyword.strip()]


def _find_audio(folder: Path, named: str, id: str) -> Path:
    """The file a row means.

    Raises: ValueError: there is none within the folder.
    """
    if named:
        return confined(folder, named)
    for ending in _ENDINGS:
        if (folder / f"{id}{ending}").is_file():
            return confined(folder, f"{id}{ending}")
    raise ValueError(f"no audio file: {id}.wav (or .flac, .mp3, .m4a, …) is not in the folder")
