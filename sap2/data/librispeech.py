"""Reader of LibriSpeech (Panayotov et al., 2015); it has no keywords, `lists` draws them (rare-words).

Each part is a folder, either as in OpenSLR 12's archives:

    test-clean/1089/134686/1089-134686.trans.txt    1089-134686-0000 HE HOPED THERE WOULD BE STEW FOR DINNER …
    test-clean/1089/134686/1089-134686-0000.flac

or of Parquet files as in openslr/librispeech_asr on the Hugging Face hub, with the columns id, text, audio (its
`bytes`), speaker_id and chapter_id: `test: [all/test.clean]`.
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sap2.data.entries import Entry, Read, confined, part_folder, text_lines
from sap2.data.quarantine import Rejected
from sap2.errors import InputError
from sap2.params import CorpusSource, PrepareSection

__all__ = ["UTTERANCES", "read"]

# Published number of utterances of each part (OpenSLR 12, and 31 for Mini LibriSpeech).
UTTERANCES = {
    "dev-clean": 2703,
    "dev-other": 2864,
    "test-clean": 2620,
    "test-other": 2939,
    "train-clean-100": 28539,
    "train-clean-360": 104014,
    "train-other-500": 148688,
    "train-clean-5": 1519,
    "dev-clean-2": 1089,
}
COLUMNS = ["id", "text", "audio", "speaker_id", "chapter_id"]


def read(section: PrepareSection) -> tuple[Read, dict[str, Any]]:
    """Read the entries of all parts; check that the parts are complete.

    A part whose number of utterances differs from the published number causes a warning, on stderr and in the card.
    Raises: InputError: a part is missing or holds nothing.
    """
    settings: CorpusSource = section.settings
    root, parts = Path(settings.root), settings.parts()
    counts = {part: _count(root, part) for _, part in parts}
    warnings = [warning for part, count in counts.items() if (warning := _incomplete(part, count))]
    for warning in warnings:
        print(f"prepare: {warning}", file=sys.stderr)
    facts = {
        "title": "LibriSpeech",
        "licence": "CC BY 4.0 (https://www.openslr.org/12)",
        "parts": counts,
        "warnings": warnings,
    }
    return (entry for split, part in parts for entry in _entries(root, part, split)), facts


def _incomplete(part: str, count: int) -> str | None:
    name = part.split("/")[-1].replace(".", "-")
    expected = UTTERANCES.get(name)
    if expected is None or count == expected:
        return None
    return f"{part} holds {count} utterances, {abs(count - expected)} {'fewer' if count < expected else 'more'} than the {expected} published"  # noqa: E501


def _count(root: Path, part: str) -> int:
    folder = part_folder(root, part, "librispeech")
    if packed := sorted(folder.glob("*.parquet")):
        return sum(1 for file in packed for _ in _rows(file, ["id"]))
    lines = (line for table in _tables(folder) for _, line in text_lines(table))
    return sum(not isinstance(line, Rejected) for line in lines)


def _tables(folder: Path) -> list[Path]:
    tables = sorted(folder.glob("*/*/*.trans.txt"))
    if not tables:
        raise InputError(
            f"{folder}: holds neither SPEAKER/CHAPTER/SPEAKER-CHAPTER.trans.txt nor *.parquet; unpack the archive here"
        )
    return tables


def _entries(root: Path, part: str, split: str) -> Iterator[Entry | Rejected]:
    folder = root / part
    if packed := sorted(folder.glob("*.parquet")):
        for file in packed:
            yield from _packed_entries(file, split)
        return
    named: set[str] = set()
    for table in _tables(folder):
        speaker, chapter = table.parent.parent.name, table.parent.name
        for where, line in text_lines(table):
            if isinstance(line, Rejected):
                yield line
                continue
            id, _, text = line.partition(" ")
            named.add(id)
            try:
                audio = confined(root, (table.parent / f"{id}.flac").relative_to(root))
            except ValueError as fault:
                yield Rejected(id, where, str(fault))
                continue
            yield Entry(id, where, audio, text.strip().lower(), (), split, speaker, f"{speaker}-{chapter}")
    for audio in sorted(folder.glob("*/*/*.flac")):
        if audio.stem not in named:
            yield Rejected(audio.stem, str(audio), "no transcript: the recording is in no trans.txt")


def _packed_entries(file: Path, split: str) -> Iterator[Entry | Rejected]:
    for number, row in enumerate(_rows(file, COLUMNS), start=1):
        where, id = f"{file}:{number}", str(row["id"] or "")
        audio = (row["audio"] or {}).get("bytes")
        if not audio:
            yield Rejected(id, where, "no audio file: the row holds no bytes")
            continue
        speaker = str(row["speaker_id"])
        text = str(row["text"] or "").strip().lower()
        yield Entry(id, where, audio, text, (), split, speaker, f"{speaker}-{row['chapter_id']}")


def _rows(file: Path, columns: list[str]) -> Iterator[dict[str, Any]]:
    """Yield the rows of a Parquet file, read in small batches."""
    import pyarrow
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(file) as packed:
            missing = [name for name in columns if name not in packed.schema_arrow.names]
            if missing:
                raise InputError(f"{file}: lacks the column {', '.join(missing)}; expected {', '.join(COLUMNS)}")
            for batch in packed.iter_batches(batch_size=64, columns=columns):
                yield from batch.to_pylist()
    except (pyarrow.ArrowInvalid, OSError) as error:
        raise InputError(f"{file}: cannot be read as Parquet ({error}); fetch it again") from error
