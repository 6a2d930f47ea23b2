"""Recognition of a talk with its deck: each segment is recognised with the keywords of the pages shown around it.

first pass without context ─► pages of each segment ─► their keywords ─► two stages ─► text with marked keywords
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict
from functools import lru_cache
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

PLAIN, FULL = "plain", "heard"  # steps, by their names in the journal: without and with keywords
GROUP = 8  # segments that are recognised and written to the journal together
JOINED = 4  # lists of pages with the glossary in memory: neighbouring segments show the same pages


def transcribe_talk(
    recogniser: Recogniser,
    wave: np.ndarray,
    keywords: Sequence[Keyword],
    texts: Sequence[str] = (),
    times: Sequence[Shown] | None = None,
    around: int = 2,
    explain: bool = False,
    journal: Path | None = None,
    progress: Callable[[Iterable[list[int]], int, str], Iterable[list[int]]] = lambda items, _total, _label: items,
    glossary: Sequence[str] = (),
) -> Talk:
    """Recognise a talk, each segment with the keywords of its pages and of up to `around` pages before and after.

    Args:
        wave: 16 kHz mono.
        keywords: Keywords with their pages; those of page 0 are listed for every segment.
        texts: Text of each page, to estimate the pages' times from the speech.
        times: Times at which pages were shown; None = estimate them from a first pass without context.
        explain: Whether to recognise each segment without context as well, for comparison.
        journal: File to which each finished group of segments is appended. Segments already in it are not recognised
            again, except those of damaged lines.
        progress: Reports progress over the groups of segments: see `sap2.progress.track`.
        glossary: Long list or index that is listed for every segment after the keywords of its pages. The segments of
            the result list only those of its keywords that stage 1 selected.
    Raises: InputError: the journal belongs to another talk, model or setting.
    """
    cut = recogniser.cut(wave)
    spans = cut.spans
    made_by = "" if journal is None else identity(recogniser)
    long = [digest_of(glossary)] if glossary else []
    done = _Journal(journal, len(spans), wave, made_by, keywords, texts, times, around, spans, *long)

    # Each segment is encoded only once, for both the first pass and the recognition.
    segments = [AudioSegment(wave[round(a * SAMPLE_RATE) : round(b * SAMPLE_RATE)], (a, b)) for a, b in spans]

    estimated = times is None and bool(texts)
    if explain or estimated:
        for group in progress(*done.groups(PLAIN, "first pass")):
            done.keep(PLAIN, group, recogniser.transcribe([segments[index] for index in group]))
    plain: list[str] = [done.answers[PLAIN].get(index, "") for index in range(len(spans))]
    pages: list[list[int]] = [[] for _ in spans]
    if estimated:
        pages = [[page] for page in align(plain, texts)]
    elif times is not None:
        pages = [shown_between(times, *span) for span in spans]
    lists = [_list(keywords, pages_around(shown, around)) for shown in pages]
    full_list = _with_glossary(recogniser, glossary)
    for group in progress(*done.groups(FULL, "talk")):
        full_lists = [full_list(tuple(lists[i])) for i in group]
        transcripts = recogniser.recognise([segments[i] for i in group], full_lists)
        done.keep(FULL, group, [_answer(transcript) for transcript in transcripts])
        for index in group:
            segments[index].encoded = None  # would add up to hundreds of MB in a long talk
    answers, doubtful = (
        [done.answers[FULL][index] for index in range(len(spans))],
        recogniser.settings.inference.doubtful,
    )
    final = without_doubles(spans, [text for text, *_ in answers])
    bare: Sequence[str | None] = without_doubles(spans, plain) if explain else [None] * len(spans)
    talk_segments = []
    for index, ((start, end), (_, kept, confidence)) in enumerate(zip(spans, answers, strict=True)):
        talk_segments.append(
            TalkSegment(
                start,
                end,
                final[index],
                tuple(pages[index]),
                _with_selected(lists[index], kept),
                dict(kept),
                bare[index],
                confidence,
                doubtful=confidence is not None and confidence < doubtful,
            )
        )
    return Talk(talk_segments, len(wave) / SAMPLE_RATE, tuple(done.notices), tuple(cut.left_out))


def _with_glossary(recogniser: Recogniser, glossary: Sequence[str]) -> Callable[[tuple[str, ...]], Sequence[str]]:
    """Return a function from the keywords of pages to a segment's full list. Recent lists are cached by their pages."""
    if not glossary:
        return list
    return lru_cache(JOINED)(lambda words: recogniser.index(glossary, words))


def _with_selected(listed: dict[str, int], selected: Iterable[str]) -> dict[str, int]:
    """Return the keywords of the pages, followed by the selected keywords of the glossary."""
    return listed | {word: 0 for word in selected if word not in listed}


def _answer(transcript: Transcript) -> list[Any]:
    """Return text, selected keywords with scores, and confidence of a segment, as the journal holds them."""
    confidences = (segment.confidence for segment in transcript.segments if segment.confidence is not None)
    scores = transcript.scores or dict.fromkeys(transcript.predicted, 0.0)
    return [transcript.text, scores, min(confidences, default=None)]


def _list(keywords: Sequence[Keyword], pages: Sequence[int]) -> dict[str, int]:
    """Return the keywords of the pages, each with its page, nearest page first, then keywords of page 0."""
    listed: dict[str, tuple[str, int]] = {}
    for page in (*pages, 0):
        for row in keywords:
            if row.page == page:
                listed.setdefault(row.keyword.casefold(), (row.keyword, page))
    return dict(listed.values())


class _Journal:
    """Answers by step and segment, in memory and optionally in a file.

    The first line of the file identifies the talk, model and settings; each further line holds a group of answers.
    """

    def __init__(self, path: Path | None, count: int, wave: np.ndarray, *made_of: Any):
        self.path, self._count = path, count
        self.answers: dict[str, dict[int, Any]] = {PLAIN: {}, FULL: {}}
        self.notices: list[str] = []
        if path is None:
            return
        digest = hashlib.sha256(np.ascontiguousarray(wave).tobytes())
        digest.update(json.dumps(made_of, default=asdict).encode())
        head = json.dumps({"talk": digest.hexdigest()}).encode()
        try:
            content = path.read_bytes() if path.exists() else b""
        except OSError as error:
            raise InputError(f"{path}: cannot be read ({error.strerror}); name another file") from error
        first, *lines = content.split(b"\n")
        if content and first != head:
            raise InputError(
                f"{path}: is not the journal of this recording, list, timing, model and settings; name another file, "
                "or remove it"
            )
        rows = [(line, self._row(line)) for line in lines]
        for _, row in rows:
            if row is not None:
                self.answers[row["step"]].update(zip(row["segments"], row["answers"], strict=True))
        # A last line that was cut when the process was killed does not count as damaged.
        if damaged := [line for line, row in rows[:-1] if row is None]:
            self.notices.append(f"{path}: damaged lines: {len(damaged)}; their segments were recognised again")
        kept = b"".join(line + b"\n" for line in (head, *(line for line, row in rows[:-1] if row is not None)))
        if kept != content:
            with atomic_file(path) as partial:
                partial.write_bytes(kept)

    def _row(self, line: bytes) -> dict[str, Any] | None:
        """Parse a line; None = it does not hold valid answers."""
        try:
            row: dict[str, Any] = json.loads(line)
            segments, answers = row["segments"], row["answers"]
            valid = len(segments) == len(answers) and all(type(i) is int and 0 <= i < self._count for i in segments)
            check = {PLAIN: _is_text, FULL: _is_answer}[row["step"]]
            return row if valid and all(map(check, answers)) else None
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            return None

    def groups(self, step: str, label: str) -> tuple[Iterator[list[int]], int, str]:
        """Return the remaining segments in groups, the number of groups, and the label."""
        left = [index for index in range(self._count) if index not in self.answers[step]]
        groups = [left[first : first + GROUP] for first in range(0, len(left), GROUP)]
        return iter(groups), len(groups), label

    def keep(self, step: str, segments: Sequence[int], answers: Sequence[Any]) -> None:
        """Store the answers of segments, and append them to the file."""
        self.answers[step].update(zip(segments, answers, strict=True))
        if self.path is not None:
            row = {"step": step, "segments": list(segments), "answers": list(answers)}
            with writing(self.path), self.path.open("a", encoding="utf-8") as out:
                out.write(json.dumps(row, ensure_ascii=False) + "\n")


def _is_text(answer: Any) -> bool:
    return isinstance(answer, str)


def _is_answer(answer: Any) -> bool:
    text, scores, confidence = answer
    numbers = [*scores.values(), *([] if confidence is None else [confidence])]
    return isinstance(text, str) and all(isinstance(number, (int, float)) for number in numbers)
