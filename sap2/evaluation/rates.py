"""WER, and its two halves: U-WER over ordinary words, B-WER over the words an utterance's biasing set names."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

import numpy as np

from sap2.errors import InputError
from sap2.evaluation.alignment import (
    DELETION,
    INSERTION,
    SUBSTITUTION,
    Alignment,
    Definition,
    Moves,
    Words,
    definition_of,
    edits_of,
    moves_of,
)
from sap2.evaluation.normalise import words

__all__ = ["Errors", "Rates", "UtteranceErrors", "by_id", "check_same_ids", "count_all", "count_edits", "error_rates"]

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


@dataclass(frozen=True, eq=False)
class Rates:
    """Scores of a set of utterances; printed, they read as the published result files do.

    Attributes:
        definition: Its name.
        pairs: Each utterance's reference and hypothesis, in words.
        moves: Each utterance's alignment.
        counts: Words, substitutions, insertions and deletions, of ordinary words and then of biasing words:
            `(utterances, 8)`.
    """

    definition: str
    ids: tuple[str, ...]
    pairs: Sequence[tuple[Words, Words]]
    moves: Sequence[Moves]
    counts: np.ndarray

    @cached_property
    def unbiased(self) -> Errors:
        return Errors(*self.counts[:, :4].sum(axis=0).tolist())

    @cached_property
    def biased(self) -> Errors:
        return Errors(*self.counts[:, 4:].sum(axis=0).tolist())

    @property
    def all(self) -> Errors:
        return self.unbiased + self.biased

    @property
    def utterances(self) -> Iterable[UtteranceErrors]:
        """Each utterance, made when asked for."""
        for id, pair, moves, counts in zip(self.ids, self.pairs, self.moves, self.counts.tolist(), strict=True):
            yield UtteranceErrors(id, edits_of(moves, *pair), Errors(*counts[:4]), Errors(*counts[4:]))

    def __str__(self) -> str:
        return f"WER: {self.all}\nU-WER: {self.unbiased}\nB-WER: {self.biased}"


def error_rates(
    references: Mapping[str, str],
    hypotheses: Mapping[str, str],
    biasing: Mapping[str, Collection[str]],
    definition: str = "deep-bias",
) -> Rates:
    """Error rates of hypotheses against references, matched by id, without intervals and keyword figures.

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
    pairs = [(words(fold(text)), words(fold(hypotheses[id]))) for id, text in references.items()]
    sets = [{fold(word) for word in biasing[id]} for id in references]
    moves = moves_of(pairs, chosen)
    return Rates(definition, tuple(references), pairs, moves, count_all(pairs, moves, sets, chosen))


def count_all(
    pairs: Sequence[tuple[Words, Words]],
    moves: Sequence[Moves],
    biasing: Sequence[Collection[str]],
    definition: Definition,
) -> np.ndarray:
    """Each utterance's words and errors outside and inside its biasing set, `(utterances, 8)`."""
    total, biased = [], []
    for (reference, hypothesis), move, inside in zip(pairs, moves, biasing, strict=True):
        biased.append(count_edits(move, reference, hypothesis, inside, definition) if inside else (0, 0, 0, 0))
        edits = (move.count(SUBSTITUTION), move.count(INSERTION), move.count(DELETION)) if move else (0, 0, 0)
        total.append((len(reference), *edits))
    inner = np.array(biased, dtype=np.int64).reshape(-1, 4)
    return np.hstack([np.array(total, dtype=np.int64).reshape(-1, 4) - inner, inner])


def count_edits(
    moves: Moves, reference: Words, hypothesis: Words, biasing: Collection[str], definition: Definition
) -> tuple[int, int, int, int]:
    """Words, substitutions, insertions and deletions of an alignment that fall on the biasing set."""
    if moves is None:
        return sum(map(biasing.__contains__, reference)), 0, 0, 0
    written = biasing
    if definition.insertions_must_be_spoken:
        written = {word for word in reference if word in biasing}
    counts = [0] * 5
    row = column = 0
    for move in moves:
        if move == INSERTION:
            counts[INSERTION] += hypothesis[column] in written
            column += 1
            continue
        if reference[row] in biasing:
            counts[0] += 1
            counts[move] += 1
        row += 1
        column += move != DELETION
    return counts[0], counts[SUBSTITUTION], counts[INSERTION], counts[DELETION]


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
        raise InputError(f"{what}: {names(twice)} more than once; each utterance must come once")
    return found


def check_same_ids(expected: Collection[str], got: Collection[str], what: str, than: str = "references") -> None:
    """See that `got`, called `what` in the message, holds exactly the ids of `expected`.

    Raises: InputError: ids are missing or too many; the message counts and names them.
    """
    missing = [id for id in expected if id not in got]
    extra = [id for id in got if id not in expected]
    faults = []
    if missing:
        faults.append(f"{names(missing)} missing")
    if extra:
        faults.append(f"{names(extra)} not in {than}")
    if faults:
        raise InputError(
            f"{what}: {'; '.join(faults)}; got {len(got)} utterances, expected the {len(expected)} of {than}: "
            "no utterance may be left out of a score"
        )


def names(ids: Sequence[str], shown: int = 5) -> str:
    """The first few ids, and how many more there are."""
    more = f" and {len(ids) - shown} more" if len(ids) > shown else ""
    return ", ".join(ids[:shown]) + more
