"""Rescoring: replace transcript words that resemble a listed keyword if the model agrees.

Stage 2 may blend a listed name with what it recognises, or with another name. Each transcript is tried with keywords
instead of words that look or sound like them, and is scored by the model again.
"""

from collections.abc import Sequence

import numpy as np

from sap2.inference.places import Replacement, likeness

__all__ = ["replaced", "replacements"]

LEAST = 0.5  # minimum similarity (0 to 2: `prefilter.closeness`) of words that a keyword may replace
SAME = 1.999  # similarity of a keyword to itself
MOST = 8  # maximum number of keywords tried per stretch


def replacements(text: str, keywords: Sequence[str]) -> list[Replacement]:
    """List candidate replacements: stretches that resemble a listed keyword and are not keywords themselves.

    A keyword that the transcript already has is not tried again.

    >>> for candidate in replacements("ask houbrle", ["doubrle", "zosnurham"]):
    ...     print(" ".join(candidate.within(["ask", "houbrle"])))
    ask doubrle
    doubrle
    """
    words = text.split()
    if not words or not keywords:
        return []
    spans, alike = likeness(words, keywords)
    same = alike > SAME
    has = np.any(same, axis=0)
    known = {index for (start, end), row in zip(spans, same, strict=True) if row.any()
             for index in range(start, end)}  # fmt: skip
    return [
        Replacement(start, end, keywords[column])
        for (start, end), row in zip(spans, alike, strict=True)
        if known.isdisjoint(range(start, end))
        for column in np.argsort(-row, kind="stable")[:MOST]
        if row[column] >= LEAST and not has[column]
    ]


def replaced(text: str, tried: Sequence[Replacement], gains: Sequence[float]) -> str:
    """Apply replacements with a gain, best first, without overlaps, each keyword once; return the transcript."""
    words = text.split()
    taken: list[Replacement] = []
    for gain, candidate in sorted(zip(gains, tried, strict=True), key=lambda pair: -pair[0]):
        if gain > 0 and not any(other.rivals(candidate) or other.keyword == candidate.keyword for other in taken):
            taken.append(candidate)
    if not taken:
        return text
    for candidate in sorted(taken, key=lambda replacement: -replacement.start):
        words = candidate.within(words)
    return " ".join(words)
