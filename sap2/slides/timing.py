"""Which page was shown when: as a person wrote it down, or as what was said tells."""

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
    "steps", "times_known",
]  # fmt: skip

Shown = tuple[Seconds, int]  # from when on, and the page

SHARPNESS = 16.0  # of hearing: a word that is half like another is e^-8 times as likely heard for it as itself
UNLIKE = 0.5  # likeness of two words below which what was heard is rather of no page
MOST_WORDS = 300  # of a page that are compared
BLOCK = 64  # words heard that are compared at once
TIME = re.compile(r"(?:(?:(\d{1,3}):)?(\d{1,2}):)?(\d{1,6}(?:[.,]\d{1,9})?)", re.ASCII)
PAGE = re.compile(r"0*[1-9]\d{0,5}", re.ASCII)
NUMBERED = re.compile(r"\s*(?:[^\W\d]+\s*)?#?([1-9]\d{0,3})\b")  # a title such as "Slide 4: results" or "4. Results"


def times_known(recording: Path, pages: int, given: Path | None = None) -> tuple[list[Shown] | None, list[str]]:
    """When the pages were shown: as given, or as the recording's chapter marks say, where it has one a page; or None.

    Returns: The times, and what a person should know of where they are from.
    Raises: InputError: the times given, or the recording, cannot be read.
    """
    if given is not None:
        return read_times(given), []
    chapters = read_chapters(recording) or []
    if len(chapters) < 2 or len(chapters) != pages:
        return None, []
    return chapter_times(chapters), [f"{recording}: its {pages} chapter marks are taken for the times of the slides"]


def read_times(path: Path | str) -> list[Shown]:
    """Lines of a time (seconds, m:ss or h:mm:ss) and a page, parted by a tab or spaces; headings may come first.

    Of a video its chapter marks: see `chapter_times`.
    Raises: InputError: a line has another form, or is earlier than the one before it; a video has no chapters.
    """
    if (chapters := read_chapters(Path(path))) is not None:
        if not chapters:
            raise InputError(f"{path}: holds no chapter marks; give lines of time and page, such as 1:30 and 4")
        return chapter_times(chapters)
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
        if not time or len(fields) < 2 or not PAGE.fullmatch(fields[1]):
            raise InputError(f"{path}:{number}: {row[:60]!r}, expected a time and a page, such as 1:30 and 4")
        hours, minutes, seconds = time.groups()
        start = int(hours or 0) * 3600 + int(minutes or 0) * 60 + float(seconds.replace(",", "."))
        if found and start < found[-1][0]:
            raise InputError(f"{path}:{number}: {fields[0]} is earlier than the line before; put the lines in order")
        found.append((start, int(fields[1])))
    if not found:
        raise InputError(f"{path}: holds no times, expected lines of time and page, such as 1:30 and 4")
    return found


def chapter_times(chapters: Sequence[tuple[Seconds, str]]) -> list[Shown]:
    """Chapters as pages: by the numbers that begin their titles, where all have one; else one after the other.

    >>> chapter_times([(0.0, "Slide 1"), (40.0, "Slide 3: results")])
    [(0.0, 1), (40.0, 3)]
    >>> chapter_times([(0.0, "Slide 1"), (40.0, "Results")])
    [(0.0, 1), (40.0, 2)]
    """
    numbered = [NUMBERED.match(title) for _, title in chapters]
    pages = [int(one[1]) for one in numbered if one]
    if len(pages) < len(chapters):
        pages = list(range(1, len(chapters) + 1))
    return [(start, page) for (start, _), page in zip(chapters, pages, strict=True)]


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

    The most likely path of a hidden Markov model whose pages are heard as `likeness` has it, and that goes on by
    `steps` at the rate that leads from the first page to the last.

    Args:
        said: What a first pass heard, stretch by stretch; its names may be misspelt.
        pages: The text of each page.

    >>> align(["we prune lists", "by lissening", "and thank you"], ["Pruning lists", "Listening", "Thanks"])
    [1, 2, 3]
    """
    if not said:
        return []
    step = steps(len(pages), max(len(pages) - 1, 1) / len(said))
    return [place + 1 for place in monotone_path(likeness(said, pages), step)]


def likeness(said: Sequence[str], pages: Sequence[str]) -> np.ndarray:
    """How much more likely it is to hear a stretch of speech of a page than of any, `(said, pages)`: log ratios.

    A page says its words, each as likely, and each is heard as itself or, the less alike, the less likely, as another;
    what is like none of them is as likely of all pages. So a name that was misheard still speaks for its pages, most
    where those are few, and a long list of names is worth less than a short one.
    """
    listed = [list(dict.fromkeys(_words(text)))[:MOST_WORDS] for text in pages]
    vocabulary = {word: place for place, word in enumerate(dict.fromkeys(word for page in listed for word in page))}
    spoken = [list(dict.fromkeys(_words(text))) for text in said]
    heard = {word: place for place, word in enumerate(dict.fromkeys(word for words in spoken for word in words))}
    evidence = np.zeros((len(heard), len(pages)), np.float32)
    if vocabulary:
        sizes = np.array([len(page) for page in listed])
        places = np.array([vocabulary[word] for page in listed for word in page])
        begins = (np.cumsum(sizes) - sizes)[sizes > 0]
        unlike = math.exp(-SHARPNESS * UNLIKE) / sizes[sizes > 0].mean()
        for first in range(0, len(heard), BLOCK):
            near = closeness(list(heard)[first : first + BLOCK], list(vocabulary)) / 2
            chance = np.zeros((len(near), len(pages)), np.float32)
            summed = np.add.reduceat(np.exp(SHARPNESS * (near - 1))[:, places], begins, axis=1)
            chance[:, sizes > 0] = summed / sizes[sizes > 0]
            evidence[first : first + BLOCK] = np.log((chance + unlike) / (chance.mean(axis=1, keepdims=True) + unlike))
    rows = (np.array([heard[word] for word in words], np.int64) for words in spoken)
    return np.stack([evidence[row].sum(axis=0) for row in rows]) if spoken else np.zeros((0, len(pages)), np.float32)


def _words(text: str) -> list[str]:
    return words(normalise(text, "basic"))


def steps(pages: int, rate: float) -> np.ndarray:
    """Log-probability of going on by 0, 1, 2, … pages from one stretch to the next: Poisson's, `(pages,)`."""
    count = np.arange(pages)
    return count * math.log(rate) - rate - np.array([math.lgamma(one + 1) for one in count])


def monotone_path(score: np.ndarray, step: np.ndarray) -> list[int]:
    """The column of each row, never going back, whose scores and steps have the greatest sum.

    Args:
        score: `(rows, columns)`; the path begins in any column, as if it came there from the first.
        step: What going on by 0, 1, 2, … columns is worth, `(columns,)`.
    """
    rows, columns = score.shape
    if rows == 0:
        return []
    ahead = np.arange(columns)[None] - np.arange(columns)[:, None]
    move = np.where(ahead >= 0, step[np.abs(ahead)], -np.inf)  # (from, to)
    came = np.zeros((rows, columns), np.int32)
    best = score[0] + step
    for row in range(1, rows):
        reached = best[:, None] + move
        came[row] = reached.argmax(axis=0)
        best = reached[came[row], np.arange(columns)] + score[row]
    path = [int(best.argmax())]
    for row in range(rows - 1, 0, -1):
        path.append(int(came[row, path[-1]]))
    return path[::-1]
