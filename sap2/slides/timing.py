"""The times at which pages were shown: given, from chapter marks, or estimated from the speech."""

import math
import re
from bisect import bisect_right
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from sap2.constants import Seconds
from sap2.errors import InputError
from sap2.evaluation.normalise import normalise, words
from sap2.inference.prefilter import closeness
from sap2.slides.recording import read_chapters

__all__ = [
    "Shown", "align", "chapter_times", "likeness", "monotone_path", "pages_around", "read_times", "shown_between",
    "steps", "known_times",
]  # fmt: skip

Shown = tuple[Seconds, int]  # start, and the page

SHARPNESS = 16.0  # of the error model: a word of similarity 0.5 is e^-8 times as likely to be heard as the word itself
UNLIKE = 0.5  # similarity below which a heard word rather belongs to no page
MAX_WORDS = 300  # of a page in the comparison
BLOCK = 64  # heard words per matrix of similarities
TIME = re.compile(r"(?:(?:(\d{1,3}):)?(\d{1,2}):)?(\d{1,6}(?:[.,]\d{1,9})?)", re.ASCII)
PAGE = re.compile(r"0*[1-9]\d{0,5}", re.ASCII)
NUMBERED = re.compile(r"\s*(?:[^\W\d]+\s*)?#?([1-9]\d{0,3})\b")  # a title such as "Slide 4: results" or "4. Results"


def known_times(recording: Path, pages: int, given: Path | None = None) -> tuple[list[Shown] | None, list[str]]:
    """Return the times at which pages were shown: as given, or from chapter marks if each page has a mark.

    Returns: The times, None if unknown, and notices of their origin.
    Raises: InputError: the given times, or the recording, cannot be read.
    """
    if given is not None:
        return read_times(given), []
    chapters = read_chapters(recording) or []
    if len(chapters) < 2 or len(chapters) != pages:
        return None, []
    return chapter_times(chapters), [f"{recording}: its {pages} chapter marks serve as the times of the slides"]


def read_times(path: Path | str) -> list[Shown]:
    """Read lines of a time (seconds, m:ss or h:mm:ss) and a page, separated by whitespace, after an optional heading.

    The path may also be a video, whose chapter marks are read: see `chapter_times`.

    Raises: InputError: a line is malformed, or earlier than the line before; a video has no chapters.
    """
    if (chapters := read_chapters(Path(path))) is not None:
        if not chapters:
            raise InputError(f"{path}: holds no chapter marks; give lines of time and page, such as 1:30 and 4")
        return chapter_times(chapters)
    try:
        rows = Path(path).read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read ({error}); expected lines of time and page") from error
    times: list[Shown] = []
    for number, row in enumerate(rows, start=1):
        fields = row.split()
        if not fields or (number == 1 and not fields[0][0].isdigit()):
            continue
        time = TIME.fullmatch(fields[0])
        if not time or len(fields) < 2 or not PAGE.fullmatch(fields[1]):
            raise InputError(f"{path}:{number}: {row[:60]!r}, expected a time and a page, such as 1:30 and 4")
        hours, minutes, seconds = time.groups()
        start = int(hours or 0) * 3600 + int(minutes or 0) * 60 + float(seconds.replace(",", "."))
        if times and start < times[-1][0]:
            raise InputError(f"{path}:{number}: {fields[0]} is earlier than the line before; put the lines in order")
        times.append((start, int(fields[1])))
    if not times:
        raise InputError(f"{path}: holds no times, expected lines of time and page, such as 1:30 and 4")
    return times


def chapter_times(chapters: Sequence[tuple[Seconds, str]]) -> list[Shown]:
    """Map chapters to pages, by the numbers in their titles if all titles begin with a number, else in order.

    >>> chapter_times([(0.0, "Slide 1"), (40.0, "Slide 3: results")])
    [(0.0, 1), (40.0, 3)]
    >>> chapter_times([(0.0, "Slide 1"), (40.0, "Results")])
    [(0.0, 1), (40.0, 2)]
    """
    numbered = [NUMBERED.match(title) for _, title in chapters]
    pages = [int(match[1]) for match in numbered if match]
    if len(pages) < len(chapters):
        pages = list(range(1, len(chapters) + 1))
    return [(start, page) for (start, _), page in zip(chapters, pages, strict=True)]


def shown_between(times: Sequence[Shown], start: Seconds, end: Seconds) -> list[int]:
    """Return the distinct pages shown between two times, in order; the first page is shown from the beginning.

    >>> shown_between([(0.0, 1), (10.0, 2), (20.0, 3)], 8.0, 15.0)
    [1, 2]
    """
    starts = [time for time, _ in times]
    first = max(bisect_right(starts, start) - 1, 0)
    last = max(bisect_right(starts, end), first + 1)
    return list(dict.fromkeys(page for time, page in times[first:last] if time < end or time == starts[first]))


def pages_around(pages: Sequence[int], around: int) -> list[int]:
    """Return the pages, and the pages up to `around` before and after them, nearest first.

    >>> pages_around([4], 2)
    [4, 3, 5, 2, 6]
    """
    near = {page + step for page in pages for step in range(-around, around + 1) if page + step > 0}
    return sorted(near, key=lambda other: (min(abs(other - page) for page in pages), other))


def align(spoken: Sequence[str], pages: Sequence[str]) -> list[int]:
    """Estimate the page, from 1 on, shown during each stretch of speech, assuming pages are shown in order.

    The result is the most likely path of a hidden Markov model with emission scores by `likeness` and transitions by
    `steps`, at the rate that leads from the first page to the last.

    Args:
        spoken: Text of each stretch by a first pass; names may be misspelled.
        pages: Text of each page.

    >>> align(["we prune lists", "by lissening", "and thank you"], ["Pruning lists", "Listening", "Thanks"])
    [1, 2, 3]
    """
    if not spoken:
        return []
    step = steps(len(pages), max(len(pages) - 1, 1) / len(spoken))
    return [column + 1 for column in monotone_path(likeness(spoken, pages), step)]


def likeness(spoken: Sequence[str], pages: Sequence[str]) -> np.ndarray:
    """Return log likelihood ratios of stretches of speech, given a page rather than any page, `(spoken, pages)`.

    The model: a page emits its words with equal probability; each is heard as itself or, with a probability that falls
    with the distance, as another word. A word unlike all words of all pages is equally likely for every page. So a
    misheard name is still evidence for its pages, more so if they are few, and a long list of names weighs less than a
    short list.
    """
    listed = [list(dict.fromkeys(_words(text)))[:MAX_WORDS] for text in pages]
    vocabulary = {word: index for index, word in enumerate(dict.fromkeys(word for page in listed for word in page))}
    stretches = [list(dict.fromkeys(_words(text))) for text in spoken]
    heard = {word: index for index, word in enumerate(dict.fromkeys(word for words in stretches for word in words))}
    evidence = np.zeros((len(heard), len(pages)), np.float32)
    if vocabulary:
        sizes = np.array([len(page) for page in listed])
        columns = np.array([vocabulary[word] for page in listed for word in page])
        begins = (np.cumsum(sizes) - sizes)[sizes > 0]
        unlike = math.exp(-SHARPNESS * UNLIKE) / sizes[sizes > 0].mean()
        for first in range(0, len(heard), BLOCK):
            near = closeness(list(heard)[first : first + BLOCK], list(vocabulary)) / 2
            chance = np.zeros((len(near), len(pages)), np.float32)
            summed = np.add.reduceat(np.exp(SHARPNESS * (near - 1))[:, columns], begins, axis=1)
            chance[:, sizes > 0] = summed / sizes[sizes > 0]
            evidence[first : first + BLOCK] = np.log((chance + unlike) / (chance.mean(axis=1, keepdims=True) + unlike))
    rows = (np.array([heard[word] for word in words], np.int64) for words in stretches)
    return np.stack([evidence[row].sum(axis=0) for row in rows]) if stretches else np.zeros((0, len(pages)), np.float32)


def _words(text: str) -> list[str]:
    return words(normalise(text, "basic"))


def steps(pages: int, rate: float) -> np.ndarray:
    """Return Poisson log-probabilities of advancing by 0, 1, 2, … pages per stretch, `(pages,)`."""
    count = np.arange(pages)
    return count * math.log(rate) - rate - np.array([math.lgamma(number + 1) for number in count])


def monotone_path(score: np.ndarray, step: np.ndarray) -> list[int]:
    """Return the non-decreasing path, a column per row, with the greatest sum of scores and steps.

    Args:
        score: `(rows, columns)`; the path may begin in any column, at the cost of a step from the first.
        step: Score of advancing by 0, 1, 2, … columns, `(columns,)`.
    """
    rows, columns = score.shape
    if rows == 0:
        return []
    ahead = np.arange(columns)[None] - np.arange(columns)[:, None]
    move = np.where(ahead >= 0, step[np.abs(ahead)], -np.inf)  # (from, to)
    previous = np.zeros((rows, columns), np.int32)
    best = score[0] + step
    for row in range(1, rows):
        reached = best[:, None] + move
        previous[row] = reached.argmax(axis=0)
        best = reached[previous[row], np.arange(columns)] + score[row]
    path = [int(best.argmax())]
    for row in range(rows - 1, 0, -1):
        path.append(int(previous[row, path[-1]]))
    return path[::-1]
