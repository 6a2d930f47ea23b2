"""The result of reading a file of slides: lines by page, and notices of content that could not be read."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from sap2.errors import InputError

__all__ = ["MAX_CHARACTERS", "MAX_PAGES", "Contents", "OcrMode", "Options", "check_page_count"]

OcrMode = Literal["auto", "always", "never"]

MAX_PAGES = 1000
MAX_CHARACTERS = 100_000  # of a page


@dataclass(frozen=True)
class Options:
    """Options for reading decks.

    Args:
        ocr: `auto` runs OCR on scanned pages, pages whose text layer is garbage, and pictures of PPTX and ODP slides;
            `always` on every PDF page, instead of reading its text layer, and every picture; `never` on nothing.
        notes: Whether to read the speaker's notes of PPTX and ODP as part of their slides.
    """

    ocr: OcrMode = "auto"
    notes: bool = False


@dataclass
class Contents:
    """The lines of each page, and notices; page notices are grouped by reason."""

    pages: list[list[str]] = field(default_factory=list)
    general: list[str] = field(default_factory=list)
    _by_reason: dict[str, list[int]] = field(default_factory=dict)

    def notice(self, page: int, reason: str) -> None:
        """Add a notice about a page; repeating it has no effect."""
        pages = self._by_reason.setdefault(reason, [])
        if page not in pages:
            pages.append(page)

    @property
    def notices(self) -> list[str]:
        """All notices, general ones first.

        >>> contents = Contents(general=["holds macros"])
        >>> for page in (1, 2, 3, 5): contents.notice(page, "a video was left out")
        >>> contents.notices
        ['holds macros', 'pages 1-3, 5: a video was left out']
        """
        return [*self.general, *(f"{_pages(pages)}: {reason}" for reason, pages in self._by_reason.items())]


def _pages(numbers: list[int]) -> str:
    spans: list[tuple[int, int]] = []
    for number in sorted(numbers):
        if spans and number == spans[-1][1] + 1:
            spans[-1] = spans[-1][0], number
        else:
            spans.append((number, number))
    shown = ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in spans)
    return f"page{'s' if len(numbers) > 1 else ''} {shown}"


def check_page_count(path: Path, count: int) -> None:
    """Check that a file has at most MAX_PAGES pages. Raises: InputError."""
    if count > MAX_PAGES:
        raise InputError(
            f"{path}: has {count:,} pages, expected at most {MAX_PAGES:,}; remove the pages that were not shown"
        )
