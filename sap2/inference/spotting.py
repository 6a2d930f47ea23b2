"""CTC word spotting: where in the frame scores of a recording could each of many thousand keywords stand?

All keywords are one prefix tree of tokens. Its levels are matched one after another, all nodes of a level and all
frames at once: a node's best path through every frame is a running maximum, so there is no loop over frames or
keywords.

    frame scores (frames, tokens) --PrefixTree, best paths, a beam per level--> score of each keyword

A keyword's score is the log-likelihood of its best path less that of the best path of any tokens through the same
frames: 0 where it is what the frames say, below 0 otherwise. Word spotting as a complement of a decoder is that of
Andrusenko et al. (2024, arXiv 2406.07096), which walks frame by frame and compares with a greedy decoding.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

__all__ = ["BEAM", "PHONEME_BONUS", "TOKEN_BONUS", "PrefixTree", "spot", "without_pauses"]

BEAM = 1000  # nodes of a level whose continuations are tried
WIDTH = 4  # times the beam: nodes of a level that are matched at most, the most promising by an upper bound
TOKEN_BONUS = 4.0  # added per token: a long keyword has more places to differ and is less likely to match by chance
SURE = -0.05  # log-probability of a blank
PHONEME_BONUS = 3.0  # the same, where the units are phonemes
IMPOSSIBLE = -1e9


@dataclass(frozen=True)
class PrefixTree:
    """Sequences of tokens as a prefix tree; nodes are numbered level by level, within a level by parent.

    Args:
        parents, tokens: Of each node, `(nodes,)`; the parent of the first level's is -1.
        levels: Number of the first node of each level, and of nodes, `(depth + 1,)`.
        ends: The last node of each sequence, `(sequences,)`; -1 = it has no tokens.
        lengths: Tokens of each sequence, `(sequences,)`.
    """

    parents: np.ndarray
    tokens: np.ndarray
    levels: np.ndarray
    ends: np.ndarray
    lengths: np.ndarray

    @classmethod
    def of(cls, sequences: Sequence[Sequence[int]]) -> "PrefixTree":
        """Build the tree.

        >>> tree = PrefixTree.of([[7, 8], [7, 9], [7]])
        >>> tree.tokens.tolist(), tree.parents.tolist(), tree.ends.tolist()
        ([7, 8, 9], [-1, 0, 0], [1, 2, 0])
        """
        lengths = np.fromiter(map(len, sequences), np.int64, len(sequences))
        padded = np.full((len(sequences), lengths.max(initial=0)), -1, np.int64)  # (sequences, tokens)
        padded[np.arange(padded.shape[1]) < lengths[:, None]] = [token for one in sequences for token in one]
        ends = np.full(len(sequences), -1, np.int64)
        parents, tokens, levels = [], [], [0]
        for column in padded.T:
            rows = np.flatnonzero(column >= 0)
            pairs, node = np.unique((ends[rows] << 32) | column[rows], return_inverse=True)
            ends[rows] = levels[-1] + node
            parents.append(pairs >> 32)
            tokens.append(pairs & 0xFFFFFFFF)
            levels.append(levels[-1] + len(pairs))
        none = np.zeros(0, np.int32)
        return cls(
            np.concatenate([none, *parents]).astype(np.int32), np.concatenate([none, *tokens]).astype(np.int32),
            np.array(levels, np.int32), ends.astype(np.int32), lengths.astype(np.int32),
        )  # fmt: skip

    @property
    def nbytes(self) -> int:
        """Memory of the arrays."""
        return sum(array.nbytes for array in vars(self).values())


@dataclass(frozen=True)
class _Paths:
    """Nodes of a level that are continued, and their best paths.

    Args:
        nodes: Their numbers, ascending, `(nodes,)`.
        scores: Of the best path, `(nodes,)`.
        on_token, on_blank: Score of the best path that ends in each frame, `(nodes, frames)`.
    """

    nodes: np.ndarray
    scores: np.ndarray
    on_token: np.ndarray
    on_blank: np.ndarray


def spot(
    scores: np.ndarray, blank: int, tree: PrefixTree, beam: int = BEAM, token_bonus: float = TOKEN_BONUS
) -> np.ndarray:
    """Score the sequences of a tree by their best place in the frame scores.

    Args:
        scores: Log-probabilities of the tokens, blank included, `(frames, tokens)`.
        beam: Nodes of a level that are continued; with at least as many as the tree has, scores are exact.
        token_bonus: Added to a sequence's log-likelihood ratio per token.
    Returns: `(sequences,)`; -inf for a sequence that the beam has lost or that has more tokens than there are frames.
    """
    best = np.full(len(tree.parents) + 1, -np.inf, np.float32)  # the last is of sequences without tokens
    if len(scores):
        ratios = np.ascontiguousarray((scores - scores.max(axis=1, keepdims=True)).T, np.float32)  # (tokens, frames)
        ratios = np.maximum(ratios, IMPOSSIBLE / len(scores))
        sums = np.pad(np.cumsum(ratios, axis=1), ((0, 0), (1, 0)))  # (tokens, frames + 1)
        paths = None
        for start, end in zip(tree.levels[:-1], tree.levels[1:], strict=True):
            paths = _continued(paths, tree, slice(start, end), ratios.max(axis=1), sums, blank, beam, best)
            if paths is None:
                break
    best[best <= IMPOSSIBLE / 2] = -np.inf
    scored: np.ndarray = best[tree.ends] + token_bonus * tree.lengths
    return scored


def without_pauses(scores: np.ndarray, blank: int) -> np.ndarray:
    """The frame scores with each run of frames that are surely blank as one frame, `(fewer frames, tokens)`.

    A token keeps its best score of the run. So a keyword scores as before, unless two of its tokens fall into one run.
    Of 25 frames a second about half go.
    """
    sure = scores[:, blank] > SURE
    starts = np.flatnonzero(~(sure & np.pad(sure, (1, 0))[:-1]))
    return np.maximum.reduceat(scores, starts, axis=0) if len(starts) else scores


def _continued(
    before: _Paths | None, tree: PrefixTree, level: slice, peaks: np.ndarray, sums: np.ndarray, blank: int, beam: int,
    best: np.ndarray,
) -> _Paths | None:  # fmt: skip
    """The paths of a level's nodes, whose scores are written to `best`; None if no path goes on.

    Args:
        before: Of the level before; None = it is the first, whose paths begin in any frame.
        peaks: Each token's score in its best frame, `(tokens,)`.
        sums: Running sums of the frame scores, `(tokens, frames + 1)`.
    """
    parents, tokens = tree.parents[level], tree.tokens[level]
    frames = sums.shape[1] - 1
    if before is None:
        nodes, rows = np.arange(len(tokens)), None
        bounds = peaks[tokens]
    else:
        nodes, rows = _children(parents, before.nodes)
        bounds = before.scores[rows] + peaks[tokens[nodes]]
    if not len(nodes):
        return None
    chosen = _largest(bounds, WIDTH * beam)
    nodes, rows = nodes[chosen], None if rows is None else rows[chosen]
    token = tokens[nodes]
    entering = np.zeros((len(nodes), frames), np.float32)  # best score before each frame
    if before is not None:
        on_token, on_blank = before.on_token[rows, :-1], before.on_blank[rows, :-1]
        repeated = (token == tree.tokens[before.nodes[rows]])[:, None]  # a blank must stand between equal tokens
        entering[:, 1:] = np.maximum(on_blank, np.where(repeated, IMPOSSIBLE, on_token))
        entering[:, 0] = IMPOSSIBLE
    on_token = _held(entering, sums[token])
    scores = on_token.max(axis=1)
    best[level.start + nodes] = scores
    kept = _largest(scores, beam)
    nodes, on_token = nodes[kept], on_token[kept]
    entering = np.full_like(on_token, IMPOSSIBLE)
    entering[:, 1:] = on_token[:, :-1]
    return _Paths(level.start + nodes, scores[kept], on_token, _held(entering, sums[blank]))


def _held(entering: np.ndarray, sums: np.ndarray) -> np.ndarray:
    """The best score of having stayed with a token from some frame to each frame, `(nodes, frames)`.

    Staying from frame s to t costs sums[t + 1] - sums[s], so that the best s is a running maximum.
    """
    held: np.ndarray = entering - sums[..., :-1]
    np.maximum.accumulate(held, axis=1, out=held)
    held += sums[..., 1:]
    return held


def _children(parents: np.ndarray, nodes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The nodes of a level whose parent is among these, and which of these it is."""
    first, last = np.searchsorted(parents, nodes, side="left"), np.searchsorted(parents, nodes, side="right")
    counts = last - first
    rows = np.repeat(np.arange(len(nodes)), counts)
    return np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts) + np.repeat(first, counts), rows


def _largest(values: np.ndarray, count: int) -> np.ndarray:
    """Where the `count` largest values are, ascending."""
    if len(values) <= count:
        return np.arange(len(values))
    return np.sort(np.argpartition(-values, count)[:count])
