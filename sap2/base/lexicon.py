"""Words for the keyword lists of the base's training: pronunciations, rare words, similar words, respellings.

A decoder this small memorises the names of a corpus and never reads the list. Therefore a listed rare word may be
respelt, in list and transcript alike, so that it still sounds the same: only the list gives the spelling.
"""

import re
import unicodedata
from bisect import bisect_left
from collections import Counter
from collections.abc import Collection, Iterable
from functools import cached_property
from pathlib import Path

import numpy as np

from sap2.data.speech import Synthesiser, plain_phoneme
from sap2.files import atomic_file

__all__ = ["Lexicon", "plain", "respell"]

LONGEST = 24  # letters of a listed entry
_PLAIN = re.compile(r"[a-z]+(?:'[a-z]+)*")
# Replacements that change the sound little.
_RESPELLINGS = (
    ("ph", "f"), ("f", "ph"), ("ck", "k"), ("k", "c"), ("ca", "ka"), ("co", "ko"), ("cu", "ku"), ("cr", "kr"),
    ("cl", "kl"), ("y", "i"), ("i", "y"), ("ee", "ea"), ("ea", "ee"), ("ie", "ee"), ("ai", "ay"), ("ay", "ai"),
    ("ou", "ow"), ("ow", "ou"), ("er", "ir"), ("ir", "er"), ("ur", "er"), ("er", "or"), ("oo", "u"), ("x", "ks"),
    ("qu", "kw"), ("sch", "sh"), ("sh", "sch"), ("mm", "m"), ("nn", "n"), ("tt", "t"), ("ll", "l"), ("ss", "s"),
    ("rr", "r"), ("n", "nn"), ("t", "tt"), ("l", "ll"), ("an", "en"), ("en", "an"), ("on", "en"), ("au", "aw"),
    ("aw", "au"), ("z", "s"), ("th", "t"), ("wh", "w"), ("w", "wh"), ("j", "g"), ("o", "oe"),
)  # fmt: skip


def plain(text: str) -> str | None:
    """Lower-case words of `text` without accents and marks other than apostrophes; None if it holds digits or letters
    outside the Latin alphabet, whose pronunciation the spelling does not give.

    >>> plain("Ask Zoë — she's at Weiler-Jönsson's."), plain("in 1984")
    ("ask zoe she's at weiler jonsson's", None)
    """
    folded = unicodedata.normalize("NFKD", text.replace("’", "'").replace("&", " and ")).casefold()
    folded = "".join(letter for letter in folded if not unicodedata.combining(letter))
    if any(letter.isdigit() or (letter.isalpha() and not letter.isascii()) for letter in folded):
        return None
    return " ".join(_PLAIN.findall(folded))


def respell(word: str, rng: np.random.Generator) -> str:
    """A spelling of about the same sound, by one or two of `_RESPELLINGS`; the word itself if none applies."""
    for _ in range(int(rng.integers(1, 3))):
        fitting = [pair for pair in _RESPELLINGS if pair[0] in word]
        if not fitting:
            break
        old, new = fitting[rng.integers(len(fitting))]
        word = word.replace(old, new, 1)
    return word


class Lexicon:
    """Words with their pronunciations.

    Args:
        common: Words that are never listed.
        sounds: Phonemes of every word, common or rare.
        listed: Words and names, some of several words, from which lists are drawn.
    """

    def __init__(self, common: Collection[str], sounds: dict[str, tuple[str, ...]], listed: list[str]) -> None:
        self.common, self.sounds, self.listed = frozenset(common), sounds, listed

    @classmethod
    def build(cls, texts: Iterable[str], names: Iterable[str], common_words: int) -> "Lexicon":
        """Count the words of `texts`, the most frequent of which are common, add `names`, and get the pronunciation of
        all from eSpeak NG."""
        counts = Counter(word for text in texts for word in text.split())
        common = [word for word, _ in counts.most_common(common_words)]
        rare = [word for word in counts if word not in frozenset(common)]
        listed = dict.fromkeys(word for word in [*rare, *names] if 3 <= len(word) <= LONGEST)
        synthesiser = Synthesiser()
        words = dict.fromkeys(word for entry in [*common, *rare, *listed] for word in entry.split())
        sounds = {word: tuple(plain_phoneme(mark) for mark in synthesiser.phonemes(word)) for word in words}
        return cls(common, sounds, [entry for entry in listed if entry not in frozenset(common)])

    def save(self, path: Path) -> None:
        """Write one line per word: its kind, the word, its phonemes."""
        with atomic_file(path) as partial, partial.open("w", encoding="utf-8") as file:
            listed = set(self.listed)
            for word, marks in self.sounds.items():
                kind = "common" if word in self.common else "listed" if word in listed else "other"
                file.write(f"{kind}\t{word}\t{' '.join(marks)}\n")
            for entry in self.listed:
                if entry not in self.sounds:
                    file.write(f"listed\t{entry}\t\n")

    @classmethod
    def load(cls, path: Path) -> "Lexicon":
        """Read a file that `save` wrote."""
        common, sounds, listed = [], {}, []
        for line in path.read_text(encoding="utf-8").splitlines():
            kind, word, marks = line.split("\t")
            if marks or " " not in word:
                sounds[word] = tuple(marks.split())
            if kind == "common":
                common.append(word)
            elif kind == "listed":
                listed.append(word)
        return cls(common, sounds, listed)

    def phonemes(self, entry: str) -> tuple[str, ...]:
        """Phonemes of a word or a phrase; unknown words have none."""
        return tuple(mark for word in entry.split() for mark in self.sounds.get(word, ()))

    def is_rare(self, word: str) -> bool:
        """Whether the word may be listed."""
        return word not in self.common and 3 <= len(word) <= LONGEST

    def similar(self, entry: str, rng: np.random.Generator) -> str | None:
        """A listed entry whose pronunciation begins or ends like that of `entry`; None if there is none."""
        keys, words = self._by_beginning if rng.random() < 0.5 else self._by_end
        sound = self.phonemes(entry)
        key = " ".join(sound if words is self._by_beginning[1] else sound[::-1])
        index = bisect_left(keys, key) + int(rng.integers(-6, 7))
        similar = words[min(max(index, 0), len(words) - 1)]
        return None if similar == entry or not sound else similar

    @cached_property
    def _by_beginning(self) -> tuple[list[str], list[str]]:
        return self._sorted(1)

    @cached_property
    def _by_end(self) -> tuple[list[str], list[str]]:
        return self._sorted(-1)

    def _sorted(self, step: int) -> tuple[list[str], list[str]]:
        pairs = sorted((" ".join(self.phonemes(entry)[::step]), entry) for entry in self.listed)
        return [key for key, _ in pairs], [entry for _, entry in pairs]
