"""The order in which utterances are trained, fixed before the first step: the same seed gives the same order.

All epochs stand in one list, so a position in it is all that a resumed run needs to know.
"""

import math
import random
from collections.abc import Callable, Sequence
from itertools import pairwise

BUCKET = 32  # batches sorted by length together; many more would let an utterance's length choose its neighbours

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
    """Batch `(epoch, index)` entries so that the utterances of a batch are about equally long.

    Args:
        utterances: How many there are; every epoch takes each once.
        total: Entries wanted: epochs × utterances; the last epoch may be a part of one.
        batch: Utterances of a batch; with a budget, at most.
        measure: Costs of entries of one epoch, in any unit; called once an epoch that is needed.
        ranks: Processes. Batches r, r + ranks, … are process r's, so each of them has equally many.
        budget: Most a batch costs, its utterances counted as long as its longest; one that is longer by itself stands
            alone.
        most: Batches wanted at most, a multiple of `ranks`.
    Returns: The batches. Each run of `ranks` of them is one forward pass on all processes together, of as many
        utterances on each, give or take one; where the last has fewer utterances than processes, some come again. The
        longest is the first, so that a run short of memory ends at once.
    """
    passes: list[list[Entry]] = []
    lengths: dict[Entry, float] = {}
    pending: list[Entry] = []
    wanted = math.inf if most is None else most // ranks
    for epoch in range(-(-total // utterances)):
        if len(passes) >= wanted:
            break
        rng = random.Random(f"{seed}/order/{epoch}")
        order = list(range(utterances))
        rng.shuffle(order)
        fresh = [(epoch, index) for index in order[: total - epoch * utterances]]
        lengths |= dict(zip(fresh, measure(fresh), strict=True))
        pending += fresh
        whole = len(pending) // (batch * ranks) * (batch * ranks)
        bucketed, rest = _bucketed(pending[:whole], batch, lengths, ranks, budget)
        rng.shuffle(bucketed)
        passes += bucketed
        pending = rest + pending[whole:]
    if len(passes) < wanted:
        done, rest = _cut(sorted(pending, key=lengths.__getitem__), batch, lengths, ranks, budget)
        passes += [*done, rest] if rest else done
    passes = passes[: min(wanted, len(passes))]
    costs = [math.ceil(len(entries) / ranks) * max(map(lengths.__getitem__, entries)) for entries in passes]
    costliest = costs.index(max(costs))
    passes[0], passes[costliest] = passes[costliest], passes[0]
    return [part for entries in passes for part in _shared(entries, ranks)]


def _bucketed(entries: list[Entry], batch: int, lengths, ranks: int, budget: float | None):
    """Forward passes from entries in random order, and those left over because they do not fill one."""
    passes, rest, size = [], [], batch * ranks * BUCKET
    for start in range(0, len(entries), size):
        bucket = sorted(rest + entries[start : start + size], key=lengths.__getitem__)
        done, rest = _cut(bucket, batch, lengths, ranks, budget)
        passes += done
    return passes, rest


def _cut(entries: list[Entry], batch: int, lengths, ranks: int, budget: float | None):
    """Full forward passes from entries sorted by length, and the rest."""
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
    """One forward pass's entries shared out to the processes, a stretch each."""
    entries = [entries[place % len(entries)] for place in range(max(len(entries), ranks))]
    ends = [len(entries) * rank // ranks for rank in range(ranks + 1)]
    return [entries[first:last] for first, last in pairwise(ends)]
