"""Recovery of a window's tokens from its vector."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from experiments.windows import _share_read, read


@given(st.lists(st.integers(0, 19), min_size=1, max_size=4, unique=True), st.integers(0, 1000))
def test_as_many_tokens_as_dimensions_are_always_recovered(tokens, seed):
    rng = np.random.default_rng(seed)
    embeddings = np.eye(20) * rng.uniform(0.5, 2.0, (20, 1))
    weights = rng.uniform(0.1, 1.0, len(tokens))
    assert read(embeddings, weights @ embeddings[tokens], len(tokens)) == set(tokens)


def test_indistinguishable_tokens_are_not_recovered():
    embeddings = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [-1.0, 0.0]])
    windows, even = [[0, 1], [2, 2], [0, 3]], [np.array([0.5, 0.5])] * 3
    assert read(embeddings, np.array([0.5, 0.5]), 1) == {2}
    assert _share_read(embeddings, windows[:1], even[:1]) == 0.0, "0 and 1 together look like 2"
    assert _share_read(embeddings, windows[1:2], even[:1]) == 1.0
    assert read(embeddings, np.zeros(2), 2) != {0, 3}
