"""Recordings from outside to what the model hears: 16 kHz, mono, float32; or a clear error."""

import io
import re
import struct
from pathlib import Path

import numpy as np

from sap2.constants import SAMPLE_RATE, Seconds
from sap2.errors import InputError

__all__ = ["SAMPLE_RATE", "check_samples", "load_audio", "save_audio", "sliced"]


HIGHEST_RATE = 192_000  # Hz, a studio's
BLOCK = 1 << 20  # samples a channel that are read at once


def load_audio(
    path: Path | str,
    min_duration: Seconds = 0.0,
    max_duration: Seconds | None = None,
    sample_rate: int = SAMPLE_RATE,
    start: Seconds = 0.0,
    end: Seconds | None = None,
    content: bytes | None = None,
) -> np.ndarray:
    """Read a recording of any format libsndfile knows (WAV, FLAC, MP3, Ogg, AIFF, …), any rate, any number of channels.

    Args:
        path: The file, or a part of a shard: see `sliced`.
        min_duration, max_duration: Bounds of its length in seconds, both allowed; None = no upper bound.
        sample_rate: Of the result, in Hz.
        start, end: The stretch to read, in seconds of the recording; the bounds are of its length.
        content: The file's bytes, where they are there already; `path` then only names it.

    Returns: `(samples,)` float32 between about -1 and 1; channels are averaged.
    Raises: InputError: the file is missing, empty, truncated, not audio, holds NaN or infinite samples, or its length
    is outside the bounds or ends before `end`.
    """
    import soundfile

    path = Path(path)
    if content is None and (part := sliced(path)):
        content = _slice(*part)
    if content is None:
        _check_file(path)
    try:
        with soundfile.SoundFile(path if content is None else io.BytesIO(content)) as file:
            announced, rate = file.frames, file.samplerate
            # MP3 and Ogg only estimate their length, and a stream may announce none: read to the end, then compare.
            exact = file.format in ("WAV", "WAVEX", "FLAC", "AIFF", "AU", "W64", "RF64", "CAF")
            if rate > HIGHEST_RATE:
                raise InputError(f"{path}: {rate} Hz, expected at most {HIGHEST_RATE}; export it with 48,000 or less")
            if start or end is not None:
                announced = _seek(file, path, start, end)
            # A few kB of FLAC can hold hours of silence: no more is read than can be used, a block at a time.
            most = -1 if max_duration is None else int(max_duration * rate) + 1
            if end is not None:
                most = announced if most < 0 else min(announced, most)
            mono = [np.zeros(0, np.float32)]
            mono += [block.mean(axis=1) for block in file.blocks(BLOCK, frames=most, dtype="float32", always_2d=True)]
            samples = np.concatenate(mono)
    except soundfile.LibsndfileError as error:
        raise InputError(_unreadable(path, str(error.error_string))) from error
    if exact and len(samples) < announced and len(samples) != most:
        raise InputError(f"{path}: truncated: holds {len(samples)} of {announced} samples; copy or export it again")
    check_samples(path, samples, max(len(samples), announced if exact else 0) / rate, min_duration, max_duration)
    if rate != sample_rate:
        import soxr

        samples = soxr.resample(samples, rate, sample_rate)
    return np.ascontiguousarray(samples, dtype=np.float32)


def check_samples(
    path: Path | str, samples: np.ndarray, duration: Seconds, min_duration: Seconds, max_duration: Seconds | None
) -> None:
    """Refuse samples of a recording that cannot be used.

    Raises: InputError: there are none, some are NaN or infinite, or the duration is outside the bounds.
    """
    if len(samples) == 0:
        raise InputError(f"{path}: holds no samples, expected audio")
    if not np.isfinite(samples).all():
        bad = int((~np.isfinite(samples)).sum())
        raise InputError(f"{path}: {bad} of {samples.size} samples are NaN or infinite; export it again")
    if duration < min_duration:
        raise InputError(f"{path}: lasts {duration:.3f} s, expected at least {min_duration:g} s")
    if max_duration is not None and duration > max_duration:
        raise InputError(
            f"{path}: lasts {duration:.1f} s, expected at most {max_duration:g} s; cut it into shorter pieces"
        )


def sliced(path: Path | str) -> tuple[Path, int, int] | None:
    """File, first byte and size of a recording that is a part of a larger file, as shards are; else None.

    >>> sliced("audio/train-000000.tar#1536+20480")
    (PosixPath('audio/train-000000.tar'), 1536, 20480)
    >>> sliced("audio/talk#3.flac")
    """
    found = re.fullmatch(r"(.+\.tar)#(\d+)\+(\d+)", str(path))
    return (Path(found[1]), int(found[2]), int(found[3])) if found else None


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
    _check_complete(path)


def _seek(file, path: Path, start: Seconds, end: Seconds | None) -> int:
    """Go to `start` of an open recording; return the frames from there to `end`."""
    first = round(start * file.samplerate)
    last = file.frames if end is None else round(end * file.samplerate)
    slack = file.samplerate // 100  # times are rounded to 10 ms in many corpora
    if not 0 <= first < last or last > file.frames + slack or first >= file.frames:
        raise InputError(
            f"{path}: no stretch from {start:g} s to {'its end' if end is None else f'{end:g} s'} in a recording of "
            f"{file.frames / file.samplerate:.2f} s"
        )
    file.seek(first)
    return min(last, file.frames) - first


def save_audio(path: Path | str, samples: np.ndarray, sample_rate: int = SAMPLE_RATE) -> None:
    """Write mono samples as 16-bit FLAC or WAV (by the path's ending); the same samples give the same bytes."""
    import soundfile

    path, encoded = Path(path), io.BytesIO()
    soundfile.write(encoded, np.clip(samples, -1.0, 1.0), sample_rate, format=path.suffix[1:], subtype="PCM_16")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encoded.getvalue())  # libsndfile would not say why it cannot write


def _check_complete(path: Path) -> None:
    """Refuse a WAV or AIFF whose sound is announced longer than the file: libsndfile would read what is there."""
    size = path.stat().st_size
    with path.open("rb") as file:
        kind = file.read(12)
        if kind[:4] == b"RIFF" and kind[8:] in (b"WAVE", b""):
            order, sound = "<", b"data"
        elif kind[:4] == b"FORM" and kind[8:] in (b"AIFF", b"AIFC", b""):
            order, sound = ">", b"SSND"
        else:
            return
        position = 12
        while position + 8 <= size:
            file.seek(position)
            name, length = struct.unpack(f"{order}4sI", file.read(8))
            if name == sound:
                # A writer that cannot seek back (a pipe) leaves 0 or the largest number: length unknown, not truncated.
                if length in (0, 0xFFFFFFFF) or position + 8 + length <= size:
                    return
                held = size - position - 8
                raise InputError(f"{path}: truncated: holds {held} of {length} bytes of audio; copy or export it again")
            position += 8 + length + length % 2
    raise InputError(f"{path}: truncated: a header without audio behind it; copy or export it again")


def _unreadable(path: Path, reason: str) -> str:
    hint = "expected WAV, FLAC, MP3, Ogg or AIFF"
    if path.suffix.lower() in (".m4a", ".mp4", ".aac", ".wma", ".webm", ".amr"):
        hint += f'; convert it first: ffmpeg -i "{path.name}" "{path.stem}.wav"'
    return f"{path}: cannot be read as audio ({reason.strip().rstrip('.')}); {hint}"
