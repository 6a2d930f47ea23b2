"""Normalisation of text and keyword lists before scoring, and the definition of a word; every score states both."""

import re
import unicodedata
from collections.abc import Callable
from functools import lru_cache

from sap2.errors import InputError, ParamsError

__all__ = ["NORMALISERS", "WORDS_RULE", "folded", "normalise", "words"]

# Name -> its description in the outputs.
NORMALISERS = {
    "none": "text and list as they are",
    "basic": "text and list in lower case, punctuation removed except apostrophes inside words",
    "whisper-en": "text and list by Whisper's English normaliser: numbers as digits, contractions spelt out, "
    "American spelling, no fillers or brackets",
}
WORDS_RULE = "words by white space, each Chinese character and Japanese kana a word of its own; Unicode NFC"

# Ideographs and kana, which are written without spaces (Hangul has spaces). The iteration mark 々 and the long vowel ー
# repeat or lengthen the character before them and count as characters too.
_CHARACTER = (
    "([\u3005-\u3007\u3041-\u3096\u309d-\u309f\u30a1-\u30fa\u30fc-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff"
    "\uf900-\ufaff\uff66-\uff9d\U0001b000-\U0001b16f\U00020000-\U000323af][\u0300-\u036f\u3099\u309a\ufe00-\ufe0f\U000e0100-\U000e01ef]*)"
)


def words(text: str) -> list[str]:
    """Split a text into words as they are scored.

    Composed and decomposed accents are equal (Unicode NFC). Words are separated by white space; a Chinese
    character or Japanese kana is a word of its own, with its marks.

    >>> words("see   you in 東京タワー, ok")
    ['see', 'you', 'in', '東', '京', 'タ', 'ワ', 'ー', ',', 'ok']
    """
    if text.isascii():
        return text.split()
    return re.sub(_CHARACTER, r" \1 ", unicodedata.normalize("NFC", text)).split()


def folded(text: str) -> str:
    """Fold a text for keyword matching: case-folded, in NFC.

    >>> folded("STRASSE") == folded("Straße")
    True
    """
    if text.isascii():
        return text.lower()
    # Unicode's canonical caseless match: folding may decompose characters.
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", text).casefold())


@lru_cache(maxsize=1 << 18)  # the same keywords are in many lists
def normalise(text: str, normaliser: str) -> str:
    """Normalise a text for scoring.

    >>> normalise("Well-known: O’Neil's 'C++' talk…", "basic")
    "well known o'neil's c++ talk"

    Raises:
        ParamsError: unknown normaliser; the message lists the known normalisers.
        InputError: "whisper-en" without the package whisper-normalizer.
    """
    return normaliser_of(normaliser)(text)


def normaliser_of(name: str) -> Callable[[str], str]:
    """Return the normaliser of that name, a function from text to text.

    Raises: as `normalise`.
    """
    if name == "none":
        return str
    if name == "basic":
        return _basic
    if name == "whisper-en":
        return _whisper_english()
    raise ParamsError(f"evaluation.normaliser: got {name!r}, expected one of: {', '.join(NORMALISERS)}")


def _basic(text: str) -> str:
    pieces = unicodedata.normalize("NFC", text).lower().translate(_without_punctuation).split()
    return " ".join(filter(None, (piece.strip("'") for piece in pieces)))


class _Punctuation(dict[int, str]):
    """A table for `str.translate`, filled on demand: punctuation of any script becomes a space."""

    def __missing__(self, code: int) -> str:
        character = chr(code)
        kept = "'" if character in "'\u2019\u02bc" else None
        written = kept or (" " if unicodedata.category(character).startswith("P") else character)
        self[code] = written
        return written


_without_punctuation = _Punctuation()


@lru_cache(maxsize=1)
def _whisper_english() -> Callable[[str], str]:
    """Load Whisper's English normaliser: OpenAI's published rules (Radford et al. 2022, appendix C)."""
    try:
        from whisper_normalizer.english import EnglishTextNormalizer
    except ModuleNotFoundError as error:
        raise InputError(
            f"evaluation.normaliser: whisper-en needs the package whisper-normalizer ({error}); "
            'run "pip install whisper-normalizer", or choose basic'
        ) from error
    rules = EnglishTextNormalizer()
    return lambda text: " ".join(rules(text).split())
