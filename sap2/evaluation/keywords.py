"""Keyword figures: did stage 1 pick what was spoken, and did the transcript write what was spoken and nothing else.

Case never counts, and a keyword of several words counts only where all of them stand in a row.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

from sap2.evaluation.normalise import folded, normalise, words

__all__ = [
    "Keyword",
    "KeywordCounts",
    "KeywordList",
    "ListCell",
    "Places",
    "caseless",
    "compare",
    "covered",
    "score_selection",
    "score_transcript",
    "spoken",
]

# A keyword as it is compared: its words, caseless, separated by single spaces.
Keyword: TypeAlias = str
# Where keywords stand in a text: the positions of their first words.
Places: TypeAlias = Mapping[Keyword, Sequence[int]]


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


class ListCell(Sequence[str]):
    """A list as it stands in a file, `["acterrally", "arisen"]`, taken apart when it is asked for.

    A test set has a list of hundreds of entries for each of its utterances: as text they take a tenth of the memory,
    and most are looked at once.
    """

    __slots__ = ("_length", "text")

    def __init__(self, text: str, length: int) -> None:
        self.text, self._length = text, length

    @classmethod
    def read(cls, text: str) -> "ListCell | None":
        """The list, or None when it is not written in this one way: then it is for a JSON parser."""
        if not (text.startswith('["') and text.endswith('"]') and text.isprintable()) or "\\" in text or '""' in text:
            return None
        separators = text.count('", "')
        # Every quotation mark must belong to a separator or an end.
        return cls(text, separators + 1) if text.count('"') == 2 * separators + 2 else None

    def is_plain(self) -> bool:
        """True: all entries are single ASCII words, since the only white space is that of the separators."""
        return self.text.isascii() and self.text.count(" ") == self._length - 1

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, place: int) -> str:
        return self.text[2:-2].split('", "')[place]

    def __iter__(self) -> Iterator[str]:
        return iter(self.text[2:-2].split('", "'))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    def __hash__(self) -> int:
        return hash(self.text)


class KeywordList:
    """A list, ready to be looked up in texts: entries that differ only in case are one, blank ones none."""

    def __init__(self, entries: Sequence[str], normaliser: str = "none") -> None:
        self._entries, self._normaliser = entries, normaliser
        # Nearly all lists are of single ASCII words, each in a file's cell of its own, and looked at once or twice:
        # there a dictionary would cost more than it saves.
        is_plain = normaliser == "none" and isinstance(entries, ListCell) and entries.is_plain()
        self._cell = entries.text.lower() if is_plain else None

    @cached_property
    def spelling(self) -> dict[Keyword, str]:
        """Each keyword as compared -> as first spelt, in the list's order."""
        found: dict[Keyword, str] = {}
        for entry in self._entries:
            text = entry if self._normaliser == "none" else normalise(entry, self._normaliser)
            if keyword := " ".join(caseless(text)):
                found.setdefault(keyword, entry)
        return found

    @cached_property
    def _phrases(self) -> dict[str, list[tuple[Keyword, list[str]]]]:
        """First word -> the entries of several words that begin with it, each with its words."""
        found: dict[str, list[tuple[Keyword, list[str]]]] = {}
        for keyword in self.spelling if self._cell is None else ():
            if " " in keyword:
                pieces = keyword.split()
                found.setdefault(pieces[0], []).append((keyword, pieces))
        return found

    @cached_property
    def _ranks(self) -> dict[Keyword, int]:
        return {keyword: rank for rank, keyword in enumerate(self.spelling)}

    def __len__(self) -> int:
        return len(self.spelling)

    @property
    def has_phrases(self) -> bool:
        return bool(self._phrases)

    @cached_property
    def list_words(self) -> frozenset[str]:
        """All words of all entries, caseless."""
        return frozenset(word for keyword in self.spelling for word in keyword.split())

    def places(self, text: Sequence[str]) -> dict[Keyword, list[int]]:
        """Where the list's keywords stand in a text of caseless words."""
        if self._cell is not None:
            hits = set(text).intersection(self._cell[2:-2].split('", "'))
            return {hit: [at for at, word in enumerate(text) if word == hit] for hit in hits} if hits else {}
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

    def in_order(self, keywords: Collection[Keyword]) -> list[Keyword]:
        """Some of its keywords in the order of the list."""
        return list(keywords) if len(keywords) < 2 else sorted(keywords, key=self._ranks.__getitem__)

    def spelt(self, keywords: Collection[Keyword]) -> tuple[str, ...]:
        """Some of its keywords in the order and spelling of the list."""
        if self._cell is not None:
            starts = sorted((self._cell.index(f'"{keyword}"') + 1, len(keyword)) for keyword in keywords)
            return tuple([self._entries.text[start : start + length] for start, length in starts])
        return tuple([self.spelling[keyword] for keyword in self.in_order(keywords)])


def covered(places: Places, keywords: Iterable[Keyword]) -> set[int]:
    """Positions of all words of all occurrences of these keywords."""
    return {
        at + step for keyword in keywords for at in places.get(keyword, ()) for step in range(keyword.count(" ") + 1)
    }


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


def score_selection(predicted: Sequence[str], expected: Sequence[str], normaliser: str = "none") -> KeywordCounts:
    """Compare stage 1's answer for one utterance with the keywords spoken in it; doubles count once."""
    answer = KeywordList(predicted, normaliser).spelling.keys()
    truth = KeywordList(expected, normaliser).spelling.keys()
    return KeywordCounts(tp=len(answer & truth), fp=len(answer - truth), fn=len(truth - answer))


def score_transcript(keywords: Sequence[str], reference: str, hypothesis: str) -> KeywordCounts:
    """Count a list's keywords in one transcript.

    >>> score_transcript(["Meyer", "Kathryn"], "meyer met meyer", "meyer met kathryn")
    KeywordCounts(tp=1, fp=1, fn=1)
    """
    listed = KeywordList(keywords)
    return compare(listed.places(caseless(reference)), listed.places(caseless(hypothesis)))


def compare(said: Places, written: Places) -> KeywordCounts:
    """Written as often as said is right (tp), less is missed (fn), more is a false alarm (fp).

    Source: SlideSpeech's scorer, whose recall is by occurrences too; it prints no figure that `fp` enters, ours does.
    """
    tp = fp = fn = 0
    for keyword in said.keys() | written.keys():
        times_said, times_written = len(said.get(keyword, ())), len(written.get(keyword, ()))
        tp += min(times_said, times_written)
        fp += max(0, times_written - times_said)
        fn += max(0, times_said - times_written)
    return KeywordCounts(tp, fp, fn)
