"""Keyword lists prepared once: how each keyword is read and found in a text, and the prefix tree of their tokens.

A list of 100,000 keywords takes ten seconds to prepare and a tenth of one to use. An index stands wherever a list does.
Long lists become indexes by themselves, and an `IndexCache` holds the latest of them within a memory bound; the command
"sap2 index" writes one to a file.

    glossary.txt --sap2 index--> glossary.index --transcribe, talk, demo, serve, batch--> transcripts
"""

import hashlib
import json
import sys
import threading
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, overload

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from sap2.data.speech import Synthesiser, plain_phoneme
from sap2.errors import InputError
from sap2.files import atomic_file
from sap2.inference.spotting import PHONEME_BONUS, TOKEN_BONUS, PrefixTree, spot
from sap2.spelling import ReadList
from sap2.transcripts.transcript import KeywordFinder

__all__ = ["BONUS", "LONG", "IndexCache", "KeywordIndex", "Vocabulary", "digest_of"]

FORMAT = "sap2-keyword-index/1"
TREE = ("parents", "tokens", "levels", "ends", "lengths")
TOKENS, PHONEMES = "tokens", "phonemes"
BONUS = {TOKENS: TOKEN_BONUS, PHONEMES: PHONEME_BONUS}
LONG = 500  # keywords of a list that is worth keeping prepared
BYTES_PER_KEYWORD = 1_000  # of Python's texts, tuples and dicts: measured with 100,000 rare words


class Vocabulary:
    """How a base reads keywords, and the units that it can be spotted by: its tokens, or phonemes.

    Args:
        processor: A base's.
        spelling: Of the stage that reads the keywords.
        marks: The phonemes of the base's head; none = it has no head.
    """

    def __init__(self, processor: Any, spelling: str, marks: Sequence[str] = ()):
        self._processor, self.spelling, self._marks = processor, spelling, tuple(marks)
        self.unit = PHONEMES if marks else TOKENS

    @cached_property
    def digest(self) -> str:
        """Identifies the tokenizer, or the phonemes, and the spelling."""
        units = json.dumps(self._marks) if self._marks else self._processor.tokenizer.backend_tokenizer.to_str()
        described = units + self.spelling
        return hashlib.sha256(described.encode()).hexdigest()

    def tokenise(self, texts: Sequence[str]) -> list[list[int]]:
        """The tokens of keywords as they stand within a sentence, behind a blank; or their phonemes.

        Phonemes are eSpeak NG's; those that the head does not know are left out.
        """
        if not texts:
            return []
        if self._marks:
            numbers, voice = {mark: number for number, mark in enumerate(self._marks, start=1)}, Synthesiser()
            said = (map(plain_phoneme, voice.phonemes(text)) for text in texts)
            return [[numbers[mark] for mark in marks if mark in numbers] for marks in said]
        ids: list[list[int]] = self._processor.tokenizer([f" {text}" for text in texts], add_special_tokens=False)[
            "input_ids"
        ]
        return ids


class KeywordIndex(Sequence[str]):
    """A keyword list, and what is made of it for every recording; made when first needed.

    Args:
        keywords: In the order of the list.
        vocabulary: The base's.
    """

    def __init__(self, keywords: Iterable[str], vocabulary: Vocabulary):
        self.keywords = list(dict.fromkeys(keywords))
        self.spelling, self._vocabulary = vocabulary.spelling, vocabulary
        self.path: Path | None = None  # the file that it was loaded from
        self.list_name = ""  # name of the list's file

    @overload
    def __getitem__(self, place: int) -> str: ...
    @overload
    def __getitem__(self, place: slice) -> list[str]: ...
    def __getitem__(self, place: int | slice) -> str | list[str]:
        return self.keywords[place]

    def __len__(self) -> int:
        return len(self.keywords)

    @cached_property
    def listed(self) -> ReadList:
        """The list as the base reads it, and the way back."""
        return ReadList(self.keywords, self.spelling)

    @cached_property
    def finder(self) -> KeywordFinder:
        """Finds the keywords in a transcript."""
        return KeywordFinder(self.keywords)

    @cached_property
    def tree(self) -> PrefixTree:
        """The tokens or phonemes of `listed.read`."""
        return PrefixTree.of(self._vocabulary.tokenise(self.listed.read))

    @cached_property
    def digest(self) -> str:
        """Identifies the keywords and their order."""
        return digest_of(self.keywords)

    @property
    def bonus(self) -> float:
        """What `spot` adds for each token, or each phoneme."""
        return BONUS[self._vocabulary.unit]

    def spotted(self, frames: np.ndarray, blank: int) -> np.ndarray:
        """Score `listed.read` by frame scores: see `spot`."""
        return spot(frames, blank, self.tree, token_bonus=self.bonus)

    def after(self, first: "KeywordIndex") -> "KeywordIndex":
        """Return the keywords of `first`, a short list, followed by these, without preparing these again."""
        return _JoinedIndex(first, self)

    @property
    def nbytes(self) -> int:
        """Memory it takes, about, when all is made."""
        return BYTES_PER_KEYWORD * len(self) + 40 * sum(map(len, self.keywords))

    def fits(self, vocabulary: Vocabulary) -> bool:
        """Whether it was made for this tokenizer and spelling."""
        return self._vocabulary is vocabulary or self._vocabulary.digest == vocabulary.digest

    def save(self, path: Path, list_name: str = "") -> dict[str, Any]:
        """Write the index to a file; return its facts.

        Args:
            list_name: Name of the list's file. If it is in the folder of the index, commands compare both.
        """
        texts = {
            "keywords": self.keywords,
            "read_as": [list(self.listed.read_as[word]) for word in self.keywords],
            "forms": {word: [" ".join(one) for one in several] for word, several in self.finder.forms_of.items()},
        }
        packed = np.frombuffer(json.dumps(texts, ensure_ascii=False).encode(), np.uint8)
        facts = {
            "format": FORMAT, "keywords": len(self), "content": self.digest, "tokenizer": self._vocabulary.digest,
            "spelling": self.spelling, "unit": self._vocabulary.unit, "list": list_name,
        }  # fmt: skip
        arrays = {name: getattr(self.tree, name) for name in TREE} | {"texts": packed}
        with atomic_file(path) as partial:
            partial.write_bytes(save(arrays, {key: str(value) for key, value in facts.items()}))
        return facts | {"tokens": len(self.tree.tokens), "bytes": path.stat().st_size}

    @classmethod
    def load(cls, path: Path) -> "KeywordIndex":
        """Read an index file.

        Raises: InputError: it is missing, damaged or of another format.
        """
        way_out = 'make it with "sap2 index LIST --output FILE"'
        try:
            with safe_open(path, "np") as file:
                facts = file.metadata() or {}
                if facts.get("format") != FORMAT:
                    raise InputError(f"{path}: format is {facts.get('format')}, expected {FORMAT}; {way_out}")
                arrays = {name: file.get_tensor(name) for name in (*TREE, "texts")}
            texts = json.loads(arrays.pop("texts").tobytes())
            made = cls(texts["keywords"], _Recorded(facts["spelling"], facts["tokenizer"], facts["unit"]))
            read_as = dict(zip(made.keywords, map(tuple, texts["read_as"]), strict=True))
            made.listed = ReadList((), made.spelling, read_as)
            forms = {word: [tuple(one.split(" ")) for one in several] for word, several in texts["forms"].items()}
            made.finder = KeywordFinder((), forms)
            made.tree = PrefixTree(**arrays)
            made.path, made.list_name = path, facts.get("list", "")
            whole = made.digest == facts["content"] and len(made.tree.ends) == len(made.listed.read)
        except FileNotFoundError as error:
            raise InputError(f"{path}: no such file, expected an index; {way_out}") from error
        except (SafetensorError, OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(f"{path}: not a whole index of keywords ({error}); {way_out}") from error
        if not whole:
            raise InputError(f"{path}: its content is not that of its checksum; {way_out}")
        return made


class _JoinedIndex(KeywordIndex):
    """Two indexes of a vocabulary as a single list: the first's keywords, then those only in the second."""

    def __init__(self, first: KeywordIndex, second: KeywordIndex):
        super().__init__([*first, *second], second._vocabulary)
        self._first, self._second = first, second

    @cached_property
    def listed(self) -> ReadList:
        return ReadList((), self.spelling, {**self._first.listed.read_as, **self._second.listed.read_as})

    @cached_property
    def finder(self) -> KeywordFinder:
        return KeywordFinder((), {**self._first.finder.forms_of, **self._second.finder.forms_of})

    @cached_property
    def _new(self) -> np.ndarray:
        """Mask of the second's `listed.read`: True = not in the first."""
        known = set(self._first.listed.read)
        return np.array([word not in known for word in self._second.listed.read], bool)

    def spotted(self, frames: np.ndarray, blank: int) -> np.ndarray:
        return np.concatenate([self._first.spotted(frames, blank), self._second.spotted(frames, blank)[self._new]])


class _Recorded(Vocabulary):
    """What an index file says of the vocabulary that it was made for."""

    def __init__(self, spelling: str, digest: str, unit: str):
        super().__init__(None, spelling)
        self.digest, self.unit = digest, unit  # known, not computed


class IndexCache:
    """The indexes of the latest long lists, by content, within a memory bound.

    Args:
        vocabulary: The base's.
        most: Bytes that they take together at most; the largest may be above it alone.
    """

    def __init__(self, vocabulary: Vocabulary, most: int = 512 << 20):
        self._vocabulary, self._most = vocabulary, most
        self._held: OrderedDict[str, KeywordIndex] = OrderedDict()
        self._lock = threading.Lock()
        self._told: set[str] = set()

    def of(self, keywords: Sequence[str]) -> KeywordIndex:
        """The list's index: itself, or the one made of the same list before, or a new one.

        An index of another tokenizer is recreated from its keywords, with a line on stderr, so that a server whose
        model changes continues to answer. Commands reject it first: see `check`.
        """
        if isinstance(keywords, KeywordIndex):
            if keywords.fits(self._vocabulary):
                return keywords
            self._tell(keywords)
            words: Sequence[str] = keywords.keywords
        else:
            words = list(dict.fromkeys(keywords))
        if len(words) < LONG:
            return KeywordIndex(words, self._vocabulary)
        digest = digest_of(words)
        with self._lock:
            index = self._held.pop(digest, None) or KeywordIndex(words, self._vocabulary)
            self._held[digest] = index
            while len(self._held) > 1 and self.nbytes > self._most:
                self._held.popitem(last=False)
        return index

    def check(self, keywords: Sequence[str]) -> None:
        """Reject an index of another base. Raises: InputError: its tokenizer or its phonemes differ."""
        if isinstance(keywords, KeywordIndex) and not keywords.fits(self._vocabulary):
            raise InputError(
                f"{keywords.path or 'the index'}: was built for another base; run "
                f'"sap2 index {keywords.list_name or "LIST"} --model MODEL" with this model'
            )

    @property
    def nbytes(self) -> int:
        """Memory that the held indexes take, about."""
        return sum(index.nbytes for index in self._held.values())

    def _tell(self, index: KeywordIndex) -> None:
        if index.digest not in self._told:
            self._told.add(index.digest)
            print(
                f"index: {len(index)} keywords were indexed for another tokenizer and are indexed anew; "
                'run "sap2 index" with this model to keep that',
                file=sys.stderr,
            )


def digest_of(keywords: Iterable[str]) -> str:
    """Identifies keywords and their order."""
    return hashlib.sha256("\n".join(keywords).encode()).hexdigest()
