"""Folders and buckets of talks to transcripts, in shards that may run beside each other."""

import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from sap2.errors import InputError
from sap2.files import write_jsonl
from sap2.transcripts.formats import verbose

__all__ = ["find_talks", "transcribe_shard"]

SUFFIXES = {".wav", ".flac", ".mp3", ".ogg", ".opus"}


def find_talks(place: str) -> list[str]:
    """Recordings of a folder or bucket (`/data/talks`, `s3://bucket/talks`), below it at any depth, in order.

    Raises: InputError: there is no such place, or no recording in it.
    """
    files, root = _opened(place)
    try:
        files_below = files.find(root, on_error="raise")
        found = sorted(path for path in files_below if PurePosixPath(path).suffix.lower() in SUFFIXES)
    except (OSError, ValueError) as error:
        raise InputError(f"{place}: cannot be listed ({error}); check the address and the rights to it") from error
    if not found:
        raise InputError(f"{place}: no recordings, expected files ending in {', '.join(sorted(SUFFIXES))}")
    return found


def transcribe_shard(
    place: str,
    shard: int,
    shards: int,
    transcribe: Callable[[Sequence[Path]], Iterator[tuple[Path, Any]]],
    output: Path,
) -> dict[str, int]:
    """Transcribe every `shards`-th talk from number `shard` on into a file of JSON lines, one a talk.

    Args:
        place: As `find_talks` takes it; a talk is fetched when its turn comes.
        transcribe: Answers files with themselves and a transcript, or an InputError.
    Returns: `transcribed` and `failed`; a talk that cannot be read has an `error` in its line.
    """
    files, root = _opened(place)
    rows = []
    for name in find_talks(place)[shard::shards]:
        with tempfile.TemporaryDirectory(prefix="sap2-talk-") as folder:
            local = Path(folder) / PurePosixPath(name).name
            files.get_file(name, str(local))
            [(_, heard)] = transcribe([local])
        talk = {"talk": str(PurePosixPath(name).relative_to(root))}
        rows.append(talk | ({"error": str(heard)} if isinstance(heard, InputError) else verbose(heard)))
    write_jsonl(output, rows)
    failed = sum("error" in row for row in rows)
    return {"transcribed": len(rows) - failed, "failed": failed}


def _opened(place: str) -> tuple[Any, str]:
    """The file system a place lies in, and its path there."""
    import fsspec

    if place.startswith("s3://"):
        return _object_store(), place.removeprefix("s3://").rstrip("/")
    try:
        files, root = fsspec.core.url_to_fs(place)
    except (ImportError, ValueError) as error:
        raise InputError(f"{place}: {error}; expected a folder or s3://BUCKET/FOLDER") from error
    return files, root.rstrip("/")


def _object_store() -> Any:
    """S3 by Arrow's client, which the package has anyway; keys, region and endpoint by AWS's variables."""
    from fsspec.implementations.arrow import ArrowFSWrapper
    from pyarrow.fs import S3FileSystem

    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    return ArrowFSWrapper(S3FileSystem(endpoint_override=endpoint, region=os.environ.get("AWS_DEFAULT_REGION")))
