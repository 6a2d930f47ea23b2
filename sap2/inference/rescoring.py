"""Words of a transcript that are nearly a keyword of its list, written as that keyword where the model agrees.

Stage 2 spells as it goes: a name in its list may still come out blended with what it hears, or with another name. Each
transcript is tried with a keyword instead of what looks or sounds like it, and is scored by the model once more.
"""

from collections.abc import Sequence

import numpy as np

from sap2.inference.places import Replacement, likeness

__all__ = ["replaced", "replacements"]

LEAST = 0.5  # likeness (0 to 2: `prefilter.closeness`) of what a keyword may replace
SAME = 1.999  # likeness of a keyword to itself
MOST = 8  # keywords that are tried in one place


def replacements(text: str, keywords: Sequence[str]) -> list[Replacement]:
    """Candidate replacements: stretches that resemble a listed keyword and are not keywords themselves.

    >>> for one in replacements("ask houbrle", ["doubrle", "zosnurham"]):
    ...     print(" ".join(one.within(["ask", "houbrle"])))
    ask doubrle
    doubrle
    """
    words = text.split()
    if not words or not keywords:
        return []
    spans, alike = likeness(words, keywords)
    known = {place for (start, end), row in zip(spans, alike, strict=True) if row.max() > SAME
             for place in range(start, end)}  # fmt: skip
    return [
        Replacement(start, end, keywords[column])
        for (start, end), row in zip(spans, alike, strict=True)
        if known.isdisjoint(range(start, end))
        for column in np.argsort(-row, kind="stable")[:MOST]
        if row[column] >= LEAST
    ]


def replaced(text: str, tried: Sequence[Replacement], gains: Sequence[float]) -> str:
    """The transcript with those that gain anything, the best first; no two in one place."""
    words = text.split()
    taken: list[Replacement] = []
    for gain, one in sorted(zip(gains, tried, strict=True), key=lambda pair: -pair[0]):
        if gain > 0 and not any(map(one.rivals, taken)):
            taken.append(one)
    if not taken:
        return text
    for one in sorted(taken, key=lambda one: -one.start):
        words = one.within(words)
    return " ".join(words)
