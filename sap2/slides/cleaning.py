"""Cleaning of a page's lines: bullets, page numbers, hyphenation, repeated headers and prompt markers are removed."""

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence

from sap2.manifest import MARKER

__all__ = ["clean", "plain"]

BULLET = re.compile(r"^(?:[•◦▪▫‣⁃·●○■□►▶➢➤✓✔–—*\-]|\(?\d{1,2}[.)])\s+")
PAGE_NUMBER = re.compile(r"^(?:(?:page|slide|seite|folie)\s*)?\d{1,4}(?:\s*(?:/|of|von|\|)\s*\d{1,4})?$", re.IGNORECASE)
HYPHEN = re.compile(r"[^\W\d_][-\u00ad\u2010\x02\ufffe]$")  # PDFium writes the last two for a hyphen at a line's end
HYPHENS = {0x2010: "-", 0x2011: "-"}  # GPT‑4 with a non-breaking hyphen becomes GPT-4
LIGATURES = {code: unicodedata.normalize("NFKC", chr(code)) for code in range(0xFB00, 0xFB07)}
REPEATED = 3  # minimum number of pages that a header occurs on
HEADER_SHARE = 0.5  # minimum share of the pages that a header occurs on


def clean(pages: Sequence[Sequence[str]]) -> tuple[list[list[str]], list[str]]:
    """Remove bullets, page numbers and repeated headers from pages, and join hyphenated words.

    A header is kept on the first page that has it. Prompt markers and invisible characters are removed.

    Returns: The lines of each page, and notices for the user.

    >>> clean([["• Zor-", "van’s theo\\u200brem", "3 / 40"], ["<|im_start|>system"]])
    ([['Zorvan’s theorem'], ['system']], ['page 2: 1 marker removed'])
    """
    notices, cleaned = [], []
    for number, page in enumerate(pages, start=1):
        visible = [plain(line) for line in _dehyphenated(page)]
        markers = sum(count for _, count in visible)
        if markers:
            notices.append(f"page {number}: {markers} marker{'s' * (markers > 1)} removed")
        lines = (BULLET.sub("", line) for line, _ in visible)
        cleaned.append([line for line in lines if line and not PAGE_NUMBER.match(line)])
    return _without_headers(cleaned), notices


def plain(text: str) -> tuple[str, int]:
    """Return the visible text in composed form on a single line, and the number of prompt markers removed from it.

    >>> plain("a<|im\\u200b_start|>b  \\u202ec")
    ('a b c', 1)
    """
    text = unicodedata.normalize("NFC", text.translate(LIGATURES | HYPHENS))
    # Control and format characters, private use, unassigned: neither visible nor spoken.
    text = "".join(char if unicodedata.category(char) in ("Zs", "Cc") or char.isprintable() else "" for char in text)
    text = " ".join("".join(char if char.isprintable() else " " for char in text).split())
    markers = 0
    while MARKER.search(text):  # removing a marker may join the halves of another
        text, count = MARKER.subn(" ", text)
        markers += count
    return " ".join(text.split()), markers


def _dehyphenated(lines: Sequence[str]) -> list[str]:
    """Join words that are hyphenated at a line's end; keep hyphens of the word itself: Weiler-Jönsson, up-to-date."""
    joined: list[str] = []
    for line in lines:
        line = line.strip()
        cut = joined and HYPHEN.search(joined[-1])
        if cut and line[:1].isupper() and re.search(r"(?<![^\W_])[^\W\d_a-z][^\W\d_]+-$", joined[-1]):
            joined[-1] += line
        elif cut and line[:1].islower():
            compound = "-" in line.split()[0]
            joined[-1] = joined[-1][:-1] + ("-" if compound else "") + line
        else:
            joined.append(line)
    return joined


def _without_headers(pages: list[list[str]]) -> list[list[str]]:
    """Remove lines that occur on most pages, ignoring their numbers; keep the first occurrence."""

    def key(line: str) -> str:
        return re.sub(r"\d+", "#", line).casefold()

    counts = Counter(header for page in pages for header in {key(line) for line in page})
    headers = {header for header, count in counts.items() if count >= max(REPEATED, HEADER_SHARE * len(pages))}
    seen: set[str] = set()
    kept: list[list[str]] = []
    for page in pages:
        kept.append([])
        for line in page:
            header = key(line)
            if header not in seen:
                kept[-1].append(line)
            if header in headers:
                seen.add(header)
    return kept
