"""What typesetting does to words, undone: accents apart from their letters, names that a line's end parts, garbage."""

import re
import unicodedata
from collections.abc import Collection, Sequence
from dataclasses import replace

from sap2.slides.layout import Piece

__all__ = ["ACCENTS", "composed", "is_contraction", "is_garbage", "whole_names"]

# Spacing accents as fonts without accented letters have them (LaTeX's OT1), and what combines with a letter.
COMBINING = "\u0301\u0300\u0308\u0302\u0303\u0304\u0306\u0307\u030a\u030c\u030b\u0327\u0328"
ACCENTS = dict(zip("´`¨ˆ˜¯˘˙˚ˇ˝¸˛", COMBINING, strict=True))
CONTRACTIONS = frozenset("s t d m re ve ll".split())  # what follows an acute accent that was typed for an apostrophe
MAPPED = 0.15  # share of characters without a meaning from which a text is garbage
FEW = 20  # words below which nothing is said of their spelling
KNOWN = 0.05  # share of them in English lists below which they are garbage; Finnish has 0.13, codes at most 0.02
COMMON = 5.0  # Zipf frequency from which a capitalised word begins a sentence rather than ends a name
NAME_WORD = re.compile(r"[^\W\d_](?:[^\W\d_]|[’'-])+|[^\W\d_]\.")  # of a name: a word, or an initial
SENTENCE = re.compile(
    r"\b[^\W\d_A-Z](?:[^\W\d_A-Z]){3,}|,$"
)  # what titles do not have: they capitalise all but short words
NAME_WORDS = 3  # that stand before the line's end, at most
SPACING = 1.2  # heights between two lines of a paragraph, at most
SAME_SIZE = 0.25  # by how much the heights of two lines of a paragraph may differ


def composed(letter: str, accent: str) -> str | None:
    """A letter with an accent as one character; None = there is no such letter.

    >>> composed("e", "´"), composed("\u0131", "´"), composed("x", "´")
    ('é', 'í', None)
    """
    letter = {"\u0131": "i", "\u0237": "j"}.get(letter, letter)
    whole = unicodedata.normalize("NFC", letter + ACCENTS[accent])
    return whole if letter.isalpha() and len(whole) == 1 else None


def is_contraction(after: str) -> bool:
    """Whether an accent before this text stands for an apostrophe: that of it´s, don´t."""
    return re.split(r"[^\w]", after, maxsplit=1)[0].lower() in CONTRACTIONS


def is_garbage(text: str, unmapped: int = 0) -> bool:
    """Whether a text layer does not say what its page shows: a font's own codes, or letters that form no words.

    Args:
        unmapped: How many of its characters the file itself gives no meaning.

    >>> is_garbage("Kathryn Zorvan"), is_garbage("\\ue04b\\ue061\\ue074 \\ue05a\\ue06f\\ue072")
    (False, True)
    """
    shown = [one for one in text if not one.isspace()]
    bad = unmapped + sum(one == "\ufffd" or unicodedata.category(one) in ("Co", "Cn") for one in shown)
    if shown and bad > MAPPED * len(shown):
        return True
    words = {word for word in re.findall(r"(?<![^\W\d_])[a-z]{4,}(?![^\W\d_])", text)}
    if len(words) < FEW:
        return False
    # The large list is of texts that hold every other language's words, too; of English the small one knows enough.
    return all(_known(words, size) < KNOWN * len(words) for size in ("small", "large"))


def _known(words: Collection[str], size: str) -> int:
    from wordfreq import zipf_frequency

    return sum(zipf_frequency(word, "en", wordlist=size) > 0 for word in words)


def whole_names(lines: Sequence[Piece]) -> list[Piece]:
    """Lines of which none ends within a person's name, where the text was wrapped because its line was full.

    >>> [line.text for line in whole_names([
    ...     Piece(0, 0, 90, 10, "thanks to Ann Quaylan, Kathryn"), Piece(0, 12, 80, 22, "Zorvan and Qaylen Brestovic"),
    ...     Piece(0, 24, 30, 34, "Meyer")])]
    ['thanks to Ann Quaylan, Kathryn Zorvan and Qaylen Brestovic', 'Meyer']
    """
    whole: list[Piece] = []
    last: Piece | None = None  # the line that the last whole one ends with
    for line in lines:
        if whole and last is not None and _wrapped(last, line, lines):
            whole[-1] = replace(whole[-1], text=f"{whole[-1].text} {line.text}", bottom=line.bottom)
        else:
            whole.append(line)
        last = line
    return whole


def _wrapped(above: Piece, below: Piece, lines: Sequence[Piece]) -> bool:
    """Whether a name goes on from one line to the next: both halves look like one, and the line above was full."""
    before, after = above.text.split(), re.sub(r"[,.;:)]+$", "", below.text.split()[0])
    if not before or not _in_name(before[-1]) or not _in_name(after) or after.endswith("."):
        return False
    run = len(before)
    while run and _in_name(before[run - 1]):
        run -= 1
    # Beside a wrapped name there is other text, unlike a title's: titles and single names have a line each.
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
    """Whether the next line's first word had no room: as far as the text beside it, above and below it, reaches."""
    room = max(line.right for line in lines if line.left < above.right and line.right > above.left)
    letter = (below.right - below.left) / max(len(below.text), 1)
    return above.right + letter * (len(word) + 1) > room
