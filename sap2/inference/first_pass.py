"""Evidence from a first pass without the list, for and against each of its keywords.

A keyword is inserted into the first transcript where it fits best, and the model scores the result against the first
transcript. Keywords that would occupy the same words compete: at most one of them was spoken there. Beyond the paper;
docs/method.md has its effect.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from sap2.inference.places import Replacement, likeness
from sap2.settings import FirstPassWeights

__all__ = ["Written", "chances", "at_best_words", "written"]

PLACES = 4  # positions in the transcript at which a keyword is tried


@dataclass(frozen=True)
class Written(Replacement):
    """A keyword that replaces some words of the first transcript.

    Args:
        tag, likeness: Evidence without the model's score: see `FirstPassWeights`.
        text: The transcript with the keyword.
    """

    tag: float
    likeness: float
    text: str


def written(text: str, tags: Mapping[str, float], weights: FirstPassWeights) -> list[Written]:
    """Insert the likeliest keywords into the first transcript, each at its most similar words.

    >>> written("ask cathrin about it", {"Kathryn": 1.0, "Dorst": -9.0}, FirstPassWeights())[0].text
    'ask Kathryn about it'

    Args:
        tags: The log-odds of each keyword, as tagged.
    Returns: Insertions, likeliest keyword first.
    """
    words, listed = text.split(), list(tags)
    if not listed:
        return []
    spans, alike = likeness(words, listed)
    most = alike.max(axis=0)
    odds = weights.tag * np.array([tags[word] for word in listed]) + weights.likeness * most + weights.prior
    candidates = []
    for column in np.argsort(-odds, kind="stable")[: weights.candidates]:
        if odds[column] < weights.promising:
            break
        for row in np.argsort(-alike[:, column], kind="stable")[:PLACES]:
            start, end = spans[row]
            candidate = Replacement(start, end, listed[column])
            inserted = " ".join(candidate.within(words))
            similarity = float(most[column])
            candidates.append(Written(start, end, candidate.keyword, tags[candidate.keyword], similarity, inserted))
    return candidates


def chances(tried: Sequence[Written], gains: Sequence[float], weights: FirstPassWeights) -> dict[str, float]:
    """Estimate the log-probability that each keyword was spoken; probabilities at the same words sum to at most 1.

    Args:
        tried: The result of `written`.
        gains: The log-probability of each text minus that of the first transcript.
    Returns: In the order of `tried`; each keyword at the words with the greatest gain.
    """
    best = at_best_words(tried, gains)
    if not best:
        return {}
    odds = np.array(
        [
            weights.tag * entry.tag + weights.likeness * entry.likeness + weights.likelihood * gain + weights.prior
            for gain, entry in best
        ]
    )
    rivals = np.array([[entry.rivals(other) for _, other in best] for _, entry in best])  # (keywords, keywords)
    total = np.logaddexp.reduce(np.where(rivals, odds, -np.inf), axis=1)
    return dict(zip((entry.keyword for _, entry in best), (odds - np.logaddexp(0.0, total)).tolist(), strict=True))


def at_best_words(tried: Sequence[Written], gains: Sequence[float]) -> list[tuple[float, Written]]:
    """Return each keyword once, at the words with the greatest gain, with that gain."""
    best: dict[str, tuple[float, Written]] = {}
    for entry, gain in zip(tried, gains, strict=True):
        if entry.keyword not in best or gain > best[entry.keyword][0]:
            best[entry.keyword] = (gain, entry)
    return list(best.values())
