"""Batches from a sharded manifest, for corpora that do not fit into memory.

    shards --shuffled a epoch, dealt to processes and their workers--> streams --a few shards at a time--> batches

Each worker of each process is a stream of its own: it reads its shards from beginning to end, and no other reads them
in that epoch. What a stream's n-th batch holds follows from the seed and the lengths alone, so a resumed run begins in
the middle of an epoch without reading what came before.
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
from sap2.training.augment import Augmenter
from sap2.training.collator import Collator, Example
from sap2.training.lists import ListDrawer
from sap2.training.schedule import BUCKET

TOGETHER = 2  # shards a stream holds at once: their utterances are mixed

Place = tuple[int, int]  # shard, and the utterance's number in it


@dataclass(frozen=True)
class Window:
    """Shards that a stream reads together, and how many batches it takes of them."""

    epoch: int
    shards: tuple[int, ...]
    batches: int


class StreamPlan:
    """Which utterances each batch of a training holds.

    Batch p is the work of stream p % streams: process p % ranks, and in it worker p // ranks % workers.

    Args:
        durations: Seconds of each utterance of each shard.
        total: Utterances wanted: epochs x utterances; the last epoch may be a part of one.
        batch: Utterances of a batch.
        ranks, workers: Processes, and workers of each.
        most: Batches wanted at most, all processes together.
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
        self._ends = [list(accumulate(one.batches for one in windows)) for windows in self.windows]

    def __len__(self) -> int:
        return self._length

    def _plan_epoch(self, epoch: int, share: float) -> int:
        """Deal the epoch's shards out; streams with fewer batches take of theirs again. Returns the epoch's batches."""
        order = list(range(len(self.durations)))
        random.Random(f"{self.seed}/shards/{epoch}").shuffle(order)
        dealt = []
        for stream in range(self.streams):
            own = order[stream :: self.streams]
            shards = [tuple(own[start : start + TOGETHER]) for start in range(0, len(own), TOGETHER)]
            dealt.append([Window(epoch, some, self._batches(some)) for some in shards])
        wanted = max(1, round(share * max(sum(one.batches for one in windows) for windows in dealt)))
        for stream, windows in enumerate(dealt):
            missing, place = wanted, 0
            while missing > 0:
                window = windows[place % len(windows)]
                taken = min(window.batches, missing)
                self.windows[stream].append(Window(epoch, window.shards, taken))
                missing, place = missing - taken, place + 1
        return wanted * self.streams

    def _batches(self, shards: Sequence[int]) -> int:
        return -(-sum(len(self.durations[shard]) for shard in shards) // self.batch)

    def locate(self, position: int) -> tuple[Window, int]:
        """The window a batch is made of, and its number in there."""
        stream, number = position % self.streams, position // self.streams
        place = bisect_right(self._ends[stream], number)
        return self.windows[stream][place], number - (self._ends[stream][place - 1] if place else 0)

    def batches_of(self, window: Window) -> list[list[Place]]:
        """All batches a window's shards make: of about equally long utterances, in any order; the rest last."""
        rng = random.Random(f"{self.seed}/window/{window.epoch}/{window.shards}")
        places = [(shard, row) for shard in window.shards for row in range(len(self.durations[shard]))]
        rng.shuffle(places)
        whole = len(places) // self.batch * self.batch
        batches: list[list[Place]] = []
        for start in range(0, whole, BUCKET * self.batch):
            bucket = places[start : min(start + BUCKET * self.batch, whole)]
            bucket.sort(key=lambda place: self.durations[place[0]][place[1]])
            batches += [bucket[first : first + self.batch] for first in range(0, len(bucket), self.batch)]
        rng.shuffle(batches)
        return batches + [places[whole:]] * (whole < len(places))

    def sizes(self) -> list[int]:
        """Utterances of every batch."""
        streams = [
            [
                min(self.batch, sum(len(self.durations[shard]) for shard in window.shards) - number * self.batch)
                for window in windows
                for number in range(window.batches)
            ]
            for windows in self.windows
        ]
        return [streams[place % self.streams][place // self.streams] for place in range(len(self))]


class ShardedBatches(Dataset):
    """A sharded split in planned batches: one batch, collated, an item. To be asked stream by stream, in order.

    Args:
        limit: Tokens of an utterance at most.
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
        self._held: dict[int, list] = {}
        self._batches: list[list[Place]] = []

    def __len__(self) -> int:
        return len(self.plan)

    def __getitem__(self, position: int) -> dict[str, Tensor]:
        window, number = self.plan.locate(position)
        if window != self._window:
            self._held = {}  # let go of the last window first: two would be twice the memory
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
