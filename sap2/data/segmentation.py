"""Long recordings cut at pauses into segments a model can take, and the transcripts of segments put together again.

Pauses are found by Silero's voice activity detector, whose weights come in its wheel and run in ONNX Runtime. Segments
overlap where no pause was in reach; `without_doubles` then takes out the words that both of them heard.
"""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from sap2.constants import Seconds
from sap2.data.audio import SAMPLE_RATE

__all__ = ["join", "segments", "speech", "without_doubles"]

Span = tuple[Seconds, Seconds]

PAUSE = 0.2  # seconds without speech that may end a segment
MARGIN = 0.1  # seconds kept on both sides of speech, at most half the pause
SEARCH = 5.0  # seconds before the limit in which speech without a pause is cut at its quietest point
REST = SAMPLE_RATE  # samples that at least remain after such a cut
FRAME = 320  # samples (20 ms) an energy value
SMOOTH = 10  # energy values (0.2 s) averaged: a quiet word gap counts, a single zero crossing doesn't
FASTEST = 5.0  # words a second that an overlap can hold
ALIKE, ALIKE_WORD = 0.8, 0.6  # least similarity of two readings of a stretch, and of a word in it; 1 = same letters


def segments(samples: np.ndarray, max_seconds: Seconds = 30.0, overlap: Seconds = 1.0) -> list[Span]:
    """The parts of a recording to be recognised one by one.

    A recording within the limit is one segment. Of a longer one each segment takes as much speech as fits; it ends in a
    pause, and pauses between segments are in none. Speech that goes on beyond the limit is cut at its quietest point,
    and there the next segment starts `overlap` earlier. Where no speech is heard at all, the whole recording counts
    as speech: the detector's mistake must not silence it.

    Args:
        samples: Mono, 16 kHz, `(samples,)`.
        max_seconds: Length of a segment, at most.
        overlap: At most a quarter of `max_seconds`; more is taken as that.
    Returns: `(start, end)` of each in seconds of the recording, in order.
    Raises: ValueError: `max_seconds` is not above 0, or `overlap` is below 0.
    """
    if not max_seconds > 0 or overlap < 0:
        raise ValueError(f"max_seconds is {max_seconds}, overlap {overlap}; expected above 0, and at least 0")
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
            middle = _quietest(samples, start, max(min(start + most, end - REST), start + most // 2))
            cut.append((start, middle))
            start = middle - doubled
        cut.append((start, end))
    return [(start / SAMPLE_RATE, end / SAMPLE_RATE) for start, end in cut]


def speech(samples: np.ndarray) -> list[Span]:
    """The stretches of speech between pauses, `(start, end)` in seconds; none where none is heard."""
    return [(start / SAMPLE_RATE, end / SAMPLE_RATE) for start, end in _speech(samples)]


def join(spans: Sequence[Span], texts: Sequence[str]) -> str:
    """The transcript of a recording, of those of its segments.

    >>> join([(0.0, 9.0), (8.0, 15.0)], ["we turn to Mayer's theo", "to Meyer's theorem of graphs"])
    "we turn to Mayer's theorem of graphs"
    """
    return " ".join(filter(None, without_doubles(spans, texts)))


def without_doubles(spans: Sequence[Span], texts: Sequence[str]) -> list[str]:
    """Each segment's own text: words heard in two segments stay in the first.

    Only words at the ends of segments that overlap are compared, by their letters, as the two readings may differ. A
    word that a cut went through is taken from the segment that heard it whole. What is alike on both sides of a pause
    was said twice and stays.

    >>> without_doubles([(0.0, 4.0), (3.0, 8.0), (8.5, 9.0)], ["so it is very", "is very good", "good"])
    ['so it is very', 'good', 'good']
    """
    own = list(texts)
    for number in range(1, len(own)):
        before, after = own[number - 1].split(), own[number].split()
        shared = spans[number - 1][1] - spans[number][0]
        if shared > 0 and (found := _doubled(before, after, int(shared * FASTEST) + 1)):
            last, first = found
            own[number - 1 : number + 1] = " ".join(before[: len(before) - last]), " ".join(after[first:])
    return own


def _doubled(before: list[str], after: list[str], most: int) -> tuple[int, int] | None:
    """How many words to take off the end of one segment and off the start of the next; None = they share none.

    Beside the shared words one may be the rest of a word the cut went through: the last of `before`, the first of
    `after`.
    """
    for count in range(min(most, len(before), len(after)), 0, -1):
        for last, first in ((0, 0), (1, 0), (0, 1), (1, 1)):
            ours = before[len(before) - last - count : len(before) - last]
            theirs = after[first : first + count]
            if len(ours) == len(theirs) == count and _same(ours, theirs):
                return last, first + count
    return None


def _same(ours: Sequence[str], theirs: Sequence[str]) -> bool:
    """Whether two runs of as many words are readings of the same stretch; of a single word only the same one is."""
    from rapidfuzz.distance import Levenshtein

    pairs = [(_letters(one), _letters(other)) for one, other in zip(ours, theirs, strict=True)]
    if len(pairs) == 1 or not any(one for one, _ in pairs):
        return pairs[0][0] == pairs[0][1] != ""
    likeness = Levenshtein.normalized_similarity
    whole = likeness(*(" ".join(words) for words in zip(*pairs, strict=True)))
    return whole >= ALIKE and all(likeness(*pair) >= ALIKE_WORD for pair in pairs)


def _letters(word: str) -> str:
    return "".join(filter(str.isalnum, word.casefold()))


def _speech(samples: np.ndarray) -> list[tuple[int, int]]:
    """Stretches of speech between pauses, `(first, last + 1)` samples."""
    timestamps, detector = _detector()
    found = timestamps(samples, detector, min_silence_duration_ms=int(PAUSE * 1000), speech_pad_ms=int(MARGIN * 1000))
    return [(int(one["start"]), int(one["end"])) for one in found]


@lru_cache(maxsize=1)
def _detector():
    """Silero's function from samples to times, and the model it asks."""
    import torch

    threads = torch.get_num_threads()
    import silero_vad

    torch.set_num_threads(threads)  # the import leaves one to everybody
    return silero_vad.get_speech_timestamps_sequence, silero_vad.load_silero_vad(sequence=True)


def _quietest(samples: np.ndarray, start: int, end: int) -> int:
    """The middle of the quietest 0.2 s in the last seconds before `end`, at most the second half from `start` on."""
    first = max(end - int(SEARCH * SAMPLE_RATE), (start + end) // 2)
    frames = (end - first) // FRAME
    energy = np.square(samples[first : first + frames * FRAME].astype(np.float64)).reshape(frames, FRAME).mean(-1)
    smooth = min(SMOOTH, frames)
    energy = np.convolve(energy, np.ones(smooth) / smooth, mode="valid")
    return first + (int(energy.argmin()) + smooth // 2) * FRAME
