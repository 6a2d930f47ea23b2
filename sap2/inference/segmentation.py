"""Long recordings cut at quiet points into pieces the encoder can take."""

import numpy as np

SAMPLE_RATE = 16_000  # Hz
FRAME = 320  # samples (20 ms) an energy value
SMOOTH = 10  # energy values (0.2 s) averaged: a quiet word gap counts, a single zero crossing doesn't


def split_at_silence(audio: np.ndarray, limit: float, search: float = 5.0, shortest: float = 1.0) -> list[np.ndarray]:
    """Cut a waveform into pieces of at most `limit` seconds, each cut at the quietest point of the `search` seconds
    before it.

    Args:
        audio: Mono, 16 kHz, `(samples,)`.
        limit, search: Seconds; `search` is at most half of `limit`.
        shortest: Seconds that at least remain for the last piece.
    Returns: The pieces; joined they are the audio.
    """
    most, least = int(limit * SAMPLE_RATE), int(shortest * SAMPLE_RATE)
    window = int(min(search, limit / 2) * SAMPLE_RATE)
    pieces = []
    while len(audio) > most:
        end = max(min(most, len(audio) - least), most // 2)
        start = max(end - window, FRAME)
        cut = start + _quietest(audio[start:end])
        pieces.append(audio[:cut])
        audio = audio[cut:]
    return [*pieces, audio]


def _quietest(audio: np.ndarray) -> int:
    """Sample in the middle of the quietest 0.2 s."""
    frames = len(audio) // FRAME
    energy = np.square(audio[: frames * FRAME].astype(np.float64)).reshape(frames, FRAME).mean(-1)
    smooth = min(SMOOTH, frames)
    energy = np.convolve(energy, np.ones(smooth) / smooth, mode="valid")
    return (int(energy.argmin()) + smooth // 2) * FRAME
