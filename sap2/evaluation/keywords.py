"""Keyword matching and counts: what was spoken, what stage 1 selected, and what the transcript wrote.

Matching ignores case; a keyword of several words must occur as a whole, its words consecutive.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import cached_property
from types import MappingProxyType
from typing import NamedTuple, TypeAlias

import numpy as np

from sap2.deep_bias import ListCell, letters_of
from sap2.evaluation.normalise import folded, normalise, words

__all__ = [
    "Keyword",
    "KeywordCounts",
    "KeywordList",
    "Places",
    "Vocabulary",
    "caseless",
    "covered",
    "spoken",
    "surplus",
]

# A keyword as it is compared: its words, caseless, separated by single spaces.
Keyword: TypeAlias = str
# Occurrences of keywords in a text: the indices of their first words.
Places: TypeAlias = Mapping[Keyword, Sequence[int]]


class KeywordCounts(NamedTuple):
    """True positives, false positives and false negatives; sums of them give micro averages."""

    tp: int = 0
    fp: int = 0
    fn: int = 0

    @property
    def precision(self) -> float | None:
        """Share of keywords output that are right, 0 to 1; None if none was output."""
        return self.tp / (self.tp + self.fp) if self.tp + self.fp else None

    @property
    def recall(self) -> float | None:
        """Share of keywords spoken that were output, 0 to 1; None if none was spoken."""
        return self.tp / (self.tp + self.fn) if self.tp + self.fn else None

    @property
    def f1(self) -> float | None:
        """Harmonic mean of precision and recall; None if no keyword was spoken or output."""
        return 2 * self.tp / (2 * self.tp + self.fp + self.fn) if self.tp + self.fp + self.fn else None

    def __add__(self, other: "KeywordCounts") -> "KeywordCounts":  # type: ignore[override]  # sums, a tuple joins
        return KeywordCounts(self.tp + other.tp, self.fp + other.fp, self.fn + other.fn)


class Vocabulary:
    """The caseless words of all texts of a test set, for fast lookup in its lists.

    The lists have some hundred thousand entries, few of which occur in any text. So instead of making a string of each
    entry, a short hash of its first letters and length is computed for all entries at once; only entries whose hash is
    also that of a word are looked up.
    """

    NUMBER_BITS = 20
    FIRST_LETTERS = np.array([(1 << 8 * length) - 1 for length in range(9)], dtype=np.uint64)
    LOWER_CASE = np.uint64(0x2020202020202020)  # the bit in which lower and upper case differ
    SPACES = "\t\v\f\r\x1c\x1d\x1e\x1f"

    def __init__(self, words: Collection[str]) -> None:
        self._words = words
        quoted = "".join([f'"{word}"' for word in words if word.isascii() and '"' not in word])
        self._is_known = np.zeros(1 << self.NUMBER_BITS, dtype=bool)
        letters = letters_of(quoted)
        if letters is not None:
            self._is_known[self._numbers(letters)[2]] = True

    def entries_of(self, cells: Sequence[ListCell]) -> list[dict[Keyword, str]] | None:
        """Return each list's entries that occur in the texts: caseless form -> first spelling, in the list's order.

        None unless all entries of all lists are single ASCII words.
        """
        text = "\n".join([cell.text for cell in cells])
        letters = letters_of(text)
        if letters is None or any(map(text.__contains__, self.SPACES)):
            return None
        entries = list(map(len, cells))
        if np.count_nonzero(letters == ord(" ")) != sum(entries) - sum(map(bool, entries)):
            return None  # there are spaces besides those of the separators
        starts, ends, numbers = self._numbers(letters)
        candidates = np.flatnonzero(self._is_known[numbers])
        of_cell = np.searchsorted(np.cumsum(entries), candidates, side="right").tolist()
        entries_of: list[dict[Keyword, str]] = [{} for _ in cells]
        words = self._words
        for at, start, end in zip(of_cell, starts[candidates].tolist(), ends[candidates].tolist(), strict=True):
            keyword = entry = text[start:end]
            if entry in words or (keyword := entry.lower()) in words:
                entries_of[at].setdefault(keyword, entry)
        return entries_of

    def _numbers(self, letters: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return start, end and hash of each quoted word of a text, `(words,)` each."""
        quotes = np.flatnonzero(letters == ord('"'))
        starts, ends = quotes[::2] + 1, quotes[1::2]
        lengths = (ends - starts).astype(np.uint64)
        # Eight letters from each start as a 64-bit integer; letters after the word's end are masked.
        first = np.ndarray(len(letters) - 7, "<u8", letters, strides=(1,))[starts] | self.LOWER_CASE
        first &= self.FIRST_LETTERS[np.minimum(lengths, 8)]
        return starts, ends, (first + lengths) * np.uint64(0x9E3779B97F4A7C15) >> np.uint64(64 - self.NUMBER_BITS)


class KeywordList:
    """A keyword list indexed for lookup in texts, without blank entries and entries that differ only in case."""

    _ranks: dict[Keyword, int] | None = None
    # First word -> the entries of several words that begin with it, each with its words.
    _phrases: Mapping[str, list[tuple[Keyword, list[str]]]] = MappingProxyType({})

    def __init__(self, entries: Iterable[str] = (), normaliser: str = "none") -> None:
        # Caseless form of each keyword -> its first spelling, in the list's order.
        self.spelling: dict[Keyword, str] = {}
        self._phrases = {}
        for entry in entries:
            pieces = caseless(entry if normaliser == "none" else normalise(entry, normaliser))
            keyword = " ".join(pieces)
            if not keyword or keyword in self.spelling:
                continue
            self.spelling[keyword] = entry
            if len(pieces) > 1:
                self._phrases.setdefault(pieces[0], []).append((keyword, pieces))

    @classmethod
    def of_words(cls, spelling: dict[Keyword, str]) -> "KeywordList":
        """Build a list of single words from a mapping of caseless form -> spelling."""
        made = cls.__new__(cls)
        made.spelling = spelling
        return made

    def __len__(self) -> int:
        return len(self.spelling)

    @property
    def has_phrases(self) -> bool:
        return bool(self._phrases)

    @cached_property
    def list_words(self) -> frozenset[str]:
        """All words of all entries, caseless."""
        return frozenset(word for keyword in self.spelling for word in keyword.split())

    def occurrences(self, text: Sequence[str]) -> list[Keyword]:
        """Return each occurrence of the list's keywords in a text of caseless words."""
        if not self._phrases:
            return list(filter(self.spelling.__contains__, text))
        return [keyword for keyword, starts in self.places(text).items() for _ in starts]

    def places(self, text: Sequence[str]) -> dict[Keyword, list[int]]:
        """Return the indices at which the list's keywords start in a text of caseless words."""
        starts: dict[Keyword, list[int]] = {}
        spelling, phrases = self.spelling, self._phrases
        for position, word in enumerate(text):
            if word in spelling:
                starts.setdefault(word, []).append(position)
            if word in phrases:
                for keyword, pieces in phrases[word]:
                    if text[position : position + len(pieces)] == pieces:
                        starts.setdefault(keyword, []).append(position)
        return starts

    def spelt(self, keywords: Iterable[Keyword]) -> tuple[str, ...]:
        """Return the given keywords without duplicates, in the order and spelling of the list."""
        ordered: Collection[Keyword] = set(keywords)
        if not ordered:
            return ()
        if len(ordered) > 1:
            if self._ranks is None:
                self._ranks = {keyword: rank for rank, keyword in enumerate(self.spelling)}
            ordered = sorted(ordered, key=self._ranks.__getitem__)
        return tuple([self.spelling[keyword] for keyword in ordered])


def covered(places: Places, keywords: Iterable[Keyword]) -> set[int]:
    """Return the indices of all words of all occurrences of these keywords."""
    return {
        at + step for keyword in keywords for at in places.get(keyword, ()) for step in range(keyword.count(" ") + 1)
    }


def surplus(said: Iterable[Keyword], written: Iterable[Keyword]) -> dict[Keyword, int]:
    """Count for each keyword how much more often it is spoken than written; negative: written than spoken."""
    counts: dict[Keyword, int] = {}
    for keyword in said:
        counts[keyword] = counts.get(keyword, 0) + 1
    for keyword in written:
        counts[keyword] = counts.get(keyword, 0) - 1
    return {keyword: times for keyword, times in counts.items() if times}


def spoken(keywords: Sequence[str], reference: str) -> list[str]:
    """Return the keywords that occur in the reference, in the list's order and spelling: the oracle list.

    >>> spoken(["Kathryn", "Neural Network", "network analysis"], "kathryn drew a neural network")
    ['Kathryn', 'Neural Network']
    """
    listed = KeywordList(keywords)
    return list(listed.spelt(listed.places(caseless(reference))))


def caseless(text: str) -> list[str]:
    """Split a text into the caseless words in which keywords are looked up."""
    return [folded(word) for word in words(text)] if not text.isascii() else text.lower().split()
