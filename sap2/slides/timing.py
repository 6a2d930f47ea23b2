"""Which page was shown when: as a person wrote it down, or as what was said tells."""

import math
import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from sap2.errors import InputError

__all__ = ["Shown", "align", "likeness", "monotone_path", "pages_around", "read_times", "shown_between"]

Seconds = float
Shown = tuple[Seconds, int]  # from when on, and the page

COST = 0.02  # of moving on by a page, in units of likeness: without a sign of the next page the talk stays where it is
TIME = re.compile(r"(?:(?:(\d+):)?(\d{1,2}):)?(\d+(?:[.,]\d+)?)")


def read_times(path: Path | str) -> list[Shown]:
    """Lines of a time (seconds, m:ss or h:mm:ss) and a page, parted by a tab or spaces; headings may come first.

    Raises: InputError: a line has another form, or is earlier than the one before it.
    """
    try:
        rows = Path(path).read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read ({error}); expected lines of time and page") from error
    found: list[Shown] = []
    for number, row in enumerate(rows, start=1):
        fields = row.split()
        if not fields or (number == 1 and not fields[0][0].isdigit()):
            continue
        time = TIME.fullmatch(fields[0])
        if not time or len(fields) < 2 or not fields[1].isdecimal() or int(fields[1]) < 1:
            raise InputError(f"{path}:{number}: {row[:60]!r}, expected a time and a page, such as 1:30 and 4")
        hours, minutes, seconds = time.groups()
        start = int(hours or 0) * 3600 + int(minutes or 0) * 60 + float(seconds.replace(",", "."))
        if found and start < found[-1][0]:
            raise InputError(f"{path}:{number}: {fields[0]} is earlier than the line before; put the lines in order")
        found.append((start, int(fields[1])))
    if not found:
        raise InputError(f"{path}: holds no times, expected lines of time and page, such as 1:30 and 4")
    return found


def shown_between(times: Sequence[Shown], start: Seconds, end: Seconds) -> list[int]:
    """The pages shown between two times, in order, each once; the first counts from the beginning on.

    >>> shown_between([(0.0, 1), (10.0, 2), (20.0, 3)], 8.0, 15.0)
    [1, 2]
    """
    starts = [time for time, _ in times]
    first = max(bisect_right(starts, start) - 1, 0)
    last = max(bisect_right(starts, end), first + 1)
    return list(dict.fromkeys(page for time, page in times[first:last] if time < end or time == starts[first]))


def pages_around(pages: Sequence[int], around: int) -> list[int]:
    """The pages and those up to `around` before and after them, nearest first.

    >>> pages_around([4], 2)
    [4, 3, 5, 2, 6]
    """
    near = {page + step for page in pages for step in range(-around, around + 1) if page + step > 0}
    return sorted(near, key=lambda one: (min(abs(one - page) for page in pages), one))


def align(said: Sequence[str], pages: Sequence[str]) -> list[int]:
    """The page, from 1 on, shown during each stretch of speech, if the pages were shown in their order.

    Args:
        said: What a first pass heard, stretch by stretch; its names may be misspelt.
        pages: The text of each page.

    >>> align(["we prune lists", "by lissening", "and thank you"], ["Pruning lists", "Listening", "Thanks"])
    [1, 2, 3]
    """
    return [place + 1 for place in monotone_path(likeness(said, pages), COST)]


def likeness(said: Sequence[str], pages: Sequence[str]) -> np.ndarray:
    """How much stretches of speech say of pages, `(said, pages)`, 0 to 1: the cosine of their words' letter triples.

    Triples that stand on few pages weigh most (tf-idf); a name that was misheard still shares some.
    """
    bags = [_triples(text) for text in pages]
    places = {triple: place for place, triple in enumerate(sorted(set().union(*bags)))}
    pages_with = Counter(triple for bag in bags for triple in bag)
    weight = np.array([math.log((1 + len(pages)) / pages_with[triple]) for triple in places], np.float32)
    one, other = (_unit(_matrix(texts, places) * weight) for texts in ([_triples(text) for text in said], bags))
    return one @ other.T


def _triples(text: str) -> set[str]:
    words = re.findall(r"\w+", text.casefold())
    return {f" {word} "[place : place + 3] for word in words for place in range(len(word))}


def _matrix(bags: Sequence[set[str]], places: dict[str, int]) -> np.ndarray:
    matrix = np.zeros((len(bags), len(places)), np.float32)
    for row, bag in enumerate(bags):
        matrix[row, [places[triple] for triple in bag if triple in places]] = 1
    return matrix


def _unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9)


def monotone_path(score: np.ndarray, cost: float) -> list[int]:
    """The column of each row, never going back, whose scores less `cost` a column moved have the greatest sum.

    Args:
        score: `(rows, columns)`; the path begins in any column, at the cost of moving there from the first.
    """
    rows, columns = score.shape
    if rows == 0:
        return []
    place = np.arange(columns)
    toll = cost * place
    came = np.zeros((rows, columns), np.int64)
    best = score[0] - toll
    for row in range(1, rows):
        held = best + toll
        reached = np.maximum.accumulate(held)
        came[row] = np.maximum.accumulate(np.where(held == reached, place, 0))
        best = score[row] + reached - toll
    path = [int(best.argmax())]
    for row in range(rows - 1, 0, -1):
        path.append(int(came[row, path[-1]]))
    return path[::-1]
