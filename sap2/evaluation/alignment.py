"""Word alignment of hypothesis and reference, by the two definitions behind the field's published scores.

Both fill the same table of edit costs; they differ in costs and in which of several cheapest alignments they choose.
That choice decides whether an error falls on a rare word or on its neighbour; jiwer, rapidfuzz and kaldialign choose
differently. numpy fills and traces the tables of many pairs together.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import chain, count
from typing import Any, Literal, NamedTuple, TypeAlias

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
# An alignment without its words: one byte per edit. None: all words are equal.
Moves: TypeAlias = bytes | None

EQUAL, SUBSTITUTION, INSERTION, DELETION = 1, 2, 3, 4
_KINDS: dict[int, Kind] = {EQUAL: "equal", SUBSTITUTION: "substitution", INSERTION: "insertion", DELETION: "deletion"}


class Edit(NamedTuple):
    """A column of an alignment; `reference` is None in an insertion, `hypothesis` in a deletion."""

    kind: Kind
    reference: str | None
    hypothesis: str | None


Alignment: TypeAlias = tuple[Edit, ...]


class Definition(NamedTuple):
    """A scoring definition: costs, tie-break, case, and which inserted words count as biasing words."""

    name: str
    insertion: int
    deletion: int
    substitution: int
    # Order of preference on equal cost; the back-trace starts at the last words.
    preference: tuple[Move, Move, Move]
    upper_case: bool
    # True: an inserted word counts as a biasing word only if it is in the reference too; False: if it is in the set.
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
    """Look up a definition by name.

    Raises: ParamsError: unknown definition; the message lists the known definitions.
    """
    try:
        return DEFINITIONS[name]
    except KeyError:
        known = ", ".join(DEFINITIONS)
        raise ParamsError(f"evaluation.definition: got {name!r}, expected one of: {known}") from None


def align(reference: Words, hypothesis: Words, definition: str = "deep-bias") -> Alignment:
    """Align two word sequences: return the cheapest edits that turn the reference into the hypothesis.

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
    """Align many (reference, hypothesis) pairs at once; thousands take well under a second."""
    listed = [(list(reference), list(hypothesis)) for reference, hypothesis in pairs]
    alignments = moves_of(listed, definition_of(definition))
    return [edits_of(moves, *pair) for moves, pair in zip(alignments, listed, strict=True)]


def edits_of(moves: Moves, reference: Words, hypothesis: Words) -> Alignment:
    """Combine moves with words. (The words' spelling may differ from the aligned words, such as in case.)"""
    if moves is None:
        return tuple(Edit("equal", said, written) for said, written in zip(reference, hypothesis, strict=True))
    said, written = iter(reference), iter(hypothesis)
    return tuple(
        Edit(_KINDS[move], None if move == INSERTION else next(said), None if move == DELETION else next(written))
        for move in moves
    )


def moves_of(pairs: Sequence[tuple[list[str], list[str]]], definition: Definition) -> list[Moves]:
    """Align each (reference, hypothesis) pair; return one byte per edit."""
    moves: list[Moves] = [None] * len(pairs)
    tables: list[int] = []  # indices of the pairs that need a table
    cores: list[tuple[Words, Words]] = []
    ends: list[tuple[int, int]] = []
    for index, (reference, hypothesis) in enumerate(pairs):
        if reference == hypothesis:
            continue  # the diagonal is the only alignment that costs nothing
        first, last = _equal_ends(reference, hypothesis) if definition.preference[0] == "diagonal" else (0, 0)
        core = reference[first : len(reference) - last], hypothesis[first : len(hypothesis) - last]
        if len(core[0]) > 1 or len(core[1]) > 1 or not first + last:
            tables.append(index)
            cores.append(core)
            ends.append((first, last))
        else:  # a single word is wrong, inserted or missing
            only = bytes([DELETION if not core[1] else INSERTION if not core[0] else SUBSTITUTION])
            moves[index] = _with_ends(only, reference, hypothesis, first, last)
    order = sorted(range(len(cores)), key=lambda number: (len(cores[number][0]), len(cores[number][1])))
    for chunk in _chunks(order, cores):
        for number, aligned in zip(chunk, _align([cores[number] for number in chunk], definition), strict=True):
            moves[tables[number]] = _with_ends(aligned, *pairs[tables[number]], *ends[number])
    return moves


def _equal_ends(reference: Words, hypothesis: Words) -> tuple[int, int]:
    """Count equal words at the start and at the end; no word counts twice."""
    most = min(len(reference), len(hypothesis))
    last = 0
    while last < most and reference[-1 - last] == hypothesis[-1 - last]:
        last += 1
    first = 0
    while first < most - last and reference[first] == hypothesis[first]:
        first += 1
    return first, last


def _with_ends(core: bytes, reference: Words, hypothesis: Words, first: int, last: int) -> bytes:
    """Extend the alignment of a pair's differing core by its `first` and `last` equal words.

    If the diagonal is preferred, the back-trace starts with the last words, and removing them changes no cost. Removing
    the first words changes no cost after them (a substitution never costs more than an insertion and a deletion). But
    if the core starts with unpaired words of one side, the back-trace continues into the first words and pairs equal
    words
    there: of "a a" for "a" it is the first "a" that is inserted.
    """
    kind = core[:1]
    left = len(core) - len(core.lstrip(kind)) if first and kind > _SUBSTITUTION else 0
    longer = hypothesis if kind[0] == INSERTION else reference
    row, column = first, first + left
    start = b""
    while row and row < column:
        is_equal = longer[row - 1] == longer[column - 1]
        start = (_EQUAL if is_equal else kind) + start
        row, column = row - is_equal, column - 1
    return _EQUAL * row + kind * (column - row) + start + core[left:] + _EQUAL * last


_EQUAL, _SUBSTITUTION = bytes([EQUAL]), bytes([SUBSTITUTION])


def _chunks(positions: list[int], pairs: Sequence[tuple[Words, Words]], cells: int = 1 << 16) -> Iterator[list[int]]:
    """Group positions so that a group's padded cost tables have at most `cells` entries (or a single pair)."""
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


def _align(pairs: Sequence[tuple[Words, Words]], definition: Definition) -> Iterator[bytes]:
    """Align pairs in a common table; yield their moves."""
    rows, columns = (np.array([len(pair[side]) for pair in pairs]) for side in (0, 1))
    references, hypotheses = _as_ids(([pair[0] for pair in pairs], rows), ([pair[1] for pair in pairs], columns))
    # (pairs, longest reference, longest hypothesis)
    differs = references[:, :, None] != hypotheses[:, None, :]
    return _trace_back(_cost_table(differs, definition), differs, rows, columns, definition)


def _as_ids(*sides: tuple[Sequence[Words], np.ndarray]) -> Iterator[np.ndarray]:
    """Encode words as integers, padded at the end: `(pairs, longest)` for each side, given with its lengths."""
    numbers: defaultdict[str, int] = defaultdict(count().__next__)
    for texts, lengths in sides:
        padded = np.full((len(texts), lengths.max()), -1, dtype=np.int32)
        padded[np.arange(padded.shape[1]) < lengths[:, None]] = [numbers[word] for word in chain.from_iterable(texts)]
        yield padded


def _cost_table(differs: np.ndarray, definition: Definition) -> np.ndarray:
    """Compute the cheapest cost of aligning each prefix of a reference with each prefix of its hypothesis.

    Args:
        differs: True where two words differ, `(pairs, longest reference, longest hypothesis)`.
    Returns: `(pairs, longest reference + 1, longest hypothesis + 1)`; a pair's own table is the upper left corner,
    which
        padding cannot change.
    """
    pairs, rows, columns = differs.shape
    dearest = (rows + columns + 1) * max(definition.insertion, definition.deletion, definition.substitution)
    kind = np.int16 if dearest < np.iinfo(np.int16).max else np.int32
    # Cost of the insertions from the start of a row to each column: after subtracting it, the running minimum along a
    # row is the cheapest way to reach a column by insertions, which numpy computes in a single call.
    inserted = np.arange(columns + 1, dtype=kind) * kind(definition.insertion)
    substituted = differs * kind(definition.substitution)
    table = np.empty((pairs, rows + 1, columns + 1), dtype=kind)
    table[:, 0] = inserted
    for row in range(rows):
        above = table[:, row]
        best: np.ndarray = above + kind(definition.deletion)
        np.minimum(best[:, 1:], above[:, :-1] + substituted[:, row], out=best[:, 1:])
        best -= inserted
        np.minimum.accumulate(best, axis=1, out=best)
        np.add(best, inserted, out=table[:, row + 1])
    return table


def _trace_back(
    table: np.ndarray, differs: np.ndarray, rows: np.ndarray, columns: np.ndarray, definition: Definition
) -> Iterator[bytes]:
    """Trace all tables at once from the last words to the first, preferring moves on equal cost as defined.

    Args:
        table, differs: See `_cost_table`.
        rows, columns: Words of each reference and hypothesis, `(pairs,)`.
    Yields: Each pair's moves, first word first.
    """
    pairs, height, width = table.shape
    cost = table.dtype.type
    diagonal = table[:, :-1, :-1] + differs * cost(definition.substitution)
    ways: dict[str, tuple[Any, np.ndarray, Any]] = {
        "diagonal": (np.s_[:, 1:, 1:], diagonal, np.array([EQUAL, SUBSTITUTION], dtype=np.int8)[differs.view(np.int8)]),
        "insertion": (np.s_[:, :, 1:], table[:, :, :-1] + cost(definition.insertion), INSERTION),
        "deletion": (np.s_[:, 1:], table[:, :-1] + cost(definition.deletion), DELETION),
    }
    preferred = np.zeros(table.shape, dtype=np.int8)  # 0 = start of both texts
    for name in reversed(definition.preference):
        cells, price, code = ways[name]
        np.copyto(preferred[cells], code, where=table[cells] == price)
    chosen = preferred.ravel()
    at = (np.arange(pairs) * height + rows) * width + columns
    # Distance to the previous cell in the flat table, by the move's code.
    back = np.array([0, width + 1, width + 1, 1, width])
    steps = int((rows + columns).max())
    moves = np.zeros((pairs, steps), dtype=np.int8)
    for step in range(steps - 1, -1, -1):
        move = chosen[at]
        if not move.any():
            break
        moves[:, step] = move
        at -= back[move]
    for line in moves:
        yield line.tobytes().lstrip(b"\0")
