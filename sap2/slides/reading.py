"""What a person has at hand (decks, agendas, bibliographies, lists of people) as pages of cleaned lines.

Nothing a file refers to is opened or fetched, nothing in it is run, and what would not fit in memory is refused.
"""

import csv
import io
import mmap
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from sap2.errors import InputError
from sap2.slides.cleaning import clean, plain
from sap2.slides.contents import MOST_CHARACTERS, Contents, Options, check_page_count
from sap2.slides.markup import read_content, read_html, read_markdown, read_text
from sap2.slides.ocr import PictureError, read_picture
from sap2.slides.odp import is_opendocument, read_odp
from sap2.slides.pdf import read_pdf
from sap2.slides.pptx import read_pptx

__all__ = ["DEFAULTS", "Deck", "Options", "Page", "read_deck"]

DEFAULTS = Options()
MOST_BYTES = 256 << 20  # of a file
IMAGES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff")
KEYNOTE = "is a Keynote deck, expected slides; in Keynote, File > Export To > PDF or PowerPoint"
PERSON = re.compile(
    r"(full |display |attendee |speaker |author )?names?|speakers?|authors?|attendees?|participants?", re.I
)
GIVEN, FAMILY = re.compile(r"(first|given|fore)[ _-]?name", re.I), re.compile(r"(last|family|sur)[ _-]?name", re.I)
PLACE = re.compile(r"company|affiliation|organi[sz]ation|institut(e|ion)|university|employer|product|city", re.I)


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

    def without_pages(self) -> "Deck":
        """The same as of no page: what it holds is to be expected all the time."""
        return replace(self, pages=tuple(replace(page, number=0) for page in self.pages))


def read_deck(path: Path | str, options: Options = DEFAULTS) -> Deck:
    """Read a PDF, PPTX, ODP, picture, Markdown, HTML, BibTeX, CSV or text file.

    Markdown and HTML have a page for each heading, text one for each form feed; people and references have none.
    Raises: InputError: it cannot be read, is encrypted, or larger than what is read here; the message says which.
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
    if size > MOST_BYTES:
        raise InputError(f"{path}: has {size >> 20} MB, expected at most {MOST_BYTES >> 20}")
    if kind in (".csv", ".bib"):
        return _people(path) if kind == ".csv" else _bibliography(path)
    read = _reader(path, kind, start)
    contents = read(path, options)
    slides = read in (read_pdf, read_pptx, read_odp, _image)
    check_page_count(path, len(contents.pages))
    for number, page in enumerate(contents.pages, start=1):
        if sum(map(len, page)) > MOST_CHARACTERS:
            raise InputError(f"{path}: page {number} has more than {MOST_CHARACTERS:,} characters; no slide has")
    deck = Deck.of(contents.pages, contents.notices, slides)
    if not any(page.lines for page in deck.pages):
        raise InputError(f"{path}: no text was found in it{': ' if deck.notices else ''}{'; '.join(deck.notices)}")
    return deck


def _reader(path: Path, kind: str, start: bytes) -> Callable[[Path, Options], Contents]:
    """The reader of a file's format, which its content tells, and else its name."""
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
    by_name = {".html": read_html, ".htm": read_html, ".md": read_markdown, ".markdown": read_markdown}
    read = by_name.get(kind, read_text)
    return lambda path, _options: read(path)


def _old_office(path: Path) -> str:
    """What an OLE file is, by the names of its streams, and what to do with it."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        if content.find("EncryptedPackage".encode("utf-16-le")) >= 0:
            return "is an encrypted Office file; save it without a password"
        if content.find("PowerPoint Document".encode("utf-16-le")) >= 0:
            return "is a PowerPoint file of before 2007 (.ppt); save it as PPTX or PDF"
    return "is an old or an encrypted Office file; save it as PPTX without a password, or as PDF"


def _image(path: Path, options: Options) -> Contents:
    if options.ocr == "never":
        raise InputError(f"{path}: is a picture, which --ocr never does not read; use --ocr auto")
    try:
        return Contents([read_picture(path)])
    except PictureError as error:
        raise InputError(f"{path}: cannot be read as a picture ({error})") from error


# ---- people ------------------------------------------------------------------------------------------------------


def _people(path: Path) -> Deck:
    """The names in a table's columns of names, of no page; a table without such headings is taken as text."""
    text = read_content(path)
    try:
        dialect: type[csv.Dialect] | csv.Dialect = csv.Sniffer().sniff(text[:10_000], delimiters=",;\t")
    except csv.Error:
        dialect = csv.excel
    try:
        rows = [[plain(cell)[0] for cell in row] for row in csv.reader(io.StringIO(text), dialect)]
    except csv.Error as error:
        raise InputError(f"{path}: is no table that can be read ({error}); export it again as CSV") from error
    if not rows:
        raise InputError(f"{path}: is empty, expected a table with a line of headings")
    heading = rows[0]
    given = next((place for place, name in enumerate(heading) if GIVEN.fullmatch(name)), None)
    family = next((place for place, name in enumerate(heading) if FAMILY.fullmatch(name)), None)
    columns = [place for place, name in enumerate(heading) if PERSON.fullmatch(name) or PLACE.search(name)]
    if not columns and family is None:
        return Deck.of([[cell for row in rows for cell in row]], slides=False)
    names = []
    for row in rows[1:]:
        row = row + [""] * (len(heading) - len(row))
        if family is not None:
            names.append(f"{row[given] if given is not None else ''} {row[family]}")
        for place in columns:  # "Zorvan, Kathryn" is Kathryn Zorvan
            last, _, first = row[place].partition(", ")
            names.append(f"{first} {last}")
    return _named(path, names, "in a column of names")


def _bibliography(path: Path) -> Deck:
    """A bibliography's authors and editors, of no page; titles are its lines."""
    import logging

    import bibtexparser
    from bibtexparser.bparser import BibTexParser
    from bibtexparser.customization import convert_to_unicode, splitname

    logging.getLogger("bibtexparser").setLevel(logging.ERROR)
    parser = BibTexParser(common_strings=True, ignore_nonstandard_types=False, customization=convert_to_unicode)
    names, titles = [], []
    for entry in bibtexparser.loads(read_content(path), parser).entries:
        titles.append(re.sub(r"[{}]", "", entry.get("title", "")))
        for name in re.split(r"\s+and\s+", " and ".join(filter(None, map(entry.get, ("author", "editor"))))):
            parts = splitname(" ".join(name.split()), strict_mode=False) if name.strip() else {}
            names.append(" ".join(word for part in ("first", "von", "last") for word in parts.get(part, ())))
    names = [re.sub(r"[{}\\]", "", name) for name in names if name != "others"]
    return _named(path, names, "author", titles)


def _named(path: Path, names: Sequence[str], reason: str, titles: Sequence[str] = ()) -> Deck:
    names = [name for name in dict.fromkeys(plain(name)[0] for name in names) if name]
    if not names and not any(titles):
        raise InputError(f"{path}: no names were found in it")
    (page,), notices = clean([list(titles)])
    # A name's single words are candidates too.
    return Deck((Page(0, (*page, *names), tuple(names), reason),), tuple(notices), slides=False)
