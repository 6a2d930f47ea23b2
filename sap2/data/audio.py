"""Load recordings of any format as the model's input: 16 kHz, mono, float32; report unusable ones clearly."""

import io
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from sap2.constants import SAMPLE_RATE, Seconds
from sap2.data.completeness import check_complete, is_streamed_wav
from sap2.data.containers import ContainerReader, container_format
from sap2.errors import InputError

if TYPE_CHECKING:
    import soundfile

__all__ = ["FORMATS", "SAMPLE_RATE", "load_audio", "read_duration", "read_sample_rate", "save_audio", "sliced"]


HIGHEST_RATE = 192_000  # Hz, a studio's
BLOCK = 1 << 16  # samples per channel read at once
FORMATS = "WAV, FLAC, MP3, Ogg, AIFF, M4A, MP4, MOV, WebM, MKV, 3GP, AAC, AMR or WMA"  # as error messages list them
HEADERLESS = (".raw", ".pcm", ".sw", ".vox", ".sln", ".ul", ".al", ".gsm")


def load_audio(
    path: Path | str,
    min_duration: Seconds = 0.0,
    max_duration: Seconds | None = None,
    sample_rate: int = SAMPLE_RATE,
    start: Seconds = 0.0,
    end: Seconds | None = None,
    content: bytes | None = None,
) -> np.ndarray:
    """Read a recording of any of `FORMATS`, detected from its content, at any rate, with any number of channels.

    Args:
        path: An audio file, or a recording inside a shard: see `sliced`.
        min_duration, max_duration: Inclusive bounds of its length in seconds; None = no upper bound.
        sample_rate: Sample rate of the result, in Hz.
        start, end: The span to read, in seconds of the recording; the bounds apply to the span's length.
        content: The file's bytes, if already in memory; `path` then only names it in messages.

    Returns: `(samples,)` float32 between about -1 and 1. Channels are averaged; a video's first audio track is used.
    Raises: InputError: the file is missing, empty, truncated, not audio, holds NaN or infinite samples, or its length
    is outside the bounds or ends before `end`.
    """
    path = Path(path)
    with _open(path, content) as reader:
        rate, known = reader.sample_rate, reader.frames
        if rate > HIGHEST_RATE:
            raise InputError(f"{path}: {rate} Hz, expected at most {HIGHEST_RATE}; export it with 48,000 or less")
        first, wanted = _frame_range(path, rate, start, end, known)
        # A few kB can hold hours of silence: read a block at a time, and only as much as can be used.
        limit = None if max_duration is None else int(max_duration * rate) + 1
        most = limit if end is None or wanted is None else wanted if limit is None else min(wanted, limit)
        counted = _LimitedBlocks(reader.blocks(first), most)
        parts = list(_resampled(counted, rate, sample_rate))
    read = counted.samples
    if not reader.exact and end is not None and most is not None and read < most - rate // 100:
        raise _bad_span(path, start, end, f"{(first + read) / rate:.2f} s" if read else "less")
    if reader.exact and wanted is not None and read < wanted and read != most:
        raise InputError(f"{path}: truncated: holds {read} of {wanted} samples; copy or export it again")
    if read == 0:
        raise InputError(f"{path}: holds no samples, expected audio")
    if counted.bad:
        raise InputError(f"{path}: {counted.bad} of {read} samples are NaN or infinite; export it again")
    length = wanted if wanted is not None and (reader.exact or read == limit) else read
    if read < min_duration * rate:
        raise InputError(f"{path}: lasts {read / rate:.3f} s, expected at least {min_duration:g} s")
    if read == limit:
        lasts = f"{length / rate:.1f}" if length > read else f"more than {max_duration:g}"
        raise InputError(f"{path}: lasts {lasts} s, expected at most {max_duration:g} s; cut it into shorter pieces")
    return np.ascontiguousarray(np.concatenate(parts), dtype=np.float32)


def read_sample_rate(path: Path | str) -> int:
    """Return the sample rate of a recording in Hz, before any resampling.

    Raises: InputError: as `load_audio`.
    """
    with _open(Path(path)) as reader:
        return reader.sample_rate


def read_duration(path: Path | str) -> Seconds:
    """Return the length of a recording: from its header where that is reliable, else by decoding it.

    Raises: InputError: as `load_audio`.
    """
    with _open(Path(path)) as reader:
        frames = sum(map(len, reader.blocks())) if reader.frames is None else reader.frames
        return frames / reader.sample_rate


@contextmanager
def _open(path: Path, content: bytes | None = None) -> Iterator["_SoundFileReader | ContainerReader"]:
    """Open a file with the reader of its format, which is detected from its content."""
    if content is None and (part := sliced(path)):
        content = _slice(*part)
    if content is None:
        _check_file(path)
    with _file(path, content) as file:
        check_complete(file, path)
        format = container_format(file) or ("wav" if is_streamed_wav(file) else None)
        if format is None:
            with _soundfile(path, content) as sound:
                # libsndfile trusts an MP3's header for the length, and may lose or invent minutes of audio.
                if sound.format != "MP3":
                    yield _SoundFileReader(sound)
                    return
        with ContainerReader(file, path, format or "mp3") as reader:
            yield reader


@contextmanager
def _file(path: Path, content: bytes | None) -> Iterator[BinaryIO]:
    try:
        file = path.open("rb") if content is None else io.BytesIO(content)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    with file:
        yield file


@contextmanager
def _soundfile(path: Path, content: bytes | None) -> Iterator["soundfile.SoundFile"]:
    import soundfile

    # Pass a descriptor, not the path: libsndfile would take endings such as .raw, .vox and .au for a header.
    source = io.BytesIO(content) if content is not None else os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
    try:
        with soundfile.SoundFile(source) as sound:
            yield sound
    except soundfile.LibsndfileError as error:
        raise InputError(_unreadable(path, str(error.error_string))) from error


class _SoundFileReader:
    """Reader of what libsndfile supports, with the interface of `ContainerReader`."""

    def __init__(self, sound: "soundfile.SoundFile"):
        self._sound = sound
        self.sample_rate: int = sound.samplerate
        self.frames: int = sound.frames
        # Ogg's length is an estimate, and a stream's header may have none.
        self.exact = sound.format in ("WAV", "WAVEX", "FLAC", "AIFF", "AU", "W64", "RF64", "CAF")

    def blocks(self, first: int = 0) -> Iterator[np.ndarray]:
        if first:
            self._sound.seek(first)
        for block in self._sound.blocks(BLOCK, dtype="float32", always_2d=True):
            yield block.mean(axis=1)


class _LimitedBlocks:
    """Pass on blocks up to a number of samples; count the samples, and those that are NaN or infinite."""

    def __init__(self, blocks: Iterable[np.ndarray], most: int | None):
        self._blocks, self._most = blocks, most
        self.samples = self.bad = 0

    def __iter__(self) -> Iterator[np.ndarray]:
        if self._most == 0:
            return
        for block in self._blocks:
            kept = block if self._most is None else block[: self._most - self.samples]
            self.samples += len(kept)
            self.bad += int((~np.isfinite(kept)).sum())
            yield kept
            if self.samples == self._most:
                return


def _resampled(blocks: Iterable[np.ndarray], rate: int, sample_rate: int) -> Iterator[np.ndarray]:
    yield np.zeros(0, np.float32)
    if rate == sample_rate:
        yield from blocks
        return
    import soxr

    stream = soxr.ResampleStream(rate, sample_rate, 1, dtype="float32")
    for block in blocks:
        yield stream.resample_chunk(np.ascontiguousarray(block))
    yield stream.resample_chunk(np.zeros(0, np.float32), last=True)


def sliced(path: Path | str) -> tuple[Path, int, int] | None:
    """Parse the path of a recording inside a shard into file, first byte and size; None for other paths.

    >>> sliced("audio/train-000000.tar#1536+20480")
    (PosixPath('audio/train-000000.tar'), 1536, 20480)
    >>> sliced("audio/talk#3.flac")
    """
    match = re.fullmatch(r"(.+\.tar)#(\d+)\+(\d+)", str(path))
    return (Path(match[1]), int(match[2]), int(match[3])) if match else None


def _slice(path: Path, offset: int, size: int) -> bytes:
    try:
        with path.open("rb") as file:
            file.seek(offset)
            return file.read(size)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error


def _check_file(path: Path) -> None:
    if path.is_dir():
        raise InputError(f"{path}: is a folder, expected an audio file")
    if not path.exists():
        raise InputError(f"{path}: no such file")
    if path.stat().st_size == 0:
        raise InputError(f"{path}: the file is empty (0 bytes), expected audio")


def _frame_range(
    path: Path, rate: int, start: Seconds, end: Seconds | None, known: int | None
) -> tuple[int, int | None]:
    """Return a span's first frame and number of frames; None = up to an end that is unknown."""
    first, last = round(start * rate), None if end is None else round(end * rate)
    if known is not None:
        slack = rate // 100  # times are rounded to 10 ms in many corpora
        if (start or end is not None) and (first >= known or (last is not None and last > known + slack)):
            raise _bad_span(path, start, end, f"{known / rate:.2f} s")
        last = known if last is None else min(last, known)
    if first < 0 or (end is not None and last is not None and first >= last):
        raise _bad_span(path, start, end, "any length")
    return first, None if last is None else last - first


def _bad_span(path: Path, start: Seconds, end: Seconds | None, length: str) -> InputError:
    to = "its end" if end is None else f"{end:g} s"
    return InputError(f"{path}: cannot read from {start:g} s to {to} of a recording of {length}")


def save_audio(path: Path | str, samples: np.ndarray, sample_rate: int = SAMPLE_RATE) -> None:
    """Write mono samples as 16-bit FLAC or WAV (by the path's ending); equal samples give equal bytes."""
    import soundfile

    path, encoded = Path(path), io.BytesIO()
    soundfile.write(encoded, np.clip(samples, -1.0, 1.0), sample_rate, format=path.suffix[1:], subtype="PCM_16")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encoded.getvalue())  # libsndfile does not report why writing fails


def _unreadable(path: Path, reason: str) -> str:
    if path.suffix.lower() in HEADERLESS:
        return (
            f"{path}: has no header with its sample rate and encoding, expected {FORMATS}; add one: "
            f'ffmpeg -f s16le -ar 16000 -ac 1 -i "{path.name}" "{path.stem}.wav"'
        )
    return (
        f"{path}: cannot be read as audio ({reason.strip().rstrip('.')}), expected {FORMATS}; "
        f'convert other formats first: ffmpeg -i "{path.name}" "{path.stem}.wav"'
    )
