"""Word alignment of a hypothesis with its reference, in the two ways the published scores of this field were made.

Both fill the same table of edit costs; they differ in the costs and in which of several cheapest alignments they take.
That choice decides whether an error falls on a rare word or on its neighbour; jiwer, rapidfuzz and kaldialign choose
otherwise. Tables of many pairs are filled and walked together, by numpy.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, count
from typing import Literal, NamedTuple, TypeAlias

import numpy as np

from sap2.errors import ParamsError

__all__ = [
    "DEFINITIONS",
    "Alignment",
    "Definition",
    "Edit",
    "Kind",
    "align",
    "align_all",
    "definition_of",
    "edits_of",
    "moves_of",
]

Kind = Literal["equal", "substitution", "insertion", "deletion"]
Move = Literal["diagonal", "insertion", "deletion"]
Words: TypeAlias = Sequence[str]
# An alignment without its words: one byte an edit. None: every word is equal.
Moves: TypeAlias = bytes | None

EQUAL, SUBSTITUTION, INSERTION, DELETION = 1, 2, 3, 4
_KINDS: dict[int, Kind] = {EQUAL: "equal", SUBSTITUTION: "substitution", INSERTION: "insertion", DELETION: "deletion"}


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
    """Align two word sequences: the cheapest edits that turn the reference into the hypothesis, first word first.

    Args:
        reference, hypothesis: Words, compared as they are.
        definition: "deep-bias": insertion 3, deletion 3, substitution 4; on equal cost the back-trace from the last
            word prefers diagonal, then insertion, then deletion. "slidespeech": all cost 1; deletion, then insertion,
            then diagonal.
    Source: Le et al., Interspeech 2021 (is21_deep_bias); SlideSpeech's scorer, after WeNet's compute-wer.

    >>> [edit.kind for edit in align("see mister meyer".split(), "see meyer now".split())]
    ['equal', 'deletion', 'equal', 'insertion']
    """
    return align_all([(reference, hypothesis)], definition)[0]


def align_all(pairs: Sequence[tuple[Words, Words]], definition: str = "deep-bias") -> list[Alignment]:
    """Align many (reference, hypothesis) pairs at once, in their order; thousands take well under a second."""
    found = moves_of(pairs, definition_of(definition))
    return [edits_of(moves, *pair) for moves, pair in zip(found, pairs, strict=True)]


def edits_of(moves: Moves, reference: Words, hypothesis: Words) -> Alignment:
    """Moves with their words. (The words may be spelt otherwise than those aligned, as in upper and lower case.)"""
    if moves is None:
        return tuple(Edit("equal", said, written) for said, written in zip(reference, hypothesis, strict=True))
    said, written = iter(reference), iter(hypothesis)
    return tuple(
        Edit(_KINDS[move], None if move == INSERTION else next(said), None if move == DELETION else next(written))
        for move in moves
    )


def moves_of(pairs: Sequence[tuple[Words, Words]], definition: Definition) -> list[Moves]:
    """The alignment of each (reference, hypothesis) pair, in one byte an edit."""
    moves: list[Moves] = [None] * len(pairs)
    # Equal sequences: the diagonal is the only alignment that costs nothing.
    unequal = [at for at, (reference, hypothesis) in enumerate(pairs) if list(reference) != list(hypothesis)]
    unequal.sort(key=lambda at: (len(pairs[at][0]), len(pairs[at][1])))
    for chunk in _chunks(unequal, pairs):
        together = [pairs[at] for at in chunk]
        references, hypotheses = _as_ids([pair[0] for pair in together], [pair[1] for pair in together])
        table = _cost_table(references, hypotheses, definition)
        lengths = [np.array([len(pair[side]) for pair in together]) for side in (0, 1)]
        for at, found in zip(chunk, _trace_back(table, references, hypotheses, *lengths, definition), strict=True):
            moves[at] = found
    return moves


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


def _as_ids(*sides: Sequence[Words]) -> Iterator[np.ndarray]:
    """Words as whole numbers, padded at the end: `(pairs, longest)` for each side."""
    numbers: defaultdict[str, int] = defaultdict(count().__next__)
    for texts in sides:
        lengths = np.array([len(text) for text in texts])
        padded = np.full((len(texts), lengths.max()), -1, dtype=np.int32)
        flat = list(map(numbers.__getitem__, _flat(texts)))
        padded[np.arange(padded.shape[1]) < lengths[:, None]] = flat
        yield padded


def _flat(texts: Iterable[Words]) -> Iterator[str]:
    return chain.from_iterable(texts)


def _cost_table(references: np.ndarray, hypotheses: np.ndarray, definition: Definition) -> np.ndarray:
    """Cheapest cost of aligning every prefix of each reference with every prefix of its hypothesis.

    Returns: `(pairs, longest reference + 1, longest hypothesis + 1)`; a pair's own table is the upper left corner, and
        padding at the end cannot change it.
    """
    rows, columns = references.shape[1] + 1, hypotheses.shape[1] + 1
    # Cost of the insertions from the start of a row to each column: with it off, the running minimum along a row is the
    # cheapest way to reach a column by insertions, and the inner loop of the usual algorithm is one numpy call.
    inserted = np.arange(columns, dtype=np.int32) * np.int32(definition.insertion)
    table = np.empty((len(references), rows, columns), dtype=np.int32)
    table[:, 0] = inserted
    for row in range(1, rows):
        above = table[:, row - 1]
        differs = hypotheses != references[:, row - 1, None]
        best = above + np.int32(definition.deletion)
        np.minimum(best[:, 1:], above[:, :-1] + differs * np.int32(definition.substitution), out=best[:, 1:])
        best -= inserted
        np.minimum.accumulate(best, axis=1, out=best)
        np.add(best, inserted, out=table[:, row])
    return table


def _trace_back(
    table: np.ndarray,
    references: np.ndarray,
    hypotheses: np.ndarray,
    rows: np.ndarray,
    columns: np.ndarray,
    definition: Definition,
) -> Iterator[bytes]:
    """Walk all tables at once from the last words to the first, taking the preferred move on equal cost.

    Args:
        rows, columns: Words of each reference and hypothesis, `(pairs,)`.
    Yields: Each pair's moves, first word first.
    """
    pairs, height, width = table.shape
    costs, pair = table.ravel(), np.arange(pairs)
    row, column = rows.copy(), columns.copy()
    steps = int((rows + columns).max())
    moves = np.zeros((pairs, steps), dtype=np.uint8)
    for step in range(steps - 1, -1, -1):
        if not (row.any() or column.any()):
            break
        # Where a neighbour lies outside the table its value is some other cell's, and its move is not allowed.
        here = (pair * height + row) * width + column
        cost = costs[here]
        equal = references[pair, row - 1] == hypotheses[pair, column - 1] if width > 1 and height > 1 else False
        inside = (row > 0) & (column > 0)
        allowed = {
            "diagonal": inside & (cost == costs[here - width - 1] + np.where(equal, 0, definition.substitution)),
            "insertion": (column > 0) & (cost == costs[here - 1] + definition.insertion),
            "deletion": (row > 0) & (cost == costs[here - width] + definition.deletion),
        }
        codes = {"diagonal": np.where(equal, EQUAL, SUBSTITUTION), "insertion": INSERTION, "deletion": DELETION}
        first, second, third = definition.preference
        move = np.where(
            allowed[first], codes[first], np.where(allowed[second], codes[second], allowed[third] * codes[third])
        )
        moves[:, step] = move
        row -= (move != INSERTION) & (move != 0)
        column -= (move != DELETION) & (move != 0)
    for line in moves:
        yield line.tobytes().lstrip(b"\0")
