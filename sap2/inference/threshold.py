"""How sure stage 1 must be of a keyword, set on dev: the recall that is left against the words that were not said."""

import math
from collections.abc import Mapping, Sequence

import numpy as np

__all__ = ["above", "choose", "curve"]

POINTS = 200  # most rows of a curve
DIGITS = 4  # of a threshold

Scores = Mapping[str, float]


def above(scores: Scores, threshold: float | None) -> dict[str, float]:
    """The keywords whose score reaches the threshold; None keeps all.

    >>> above({"maier": -0.1, "jon": -2.0}, -1.0)
    {'maier': -0.1}
    """
    return {word: score for word, score in scores.items() if threshold is None or score >= threshold}


def curve(scored: Sequence[Scores], said: Sequence[Sequence[str]]) -> list[dict[str, float | None]]:
    """What each threshold leaves of a split's selections, lowest first; the first row is that of no threshold.

    Args:
        scored: Each utterance's selected keywords with their scores, as `Recogniser.select` gives them.
        said: Each utterance's spoken keywords.
    Returns: Rows of `threshold` (log-probability), `recall`, `precision` (None when nothing is left or was said) and
        `false_alarms_per_100`, keywords selected and not said in 100 utterances.

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
        found, left = int((kept & right).sum()), int(kept.sum())
        rows.append(
            {
                "threshold": threshold,
                "recall": round(found / spoken, DIGITS) if spoken else None,
                "precision": round(found / left, DIGITS) if left else None,
                "false_alarms_per_100": round(100 * (left - found) / len(said), DIGITS),
            }
        )
    return rows


def choose(rows: Sequence[Mapping[str, float | None]], max_false_alarms: float) -> float | None:
    """The lowest threshold of a curve with at most `max_false_alarms` in 100 utterances; None: none is needed.

    >>> choose(curve([{"maier": -0.25, "jon": -2.0}], [["maier"]]), 10.0)
    -0.25
    """
    allowed = [row["threshold"] for row in rows if (row["false_alarms_per_100"] or 0.0) <= max_false_alarms]
    if not allowed:
        return rows[-1]["threshold"]
    return None if allowed[0] == rows[0]["threshold"] else allowed[0]


def _floor(score: float) -> float:
    """Rounded down, so that the score itself reaches it."""
    return float(math.floor(score * 10**DIGITS) / 10**DIGITS)
