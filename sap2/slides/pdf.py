"""PDFs: the words are PDFium's own text, their order that of the boxes they lie in; pages without text go to OCR."""

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, takewhile
from pathlib import Path
from typing import Any

import numpy as np

from sap2.errors import InputError
from sap2.slides.contents import MOST_CHARACTERS, Contents, Options, check_page_count
from sap2.slides.layout import Piece, rows
from sap2.slides.ocr import LONG_SIDE, MOST_PIXELS, read_pixels
from sap2.slides.typesetting import ACCENTS, composed, is_contraction, is_garbage, whole_names

__all__ = ["read_pdf"]

LINE_END_HYPHEN = "\u0002\ufffe"  # PDFium's characters for a hyphen at a line's end
LONGEST = 60  # characters of a word
NEAR = 8  # characters between an accent and its letter in PDFium's order, at most
COLUMN_GAP = 1.2  # character heights between two words that are not of one line of text
TOUCHING = 0.15  # character heights between two letters of one word, at most
SHADOW = 0.5  # line heights by which a text may lie beside its shadow
BULLET = re.compile(r"\W{1,2}|\(?\w{1,2}[.)]")
SHOWN_PICTURE = 0.05  # share of a page from which its picture may hold text


def read_pdf(path: Path, options: Options) -> Contents:
    """The lines of a PDF's pages.

    Raises: InputError: it is encrypted, damaged or has too many pages.
    """
    import pypdfium2

    try:
        document = pypdfium2.PdfDocument(path)
    except pypdfium2.PdfiumError as error:
        if "password" in str(error).lower() or "security" in str(error).lower():
            raise InputError(f"{path}: is encrypted; save it without a password") from error
        raise InputError(f"{path}: is not a PDF that can be read ({error}); export it again") from error
    contents = Contents()
    with document:
        check_page_count(path, len(document))
        for number in range(1, len(document) + 1):
            try:
                page = document[number - 1]
                lines, pixels = _page(page, number, options, contents)
                page.close()  # before OCR: a scan may take 100 MB in it
            except pypdfium2.PdfiumError as error:
                lines, pixels = [], None
                contents.notice(number, f"cannot be read ({error})")
            contents.pages.append(lines if pixels is None else read_pixels(pixels) or lines)
    return contents


def _page(page: Any, number: int, options: Options, contents: Contents) -> tuple[list[str], np.ndarray | None]:
    """The lines of a page's text layer, and the page as rendered where OCR is to read it instead."""
    if options.ocr == "always":
        return [], _rendered(page, number, contents)
    textpage = page.get_textpage()
    if textpage.count_chars() > MOST_CHARACTERS:
        return [textpage.get_text_range(0, MOST_CHARACTERS + 1)], None  # too many: the caller refuses them
    characters, unmapped = _characters(page, textpage)
    textpage.close()
    text = "".join(one.text for one in characters)
    pieces = _pieces(_without_line_end_hyphens(_with_accents(characters)))
    lines = [row.text for row in whole_names(rows(_without_shadows(pieces)))]
    if not lines:
        if options.ocr == "auto":
            return [], _rendered(page, number, contents)
        if _pictures(page):
            contents.notice(number, "has no text layer; --ocr auto reads it")
    elif is_garbage(text, unmapped):
        if options.ocr == "auto":
            contents.notice(number, "its text layer is garbage; OCR read the page instead")
            return lines, _rendered(page, number, contents)
        contents.notice(number, "its text layer seems to be garbage; --ocr auto reads the page instead")
    elif any(share >= SHOWN_PICTURE for share in _pictures(page)):
        contents.notice(number, "pictures beside text were not read; --ocr always reads whole pages")
    return lines, None


# ---- scanned pages -----------------------------------------------------------------------------------------------


def _rendered(page: Any, number: int, contents: Contents) -> np.ndarray | None:
    """A page's pixels, `(height, width, BGR)`; None = there is nothing on it, or too much."""
    from pypdfium2.raw import FPDF_PAGEOBJ_IMAGE

    for image in page.get_objects(filter=[FPDF_PAGEOBJ_IMAGE]):
        width, height = image.get_px_size()
        if width * height > MOST_PIXELS:
            contents.notice(number, f"left out a picture of {width} × {height} pixels")
            return None
    if not any(True for _ in page.get_objects()):
        return None
    bitmap = page.render(scale=LONG_SIDE / max(page.get_size()))
    pixels = bitmap.to_numpy()[..., :3].copy()
    bitmap.close()
    return pixels


def _pictures(page: Any) -> list[float]:
    """What share of the page each of its pictures takes."""
    from pypdfium2.raw import FPDF_PAGEOBJ_IMAGE

    width, height = page.get_size()
    shares = []
    for image in page.get_objects(filter=[FPDF_PAGEOBJ_IMAGE]):
        left, bottom, right, top = image.get_bounds()
        shares.append((right - left) * (top - bottom) / (width * height))
    return shares


# ---- the text layer ----------------------------------------------------------------------------------------------


@dataclass
class _Character:
    """A character and its box, y growing downwards; those of a page that lies on its side are turned upright.

    `made`: whether PDFium put it there: spaces and line ends that the file does not have.
    """

    text: str
    made: bool
    left: float = 0.0
    top: float = 0.0
    right: float = 0.0
    bottom: float = 0.0

    @property
    def height(self) -> float:
        return self.bottom - self.top


def _characters(page: Any, textpage: Any) -> tuple[list[_Character], int]:
    """The characters in PDFium's order, and how many of them the file gives no meaning."""
    from ctypes import byref, c_double

    from pypdfium2 import raw

    turns, handle = page.get_rotation() // 90, textpage.raw
    loose, (left, right, bottom, top) = raw.FS_RECTF(), (c_double() for _ in range(4))
    characters, unmapped = [], 0
    for index in range(textpage.count_chars()):
        code = raw.FPDFText_GetUnicode(handle, index)
        text = chr(code) if 0 < code < 0x110000 and not 0xD800 <= code < 0xE000 else "\ufffd"
        made = raw.FPDFText_IsGenerated(handle, index) == 1
        unmapped += not made and (raw.FPDFText_HasUnicodeMapError(handle, index) == 1 or code == 0)
        if text in ACCENTS:  # where it is drawn; other characters: the height of their font
            raw.FPDFText_GetCharBox(handle, index, byref(left), byref(right), byref(bottom), byref(top))
            box = left.value, bottom.value, right.value, top.value
        else:
            raw.FPDFText_GetLooseCharBox(handle, index, byref(loose))
            box = loose.left, loose.bottom, loose.right, loose.top
        characters.append(_Character(text, made, *_upright(box, turns)))
    return characters, unmapped


def _upright(box: tuple[float, float, float, float], turns: int) -> tuple[float, float, float, float]:
    """Left, bottom, right and top as left, top, right and bottom of the page as it is shown."""
    left, bottom, right, top = box
    return [
        (left, -top, right, -bottom),
        (bottom, left, top, right),
        (-right, bottom, -left, top),
        (-top, -right, -bottom, -left),
    ][turns % 4]


def _with_accents(characters: list[_Character]) -> list[_Character]:
    """Spacing accents as parts of their letters: those they lie over, or else that before which they were written."""
    if not any(one.text in ACCENTS for one in characters):
        return characters
    kept: list[_Character | None] = list(characters)
    for place, accent in enumerate(characters):
        if accent.text not in ACCENTS:
            continue
        near = [one for one in range(max(place - NEAR, 0), min(place + NEAR + 1, len(characters))) if kept[one]]
        over = [one for one in near if one != place and _lies_over(accent, characters[one])]
        beside = [] if over else [one for one in _neighbours(characters, place)]
        for one in (*over, *beside):
            if whole := composed(characters[one].text, accent.text):
                characters[one].text = whole
                kept[place] = None
                _close(characters, kept, place)
                break
    return [one for one in kept if one is not None]


def _lies_over(accent: _Character, letter: _Character) -> bool:
    middle = (accent.left + accent.right) / 2
    return (
        letter.text.isalpha()
        and letter.left <= middle <= letter.right
        and letter.top - letter.height / 2 <= (accent.top + accent.bottom) / 2 <= letter.bottom
    )


def _neighbours(characters: Sequence[_Character], place: int) -> Iterator[int]:
    """The letter after an accent that lies over none, then the one before it."""
    after = "".join(one.text for one in characters[place + 1 : place + 5])
    before = characters[place - 1].text if place else ""
    if is_contraction(after) and before.isalpha():
        characters[place].text = "’"
    elif after[:1].isalpha() or before.isalpha():
        yield from (one for one in (place + 1, place - 1) if 0 <= one < len(characters))


def _close(characters: Sequence[_Character], kept: list[_Character | None], place: int) -> None:
    """Take out spaces and line ends that PDFium made of an accent's own place within a word."""
    before, after = place - 1, place + 1
    while before >= 0 and characters[before].made:
        before -= 1
    while after < len(characters) and characters[after].made:
        after += 1
    if before >= 0 and after < len(characters):
        one, other = characters[before], characters[after]
        level = min(one.bottom, other.bottom) - max(one.top, other.top) > one.height / 2
        if level and abs(other.left - one.right) < TOUCHING * one.height:
            for made in range(before + 1, after):
                kept[made] = None


def _without_line_end_hyphens(characters: Sequence[_Character]) -> list[_Character]:
    """Each word that a hyphen cuts in two at a line's end as one, at the end of its first line."""
    if not any(one.text in LINE_END_HYPHEN for one in characters):
        return list(characters)
    kept: list[_Character] = []
    moving: _Character | None = None  # the last letter before a hyphen, whose place the rest of its word takes
    for place, one in enumerate(characters):
        if one.text in LINE_END_HYPHEN:
            after = characters[place + 1] if place + 1 < len(characters) else None
            if not kept or after is None or after.text.isspace() or _level(kept[-1], after):
                kept.append(replace(one, text="-"))
            else:
                moving = kept[-1]
                if _keeps_hyphen(_word(reversed(kept))[::-1], _word(characters[place + 1 : place + 1 + LONGEST])):
                    kept.append(replace(moving, text="-"))
        elif moving is None:
            kept.append(one)
        elif one.text.isspace():
            kept.append(replace(one, text="\n"))
            moving = None
        else:
            kept.append(replace(moving, text=one.text))
    return kept


def _pieces(characters: Sequence[_Character]) -> list[Piece]:
    """Words side by side, as PDFium has them, parted at line ends and where a column's gap or another box begins."""
    pieces: list[Piece] = []
    for right_to_left, line in _lines(characters):
        part: list[_Character] = []
        seen: _Character | None = None
        for one in line:
            if seen and not one.text.isspace() and not right_to_left and _apart(seen, one, part):
                pieces.extend(_piece(part))
                part = []
            part.append(one)
            seen = seen if one.text.isspace() else one
        pieces.extend(_piece(part))
    return pieces


def _lines(characters: Sequence[_Character]) -> Iterator[tuple[bool, list[_Character]]]:
    """PDFium's lines, and whether each holds right-to-left script, whose boxes say nothing of its order."""
    line: list[_Character] = []
    for one in chain(characters, [_Character("\n", True)]):
        if one.text in "\r\n":
            yield any(unicodedata.bidirectional(each.text) in ("R", "AL") for each in line), line
            line = []
        else:
            line.append(one)


def _level(one: _Character, other: _Character) -> bool:
    return min(one.bottom, other.bottom) - max(one.top, other.top) > min(one.height, other.height) / 2


def _word(characters: Iterable[_Character]) -> str:
    return "".join(takewhile(lambda text: not text.isspace(), (one.text for one in characters)))


def _keeps_hyphen(first: str, second: str) -> bool:
    """Whether a hyphen at a line's end is part of the word: GPT-4, Weiler-Jönsson, state-of-the-art."""
    stem = re.sub(r"^\W+", "", first)
    return (
        not second[:1].islower()
        or any(one.isdigit() for one in stem)
        or (len(stem) > 1 and stem.isupper())
        or "-" in stem
        or "-" in second
    )


def _apart(seen: _Character, one: _Character, line: Sequence[_Character]) -> bool:
    """Whether a character is too far from the one before it to be of the same line of text."""
    height = max(min(seen.height, one.height), 1e-3)
    gap = max(one.left - seen.right, seen.left - one.right)
    if not _level(seen, one) and min(abs(one.top - seen.bottom), abs(one.bottom - seen.top)) > height / 2:
        return True
    if gap <= COLUMN_GAP * height:
        return False
    return one.left < seen.left or not BULLET.fullmatch("".join(each.text for each in line).strip())


def _piece(line: Sequence[_Character]) -> Iterator[Piece]:
    text = " ".join("".join(one.text for one in line).split())
    shown = [one for one in line if not one.text.isspace()]
    if shown and text:
        yield Piece(
            min(one.left for one in shown), min(one.top for one in shown),
            max(one.right for one in shown), max(one.bottom for one in shown), text,
        )  # fmt: skip


def _without_shadows(pieces: Sequence[Piece]) -> list[Piece]:
    """Each text once that is drawn twice, a little apart: a shadow, or bold letters of a font without them."""
    kept: list[Piece] = []
    cells: set[tuple[str, int, int]] = set()
    for piece in pieces:
        reach = max(SHADOW * (piece.bottom - piece.top), 1e-3)
        across, down = round(piece.left / reach), round(piece.top / reach)
        if not any((piece.text, across + dx, down + dy) in cells for dx in (-1, 0, 1) for dy in (-1, 0, 1)):
            kept.append(piece)
            cells.add((piece.text, across, down))
    return kept
