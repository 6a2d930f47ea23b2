"""Transcription of the talks in a folder or bucket, in shards that can run in parallel."""

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


def find_talks(address: str) -> list[str]:
    """List the recordings in a folder or bucket (`/data/talks`, `s3://bucket/talks`) recursively, sorted.

    Raises: InputError: the address does not exist, or has no recordings.
    """
    files, root = _open(address)
    try:
        files_below = files.find(root, on_error="raise")
        recordings = sorted(path for path in files_below if PurePosixPath(path).suffix.lower() in SUFFIXES)
    except (OSError, ValueError) as error:
        raise InputError(f"{address}: cannot be listed ({error}); check the address and its permissions") from error
    if not recordings:
        raise InputError(f"{address}: no recordings, expected files ending in {', '.join(sorted(SUFFIXES))}")
    return recordings


def transcribe_shard(
    address: str,
    shard: int,
    shards: int,
    transcribe: Callable[[Sequence[Path]], Iterator[tuple[Path, Any]]],
    output: Path,
) -> dict[str, int]:
    """Transcribe every `shards`-th talk, starting at index `shard`, into a file of one JSON line per talk.

    Args:
        address: See `find_talks`; talks are downloaded one at a time.
        transcribe: Maps files to pairs of file and transcript, or file and InputError.
    Returns: `transcribed` and `failed`; the line of an unreadable talk has an `error`.
    """
    files, root = _open(address)
    rows = []
    for name in find_talks(address)[shard::shards]:
        with tempfile.TemporaryDirectory(prefix="sap2-talk-") as folder:
            local = Path(folder) / PurePosixPath(name).name
            files.get_file(name, str(local))
            [(_, result)] = transcribe([local])
        talk = {"talk": str(PurePosixPath(name).relative_to(root))}
        rows.append(talk | ({"error": str(result)} if isinstance(result, InputError) else verbose(result)))
    write_jsonl(output, rows)
    failed = sum("error" in row for row in rows)
    return {"transcribed": len(rows) - failed, "failed": failed}


def _open(address: str) -> tuple[Any, str]:
    """Return the file system of an address, and the path in it."""
    import fsspec

    if address.startswith("s3://"):
        return _object_store(), address.removeprefix("s3://").rstrip("/")
    try:
        files, root = fsspec.core.url_to_fs(address)
    except (ImportError, ValueError) as error:
        raise InputError(f"{address}: {error}; expected a folder or s3://BUCKET/FOLDER") from error
    return files, root.rstrip("/")


def _object_store() -> Any:
    """Open S3 by Arrow's client, a dependency anyway; keys, region and endpoint are in AWS's variables."""
    from fsspec.implementations.arrow import ArrowFSWrapper
    from pyarrow.fs import S3FileSystem

    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    return ArrowFSWrapper(S3FileSystem(endpoint_override=endpoint, region=os.environ.get("AWS_DEFAULT_REGION")))
