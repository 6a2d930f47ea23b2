"""Repair of typeset text: accents separate from their letters, names split between lines, and garbage."""

import re
import unicodedata
from collections.abc import Collection, Sequence
from dataclasses import replace

from sap2.slides.layout import Piece

__all__ = ["ACCENTS", "composed", "is_contraction", "is_garbage", "join_wrapped_names"]

# Spacing accents of fonts without accented letters (LaTeX's OT1), and their combining equivalents.
COMBINING = "\u0301\u0300\u0308\u0302\u0303\u0304\u0306\u0307\u030a\u030c\u030b\u0327\u0328"
ACCENTS = dict(zip("´`¨ˆ˜¯˘˙˚ˇ˝¸˛", COMBINING, strict=True))
CONTRACTIONS = frozenset("s t d m re ve ll".split())  # endings after an acute accent that was typed as an apostrophe
UNMAPPED = 0.15  # share of characters without a Unicode mapping above which a text is garbage
FEW = 20  # minimum number of words for a judgement of their spelling
KNOWN = 0.05  # share in English word lists below which words are garbage; Finnish has 0.13, codes at most 0.02
COMMON = 5.0  # Zipf frequency above which a capitalised word begins a sentence rather than ends a name
NAME_WORD = re.compile(r"[^\W\d_](?:[^\W\d_]|[’'-])+|[^\W\d_]\.")  # a word of a name, or an initial
SENTENCE = re.compile(
    r"\b[^\W\d_A-Z](?:[^\W\d_A-Z]){3,}|,$"
)  # what titles do not have: they capitalise all but short words
NAME_WORDS = 3  # maximum words of a name before the line's end
SPACING = 1.2  # maximum distance of two lines of a paragraph, in heights
SAME_SIZE = 0.25  # maximum relative difference in height of two lines of a paragraph


def composed(letter: str, accent: str) -> str | None:
    """Compose a letter with an accent into a single character; None = there is no such character.

    >>> composed("e", "´"), composed("\u0131", "´"), composed("x", "´")
    ('é', 'í', None)
    """
    letter = {"\u0131": "i", "\u0237": "j"}.get(letter, letter)
    accented = unicodedata.normalize("NFC", letter + ACCENTS[accent])
    return accented if letter.isalpha() and len(accented) == 1 else None


def is_contraction(after: str) -> bool:
    """Whether an accent before this text is an apostrophe, as in it´s, don´t."""
    return re.split(r"[^\w]", after, maxsplit=1)[0].lower() in CONTRACTIONS


def is_garbage(text: str, unmapped: int = 0) -> bool:
    """Whether a text layer does not match its page: a font's own codes, or letters that form no words.

    Args:
        unmapped: Number of its characters that the file maps to no Unicode character.

    >>> is_garbage("Kathryn Zorvan"), is_garbage("\\ue04b\\ue061\\ue074 \\ue05a\\ue06f\\ue072")
    (False, True)
    """
    shown = [char for char in text if not char.isspace()]
    bad = unmapped + sum(char == "\ufffd" or unicodedata.category(char) in ("Co", "Cn") for char in shown)
    if shown and bad > UNMAPPED * len(shown):
        return True
    words = {word for word in re.findall(r"(?<![^\W\d_])[a-z]{4,}(?![^\W\d_])", text)}
    if len(words) < FEW:
        return False
    # The large list also holds words of other languages; for English the small list suffices.
    return all(_known(words, size) < KNOWN * len(words) for size in ("small", "large"))


def _known(words: Collection[str], size: str) -> int:
    from wordfreq import zipf_frequency

    return sum(zipf_frequency(word, "en", wordlist=size) > 0 for word in words)


def join_wrapped_names(lines: Sequence[Piece]) -> list[Piece]:
    """Join lines that break within a person's name, if the text was wrapped because its line was full.

    >>> [line.text for line in join_wrapped_names([
    ...     Piece(0, 0, 90, 10, "thanks to Ann Quaylan, Kathryn"), Piece(0, 12, 80, 22, "Zorvan and Qaylen Brestovic"),
    ...     Piece(0, 24, 30, 34, "Meyer")])]
    ['thanks to Ann Quaylan, Kathryn Zorvan and Qaylen Brestovic', 'Meyer']
    """
    joined: list[Piece] = []
    last: Piece | None = None  # the previous line, before joining
    for line in lines:
        if joined and last is not None and _wrapped(last, line, lines):
            joined[-1] = replace(joined[-1], text=f"{joined[-1].text} {line.text}", bottom=line.bottom)
        else:
            joined.append(line)
        last = line
    return joined


def _wrapped(above: Piece, below: Piece, lines: Sequence[Piece]) -> bool:
    """Whether a name continues on the next line: both halves look like names, and the line above was full."""
    before, after = above.text.split(), re.sub(r"[,.;:)]+$", "", below.text.split()[0])
    if not before or not _in_name(before[-1]) or not _in_name(after) or after.endswith("."):
        return False
    run = len(before)
    while run and _in_name(before[run - 1]):
        run -= 1
    # A wrapped name follows running text; titles and lists of names have a line each.
    if run == 0 or len(before) - run > NAME_WORDS or not SENTENCE.search(" ".join(before[:run])):
        return False
    from wordfreq import zipf_frequency

    if any(
        zipf_frequency(word, "en", wordlist="small") >= COMMON
        for word in (after, before[-1])
        if len(word.strip(".")) > 1
    ):
        return False
    return _same_paragraph(above, below) and _full(above, below, after, lines)


def _in_name(word: str) -> bool:
    return bool(NAME_WORD.fullmatch(word)) and word[0].isupper() and (len(word) == 2 or not word.isupper())


def _same_paragraph(above: Piece, below: Piece) -> bool:
    height = max(above.bottom - above.top, below.bottom - below.top)
    other = min(above.bottom - above.top, below.bottom - below.top)
    return (
        other >= (1 - SAME_SIZE) * height
        and 0 < below.top - above.top <= (1 + SPACING) * height
        and abs(below.left - above.left) <= 3 * height
    )


def _full(above: Piece, below: Piece, word: str, lines: Sequence[Piece]) -> bool:
    """Whether the next line's first word did not fit on the line, given the width of overlapping lines."""
    room = max(line.right for line in lines if line.left < above.right and line.right > above.left)
    letter = (below.right - below.left) / max(len(below.text), 1)
    return above.right + letter * (len(word) + 1) > room
