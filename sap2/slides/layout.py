"""Reading order: positioned pieces of text to lines, as a reader would read them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

__all__ = ["Piece", "rows"]

LEADING = 0.2  # share of a piece's height that may overlap with the line below
MAX_WORK = 200  # work budget per piece; beyond it, pieces keep the file's order, so that no page takes hours
MAX_OVERLAPPING = 500  # pieces; as MAX_WORK
OVERLAP = 0.3  # share of the narrower piece above which two pieces overlap
ALIKE = 0.7  # cuts at least this wide, relative to the widest, are made together, which keeps the recursion shallow


@dataclass(frozen=True)
class Piece:
    """A run of text and its bounding box, in any unit; y grows downwards."""

    left: float
    top: float
    right: float
    bottom: float
    text: str


def rows(pieces: Sequence[Piece], between: str = " ") -> list[Piece]:
    """Return the lines of a page in reading order; pieces side by side are joined by `between`.

    The page is cut at its widest white bands first, horizontal or vertical (a recursive XY cut; Nagy and Seth, 1984):
    a title comes before the columns below it, and the left column before the right column. Overlapping pieces are
    separate lines, in the order given.

    >>> [row.text for row in rows([
    ...     Piece(0, 0, 99, 9, "Title"), Piece(70, 30, 99, 39, "right"), Piece(0, 30, 20, 39, "left"),
    ...     Piece(0, 41, 20, 50, "below"), Piece(70, 41, 99, 50, "last")])]
    ['Title', 'left', 'below', 'right', 'last']
    """
    lines: list[Piece] = []
    left, work = [pieces], MAX_WORK * (len(pieces) + 100)
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
    """Split pieces at the widest white bands, into rows or columns."""
    height = median(piece.bottom - piece.top for piece in pieces)
    parts, between_rows = _cut(
        pieces, lambda piece: (piece.top + LEADING * height, piece.bottom - LEADING * height), 0.0
    )
    columns, between_columns = _cut(pieces, lambda piece: (piece.left, piece.right), height)
    return columns if len(columns) > 1 and (len(parts) == 1 or between_columns > between_rows) else parts


def _side_by_side(pieces: Sequence[Piece], between: str) -> list[Piece]:
    """Form lines of pieces without white bands between them: each joins the first line that it does not overlap."""
    if len(pieces) > MAX_OVERLAPPING:
        return list(pieces)
    lines: list[list[Piece]] = []
    for piece in pieces:
        free = (line for line in lines if not any(_overlap(piece, other) for other in line))
        line = next(free, None)
        lines.append([piece]) if line is None else line.append(piece)
    return [_joined(sorted(line, key=lambda piece: piece.left), between) for line in lines]


def _overlap(a: Piece, b: Piece) -> bool:
    shared = min(a.right, b.right) - max(a.left, b.left)
    return shared > OVERLAP * min(a.right - a.left, b.right - b.left)


def _joined(line: Sequence[Piece], between: str) -> Piece:
    if len(line) == 1:
        return line[0]
    return Piece(
        min(piece.left for piece in line), min(piece.top for piece in line),
        max(piece.right for piece in line), max(piece.bottom for piece in line),
        between.join(piece.text for piece in line),
    )  # fmt: skip


def _cut(
    pieces: Sequence[Piece], extent: Callable[[Piece], tuple[float, float]], least: float
) -> tuple[list[list[Piece]], float]:
    """Split pieces at their widest gaps above `least` along an axis; also return the width of the widest gap."""
    ordered = sorted(pieces, key=lambda piece: extent(piece)[0])
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
