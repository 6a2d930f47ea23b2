"""Lengths of planned utterances: measured once by all processes together, in workers, and never again."""

import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from threading import Barrier

import pytest

from sap2.errors import InputError
from sap2.training import lengths
from sap2.training.lengths import Lengths

ENTRIES = [(2, index * 7 % 101) for index in range(101)]
EXPECTED = [index + 3 for _, index in ENTRIES]


class Counted:
    def __init__(self):
        self.calls = []

    def __call__(self, epoch: int, index: int) -> int:
        self.calls.append(index)
        return index + epoch + 1


def together(folders, ranks: int, measures) -> list[list[int]]:
    """What each of several processes gets, here threads."""
    barrier = Barrier(ranks)

    def measured(rank: int) -> list[int]:
        return Lengths(folders[rank], measures[rank], rank, ranks, barrier.wait, workers=1)(ENTRIES)

    with ThreadPoolExecutor(ranks) as threads:
        return list(threads.map(measured, range(ranks)))


def test_processes_share_the_work_and_agree(tmp_path):
    measures = [Counted() for _ in range(3)]
    assert together([tmp_path] * 3, 3, measures) == [EXPECTED] * 3
    assert sorted(index for measure in measures for index in measure.calls) == list(range(101))
    assert [path.name for path in tmp_path.iterdir()] == ["lengths-2.npy"]


def test_a_resumed_training_measures_nothing(tmp_path):
    Lengths(tmp_path, Counted(), workers=1)(ENTRIES)
    again = [Counted() for _ in range(2)]
    assert together([tmp_path] * 2, 2, again) == [EXPECTED] * 2
    assert [measure.calls for measure in again] == [[], []]


@pytest.mark.parametrize("damage", [b"", b"not a file of numpy's"])
def test_damaged_files_and_other_entries_are_measured_anew(tmp_path, damage):
    (tmp_path / "lengths-2.npy").write_bytes(damage)
    assert Lengths(tmp_path, Counted(), workers=1)(ENTRIES) == EXPECTED
    assert Lengths(tmp_path, Counted(), workers=1)(ENTRIES[:50]) == EXPECTED[:50]


def test_what_a_killed_process_had_measured_is_kept(tmp_path):
    class Killed(Exception):
        pass

    def barrier():
        if list(tmp_path.iterdir()):
            raise Killed

    with pytest.raises(Killed):
        Lengths(tmp_path, Counted(), 0, 2, barrier, workers=1)(ENTRIES)
    measures = [Counted(), Counted()]
    assert together([tmp_path] * 2, 2, measures) == [EXPECTED] * 2
    assert measures[0].calls == [] and len(measures[1].calls) == 50


def test_nodes_without_a_folder_in_common_measure_all_themselves(tmp_path):
    folders = [tmp_path / "one", tmp_path / "other"]
    for folder in folders:
        folder.mkdir()
    assert together(folders, 2, [Counted(), Counted()]) == [EXPECTED] * 2


def test_workers_measure_the_same_and_their_errors_arrive(tmp_path, monkeypatch):
    monkeypatch.setattr(lengths, "MIN_ENTRIES", 50)
    monkeypatch.setattr(lengths, "CHUNK", 10)
    here = os.getpid()

    def elsewhere(epoch: int, index: int) -> int:
        assert os.getpid() != here
        return index + epoch + 1

    def fails(epoch: int, index: int) -> int:
        if index == 63:
            raise InputError(f"u{index}: too long")
        return index

    assert Lengths(tmp_path, elsewhere, workers=2)(ENTRIES) == EXPECTED
    with pytest.raises(InputError, match="u63: too long"):
        Lengths(tmp_path / "other", fails, workers=2)(ENTRIES)


@pytest.mark.timeout(60, method="signal")
def test_a_worker_that_starts_late_does_not_hang_a_process_that_handles_sigterm(tmp_path, monkeypatch):
    """Workers inherit the training's SIGTERM handler, so that a signal sent before they restore the default is lost."""
    start, first = lengths._start_worker, tmp_path / "first"

    def start_late() -> None:
        try:
            first.touch(exist_ok=False)
        except FileExistsError:
            time.sleep(1)
        start()

    monkeypatch.setattr(lengths, "MIN_ENTRIES", 50)
    monkeypatch.setattr(lengths, "_start_worker", start_late)
    before = signal.signal(signal.SIGTERM, lambda number, frame: None)
    try:
        assert Lengths(tmp_path, Counted(), workers=2)(ENTRIES) == EXPECTED
    finally:
        signal.signal(signal.SIGTERM, before)


@pytest.mark.timeout(60, method="signal")
def test_a_killed_worker_is_an_error(tmp_path, monkeypatch):
    def killed(epoch: int, index: int) -> int:
        os.kill(os.getpid(), signal.SIGKILL)
        return index

    monkeypatch.setattr(lengths, "MIN_ENTRIES", 50)
    with pytest.raises(BrokenProcessPool):
        Lengths(tmp_path, killed, workers=2)(ENTRIES)
