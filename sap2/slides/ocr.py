"""OCR of pictures and scanned pages by RapidOCR, with the models in its wheel; nothing is downloaded."""

import ctypes
import sys
from collections.abc import Iterator
from functools import lru_cache
from operator import itemgetter
from typing import Any

import numpy as np

from sap2.slides.layout import Piece, rows
from sap2.slides.typesetting import join_wrapped_names

__all__ = ["LONG_SIDE", "MAX_PIXELS", "PictureError", "read_picture", "read_pixels", "shrunk_picture"]

MAX_PIXELS = 50_000_000  # per picture
LONG_SIDE = 1440  # pixels of a picture's longer side at which lines are recognised
DETECTED_SIDE = 1152  # pixels of a band's longer side at which lines are detected
BAND = 160_000  # pixels (at that scale) of a band, the unit of line detection: memory grows with them
SHORT_BAND = 0.5  # minimum height of a band, as a share of the maximum
M_MMAP_THRESHOLD = -3  # of malloc.h: blocks of at least this size return to the system when they are freed
LARGE = 1 << 20
CONTRAST = 12  # of 255: minimum step between two pixels of a row with letters
MIN_CONFIDENCE = 0.5  # of a line
UPRIGHT = 1.5  # ratio of height to width above which a line is vertical


class PictureError(ValueError):
    """A picture cannot be read; the message gives the cause."""


def read_picture(file: Any) -> list[str]:
    """Read the lines of text in a picture file.

    Raises: PictureError: it cannot be decoded, or has more than MAX_PIXELS.
    """
    return read_pixels(np.asarray(shrunk_picture(file, LONG_SIDE))[..., ::-1])  # RapidOCR takes BGR, as OpenCV does


def shrunk_picture(file: Any, long_side: int) -> Any:
    """Open a picture file as an RGB image of PIL, on white, shrunk to at most `long_side` pixels per side.

    Raises: PictureError: it cannot be decoded, or has more than MAX_PIXELS.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(file) as image:
            if image.width * image.height > MAX_PIXELS:
                raise PictureError(f"{image.width} × {image.height} pixels, expected at most {MAX_PIXELS:,}")
            image.draft("RGB", (long_side, long_side))
            # Transparent parts show the slide's white.
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
    """Read the lines of a page or picture, `(height, width, BGR)`, in reading order, upright if it is rotated."""
    pieces, _ = _read(pixels)
    if sum(map(_is_vertical, pieces)) > len(pieces) / 2:
        pieces, _ = max((_read(np.rot90(pixels, turns)) for turns in (1, 3)), key=itemgetter(1))
    return [row.text for row in join_wrapped_names(rows(pieces))]


def _is_vertical(piece: Piece) -> bool:
    return piece.bottom - piece.top > UPRIGHT * (piece.right - piece.left) and len(piece.text) > 2


def _read(pixels: np.ndarray) -> tuple[list[Piece], float]:
    """Return the lines of a picture with their boxes, and the sum of their letters' confidences."""
    pieces, total = [], 0.0
    for top, band in _bands(np.ascontiguousarray(pixels)):
        read = _engine()(band)
        _release_memory()
        if read.boxes is None:
            continue
        for corners, text, confidence in zip(read.boxes.tolist(), read.txts, read.scores, strict=True):
            if float(confidence) >= MIN_CONFIDENCE and text.strip():
                across, down = zip(*corners, strict=True)
                pieces.append(Piece(min(across), min(down) + top, max(across), max(down) + top, text))
                total += float(confidence) * len(text)
    return pieces, total


def _release_memory() -> None:
    """Return the memory of a band to the system."""
    if libc := _glibc():
        libc.malloc_trim(0)


@lru_cache(maxsize=1)
def _glibc() -> Any:
    """Return the C library if it holds freed memory back until `malloc_trim`; None elsewhere."""
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None
    return libc if hasattr(libc, "malloc_trim") and hasattr(libc, "mallopt") else None


def _bands(pixels: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Cut a picture into horizontal bands at its emptiest rows; yield each band that is not blank, with its top."""
    height, width = pixels.shape[:2]
    scale = min(DETECTED_SIDE / width, 1.0)
    max_height = max(int(BAND / (width * scale) / scale), 32)
    # Differences between neighbouring pixels of a row: none on background, many across letters.
    steps = np.abs(np.diff(pixels[..., 1].astype(np.int16), axis=1))
    busy, steepest = steps.sum(axis=1), steps.max(axis=1, initial=0)
    top = 0
    while top < height:
        cut = height
        if height - top > max_height:
            first = top + int(max_height * SHORT_BAND)
            cut = first + _middle_of_least(busy[first : top + max_height])
        if steepest[top:cut].max() >= CONTRAST:
            yield top, pixels[top:cut]
        top = cut


def _middle_of_least(values: np.ndarray) -> int:
    """Return the middle of the longest run of minimal values, with some tolerance for noise."""
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
            "Global.use_vertical_padding": False,  # it pads a thin band to a square
            "Det.limit_type": "max",
            "Det.limit_side_len": DETECTED_SIDE,
            "Rec.rec_batch_num": 1,  # a batch is padded to its widest line: more memory, not faster
        }
    )
