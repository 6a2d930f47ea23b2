"""A talk and its deck: each segment recognised with the keywords of what was shown, and what the keywords did.

first pass without context ─► pages of each segment ─► their keywords ─► two stages ─► text, marked
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict
from functools import lru_cache
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np

from sap2.data.audio import SAMPLE_RATE
from sap2.data.segmentation import without_doubles
from sap2.errors import InputError
from sap2.files import atomic_file, writing
from sap2.inference import AudioSegment, Recogniser
from sap2.inference.identity import identity
from sap2.inference.index import digest_of
from sap2.slides.keywords import Keyword
from sap2.slides.timing import Shown, align, pages_around, shown_between
from sap2.transcripts.talk import Talk, TalkSegment
from sap2.transcripts.transcript import Transcript

__all__ = ["transcribe_talk"]

GROUP = 8  # segments that are recognised, then kept, at once
JOINED = 4  # lists of pages and glossary in memory: neighbouring segments show the same pages


def transcribe_talk(
    recogniser: Recogniser,
    wave: np.ndarray,
    keywords: Sequence[Keyword],
    texts: Sequence[str] = (),
    times: Sequence[Shown] | None = None,
    around: int = 2,
    explain: bool = False,
    journal: Path | None = None,
    progress: Callable[[Iterable, int, str], Iterable] = lambda items, _total, _label: items,
    glossary: Sequence[str] = (),
) -> Talk:
    """Recognise a talk, each segment with the keywords of its pages and of `around` before and after them.

    Args:
        wave: 16 kHz mono.
        keywords: With their pages; those of page 0 are listed all the time.
        texts: Of the pages, to tell from what is said which one was shown.
        times: When pages were shown; None = estimated, from a first pass without context.
        explain: Whether to say what each segment would be without context.
        journal: File that gains each group of segments as it is done; what stands in it is not done again, but for
            lines that are damaged.
        progress: Told of groups of segments: see `sap2.progress.track`.
        glossary: A long list or an index, of which each segment lists after its pages' keywords what stage 1 selects.
    Raises: InputError: the journal is that of another talk, model or setting.
    """
    cut = recogniser.cut(wave)
    spans = cut.spans
    made_by = "" if journal is None else identity(recogniser)
    long = [digest_of(glossary)] if glossary else []
    done = _Journal(journal, len(spans), wave, made_by, keywords, texts, times, around, spans, *long)

    # Each is encoded once, for the first pass and the recognition alike.
    segments = [AudioSegment(wave[round(a * SAMPLE_RATE) : round(b * SAMPLE_RATE)], (a, b)) for a, b in spans]

    estimated = times is None and bool(texts)
    if explain or estimated:
        for places in progress(*done.groups("plain", "first pass")):
            done.keep("plain", places, recogniser.transcribe([segments[place] for place in places]))
    plain: list[str | None] = [done.plain.get(place) for place in range(len(spans))]
    pages: list[list[int]] = [[] for _ in spans]
    if estimated:
        pages = [[page] for page in align([text or "" for text in plain], texts)]
    elif times is not None:
        pages = [shown_between(times, *span) for span in spans]
    lists = [_list(keywords, pages_around(shown, around)) for shown in pages]
    whole = _with_glossary(recogniser, glossary)
    for places in progress(*done.groups("heard", "talk")):
        listed = [whole(tuple(lists[place])) for place in places]
        found = recogniser.recognise([segments[place] for place in places], listed)
        kept = [one.scores or dict.fromkeys(one.predicted, 0.0) for one in found]
        rows = [[one.text, scores, _confidence(one)] for one, scores in zip(found, kept, strict=True)]
        done.keep("heard", places, rows)
        for place in places:
            segments[place].encoded = None  # of a long talk it would be hundreds of MB
    heard, doubtful = [done.heard[place] for place in range(len(spans))], recogniser.settings.inference.doubtful
    texts = without_doubles(spans, [text for text, *_ in heard])
    plain = without_doubles(spans, plain) if explain else [None] * len(spans)
    return Talk(
        [
            TalkSegment(
                *span,
                text,
                tuple(shown),
                _with(listed, kept),
                dict(kept),
                bare,
                sure,
                sure is not None and sure < doubtful,
            )  # fmt: skip
            for span, text, shown, listed, (_, kept, sure), bare in zip(
                spans, texts, pages, lists, heard, plain, strict=True
            )
        ],
        len(wave) / SAMPLE_RATE,
        tuple(done.notices),
        tuple(cut.left_out),
    )


def _with_glossary(recogniser: Recogniser, glossary: Sequence[str]) -> Callable[[tuple[str, ...]], Sequence[str]]:
    """A function from the keywords of pages to a segment's whole list; lists of the same pages are joined once."""
    if not glossary:
        return list
    return lru_cache(JOINED)(lambda words: recogniser.index(glossary, words))


def _with(listed: dict[str, int], selected: Iterable[str]) -> dict[str, int]:
    """The keywords of pages, and after them those that were selected of the glossary."""
    return listed | {word: 0 for word in selected if word not in listed}


def _confidence(transcript: Transcript) -> float | None:
    return min((one.confidence for one in transcript.segments if one.confidence is not None), default=None)


def _list(keywords: Sequence[Keyword], pages: Sequence[int]) -> dict[str, int]:
    """The keywords of the pages, nearest page first, then those of no page."""
    found: dict[str, tuple[str, int]] = {}
    for page in (*pages, 0):
        for one in keywords:
            if one.page == page:
                found.setdefault(one.keyword.casefold(), (one.keyword, page))
    return dict(found.values())


class _Journal:
    """Answers by segment, in memory and, where there is a file, in it: a line a group, below one that says of what."""

    def __init__(self, path: Path | None, count: int, wave: np.ndarray, *made_of: Any):
        self.path, self._count = path, count
        self.plain: dict[int, str] = {}
        self.heard: dict[int, list] = {}
        self.notices: list[str] = []
        if path is None:
            return
        digest = hashlib.sha256(np.ascontiguousarray(wave).tobytes())
        digest.update(json.dumps(made_of, default=asdict).encode())
        head = json.dumps({"talk": digest.hexdigest()}).encode()
        try:
            found = path.read_bytes() if path.exists() else b""
        except OSError as error:
            raise InputError(f"{path}: cannot be read ({error.strerror}); name another file") from error
        begun, *lines = found.split(b"\n")
        if found and begun != head:
            raise InputError(
                f"{path}: is the journal of another recording, list, timing, model or setting, or no journal; name "
                "another, or remove it"
            )
        rows = [(line, self._row(line)) for line in lines]
        for _, row in filter(itemgetter(1), rows):
            getattr(self, row["step"]).update(zip(row["segments"], row["answers"], strict=True))
        # A kill may have cut the last line: that is no damage.
        if damaged := [line for line, row in rows[:-1] if row is None]:
            self.notices.append(f"{path}: {len(damaged)} of its lines are damaged; their segments were done again")
        kept = b"".join(line + b"\n" for line in (head, *(line for line, row in rows[:-1] if row is not None)))
        if kept != found:
            with atomic_file(path) as partial:
                partial.write_bytes(kept)

    def _row(self, line: bytes) -> dict | None:
        """A line's answers; None = it does not hold any."""
        try:
            row = json.loads(line)
            places, answers = row["segments"], row["answers"]
            whole = len(places) == len(answers) and all(type(one) is int and 0 <= one < self._count for one in places)
            suits = {"plain": _is_text, "heard": _is_heard}[row["step"]]
            return row if whole and all(map(suits, answers)) else None
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            return None

    def groups(self, step: str, label: str) -> tuple[Iterator[list[int]], int, str]:
        """What is left to do, in groups; their number; and what to call it."""
        left = [place for place in range(self._count) if place not in getattr(self, step)]
        groups = [left[first : first + GROUP] for first in range(0, len(left), GROUP)]
        return iter(groups), len(groups), label

    def keep(self, step: str, places: Sequence[int], answers: Sequence[Any]) -> None:
        getattr(self, step).update(zip(places, answers, strict=True))
        if self.path is not None:
            row = {"step": step, "segments": list(places), "answers": list(answers)}
            with writing(self.path), self.path.open("a", encoding="utf-8") as out:
                out.write(json.dumps(row, ensure_ascii=False) + "\n")


def _is_text(answer: Any) -> bool:
    return isinstance(answer, str)


def _is_heard(answer: Any) -> bool:
    text, scores, confidence = answer
    numbers = [*scores.values(), *([] if confidence is None else [confidence])]
    return isinstance(text, str) and all(isinstance(one, (int, float)) for one in numbers)
