"""The order of training: every utterance once an epoch, like lengths together, the same for the same seed."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from sap2.training.schedule import plan


def length(epoch: int, index: int) -> int:
    return index * 7 % 101 + epoch


@given(st.integers(1, 60), st.integers(1, 4), st.integers(1, 9), st.integers(0, 3))
def test_every_epoch_takes_every_utterance_once(utterances, epochs, batch, seed):
    entries = plan(utterances, utterances * epochs, batch, length, seed)
    assert Counter(entries) == Counter((epoch, index) for epoch in range(epochs) for index in range(utterances))


def test_a_part_of_an_epoch():
    entries = plan(10, 25, 4, length, seed=1)
    assert Counter(epoch for epoch, _ in entries) == {0: 10, 1: 10, 2: 5}


def test_same_seed_same_order_and_other_epochs_other_orders():
    assert plan(50, 100, 4, length, 1) == plan(50, 100, 4, length, 1) != plan(50, 100, 4, length, 2)
    entries = plan(50, 100, 5, lambda epoch, index: 1, 1)
    assert [index for epoch, index in entries if epoch == 0] != [index for epoch, index in entries if epoch == 1]


def test_batches_hold_like_lengths_and_the_longest_comes_first():
    entries = plan(800, 800, 8, length, 1)
    batches = [[length(*entry) for entry in entries[start : start + 8]] for start in range(0, 800, 8)]
    assert sum(max(batch) - min(batch) for batch in batches) / len(batches) < 8  # at random: about 80
    assert max(batches[0]) == max(map(max, batches))
