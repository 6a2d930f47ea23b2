"""What a person has at hand (decks, agendas, bibliographies, lists of people) as pages of cleaned lines.

Nothing a file refers to is opened or fetched, nothing in it is run, and what would not fit in memory is refused.
"""

import io
import re
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from html.parser import HTMLParser
from pathlib import Path

import numpy as np

from sap2.errors import InputError
from sap2.slides.cleaning import clean
from sap2.slides.layout import Piece, lines
from sap2.slides.people import People, read_people

__all__ = ["Deck", "Page", "read_deck"]

MOST_BYTES = 256 << 20  # of a file
MOST_PAGES = 1000
MOST_CHARACTERS = 100_000  # of a page
MOST_PIXELS = 50_000_000  # of a picture
MOST_UNPACKED = 1 << 30  # bytes, of a PPTX
MOST_XML = 16 << 20  # of one of its XML parts: in memory it is five to ten times that
MOST_XML_IN_ALL = 128 << 20
BYTE_ORDERS = (b"\xef\xbb\xbf", b"\xfe\xff", b"\xff\xfe", b"\x4c\x6f\xa7\x94")  # of UTF-8, UTF-16 and EBCDIC
OCR_PIXELS = 1600  # of a page's longer side
SURE = 0.5  # least confidence of a line that OCR read
IMAGES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff")


@dataclass(frozen=True)
class Page:
    """A page: its number from 1 on, its lines in reading order, and names that its file says are names.

    Number 0 is that of what is of no page.
    """

    number: int
    lines: tuple[str, ...]
    given: tuple[str, ...] = ()
    reason: str = "given"  # why they are


@dataclass(frozen=True)
class Deck:
    """Pages, and what a person should know of how they were read.

    Args:
        slides: Whether it was made to be shown: a PDF, PPTX or picture. Text may be a deck, or stand beside one.
    """

    pages: tuple[Page, ...]
    notices: tuple[str, ...] = ()
    slides: bool = True

    @classmethod
    def of(cls, pages: Sequence[Sequence[str]], notices: Sequence[str] = (), slides: bool = True) -> "Deck":
        """A deck of the lines of its pages."""
        cleaned, more = clean(pages)
        numbered = (Page(number, tuple(page)) for number, page in enumerate(cleaned, start=1))
        return cls(tuple(numbered), (*notices, *more), slides)

    @classmethod
    def of_people(cls, listed: People) -> "Deck":
        """What a list of people holds, of no page: a page for each reason of its names, the first with the text."""
        (lines,), notices = clean([list(listed.lines)])
        pages = []
        for reason in dict.fromkeys([reason for _, reason in listed.names] or ["given"]):
            names = tuple(name for name, why in listed.names if why == reason)
            pages.append(Page(0, (*(() if pages else lines), *names), names, reason))  # single words of names count too
        return cls(tuple(pages), (*listed.notices, *notices), slides=False)

    def without_pages(self) -> "Deck":
        """The same as of no page: what it holds is to be expected all the time."""
        return replace(self, pages=tuple(replace(page, number=0) for page in self.pages))


@dataclass
class _Raw:
    pages: list[list[str]] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)


def read_deck(path: Path | str) -> Deck:
    """Read a PDF, PPTX, picture, Markdown, HTML or text file, or a list of people (see `sap2.slides.people`).

    Markdown and HTML have a page for each heading, text one for each form feed; people and references have none.
    Raises: InputError: it cannot be read, is encrypted, or larger than what is read here; the message says which.
    """
    path = Path(path)
    kind = path.suffix.lower()
    try:
        size = path.stat().st_size
        start = b"" if path.is_dir() else path.open("rb").read(8)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); correct the path") from error
    if path.is_dir() or size == 0:
        raise InputError(f"{path}: {'is a folder' if path.is_dir() else 'is empty'}, expected slides or text")
    if size > MOST_BYTES:
        raise InputError(f"{path}: has {size >> 20} MB, expected at most {MOST_BYTES >> 20}")
    if start.startswith(b"%PDF"):
        read: Callable[[Path], _Raw] = _pdf
    elif start.startswith(b"PK"):
        read = _pptx
    elif start.startswith(b"\xd0\xcf\x11\xe0"):
        raise InputError(
            f"{path}: is an old or an encrypted Office file; save it as PPTX without a password, or as PDF"
        )
    elif kind in IMAGES:
        read = _image
    elif (listed := read_people(path)) is not None:
        return Deck.of_people(listed)
    else:
        read = {".html": _html, ".htm": _html, ".md": _markdown, ".markdown": _markdown}.get(kind, _text)
    raw = read(path)
    slides = read in (_pdf, _pptx, _image)
    if len(raw.pages) > MOST_PAGES:
        raise _too_many(path, len(raw.pages))
    for number, page in enumerate(raw.pages, start=1):
        if sum(map(len, page)) > MOST_CHARACTERS:
            raise InputError(f"{path}: page {number} has more than {MOST_CHARACTERS:,} characters; no slide has")
    deck = Deck.of(raw.pages, raw.notices, slides)
    if not any(page.lines for page in deck.pages):
        raise InputError(f"{path}: no text was found in it{': ' if raw.notices else ''}{'; '.join(raw.notices)}")
    return deck


def _too_many(path: Path, count: int) -> InputError:
    return InputError(
        f"{path}: has {count:,} pages, expected at most {MOST_PAGES:,}; cut it to the part that was shown"
    )


# ---- PDF and pictures --------------------------------------------------------------------------------------------


def _pdf(path: Path) -> _Raw:
    import pypdfium2

    try:
        document = pypdfium2.PdfDocument(path)
    except pypdfium2.PdfiumError as error:
        if "password" in str(error).lower() or "security" in str(error).lower():
            raise InputError(f"{path}: is encrypted; save it without a password") from error
        raise InputError(f"{path}: is no PDF that can be read ({error}); export it again") from error
    raw = _Raw()
    with document:
        if len(document) > MOST_PAGES:
            raise _too_many(path, len(document))
        for number in range(len(document)):
            try:
                page = document[number]
                raw.pages.append(_pdf_text(page) or _scanned(page, number + 1, raw.notices))
                page.close()
            except pypdfium2.PdfiumError as error:
                raw.pages.append([])
                raw.notices.append(f"page {number + 1} cannot be read ({error})")
    return raw


def _pdf_text(page) -> list[str]:
    text, height = page.get_textpage(), page.get_height()
    if text.count_chars() > MOST_CHARACTERS:
        return [text.get_text_range(0, MOST_CHARACTERS + 1)]  # too many: refused by the caller
    pieces = []
    for place in range(text.count_rects()):
        left, bottom, right, top = text.get_rect(place)
        content = text.get_text_bounded(left, bottom, right, top).strip()
        if content:
            pieces.append(Piece(left, height - top, right, height - bottom, " ".join(content.splitlines())))
    return lines(pieces)


def _scanned(page, number: int, notices: list[str]) -> list[str]:
    """The lines of a page without text, as OCR reads them."""
    from pypdfium2.raw import FPDF_PAGEOBJ_IMAGE

    images = list(page.get_objects(filter=[FPDF_PAGEOBJ_IMAGE]))
    for image in images:
        width, height = image.get_px_size()
        if width * height > MOST_PIXELS:
            notices.append(f"page {number}: left out a picture of {width} × {height} pixels")
            return []
    if not any(True for _ in page.get_objects()):
        return []
    width, height = page.get_size()
    return _ocr(page.render(scale=OCR_PIXELS / max(width, height)).to_numpy()[..., :3])


def _image(path: Path) -> _Raw:
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as image:
            return _Raw([_picture(image)])
    except (UnidentifiedImageError, OSError, ValueError, Image.DecompressionBombError) as error:
        raise InputError(f"{path}: cannot be read as a picture ({error})") from error


def _picture(image) -> list[str]:
    if image.width * image.height > MOST_PIXELS:
        raise ValueError(f"{image.width} × {image.height} pixels, expected at most {MOST_PIXELS:,}")
    image.draft("RGB", (OCR_PIXELS, OCR_PIXELS))
    shown = image.convert("RGB")
    shown.thumbnail((OCR_PIXELS, OCR_PIXELS))
    return _ocr(np.asarray(shown)[..., ::-1])  # RapidOCR takes BGR, as OpenCV does


def _ocr(pixels: np.ndarray) -> list[str]:
    found = _reader()(np.ascontiguousarray(pixels))
    if found.boxes is None:
        return []
    pieces = []
    for corners, text, confidence in zip(found.boxes.tolist(), found.txts, found.scores, strict=True):
        if float(confidence) >= SURE:
            across, down = zip(*corners, strict=True)
            pieces.append(Piece(min(across), min(down), max(across), max(down), text))
    return lines(pieces)


@lru_cache(maxsize=1)
def _reader():
    from rapidocr import RapidOCR

    return RapidOCR(params={"Global.log_level": "error"})


# ---- PPTX --------------------------------------------------------------------------------------------------------


def _pptx(path: Path) -> _Raw:
    from lxml.etree import LxmlError
    from pptx import Presentation
    from pptx.exc import PythonPptxError

    raw = _Raw()
    try:
        with zipfile.ZipFile(path) as archive:
            unpacked = sum(member.file_size for member in archive.infolist())
            if unpacked > MOST_UNPACKED:
                raise InputError(f"{path}: unpacks to {unpacked >> 20} MB, expected at most {MOST_UNPACKED >> 20}")
            _check_xml(archive, path)
            if any(member.filename.endswith("vbaProject.bin") for member in archive.infolist()):
                raw.notices.append("holds macros, which were not run")
        slides = Presentation(str(path)).slides
        if len(slides) > MOST_PAGES:
            raise _too_many(path, len(slides))
        for number, slide in enumerate(slides, start=1):
            if any(one.is_external for one in slide.part.rels.values()):
                raw.notices.append(f"page {number}: has links to elsewhere, which were not followed")
            pieces = [piece for shape in slide.shapes for piece in _shape(shape)]
            raw.pages.append([line for block in lines(pieces, "\v") for line in block.split("\v")])
            if not any(raw.pages[-1]):
                raw.pages[-1] = _pictures(slide.shapes, number, raw.notices)
    except (
        zipfile.BadZipFile, zlib.error, PythonPptxError, LxmlError, RuntimeError, EOFError, KeyError, ValueError,
        AttributeError, OSError,
    ) as error:  # fmt: skip
        raise InputError(f"{path}: is no PPTX that can be read ({error}); export it as PDF") from error
    return raw


def _check_xml(archive: zipfile.ZipFile, path: Path) -> None:
    """Raises: InputError: what would be parsed is larger than any deck's; pictures and videos are not parsed."""
    sizes = {member.filename: member.file_size for member in archive.infolist() if _may_be_xml(archive, member)}
    for name, size in sizes.items():
        if size > MOST_XML:
            raise InputError(f"{path}: {name[:80]!r} has {size >> 20} MB, expected at most {MOST_XML >> 20} of text")
    if (whole := sum(sizes.values())) > MOST_XML_IN_ALL:
        raise InputError(f"{path}: has {whole >> 20} MB of text, expected at most {MOST_XML_IN_ALL >> 20}")


def _may_be_xml(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> bool:
    """By its content: a part's name says nothing, as another part of the file says what is parsed."""
    with archive.open(member) as part:
        start = part.read(64)
    begun = start.lstrip(b"\0 \t\r\n")
    return not begun or begun[:1] == b"<" or start.startswith(BYTE_ORDERS)


def _shape(shape) -> Iterator[Piece]:
    """A shape's text as one piece, its paragraphs parted by vertical tabs; those of a group one by one."""
    if hasattr(shape, "shapes"):
        for member in shape.shapes:
            yield from _shape(member)
        return
    paragraphs: list[str] = []
    if getattr(shape, "has_table", False) and shape.has_table:
        paragraphs = [cell.text for row in shape.table.rows for cell in row.cells]
    elif shape.has_text_frame:
        paragraphs = [paragraph.text for paragraph in shape.text_frame.paragraphs]
    if text := "\v".join(filter(str.strip, paragraphs)):
        left, top = shape.left or 0, shape.top or 0
        yield Piece(left, top, left + (shape.width or 1), top + (shape.height or 1), text)


def _pictures(shapes, number: int, notices: list[str]) -> list[str]:
    """What OCR reads in the pictures of a slide without text."""
    from PIL import Image

    found = []
    for shape in shapes:
        try:
            content = shape.image.blob
        except (AttributeError, ValueError):  # no picture, or one that is linked
            continue
        try:
            with Image.open(io.BytesIO(content)) as image:
                found += _picture(image)
        except (OSError, ValueError, Image.DecompressionBombError) as error:
            notices.append(f"page {number}: left out a picture ({error})")
    return found


# ---- text --------------------------------------------------------------------------------------------------------


def _content(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path}: neither slides nor UTF-8 text ({error.reason} at byte {error.start}); expected PDF, PPTX, a "
            "picture, or text saved as UTF-8"
        ) from error


def _text(path: Path) -> _Raw:
    return _Raw([page.splitlines() for page in _content(path).split("\f")])


def _markdown(path: Path) -> _Raw:
    """A page for each heading or rule; of links, pictures and emphasis the words are kept."""
    text = re.sub(r"```.*?```|<!--(?:(?!<!--).)*?-->", "", _content(path), flags=re.DOTALL)
    # What opens cannot hold another opening: else a page of brackets takes minutes.
    text = re.sub(r"!?\[([^\[\]]*)\]\([^()]*\)", r"\1", text)
    text = re.sub(r"<[^<|>\s][^<|>]*>|[*`]+|(?<!\w)_+|(?<!_)_+(?!\w)", "", text)
    pages = re.split(r"^(?:-{3,}|(?=#{1,6} ))[ \t]*", text, flags=re.MULTILINE)
    return _Raw([[line.lstrip("#| ") for line in page.splitlines()] for page in pages if page.strip()])


class _Html(HTMLParser):
    """Text by heading; scripts, styles and what they would load are not looked at."""

    UNSEEN = frozenset(["script", "style", "template", "noscript", "head", "title", "svg"])
    INLINE = frozenset("a abbr b bdi cite code em i mark q small span strong sub sup u wbr".split())

    def __init__(self) -> None:
        super().__init__()
        self.pages: list[list[str]] = [[""]]
        self._unseen: list[str] = []

    def handle_starttag(self, tag: str, attrs) -> None:
        if tag in self.UNSEEN:
            self._unseen.append(tag)
        elif re.fullmatch(r"h[1-3]", tag):
            self.pages.append([""])
        elif tag not in self.INLINE:
            self.pages[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        if tag in self._unseen:
            del self._unseen[self._unseen.index(tag) :]
        elif tag not in self.INLINE:
            self.pages[-1].append("")

    def handle_data(self, data: str) -> None:
        if not self._unseen:
            self.pages[-1][-1] += data


def _html(path: Path) -> _Raw:
    parser = _Html()
    parser.feed(_content(path))
    return _Raw([page for page in parser.pages if any(map(str.strip, page))])
