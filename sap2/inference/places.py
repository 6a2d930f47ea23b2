"""Where in a transcript a keyword could stand: instead of words that look or sound like it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sap2.inference.prefilter import closeness, stretches

__all__ = ["Replacement", "likeness"]


@dataclass(frozen=True)
class Replacement:
    """A keyword instead of the words from `start` on, of which `end` is the first that stays."""

    start: int
    end: int
    keyword: str

    def within(self, words: Sequence[str]) -> list[str]:
        """The transcript's words with it."""
        return [*words[: self.start], self.keyword, *words[self.end :]]

    def rivals(self, other: "Replacement") -> bool:
        """Whether the two stand in the same place."""
        return self.start == other.start or (self.start < other.end and other.start < self.end)


def likeness(words: Sequence[str], keywords: Sequence[str]) -> tuple[list[tuple[int, int]], np.ndarray]:
    """Start and end of each stretch of a transcript, and how like each keyword it is, `(stretches, keywords)`.

    See `sap2.inference.prefilter` for both.
    """
    spans = stretches(len(words), keywords)
    return spans, closeness([" ".join(words[start:end]) for start, end in spans], keywords)
