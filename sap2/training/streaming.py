"""Batches from a sharded manifest, for corpora that do not fit into memory.

    shards --shuffled per epoch, divided among processes and workers--> streams --a few shards at a time--> batches

Each worker of each process is a stream: it reads its shards from beginning to end, and no other stream reads them in
that epoch. A stream's n-th batch depends on the seed and the lengths only, so a resumed run starts in the middle of an
epoch without reading earlier batches.
"""

import random
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from torch import Tensor
from torch.utils.data import Dataset

from sap2.data.shards import Shards
from sap2.errors import InputError
from sap2.manifest import Utterance
from sap2.training.augment import Augmenter
from sap2.training.collator import Collator, Example
from sap2.training.lists import ListDrawer
from sap2.training.schedule import BUCKET

TOGETHER = 2  # shards a stream holds at once and mixes

Row = tuple[int, int]  # shard, and the utterance's number in it


@dataclass(frozen=True)
class Window:
    """Shards that a stream reads together, and the number of batches made of them."""

    epoch: int
    shards: tuple[int, ...]
    batches: int


class StreamPlan:
    """Assignment of utterances to the batches of a training.

    Batch p belongs to stream p % streams, which is worker p // ranks % workers of process p % ranks.

    Args:
        durations: Seconds of each utterance of each shard.
        total: Number of utterances: epochs × utterances; the last epoch may be incomplete.
        batch: Utterances per batch.
        ranks, workers: Number of processes, and of workers per process.
        most: Maximum number of batches, over all processes.
    Raises: InputError: there are fewer shards than streams.
    """

    def __init__(
        self,
        durations: Sequence[Sequence[float]],
        total: int,
        batch: int,
        seed: int,
        *,
        ranks: int = 1,
        workers: int = 1,
        most: int | None = None,
    ):
        self.durations, self.batch, self.seed, self.streams = durations, batch, seed, ranks * workers
        if len(durations) < self.streams:
            raise InputError(
                f"{len(durations)} shards for {ranks} processes with {workers} workers each; set prepare.shard_size so "
                f"that there are at least {self.streams}"
            )
        utterances, epoch = sum(map(len, durations)), 0
        self.windows: list[list[Window]] = [[] for _ in range(self.streams)]
        self._length = 0
        while epoch * utterances < total and (most is None or self._length < most):
            share = min(1.0, total / utterances - epoch)
            self._length += self._plan_epoch(epoch, share)
            epoch += 1
        if most is not None:
            self._length = min(self._length, most)
        self._ends = [list(accumulate(window.batches for window in windows)) for windows in self.windows]

    def __len__(self) -> int:
        return self._length

    def _plan_epoch(self, epoch: int, share: float) -> int:
        """Divide an epoch's shards among the streams; streams with fewer batches repeat some.

        Returns: The number of the epoch's batches.
        """
        order = list(range(len(self.durations)))
        random.Random(f"{self.seed}/shards/{epoch}").shuffle(order)
        streams = []
        for stream in range(self.streams):
            own = order[stream :: self.streams]
            shards = [tuple(own[start : start + TOGETHER]) for start in range(0, len(own), TOGETHER)]
            streams.append([Window(epoch, some, self._batches(some)) for some in shards])
        wanted = max(1, round(share * max(sum(window.batches for window in windows) for windows in streams)))
        for stream, windows in enumerate(streams):
            missing, number = wanted, 0
            while missing > 0:
                window = windows[number % len(windows)]
                taken = min(window.batches, missing)
                self.windows[stream].append(Window(epoch, window.shards, taken))
                missing, number = missing - taken, number + 1
        return wanted * self.streams

    def _batches(self, shards: Sequence[int]) -> int:
        return -(-sum(len(self.durations[shard]) for shard in shards) // self.batch)

    def locate(self, position: int) -> tuple[Window, int]:
        """Return the window of a batch, and the batch's number in it."""
        stream, number = position % self.streams, position // self.streams
        index = bisect_right(self._ends[stream], number)
        return self.windows[stream][index], number - (self._ends[stream][index - 1] if index else 0)

    def batches_of(self, window: Window) -> list[list[Row]]:
        """Return a window's batches, of similar durations and in random order; an incomplete batch is last."""
        rng = random.Random(f"{self.seed}/window/{window.epoch}/{window.shards}")
        rows = [(shard, row) for shard in window.shards for row in range(len(self.durations[shard]))]
        rng.shuffle(rows)
        full = len(rows) // self.batch * self.batch
        batches: list[list[Row]] = []
        for start in range(0, full, BUCKET * self.batch):
            bucket = rows[start : min(start + BUCKET * self.batch, full)]
            bucket.sort(key=lambda row: self.durations[row[0]][row[1]])
            batches += [bucket[first : first + self.batch] for first in range(0, len(bucket), self.batch)]
        rng.shuffle(batches)
        return batches + [rows[full:]] * (full < len(rows))

    def sizes(self) -> list[int]:
        """Return the number of utterances of every batch."""
        streams = [
            [
                min(self.batch, sum(len(self.durations[shard]) for shard in window.shards) - number * self.batch)
                for window in windows
                for number in range(window.batches)
            ]
            for windows in self.windows
        ]
        return [streams[batch % self.streams][batch // self.streams] for batch in range(len(self))]


class ShardedBatches(Dataset[dict[str, Tensor]]):
    """A sharded split in planned batches: each item is a collated batch. Each stream must read its items in order.

    Args:
        limit: Maximum number of tokens of an utterance.
    """

    def __init__(
        self,
        shards: Shards,
        plan: StreamPlan,
        drawer: ListDrawer,
        augmenter: Augmenter,
        collator: Collator,
        limit: int,
    ):
        self.shards, self.plan, self.drawer, self.augmenter = shards, plan, drawer, augmenter
        self.collator, self.limit = collator, limit
        self._window: Window | None = None
        self._held: dict[int, list[tuple[Utterance, bytes]]] = {}
        self._batches: list[list[Row]] = []

    def __len__(self) -> int:
        return len(self.plan)

    def __getitem__(self, position: int) -> dict[str, Tensor]:
        window, number = self.plan.locate(position)
        if window != self._window:
            self._held = {}  # release the last window first: two would need twice the memory
            self._held = {shard: self.shards.read(shard) for shard in window.shards}
            self._window, self._batches = window, self.plan.batches_of(window)
        examples = [self._example(window.epoch, *place) for place in self._batches[number]]
        batch = self.collator(examples)
        if batch["input_ids"].shape[1] > self.limit:
            for example in examples:
                self.collator.check(example, self.collator.length(example), self.limit)
        return batch

    def _example(self, epoch: int, shard: int, row: int) -> Example:
        utterance, recording = self._held[shard][row]
        draw, speed = self.drawer.draw(utterance, epoch), self.augmenter.speed(utterance, epoch)
        return Example(row, utterance, draw, epoch, speed, recording)
