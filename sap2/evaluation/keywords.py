"""Keyword figures: did stage 1 pick what was spoken, and did the transcript write what was spoken and nothing else.

Case never counts, and a keyword of several words counts only where all of them stand in a row.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias

__all__ = [
    "Keyword",
    "KeywordCounts",
    "Occurrences",
    "compare",
    "distinct",
    "score_selection",
    "score_transcript",
    "spoken",
]

# A keyword as it is compared: its words, caseless.
Keyword: TypeAlias = tuple[str, ...]


@dataclass(frozen=True)
class KeywordCounts:
    """True positives, false positives and false negatives; sums of them give micro averages."""

    tp: int = 0
    fp: int = 0
    fn: int = 0

    @property
    def precision(self) -> float | None:
        """Share of what was given that is right, 0 to 1; None when nothing was given."""
        return self.tp / (self.tp + self.fp) if self.tp + self.fp else None

    @property
    def recall(self) -> float | None:
        """Share of what was spoken that was given, 0 to 1; None when nothing was spoken."""
        return self.tp / (self.tp + self.fn) if self.tp + self.fn else None

    @property
    def f1(self) -> float | None:
        """Harmonic mean of precision and recall; None when nothing was spoken and nothing given."""
        return 2 * self.tp / (2 * self.tp + self.fp + self.fn) if self.tp + self.fp + self.fn else None

    def __add__(self, other: "KeywordCounts") -> "KeywordCounts":
        return KeywordCounts(self.tp + other.tp, self.fp + other.fp, self.fn + other.fn)


@lru_cache(maxsize=1 << 18)
def _compared(keyword: str) -> Keyword:
    return tuple(keyword.casefold().split())


def distinct(keywords: Iterable[str]) -> dict[Keyword, str]:
    """The keywords that differ, as compared -> as first spelt; blank ones are left out."""
    found: dict[Keyword, str] = {}
    for keyword in keywords:
        words = _compared(keyword)
        if words:
            found.setdefault(words, keyword)
    return found


class Occurrences:
    """Where the keywords of a list stand in a text of words.

    Attributes:
        places: Positions of the first word, for each keyword that occurs.
    """

    def __init__(self, keywords: Iterable[Keyword], text: Sequence[str]) -> None:
        words = [word.casefold() for word in text]
        starts: dict[str, list[int]] = {}
        for position, word in enumerate(words):
            starts.setdefault(word, []).append(position)
        self.places: dict[Keyword, list[int]] = {}
        for keyword in keywords:
            positions = starts.get(keyword[0])
            if positions and len(keyword) > 1:
                positions = [at for at in positions if tuple(words[at : at + len(keyword)]) == keyword]
            if positions:
                self.places[keyword] = positions

    def count(self, keyword: Keyword) -> int:
        return len(self.places.get(keyword, ()))

    def covered(self, keywords: Iterable[Keyword]) -> set[int]:
        """Positions of all words of all occurrences of these keywords."""
        return {
            at + step for keyword in keywords for at in self.places.get(keyword, ()) for step in range(len(keyword))
        }


def spoken(keywords: Iterable[str], reference: str) -> list[str]:
    """The keywords that occur in the reference, in the list's order and spelling: the oracle list.

    >>> spoken(["Kathryn", "Neural Network", "network analysis"], "kathryn drew a neural network")
    ['Kathryn', 'Neural Network']
    """
    listed = distinct(keywords)
    said = Occurrences(listed, reference.split())
    return [spelling for keyword, spelling in listed.items() if keyword in said.places]


def score_selection(predicted: Iterable[str], expected: Iterable[str]) -> KeywordCounts:
    """Compare stage 1's answer for one utterance with the keywords spoken in it; doubles count once."""
    answer, truth = distinct(predicted).keys(), distinct(expected).keys()
    return KeywordCounts(tp=len(answer & truth), fp=len(answer - truth), fn=len(truth - answer))


def score_transcript(keywords: Iterable[str], reference: str, hypothesis: str) -> KeywordCounts:
    """Count a list's keywords in one transcript.

    >>> score_transcript(["Meyer", "Kathryn"], "meyer met meyer", "meyer met kathryn")
    KeywordCounts(tp=1, fp=1, fn=1)
    """
    listed = distinct(keywords)
    return compare(Occurrences(listed, reference.split()), Occurrences(listed, hypothesis.split()))


def compare(said: Occurrences, written: Occurrences) -> KeywordCounts:
    """Written as often as said is right (tp), less is missed (fn), more is a false alarm (fp).

    Source: SlideSpeech's scorer, whose recall is by occurrences too; it prints no figure that `fp` enters, ours does.
    """
    tp = fp = fn = 0
    for keyword in said.places.keys() | written.places.keys():
        times_said, times_written = said.count(keyword), written.count(keyword)
        tp += min(times_said, times_written)
        fp += max(0, times_written - times_said)
        fn += max(0, times_said - times_written)
    return KeywordCounts(tp, fp, fn)
