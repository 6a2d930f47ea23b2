"""Reading of decks, agendas, bibliographies and lists of people as pages of cleaned lines.

References in files are never opened or fetched, macros never run, and files above the size limits are rejected.
"""

import mmap
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from sap2.errors import InputError
from sap2.slides.cleaning import clean
from sap2.slides.contents import MAX_CHARACTERS, Contents, Options, check_page_count
from sap2.slides.markup import read_html, read_markdown, read_text
from sap2.slides.ocr import PictureError, read_picture
from sap2.slides.odp import is_opendocument, read_odp
from sap2.slides.pdf import read_pdf
from sap2.slides.people import People, read_people
from sap2.slides.pptx import read_pptx

__all__ = ["DEFAULTS", "Deck", "Options", "Page", "read_deck"]

DEFAULTS = Options()
MAX_BYTES = 256 << 20  # of a file
IMAGES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff")
KEYNOTE = "is a Keynote deck, expected slides; in Keynote, File > Export To > PDF or PowerPoint"


@dataclass(frozen=True)
class Page:
    """A page: its number from 1 on, its lines in reading order, and the names that its file marks as names.

    Number 0 holds content that belongs to no page.
    """

    number: int
    lines: tuple[str, ...]
    given: tuple[str, ...] = ()
    reason: str = "given"  # of the names


@dataclass(frozen=True)
class Deck:
    """Pages, and notices of how they were read.

    Args:
        slides: Whether the format holds slides (PDF, PPTX, ODP, a picture). Text may be a deck, or accompany it.
    """

    pages: tuple[Page, ...]
    notices: tuple[str, ...] = ()
    slides: bool = True

    @classmethod
    def of(cls, pages: Sequence[Sequence[str]], notices: Sequence[str] = (), slides: bool = True) -> "Deck":
        """Make a deck of the lines of its pages, after cleaning."""
        cleaned, more = clean(pages)
        numbered = (Page(number, tuple(page)) for number, page in enumerate(cleaned, start=1))
        return cls(tuple(numbered), (*notices, *more), slides)

    @classmethod
    def of_people(cls, listed: People) -> "Deck":
        """Make a deck of a list of people: a page 0 for each reason of its names, the first with the lines of text."""
        (lines,), notices = clean([list(listed.lines)])
        pages: list[Page] = []
        for reason in dict.fromkeys([reason for _, reason in listed.names] or ["given"]):
            names = tuple(name for name, why in listed.names if why == reason)
            pages.append(
                Page(0, (*(() if pages else lines), *names), names, reason)
            )  # names as lines: their single words count
        return cls(tuple(pages), (*listed.notices, *notices), slides=False)

    def without_pages(self) -> "Deck":
        """Return a copy whose content belongs to no page and is expected during the entire talk."""
        return replace(self, pages=tuple(replace(page, number=0) for page in self.pages))


def read_deck(path: Path | str, options: Options = DEFAULTS) -> Deck:
    """Read a PDF, PPTX, ODP, picture, Markdown, HTML or text file, or a list of people (see `sap2.slides.people`).

    Headings separate the pages of Markdown and HTML, form feeds those of text; people and references have no pages.

    Raises: InputError: it cannot be read, is encrypted, or exceeds a size limit.
    """
    path = Path(path)
    kind = path.suffix.lower()
    try:
        size = path.stat().st_size
        start = b"" if path.is_dir() else path.open("rb").read(128)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); correct the path") from error
    if path.is_dir() and kind == ".key":
        raise InputError(f"{path}: {KEYNOTE}")
    if path.is_dir() or size == 0:
        raise InputError(f"{path}: {'is a folder' if path.is_dir() else 'is empty'}, expected slides or text")
    if size > MAX_BYTES:
        raise InputError(f"{path}: has {size >> 20} MB, expected at most {MAX_BYTES >> 20}")
    read = _reader(path, kind, start)
    slides = read in (read_pdf, read_pptx, read_odp, _image)
    if not slides and (listed := read_people(path)) is not None:
        return Deck.of_people(listed)
    contents = read(path, options)
    check_page_count(path, len(contents.pages))
    for number, page in enumerate(contents.pages, start=1):
        if sum(map(len, page)) > MAX_CHARACTERS:
            raise InputError(f"{path}: page {number} has more than {MAX_CHARACTERS:,} characters, which no slide has")
    deck = Deck.of(contents.pages, contents.notices, slides)
    if not any(page.lines for page in deck.pages):
        raise InputError(f"{path}: holds no text{': ' if deck.notices else ''}{'; '.join(deck.notices)}")
    return deck


def _reader(path: Path, kind: str, start: bytes) -> Callable[[Path, Options], Contents]:
    """Return the reader of a file's format, which is detected from its content, or else from its name."""
    if start.startswith(b"%PDF"):
        return read_pdf
    if start.startswith(b"PK"):
        if kind == ".key":
            raise InputError(f"{path}: {KEYNOTE}")
        return read_odp if is_opendocument(start) or kind == ".odp" else read_pptx
    if start.startswith(b"\xd0\xcf\x11\xe0"):
        raise InputError(f"{path}: {_old_office(path)}")
    if kind in IMAGES:
        return _image
    if b"<office:document" in start or kind == ".fodp":
        raise InputError(f"{path}: is a flat OpenDocument file; save it as ODP, or export it as PDF")
    by_name: dict[str, Callable[[Path], Contents]] = {
        ".html": read_html,
        ".htm": read_html,
        ".md": read_markdown,
        ".markdown": read_markdown,
    }
    read = by_name.get(kind, read_text)
    return lambda path, _options: read(path)


def _old_office(path: Path) -> str:
    """Describe an OLE file by the names of its streams, and how to convert it."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        if content.find("EncryptedPackage".encode("utf-16-le")) >= 0:
            return "is an encrypted Office file; save it without a password"
        if content.find("PowerPoint Document".encode("utf-16-le")) >= 0:
            return "is a PowerPoint file from before 2007 (.ppt); save it as PPTX or PDF"
    return "is an old or an encrypted Office file; save it as PPTX without a password, or as PDF"


def _image(path: Path, options: Options) -> Contents:
    if options.ocr == "never":
        raise InputError(f"{path}: is a picture, which --ocr never does not read; use --ocr auto")
    try:
        return Contents([read_picture(path)])
    except PictureError as error:
        raise InputError(f"{path}: cannot be read as a picture ({error})") from error
