"""Cut long recordings at pauses into segments for the model, and join the segments' transcripts.

Silero's voice activity detector finds the pauses; its weights come in its wheel and run in ONNX Runtime. Segments
overlap if no pause is in reach; `without_doubles` then removes words that were recognised twice.
"""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from sap2.constants import Seconds
from sap2.data.audio import SAMPLE_RATE

__all__ = ["join", "segments", "speech", "without_doubles"]

Span = tuple[Seconds, Seconds]

PAUSE = 0.2  # seconds without speech that may end a segment
MARGIN = 0.1  # seconds kept on each side of speech, at most half the pause
SEARCH = 5.0  # seconds before the limit in which speech without a pause is cut at its quietest point
MIN_REST = SAMPLE_RATE  # minimum number of samples after such a cut
FRAME = 320  # samples (20 ms) an energy value
SMOOTH = 10  # energy values (0.2 s) averaged: a quiet word gap counts, a single zero crossing doesn't
FASTEST = 5.0  # words a second that an overlap can hold
ALIKE, ALIKE_WORD = 0.8, 0.6  # minimum similarity of two transcripts of a span, and of their words; 1 = same letters


def segments(samples: np.ndarray, max_seconds: Seconds = 30.0, overlap: Seconds = 1.0) -> list[Span]:
    """Cut a recording into segments that are recognised separately.

    A recording within the limit is one segment. In a longer recording each segment takes as much speech as fits and
    ends in a pause; pauses between segments belong to no segment. Speech that continues beyond the limit is cut at its
    quietest point, and the next segment starts `overlap` earlier. If no speech is detected, the whole recording counts
    as speech, so that a mistake of the detector does not drop it.

    Args:
        samples: Mono, 16 kHz, `(samples,)`.
        max_seconds: Maximum length of a segment.
        overlap: Capped at a quarter of `max_seconds`.
    Returns: `(start, end)` of each segment in seconds, in order.
    Raises: ValueError: `max_seconds` is not above 0, or `overlap` is below 0.
    """
    if not max_seconds > 0 or overlap < 0:
        raise ValueError(f"max_seconds is {max_seconds}, overlap {overlap}; expected above 0 and at least 0")
    most = int(max_seconds * SAMPLE_RATE)
    doubled = int(min(overlap, max_seconds / 4) * SAMPLE_RATE)
    if len(samples) <= most:
        return [(0.0, len(samples) / SAMPLE_RATE)]
    cut: list[tuple[int, int]] = []
    for start, end in _speech(samples) or [(0, len(samples))]:
        if cut and end - cut[-1][0] <= most:
            cut[-1] = (cut[-1][0], end)
            continue
        while end - start > most:
            middle = _quietest(samples, start, max(min(start + most, end - MIN_REST), start + most // 2))
            cut.append((start, middle))
            start = middle - doubled
        cut.append((start, end))
    return [(start / SAMPLE_RATE, end / SAMPLE_RATE) for start, end in cut]


def speech(samples: np.ndarray) -> list[Span]:
    """Detect the spans of speech between pauses, `(start, end)` in seconds."""
    return [(start / SAMPLE_RATE, end / SAMPLE_RATE) for start, end in _speech(samples)]


def join(spans: Sequence[Span], texts: Sequence[str]) -> str:
    """Join the transcripts of segments into that of their recording.

    >>> join([(0.0, 9.0), (8.0, 15.0)], ["we turn to Mayer's theo", "to Meyer's theorem of graphs"])
    "we turn to Mayer's theorem of graphs"
    """
    return " ".join(filter(None, without_doubles(spans, texts)))


def without_doubles(spans: Sequence[Span], texts: Sequence[str]) -> list[str]:
    """Remove words that two overlapping segments both contain from the second; return each segment's text.

    Only words at the ends of overlapping segments are compared, by their letters and approximately, as the two
    transcripts may differ. A word that the cut split is taken from the segment that has it whole. Equal words on both
    sides of a pause were said twice and stay.

    >>> without_doubles([(0.0, 4.0), (3.0, 8.0), (8.5, 9.0)], ["so it is very", "is very good", "good"])
    ['so it is very', 'good', 'good']
    """
    own = list(texts)
    for number in range(1, len(own)):
        before, after = own[number - 1].split(), own[number].split()
        shared = spans[number - 1][1] - spans[number][0]
        if shared > 0 and (doubled := _doubled(before, after, int(shared * FASTEST) + 1)):
            last, first = doubled
            own[number - 1 : number + 1] = " ".join(before[: len(before) - last]), " ".join(after[first:])
    return own


def _doubled(before: list[str], after: list[str], most: int) -> tuple[int, int] | None:
    """Count the words to remove from the end of a segment and the start of the next; None = no shared words.

    Next to the shared words, a remainder of a word that the cut split may be removed: the last word of `before`, or the
    first of `after`.
    """
    for count in range(min(most, len(before), len(after)), 0, -1):
        for last, first in ((0, 0), (1, 0), (0, 1), (1, 1)):
            ours = before[len(before) - last - count : len(before) - last]
            theirs = after[first : first + count]
            if len(ours) == len(theirs) == count and _same(ours, theirs):
                return last, first + count
    return None


def _same(ours: Sequence[str], theirs: Sequence[str]) -> bool:
    """Return whether two equally long word sequences transcribe the same span; single words must be equal."""
    from rapidfuzz.distance import Levenshtein

    pairs = [(_letters(word), _letters(other)) for word, other in zip(ours, theirs, strict=True)]
    if len(pairs) == 1 or not any(letters for letters, _ in pairs):
        return pairs[0][0] == pairs[0][1] != ""
    likeness = Levenshtein.normalized_similarity
    whole = likeness(*(" ".join(words) for words in zip(*pairs, strict=True)))
    return whole >= ALIKE and all(likeness(*pair) >= ALIKE_WORD for pair in pairs)


def _letters(word: str) -> str:
    return "".join(filter(str.isalnum, word.casefold()))


def _speech(samples: np.ndarray) -> list[tuple[int, int]]:
    """Detect the spans of speech between pauses, `(first, last + 1)` in samples."""
    timestamps, detector = _detector()
    stamps = timestamps(samples, detector, min_silence_duration_ms=int(PAUSE * 1000), speech_pad_ms=int(MARGIN * 1000))
    return [(int(stamp["start"]), int(stamp["end"])) for stamp in stamps]


@lru_cache(maxsize=1)
def _detector():
    """Load Silero's function from samples to timestamps, and its model."""
    import torch

    threads = torch.get_num_threads()
    import silero_vad

    torch.set_num_threads(threads)  # importing silero_vad sets torch to one thread
    return silero_vad.get_speech_timestamps_sequence, silero_vad.load_silero_vad(sequence=True)


def _quietest(samples: np.ndarray, start: int, end: int) -> int:
    """Return the middle of the quietest 0.2 s in the last seconds before `end`, within the second half from `start`."""
    first = max(end - int(SEARCH * SAMPLE_RATE), (start + end) // 2)
    frames = (end - first) // FRAME
    energy = np.square(samples[first : first + frames * FRAME].astype(np.float64)).reshape(frames, FRAME).mean(-1)
    smooth = min(SMOOTH, frames)
    energy = np.convolve(energy, np.ones(smooth) / smooth, mode="valid")
    return first + (int(energy.argmin()) + smooth // 2) * FRAME
