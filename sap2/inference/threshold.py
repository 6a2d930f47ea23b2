"""Stage 1's threshold, tuned on dev: recall against keywords that were selected but not spoken."""

import math
from collections.abc import Mapping, Sequence

import numpy as np

__all__ = ["above", "choose", "curve"]

POINTS = 200  # maximum number of rows of a curve
DIGITS = 4  # of a threshold

Scores = Mapping[str, float]


def above(scores: Scores, threshold: float | None) -> dict[str, float]:
    """Return the keywords whose score reaches the threshold; None keeps all.

    >>> above({"maier": -0.1, "jon": -2.0}, -1.0)
    {'maier': -0.1}
    """
    return {word: score for word, score in scores.items() if threshold is None or score >= threshold}


def curve(scored: Sequence[Scores], said: Sequence[Sequence[str]]) -> list[dict[str, float | None]]:
    """Compute recall and precision for each threshold, lowest first; the first row is without threshold.

    Args:
        scored: Each utterance's selected keywords with their scores, from `Recogniser.select`.
        said: Each utterance's spoken keywords.
    Returns: Rows of `threshold` (log-probability), `recall`, `precision` (None if undefined) and
    `false_alarms_per_100`,
        keywords selected but not spoken per 100 utterances.

    >>> for row in curve([{"maier": -0.25, "jon": -2.0}, {"zorvan": -0.5}], [["maier"], ["zorvan"]]):
    ...     print(*row.values())
    -2.0 1.0 0.6667 50.0
    -0.5 1.0 1.0 0.0
    -0.25 0.5 1.0 0.0
    0.0 0.0 None 0.0
    """
    spoken = sum(len(set(words)) for words in said)
    pairs = [
        (score, word in right)
        for scores, words in zip(scored, said, strict=True)
        for right in [set(words)]
        for word, score in scores.items()
    ]
    scores = np.array([score for score, _ in pairs])
    right = np.array([is_right for _, is_right in pairs], bool)
    steps = sorted({_floor(score) for score in scores} | {0.0})
    stride = math.ceil(len(steps) / POINTS)
    rows: list[dict[str, float | None]] = []
    for threshold in sorted({*steps[::stride], 0.0}):
        kept = scores >= threshold
        hits, left = int((kept & right).sum()), int(kept.sum())
        rows.append(
            {
                "threshold": threshold,
                "recall": round(hits / spoken, DIGITS) if spoken else None,
                "precision": round(hits / left, DIGITS) if left else None,
                "false_alarms_per_100": round(100 * (left - hits) / len(said), DIGITS),
            }
        )
    return rows


def choose(rows: Sequence[Mapping[str, float | None]], max_false_alarms: float) -> float | None:
    """Return the lowest threshold with at most `max_false_alarms` per 100 utterances; None if none is needed.

    >>> choose(curve([{"maier": -0.25, "jon": -2.0}], [["maier"]]), 10.0)
    -0.25
    """
    allowed = [row["threshold"] for row in rows if (row["false_alarms_per_100"] or 0.0) <= max_false_alarms]
    if not allowed:
        return rows[-1]["threshold"]
    return None if allowed[0] == rows[0]["threshold"] else allowed[0]


def _floor(score: float) -> float:
    """Round down, so that the score itself reaches the threshold."""
    return float(math.floor(score * 10**DIGITS) / 10**DIGITS)
