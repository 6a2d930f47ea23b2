"""PDFs: words come from PDFium's text layer, their order from their boxes; pages without text are read by OCR."""

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, takewhile
from pathlib import Path
from typing import Any

import numpy as np

from sap2.errors import InputError
from sap2.slides.contents import MAX_CHARACTERS, Contents, Options, check_page_count
from sap2.slides.layout import Piece, rows
from sap2.slides.ocr import LONG_SIDE, MAX_PIXELS, read_pixels
from sap2.slides.typesetting import ACCENTS, composed, is_contraction, is_garbage, join_wrapped_names

__all__ = ["read_pdf"]

LINE_END_HYPHEN = "\u0002\ufffe"  # PDFium's characters for a hyphen at a line's end
LONGEST = 60  # maximum characters of a word
NEAR = 8  # maximum number of characters between an accent and its letter in PDFium's order
COLUMN_GAP = 1.2  # character heights above which a gap separates columns
TOUCHING = 0.15  # maximum gap between two letters of a word, in character heights
SHADOW = 0.5  # maximum distance of a text from its shadow, in line heights
BULLET = re.compile(r"\W{1,2}|\(?\w{1,2}[.)]")
SHOWN_PICTURE = 0.05  # minimum share of the page that a picture with text takes


def read_pdf(path: Path, options: Options) -> Contents:
    """Read the lines of a PDF's pages.

    Raises: InputError: it is encrypted, damaged or has too many pages.
    """
    import pypdfium2

    try:
        document = pypdfium2.PdfDocument(path)
    except pypdfium2.PdfiumError as error:
        if "password" in str(error).lower() or "security" in str(error).lower():
            raise InputError(f"{path}: is encrypted; save it without a password") from error
        raise InputError(f"{path}: is not a readable PDF ({error}); export it again") from error
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
    """Return the lines of a page's text layer, and the rendered page if OCR must read it instead."""
    if options.ocr == "always":
        return [], _rendered(page, number, contents)
    textpage = page.get_textpage()
    if textpage.count_chars() > MAX_CHARACTERS:
        return [textpage.get_text_range(0, MAX_CHARACTERS + 1)], None  # too many: the caller rejects the file
    characters, unmapped = _characters(page, textpage)
    textpage.close()
    text = "".join(character.text for character in characters)
    pieces = _pieces(_without_line_end_hyphens(_with_accents(characters)))
    lines = [row.text for row in join_wrapped_names(rows(_without_shadows(pieces)))]
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
        contents.notice(number, "pictures beside text were not read; --ocr always reads the entire page")
    return lines, None


# ---- scanned pages -----------------------------------------------------------------------------------------------


def _rendered(page: Any, number: int, contents: Contents) -> np.ndarray | None:
    """Render a page, `(height, width, BGR)`; None = it is blank, or holds a picture above the size limit."""
    from pypdfium2.raw import FPDF_PAGEOBJ_IMAGE

    for image in page.get_objects(filter=[FPDF_PAGEOBJ_IMAGE]):
        width, height = image.get_px_size()
        if width * height > MAX_PIXELS:
            contents.notice(number, f"left out a picture of {width} × {height} pixels")
            return None
    if not any(True for _ in page.get_objects()):
        return None
    bitmap = page.render(scale=LONG_SIDE / max(page.get_size()))
    pixels = bitmap.to_numpy()[..., :3].copy()
    bitmap.close()
    return pixels


def _pictures(page: Any) -> list[float]:
    """Return the share of the page that each of its pictures takes."""
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
    """A character and its box on the upright page; y grows downwards.

    `made`: whether PDFium generated it: a space or line end that is not in the file.
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
    """Return the characters in PDFium's order, and how many of them the file maps to no Unicode character."""
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
        if text in ACCENTS:  # its tight box; other characters get the height of their font
            raw.FPDFText_GetCharBox(handle, index, byref(left), byref(right), byref(bottom), byref(top))
            box = left.value, bottom.value, right.value, top.value
        else:
            raw.FPDFText_GetLooseCharBox(handle, index, byref(loose))
            box = loose.left, loose.bottom, loose.right, loose.top
        characters.append(_Character(text, made, *_upright(box, turns)))
    return characters, unmapped


def _upright(box: tuple[float, float, float, float], turns: int) -> tuple[float, float, float, float]:
    """Convert left, bottom, right and top to left, top, right and bottom of the page as displayed."""
    left, bottom, right, top = box
    return [
        (left, -top, right, -bottom),
        (bottom, left, top, right),
        (-right, bottom, -left, top),
        (-top, -right, -bottom, -left),
    ][turns % 4]


def _with_accents(characters: list[_Character]) -> list[_Character]:
    """Compose spacing accents with the letter below them, or otherwise with an adjacent letter."""
    if not any(character.text in ACCENTS for character in characters):
        return characters
    kept: list[_Character | None] = list(characters)
    for index, accent in enumerate(characters):
        if accent.text not in ACCENTS:
            continue
        near = range(max(index - NEAR, 0), min(index + NEAR + 1, len(characters)))
        below = [i for i in near if kept[i] and i != index and _lies_over(accent, characters[i])]
        for i in below or list(_neighbours(characters, index)):
            if letter := composed(characters[i].text, accent.text):
                characters[i].text = letter
                kept[index] = None
                _remove_gap(characters, kept, index)
                break
    return [character for character in kept if character is not None]


def _lies_over(accent: _Character, letter: _Character) -> bool:
    middle = (accent.left + accent.right) / 2
    return (
        letter.text.isalpha()
        and letter.left <= middle <= letter.right
        and letter.top - letter.height / 2 <= (accent.top + accent.bottom) / 2 <= letter.bottom
    )


def _neighbours(characters: Sequence[_Character], index: int) -> Iterator[int]:
    """Yield the indices of the letter after an accent, then of the letter before it; turn apostrophes into ’."""
    after = "".join(character.text for character in characters[index + 1 : index + 5])
    before = characters[index - 1].text if index else ""
    if is_contraction(after) and before.isalpha():
        characters[index].text = "’"
    elif after[:1].isalpha() or before.isalpha():
        yield from (i for i in (index + 1, index - 1) if 0 <= i < len(characters))


def _remove_gap(characters: Sequence[_Character], kept: list[_Character | None], index: int) -> None:
    """Remove spaces and line ends that PDFium generated around an accent within a word."""
    before, after = index - 1, index + 1
    while before >= 0 and characters[before].made:
        before -= 1
    while after < len(characters) and characters[after].made:
        after += 1
    if before >= 0 and after < len(characters):
        left, right = characters[before], characters[after]
        level = min(left.bottom, right.bottom) - max(left.top, right.top) > left.height / 2
        if level and abs(right.left - left.right) < TOUCHING * left.height:
            for made in range(before + 1, after):
                kept[made] = None


def _without_line_end_hyphens(characters: Sequence[_Character]) -> list[_Character]:
    """Join words that are hyphenated at a line's end; the joined word ends the first line."""
    if not any(character.text in LINE_END_HYPHEN for character in characters):
        return list(characters)
    kept: list[_Character] = []
    moving: _Character | None = None  # the last letter before a hyphen; the rest of the word gets its box
    for index, character in enumerate(characters):
        if character.text in LINE_END_HYPHEN:
            after = characters[index + 1] if index + 1 < len(characters) else None
            if not kept or after is None or after.text.isspace() or _level(kept[-1], after):
                kept.append(replace(character, text="-"))
            else:
                moving = kept[-1]
                if _keeps_hyphen(_word(reversed(kept))[::-1], _word(characters[index + 1 : index + 1 + LONGEST])):
                    kept.append(replace(moving, text="-"))
        elif moving is None:
            kept.append(character)
        elif character.text.isspace():
            kept.append(replace(character, text="\n"))
            moving = None
        else:
            kept.append(replace(moving, text=character.text))
    return kept


def _pieces(characters: Sequence[_Character]) -> list[Piece]:
    """Split PDFium's text into pieces at line ends, at gaps between columns, and where another box begins."""
    pieces: list[Piece] = []
    for right_to_left, line in _lines(characters):
        part: list[_Character] = []
        seen: _Character | None = None
        for character in line:
            space = character.text.isspace()
            if seen and not space and not right_to_left and _apart(seen, character, part):
                pieces.extend(_piece(part))
                part = []
            part.append(character)
            seen = seen if space else character
        pieces.extend(_piece(part))
    return pieces


def _lines(characters: Sequence[_Character]) -> Iterator[tuple[bool, list[_Character]]]:
    """Yield PDFium's lines, and whether each holds right-to-left script, whose order cannot be read off its boxes."""
    line: list[_Character] = []
    for character in chain(characters, [_Character("\n", True)]):
        if character.text in "\r\n":
            yield any(unicodedata.bidirectional(each.text) in ("R", "AL") for each in line), line
            line = []
        else:
            line.append(character)


def _level(a: _Character, b: _Character) -> bool:
    return min(a.bottom, b.bottom) - max(a.top, b.top) > min(a.height, b.height) / 2


def _word(characters: Iterable[_Character]) -> str:
    return "".join(takewhile(lambda text: not text.isspace(), (character.text for character in characters)))


def _keeps_hyphen(first: str, second: str) -> bool:
    """Whether a hyphen at a line's end is part of the word: GPT-4, Weiler-Jönsson, state-of-the-art."""
    stem = re.sub(r"^\W+", "", first)
    return (
        not second[:1].islower()
        or any(map(str.isdigit, stem))
        or (len(stem) > 1 and stem.isupper())
        or "-" in stem
        or "-" in second
    )


def _apart(last: _Character, character: _Character, line: Sequence[_Character]) -> bool:
    """Whether a character is too far from the last character to belong to the same line of text."""
    height = max(min(last.height, character.height), 1e-3)
    gap = max(character.left - last.right, last.left - character.right)
    distance = min(abs(character.top - last.bottom), abs(character.bottom - last.top))
    if not _level(last, character) and distance > height / 2:
        return True
    if gap <= COLUMN_GAP * height:
        return False
    return character.left < last.left or not BULLET.fullmatch("".join(each.text for each in line).strip())


def _piece(line: Sequence[_Character]) -> Iterator[Piece]:
    text = " ".join("".join(character.text for character in line).split())
    shown = [character for character in line if not character.text.isspace()]
    if shown and text:
        yield Piece(
            min(each.left for each in shown), min(each.top for each in shown),
            max(each.right for each in shown), max(each.bottom for each in shown), text,
        )  # fmt: skip


def _without_shadows(pieces: Sequence[Piece]) -> list[Piece]:
    """Remove texts that are drawn twice, slightly shifted: shadows, or bold letters of a font without them."""
    kept: list[Piece] = []
    cells: set[tuple[str, int, int]] = set()
    for piece in pieces:
        reach = max(SHADOW * (piece.bottom - piece.top), 1e-3)
        across, down = round(piece.left / reach), round(piece.top / reach)
        if not any((piece.text, across + dx, down + dy) in cells for dx in (-1, 0, 1) for dy in (-1, 0, 1)):
            kept.append(piece)
            cells.add((piece.text, across, down))
    return kept
