"""Keyword figures: did stage 1 pick what was spoken, and did the transcript write what was spoken and nothing else.

Case never counts, and a keyword of several words counts only where all of them stand in a row.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from sap2.evaluation.normalise import folded, normalise, words

__all__ = [
    "Keyword",
    "KeywordCounts",
    "KeywordList",
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


class KeywordList:
    """A list, ready to be looked up in texts: entries that differ only in case are one, blank ones none.

    Attributes:
        spelling: Each keyword as compared -> as first spelt, in the list's order.
        has_phrases: True: some entry is of several words.
    """

    def __init__(self, entries: Sequence[str], normaliser: str = "none") -> None:
        texts = list(entries) if normaliser == "none" else [normalise(entry, normaliser) for entry in entries]
        self.spelling: dict[Keyword, str] = {}
        # First word -> the entries of several words that begin with it, each with its words.
        self._phrases: dict[str, list[tuple[Keyword, list[str]]]] = {}
        self._ranks: dict[Keyword, int] | None = None
        self._list_words: frozenset[str] | None = None
        joined = "\n".join(texts)
        # Nearly all lists are of single ASCII words, and there is one an utterance: those take a short way.
        if joined.isascii() and joined.split() == texts:
            self.spelling = dict(zip(joined.lower().split(), entries, strict=True))
        if len(self.spelling) < len(texts):
            self.spelling = {}
            for entry, text in zip(entries, texts, strict=True):
                self._add(entry, [folded(word) for word in words(text)])

    def _add(self, entry: str, pieces: list[str]) -> None:
        keyword = " ".join(pieces)
        if not keyword or keyword in self.spelling:
            return
        self.spelling[keyword] = entry
        if len(pieces) > 1:
            self._phrases.setdefault(pieces[0], []).append((keyword, pieces))

    @property
    def has_phrases(self) -> bool:
        return bool(self._phrases)

    @property
    def list_words(self) -> Collection[str]:
        """All words of all entries, caseless."""
        if not self._phrases:
            return self.spelling.keys()
        if self._list_words is None:
            self._list_words = frozenset(word for keyword in self.spelling for word in keyword.split())
        return self._list_words

    def places(self, text: Sequence[str]) -> dict[Keyword, list[int]]:
        """Where the list's keywords stand in a text of caseless words."""
        found: dict[Keyword, list[int]] = {}
        for position, word in enumerate(text):
            if word in self.spelling:
                found.setdefault(word, []).append(position)
            if word in self._phrases:
                for keyword, pieces in self._phrases[word]:
                    if text[position : position + len(pieces)] == pieces:
                        found.setdefault(keyword, []).append(position)
        return found

    def in_order(self, keywords: Collection[Keyword]) -> list[Keyword]:
        """Some of its keywords in the order of the list."""
        if len(keywords) < 2:
            return list(keywords)
        if self._ranks is None:
            self._ranks = {keyword: rank for rank, keyword in enumerate(self.spelling)}
        return sorted(keywords, key=self._ranks.__getitem__)


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
    return [listed.spelling[keyword] for keyword in listed.in_order(listed.places(caseless(reference)))]


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
