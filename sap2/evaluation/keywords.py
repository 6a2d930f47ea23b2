"""Keyword figures: did stage 1 pick what was spoken, and did the transcript write what was spoken and nothing else.

Case never counts, and a keyword of several words counts only where all of them stand in a row.
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
# Where keywords stand in a text: the positions of their first words.
Places: TypeAlias = Mapping[Keyword, Sequence[int]]


class KeywordCounts(NamedTuple):
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

    def __add__(self, other: "KeywordCounts") -> "KeywordCounts":  # type: ignore[override]  # sums, a tuple joins
        return KeywordCounts(self.tp + other.tp, self.fp + other.fp, self.fn + other.fn)


class Vocabulary:
    """The caseless words of all texts of a test set, to be looked for in its lists.

    Those lists hold some hundred thousand entries, of which hardly any is said or written. So no string is made of
    each: a number of few bits is, from its first letters and its length, for all of them at once. Only an entry whose
    number one of the words has, too, is looked up.
    """

    NUMBER_BITS = 20
    FIRST_LETTERS = np.array([(1 << 8 * length) - 1 for length in range(9)], dtype=np.uint64)
    LOWER_CASE = np.uint64(0x2020202020202020)  # the bit in which small letters differ from capitals
    SPACES = "\t\v\f\r\x1c\x1d\x1e\x1f"

    def __init__(self, words: Collection[str]) -> None:
        self._words = words
        quoted = "".join([f'"{word}"' for word in words if word.isascii() and '"' not in word])
        self._is_known = np.zeros(1 << self.NUMBER_BITS, dtype=bool)
        letters = letters_of(quoted)
        if letters is not None:
            self._is_known[self._numbers(letters)[2]] = True

    def entries_of(self, cells: Sequence[ListCell]) -> list[dict[Keyword, str]] | None:
        """Each list's entries that are words of the texts, as compared -> as first spelt, in the list's order.

        None unless every entry of all lists is one ASCII word.
        """
        text = "\n".join([cell.text for cell in cells])
        letters = letters_of(text)
        if letters is None or any(map(text.__contains__, self.SPACES)):
            return None
        entries = list(map(len, cells))
        if np.count_nonzero(letters == ord(" ")) != sum(entries) - sum(map(bool, entries)):
            return None  # there are other spaces than those of the separators
        starts, ends, numbers = self._numbers(letters)
        candidates = np.flatnonzero(self._is_known[numbers])
        of_cell = np.searchsorted(np.cumsum(entries), candidates, side="right").tolist()
        found: list[dict[Keyword, str]] = [{} for _ in cells]
        words = self._words
        for at, start, end in zip(of_cell, starts[candidates].tolist(), ends[candidates].tolist(), strict=True):
            keyword = entry = text[start:end]
            if entry in words or (keyword := entry.lower()) in words:
                found[at].setdefault(keyword, entry)
        return found

    def _numbers(self, letters: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Where the words between quotation marks start and end in a text, and a number for each, `(words,)`."""
        quotes = np.flatnonzero(letters == ord('"'))
        starts, ends = quotes[::2] + 1, quotes[1::2]
        lengths = (ends - starts).astype(np.uint64)
        # Eight letters from each place on, as one whole number of 64 bits; those after the word's end are taken off.
        first = np.ndarray(len(letters) - 7, "<u8", letters, strides=(1,))[starts] | self.LOWER_CASE
        first &= self.FIRST_LETTERS[np.minimum(lengths, 8)]
        return starts, ends, (first + lengths) * np.uint64(0x9E3779B97F4A7C15) >> np.uint64(64 - self.NUMBER_BITS)


class KeywordList:
    """A list, ready to be looked up in texts: entries that differ only in case are one, blank ones none."""

    _ranks: dict[Keyword, int] | None = None
    # First word -> the entries of several words that begin with it, each with its words.
    _phrases: Mapping[str, list[tuple[Keyword, list[str]]]] = MappingProxyType({})

    def __init__(self, entries: Iterable[str] = (), normaliser: str = "none") -> None:
        # Each keyword as compared -> as first spelt, in the list's order.
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
        """A list of single words, as compared -> as spelt."""
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
        """The list's keywords as they come in a text of caseless words, as often as they do."""
        if not self._phrases:
            return list(filter(self.spelling.__contains__, text))
        return [keyword for keyword, places in self.places(text).items() for _ in places]

    def places(self, text: Sequence[str]) -> dict[Keyword, list[int]]:
        """Where the list's keywords stand in a text of caseless words."""
        found: dict[Keyword, list[int]] = {}
        spelling, phrases = self.spelling, self._phrases
        for position, word in enumerate(text):
            if word in spelling:
                found.setdefault(word, []).append(position)
            if word in phrases:
                for keyword, pieces in phrases[word]:
                    if text[position : position + len(pieces)] == pieces:
                        found.setdefault(keyword, []).append(position)
        return found

    def spelt(self, keywords: Iterable[Keyword]) -> tuple[str, ...]:
        """Some of its keywords, each once, in the order and spelling of the list."""
        ordered: Collection[Keyword] = set(keywords)
        if not ordered:
            return ()
        if len(ordered) > 1:
            if self._ranks is None:
                self._ranks = {keyword: rank for rank, keyword in enumerate(self.spelling)}
            ordered = sorted(ordered, key=self._ranks.__getitem__)
        return tuple([self.spelling[keyword] for keyword in ordered])


def covered(places: Places, keywords: Iterable[Keyword]) -> set[int]:
    """Positions of all words of all occurrences of these keywords."""
    return {
        at + step for keyword in keywords for at in places.get(keyword, ()) for step in range(keyword.count(" ") + 1)
    }


def surplus(said: Iterable[Keyword], written: Iterable[Keyword]) -> dict[Keyword, int]:
    """How much more often each is said than written; below zero: written than said."""
    found: dict[Keyword, int] = {}
    for keyword in said:
        found[keyword] = found.get(keyword, 0) + 1
    for keyword in written:
        found[keyword] = found.get(keyword, 0) - 1
    return {keyword: times for keyword, times in found.items() if times}


def spoken(keywords: Sequence[str], reference: str) -> list[str]:
    """The keywords that occur in the reference, in the list's order and spelling: the oracle list.

    >>> spoken(["Kathryn", "Neural Network", "network analysis"], "kathryn drew a neural network")
    ['Kathryn', 'Neural Network']
    """
    listed = KeywordList(keywords)
    return list(listed.spelt(listed.places(caseless(reference))))


def caseless(text: str) -> list[str]:
    """A text's words as keywords are looked up in them."""
    return [folded(word) for word in words(text)] if not text.isascii() else text.lower().split()
