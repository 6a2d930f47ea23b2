"""Slides shown during a talk, with their times, for keyword lists that follow the talk.

    YTB+XbpJ3qMXSvM 10.00 31.50 words of the slide that is shown from 10 s to 31.5 s

One line per slide: recording, start, end, words.
"""

from bisect import bisect_right
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from sap2.data.entries import plain_words, text_lines
from sap2.data.kaldi import segment
from sap2.data.quarantine import Rejected
from sap2.manifest import MARKER

__all__ = ["Slide", "read_slides", "shown_between", "slides_around"]


@dataclass(frozen=True)
class Slide:
    """A slide's words and when it was shown, in seconds of the recording."""

    start: float
    end: float
    words: tuple[str, ...]


def read_slides(path: Path, common: frozenset[str]) -> tuple[dict[str, list[Slide]], list[Rejected]]:
    """Read slides by recording, sorted by time; reject slides with a marker in their text or broken times."""
    slides: dict[str, list[Slide]] = defaultdict(list)
    rejected: list[Rejected] = []
    for where, line in text_lines(path):
        if isinstance(line, Rejected):
            rejected.append(line)
            continue
        recording, _, rest = line.strip().partition(" ")
        times, text = rest.split(maxsplit=2)[:2], (rest.split(maxsplit=2) + ["", "", ""])[2]
        try:
            _, start, end = segment(" ".join([recording, *times]))
            if MARKER.search(text):
                raise ValueError("a marker on the slide: markers belong to the prompt")
        except ValueError as fault:
            rejected.append(Rejected(recording, where, str(fault)))
            continue
        words = dict.fromkeys(word for word in plain_words(text).split() if word not in common)
        slides[recording].append(Slide(start, start if end is None else end, tuple(words)))
    for shown in slides.values():
        shown.sort(key=lambda slide: slide.start)
    return slides, rejected


def shown_between(slides: list[Slide], start: float, end: float, count: int) -> list[str]:
    """Return a segment's keyword list: words of the `count` slides nearest to its middle, without duplicates.

    >>> deck = [Slide(0.0, 10.0, ("zorvan", "meyer")), Slide(10.0, 20.0, ("meyer", "quine"))]
    >>> shown_between(deck, 12.0, 16.0, 2)
    ['meyer', 'quine', 'zorvan']

    With a deck bound, `sap2.inference.Recogniser.recognise` takes this function as its keyword lists.
    """
    near = slides_around(slides, (start + end) / 2, count)
    return list(dict.fromkeys(word for slide in near for word in slide.words))


def slides_around(slides: list[Slide], time: float, count: int) -> list[Slide]:
    """Return the `count` slides nearest to `time`, the slide shown at `time` first.

    >>> deck = [Slide(start, start + 10.0, ()) for start in (0.0, 10.0, 20.0, 30.0)]
    >>> [slide.start for slide in slides_around(deck, 21.0, 2)]
    [20.0, 10.0]
    """
    shown = bisect_right([slide.start for slide in slides], time) - 1
    near = range(max(shown - count, 0), min(shown + count + 1, len(slides)))

    def distance(index: int) -> float:
        return max(slides[index].start - time, time - slides[index].end, 0.0)

    return [slides[index] for index in sorted(near, key=lambda index: (distance(index), abs(index - shown)))[:count]]
