"""Outputs are complete or absent, however their writer ends; errors name the output."""

import errno
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from sap2.errors import InputError, OutputError
from sap2.files import atomic_dir, atomic_file, write_jsonl

KILLED = """
import os, shutil, signal, sys
from sap2.files import atomic_dir

def fatal(event, arguments):
    if event in ("os.remove", "os.rename", "os.rmdir", "shutil.rmtree", "os.mkdir"):
        fatal.left -= 1
        if fatal.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

fatal.left = int(sys.argv[2])
sys.addaudithook(fatal)
with atomic_dir(sys.argv[1]) as partial:
    for name in "abc":
        (partial / name).write_text("new")
"""


def content(folder: Path) -> dict[str, str]:
    return {file.name: file.read_text() for file in folder.iterdir()}


@pytest.fixture
def folder(tmp_path):
    with atomic_dir(tmp_path / "out") as partial:
        for name in "abc":
            (partial / name).write_text("old")
    return tmp_path / "out"


def test_a_folder_is_complete_or_absent_after_a_kill(folder):
    """Kill before each change of the file system in turn; an older output exists."""
    old, new = dict.fromkeys("abc", "old"), dict.fromkeys("abc", "new")
    seen = []
    for change in range(1, 30):
        code = subprocess.run([sys.executable, "-c", KILLED, str(folder), str(change)]).returncode
        seen.append(content(folder) if folder.exists() else None)
        if code == 0:
            break
        assert seen[-1] in (None, old, new), f"killed before change {change}"
    assert code == 0 and len(seen) > 5 and old in seen and seen[-1] == new
    assert os.listdir(folder.parent) == ["out"]  # the last run has removed the temporary files of the others


def test_files_of_a_running_process_are_not_removed(tmp_path):
    with atomic_dir(tmp_path / "out") as mine:
        theirs = mine.with_name(mine.name.replace(f"-{os.getpid()}.", f"-{os.getppid()}."))
        theirs.mkdir()
    with atomic_dir(tmp_path / "out"):
        assert theirs.is_dir()


def test_an_error_keeps_the_old_file(folder, monkeypatch):
    with pytest.raises(ZeroDivisionError), atomic_dir(folder):
        raise ZeroDivisionError
    replace, calls = os.replace, []

    def second_fails(*arguments):
        calls.append(arguments)
        if len(calls) == 2:
            raise OSError(errno.EIO, os.strerror(errno.EIO), str(arguments[0]), None, str(arguments[1]))
        replace(*arguments)

    monkeypatch.setattr(os, "replace", second_fails)
    with pytest.raises(OutputError, match="out: cannot be written: Input/output error"), atomic_dir(folder):
        pass
    assert content(folder) == dict.fromkeys("abc", "old") and os.listdir(folder.parent) == ["out"]


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)),
        ValueError("Error while serializing: I/O error: No space left on device (os error 28)"),  # as safetensors does
    ],
)
def test_a_full_disk_names_the_output_not_its_temporary_file(tmp_path, error):
    with pytest.raises(OutputError) as failure, atomic_dir(tmp_path / "out") as outer:
        with atomic_file(outer / "inner.json"):
            raise error
    assert str(failure.value).startswith(f"{tmp_path / 'out'}: cannot be written: No space left on device; free space")
    assert os.listdir(tmp_path) == []
    assert str(pickle.loads(pickle.dumps(failure.value))) == str(failure.value)  # it is returned from process pools


def test_a_parent_that_is_not_a_folder_is_named(tmp_path):
    (tmp_path / "reports").write_text("a file")
    with pytest.raises(OutputError, match=r"reports/rows.jsonl: cannot be written: "):
        write_jsonl(tmp_path / "reports" / "rows.jsonl", [{}])


def test_an_input_error_is_not_reported_as_an_output_error(tmp_path):
    with pytest.raises(FileNotFoundError), atomic_file(tmp_path / "out"):
        (tmp_path / "input").read_text()
    with pytest.raises(InputError), atomic_dir(tmp_path / "out"):
        raise InputError("No space left on device")


def test_temporary_files_of_another_machine_are_kept(tmp_path):
    left = tmp_path / ".out.elsewhere-1.partial"
    left.mkdir()
    with atomic_dir(tmp_path / "out"):
        pass
    assert left.is_dir()
    shutil.rmtree(left)
