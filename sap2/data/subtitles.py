"""Cut a long recording with subtitles into utterances, at pauses in the speech between subtitles."""

import html
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sap2.constants import Seconds
from sap2.data.audio import SAMPLE_RATE
from sap2.data.segmentation import speech

__all__ = ["Cue", "Stretch", "read_cues", "stretches"]


SLACK = 0.3  # seconds by which a subtitle may be early or late


@dataclass(frozen=True)
class Cue:
    """A subtitle; times in seconds of the recording."""

    start: Seconds
    end: Seconds
    text: str


@dataclass(frozen=True)
class Stretch:
    """A span of the recording that becomes an utterance, or (with a fault) is rejected."""

    start: Seconds
    end: Seconds
    text: str
    fault: str | None = None


def read_cues(path: Path) -> list[Cue]:
    """Read the subtitles of a SubRip, WebVTT or other file that pysubs2 reads, sorted by time, without markup.

    Raises: ValueError: the file is not readable, not UTF-8 or without subtitles; the message is the quarantine's
    reason.
    """
    import pysubs2

    try:
        loaded = pysubs2.load(str(path), encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"unusable subtitles: {path.name} is not UTF-8 ({error.reason})") from error
    except (pysubs2.Pysubs2Error, OSError, ValueError) as error:
        raise ValueError(f"unusable subtitles: {path.name} cannot be read ({error or type(error).__name__})") from error
    cues = [
        # Text after a blank line is a comment in WebVTT.
        Cue(event.start / 1000, event.end / 1000, " ".join(html.unescape(event.plaintext.split("\n\n")[0]).split()))
        for event in loaded
    ]
    cues = sorted((cue for cue in cues if cue.text and cue.end > cue.start), key=lambda cue: cue.start)
    if not cues:
        raise ValueError(f"unusable subtitles: {path.name} holds no subtitles")
    return cues


def stretches(samples: np.ndarray, cues: Sequence[Cue], max_seconds: Seconds) -> Iterator[Stretch]:
    """Group subtitles into utterances of at most `max_seconds`, as long as possible.

    A cut lies in a pause of the speech, and within `SLACK` of the time between two subtitles, so that an utterance
    contains exactly what its subtitles say. If no such cut is in reach, the subtitles up to the next cut get a fault.

    Args:
        samples: Mono, 16 kHz.
        cues: Sorted by time.
    """
    cuts = _cuts(samples, cues)
    first = 0
    while first < len(cues):
        start = max(cuts[first] or 0.0, cues[first].start - SLACK)
        later = [(index, cut) for index, cut in enumerate(cuts) if index > first and cut is not None]
        ends = {index: min(cut, cues[index - 1].end + SLACK) for index, cut in later}
        fitting = [index for index, end in ends.items() if end - start <= max_seconds]
        last = fitting[-1] if fitting else next(iter(ends))
        end = ends[last]
        text = " ".join(cue.text for cue in cues[first:last])
        fault = (
            None if fitting else f"no pause between subtitles for {end - start:.1f} s, expected at most {max_seconds:g}"
        )
        yield Stretch(round(start, 3), round(end, 3), text, fault)
        first = last


def _cuts(samples: np.ndarray, cues: Sequence[Cue]) -> list[Seconds | None]:
    """Return the times of the cuts before each subtitle and after the last; None = no cut possible."""
    duration = len(samples) / SAMPLE_RATE
    heard = [(0.0, 0.0), *speech(samples), (duration, duration)]
    pauses = [(end, start) for (_, end), (start, _) in zip(heard, heard[1:], strict=False)]
    cuts: list[Seconds | None] = [0.0]
    index = 0
    for before, after in zip(cues, cues[1:], strict=False):
        low = min(before.end, after.start) - SLACK
        high = max(before.end, after.start) + SLACK
        while index < len(pauses) and pauses[index][1] < low:
            index += 1
        inside = [(max(start, low), min(end, high)) for start, end in pauses[index : index + 8]]
        widest = max(inside, key=lambda span: span[1] - span[0], default=(0.0, 0.0))
        cuts.append(sum(widest) / 2 if widest[1] > widest[0] else None)
    return [*cuts, duration]
