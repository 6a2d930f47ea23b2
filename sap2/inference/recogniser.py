"""The two-stage recogniser: prune the list by the speech, then transcribe with the selected keywords; any length.

For comparison a model may have another method, stated in its configuration: PC transcribes with the whole list, JPI
answers with a selection and the transcript. Both have a single adapter and no pruner.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import numpy as np

from sap2.constants import Seconds
from sap2.data.segmentation import without_doubles
from sap2.errors import ModelError
from sap2.inference.encoded import AudioCut, AudioEncoder, AudioInput, EncodedAudio
from sap2.inference.index import IndexCache, KeywordIndex
from sap2.inference.prefilter import cut
from sap2.inference.pruner import Pruner
from sap2.inference.scoring import best
from sap2.inference.stage_model import StageModel
from sap2.inference.transcriber import Written, make_transcriber, written_with
from sap2.settings import RecogniserSettings
from sap2.transcripts.transcript import KeywordFinder, Segment, Transcript

__all__ = ["KeywordList", "Recogniser"]


# A recording's keyword list, or a function from start and end to the list, for slides with times.
KeywordList = Sequence[str] | Callable[[Seconds, Seconds], Sequence[str]]


class Recogniser:
    """A transcriber, preceded by a pruner if the method has one.

    Args:
        settings: Settings of both stages; stage 2's determine how long recordings are cut.
        transcriber: Stage 2's model.
        pruner: Stage 1's model; None with PC and JPI.
        base: The base without an adapter, for stage 1's first passes; None = stage 2's model.
    """

    def __init__(
        self,
        settings: RecogniserSettings,
        transcriber: StageModel,
        pruner: StageModel | None = None,
        base: StageModel | None = None,
    ):
        self.settings = settings
        self.transcriber = make_transcriber(transcriber, settings.inference)
        self.pruner = None if pruner is None else Pruner(pruner, base or transcriber, settings.pruning)
        self.indexes = self.pruner.indexes if self.pruner else IndexCache(transcriber.vocabulary)
        stages = [transcriber, *(self.pruner.stages if self.pruner else [])]
        inference = settings.inference
        cut = inference.max_segment, inference.segment_overlap, inference.speech_only
        self.encode = AudioEncoder(stages, inference.batch_size, *cut)

    def with_settings(self, settings: RecogniserSettings) -> "Recogniser":
        """Return a recogniser of the same models with other settings.

        Raises: ModelError: the models were loaded with another `runtime`.
        """
        if settings.runtime.model_dump() != self.settings.runtime.model_dump():
            raise ModelError(
                f"the models were loaded with {self.settings.runtime}, expected the same, not {settings.runtime}; load "
                "them again"
            )
        stage_1 = (self.pruner.stage, self.pruner.base) if self.pruner else ()
        return Recogniser(settings, self.transcriber.stage, *stage_1)

    @property
    def method(self) -> str:
        """What the model was trained to do with a list: `tpi`, `pc` or `jpi`."""
        return self.transcriber.stage.method

    @property
    def segment_limit(self) -> Seconds:
        """Maximum segment length in seconds: the encoders' limit, or less if set."""
        return self.encode.segment_limit

    def cut(self, wave: np.ndarray) -> AudioCut:
        """Cut a recording into segments: see `AudioEncoder.cut`."""
        return self.encode.cut(wave)

    def index(self, keywords: Sequence[str], first: Sequence[str] = ()) -> KeywordIndex:
        """Return the list prepared for this recogniser; it is accepted wherever a list is.

        Args:
            first: A short list, whose keywords come first.
        """
        index = self.indexes.of(keywords)
        return index.after(self.indexes.of(first)) if first else index

    def check(self, keywords: KeywordList) -> None:
        """Reject an index of another base: see `IndexCache.check`."""
        if not callable(keywords):
            self.indexes.check(keywords)

    def __call__(self, audio: AudioInput, keywords: KeywordList = ()) -> Transcript:
        """Recognise a recording of any length with a keyword list of any length."""
        return self.recognise([audio], [keywords])[0]

    def recognise(self, audio: Sequence[AudioInput], keywords: Sequence[KeywordList]) -> list[Transcript]:
        """Recognise recordings, each with its list; all segments are decoded together.

        Args:
            keywords: Each recording's list for all its segments; or a function of a segment's start and end in seconds
                that
                returns the segment's list.
        """
        timings: dict[str, float] = {}
        with _timed(timings, "encode"):
            recordings = self.encode(audio)
        split = [
            recording.segments() if callable(listed) else [recording]
            for recording, listed in zip(recordings, keywords, strict=True)
        ]
        lists = [
            self.indexes.of(listed(*part.spans[0]) if callable(listed) else listed)
            for parts, listed in zip(split, keywords, strict=True)
            for part in parts
        ]
        speech = [part for parts in split for part in parts]
        with _timed(timings, "prune"):
            scores = [{} for _ in lists] if self.pruner is None else self.pruner.select(speech, lists)
            given = self._shortlist(speech, lists) if self.pruner is None else list(map(list, scores))
        with _timed(timings, "transcribe"):
            written = self.transcriber.by_segment(speech, given)
        rows = iter(zip(lists, given, scores, written, strict=True))
        return [
            _transcript(recording, [next(rows) for _ in parts], timings, self.settings.inference.doubtful)
            for recording, parts in zip(recordings, split, strict=True)
        ]

    def prune(
        self, audio: Sequence[AudioInput], keywords: Sequence[Sequence[str]], label: str | None = None
    ) -> list[list[str]]:
        """Run stage 1: return each utterance's selected keywords, in its list's spelling and order."""
        return [list(scores) for scores in self.select(audio, keywords, label)]

    def select(
        self, audio: Sequence[AudioInput], keywords: Sequence[Sequence[str]], label: str | None = None
    ) -> list[dict[str, float]]:
        """Run stage 1 with scores: see `Pruner.select`. Raises: ModelError: the method has no stage 1."""
        return self._stage_1().select(self.encode(audio), keywords, label)

    def score_keywords(
        self, audio: Sequence[AudioInput], keywords: Sequence[Sequence[str]], label: str | None = None
    ) -> list[dict[str, float]]:
        """Run stage 1 without threshold: see `Pruner.score_keywords`. Raises: ModelError: the method has no stage 1."""
        return self._stage_1().score_keywords(self.encode(audio), keywords, label)

    def transcribe(
        self, audio: Sequence[AudioInput], keywords: Sequence[Sequence[str]] | None = None, label: str | None = None
    ) -> list[str]:
        """Run stage 2: return each utterance's text, transcribed with the given keywords (None = without context)."""
        return self.transcriber.transcribe(self.encode(audio), keywords, label)

    def integrate(
        self, audio: Sequence[AudioInput], keywords: Sequence[Sequence[str]], label: str | None = None
    ) -> list[Written]:
        """Run stage 2: see `Transcriber.integrate`."""
        return self.transcriber.integrate(self.encode(audio), keywords, label)

    def _stage_1(self) -> Pruner:
        if self.pruner is None:
            raise ModelError(f"the method is {self.method}, which has no stage 1; transcribe with the whole list")
        return self.pruner

    def _shortlist(self, speech: list[EncodedAudio], lists: list[KeywordIndex]) -> list[list[str]]:
        """The lists of a method without a stage 1, long ones cut to what the base makes likely."""
        stage = self.transcriber.stage
        kept = cut(
            self.settings.pruning.prefilter,
            lists,
            lambda row: map(stage.frame_scores, speech[row].by(stage)),
            lambda rows: self.transcriber.transcribe([speech[row] for row in rows]),
        )
        return [index.listed.given(words) for index, words in zip(lists, kept, strict=True)]


def _transcript(
    recording: EncodedAudio,
    rows: Sequence[tuple[KeywordIndex, list[str], Mapping[str, float], list[Written]]],
    timings: dict[str, float],
    doubtful: float,
) -> Transcript:
    """Build a recording's transcript.

    Args:
        rows: List, keywords for stage 2, their scores, and text and keywords of each segment: a single row for the
            whole
            recording, or one per segment.
        doubtful: Segments with a lower confidence are doubtful.
    """
    parts = [segment for *_, written in rows for segment in written]
    listed = list(dict.fromkeys(word for words, *_ in rows for word in words))
    finder = rows[0][0].finder if len(rows) == 1 else KeywordFinder(listed)
    given = {word for _, words, _, _ in rows for word in words}
    texts = without_doubles(recording.spans, [part.text for part in parts])
    text = " ".join(filter(None, texts))
    merged = best([scored for _, _, scored, _ in rows])
    return Transcript(
        text,
        predicted=written_with(parts, [word for word in listed if word in given]),
        found=finder.within(text),
        timings=timings | {"audio": recording.duration},
        scores={word: merged[word] for word in listed if word in merged},
        segments=[
            Segment(*span, text, part.confidence, part.confidence is not None and part.confidence < doubtful)
            for span, text, part in zip(recording.spans, texts, parts, strict=True)
        ],
        left_out=recording.left_out,
    )


@contextmanager
def _timed(timings: dict[str, float], name: str) -> Iterator[None]:
    start = time.perf_counter()
    yield
    timings[name] = time.perf_counter() - start
