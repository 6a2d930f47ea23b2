"""The pooling's scores as a pruner."""

import doctest
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import experiments.relevance as module
from experiments.relevance import anywhere, in_order, recall


def test_examples_in_docstrings_run():
    assert doctest.testmod(module, extraglobs={"np": np}).failed == 0


@given(st.integers(1, 6), st.integers(1, 4), st.randoms(use_true_random=False))
def test_tokens_are_matched_in_order(frames, tokens, random):
    scores = np.array([[random.uniform(-3, 3) for _ in range(tokens)] for _ in range(frames)])
    paths = [scores[list(path), range(tokens)].mean() for path in combinations(range(frames), tokens)]
    assert in_order(scores) == pytest.approx(max(paths, default=-np.inf))
    assert in_order(scores) <= anywhere(scores) + 1e-9


def test_recall_is_the_most_at_that_precision():
    scored = [{"a": 3.0, "b": 2.0, "c": -1.0}, {"a": 5.0, "b": 1.0}]
    assert recall(scored, [["a", "b"], ["a"]]) == 1.0
    assert recall(scored, [["a", "c"], ["a"]]) == pytest.approx(2 / 3, abs=1e-4)
    assert recall(scored, [["c"], []]) == 0.0
    assert recall([{"a": -np.inf}, {"a": 2.0}], [["a"], ["a"]]) == 0.5
