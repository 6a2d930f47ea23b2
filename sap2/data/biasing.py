"""Biasing lists: read as users write them and as papers publish them, or drawn as in Le et al. (2021)."""

import random
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from sap2.data.entries import text_lines
from sap2.data.quarantine import Rejected
from sap2.deep_bias import parse_rows
from sap2.errors import InputError
from sap2.manifest import keyword_fault, unique_keywords

__all__ = ["RareWords", "common_words", "read_list", "read_published", "read_words", "split_list", "words_of"]

_COMMENT = re.compile(r"^\s*#.*|\s#(?:\s.*)?$")
_FIELD = re.compile(r'\s*"((?:[^"]|"")*)"\s*(?:,|$)|([^,]+)')


def read_list(text: str | None = None, file: Path | str | None = None) -> list[str]:
    """Read keywords from a string and a file, split by `split_list`, without duplicates, in order.

    >>> read_list("Meyer, deep zorvan,, meyer")
    ['Meyer', 'deep zorvan']

    Raises: InputError: the file is missing or not UTF-8, or a keyword holds a marker; the message names file and line.
    """
    sources = [("--keywords", text or "")]
    if file is not None:
        try:
            sources.append((str(file), Path(file).read_text(encoding="utf-8-sig")))
        except (FileNotFoundError, IsADirectoryError) as error:
            raise InputError(f"{file}: no such file, expected one keyword per line") from error
        except UnicodeDecodeError as error:
            raise InputError(f"{file}: not UTF-8 ({error.reason} at byte {error.start}); save it as UTF-8") from error
    keywords: list[str] = []
    for where, content in sources:
        for number, keyword in split_list(content):
            if fault := keyword_fault(keyword):
                raise InputError(f"{where}:{number}: {fault}" if where != "--keywords" else f"{where}: {fault}")
            keywords.append(keyword)
    return unique_keywords(keywords)


def split_list(text: str) -> Iterator[tuple[int, str]]:
    r"""Yield each keyword of a text with its line number; keywords are separated by line ends or commas.

    Keywords may be quoted as in a CSV file. `#` begins a comment at the start of a line, and after a blank if a blank
    or the line's end follows it.

    >>> [word for _, word in split_list('# names\n"Meyer", "Kathryn ""Kit"" Ho"\nC#, Zorvan  # speaker')]
    ['Meyer', 'Kathryn "Kit" Ho', 'C#', 'Zorvan']
    """
    for number, line in enumerate(text.removeprefix("\ufeff").splitlines(), start=1):
        for match in _FIELD.finditer(_COMMENT.sub("", line)):
            quoted, plain = match.groups()
            keyword = (plain if quoted is None else quoted.replace('""', '"')).strip()
            if keyword:
                yield number, keyword


class RareWords:
    """Draw an utterance's biasing list: its own rare words, and distractors from the corpus's rare words.

    >>> lists = RareWords(frozenset(["the", "of"]), ["zorvan", "meyer", "deep"])
    >>> lists.biasing_list("the art of meyer", 1, "seed")
    ['art', 'meyer', 'zorvan']

    Source: Le et al., "Contextualized Streaming End-to-End Speech Recognition with Trie-Based Deep Biasing and Shallow
    Fusion", Interspeech 2021, section 3.1.
    """

    def __init__(self, common: frozenset[str], rare: Sequence[str]):
        self.common, self.rare = common, rare

    def of(self, text: str) -> list[str]:
        """Return the rare words of a text, sorted, without duplicates and unlistable words such as "said,"."""
        return sorted({word for word in words_of(text) if word not in self.common})

    def biasing_list(self, text: str, distractors: int, seed: str) -> list[str]:
        """Return the text's rare words and up to `distractors` others, sorted, so that the order gives nothing away."""
        drawn = random.Random(seed).sample(self.rare, min(distractors, len(self.rare)))
        return sorted({*self.of(text), *drawn})


def common_words(texts: Iterable[str], count: int) -> frozenset[str]:
    """Return the `count` most frequent words of `texts`; ties are broken alphabetically."""
    counts = Counter(word for text in texts for word in words_of(text))
    return frozenset(sorted(counts, key=lambda word: (-counts[word], word))[:count])


def words_of(text: str) -> list[str]:
    """Return the case-folded words of a text that can be keywords."""
    return [word for word in text.casefold().split() if not keyword_fault(word)]


def read_words(path: Path | str) -> list[str]:
    """Read the first word of each line of a file, lower-case, in order; counts and the like after it are ignored.

    Raises: InputError: the file is missing, not UTF-8 or without words, or a word cannot be a keyword.
    """
    words: dict[str, None] = {}
    for where, line in text_lines(Path(path)):
        if isinstance(line, Rejected):
            raise InputError(f"{where}: {line.reason}")
        word = line.split()[0].lower()
        if fault := keyword_fault(word):
            raise InputError(f"{where}: {fault}")
        words.setdefault(word)
    if not words:
        raise InputError(f"{path}: holds no words, expected one word per line")
    return list(words)


def read_published(path: Path | str) -> dict[str, tuple[str, tuple[str, ...]]]:
    """Read the text and list of each utterance of a deep-bias TSV: `{id: (text, list)}`.

    Raises: InputError: the file is missing, a line has another form, a keyword is unusable, or an id occurs twice.
    """
    published: dict[str, tuple[str, tuple[str, ...]]] = {}
    for line, id, text, rare, keywords in parse_rows(str(path), _numbered(Path(path))):
        where = f"{path}:{line}"
        if rare is None or keywords is None or keywords is rare:
            raise InputError(f"{where}: expected id, text, rare words and list, the last two JSON; a column is missing")
        if missing := sorted(set(rare) - set(keywords)):
            raise InputError(f"{where}: the list lacks {', '.join(missing)}, which the line's rare words name")
        if fault := next(filter(None, map(keyword_fault, keywords)), None):
            raise InputError(f"{where}: {fault}")
        if id in published:
            raise InputError(f"{where}: {id} already has a list; expected one list per utterance")
        published[id] = (text, tuple(keywords))
    return published


def _numbered(path: Path) -> Iterator[tuple[int, str]]:
    for where, line in text_lines(path):
        if isinstance(line, Rejected):
            raise InputError(f"{where}: {line.reason}")
        yield int(where.rpartition(":")[2]), line
