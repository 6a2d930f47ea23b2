"""Training order of utterances, fixed before the first step: the same seed gives the same order.

A single list has the batches of all epochs, so a position in it is all that a resumed run needs.
"""

import math
import random
import sys
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise

BUCKET = 32  # batches sorted by length together; with many more, an utterance's length would determine its batch

Entry = tuple[int, int]  # (epoch, index of the utterance)


def plan(
    utterances: int,
    total: int,
    batch: int,
    measure: Callable[[Sequence[Entry]], Sequence[float]],
    seed: int,
    *,
    ranks: int = 1,
    budget: float | None = None,
    most: int | None = None,
) -> list[list[Entry]]:
    """Group `(epoch, index)` entries into batches of similar lengths.

    Args:
        utterances: Number of utterances; every epoch has each once.
        total: Number of entries: epochs × utterances; the last epoch may be incomplete.
        batch: Utterances per batch; with a budget, the maximum.
        measure: Returns the costs of an epoch's entries, in any unit; called once per epoch.
        ranks: Number of processes. Batches r, r + ranks, … belong to process r, so all have equally many.
        budget: Maximum cost of a batch, in which every utterance costs as much as the longest; an utterance above the
            budget is a batch of its own.
        most: Maximum number of batches, a multiple of `ranks`.
    Returns: The batches. Every `ranks` consecutive batches are a forward pass on all processes, and their numbers of
        utterances differ by at most 1; if the last pass has fewer utterances than processes, some are repeated. The
        costliest pass is first, so that a run short of memory fails at once.
    """
    passes: list[list[Entry]] = []
    lengths: dict[Entry, float] = {}
    pending: list[Entry] = []
    wanted = sys.maxsize if most is None else most // ranks
    for epoch in range(-(-total // utterances)):
        if len(passes) >= wanted:
            break
        rng = random.Random(f"{seed}/order/{epoch}")
        order = list(range(utterances))
        rng.shuffle(order)
        fresh = [(epoch, index) for index in order[: total - epoch * utterances]]
        lengths |= dict(zip(fresh, measure(fresh), strict=True))
        pending += fresh
        full = len(pending) // (batch * ranks) * (batch * ranks)
        bucketed, rest = _bucketed(pending[:full], batch, lengths, ranks, budget)
        rng.shuffle(bucketed)
        passes += bucketed
        pending = rest + pending[full:]
    if len(passes) < wanted:
        done, rest = _cut(sorted(pending, key=lengths.__getitem__), batch, lengths, ranks, budget)
        passes += [*done, rest] if rest else done
    passes = passes[:wanted]
    costs = [math.ceil(len(entries) / ranks) * max(map(lengths.__getitem__, entries)) for entries in passes]
    costliest = costs.index(max(costs))
    passes[0], passes[costliest] = passes[costliest], passes[0]
    return [part for entries in passes for part in _shared(entries, ranks)]


def _bucketed(
    entries: list[Entry], batch: int, lengths: Mapping[Entry, float], ranks: int, budget: float | None
) -> tuple[list[list[Entry]], list[Entry]]:
    """Return forward passes from entries in random order, and the entries that do not fill a pass."""
    passes: list[list[Entry]] = []
    rest: list[Entry] = []
    size = batch * ranks * BUCKET
    for start in range(0, len(entries), size):
        bucket = sorted(rest + entries[start : start + size], key=lengths.__getitem__)
        done, rest = _cut(bucket, batch, lengths, ranks, budget)
        passes += done
    return passes, rest


def _cut(
    entries: list[Entry], batch: int, lengths: Mapping[Entry, float], ranks: int, budget: float | None
) -> tuple[list[list[Entry]], list[Entry]]:
    """Return full forward passes from entries sorted by length, and the remaining entries."""
    passes: list[list[Entry]] = []
    current: list[Entry] = []
    for entry in entries:
        rows = math.ceil((len(current) + 1) / ranks)
        if rows > batch or (budget is not None and rows > 1 and rows * lengths[entry] > budget):
            passes.append(current)
            current = []
        current.append(entry)
    if len(current) == batch * ranks:
        return [*passes, current], []
    return passes, current


def _shared(entries: list[Entry], ranks: int) -> list[list[Entry]]:
    """Divide a forward pass's entries among the processes, consecutive entries each."""
    entries = [entries[number % len(entries)] for number in range(max(len(entries), ranks))]
    ends = [len(entries) * rank // ranks for rank in range(ranks + 1)]
    return [entries[first:last] for first, last in pairwise(ends)]
