"""Shards: recordings of a split packed into tar files, for corpora with too many files for a file system.

    audio/train-000000.tar    000000000.flac 000000000.json 000000001.flac 000000001.json …
    train.jsonl               {"id": …, "audio": "audio/train-000000.tar#1536+20480", …}, in the order of the shards

A shard is a tar file in WebDataset's layout. A manifest row names the tar, the recording's first byte and its size, so
that a recording is read with a single seek, and a training reads whole shards sequentially.
"""

import io
import json
import tarfile
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from sap2.data.audio import sliced
from sap2.errors import InputError
from sap2.files import atomic_file, read_jsonl
from sap2.manifest import Utterance, fault_of

__all__ = ["Shards", "is_sharded", "pack"]


def pack(manifest: Path, size: int) -> int:
    """Move a manifest's recordings into shards of `size` utterances; return the number of shards.

    The manifest is rewritten. Equal manifests and recordings give equal bytes.
    """
    folder, count = manifest.parent, 0
    tar: Any = None  # open from the first row on
    with atomic_file(manifest) as partial, partial.open("w", encoding="utf-8") as out:
        try:
            for number, (_, row) in enumerate(read_jsonl(manifest)):
                if number % size == 0:
                    if tar is not None:
                        tar.close()
                    name = f"audio/{manifest.stem}-{count:06d}.tar"
                    tar = tarfile.open(folder / name, "w", format=tarfile.USTAR_FORMAT)
                    count += 1
                recording = folder / row["audio"]
                content = recording.read_bytes()
                offset = _add(tar, f"{number:09d}{recording.suffix}", content)
                _add(tar, f"{number:09d}.json", json.dumps(row, ensure_ascii=False).encode())
                out.write(json.dumps(row | {"audio": f"{name}#{offset}+{len(content)}"}, ensure_ascii=False) + "\n")
                recording.unlink()
        finally:
            if tar is not None:
                tar.close()
    for emptied in sorted(folder.glob("audio/**/"), reverse=True):
        if not any(emptied.iterdir()):
            emptied.rmdir()
    return count


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> int:
    """Append a member without owner or time; return the offset of its content."""
    member = tarfile.TarInfo(name)
    member.size = len(content)
    tar.addfile(member, io.BytesIO(content))
    return tar.offset - -(-len(content) // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE


def is_sharded(manifest: Path) -> bool:
    """Return whether a manifest's recordings are in shards, judged by its first row."""
    for _, row in read_jsonl(manifest):
        return sliced(row.get("audio", "")) is not None
    return False


@dataclass
class _Shard:
    """The byte range of a shard's rows in the manifest, and its utterances' lengths in seconds."""

    tar: Path
    start: int
    end: int = 0
    durations: array = field(default_factory=lambda: array("f"))


class Shards:
    """A sharded manifest; only lengths and keywords are held in memory.

    Args:
        manifest: A manifest whose rows are in the order of the shards.
    Raises: InputError: a row is not in a shard, or a shard's rows are not consecutive.
    """

    def __init__(self, manifest: Path):
        self.manifest = Path(manifest)
        self.shards: list[_Shard] = []
        keywords: set[str] = set()
        for number, start, end, row in self._rows():
            part = sliced(self.manifest.parent / row["audio"])
            if part is None:
                raise InputError(
                    f"{self.manifest}:{number}: its recording is not in a shard, but those before it are; "
                    'run "sap2 prepare" again'
                )
            if not self.shards or self.shards[-1].tar != part[0]:
                if any(shard.tar == part[0] for shard in self.shards):
                    raise InputError(
                        f"{self.manifest}:{number}: rows of {part[0].name} are not consecutive; keep the order in "
                        'which "sap2 prepare" wrote them'
                    )
                self.shards.append(_Shard(part[0], start))
            self.shards[-1].end = end
            self.shards[-1].durations.append(row["duration"])
            keywords.update(row.get("keywords", ()))
        self.keywords = sorted(keywords)

    def __len__(self) -> int:
        return len(self.shards)

    @property
    def utterances(self) -> int:
        return sum(len(shard.durations) for shard in self.shards)

    def read(self, number: int) -> list[tuple[Utterance, bytes]]:
        """Return a shard's utterances with their recordings' bytes, read sequentially.

        Raises: InputError: a row is not an utterance, or the shard is missing or truncated.
        """
        shard, read = self.shards[number], []
        with self.manifest.open("rb") as rows:
            rows.seek(shard.start)
            lines = rows.read(shard.end - shard.start).splitlines()
        try:
            with shard.tar.open("rb") as file:
                for line in lines:
                    utterance = self._utterance(line)
                    _, offset, size = sliced(utterance.audio)  # type: ignore[misc]  # a shard's row names a slice
                    file.seek(offset)
                    content = file.read(size)
                    if len(content) < size:
                        raise InputError(f'{shard.tar}: truncated before {utterance.id}; run "sap2 prepare" again')
                    read.append((utterance, content))
        except OSError as error:
            raise InputError(f'{shard.tar}: cannot be read ({error.strerror}); run "sap2 prepare" again') from error
        return read

    def _utterance(self, line: bytes) -> Utterance:
        try:
            return Utterance.model_validate_json(line)
        except ValidationError as error:
            raise InputError(f"{self.manifest}: {fault_of(error)}") from error

    def _rows(self) -> Iterator[tuple[int, int, int, dict[str, Any]]]:
        """Yield line number, first byte, last + 1 byte and object of each row."""
        end = 0
        with self.manifest.open("rb") as lines:
            for number, line in enumerate(lines, start=1):
                start, end = end, end + len(line)
                if line.strip():
                    yield number, start, end, json.loads(line)
