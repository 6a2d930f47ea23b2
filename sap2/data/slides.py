"""What was shown while a talk was given, so that a keyword list can follow the time.

    YTB+XbpJ3qMXSvM 10.00 31.50 words of the slide that is shown from 10 s to 31.5 s

One line a slide: recording, start, end, words.
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
    """What was shown for a while; times in seconds of the recording."""

    start: float
    end: float
    words: tuple[str, ...]


def read_slides(path: Path, common: frozenset[str]) -> tuple[dict[str, list[Slide]], list[Rejected]]:
    """Slides by recording, in time; a slide whose text holds a marker or whose times are broken is rejected."""
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
    """The keyword list of a segment: words of the `count` slides nearest to its middle, nearest first, each once.

    >>> deck = [Slide(0.0, 10.0, ("zorvan", "meyer")), Slide(10.0, 20.0, ("meyer", "quine"))]
    >>> shown_between(deck, 12.0, 16.0, 2)
    ['meyer', 'quine', 'zorvan']

    Together with a deck it is what `sap2.inference.Recogniser.recognise` takes for lists that follow the time.
    """
    near = slides_around(slides, (start + end) / 2, count)
    return list(dict.fromkeys(word for slide in near for word in slide.words))


def slides_around(slides: list[Slide], time: float, count: int) -> list[Slide]:
    """The `count` slides nearest to `time`, the one that is shown first.

    >>> deck = [Slide(start, start + 10.0, ()) for start in (0.0, 10.0, 20.0, 30.0)]
    >>> [slide.start for slide in slides_around(deck, 21.0, 2)]
    [20.0, 10.0]
    """
    shown = bisect_right([slide.start for slide in slides], time) - 1
    near = range(max(shown - count, 0), min(shown + count + 1, len(slides)))

    def distance(place: int) -> float:
        return max(slides[place].start - time, time - slides[place].end, 0.0)

    return [slides[place] for place in sorted(near, key=lambda place: (distance(place), abs(place - shown)))[:count]]
