"""Without disk space, permissions or memory a stage ends with a clear error, and outputs are complete or absent."""

import os
import re
import signal
import subprocess
import sys

import pytest

from sap2 import stages
from sap2.errors import OutputError
from sap2.params import BaseSection, EvaluationSection

CUT = {
    "prepare": 3_000,
    "lists": 1_000,
    "base": 100_000,
    "evaluate": 20_000,
}  # bytes that a file may have: below that of an output
CUT_LONG = {"train-pruner": 2_500_000, "prune": 100, "train-recogniser": 2_500_000, "decode": 100}
PLACES = {
    "prepare": "data/prepared", "lists": "data/lists", "base": "models/base", "prune": "data/pruned",
    "decode": "results", "evaluate": "reports/", "train-pruner": "models/.checkpoints/pruner/",
    "train-recogniser": "models/.checkpoints/recogniser/",
}  # fmt: skip
# Everything is imported before the memory is limited: how a library reports a failed import is not tested.
SHORT_OF_MEMORY = """
import resource, sys, torch
from sap2.cli import main
import sap2.inference.corpus, sap2.model
pages = int(open("/proc/self/statm").read().split()[0])
resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + 60_000_000,) * 2)
sys.argv = ["sap2", "decode", "--profile", "test"]
main()
"""


def assert_named(flow, stage: str, size: int) -> None:
    said = flow.refused(stage, "RLIMIT_FSIZE", size)
    assert re.match(rf"sap2: {PLACES[stage]}\S*: cannot be written: .+; free space, raise the quota", said), said


def test_a_quota_is_named_with_the_output(flow):
    for stage, size in CUT.items():
        assert_named(flow, stage, size)


@pytest.mark.long
@pytest.mark.parametrize("stage", CUT_LONG)
def test_a_quota_is_named_with_the_output_by_every_stage(flow, stage):
    assert_named(flow, stage, CUT_LONG[stage])
    flow.reproduce(stage)


@pytest.fixture
def disk(tmp_path):
    """An empty disk of a megabyte."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder], capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(f"a disk of its own needs the right to mount: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_a_full_disk_is_named_and_left_as_it_was(disk):
    with pytest.raises(OutputError, match=r"disk/base: cannot be written: No space left on device; free space"):
        stages.base(BaseSection(), disk / "base")
    assert os.listdir(disk) == []


def test_a_read_only_disk_is_named(disk, repository, reproduced):
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    with pytest.raises(OutputError, match=r"disk/reports/plots: cannot be written: Read-only file system"):
        stages.evaluate(EvaluationSection(bootstrap_samples=20), repository / "results", disk / "reports")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_the_right_to_write_is_named(tmp_path):
    tmp_path.chmod(0o555)
    with pytest.raises(OutputError, match=r"base: cannot be written: Permission denied"):
        stages.base(BaseSection(), tmp_path / "base")


@pytest.mark.long
def test_too_little_memory_leaves_the_outputs_whole(flow):
    """One sentence says so, unless a library in C++ ends the process first."""
    done = subprocess.run(
        [sys.executable, "-c", SHORT_OF_MEMORY], cwd=flow.folder, env=os.environ | {"PYTHONPATH": str(flow.folder)},
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode in (1, -signal.SIGABRT), done.stderr[-3000:]
    assert "bad_alloc" in done.stderr or "\nsap2: out of memory " in done.stderr, done.stderr[-3000:]
    assert flow.outputs("decode") == flow.unbroken["decode"]
