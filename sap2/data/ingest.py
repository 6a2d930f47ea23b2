"""Ingestion of every corpus: a reader's entries to checked 16 kHz mono audio, manifests, quarantine and card.

    entries --dedupe, text checks--> processes: decode, resample, measure, check --> spool --> train, dev, test.jsonl
                                        cache: audio by the hash of its source

Only hashes of ids and rejected records are held in memory: a million entries need a few hundred MB. Converted audio is
cached by its source's content, so a run that was killed resumes.
"""

import hashlib
import heapq
import json
import os
import shutil
import tempfile
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from itertools import chain, islice
from multiprocessing import get_context
from operator import itemgetter
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from sap2.data.audio import SAMPLE_RATE, load_audio, read_duration, read_sample_rate, save_audio
from sap2.data.card import Card
from sap2.data.checks import Measures, audio_fault, entry_fault, measure, speed_fault
from sap2.data.entries import SPLITS, Entry
from sap2.data.quarantine import Quarantine, Rejected
from sap2.data.shards import pack
from sap2.errors import InputError
from sap2.files import atomic_dir, read_jsonl, sha256, writing
from sap2.manifest import Utterance, fault_of, unique_keywords
from sap2.params import PrepareSection
from sap2.progress import track

__all__ = ["ingest", "ingest_part", "join_parts"]

CHUNK = 64  # entries per process and task
ID_CONFLICT = "the id cannot name a file: it conflicts with the file or folder of another id"
ROWS = "rows.jsonl"  # the result file of a part
CACHE_FORMAT = 2  # part of every cached recording's key: raise it whenever the same input gives different audio


# A manifest row and its split (None = not yet assigned), or a rejection.
Result = tuple[dict[str, Any], str | None] | Rejected


def ingest(
    entries: Iterable[Entry | Rejected],
    section: PrepareSection,
    output: Path | str,
    cache: Path | str,
    source: str,
    facts: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Write `train.jsonl`, `dev.jsonl`, `test.jsonl`, `audio/ID.flac`, `quarantine.jsonl`, `card.json`, `card.md`.

    Args:
        entries: The reader's entries, in the order of the manifests.
        output: Folder, replaced atomically.
        cache: Folder of converted recordings, shared by runs; may be deleted at any time.
        source: Name of the corpus in messages and card.
        facts: Further entries of the card: licence, warnings, lists.
    Returns: The card: counts and hours read, accepted and rejected, by split and by reason.
    Raises: InputError: more than `section.reject_share` of the entries were rejected, all were, or a split is empty;
    the quarantine is then kept in `cache`.
    """
    with atomic_dir(output) as partial:
        (partial / "audio").mkdir()
        results = _converted(_checked(entries, section), section, partial, Path(cache))
        return _collect(results, section, partial, Path(cache), source, facts or {})


def ingest_part(
    entries: Iterable[Entry | Rejected],
    section: PrepareSection,
    output: Path | str,
    cache: Path | str,
    part: int,
    parts: int,
) -> dict[str, int]:
    """Convert every `parts`-th chunk of the entries: a share of `ingest`'s work for another machine.

    Each part reads all entries, which is cheap, to detect duplicate ids.

    Args:
        output: Folder, replaced atomically: `rows.jsonl`, one numbered result per entry, and `audio`.
        part: Index of this part, from 0.
    Returns: Numbers of `accepted` and `rejected` entries.
    """
    counts = {"accepted": 0, "rejected": 0}
    pending: deque[dict[str, Any]] = deque()  # number and location of entries under conversion

    def share() -> Iterator[Entry | Rejected]:
        for number, entry in enumerate(_checked(entries, section)):
            if number // CHUNK % parts == part:
                pending.append({"number": number, "location": entry.location})
                yield entry

    with atomic_dir(output) as partial:
        (partial / "audio").mkdir()
        with (partial / ROWS).open("w", encoding="utf-8") as rows:
            results = _converted(share(), section, partial, Path(cache))
            for result in track(results, total=None, label=f"prepare {section.source}, part {part} of {parts}"):
                kind = "rejected" if isinstance(result, Rejected) else "accepted"
                counts[kind] += 1
                row = {kind: asdict(result) if isinstance(result, Rejected) else result}
                rows.write(json.dumps(pending.popleft() | row, ensure_ascii=False) + "\n")
    return counts


def join_parts(
    folders: Sequence[Path],
    section: PrepareSection,
    output: Path | str,
    cache: Path | str,
    source: str,
    facts: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Merge the outputs of `ingest_part` into the files that `ingest` writes.

    Args:
        folders: Outputs of all parts, in any order; not changed.
    Returns, Raises: As `ingest`; InputError also if a part is missing.
    """
    with atomic_dir(output) as partial:
        (partial / "audio").mkdir()
        return _collect(_joined(folders, section, partial), section, partial, Path(cache), source, facts or {})


def _joined(folders: Sequence[Path], section: PrepareSection, output: Path) -> Iterator[Result]:
    """Yield the parts' results in the order of the entries; link their recordings into `output`."""

    def rows(folder: Path) -> Iterator[tuple[int, Path, dict[str, Any]]]:
        for _, row in read_jsonl(folder / ROWS):
            yield row["number"], folder, row

    merged = heapq.merge(*map(rows, map(Path, folders)), key=itemgetter(0))
    for expected, (number, folder, row) in enumerate(merged):
        if number != expected:
            raise InputError(
                f"entry {expected} is in {'two' if number < expected else 'none'} of the {len(folders)} parts; give "
                "each part once, all made with the same number of parts"
            )
        if "rejected" in row:
            yield Rejected(**row["rejected"])
            continue
        utterance, split = row["accepted"]
        if section.audio == "convert" and not _link(folder / utterance["audio"], output / utterance["audio"]):
            yield Rejected(utterance["id"], row["location"], ID_CONFLICT, utterance["duration"])
            continue
        yield utterance, split


def _collect(
    results: Iterator[Result],
    section: PrepareSection,
    partial: Path,
    cache: Path,
    source: str,
    facts: dict[str, Any],
) -> dict[str, Any]:
    """Write manifests, quarantine and card of the results; return the card."""
    quarantine, read, dealer = Quarantine(), 0, _SplitAssigner(section)
    with tempfile.TemporaryFile("w+", encoding="utf-8", dir=partial) as spool:
        for result in track(results, total=None, label=f"prepare {section.source}"):
            read += 1
            if isinstance(result, Rejected):
                quarantine.records.append(result)
            else:
                dealer.see(*result)
                spool.write(json.dumps(result, ensure_ascii=False) + "\n")
        accepted = read - len(quarantine)
        _check_rejections(quarantine, source, read, accepted, section.reject_share, cache)
        card = Card(source, section, facts)
        _write_splits(spool, dealer, partial, card, source, accepted, section.audio == "convert")
    if section.shard_size is not None:
        pack(partial / "train.jsonl", section.shard_size)
    quarantine.write(partial / "quarantine.jsonl")
    return card.write(partial, read, quarantine)


def _check_rejections(quarantine: Quarantine, source: str, read: int, accepted: int, share: float, cache: Path) -> None:
    try:
        quarantine.settle(source, read, accepted, share)
    except InputError as error:
        left = cache / "quarantine.jsonl"
        quarantine.write(left)
        raise InputError(f"{error}; all rejected records are in {left}") from error


def _checked(entries: Iterable[Entry | Rejected], section: PrepareSection) -> Iterator[Entry | Rejected]:
    """Yield entries, with a `Rejected` for those with a duplicate id, unusable text or unusable list."""
    seen: dict[bytes, str] = {}
    for entry in entries:
        if isinstance(entry, Rejected):
            yield entry
            continue
        fault = entry_fault(entry, section.checks.tokenizer)
        # Ids that differ only in case are the same file on some systems; 16-byte hashes distinguish a million ids.
        key = hashlib.blake2b(entry.id.casefold().encode(), digest_size=16).digest()
        if fault is None and key in seen:
            fault = f"duplicate id: also at {seen[key]}, which is kept"
        if fault is None:
            seen[key] = entry.location
            yield entry
        else:
            yield Rejected(entry.id, entry.location, fault)


@dataclass(frozen=True)
class _Job:
    """Arguments of `_convert` that all entries share."""

    section: PrepareSection
    output: Path
    cache: Path


def _converted(
    entries: Iterable[Entry | Rejected], section: PrepareSection, output: Path, cache: Path
) -> Iterator[Result]:
    """Yield each entry's manifest row and split, or its rejection, in order; chunks run in processes."""
    job = _Job(section, output, cache)
    entries = iter(entries)
    workers = section.workers or os.cpu_count() or 1
    first = list(islice(entries, CHUNK))
    second = list(islice(entries, CHUNK))
    if workers == 1 or section.audio == "keep" or not second:
        for entry in chain(first, second, entries):
            yield _convert(entry, job)
        return
    chunks = chain([first, second], iter(lambda: list(islice(entries, CHUNK)), []))
    waiting: deque[Future] = deque()
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        for chunk in chunks:
            waiting.append(pool.submit(_convert_chunk, chunk, job))
            if len(waiting) > 2 * workers:  # read ahead only enough to keep the processes busy
                yield from waiting.popleft().result()
        while waiting:
            yield from waiting.popleft().result()


def _convert_chunk(entries: list[Entry | Rejected], job: _Job) -> list[Result]:
    return [_convert(entry, job) for entry in entries]


def _convert(entry: Entry | Rejected, job: _Job) -> Result:
    if isinstance(entry, Rejected):
        return entry
    section, measures = job.section, None
    audio: str = f"audio/{entry.id}.flac"
    try:
        if section.audio == "keep":
            duration, audio = _duration_in_place(entry, section), os.path.abspath(os.fsdecode(entry.audio))
        else:
            stored, measures = _cached_audio(entry, section, job.cache)
            duration = measures.duration
    except InputError as error:
        return Rejected(entry.id, entry.location, f"unusable audio: {error}", _length(entry))
    fault = (measures and audio_fault(measures, section.checks)) or speed_fault(entry.text, duration, section.checks)
    if fault:
        return Rejected(entry.id, entry.location, fault, duration)
    try:
        utterance = Utterance(
            id=entry.id,
            audio=audio,
            duration=duration,
            text=entry.text,
            keywords=unique_keywords(entry.keywords),
            speaker=entry.speaker,
            talk=entry.talk,
            # Optional fields: the seconds of the recording that the utterance spans.
            **({} if entry.end is None else {"start": entry.start, "end": entry.end}),  # type: ignore[arg-type]
        )
    except ValidationError as error:
        return Rejected(entry.id, entry.location, f"not a manifest row: {fault_of(error)}", duration)
    if section.audio == "convert" and not _link(stored, job.output / audio):
        return Rejected(entry.id, entry.location, ID_CONFLICT, duration)
    return utterance.model_dump(exclude_none=True), entry.split


def _duration_in_place(entry: Entry, section: PrepareSection) -> float:
    """Return the length of a recording that is not copied."""
    if isinstance(entry.audio, bytes) or entry.start or entry.end is not None:
        raise InputError("a part of a longer file cannot be used without a copy; set prepare.audio to convert")
    duration = entry.duration if entry.duration is not None else read_duration(entry.audio)
    if not section.min_duration <= duration <= section.max_duration:
        raise InputError(
            f"{entry.audio}: lasts {duration:.3f} s, expected {section.min_duration:g} to {section.max_duration:g} s"
        )
    return round(duration, 3)


def _length(entry: Entry) -> float:
    """Return the length in seconds of an entry that may be unusable; 0 if unknown."""
    if entry.end is not None:
        return max(entry.end - entry.start, 0.0)
    if isinstance(entry.audio, bytes):
        return 0.0
    try:
        return max(read_duration(entry.audio) - entry.start, 0.0)
    except InputError:
        return 0.0


def _cached_audio(entry: Entry, section: PrepareSection, cache: Path) -> tuple[Path, Measures]:
    """Return the entry's 16 kHz recording and its measurements, from the cache or converted now."""
    bounds = (section.min_duration, section.max_duration)
    made_from = [CACHE_FORMAT, _digest_of(entry.audio), entry.start, entry.end, *bounds]
    key = hashlib.sha256(json.dumps(made_from).encode()).hexdigest()
    stored, noted = cache / key[:2] / f"{key}.flac", cache / key[:2] / f"{key}.json"
    if noted.is_file() and stored.is_file():
        return stored, Measures(**json.loads(noted.read_text(encoding="utf-8")))
    with _as_file(entry.audio) as path:
        samples = load_audio(path, *bounds, start=entry.start, end=entry.end)
        measures = measure(samples, SAMPLE_RATE, read_sample_rate(path))
    # Not `atomic_file`: it scans the folder for leftovers, and cache folders have too many files.
    partial = stored.with_name(f".{key}.{os.getpid()}.flac")
    with writing(stored):
        stored.parent.mkdir(parents=True, exist_ok=True)
        save_audio(partial, samples)
        os.replace(partial, stored)
        partial.write_text(json.dumps(asdict(measures)), encoding="utf-8")
        os.replace(partial, noted)
    return stored, measures


@contextmanager
def _as_file(audio: Path | bytes) -> Iterator[Path]:
    """Give a recording's path, or that of a temporary file if it came as bytes."""
    if isinstance(audio, Path):
        yield audio
        return
    with tempfile.NamedTemporaryFile(prefix="sap2-") as file:
        file.write(audio)
        file.flush()
        yield Path(file.name)


def _digest_of(audio: Path | bytes) -> str:
    if isinstance(audio, bytes):
        return hashlib.sha256(audio).hexdigest()
    try:
        status = audio.stat()
    except OSError as error:
        raise InputError(f"{audio}: cannot be read ({error.strerror})") from error
    if not audio.is_file():
        raise InputError(f"{audio}: is not a file, expected audio")
    return _digest(audio, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=256)  # spans of a long recording come in a row
def _digest(path: Path, size: int, changed: int) -> str:
    return sha256(path)


def _link(stored: Path, target: Path) -> bool:
    """Link or copy a recording to `target`; return False if another file or folder is in the way."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        os.link(stored, target)
    except (FileExistsError, IsADirectoryError, NotADirectoryError):
        return False
    except OSError:  # another file system, or no support for links
        shutil.copyfile(stored, target)
    return True


@dataclass
class _SplitAssigner:
    """Assign splits to entries whose source has none: whole talks, by a hash of name and seed."""

    section: PrepareSection
    groups: set[str] = field(default_factory=set)

    def see(self, row: dict[str, Any], split: str | None) -> None:
        if split is None:
            self.groups.add(_group(row))

    def deal(self) -> dict[str, str]:
        """Return `{talk: split}`; few talks move when talks are added."""
        seed = self.section.seed
        order = sorted(self.groups, key=lambda group: hashlib.sha256(f"{seed}/{group}".encode()).hexdigest())
        shares = (self.section.dev_share, self.section.test_share)
        dev, test = (max(1, round(share * len(order))) for share in shares)
        return {
            group: "test" if index < test else "dev" if index < test + dev else "train"
            for index, group in enumerate(order)
        }


def _group(row: dict[str, Any]) -> str:
    return row.get("talk") or row["id"]


def _write_splits(
    spool, dealer: _SplitAssigner, output: Path, card: Card, source: str, accepted: int, converted: bool
) -> None:
    """Write each row of the spool to its split's manifest."""
    dealt = dealer.deal()
    spool.seek(0)
    files = {split: (output / f"{split}.jsonl").open("w", encoding="utf-8") for split in SPLITS}
    try:
        for line in spool:
            row, split = json.loads(line)
            split = split or dealt[_group(row)]
            card.see(split, row, output / row["audio"] if converted else None)
            files[split].write(json.dumps(row, ensure_ascii=False) + "\n")
    finally:
        for file in files.values():
            file.close()
    empty = [split for split in SPLITS if not card.splits[split].utterances]
    if empty:
        way_out = "add a `split` column with train, dev and test, or more recordings (at least three talks)"
        if not dealer.groups:
            way_out = "give each split a part with usable recordings"
        raise InputError(f"{source}: no utterance for {' and '.join(empty)} among {accepted}; {way_out}")
