"""Pieces of text that lie somewhere on a page, as the lines one would read."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

__all__ = ["Piece", "lines"]

LEADING = 0.2  # share of a piece's height that may overlap with the line below
ALIKE = 0.7  # cuts this wide, compared with the widest, are made at once: so columns of lines need no deep recursion


@dataclass(frozen=True)
class Piece:
    """A run of text and its box; y grows downwards, any unit."""

    left: float
    top: float
    right: float
    bottom: float
    text: str


def lines(pieces: Sequence[Piece], between: str = " ") -> list[str]:
    """The pieces in reading order, those of a line joined by `between`.

    The page is cut at its widest white bands first, whether they lie or stand (a recursive XY cut; Nagy and Seth,
    1984): a title comes before the columns below it, and the left column before the right one.

    >>> lines([Piece(0, 0, 99, 9, "Title"), Piece(70, 30, 99, 39, "right"), Piece(0, 30, 20, 39, "left"),
    ...        Piece(0, 41, 20, 50, "below"), Piece(70, 41, 99, 50, "last")])
    ['Title', 'left', 'below', 'right', 'last']
    """
    if len(pieces) < 2:
        return [piece.text for piece in pieces]
    height = median(piece.bottom - piece.top for piece in pieces)
    rows, between_rows = _cut(pieces, lambda one: (one.top + LEADING * height, one.bottom - LEADING * height), 0.0)
    columns, between_columns = _cut(pieces, lambda one: (one.left, one.right), height)
    if len(columns) > 1 and (len(rows) == 1 or between_columns > between_rows):
        rows = columns
    if len(rows) > 1:
        return [line for part in rows for line in lines(part, between)]
    return [between.join(piece.text for piece in sorted(pieces, key=lambda one: one.left))]


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
