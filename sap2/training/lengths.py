"""Lengths of all planned utterances, from which batches are made: measured once, by all processes together, and saved.

    entries of an epoch --a share per process, in workers--> parts --joined--> lengths-EPOCH.npy

The files are in the training's folder, which is named by base, data and settings: a resumed training reads them instead
of measuring again.
"""

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np

from sap2.files import atomic_file
from sap2.progress import track
from sap2.training.schedule import Entry

__all__ = ["Lengths"]

CHUNK = 1000  # entries that a worker takes at a time
MIN_ENTRIES = 20_000  # entries per process; with fewer, workers would not save time

Length = Callable[[int, int], int]
_length: Length | None = None  # set before workers are forked


class Lengths:
    """Measure the entries of an epoch: every process calls `lengths(entries)` with the same entries.

    Args:
        folder: Folder of the saved lengths.
        length: Returns an utterance's tokens in an epoch, as `length(epoch, index)`; may raise InputError.
        rank, ranks: This process's rank, and the number of processes.
        barrier: Waits until every process has called it.
        workers: Number of worker processes; None = this process's share of the cores.
    """

    def __init__(
        self,
        folder: Path,
        length: Length,
        rank: int = 0,
        ranks: int = 1,
        barrier: Callable[[], None] = lambda: None,
        workers: int | None = None,
    ):
        self.folder, self.length, self.rank, self.ranks, self.barrier = Path(folder), length, rank, ranks, barrier
        self.workers = _share_of_cores() if workers is None else workers

    def __call__(self, entries: Sequence[Entry]) -> list[int]:
        """Return each entry's length.

        Raises: InputError: as `length`.
        """
        if not entries:
            return []
        epoch = entries[0][0]
        kept = self.folder / f"lengths-{epoch}.npy"
        lengths = _kept(kept, len(entries))
        # All processes must have looked for the file before the first of them writes it.
        self.barrier()
        if lengths is None:
            lengths = self._measure_together(epoch, entries)
            self.barrier()  # every process has read the parts
            if self.rank == 0:
                _keep(kept, lengths)
                for part in self._parts(epoch):
                    part.unlink(missing_ok=True)
        return lengths.tolist()

    def _parts(self, epoch: int) -> list[Path]:
        return [self.folder / f"lengths-{epoch}.{rank}-of-{self.ranks}.npy" for rank in range(self.ranks)]

    def _measure_together(self, epoch: int, entries: Sequence[Entry]) -> np.ndarray:
        parts = self._parts(epoch)
        own = entries[self.rank :: self.ranks]
        if _kept(parts[self.rank], len(own)) is None:
            _keep(parts[self.rank], self._measure(own))
        self.barrier()  # every process has written its part
        joined = np.empty(len(entries), np.int32)
        for rank, part in enumerate(parts):
            share = entries[rank :: self.ranks]
            lengths = _kept(part, len(share))
            # Nodes may not share the folder.
            joined[rank :: self.ranks] = self._measure(share) if lengths is None else lengths
        return joined

    def _measure(self, entries: Sequence[Entry]) -> np.ndarray:
        global _length
        chunks = [entries[start : start + CHUNK] for start in range(0, len(entries), CHUNK)]
        label = f"measure utterances ({CHUNK} each)"
        if self.workers < 2 or len(entries) < MIN_ENTRIES:
            measured = [[self.length(*entry) for entry in chunk] for chunk in chunks]
            return np.array([length for chunk in measured for length in chunk], np.int32)
        _length = self.length
        try:
            # Forked workers share the utterances; none of them uses a GPU. The executor ends them by messages: a signal
            # that reaches a worker before _start_worker runs is taken by the training's handler, and the worker stays.
            fork = multiprocessing.get_context("fork")
            with ProcessPoolExecutor(self.workers, mp_context=fork, initializer=_start_worker) as pool:
                results: Iterable[list[int]] = pool.map(_measure_chunk, chunks)
                results = track(results, len(chunks), label) if self.rank == 0 else results
                return np.array([length for chunk in results for length in chunk], np.int32)
        finally:
            _length = None


def _start_worker() -> None:
    """Restore the signals that the training handles, and limit the tokenizer to one thread, as forking requires."""
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _measure_chunk(entries: Sequence[Entry]) -> list[int]:
    if _length is None:
        raise RuntimeError("a worker was forked before its function was set")
    return [_length(*entry) for entry in entries]


def _share_of_cores() -> int:
    return max(1, len(os.sched_getaffinity(0)) // int(os.environ.get("LOCAL_WORLD_SIZE", 1)))


def _kept(file: Path, count: int) -> np.ndarray | None:
    """Return the lengths in a file; None if it is missing, damaged or has another number of them."""
    try:
        lengths = np.load(file)
    except (OSError, ValueError, EOFError):
        return None
    return lengths if lengths.shape == (count,) else None


def _keep(file: Path, lengths: np.ndarray) -> None:
    with atomic_file(file) as partial, partial.open("wb") as opened:
        np.save(opened, lengths)
