"""OpenDocument decks (LibreOffice Impress): each slide's text, tables, charts, pictures, and optionally notes."""

import posixpath
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sap2.errors import InputError
from sap2.slides.archive import Archive, attribute, opened
from sap2.slides.contents import Contents, Options, check_page_count
from sap2.slides.layout import Piece, rows
from sap2.slides.pictures import SlidePictures

__all__ = ["is_opendocument", "read_odp"]

BREAK = "\v"
UNITS = {"cm": 1.0, "mm": 0.1, "in": 2.54, "pt": 2.54 / 72, "pc": 2.54 / 6, "px": 2.54 / 96}
SLIDE = 28.0 * 15.75  # cm²: LibreOffice's default
MAX_DEPTH = 50
UNSEEN = frozenset(["notes", "forms", "title", "desc", "event-listeners", "annotation", "glue-point", "sequence"])
GAPS = {"s": " ", "tab": " ", "line-break": "\n"}


def is_opendocument(start: bytes) -> bool:
    """Whether a file's first bytes are those of an OpenDocument archive."""
    return b"mimetypeapplication/vnd.oasis.opendocument" in start


def read_odp(path: Path, options: Options) -> Contents:
    """Read the lines of an ODP's slides.

    Raises: InputError: it is damaged, encrypted, above a size limit, or another kind of document.
    """
    with opened(path, "ODP file", "export it as PDF") as archive:
        if "META-INF/manifest.xml" in archive:
            if archive.xml("META-INF/manifest.xml").find(".//{*}encryption-data") is not None:
                raise InputError(f"{path}: is encrypted; save it without a password")
        deck = archive.xml("content.xml").find("{*}body/{*}presentation")
        if deck is None:
            raise InputError(f"{path}: is an OpenDocument file without slides; expected an ODP, or save it as PDF")
        contents = Contents()
        slides = deck.findall("{*}page")
        check_page_count(path, len(slides))
        pictures = SlidePictures(archive, options, contents)
        for number, slide in enumerate(slides, start=1):
            pieces = list(_Slide(archive, contents, pictures, number).pieces(slide))
            contents.pages.append([line for row in rows(pieces, BREAK) for line in row.text.split(BREAK)])
            if options.notes:
                notes = slide.iterfind("{*}notes//{*}text-box")
                contents.pages[-1] += [line for note in notes for line in _lines(note)]
    return contents


class _Slide:
    """Reads the shapes of a slide as pieces, with a line per paragraph."""

    def __init__(self, archive: Archive, contents: Contents, pictures: SlidePictures, number: int) -> None:
        self._archive, self._contents, self._pictures, self._number = archive, contents, pictures, number

    def pieces(self, parent: Any, depth: int = 0) -> Iterator[Piece]:
        for shape in parent:
            kind = _name(shape)
            if kind in UNSEEN or not kind or depth > MAX_DEPTH:
                continue
            if kind in ("g", "a"):
                yield from self.pieces(shape, depth + 1)
            elif lines := self._shape(shape):
                left, top, width, height = _box(shape)
                yield Piece(left, top, left + max(width, 0.01), top + max(height, 0.01), BREAK.join(lines))

    def _shape(self, shape: Any) -> list[str]:
        """Return the text of a shape, or the content of a frame: a table, a chart, or otherwise its picture."""
        lines = _lines(shape)
        for chart in shape.iterfind("{*}object"):
            lines += self._chart(attribute(chart, "href"))
        if not lines:
            for image in shape.iterfind("{*}image"):
                if lines := self._picture(shape, attribute(image, "href")):
                    break
        if shape.find("{*}plugin") is None and shape.find("{*}object-ole") is not None and not lines:
            self._contents.notice(self._number, "an object of another program was left out")
        return lines

    def _chart(self, href: str) -> list[str]:
        name = posixpath.join(posixpath.normpath(href), "content.xml")
        if name not in self._archive:
            return []
        body = self._archive.xml(name).find("{*}body")
        if body is None:
            return []
        # Cells of numbers have a value type of their own; they are skipped.
        cells = [cell for cell in body.iter("{*}table-cell") if attribute(cell, "value-type", "string") == "string"]
        titles = [title for kind in ("title", "subtitle") for title in body.iter("{*}" + kind)]
        return list(dict.fromkeys(line for element in (*titles, *cells) for line in _lines(element)))

    def _picture(self, frame: Any, href: str) -> list[str]:
        _, _, width, height = _box(frame)
        if "://" in href:
            self._contents.notice(self._number, "has external links, which were not followed")
            return []
        return self._pictures.lines(self._number, posixpath.normpath(href), width * height / SLIDE)


def _name(element: Any) -> str:
    return element.tag.rpartition("}")[2] if isinstance(element.tag, str) else ""


def _lines(element: Any) -> list[str]:
    """Return the lines of an element's paragraphs and headings, split at line breaks."""
    lines = []
    for paragraph in element.iter("{*}p", "{*}h"):
        lines += [" ".join(part.split()) for part in _text(paragraph).split("\n")]
    return list(filter(None, lines))


def _text(element: Any, depth: int = 0) -> str:
    """Return the text of a paragraph without its notes; spaces and breaks are elements in ODP."""
    text = element.text or ""
    for child in element:
        kind = _name(child)
        if kind in GAPS:
            text += GAPS[kind]
        elif kind and kind not in UNSEEN and kind not in ("p", "h") and depth < MAX_DEPTH:
            text += _text(child, depth + 1)
        text += child.tail or ""
    return text


def _box(shape: Any) -> tuple[float, float, float, float]:
    """Return left, top, width and height in cm; rotated or shifted shapes give their position as a transformation."""
    left, top, width, height = (_length(attribute(shape, name)) for name in ("x", "y", "width", "height"))
    if shift := re.search(r"translate\s*\(\s*(\S+?)[\s,]+(\S+?)\s*\)", attribute(shape, "transform")[:500]):
        left, top = left + _length(shift[1]), top + _length(shift[2])
    return left, top, width, height


def _length(text: str) -> float:
    """Parse a length as cm; 0 = malformed.

    >>> _length("2.54cm"), _length("1in"), _length("")
    (2.54, 2.54, 0.0)
    """
    match = re.fullmatch(r"(-?\d{1,9}(?:\.\d{1,9})?)(cm|mm|in|pt|pc|px)", text.strip())
    return float(match[1]) * UNITS[match[2]] if match else 0.0
