"""Word alignment of a hypothesis with its reference, in the two ways the published scores of this field were made.

Both fill the same table of edit costs; they differ in the costs and in which of several cheapest alignments they take.
That choice decides whether an error falls on a rare word or on its neighbour; jiwer, rapidfuzz and kaldialign choose
otherwise.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias

import numpy as np

from sap2.errors import ParamsError

__all__ = ["DEFINITIONS", "Alignment", "Definition", "Edit", "align", "align_all", "definition_of"]

Kind = Literal["equal", "substitution", "insertion", "deletion"]
Move = Literal["diagonal", "insertion", "deletion"]
Words: TypeAlias = Sequence[str]


class Edit(NamedTuple):
    """One column of an alignment; `reference` is None in an insertion, `hypothesis` in a deletion."""

    kind: Kind
    reference: str | None
    hypothesis: str | None


Alignment: TypeAlias = tuple[Edit, ...]


@dataclass(frozen=True)
class Definition:
    """How a score is counted: costs, tie-break, case, and which inserted words count as biasing words."""

    name: str
    insertion: int
    deletion: int
    substitution: int
    # On equal cost the back-trace, which starts at the last words, takes the first of these.
    preference: tuple[Move, Move, Move]
    upper_case: bool
    # True: an inserted word counts as a biasing word only if the reference holds it too; False: if it is in the set.
    insertions_must_be_spoken: bool
    source: str


DEFINITIONS = {
    definition.name: definition
    for definition in (
        Definition(
            "deep-bias", 3, 3, 4, ("diagonal", "insertion", "deletion"), False, False,
            "Le et al., Interspeech 2021, results of is21_deep_bias",
        ),
        Definition(
            "slidespeech", 1, 1, 1, ("deletion", "insertion", "diagonal"), True, True,
            "SlideSpeech, after WeNet's compute-wer",
        ),
    )
}  # fmt: skip


def definition_of(name: str) -> Definition:
    """The definition called `name`.

    Raises: ParamsError: no such definition; the message lists those there are.
    """
    try:
        return DEFINITIONS[name]
    except KeyError:
        known = ", ".join(DEFINITIONS)
        raise ParamsError(f"evaluation.definition: got {name!r}, expected one of: {known}") from None


def align(reference: Words, hypothesis: Words, definition: str = "deep-bias") -> Alignment:
    """Align two word sequences.

    >>> [edit.kind for edit in align("see mister meyer".split(), "see meyer now".split())]
    ['equal', 'deletion', 'equal', 'insertion']
    """
    return align_all([(reference, hypothesis)], definition)[0]


def align_all(pairs: Sequence[tuple[Words, Words]], definition: str = "deep-bias") -> list[Alignment]:
    """Align many (reference, hypothesis) pairs at once, in their order; thousands take well under a second."""
    chosen = definition_of(definition)
    alignments: list[Alignment] = [()] * len(pairs)
    unequal = []
    for position, (reference, hypothesis) in enumerate(pairs):
        if list(reference) == list(hypothesis):  # the diagonal is then the only alignment that costs nothing
            alignments[position] = tuple(Edit("equal", word, word) for word in reference)
        else:
            unequal.append(position)
    unequal.sort(key=lambda position: (len(pairs[position][0]), len(pairs[position][1])))
    for chunk in _chunks(unequal, pairs):
        table = _cost_table([pairs[position] for position in chunk], chosen)
        for costs, position in zip(table, chunk, strict=True):
            alignments[position] = _trace_back(costs, *pairs[position], chosen)
    return alignments


def _chunks(positions: list[int], pairs: Sequence[tuple[Words, Words]], cells: int = 1 << 20) -> Iterator[list[int]]:
    """Groups of positions whose padded cost tables hold at most `cells` entries together (or one pair each)."""
    chunk: list[int] = []
    rows = columns = 0
    for position in positions:
        reference, hypothesis = pairs[position]
        rows, columns = max(rows, len(reference) + 1), max(columns, len(hypothesis) + 1)
        if chunk and rows * columns * (len(chunk) + 1) > cells:
            yield chunk
            chunk, rows, columns = [], len(reference) + 1, len(hypothesis) + 1
        chunk.append(position)
    if chunk:
        yield chunk


def _cost_table(pairs: Sequence[tuple[Words, Words]], definition: Definition) -> np.ndarray:
    """Cheapest cost of aligning every prefix of each reference with every prefix of its hypothesis.

    Returns: `(pairs, longest reference + 1, longest hypothesis + 1)`; a pair's own table is the upper left corner, and
        padding at the end cannot change it.
    """
    references, hypotheses = _as_ids(pairs)
    rows, columns = references.shape[1] + 1, hypotheses.shape[1] + 1
    # Cost of the insertions from the start of a row to each column: with it off, the running minimum along a row is the
    # cheapest way to reach a column by insertions, and the inner loop of the usual algorithm is one numpy call.
    inserted = np.arange(columns, dtype=np.int32) * definition.insertion
    table = np.empty((len(pairs), rows, columns), dtype=np.int32)
    table[:, 0] = inserted
    for row in range(1, rows):
        above = table[:, row - 1]
        differs = hypotheses != references[:, row - 1, None]
        best = above + definition.deletion
        np.minimum(best[:, 1:], above[:, :-1] + differs * definition.substitution, out=best[:, 1:])
        table[:, row] = np.minimum.accumulate(best - inserted, axis=1) + inserted
    return table


def _as_ids(pairs: Sequence[tuple[Words, Words]]) -> tuple[np.ndarray, np.ndarray]:
    """Words as whole numbers, padded at the end: `(pairs, longest)` for references and for hypotheses."""
    ids: dict[str, int] = {}
    sides = []
    for side in (0, 1):
        padded = np.full((len(pairs), max(len(pair[side]) for pair in pairs)), -1, dtype=np.int32)
        for line, pair in enumerate(pairs):
            padded[line, : len(pair[side])] = [ids.setdefault(word, len(ids)) for word in pair[side]]
        sides.append(padded)
    return sides[0], sides[1]


def _trace_back(costs: np.ndarray, reference: Words, hypothesis: Words, definition: Definition) -> Alignment:
    """Walk from the last words to the first along a cheapest path, taking the preferred move on equal cost."""
    table = costs[: len(reference) + 1, : len(hypothesis) + 1].tolist()
    row, column = len(reference), len(hypothesis)
    edits = []
    while row or column:
        equal = row > 0 and column > 0 and reference[row - 1] == hypothesis[column - 1]
        here = table[row][column]
        for move in definition.preference:
            if move == "diagonal" and row and column:
                if here == table[row - 1][column - 1] + (0 if equal else definition.substitution):
                    row, column = row - 1, column - 1
                    edits.append(Edit("equal" if equal else "substitution", reference[row], hypothesis[column]))
                    break
            elif move == "insertion" and column:
                if here == table[row][column - 1] + definition.insertion:
                    column -= 1
                    edits.append(Edit("insertion", None, hypothesis[column]))
                    break
            elif move == "deletion" and row and here == table[row - 1][column] + definition.deletion:
                row -= 1
                edits.append(Edit("deletion", reference[row], None))
                break
    return tuple(reversed(edits))
