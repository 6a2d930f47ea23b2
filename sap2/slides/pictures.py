"""OCR of the pictures on an Office file's slides, each only once, and notices of pictures that are not read."""

import hashlib
import io
import posixpath
import zipfile
import zlib

from sap2.slides.archive import Archive
from sap2.slides.contents import Contents, Options
from sap2.slides.ocr import PictureError, read_picture

__all__ = ["SlidePictures"]

SHOWN = 0.03  # minimum share of the slide at which an audience can read a picture's text
MAX_PICTURES = 60  # maximum per deck unless OCR is forced: some 40 s on two cores


class SlidePictures:
    """Reads the pictures of a deck; a picture on several slides is recognised only once."""

    def __init__(self, archive: Archive, options: Options, contents: Contents) -> None:
        self._archive, self._mode, self._contents = archive, options.ocr, contents
        self._known: dict[bytes, list[str] | PictureError] = {}

    def lines(self, page: int, name: str, share: float) -> list[str]:
        """Return the lines of a picture; `share` is the share of the slide that it takes."""
        if self._mode != "always" and share < SHOWN:
            return []
        if self._mode == "never":
            self._contents.notice(page, "a picture was not read (--ocr never)")
            return []
        try:
            return self._read(self._archive.picture(name))
        except KeyError:
            self._contents.notice(page, "a picture is missing in the file")
        except (ValueError, zipfile.BadZipFile, zlib.error, EOFError) as error:
            self._contents.notice(page, f"left out a picture, {posixpath.basename(name)[:40]} ({error})")
        return []

    def _read(self, content: bytes) -> list[str]:
        key = hashlib.sha256(content).digest()
        if key not in self._known:
            if self._mode != "always" and len(self._known) >= MAX_PICTURES:
                raise PictureError(f"more than {MAX_PICTURES} in the deck; --ocr always reads all")
            try:
                self._known[key] = read_picture(io.BytesIO(content))
            except PictureError as error:
                self._known[key] = error
        if isinstance(result := self._known[key], PictureError):
            raise result
        return result
