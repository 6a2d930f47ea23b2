"""Videos and recordings in containers, written by PyAV: a second of black frames, and the audio under test."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np


def video(path: Path, wave: np.ndarray | None = None, codec: str = "aac", chapters=()) -> Path:
    """Write a video with 16 kHz mono audio in a codec that its container supports; chapters are (seconds, title)."""
    with av.open(str(path), "w") as container:
        picture = container.add_stream("mpeg4", rate=5)
        picture.width, picture.height, picture.pix_fmt = 64, 64, "yuv420p"
        sound = container.add_stream(codec, rate=16_000, layout="mono") if wave is not None else None
        starts = [round(1000 * start) for start, _ in chapters]
        ends = [*starts[1:], starts[-1] + 1000] if starts else []
        marks = [
            {"id": number, "start": start, "end": end, "time_base": Fraction(1, 1000), "metadata": {"title": title}}
            for number, (start, end, (_, title)) in enumerate(zip(starts, ends, chapters, strict=True))
        ]
        container.set_chapters(marks)
        for _ in range(5):
            frame = av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), format="rgb24")
            container.mux(picture.encode(frame))
        container.mux(picture.encode(None))
        if sound is not None:
            frame = av.AudioFrame.from_ndarray(wave[None], format="flt", layout="mono")
            frame.rate = 16_000
            container.mux(sound.encode(frame))
            container.mux(sound.encode(None))
    return path


def recording(
    path: Path, wave: np.ndarray, codec: str, rate: int = 16_000, format: str | None = None, **options: str
) -> Path:
    """Write an audio-only container; `wave` is `(samples,)` or `(channels, samples)` at that rate, mono or stereo."""
    channels = np.atleast_2d(wave).astype(np.float32)
    layout = "stereo" if len(channels) == 2 else "mono"
    with av.open(str(path), "w", format=format, options=options) as container:
        stream = container.add_stream(codec, rate=rate, layout=layout)
        if codec == "wmav2":
            stream.bit_rate = 64_000  # it has no default bit rate
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(channels), format="fltp", layout=layout)
        frame.rate = rate
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path
