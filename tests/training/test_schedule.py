"""The order of training: every utterance once an epoch, like lengths together, the same for the same seed."""

import math
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from sap2.training.schedule import plan


def length(epoch: int, index: int) -> int:
    return index * 7 % 101 + epoch + 1


def lengths(entries) -> list[int]:
    return [length(*entry) for entry in entries]


def flat(batches):
    return [entry for batch in batches for entry in batch]


@given(st.integers(1, 60), st.integers(1, 4), st.integers(1, 9), st.integers(0, 3), st.integers(20, 500) | st.none())
def test_every_epoch_takes_every_utterance_once(utterances, epochs, batch, seed, budget):
    batches = plan(utterances, utterances * epochs, batch, lengths, seed, budget=budget)
    assert Counter(flat(batches)) == Counter((epoch, index) for epoch in range(epochs) for index in range(utterances))


@given(st.integers(1, 200), st.integers(1, 9), st.integers(1, 4), st.integers(1, 500) | st.none())
def test_batches_keep_size_and_budget_and_are_divided_evenly(utterances, batch, ranks, budget):
    batches = plan(utterances, 2 * utterances, batch, lengths, 1, ranks=ranks, budget=budget)
    assert len(batches) % ranks == 0
    for start in range(0, len(batches), ranks):
        rows = [len(entries) for entries in batches[start : start + ranks]]
        assert max(rows) - min(rows) <= 1 and 1 <= min(rows) and max(rows) <= batch
    for entries in batches:
        assert budget is None or len(entries) == 1 or len(entries) * max(length(*entry) for entry in entries) <= budget
    again = Counter(flat(batches)) - Counter((epoch, index) for epoch in range(2) for index in range(utterances))
    assert again.total() < ranks  # of the last forward pass, when it has fewer utterances than processes
    assert set(flat(batches)) == {(epoch, index) for epoch in range(2) for index in range(utterances)}


def test_a_budget_fills_batches_with_more_of_what_is_short():
    batches = plan(2000, 2000, 64, lengths, 1, ranks=2, budget=640)
    filled = [len(batch) * max(length(*entry) for entry in batch) / 640 for batch in batches]
    assert sum(filled) / len(filled) > 0.8
    assert max(map(len, batches)) > 5 * min(map(len, batches))


def test_a_part_of_an_epoch():
    batches = plan(10, 25, 4, lengths, seed=1)
    assert Counter(epoch for epoch, _ in flat(batches)) == {0: 10, 1: 10, 2: 5}


@given(st.integers(1, 40), st.integers(1, 20), st.integers(1, 3), st.integers(20, 300) | st.none())
def test_a_number_of_steps_takes_as_many_epochs_as_it_needs(utterances, steps, ranks, budget):
    most = steps * ranks
    batches = plan(utterances, most * 4, 4, lengths, 1, ranks=ranks, budget=budget, most=most)
    assert len(batches) == most


def test_same_seed_same_order_and_other_epochs_other_orders():
    assert plan(50, 100, 4, lengths, 1) == plan(50, 100, 4, lengths, 1) != plan(50, 100, 4, lengths, 2)
    entries = flat(plan(50, 100, 5, lambda entries: [1] * len(entries), 1))
    assert [index for epoch, index in entries if epoch == 0] != [index for epoch, index in entries if epoch == 1]


def test_batches_hold_like_lengths_and_the_longest_comes_first():
    batches = [[length(*entry) for entry in batch] for batch in plan(800, 800, 8, lengths, 1)]
    assert sum(max(batch) - min(batch) for batch in batches) / len(batches) < 8  # at random: about 80
    assert max(batches[0]) == max(map(max, batches))


def test_the_costliest_batch_comes_first_under_a_budget():
    batches = plan(800, 800, 32, lengths, 1, budget=400)
    costs = [len(batch) * max(length(*entry) for entry in batch) for batch in batches]
    assert math.isclose(costs[0], max(costs))
