"""Text in pictures and scanned pages, by RapidOCR with the models of its wheel: nothing is downloaded."""

import ctypes
import sys
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import numpy as np

from sap2.slides.layout import Piece, rows
from sap2.slides.typesetting import whole_names

__all__ = ["LONG_SIDE", "MOST_PIXELS", "PictureError", "read_picture", "read_pixels", "shrunk_picture"]

MOST_PIXELS = 50_000_000  # of a picture
LONG_SIDE = 1440  # pixels of a picture's longer side at which lines are recognised
DETECTED_SIDE = 1152  # and of a band's at which lines are detected
BAND = 160_000  # pixels (at that scale) in which lines are detected at once: memory grows with them
SHORT_BAND = 0.5  # least height of a band, as a share of the greatest
M_MMAP_THRESHOLD = -3  # of malloc.h: blocks of this size are given back as soon as they are freed
LARGE = 1 << 20
CONTRAST = 12  # of 255: least step between two pixels of a row that letters make
SURE = 0.5  # least confidence of a line
UPRIGHT = 1.5  # a line's box this much higher than wide is a line that stands


class PictureError(ValueError):
    """A picture that cannot be read; the message says why."""


def read_picture(file: Any) -> list[str]:
    """The lines in a picture file.

    Raises: PictureError: it cannot be decoded, or has more than MOST_PIXELS.
    """
    return read_pixels(np.asarray(shrunk_picture(file, LONG_SIDE))[..., ::-1])  # RapidOCR takes BGR, as OpenCV does


def shrunk_picture(file: Any, long_side: int) -> Any:
    """A picture file as a PIL image in RGB, on white where it is transparent, of at most `long_side` pixels a side.

    Raises: PictureError: it cannot be decoded, or has more than MOST_PIXELS.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(file) as image:
            if image.width * image.height > MOST_PIXELS:
                raise PictureError(f"{image.width} × {image.height} pixels, expected at most {MOST_PIXELS:,}")
            image.draft("RGB", (long_side, long_side))
            # Nothing is written on what is transparent: a slide's white shows through.
            shown = _on_white(image) if image.has_transparency_data else image.convert("RGB")
            shown.thumbnail((long_side, long_side))
            return shown
    except UnidentifiedImageError as error:
        raise PictureError("its format is not known") from error
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise error if isinstance(error, PictureError) else PictureError(str(error)) from error


def _on_white(image: Any) -> Any:
    from PIL import Image

    layer = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")


def read_pixels(pixels: np.ndarray) -> list[str]:
    """The lines of a page or picture in reading order, `(height, width, BGR)`; a page on its side is turned upright."""
    pieces, _ = _read(pixels)
    if sum(map(_stands, pieces)) > len(pieces) / 2:
        pieces, _ = max((_read(np.rot90(pixels, turns)) for turns in (1, 3)), key=lambda one: one[1])
    return [row.text for row in whole_names(rows(pieces))]


def _stands(piece: Piece) -> bool:
    return piece.bottom - piece.top > UPRIGHT * (piece.right - piece.left) and len(piece.text) > 2


def _read(pixels: np.ndarray) -> tuple[list[Piece], float]:
    """The lines of a picture with their boxes, and how sure they are: the sum of confidences by letter."""
    pieces, sure = [], 0.0
    for top, band in _bands(np.ascontiguousarray(pixels)):
        read = _engine()(band)
        _release_memory()
        if read.boxes is None:
            continue
        for corners, text, confidence in zip(read.boxes.tolist(), read.txts, read.scores, strict=True):
            if float(confidence) >= SURE and text.strip():
                across, down = zip(*corners, strict=True)
                pieces.append(Piece(min(across), min(down) + top, max(across), max(down) + top, text))
                sure += float(confidence) * len(text)
    return pieces, sure


def _release_memory() -> None:
    """Give what a band took back to the system."""
    if libc := _glibc():
        libc.malloc_trim(0)


@lru_cache(maxsize=1)
def _glibc() -> Any:
    """The C library, if it is one that has to be told to give freed memory back; None elsewhere."""
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None
    return libc if hasattr(libc, "malloc_trim") and hasattr(libc, "mallopt") else None


def _bands(pixels: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """The picture in horizontal bands, cut where rows are emptiest, with each band's top; empty ones are left out."""
    height, width = pixels.shape[:2]
    scale = min(DETECTED_SIDE / width, 1.0)
    greatest = max(int(BAND / (width * scale) / scale), 32)
    # Differences between neighbours of a row: none on background, many through letters.
    steps = np.abs(np.diff(pixels[..., 1].astype(np.int16), axis=1))
    busy, steepest = steps.sum(axis=1), steps.max(axis=1, initial=0)
    top = 0
    while top < height:
        cut = height
        if height - top > greatest:
            first = top + int(greatest * SHORT_BAND)
            cut = first + _middle_of_least(busy[first : top + greatest])
        if steepest[top:cut].max() >= CONTRAST:
            yield top, pixels[top:cut]
        top = cut


def _middle_of_least(values: np.ndarray) -> int:
    """The middle of the longest run of the least values (a little more counts as least: noise)."""
    low = np.concatenate([[False], values <= values.min() * 1.1 + len(values) / 100, [False]])
    edges = np.flatnonzero(np.diff(low.astype(np.int8)))
    begins, ends = edges[::2], edges[1::2]
    longest = int((ends - begins).argmax())
    return int(begins[longest] + ends[longest]) // 2


@lru_cache(maxsize=1)
def _engine() -> Any:
    from rapidocr import RapidOCR

    if libc := _glibc():
        libc.mallopt(M_MMAP_THRESHOLD, LARGE)
    return RapidOCR(
        params={
            "Global.log_level": "error",
            "Global.use_vertical_padding": False,  # it makes a thin band a square
            "Det.limit_type": "max",
            "Det.limit_side_len": DETECTED_SIDE,
            "Rec.rec_batch_num": 1,  # of several lines all are as wide as the widest: more memory, no more speed
        }
    )
