"""WER and its two halves: B-WER over the words of an utterance's biasing set, U-WER over all other words."""

from collections.abc import Collection, Sequence
from typing import NamedTuple

from sap2.errors import InputError
from sap2.evaluation.alignment import DELETION, EQUAL, INSERTION, SUBSTITUTION, Definition, Moves, Words

__all__ = ["Errors", "check_same_ids", "count_edits", "names"]


class Errors(NamedTuple):
    """Numbers of reference words and edits.

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
        """Errors per 100 reference words; None without reference words."""
        return 100.0 * self.total / self.words if self.words else None

    def __add__(self, other: "Errors") -> "Errors":  # type: ignore[override]  # sums, where a tuple joins
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


def count_edits(
    moves: Moves, reference: Words, hypothesis: Words, biasing: Collection[str], definition: Definition
) -> tuple[int, int, int]:
    """Count an alignment's substitutions, insertions and deletions of words in the biasing set."""
    if moves is None or not biasing:
        return 0, 0, 0
    written = inside = frozenset(biasing)
    if definition.insertions_must_be_spoken:
        written = inside.intersection(reference)
    counts = [0] * 5
    row = column = 0
    for move in moves:
        if move == EQUAL:
            row += 1
            column += 1
        elif move == INSERTION:
            counts[INSERTION] += hypothesis[column] in written
            column += 1
        else:
            counts[move] += reference[row] in inside
            row += 1
            column += move != DELETION
    return counts[SUBSTITUTION], counts[INSERTION], counts[DELETION]


def check_same_ids(expected: Collection[str], got: Collection[str], what: str, than: str = "references") -> None:
    """Check that `got`, called `what` in the message, has exactly the ids of `expected`.

    Raises: InputError: ids are missing or unexpected; the message counts and names them.
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
            "a score must cover all utterances"
        )


def names(ids: Sequence[str], shown: int = 5) -> str:
    """List the first few ids and the number of further ids."""
    more = f" and {len(ids) - shown} more" if len(ids) > shown else ""
    return ", ".join(ids[:shown]) + more
