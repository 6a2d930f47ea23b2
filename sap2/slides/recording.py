"""The sound of a talk, of a video too."""

from pathlib import Path

import numpy as np

from sap2.data.audio import SAMPLE_RATE, load_audio
from sap2.errors import InputError

__all__ = ["load_recording"]

VIDEO = (".mp4", ".m4v", ".m4a", ".mov", ".mkv", ".webm")
# Containers that hold their own streams: a playlist would be a way to other files and to the network.
OPTIONS = {"format_whitelist": "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm", "protocol_whitelist": "file"}


def load_recording(path: Path, min_duration: float = 0.0) -> np.ndarray:
    """What `load_audio` gives; of MP4, MOV, Matroska and WebM the first audio track, decoded by PyAV.

    Raises: InputError: it cannot be read, holds no sound, or is shorter than `min_duration` seconds.
    """
    if path.suffix.lower() not in VIDEO or not path.is_file():
        return load_audio(path, min_duration=min_duration)
    import av

    blocks = [np.zeros(0, np.float32)]
    try:
        with av.open(str(path), options=OPTIONS) as container:
            if not container.streams.audio:
                raise InputError(f"{path}: holds no sound")
            resampler = av.AudioResampler(format="flt", layout="mono", rate=SAMPLE_RATE)
            for frame in container.decode(audio=0):
                blocks += [block.to_ndarray()[0] for block in resampler.resample(frame)]
            blocks += [block.to_ndarray()[0] for block in resampler.resample(None)]
    except av.FFmpegError as error:
        raise InputError(f"{path}: cannot be read as a video ({error.strerror}); export it again") from error
    samples = np.concatenate(blocks)
    if len(samples) < min_duration * SAMPLE_RATE or not len(samples):
        raise InputError(f"{path}: lasts {len(samples) / SAMPLE_RATE:.3f} s, expected at least {min_duration:g} s")
    return samples
