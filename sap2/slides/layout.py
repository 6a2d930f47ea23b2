"""Pieces of text that lie somewhere on a page, as the lines one would read."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

__all__ = ["Piece", "rows"]

LEADING = 0.2  # share of a piece's height that may overlap with the line below
MOST_WORK = 200  # times that a page's pieces are looked at: a page made to take hours keeps its file's order
MOST_OVERLAPPING = 500  # pieces; the same
OVERLAP = 0.3  # share of the narrower piece above which two lie over each other
ALIKE = 0.7  # cuts this wide, compared with the widest, are made at once: so columns of lines need no deep recursion


@dataclass(frozen=True)
class Piece:
    """A run of text and its box; y grows downwards, any unit."""

    left: float
    top: float
    right: float
    bottom: float
    text: str


def rows(pieces: Sequence[Piece], between: str = " ") -> list[Piece]:
    """The lines of a page in reading order: pieces side by side as one, their texts joined by `between`.

    The page is cut at its widest white bands first, whether they lie or stand (a recursive XY cut; Nagy and Seth,
    1984): a title comes before the columns below it, and the left column before the right one. Pieces that lie over
    each other are lines of their own, in the order given.

    >>> [row.text for row in rows([
    ...     Piece(0, 0, 99, 9, "Title"), Piece(70, 30, 99, 39, "right"), Piece(0, 30, 20, 39, "left"),
    ...     Piece(0, 41, 20, 50, "below"), Piece(70, 41, 99, 50, "last")])]
    ['Title', 'left', 'below', 'right', 'last']
    """
    lines: list[Piece] = []
    left, work = [pieces], MOST_WORK * (len(pieces) + 100)
    while left:
        part = left.pop()
        work -= len(part)
        parts = _parts(part) if len(part) > 1 and work > 0 else [part]
        if len(parts) > 1:
            left.extend(reversed(parts))
        else:
            lines.extend(_side_by_side(part, between))
    return lines


def _parts(pieces: Sequence[Piece]) -> list[list[Piece]]:
    """The pieces above and below, or left and right of, the widest white bands."""
    height = median(piece.bottom - piece.top for piece in pieces)
    parts, between_rows = _cut(pieces, lambda one: (one.top + LEADING * height, one.bottom - LEADING * height), 0.0)
    columns, between_columns = _cut(pieces, lambda one: (one.left, one.right), height)
    return columns if len(columns) > 1 and (len(parts) == 1 or between_columns > between_rows) else parts


def _side_by_side(pieces: Sequence[Piece], between: str) -> list[Piece]:
    """Pieces that no white band parts: each joins the first line that it does not lie over."""
    if len(pieces) > MOST_OVERLAPPING:
        return list(pieces)
    lines: list[list[Piece]] = []
    for piece in pieces:
        free = (line for line in lines if not any(_over(piece, other) for other in line))
        line = next(free, None)
        lines.append([piece]) if line is None else line.append(piece)
    return [_joined(sorted(line, key=lambda one: one.left), between) for line in lines]


def _over(one: Piece, other: Piece) -> bool:
    shared = min(one.right, other.right) - max(one.left, other.left)
    return shared > OVERLAP * min(one.right - one.left, other.right - other.left)


def _joined(line: Sequence[Piece], between: str) -> Piece:
    if len(line) == 1:
        return line[0]
    return Piece(
        min(one.left for one in line), min(one.top for one in line),
        max(one.right for one in line), max(one.bottom for one in line),
        between.join(one.text for one in line),
    )  # fmt: skip


def _cut(
    pieces: Sequence[Piece], extent: Callable[[Piece], tuple[float, float]], least: float
) -> tuple[list[list[Piece]], float]:
    """The pieces parted at their widest gaps above `least` along one axis, and how wide the widest is."""
    ordered = sorted(pieces, key=lambda one: extent(one)[0])
    reach, gaps = extent(ordered[0])[1], []
    for piece in ordered[1:]:
        first, last = extent(piece)
        gaps.append(first - reach)
        reach = max(reach, last)
    widest = max(gaps)
    if widest <= least:
        return [list(pieces)], 0.0
    parts = [[ordered[0]]]
    for piece, gap in zip(ordered[1:], gaps, strict=True):
        if gap >= ALIKE * widest:
            parts.append([])
        parts[-1].append(piece)
    return parts, widest
