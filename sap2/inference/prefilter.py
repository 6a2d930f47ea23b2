"""A cheap first cut of lists of thousands: what in them could have been said at all.

`ctc` spots the keywords' tokens in the base's frame scores (sap2/inference/spotting.py). `phonetic` compares them with
the base's transcript without context. That misspells the names, or there would be no need for a list; so both letters
and sounds are compared, and words are tried alone and joined with their neighbours, as a name is often heard as two
words.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import jellyfish
import numpy as np
from rapidfuzz.distance import Levenshtein
from rapidfuzz.process import cdist

from sap2.inference.index import KeywordIndex
from sap2.inference.spotting import without_pauses
from sap2.settings import Prefilter

__all__ = ["closeness", "cut", "shortlist", "similarity", "stretches"]

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


def cut(
    settings: Prefilter | None,
    lists: Sequence[KeywordIndex],
    frame_scores: Callable[[int], Iterator[tuple[np.ndarray, int]]],
    first_pass: Callable[[list[int]], list[str]],
) -> list[list[str]]:
    """The lists as the base reads them, those longer than `keep` cut by what each utterance sounds like.

    Args:
        settings: None = the lists stay as they are.
        lists: One an utterance.
        frame_scores: Of an utterance's segments, each with CTC's blank: see `StageModel.frame_scores`.
        first_pass: Transcribes utterances without context.
    Returns: Each in its list's order.
    """
    kept = [index.listed.read for index in lists]
    long = [row for row, words in enumerate(kept) if settings is not None and len(words) > settings.keep]
    if settings is None or not long:
        return kept
    if settings.method == "phonetic":
        words = shortlist(first_pass(long), [kept[row] for row in long], settings.keep)
        return _replaced(kept, dict(zip(long, words, strict=True)))
    spotted = {row: _spotted(lists[row], frame_scores(row), settings.keep) for row in long}
    return _replaced(kept, spotted)


def _spotted(index: KeywordIndex, segments: Iterator[tuple[np.ndarray, int]], keep: int) -> list[str]:
    """The keywords of best score in any segment."""
    scores = np.full(len(index.listed.read), -np.inf, np.float32)
    for frames, blank in segments:
        np.maximum(scores, index.spotted(without_pauses(frames, blank), blank), out=scores)
    return _best(index.listed.read, scores, keep)


def _best(words: Sequence[str], scores: np.ndarray, keep: int) -> list[str]:
    # Stable: of equals the first in the list stays.
    order = np.argsort(-scores, kind="stable")[:keep]
    return [words[place] for place in np.sort(order)]


def _replaced(lists: Sequence[list[str]], others: Mapping[int, list[str]]) -> list[list[str]]:
    return [others.get(row, words) for row, words in enumerate(lists)]


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
        kept.append(_best(words, similarity(hypothesis, words), keep))
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
