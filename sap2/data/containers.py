"""Decode by PyAV what libsndfile does not read reliably: MP4, MOV, 3GP, Matroska, WebM, WMA, AAC, AMR, MP3.

The format is detected here from the content, never by FFmpeg's probing: a playlist or a concatenation script could
open other files or the network, and headerless noise would pass for AAC.
"""

import errno
from collections.abc import Iterator
from fractions import Fraction
from itertools import chain
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from sap2.constants import Seconds
from sap2.errors import InputError

if TYPE_CHECKING:
    import av

__all__ = ["ContainerReader", "container_format", "read_chapters"]


# FFmpeg gets an open file and must not open anything else.
OPTIONS = {"protocol_whitelist": "none", "codec_whitelist": (
    "aac,aac_fixed,aac_latm,ac3,eac3,alac,amrnb,amrwb,libopencore_amrnb,libopencore_amrwb,flac,mp2,mp2float,mp3,mp3float,"
    "opus,libopus,vorbis,libvorbis,wmav1,wmav2,wmapro,wmavoice,wmalossless,pcm_alaw,pcm_mulaw,pcm_u8,pcm_s8,pcm_s16le,"
    "pcm_s16be,pcm_s24le,pcm_s24be,pcm_s32le,pcm_s32be,pcm_f32le,pcm_f32be,pcm_f64le,pcm_f64be,adpcm_ima_qt,adpcm_ms,"
    "adpcm_ima_wav,gsm,gsm_ms"
)}  # fmt: skip
BOXES = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot")  # first boxes of MP4 and QuickTime files
SIGNATURES = ((b"\x1a\x45\xdf\xa3", "matroska"), (b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "asf"), (b"#!AMR", "amr"))
SEEKABLE_FORMATS = ("mov", "matroska")  # packet times are exact enough to seek
BARE_FORMATS = ("mp3", "aac", "amr")  # bare frames without a container; tags and cut frames may lie between them
PREROLL: Seconds = 1.0  # decoded before a span: a codec's first frames after seeking are inexact
ADTS_FRAMES = 3  # in a row that identify a file as AAC
MAX_BROKEN_PACKETS = 2  # packets of a bare-frame file that may fail to decode


def container_format(file: BinaryIO) -> str | None:
    """Return FFmpeg's name of a container's format, None for other files; rewind the file."""
    file.seek(0)
    head = file.read(16)
    format = next((name for signature, name in SIGNATURES if head.startswith(signature)), None)
    if head[4:8] in BOXES:
        format = "mov"
    elif _is_adts(file, head):
        format = "aac"
    file.seek(0)
    return format


def _is_adts(file: BinaryIO, head: bytes) -> bool:
    """Return whether a file consists of consecutive AAC frames, optionally after an ID3 tag."""
    at = 0
    if head[:3] == b"ID3" and len(head) >= 10:
        at = 10 + sum((byte & 127) << shift for byte, shift in zip(head[6:10], (21, 14, 7, 0), strict=True))
    for number in range(ADTS_FRAMES):
        file.seek(at)
        frame = file.read(7)
        if number and not frame:
            return True  # a file of fewer frames
        if len(frame) < 7 or frame[0] != 0xFF or frame[1] & 0xF6 != 0xF0:
            return False
        length = (frame[3] & 3) << 11 | frame[4] << 3 | frame[5] >> 5
        if length < 7:
            return False
        at += length
    return True


class ContainerReader:
    """Context manager that decodes the first audio track of an open file.

    Args:
        file: Open for binary reading; not closed here.
        name: The file's name in messages.
        format: A result of `container_format`, "mp3" or "wav".
    Raises: InputError: the file cannot be decoded, or holds no audio.
    """

    exact = False  # the header's length is an estimate, or the video's

    def __init__(self, file: BinaryIO, name: object, format: str):
        self._name, self._format = name, format
        self._container = _open(file, name, format)
        try:
            if not self._container.streams.audio:
                raise InputError(f"{name}: has no audio track, expected audio")
            self._stream = self._container.streams.audio[0]
            if self._stream.codec_context is None:  # PyAV would crash
                raise InputError(f"{name}: its audio codec is unknown; export it again, as AAC or WAV")
            self._frames = self._decoded()
            # The rate of HE-AAC is only known after decoding the first frame.
            first = next(self._frames, None)
            if first is None:
                raise InputError(f"{name}: holds no samples, expected audio")
            self.sample_rate: int = first.sample_rate
            self._origin = first.pts or 0
            self._frames = chain([first], self._frames)
        except BaseException:
            self._container.close()
            raise

    def __enter__(self) -> "ContainerReader":
        return self

    def __exit__(self, *_: object) -> None:
        self._container.close()

    @property
    def frames(self) -> int | None:
        """Length in frames from the header; None if unknown or only an estimate."""
        if self._format != "mov" or not self._stream.duration:
            return None
        return round(float(self._stream.duration * self._time_base) * self.sample_rate)

    def blocks(self, first: int = 0) -> Iterator[np.ndarray]:
        """Yield mono float32 samples from frame `first` on; channels are averaged.

        Raises: InputError: the file cannot be decoded completely, or its sample rate changes.
        """
        at = self._seek_before(first) if first > PREROLL * self.sample_rate and self._format in SEEKABLE_FORMATS else 0
        for frame in self._frames:
            if frame.sample_rate != self.sample_rate:
                raise InputError(
                    f"{self._name}: its sample rate changes from {self.sample_rate} to {frame.sample_rate} Hz; "
                    "export it again"
                )
            mono = _mono(frame)
            if at + len(mono) > first:
                yield mono[max(first - at, 0) :]
            at += len(mono)

    def _seek_before(self, first: int) -> int:
        """Seek to shortly before a frame; return the index of the next decoded frame."""
        import av

        seconds = first / self.sample_rate - PREROLL
        try:
            self._container.seek(self._origin + int(seconds / self._time_base), stream=self._stream)
        except av.FFmpegError as error:
            raise _fault(self._name, error) from error
        self._frames = self._decoded()
        frame = next(self._frames, None)
        if frame is None:
            return first
        self._frames = chain([frame], self._frames)
        return round(float(((frame.pts or 0) - self._origin) * self._time_base) * self.sample_rate)

    @property
    def _time_base(self) -> Fraction:
        """Seconds per unit of the track's timestamps."""
        if self._stream.time_base is None:
            raise InputError(f"{self._name}: its audio track has no time base; export it again")
        return self._stream.time_base

    def _decoded(self) -> Iterator["av.AudioFrame"]:
        import av

        broken = 0
        try:
            for packet in self._container.demux(self._stream):
                try:
                    yield from packet.decode()
                except av.InvalidDataError:
                    broken += 1
                    if self._format not in BARE_FORMATS or broken > MAX_BROKEN_PACKETS:
                        raise
        except (av.FFmpegError, ValueError) as error:
            raise _fault(self._name, error) from error


class _Seekable:
    """File interface for PyAV that returns an error code on invalid seeks, which damaged containers cause."""

    def __init__(self, file: BinaryIO):
        self.read, self.tell, self._file = file.read, file.tell, file

    def seek(self, offset: int, whence: int = 0) -> int:
        try:
            return self._file.seek(offset, whence)
        except (OSError, ValueError):
            return -errno.EINVAL


def read_chapters(file: BinaryIO, name: object, format: str) -> list[tuple[Seconds, str]]:
    """Return start and title of each chapter mark of an open container, in order.

    Raises: InputError: the container cannot be read.
    """
    with _open(file, name, format) as container:
        marks = container.chapters()
    return sorted(
        (float(mark["start"] * (mark["time_base"] or 0)), mark["metadata"].get("title", "")) for mark in marks
    )


def _open(file: BinaryIO, name: object, format: str) -> "av.container.InputContainer":
    try:
        import av
    except ImportError as error:
        raise InputError(f"{name}: reading {format} needs PyAV: pip install av") from error
    file.seek(0)
    try:
        return av.open(_Seekable(file), "r", format=format, options=OPTIONS, metadata_errors="replace")
    except (av.FFmpegError, ValueError) as error:
        raise _fault(name, error) from error


def _fault(name: object, error: Exception) -> InputError:
    reason = str(getattr(error, "strerror", None) or error).strip().rstrip(".")
    return InputError(f"{name}: cannot be read as audio ({reason}); it is damaged or truncated, export it again")


def _mono(frame: "av.AudioFrame") -> np.ndarray:
    samples = frame.to_ndarray()  # (channels, frames), or (1, frames * channels) with the channels in turn
    if not frame.format.is_planar:
        samples = samples.reshape(-1, frame.layout.nb_channels).T
    if samples.dtype == np.uint8:
        samples = (samples.astype(np.float32) - 128) / 128
    elif samples.dtype.kind == "i":
        samples = samples.astype(np.float32) / 2 ** (8 * samples.dtype.itemsize - 1)
    return samples.mean(axis=0, dtype=np.float32)
