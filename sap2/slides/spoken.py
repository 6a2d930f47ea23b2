"""Spoken forms of keywords that are not pronounced as spelled: GPT-4 is "GPT four", SQL is "sequel"."""

import re
import unicodedata

__all__ = ["spoken_form"]

# Words with an irregular pronunciation; words that are spelled out letter by letter need no entry.
PRONUNCIATIONS = {
    "ascii": "askee", "c++": "C plus plus", "c#": "C sharp", "f#": "F sharp", "gif": "jif", "gui": "gooey",
    "ieee": "I triple E", "ipv4": "IP version four", "ipv6": "IP version six", "jpeg": "jay peg", "json": "jason",
    "mysql": "my sequel", "nginx": "engine X", "png": "ping", "postgresql": "postgres", "q&a": "Q and A",
    "scsi": "scuzzy", "sql": "sequel", "sqlite": "sequel lite", "wysiwyg": "wizzy wig", "yaml": "yammel",
}  # fmt: skip
UNITS = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen"
).split()
TENS = "zero ten twenty thirty forty fifty sixty seventy eighty ninety".split()
PIECE = re.compile(r"\d+|&|\+|#|(?<=\d)\.(?=\d)|(?:[^\W\d]|[’'.]|[\u0300-\u036f])+")
KNOWN = 3.0  # Zipf frequency of a word without its accents
SYMBOLS = {"&": "and", "+": "plus", "#": "sharp", ".": "point"}


def spoken_form(keyword: str, language: str = "en") -> str:
    """Return the spoken form of a keyword, or "" if it is the same as the written form. English only.

    >>> [spoken_form(word) for word in ("GPT-4", "SQL", "BM25", "R&D", "naïve", "Kathryn Zorvan", "Qwen2.5", "E8400")]
    ['GPT four', 'sequel', 'BM twenty five', 'R and D', 'naive', '', 'Qwen two point five', 'E eight four zero zero']
    """
    if language != "en":
        return ""
    words = (PRONUNCIATIONS.get(word.casefold()) or _word(_without_accents(word)) for word in keyword.split())
    spoken = " ".join(words)
    return "" if spoken == keyword else spoken


def _word(word: str) -> str:
    if not re.search(r"[\d&+#]", word):
        return word
    return " ".join(_piece(piece) for piece in PIECE.findall(word))


def _piece(piece: str) -> str:
    if not piece.isdecimal():
        return SYMBOLS.get(piece, piece)
    if len(piece) > 2 or piece.startswith("0"):
        return " ".join(UNITS[int(digit)] for digit in piece)
    number = int(piece)
    return UNITS[number] if number < 20 else TENS[number // 10] + (f" {UNITS[number % 10]}" if number % 10 else "")


def _without_accents(word: str) -> str:
    """Remove the accents of a word that English also writes without them (naïve, José)."""
    from wordfreq import zipf_frequency

    letters = unicodedata.normalize("NFD", word)
    bare = "".join(char for char in letters if unicodedata.category(char) != "Mn")
    return bare if bare != letters and zipf_frequency(bare, "en") >= KNOWN else word
