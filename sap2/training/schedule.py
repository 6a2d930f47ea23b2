"""The order in which utterances are trained, fixed before the first step: the same seed gives the same order.

All epochs stand in one list, so a position in it is all that a resumed run needs to know.
"""

import random
from collections.abc import Callable

BUCKET = 32  # batches sorted by length together; many more would let an utterance's length choose its neighbours

Entry = tuple[int, int]  # (epoch, index of the utterance)


def plan(utterances: int, total: int, batch: int, length: Callable[[int, int], float], seed: int) -> list[Entry]:
    """Order `(epoch, index)` entries so that the utterances of a batch are about equally long.

    Args:
        utterances: How many there are; every epoch takes each once.
        total: Entries wanted: epochs × utterances; the last epoch may be a part of one.
        batch: Utterances of one forward pass on all processes together.
        length: Cost of an utterance in an epoch, called as `length(epoch, index)`, in any unit.
    Returns: The plan; each run of `batch` entries is one forward pass, only the very last may be shorter. The longest
        is the first, so that a run short of memory ends at once.
    """
    batches: list[list[Entry]] = []
    lengths: dict[Entry, float] = {}
    pending: list[Entry] = []
    for epoch in range(-(-total // utterances)):
        rng = random.Random(f"{seed}/order/{epoch}")
        order = list(range(utterances))
        rng.shuffle(order)
        fresh = [(epoch, index) for index in order[: total - epoch * utterances]]
        lengths |= {entry: length(*entry) for entry in fresh}
        pending += fresh
        whole = len(pending) // batch * batch
        batches += _bucketed(pending[:whole], batch, lengths, rng)
        pending = pending[whole:]
    if batches:
        longest = max(range(len(batches)), key=lambda place: max(map(lengths.__getitem__, batches[place])))
        batches[0], batches[longest] = batches[longest], batches[0]
    return [entry for step in [*batches, pending] for entry in step]


def _bucketed(entries: list[Entry], batch: int, lengths: dict[Entry, float], rng: random.Random) -> list[list[Entry]]:
    batches = []
    for start in range(0, len(entries), batch * BUCKET):
        bucket = sorted(entries[start : start + batch * BUCKET], key=lengths.__getitem__)
        batches += [bucket[first : first + batch] for first in range(0, len(bucket), batch)]
    rng.shuffle(batches)
    return batches
