"""What a first pass without the list heard, as evidence for and against each keyword of it.

A keyword is written into the first transcript where it fits best, and the model is asked how likely that is beside what
it wrote by itself. Keywords that would stand in the same place compete: one of them at most was said there. Beyond the
paper; docs/method.md says what it is worth.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from sap2.inference.places import Replacement, likeness
from sap2.settings import FirstPassWeights

__all__ = ["Written", "chances", "in_best_place", "written"]

PLACES = 4  # of the transcript in which a keyword is tried
PROMISING = 3.0  # log-odds from which a keyword is tried: asking the model takes from them, and seldom adds


@dataclass(frozen=True)
class Written(Replacement):
    """A keyword instead of some words of the first transcript.

    Args:
        tag, likeness: The evidence there is without asking the model: see `FirstPassWeights`.
        text: The transcript with it.
    """

    tag: float
    likeness: float
    text: str


def written(text: str, tags: Mapping[str, float], weights: FirstPassWeights) -> list[Written]:
    """The likeliest keywords, each written into the first transcript in the places that are most like it.

    >>> for one in written("ask cathrin about it", {"Kathryn": 1.0, "Dorst": -9.0}, FirstPassWeights()):
    ...     print(one.text)
    ask Kathryn about it
    Kathryn about it

    Args:
        tags: The log-odds of each keyword of the list, as tagged.
    Returns: The surest keyword first.
    """
    words, listed = text.split(), list(tags)
    if not listed:
        return []
    spans, alike = likeness(words, listed)
    most = alike.max(axis=0)
    odds = weights.tag * np.array([tags[word] for word in listed]) + weights.likeness * most + weights.prior
    found = []
    for column in np.argsort(-odds, kind="stable")[: weights.candidates]:
        if odds[column] < PROMISING:
            break
        for row in np.argsort(-alike[:, column], kind="stable")[:PLACES]:
            start, end = spans[row]
            one = Replacement(start, end, listed[column])
            inserted = " ".join(one.within(words))
            found.append(Written(one.start, one.end, one.keyword, tags[one.keyword], float(most[column]), inserted))
    return found


def chances(tried: Sequence[Written], gains: Sequence[float], weights: FirstPassWeights) -> dict[str, float]:
    """The log-probability that each keyword was said; those of one place are at most 1 together.

    Args:
        tried: As `written` gives them.
        gains: Of each the log-probability of its text, less that of the first transcript.
    Returns: In the order of `tried`; each keyword stands where its gain is greatest.
    """
    best = in_best_place(tried, gains)
    if not best:
        return {}
    odds = np.array(
        [
            weights.tag * one.tag + weights.likeness * one.likeness + weights.likelihood * gain + weights.prior
            for gain, one in best
        ]
    )
    rivals = np.array([[one.rivals(other) for _, other in best] for _, one in best])  # (keywords, keywords)
    total = np.logaddexp.reduce(np.where(rivals, odds, -np.inf), axis=1)
    return dict(zip((one.keyword for _, one in best), (odds - np.logaddexp(0.0, total)).tolist(), strict=True))


def in_best_place(tried: Sequence[Written], gains: Sequence[float]) -> list[tuple[float, Written]]:
    """Each keyword once, with its gain, where that is greatest."""
    best: dict[str, tuple[float, Written]] = {}
    for one, gain in zip(tried, gains, strict=True):
        if one.keyword not in best or gain > best[one.keyword][0]:
            best[one.keyword] = (gain, one)
    return list(best.values())
