r"""Somebody's own recordings: a folder of audio files and one TSV, to manifests.

    talk/intro-01.flac
    talk/intro-02.wav
    talk/list.tsv

The TSV is UTF-8 with a header. `id`, `text` and `keywords` are needed, the rest is optional:

    id        text                      keywords            split  audio          speaker  talk
    intro-01  welcome to meyer's talk   meyer, deep zorvan  train  intro-01.flac  anna     intro

Without `audio` the file is ID.wav or ID.flac. Without `split` whole talks (utterances, where there is no `talk`) are
dealt to train, dev and test by a hash of their names and the seed, so that a longer list later moves few of them.
"""

import csv
import hashlib
import json
import re
import unicodedata
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sap2.data.audio import SAMPLE_RATE, load_audio, save_audio
from sap2.data.quarantine import Quarantine
from sap2.errors import InputError
from sap2.files import atomic_dir
from sap2.manifest import Utterance, keyword_fault, unique_keywords, write_manifest
from sap2.params import PrepareSection
from sap2.progress import track

__all__ = ["SPLITS", "plain_words", "prepare_folder"]

SPLITS = ("train", "dev", "test")
_NEEDED = ("id", "text", "keywords")
_OPTIONAL = ("split", "audio", "speaker", "talk")
_ENDINGS = (".wav", ".flac", ".WAV", ".FLAC")
_ID = re.compile(r"[\w+-][\w.+-]*(/[\w+-][\w.+-]*)*")


@dataclass(frozen=True)
class _Row:
    """One line of the TSV that passed every check but its audio's."""

    id: str
    location: str
    audio: Path
    text: str
    keywords: list[str]
    split: str | None
    speaker: str | None
    talk: str | None


def prepare_folder(section: PrepareSection, output_dir: Path | str) -> dict[str, Any]:
    """Read the folder `section.source`; write 16 kHz audio, three manifests, quarantine.jsonl and card.json.

    Returns: the card: what was read, accepted and rejected, and the size of each split.
    Raises: InputError: no folder or no single TSV, a header without its columns, too many rejected records
    (`section.reject_share`), or a split without utterances.
    """
    folder = Path(section.source)
    table = _find_table(folder)
    quarantine = Quarantine()
    rows, read = _read_rows(table, folder, quarantine)
    with atomic_dir(output_dir) as output:
        utterances = list(_take_audio(rows, section, output, quarantine))
        quarantine.settle(table, read, len(utterances), section.reject_share)
        splits = _deal(utterances, {row.id: row.split for row in rows}, section, table)
        for name in SPLITS:
            write_manifest(output / f"{name}.jsonl", splits[name])
        quarantine.write(output / "quarantine.jsonl")
        card = _card(table, read, splits, quarantine)
        (output / "card.json").write_text(json.dumps(card, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return card


def plain_words(text: str) -> str:
    """Lower-case words without punctuation, the form of every reference here.

    >>> plain_words("Dr. Meyer's well-known talk, part 2!")
    "dr meyer's well-known talk part 2"
    """
    words = unicodedata.normalize("NFC", text).lower().replace("’", "'")
    words = re.sub(r"[^\w'\-\s]|_", " ", words)
    return " ".join(word.strip("'-") for word in words.split() if word.strip("'-"))


def _find_table(folder: Path) -> Path:
    if not folder.is_dir():
        raise InputError(
            f"{folder}: no such folder; prepare.source must be lectures, or a folder of WAV/FLAC files with one TSV"
        )
    named = folder / "manifest.tsv"
    if named.is_file():
        return named
    tables = sorted(folder.glob("*.tsv"))
    if len(tables) == 1:
        return tables[0]
    found = ", ".join(table.name for table in tables) or "none"
    raise InputError(f"{folder}: expected manifest.tsv or one *.tsv with the columns id, text, keywords; found {found}")


def _read_rows(table: Path, folder: Path, quarantine: Quarantine) -> tuple[list[_Row], int]:
    """The lines that pass, and how many there were; the others go to the quarantine."""
    rows: dict[str, _Row] = {}
    read = 0
    for number, cells in _lines(table):
        read += 1
        location = f"{table}:{number}"
        id = cells["id"].strip()
        row = _check_row(cells, location, folder)
        if isinstance(row, str):
            quarantine.reject(id, location, row)
        elif row.id in rows:
            quarantine.reject(id, location, f"duplicate id: also at {rows[row.id].location}, which is kept")
        else:
            rows[row.id] = row
    return list(rows.values()), read


def _lines(table: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """`(line number, cells by column)` of every line that is not blank."""
    try:
        with table.open(encoding="utf-8-sig") as file:
            header = [name.strip().lower() for name in file.readline().rstrip("\n").split("\t")]
            missing = [name for name in _NEEDED if name not in header]
            if missing or len(set(header)) < len(header):
                fault = f"lacks the column {', '.join(missing)}" if missing else "names a column twice"
                raise InputError(
                    f"{table}:1: the header {fault}; got {', '.join(header) or 'nothing'}, expected tab-separated "
                    f"{', '.join(_NEEDED)} (and {', '.join(_OPTIONAL)} if wanted)"
                )
            for number, line in enumerate(file, start=2):
                cells = line.rstrip("\n").split("\t")
                if any(cell.strip() for cell in cells):
                    padded = cells + [""] * (len(header) - len(cells))
                    extra = "\t".join(cells[len(header) :])
                    yield number, {**dict(zip(header, padded, strict=False)), "": extra}
    except UnicodeDecodeError as error:
        raise InputError(f"{table}: not UTF-8 ({error.reason} at byte {error.start}); save it as UTF-8") from error


def _check_row(cells: dict[str, str], location: str, folder: Path) -> _Row | str:
    """The row, or the reason why it cannot be used."""
    id = cells["id"].strip()
    split = cells.get("split", "").strip().lower()
    if cells[""].strip():
        return "too many columns: more cells than the header names; is there a tab inside a text?"
    if not id:
        return "the id is empty"
    escape = f"the path escapes the folder: {cells.get('audio', '').strip() or id}"
    if Path(id).is_absolute() or ".." in Path(id).parts:
        return escape
    if not _ID.fullmatch(id):
        return f"the id cannot name a file: {id!r}, expected letters, digits and . _ + - /"
    if split not in ("", *SPLITS):
        return f"unknown split: {split!r}, expected {', '.join(SPLITS)} or nothing"
    text = plain_words(cells["text"])
    if re.search(r"<\|[^|>]*\|>|</?audio>", cells["text"]):
        return "a marker inside the transcript: markers belong to the prompt"
    if not text:
        return "the transcript is empty"
    keywords = _split_keywords(cells["keywords"])
    if fault := next(filter(None, map(keyword_fault, keywords)), None):
        return f"unusable keyword: {fault}"
    audio = _find_audio(folder, cells.get("audio", "").strip(), id)
    if audio is None:
        wanted = cells.get("audio", "").strip() or f"{id}.wav or {id}.flac"
        return f"no audio file: {wanted} is not in the folder"
    if not audio.resolve().is_relative_to(folder.resolve()):
        return escape
    return _Row(
        id=id,
        location=location,
        audio=audio,
        text=text,
        keywords=unique_keywords(keyword.lower() for keyword in keywords),
        split=split or None,
        speaker=cells.get("speaker", "").strip() or None,
        talk=cells.get("talk", "").strip() or None,
    )


def _split_keywords(cell: str) -> list[str]:
    """Keywords of one cell. Quotes keep a comma in many tools: "smith, john" is one keyword, and one to refuse."""
    quoted = '"' in cell and len(cell) < csv.field_size_limit()
    keywords = next(csv.reader([cell], skipinitialspace=True), []) if quoted else cell.split(",")
    return [keyword for keyword in keywords if keyword.strip()]


def _find_audio(folder: Path, named: str, id: str) -> Path | None:
    """The file a row means. A name that leads out of the folder comes back as it is, for the caller to refuse."""
    candidates = [folder / named] if named else [folder / f"{id}{ending}" for ending in _ENDINGS]
    for candidate in candidates:
        outside = not candidate.resolve().is_relative_to(folder.resolve())
        if outside or candidate.is_file():
            return candidate
    return None


def _take_audio(rows: list[_Row], section: PrepareSection, output: Path, quarantine: Quarantine) -> Iterator[Utterance]:
    """Convert every row's recording, in order; a recording that cannot be used goes to the quarantine."""

    def convert(row: _Row) -> Utterance | str:
        try:
            samples = load_audio(row.audio, section.min_duration, section.max_duration)
        except InputError as error:
            return str(error)
        path = Path("audio") / f"{row.id}.flac"
        save_audio(output / path, samples)
        return Utterance(
            id=row.id,
            audio=path.as_posix(),
            duration=round(len(samples) / SAMPLE_RATE, 3),
            text=row.text,
            keywords=row.keywords,
            speaker=row.speaker,
            talk=row.talk,
        )

    with ThreadPoolExecutor(max_workers=section.workers or None) as pool:
        results = track(pool.map(convert, rows), total=len(rows), label="reading audio")
        for row, result in zip(rows, results, strict=True):
            if isinstance(result, str):
                quarantine.reject(row.id, row.location, f"unusable audio: {result}")
            else:
                yield result


def _deal(
    utterances: list[Utterance], wanted: dict[str, str | None], section: PrepareSection, table: Path
) -> dict[str, list[Utterance]]:
    """Utterances by split: as the TSV says, the others by hash, a talk never on two sides."""
    open_groups = sorted(
        {_group(one) for one in utterances if wanted[one.id] is None},
        key=lambda group: hashlib.sha256(f"{section.seed}/{group}".encode()).hexdigest(),
    )
    dev, test = (max(1, round(share * len(open_groups))) for share in (section.dev_share, section.test_share))
    dealt = {group: "test" if place < test else "dev" if place < test + dev else "train"
             for place, group in enumerate(open_groups)}  # fmt: skip
    splits: dict[str, list[Utterance]] = {name: [] for name in SPLITS}
    for one in utterances:
        splits[wanted[one.id] or dealt[_group(one)]].append(one)
    empty = [name for name in SPLITS if not splits[name]]
    if empty:
        raise InputError(
            f"{table}: no utterance for {' and '.join(empty)} among {len(utterances)}; "
            "add a `split` column with train, dev and test, or more recordings (at least three talks)"
        )
    return splits


def _group(utterance: Utterance) -> str:
    return utterance.talk or utterance.id


def _card(table: Path, read: int, splits: dict[str, list[Utterance]], quarantine: Quarantine) -> dict[str, Any]:
    everyone = [one for split in splits.values() for one in split]
    return {
        "source": str(table),
        "read": read,
        "accepted": len(everyone),
        "rejected": len(quarantine),
        "reasons": quarantine.reasons(),
        "hours": round(sum(one.duration for one in everyone) / 3600, 4),
        "splits": {name: len(split) for name, split in splits.items()},
    }
