"""Candidate replacements: stretches of a transcript that look or sound like a keyword."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sap2.inference.prefilter import closeness, stretches

__all__ = ["Replacement", "likeness"]


@dataclass(frozen=True)
class Replacement:
    """A keyword that replaces the words from `start` up to, but excluding, `end`."""

    start: int
    end: int
    keyword: str

    def within(self, words: Sequence[str]) -> list[str]:
        """Return a transcript's words with the replacement."""
        return [*words[: self.start], self.keyword, *words[self.end :]]

    def rivals(self, other: "Replacement") -> bool:
        """Return whether two replacements overlap."""
        return self.start == other.start or (self.start < other.end and other.start < self.end)


def likeness(words: Sequence[str], keywords: Sequence[str]) -> tuple[list[tuple[int, int]], np.ndarray]:
    """Return start and end of each stretch, and its similarity to each keyword, `(stretches, keywords)`.

    Stretches and similarity are those of `sap2.inference.prefilter`.
    """
    spans = stretches(len(words), keywords)
    return spans, closeness([" ".join(words[start:end]) for start, end in spans], keywords)
