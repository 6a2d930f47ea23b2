"""Word spotting finds the best CTC path of every keyword, as trying all paths does."""

import doctest
import itertools

import numpy as np
import pytest

import sap2.inference.spotting as module
from sap2.inference.spotting import PrefixTree, spot, without_pauses

BLANK = 0


def frame_scores(rng: np.random.Generator, frames: int, tokens: int = 4) -> np.ndarray:
    logits = 3 * rng.standard_normal((frames, tokens))
    return (logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)).astype(np.float32)


def collapsed(path: tuple[int, ...]) -> tuple[int, ...]:
    """What CTC reads of a path: no token twice in a row, then no blanks."""
    return tuple(token for token, _ in itertools.groupby(path) if token != BLANK)


def by_trying_all(scores: np.ndarray) -> dict[tuple[int, ...], float]:
    """The best log-likelihood ratio of every token sequence: all paths through all stretches of frames."""
    ratios = scores - scores.max(axis=1, keepdims=True)
    best: dict[tuple[int, ...], float] = {}
    for start, end in itertools.combinations(range(len(scores) + 1), 2):
        for path in itertools.product(range(scores.shape[1]), repeat=end - start):
            score = float(ratios[range(start, end), path].sum())
            said = collapsed(path)
            best[said] = max(score, best.get(said, -np.inf))
    return best


def test_examples_in_docstrings_run():
    assert doctest.testmod(module).failed == 0


@pytest.mark.parametrize("seed", range(8))
def test_scores_are_those_of_the_best_of_all_paths(seed):
    rng = np.random.default_rng(seed)
    scores = frame_scores(rng, frames=int(rng.integers(1, 6)))
    sequences = [one for size in (1, 2, 3, 4) for one in itertools.product((1, 2, 3), repeat=size)]
    sequences = [sequences[place] for place in rng.permutation(len(sequences))[:60]]
    best = by_trying_all(scores)
    found = spot(scores, BLANK, PrefixTree.of(sequences), token_bonus=0.0)
    np.testing.assert_allclose(found, [best.get(one, -np.inf) for one in sequences], atol=1e-4)


def test_what_the_frames_say_scores_0_and_the_rest_less():
    said = [1, 1, BLANK, 2, BLANK, 2, 3]  # 1 2 2 3
    scores = np.full((7, 4), -5.0, np.float32)
    scores[range(7), said] = -0.1
    sequences = [[1, 2, 2, 3], [2, 2], [2, 3], [1, 2, 3], [3, 1], [2, 2, 2]]
    found = spot(scores, BLANK, PrefixTree.of(sequences), token_bonus=0.0)
    assert found[:3] == pytest.approx([0, 0, 0], abs=1e-5) and (found[3:] < -1).all()


def test_frames_before_and_after_never_lower_a_score():
    rng = np.random.default_rng(1)
    scores, tree = frame_scores(rng, 6), PrefixTree.of([[1], [1, 2], [3, 3], [2, 1, 3]])
    longer = np.concatenate([frame_scores(rng, 3), scores, frame_scores(rng, 2)])
    assert (spot(longer, BLANK, tree) >= spot(scores, BLANK, tree) - 1e-4).all()


def test_a_bonus_counts_once_per_token():
    scores, tree = frame_scores(np.random.default_rng(2), 6), PrefixTree.of([[1], [1, 2], [2, 1, 3]])
    gained = spot(scores, BLANK, tree, token_bonus=1.5) - spot(scores, BLANK, tree, token_bonus=0.0)
    assert gained == pytest.approx([1.5, 3.0, 4.5])


def test_a_beam_loses_keywords_and_never_changes_a_score():
    rng = np.random.default_rng(3)
    scores = frame_scores(rng, frames=12, tokens=30)
    tree = PrefixTree.of(rng.integers(1, 30, size=(3000, 4)).tolist())
    exact, cut = (spot(scores, BLANK, tree, beam) for beam in (10_000, 400))
    reached = np.isfinite(cut)
    assert np.isfinite(exact).all() and 0 < reached.sum() < len(cut)
    np.testing.assert_allclose(cut[reached], exact[reached], atol=1e-4)
    assert set(np.argsort(-exact)[:5]) <= set(np.flatnonzero(reached)), "the best ones stay"


def test_pauses_are_one_frame_and_change_no_score():
    rng = np.random.default_rng(6)
    scores = np.full((14, 5), -9.0, np.float32) + rng.random((14, 5), np.float32)
    scores[:, BLANK] = -0.01
    said = {2: 1, 7: 1, 8: 2, 12: 3}  # frame: token
    for frame, token in said.items():
        scores[frame, BLANK], scores[frame, token] = -6.0, -0.02
    merged = without_pauses(scores, BLANK)
    assert len(merged) == len(said) + 4, "the frames with a token, and the pauses around them"
    sequences = [[1, 1, 2, 3], [1, 2], [1, 2, 3], [2, 3], [3]]  # each as it is said
    kept, before = (spot(one, BLANK, PrefixTree.of(sequences), token_bonus=0.0) for one in (merged, scores))
    np.testing.assert_allclose(kept, before, atol=0.2)
    assert len(without_pauses(scores[:0], BLANK)) == 0
    loud = frame_scores(rng, 5)
    loud[:, BLANK] = -3.0
    np.testing.assert_array_equal(without_pauses(loud, BLANK), loud)


def test_sequences_that_cannot_be_said_score_least():
    scores = frame_scores(np.random.default_rng(4), 2)
    tree = PrefixTree.of([[1, 2, 3], [1, 1], [], [2]])
    assert np.isfinite(spot(scores, BLANK, tree)).tolist() == [False, False, False, True]
    assert not np.isfinite(spot(scores[:0], BLANK, tree)).any()
    assert spot(scores, BLANK, PrefixTree.of([])).shape == (0,)


def test_sequences_share_the_nodes_of_their_beginning():
    rng = np.random.default_rng(5)
    sequences = [tuple(rng.integers(1, 4, size=rng.integers(1, 6)).tolist()) for _ in range(200)]
    tree = PrefixTree.of(sequences)
    assert len(tree.tokens) == len({one[:size] for one in sequences for size in range(1, len(one) + 1)})
    for sequence, node in zip(sequences, tree.ends, strict=True):
        spelt = []
        while node >= 0:
            spelt.append(int(tree.tokens[node]))
            node = tree.parents[node]
        assert tuple(reversed(spelt)) == sequence
