"""A long recording and its subtitles to utterances, cut where a pause in the speech lies between two subtitles."""

import html
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sap2.constants import Seconds
from sap2.data.audio import SAMPLE_RATE
from sap2.data.segmentation import speech

__all__ = ["Cue", "Stretch", "read_cues", "stretches"]


SLACK = 0.3  # seconds that a subtitle may be early or late


@dataclass(frozen=True)
class Cue:
    """One subtitle; times in seconds of the recording."""

    start: Seconds
    end: Seconds
    text: str


@dataclass(frozen=True)
class Stretch:
    """What becomes an utterance, or (with a fault) cannot."""

    start: Seconds
    end: Seconds
    text: str
    fault: str | None = None


def read_cues(path: Path) -> list[Cue]:
    """The subtitles of a SubRip, WebVTT or other file that pysubs2 reads, in time, without their markup.

    Raises: ValueError: it is none, is no UTF-8, or holds no subtitle; for the quarantine.
    """
    import pysubs2

    try:
        loaded = pysubs2.load(str(path), encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"unusable subtitles: {path.name} is not UTF-8 ({error.reason})") from error
    except (pysubs2.Pysubs2Error, OSError, ValueError) as error:
        raise ValueError(f"unusable subtitles: {path.name} cannot be read ({error or type(error).__name__})") from error
    cues = [
        # What follows a blank line is a comment that WebVTT allows.
        Cue(one.start / 1000, one.end / 1000, " ".join(html.unescape(one.plaintext.split("\n\n")[0]).split()))
        for one in loaded
    ]
    cues = sorted((cue for cue in cues if cue.text and cue.end > cue.start), key=lambda cue: cue.start)
    if not cues:
        raise ValueError(f"unusable subtitles: {path.name} holds none")
    return cues


def stretches(samples: np.ndarray, cues: Sequence[Cue], max_seconds: Seconds) -> Iterator[Stretch]:
    """Group subtitles into utterances of at most `max_seconds`, as long as they may be.

    A cut lies in a pause of the speech, and within `SLACK` of the time between two subtitles: so an utterance says what
    its subtitles say. Where no such place is in reach, the subtitles up to the next one come with a fault.

    Args:
        samples: Mono, 16 kHz.
        cues: In time.
    """
    cuts = _cuts(samples, cues)
    first = 0
    while first < len(cues):
        start = max(cuts[first] or 0.0, cues[first].start - SLACK)
        later = [(place, cut) for place, cut in enumerate(cuts) if place > first and cut is not None]
        ends = {place: min(cut, cues[place - 1].end + SLACK) for place, cut in later}
        fitting = [place for place, end in ends.items() if end - start <= max_seconds]
        last = fitting[-1] if fitting else next(iter(ends))
        end = ends[last]
        text = " ".join(cue.text for cue in cues[first:last])
        fault = (
            None if fitting else f"no pause between subtitles for {end - start:.1f} s, expected {max_seconds:g} at most"
        )
        yield Stretch(round(start, 3), round(end, 3), text, fault)
        first = last


def _cuts(samples: np.ndarray, cues: Sequence[Cue]) -> list[Seconds | None]:
    """Where to cut before each subtitle, and after the last; None = nowhere."""
    duration = len(samples) / SAMPLE_RATE
    heard = [(0.0, 0.0), *speech(samples), (duration, duration)]
    pauses = [(end, start) for (_, end), (start, _) in zip(heard, heard[1:], strict=False)]
    cuts: list[Seconds | None] = [0.0]
    place = 0
    for before, after in zip(cues, cues[1:], strict=False):
        low = min(before.end, after.start) - SLACK
        high = max(before.end, after.start) + SLACK
        while place < len(pauses) and pauses[place][1] < low:
            place += 1
        inside = [(max(start, low), min(end, high)) for start, end in pauses[place : place + 8]]
        widest = max(inside, key=lambda span: span[1] - span[0], default=(0.0, 0.0))
        cuts.append(sum(widest) / 2 if widest[1] > widest[0] else None)
    return [*cuts, duration]
