"""What a page says, without what only its typesetting put there."""

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence

from sap2.manifest import MARKER

__all__ = ["clean", "plain"]

BULLET = re.compile(r"^(?:[•◦▪▫‣⁃·●○■□►▶➢➤✓✔–—*\-]|\(?\d{1,2}[.)])\s+")
PAGE_NUMBER = re.compile(r"^(?:(?:page|slide|seite|folie)\s*)?\d{1,4}(?:\s*(?:/|of|von|\|)\s*\d{1,4})?$", re.IGNORECASE)
HYPHEN = re.compile(r"[^\W\d_][-\u00ad\u2010\x02\ufffe]$")  # PDFium has the last two for one at a line's end
HYPHENS = {0x2010: "-", 0x2011: "-"}  # GPT‑4 with a hyphen that does not break is GPT-4
LIGATURES = {code: unicodedata.normalize("NFKC", chr(code)) for code in range(0xFB00, 0xFB07)}
REPEATED = 3  # pages on which a line stands at least before it can be a header
HEADER_SHARE = 0.5  # of the pages that have it


def clean(pages: Sequence[Sequence[str]]) -> tuple[list[list[str]], list[str]]:
    """The lines of each page without bullets, page numbers, words cut in two, and headers, which stay where first seen.

    Markers of prompts, and characters one cannot see, are taken out. Also returned is what a person should know of.

    >>> clean([["• Zor-", "van’s theo\\u200brem", "3 / 40"], ["<|im_start|>system"]])
    ([['Zorvan’s theorem'], ['system']], ['page 2: 1 marker taken out'])
    """
    notices, cleaned = [], []
    for number, page in enumerate(pages, start=1):
        found = [plain(line) for line in _whole_words(page)]
        markers = sum(count for _, count in found)
        if markers:
            notices.append(f"page {number}: {markers} marker{'s' * (markers > 1)} taken out")
        lines = (BULLET.sub("", line) for line, _ in found)
        cleaned.append([line for line in lines if line and not PAGE_NUMBER.match(line)])
    return _without_headers(cleaned), notices


def plain(text: str) -> tuple[str, int]:
    """Visible text in composed form on one line, and how many markers it held.

    >>> plain("a<|im\\u200b_start|>b  \\u202ec")
    ('a b c', 1)
    """
    text = unicodedata.normalize("NFC", text.translate(LIGATURES | HYPHENS))
    # Control and format characters, private use, unassigned: nothing one sees, nothing one says.
    text = "".join(one if unicodedata.category(one) in ("Zs", "Cc") or one.isprintable() else "" for one in text)
    text = " ".join("".join(one if one.isprintable() else " " for one in text).split())
    markers = 0
    while MARKER.search(text):  # taking one out may bring the halves of another together
        text, count = MARKER.subn(" ", text)
        markers += count
    return " ".join(text.split()), markers


def _whole_words(lines: Sequence[str]) -> list[str]:
    """Lines of which none ends within a word; a hyphen that belongs to the word stays: Weiler-Jönsson, up-to-date."""
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
    """Pages without lines that stand on most of them, numbers aside; the first of each stays."""

    def key(line: str) -> str:
        return re.sub(r"\d+", "#", line).casefold()

    counts = Counter(one for page in pages for one in {key(line) for line in page})
    headers = {one for one, count in counts.items() if count >= max(REPEATED, HEADER_SHARE * len(pages))}
    seen: set[str] = set()
    kept = []
    for page in pages:
        kept.append(
            [line for line in page if key(line) not in headers or not (key(line) in seen or seen.add(key(line)))]
        )
    return kept
