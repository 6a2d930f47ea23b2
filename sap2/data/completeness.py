"""Detection of truncated files from the sizes in their headers; decoders return what is there without an error."""

import struct
from collections.abc import Iterator
from typing import BinaryIO

from sap2.errors import InputError

__all__ = ["check_complete", "is_streamed_wav"]

Chunk = tuple[bytes, int, int | None]  # name, first byte of its content, length of its content; None = unknown

UNKNOWN = (0, 0xFFFFFFFF)  # lengths left by writers that cannot seek back, as in a pipe
ASF_HEADER = bytes.fromhex("3026b2758e66cf11")
EBML, SEGMENT = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"


def check_complete(file: BinaryIO, name: object) -> None:
    """Refuse a WAV, AIFF, MP4 (3GP, MOV), Matroska (WebM) or ASF file shorter than its header announces.

    Formats without sizes in their headers (MP3, AAC, AMR, and live recordings) are not checked.
    Raises: InputError: the file is truncated.
    """
    size = file.seek(0, 2)
    file.seek(0)
    head = file.read(12)
    for chunk, start, length in _chunks(file, head, size):
        sound = chunk in (b"data", b"SSND")
        if sound and length in UNKNOWN:
            return
        # Some programs pad or miscount the chunks after the sound of WAV and AIFF; the sound is complete then.
        if length is not None and start + length > size and (sound or head[:4] not in (b"RIFF", b"FORM")):
            raise InputError(
                f"{name}: truncated: holds {size - start} of {length} bytes of its last chunk; copy or export it again"
            )
        if sound:
            return
    if head[:4] in (b"RIFF", b"FORM") and head[8:] in (b"WAVE", b"AIFF", b"AIFC", b""):
        raise InputError(f"{name}: truncated: a header without audio behind it; copy or export it again")


def is_streamed_wav(file: BinaryIO) -> bool:
    """Return whether a WAV announces 0 bytes of sound but has sound; libsndfile reads nothing of such a file."""
    size = file.seek(0, 2)
    file.seek(0)
    head = file.read(12)
    if head[:4] != b"RIFF" or head[8:] != b"WAVE":
        return False
    chunks = list(_chunks(file, head, size))
    index = next((index for index, (name, _, _) in enumerate(chunks) if name == b"data"), None)
    if index is None or chunks[index][2] != 0 or chunks[index][1] >= size:
        return False
    # A file without sound may have further chunks; sound misread as chunks does not end where the file does.
    _, start, length = chunks[-1]
    return index == len(chunks) - 1 or start + (length or 0) not in (size, size - 1)


def _chunks(file: BinaryIO, head: bytes, size: int) -> Iterator[Chunk]:
    """Yield the top-level chunks of a file in order, as far as they can be followed."""
    if head[:4] in (b"RIFF", b"FORM"):
        yield from _riff(file, size, "<" if head[:4] == b"RIFF" else ">")
    elif head[4:8] == b"ftyp":
        yield from _boxes(file, size)
    elif head[:8] == ASF_HEADER:
        yield from _objects(file, size)
    elif head[:4] == EBML:
        yield from _elements(file)


def _riff(file: BinaryIO, size: int, order: str) -> Iterator[Chunk]:
    at = 12
    while at + 8 <= size:
        file.seek(at)
        name, length = struct.unpack(f"{order}4sI", file.read(8))
        if not _is_name(name):
            return
        yield name, at + 8, length
        at += 8 + length + length % 2


def _boxes(file: BinaryIO, size: int) -> Iterator[Chunk]:
    """Yield ISO 14496-12 boxes. A length includes itself; 1 = a 64-bit length follows; 0 = to the end of the file."""
    at = 0
    while at + 8 <= size:
        file.seek(at)
        header = file.read(16)
        length, name, first = int.from_bytes(header[:4], "big"), header[4:8], 8
        if length == 1:
            length, first = int.from_bytes(header[8:], "big"), 16
        if length < first or not _is_name(name):
            return
        yield name, at + first, length - first
        at += length


def _is_name(name: bytes) -> bool:
    return name.isascii() and name.decode("ascii").isprintable()


def _objects(file: BinaryIO, size: int) -> Iterator[Chunk]:
    """Yield ASF objects: a 16-byte identifier and an 8-byte length that includes both; 0 in broadcasts."""
    at = 0
    while at + 24 <= size:
        file.seek(at)
        name, length = struct.unpack("<16sQ", file.read(24))
        if length < 24:
            return
        yield name, at + 24, length - 24
        at += length


def _elements(file: BinaryIO) -> Iterator[Chunk]:
    """Yield Matroska's header and segment; a live recording has no segment length."""
    at = 0
    for expected in (EBML, SEGMENT):
        file.seek(at)
        header = file.read(12)
        if header[:4] != expected or len(header) < 5 or not header[4]:
            return
        width = 9 - header[4].bit_length()
        if len(header) < 4 + width:
            return
        length: int | None = int.from_bytes(header[4 : 4 + width], "big") - (1 << 7 * width)
        if length == (1 << 7 * width) - 1:
            length = None
        yield expected, at + 4 + width, length
        if length is None:
            return
        at += 4 + width + length
