"""Prefilter for lists of thousands: keep keywords that look or sound like a first pass's transcript.

The first pass misspells names, so both letters and sounds are compared. Words are compared alone and joined with their
neighbours, as a name is often recognised as two words.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import jellyfish
import numpy as np
from rapidfuzz.distance import Levenshtein
from rapidfuzz.process import cdist

__all__ = ["closeness", "shorten", "shortlist", "similarity", "stretches"]

LONGEST = 4  # maximum number of transcript words joined


@dataclass(frozen=True)
class _Keys:
    """Keys of texts for comparison: letters and digits without blanks, and their sound; `(texts,)` each."""

    letters: list[str]
    sounds: list[str]

    @classmethod
    def of(cls, texts: Sequence[str]) -> "_Keys":
        letters = ["".join(filter(str.isalnum, text.casefold())) for text in texts]
        return cls(letters, [jellyfish.metaphone(text) for text in letters])


def shorten(
    lists: Sequence[list[str]], keep: int | None, first_pass: Callable[[list[int]], list[str]]
) -> list[list[str]]:
    """Shorten lists longer than `keep` by a first pass over their utterances.

    Args:
        keep: None = return the lists unchanged.
        first_pass: Transcribe the utterances of the given rows without context.
    """
    long = [row for row, words in enumerate(lists) if keep is not None and len(words) > keep]
    if keep is None or not long:
        return list(lists)
    kept = dict(zip(long, shortlist(first_pass(long), [lists[row] for row in long], keep), strict=True))
    return [kept.get(row, words) for row, words in enumerate(lists)]


def shortlist(hypotheses: Sequence[str], lists: Sequence[Sequence[str]], keep: int) -> list[list[str]]:
    """Return each list's `keep` keywords that are most similar to a stretch of the first transcript.

    >>> shortlist(["we thank cathrin my er"], [["Zorvan", "Kathryn", "Dorst", "Maier"]], keep=2)
    [['Kathryn', 'Maier']]

    Args:
        hypotheses: One per utterance, transcribed without context.
        lists: One per utterance. Utterances with equal lists should share the object or content, as keys are cached.
    Returns: In the lists' order; short lists are returned whole.
    """
    kept = []
    for hypothesis, words in zip(hypotheses, lists, strict=True):
        if len(words) <= keep:
            kept.append(list(words))
            continue
        # Stable: of equally similar keywords the first in the list is kept.
        order = np.argsort(-similarity(hypothesis, words), kind="stable")[:keep]
        kept.append([words[index] for index in np.sort(order)])
    return kept


def similarity(hypothesis: str, words: Sequence[str]) -> np.ndarray:
    """Score how well the best stretch of the hypothesis matches each keyword, `(words,)`, from 0 to 2.

    The score sums two normalised Levenshtein similarities of the same stretch, by letters and by sounds (Metaphone). A
    keyword without a sound key (digits, other scripts) counts its similarity by letters twice.
    """
    words = tuple(words)
    spoken = hypothesis.split()
    if not spoken:
        return np.zeros(len(words), np.float32)
    texts = dict.fromkeys(" ".join(spoken[start:end]) for start, end in stretches(len(spoken), words))
    best: np.ndarray = closeness(list(texts), words).max(axis=0)
    return best


def stretches(count: int, words: Sequence[str]) -> list[tuple[int, int]]:
    """Return start and end of all stretches of `count` words that are short enough to be a keyword; at least one.

    >>> stretches(3, ["Maier"])
    [(0, 1), (1, 2), (2, 3), (0, 2), (1, 3)]
    """
    longest = min(LONGEST, 1 + max((len(word.split()) for word in words), default=0))
    return [(start, start + size) for size in range(1, longest + 1) for start in range(count - size + 1)] or [(0, 0)]


def closeness(texts: Sequence[str], listed: Sequence[str]) -> np.ndarray:
    """Compute similarities of texts and listed keywords by letters and sounds, `(texts, listed)`, from 0 to 2.

    `similarity` is the maximum over a hypothesis's stretches.
    """
    keys, other = _Keys.of(texts), _list_keys(tuple(listed))
    letters: np.ndarray = _similarity(keys.letters, other.letters)
    sounds: np.ndarray = _similarity(keys.sounds, other.sounds)
    silent = np.array([not sound for sound in other.sounds], dtype=bool)
    sounds[:, silent] = letters[:, silent]
    both: np.ndarray = letters + sounds
    return both


def _similarity(texts: list[str], listed: list[str]) -> np.ndarray:
    return cdist(texts, listed, scorer=Levenshtein.normalized_similarity, dtype=np.float32)


@lru_cache(maxsize=8)
def _list_keys(words: tuple[str, ...]) -> _Keys:
    return _Keys.of(words)
