"""Files that appear whole or not at all, JSON lines and tables."""

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

HOST = platform.node()  # processes of several machines, or pods, may share a folder
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)

SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")  # JSON's escape of half a character


@contextmanager
def atomic_file(path: Path | str) -> Iterator[Path]:
    """Yield a temporary path beside `path`; it takes the name of `path` only when the block ends without an error.

    Raises: OutputError: it cannot be written.
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
    """Yield an empty temporary folder beside `path`; it replaces `path` only when the block ends without an error.

    Raises: OutputError: it cannot be written.
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
                os.replace(path, old)  # at once; a folder that is deleted file by file is neither whole nor absent
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
    """Delete what processes of this machine that were killed left beside `path`, and what this one did."""
    for left in path.parent.glob(f".{glob.escape(path.name)}.{HOST}-*.partial"):
        process = int(left.name.removeprefix(f".{path.name}.{HOST}-").partition(".")[0])
        if process == os.getpid() or not alive(process):
            shutil.rmtree(left, ignore_errors=True) if left.is_dir() else left.unlink(missing_ok=True)


@contextmanager
def writing(path: Path | str) -> Iterator[None]:
    """Turn what keeps `path` from being written into an error that names it, and not the file inside it.

    Raises: OutputError: no space, no right, a read-only disk, a quota.
    """
    try:
        yield
    except OutputError as error:
        raise _unwritten(path, error.reason) from error
    except SapError:
        raise
    except Exception as error:  # libraries in C and Rust have error classes of their own
        reason = _reason(error, Path(path))
        if reason is None:
            raise
        raise _unwritten(path, reason) from error


def alive(process: int) -> bool:
    """Whether there is a process of that id on this machine."""
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
    """Why an output cannot be written; None when something else went wrong in the meantime."""
    for code in NO_ROOM:
        if getattr(error, "errno", None) == code or f"(os error {code})" in str(error):
            return os.strerror(code)
    if "inline_container" in str(error) or "PytorchStreamWriter" in str(error):  # torch.save gives no reason
        return "a file was cut while it was written, as on a full disk"
    if isinstance(error, OSError) and error.filename is not None and error.errno != errno.ENOENT:
        place = Path(os.fsdecode(error.filename))
        if place in (path, *path.parents) or any(part.endswith(".partial") for part in place.parts):
            return os.strerror(error.errno) if error.errno is not None else str(error)
    return None


def _unwritten(path: Path | str, reason: str) -> OutputError:
    way_out = "free space, raise the quota or correct the rights, then run this again"
    return OutputError(f"{path}: cannot be written: {reason}; {way_out}", reason)


def read_jsonl(path: Path | str, skip: int = 0) -> Iterator[tuple[int, dict]]:
    """Yield `(line number, object)` for every non-blank line.

    Args:
        skip: How many non-blank lines to pass over unread.
    Raises: InputError: the file is missing or not UTF-8, or a line is not a JSON object; the message names file, line.
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
    """One line of a JSON lines file.

    Raises: InputError: it is not a JSON object, or holds half a character; the message begins with `where`.
    """
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where}: not JSON ({error}); each line must be one JSON object") from error
    return checked_object(row, where, SURROGATE.search(line) is not None)


def checked_object(row: Any, where: str, halves: bool) -> dict:
    """What JSON stood for, if it is an object.

    Args:
        halves: Whether an escape of half a character is in it: alone it is JSON and no text, which nothing could write.
    Raises: InputError: as `json_object`.
    """
    if not isinstance(row, dict):
        raise InputError(f"{where}: got {type(row).__name__}, expected a JSON object")
    if halves:
        try:
            json.dumps(row, ensure_ascii=False).encode("utf-8")
        except UnicodeEncodeError as error:
            half = f"\\u{ord(error.object[error.start]):04x}"
            raise InputError(f"{where}: {half} is half a character; write it whole, or leave it out") from error
    return row


def json_file(path: Path | str, way_out: str) -> dict:
    """A file that is one JSON object.

    Raises: InputError: it is missing or not a JSON object; the message ends with `way_out`.
    """
    try:
        found = json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file; {way_out}") from error
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: not readable as JSON ({error}); {way_out}") from error
    if not isinstance(found, dict):
        raise InputError(f"{path}: got {type(found).__name__}, expected a JSON object; {way_out}")
    return found


def write_jsonl(path: Path | str, rows: Iterable[dict]) -> int:
    """Write one JSON object a line, atomically; return the number of lines."""
    count = 0
    with atomic_file(path) as partial, partial.open("w", encoding="utf-8") as out:
        for row in rows:
            out.write(json.dumps(row, ensure_ascii=False) + "\n")
            count += 1
    return count


def write_csv(path: Path | str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows of the same keys, at least one, below a line of their names; None becomes an empty field."""
    import csv

    with Path(path).open("w", encoding="utf-8", newline="") as out:
        writer = csv.DictWriter(out, fieldnames=list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def sha256(path: Path | str) -> str:
    """Hex digest of a file's content."""
    digest = hashlib.sha256()
    with Path(path).open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()
