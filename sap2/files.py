"""Atomically written files and folders, JSON lines and tables."""

import errno
import glob
import hashlib
import json
import os
import platform
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sap2.errors import InputError, OutputError, SapError

HOST = platform.node()  # processes on several machines or pods may share a folder
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)

SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")  # JSON's escape of half a surrogate pair


@contextmanager
def atomic_file(path: Path | str) -> Iterator[Path]:
    """Yield a temporary path beside `path`; it replaces `path` only if the block succeeds.

    Raises: OutputError: `path` cannot be written.
    """
    path = Path(path)
    partial = _aside(path)
    with writing(path):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            clear_remains(path)
            yield partial
            os.replace(partial, path)
        finally:
            partial.unlink(missing_ok=True)


@contextmanager
def atomic_dir(path: Path | str) -> Iterator[Path]:
    """Yield an empty temporary folder beside `path`; it replaces `path` only if the block succeeds.

    Raises: OutputError: `path` cannot be written.
    """
    path = Path(path)
    partial, old = _aside(path), _aside(path, "old.")
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        clear_remains(path)
        partial.mkdir()
        try:
            yield partial
            if path.is_dir():
                os.replace(path, old)  # rename, as deleting file by file would leave a partial folder meanwhile
            try:
                os.replace(partial, path)
            except OSError:
                if old.is_dir():
                    os.replace(old, path)
                raise
        finally:
            shutil.rmtree(partial, ignore_errors=True)
            shutil.rmtree(old, ignore_errors=True)


def clear_remains(path: Path) -> None:
    """Delete temporary files beside `path` left by killed processes of this machine or by this process."""
    for left in path.parent.glob(f".{glob.escape(path.name)}.{HOST}-*.partial"):
        process = int(left.name.removeprefix(f".{path.name}.{HOST}-").partition(".")[0])
        if process == os.getpid() or not alive(process):
            shutil.rmtree(left, ignore_errors=True) if left.is_dir() else left.unlink(missing_ok=True)


@contextmanager
def writing(path: Path | str) -> Iterator[None]:
    """Turn write errors into an OutputError that names `path`, not a file inside it.

    Raises: OutputError: no space, no permission, a read-only disk, a quota.
    """
    try:
        yield
    except OutputError as error:
        raise _unwritten(path, error.reason) from error
    except SapError:
        raise
    except Exception as error:  # libraries in C and Rust raise their own classes
        reason = _reason(error, Path(path))
        if reason is None:
            raise
        raise _unwritten(path, reason) from error


def alive(process: int) -> bool:
    """Return whether a process with that id runs on this machine."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _aside(path: Path, kind: str = "") -> Path:
    return path.with_name(f".{path.name}.{HOST}-{os.getpid()}.{kind}partial")


def _reason(error: Exception, path: Path) -> str | None:
    """Return why an output cannot be written; None for unrelated errors."""
    for code in NO_ROOM:
        if getattr(error, "errno", None) == code or f"(os error {code})" in str(error):
            return os.strerror(code)
    if "inline_container" in str(error) or "PytorchStreamWriter" in str(error):  # torch.save gives no reason
        return "a file was truncated while being written, as on a full disk"
    if isinstance(error, OSError) and error.filename is not None and error.errno != errno.ENOENT:
        culprit = Path(os.fsdecode(error.filename))
        if culprit in (path, *path.parents) or any(part.endswith(".partial") for part in culprit.parts):
            return os.strerror(error.errno) if error.errno is not None else str(error)
    return None


def _unwritten(path: Path | str, reason: str) -> OutputError:
    way_out = "free space, raise the quota or correct the permissions, then run this again"
    return OutputError(f"{path}: cannot be written: {reason}; {way_out}", reason)


def read_jsonl(path: Path | str, skip: int = 0) -> Iterator[tuple[int, dict]]:
    """Yield `(line number, object)` of each non-blank line.

    Args:
        skip: Number of non-blank lines to skip without parsing.
    Raises: InputError: the file is missing or not UTF-8, or a line is not a JSON object; the message names file and
        line.
    """
    path = Path(path)
    try:
        with path.open(encoding="utf-8-sig") as lines:
            for number, line in enumerate(lines, start=1):
                if not line.strip():
                    continue
                if skip:
                    skip -= 1
                    continue
                yield number, json_object(line, f"{path}:{number}")
    except (FileNotFoundError, NotADirectoryError) as error:
        raise InputError(f"{path}: no such file; run the stage that writes it, or correct the path") from error
    except IsADirectoryError as error:
        raise InputError(f"{path}: is a folder, expected a file of JSON lines; correct the path") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 ({error.reason} at byte {error.start}); save it as UTF-8") from error


def json_object(line: str, where: str) -> dict:
    """Parse a line of a JSON lines file.

    Raises: InputError: not a JSON object, or it has half a surrogate pair; the message begins with `where`.
    """
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where}: not JSON ({error}); expected one JSON object per line") from error
    return checked_object(row, where, SURROGATE.search(line) is not None)


def checked_object(row: Any, where: str, halves: bool) -> dict:
    """Check that parsed JSON is an object with encodable strings.

    Args:
        halves: Whether it has an escaped surrogate; an unpaired surrogate is valid JSON but cannot be written as UTF-8.
    Raises: InputError: as `json_object`.
    """
    if not isinstance(row, dict):
        raise InputError(f"{where}: got {type(row).__name__}, expected a JSON object")
    if halves:
        try:
            json.dumps(row, ensure_ascii=False).encode("utf-8")
        except UnicodeEncodeError as error:
            half = f"\\u{ord(error.object[error.start]):04x}"
            raise InputError(
                f"{where}: {half} is half of a surrogate pair; write the whole character, or omit it"
            ) from error
    return row


def json_file(path: Path | str, way_out: str) -> dict:
    """Read a file that contains a JSON object.

    Raises: InputError: the file is missing or not a JSON object; the message ends with `way_out`.
    """
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file; {way_out}") from error
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: not readable as JSON ({error}); {way_out}") from error
    if not isinstance(content, dict):
        raise InputError(f"{path}: got {type(content).__name__}, expected a JSON object; {way_out}")
    return content


def write_jsonl(path: Path | str, rows: Iterable[dict]) -> int:
    """Write one JSON object per line, atomically; return the number of lines."""
    count = 0
    with atomic_file(path) as partial, partial.open("w", encoding="utf-8") as out:
        for row in rows:
            out.write(json.dumps(row, ensure_ascii=False) + "\n")
            count += 1
    return count


def write_csv(path: Path | str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write at least one row of equal keys as CSV with a header; None becomes an empty field."""
    import csv

    with Path(path).open("w", encoding="utf-8", newline="") as out:
        writer = csv.DictWriter(out, fieldnames=list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def sha256(path: Path | str) -> str:
    """Return the hex SHA-256 of a file."""
    digest = hashlib.sha256()
    with Path(path).open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()
