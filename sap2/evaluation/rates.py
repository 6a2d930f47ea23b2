"""WER, and its two halves: U-WER over ordinary words, B-WER over the words an utterance's biasing set names."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from sap2.errors import InputError
from sap2.evaluation.alignment import Alignment, Definition, align_all, definition_of

__all__ = ["Errors", "Rates", "UtteranceErrors", "by_id", "check_same_ids", "score"]

Value = TypeVar("Value")


@dataclass(frozen=True)
class Errors:
    """Edits over a number of reference words.

    >>> print(Errors(words=52576, substitutions=1501, insertions=195, deletions=225))
    error_rate=3.6537583688374924, ref_words=52576, subs=1501, ins=195, dels=225
    """

    words: int = 0
    substitutions: int = 0
    insertions: int = 0
    deletions: int = 0

    @property
    def total(self) -> int:
        return self.substitutions + self.insertions + self.deletions

    @property
    def rate(self) -> float | None:
        """Errors in 100 reference words; None without reference words."""
        return 100.0 * self.total / self.words if self.words else None

    def __add__(self, other: "Errors") -> "Errors":
        return Errors(
            self.words + other.words,
            self.substitutions + other.substitutions,
            self.insertions + other.insertions,
            self.deletions + other.deletions,
        )

    def __str__(self) -> str:
        return (
            f"error_rate={self.rate}, ref_words={self.words}, "
            f"subs={self.substitutions}, ins={self.insertions}, dels={self.deletions}"
        )


@dataclass(frozen=True)
class UtteranceErrors:
    """One utterance's alignment, and its errors over ordinary (`unbiased`) and biasing (`biased`) words."""

    id: str
    alignment: Alignment
    unbiased: Errors
    biased: Errors

    @property
    def all(self) -> Errors:
        return self.unbiased + self.biased


@dataclass(frozen=True)
class Rates:
    """Scores of a set of utterances; printed, they read as the published result files do."""

    definition: str
    utterances: tuple[UtteranceErrors, ...]
    unbiased: Errors
    biased: Errors

    @property
    def all(self) -> Errors:
        return self.unbiased + self.biased

    def __str__(self) -> str:
        return f"WER: {self.all}\nU-WER: {self.unbiased}\nB-WER: {self.biased}"


def score(
    references: Mapping[str, str],
    hypotheses: Mapping[str, str],
    biasing: Mapping[str, Collection[str]],
    definition: str = "deep-bias",
) -> Rates:
    """Score hypotheses against references, matched by id; words are what white space separates.

    Args:
        references, hypotheses: Text by utterance id.
        biasing: Each utterance's biasing words by id: a reference word in it counts in B-WER, else in U-WER. An
            inserted word counts in B-WER when it is in the set ("slidespeech": and in the reference).
        definition: A name in `alignment.DEFINITIONS`.
    Returns: Totals and utterances, in the order of `references`.
    Raises: InputError: the three do not hold the same ids; the message names those missing and those too many.
    """
    chosen = definition_of(definition)
    check_same_ids(references, hypotheses, "hypotheses")
    check_same_ids(references, biasing, "biasing words")
    fold = str.upper if chosen.upper_case else str
    pairs = [(fold(text).split(), fold(hypotheses[id]).split()) for id, text in references.items()]
    utterances = []
    for id, pair, alignment in zip(references, pairs, align_all(pairs, definition), strict=True):
        words = {fold(word) for word in biasing[id]}
        utterances.append(UtteranceErrors(id, alignment, *_split(alignment, words, set(pair[0]), chosen)))
    unbiased = sum((utterance.unbiased for utterance in utterances), Errors())
    biased = sum((utterance.biased for utterance in utterances), Errors())
    return Rates(definition, tuple(utterances), unbiased, biased)


def by_id(pairs: Iterable[tuple[str, Value]], what: str) -> dict[str, Value]:
    """A dictionary of (id, value) pairs.

    Raises: InputError: an id comes twice; the message names it and `what`.
    """
    found: dict[str, Value] = {}
    twice = []
    for id, value in pairs:
        if id in found:
            twice.append(id)
        found[id] = value
    if twice:
        raise InputError(f"{what}: {_names(twice)} more than once; each utterance must come once")
    return found


def check_same_ids(expected: Collection[str], got: Collection[str], what: str, than: str = "references") -> None:
    """See that `got`, called `what` in the message, holds exactly the ids of `expected`.

    Raises: InputError: ids are missing or too many; the message counts and names them.
    """
    missing = [id for id in expected if id not in got]
    extra = [id for id in got if id not in expected]
    faults = []
    if missing:
        faults.append(f"{_names(missing)} missing")
    if extra:
        faults.append(f"{_names(extra)} not in {than}")
    if faults:
        raise InputError(
            f"{what}: {'; '.join(faults)}; got {len(got)} utterances, expected the {len(expected)} of {than}: "
            "no utterance may be left out of a score"
        )


def _names(ids: list[str], shown: int = 5) -> str:
    more = f" and {len(ids) - shown} more" if len(ids) > shown else ""
    return ", ".join(ids[:shown]) + more


def _split(
    alignment: Alignment, biasing: set[str], reference: set[str], definition: Definition
) -> tuple[Errors, Errors]:
    """An alignment's errors over words outside and inside the biasing set."""
    inserted = biasing & reference if definition.insertions_must_be_spoken else biasing
    unbiased, biased = [0, 0, 0, 0], [0, 0, 0, 0]
    for kind, word, written in alignment:
        if kind == "insertion":
            (biased if written in inserted else unbiased)[2] += 1
            continue
        counts = biased if word in biasing else unbiased
        counts[0] += 1
        if kind == "substitution":
            counts[1] += 1
        elif kind == "deletion":
            counts[3] += 1
    return Errors(*unbiased), Errors(*biased)
