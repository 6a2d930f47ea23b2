"""The sound of a talk, of a video too."""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from sap2.constants import Seconds
from sap2.data.audio import SAMPLE_RATE, check_samples, load_audio
from sap2.errors import InputError

__all__ = ["VIDEO", "load_recording", "read_chapters"]


VIDEO = (".mp4", ".m4v", ".m4a", ".mov", ".mkv", ".webm")
# Containers that hold their own streams: a playlist would be a way to other files and to the network.
OPTIONS = {"format_whitelist": "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm", "protocol_whitelist": "file"}


def load_recording(path: Path, min_duration: Seconds = 0.0, max_duration: Seconds | None = None) -> np.ndarray:
    """What `load_audio` gives; of MP4, MOV, Matroska and WebM the first audio track, decoded by PyAV.

    Raises: InputError: it cannot be read, holds no sound, or its length is outside the bounds.
    """
    if path.suffix.lower() not in VIDEO or not path.is_file():
        return load_audio(path, min_duration, max_duration)
    blocks, length = [np.zeros(0, np.float32)], 0
    with _opened(path) as container:
        if not container.streams.audio:
            raise InputError(f"{path}: holds no sound")
        for block in _blocks(container):
            blocks.append(block)
            length += len(block)
            if max_duration is not None and length > max_duration * SAMPLE_RATE:
                break
    samples = np.concatenate(blocks)
    check_samples(path, samples, length / SAMPLE_RATE, min_duration, max_duration)
    return samples


def read_chapters(path: Path) -> list[tuple[Seconds, str]]:
    """Start and title of the chapter marks of a video, in order; none of other files.

    Raises: InputError: it cannot be read.
    """
    if path.suffix.lower() not in VIDEO:
        return []
    with _opened(path) as container:
        marks = [
            (float(one["start"] * one["time_base"]), one["metadata"].get("title", "")) for one in container.chapters()
        ]
    return sorted(marks)


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    import av

    try:
        with av.open(str(path), options=OPTIONS, metadata_errors="replace") as container:
            yield container
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file") from error
    except av.FFmpegError as error:
        raise InputError(f"{path}: cannot be read as a video ({error.strerror}); export it again") from error
    except ValueError as error:  # PyAV's resampler, of a track whose rate or channels change
        raise InputError(f"{path}: its sound cannot be followed ({error}); export it again") from error


def _blocks(container: Any) -> Iterator[np.ndarray]:
    import av

    resampler = av.AudioResampler(format="flt", layout="mono", rate=SAMPLE_RATE)
    for frame in chain(container.decode(audio=0), [None]):
        for block in resampler.resample(frame):
            yield block.to_ndarray()[0]
