"""The two-stage recogniser: one base, two adapters; prune the list by listening, then transcribe with what is left.

For comparison a model may be of another method (its configuration says which): PC transcribes with the whole list, JPI
answers with its selection and the transcript. Both have one adapter and no stage 1.
"""

import math
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from peft import PeftModel
from peft.tuners.tuners_utils import BaseTunerLayer
from peft.utils import AuxiliaryTrainingWrapper
from torch import Tensor

from sap2.data.segmentation import join, segments, without_doubles
from sap2.errors import ModelError
from sap2.inference.decoding import Answer, Decoding, answers, encode, likelihoods, tags
from sap2.inference.first_pass import FirstPass, Written, chances, written
from sap2.inference.rescoring import replaced, replacements
from sap2.inference.scoring import best, keyword_scores
from sap2.inference.threshold import above
from sap2.model import SAMPLE_RATE, add_adapter, load_model, load_processor, processor_fields, sap_settings
from sap2.prompts import joint_prompt, parse_joint, pruning_prompt, recognition_prompt

PRUNER, RECOGNISER = "pruner", "recogniser"
BASE = "base"  # no adapter: what the base hears is the same before stage 2 is trained and after
TPI, JPI = "tpi", "jpi"
EVEN = math.log(0.5)  # of a tagged keyword: as likely spoken as not
DOUBTFUL = math.log(0.01)  # a keyword less likely than this is out of the question
SHORTEST_SEGMENT = 1.0  # seconds that a limit of segments must leave

Seconds = float


@dataclass(frozen=True)
class Heard:
    """What the encoder made of a recording; can be recognised as often as wanted.

    Args:
        states: Of each segment, `(frames, encoder_hidden)`.
        spans: Start and end of each segment.
        duration: Of the recording.
    """

    states: list[Tensor]
    spans: list[tuple[Seconds, Seconds]]
    duration: Seconds

    def parts(self) -> list["Heard"]:
        """Each segment as a recording of its own, at its time."""
        return [Heard([states], [span], self.duration) for states, span in zip(self.states, self.spans, strict=True)]


# An utterance: path, waveform (16 kHz mono), or what `Recogniser.encode` gave for it.
Utterable = str | Path | np.ndarray | Heard
# A recording's keyword list, or what the list is between two times, for recordings whose slides have times.
Listed = Sequence[str] | Callable[[Seconds, Seconds], Sequence[str]]


@dataclass(frozen=True)
class Segment:
    """A part of a recording and its text; seconds from the recording's start. Two may overlap, their texts don't."""

    start: Seconds
    end: Seconds
    text: str


@dataclass(frozen=True)
class Transcript:
    """What was said, and which list words took part.

    Args:
        text: The transcript.
        predicted: List words stage 1 heard, in the list's spelling and order: what stage 2 was given. Of PC the whole
            list, of JPI the answer's selection.
        found: List words that stand in the text as whole words, in any case.
        scores: How sure stage 1 was of each predicted word: the log-probability of its being named, 0 = certain; empty
            without a stage 1.
        timings: Seconds of `encode`, `prune`, `transcribe`, of the whole batch, and `audio`, the recording's length.
        segments: The parts the encoder heard, in order; their texts together are the transcript.
    """

    text: str
    predicted: list[str]
    found: list[str]
    timings: dict[str, float] = field(compare=False, default_factory=dict)
    scores: dict[str, float] = field(compare=False, default_factory=dict)
    segments: list[Segment] = field(compare=False, default_factory=list)


class Recogniser:
    """A base with a pruner and a recogniser adapter.

    Args:
        model: The base, wrapped with the adapters "pruner" and "recogniser" as far as they are there.
        processor: Set up for the model's window.
        decoding: How answers are searched for.
        max_list: Keywords stage 1 sees at once; longer lists are pruned in chunks, and the surest of their answers, at
            most so many, are merged.
        pruning_decoding: Stage 1's own search, as `decoding` when None.
        stop_bias: Added to the logits of naming no (further) keyword; below 0 stage 1 hears more, and more falsely.
        threshold: Least score of a selected keyword (log-probability, at most 0); None = all that are selected, or,
            where keywords are tagged, more likely spoken than not.
        first_pass: Weights of what the base heard without context, beside the tags: the fields of
            `sap2.inference.first_pass.FirstPass`. None = the tags alone.
        prefilter: Keywords that a first pass without context leaves of a longer list; None = stage 1 reads it all.
        max_segment: Seconds of a segment of a longer recording, at most; None = what the encoder takes.
        segment_overlap: Seconds that two segments share where no pause parts them: see `sap2.data.segmentation`.
        pruner: Stage 1's own model and processor, where it is no adapter: see `from_checkpoints`.
    """

    def __init__(
        self,
        model,
        processor,
        decoding: Decoding | None = None,
        max_list: int = 200,
        pruning_decoding: Decoding | None = None,
        stop_bias: float = 0.0,
        threshold: float | None = None,
        first_pass: Mapping[str, float] | None = None,
        prefilter: int | None = None,
        max_segment: Seconds | None = None,
        segment_overlap: Seconds = 1.0,
        pruner: tuple | None = None,
    ):
        if max_list < 1:
            raise ModelError(f"max_list is {max_list}, must be at least 1")
        if threshold is not None and not threshold <= 0:
            raise ModelError(f"threshold is {threshold}, must be a log-probability, at most 0")
        if prefilter is not None and prefilter < 1:
            raise ModelError(f"prefilter is {prefilter}, must be at least 1, or None to turn it off")
        if max_segment is not None and not max_segment >= SHORTEST_SEGMENT or not segment_overlap >= 0:
            raise ModelError(
                f"max_segment is {max_segment}, segment_overlap {segment_overlap}; expected at least "
                f"{SHORTEST_SEGMENT:g} s, and at least 0 s"
            )
        self.model, self.processor, self.max_list = model.eval(), processor, max_list
        self.max_segment, self.segment_overlap = max_segment, segment_overlap
        self.pruner = pruner
        self._encoder_adapted = _encoder_adapted(model)
        self.decoding = decoding or Decoding()
        self.pruning_decoding = pruning_decoding or self.decoding
        self.stop_bias, self.prefilter = stop_bias, prefilter
        self.first_pass = None if first_pass is None else FirstPass(**first_pass)
        self.threshold = EVEN if threshold is None and self.tagging else threshold

    @classmethod
    def load(
        cls,
        base: str | Path,
        pruner: str | Path | None = None,
        recogniser: str | Path | None = None,
        *,
        decoding: Decoding | None = None,
        max_list: int = 200,
        stop_bias: float = 0.0,
        threshold: float | None = None,
        first_pass: Mapping[str, float] | None = None,
        prefilter: int | None = None,
        max_segment: Seconds | None = None,
        segment_overlap: Seconds = 1.0,
        device: str | None = None,
        dtype: str | torch.dtype | None = None,
        **sap_overrides,
    ) -> "Recogniser":
        """Load one base and the two adapters; a stage without an adapter runs on the bare base.

        With the methods PC and JPI the pruner may be left out, or be the folder that says there is none.

        Args:
            dtype: None = the checkpoint's own on a GPU, float32 on a CPU, where half precision is many times slower.
        Raises: ModelError: a folder is unusable, or the adapters were trained with different pooling.
        """
        adapters = {name: path for name, path in ((PRUNER, pruner), (RECOGNISER, recogniser)) if path is not None}
        settings = {name: sap_settings(path) for name, path in adapters.items()}
        if len(settings) == 2 and all(settings.values()) and settings[PRUNER] != settings[RECOGNISER]:
            raise ModelError(
                f"{pruner} was trained with {settings[PRUNER]}, {recogniser} with {settings[RECOGNISER]}; "
                "train both stages with the same model section"
            )
        trained = next((found for found in settings.values() if found), {})
        if trained.get("method", TPI) != TPI:
            adapters.pop(PRUNER, None)
        given = {name: value for name, value in sap_overrides.items() if value is not None}
        if dtype is None:
            dtype = "auto" if device and torch.device(device).type != "cpu" else torch.float32
        model = load_model(base, dtype=dtype, **trained | given)
        processor = load_processor(base, **processor_fields(model.config))
        for name, path in adapters.items():
            model = add_adapter(model, path, name)
        model = model.to(device) if device else model
        return cls(
            model, processor, decoding, max_list, stop_bias=stop_bias, threshold=threshold,
            first_pass=first_pass, prefilter=prefilter, max_segment=max_segment, segment_overlap=segment_overlap,
        )  # fmt: skip

    @classmethod
    def from_checkpoints(
        cls,
        pruner: str | Path,
        recogniser: str | Path,
        *,
        decoding: Decoding | None = None,
        device: str | None = None,
        dtype: str | torch.dtype | None = None,
        **options,
    ) -> "Recogniser":
        """Load a whole model for each stage, as the public SAP² checkpoints are.

        Pooling and tokenizer are each model's own. An encoder with the same weights in both is kept and run once.

        Args:
            pruner, recogniser: Folders or hub ids in Hugging Face format.
            dtype: See `load`.
            options: See the class.
        Raises: ModelError: one cannot be used, is of a method without stages, or hears other frames than the other.
        """
        first, second = (cls.load(path, device=device, dtype=dtype) for path in (pruner, recogniser))
        for path, stage in ((pruner, first), (recogniser, second)):
            if stage.method != TPI:
                raise ModelError(f"{path}: its method is {stage.method}, a model of one stage; load it alone")
        if first.frame_seconds != second.frame_seconds:
            raise ModelError(
                f"{pruner} hears frames of {first.frame_seconds:g} s, {recogniser} of {second.frame_seconds:g} s; "
                "give checkpoints with the same kind of encoder"
            )
        towers = [stage.model.model.audio_tower for stage in (first, second)]
        if _same_weights(*towers):
            first.model.model.audio_tower = towers[1]
        return cls(second.model, second.processor, decoding, pruner=(first.model, first.processor), **options)

    @property
    def method(self) -> str:
        """What the model was trained to do with a list: `tpi`, `pc` or `jpi`."""
        return self.model.config.method

    @property
    def tagging(self) -> bool:
        """Whether stage 1 was trained to tag the keywords, and prunes by its tags."""
        return self.method == TPI and self._parts(PRUNER)[0].config.tagging > 0

    @property
    def least(self) -> float | None:
        """The lowest score of what `weigh` gives, where it is not all that stage 1 answers with."""
        return DOUBTFUL if self.tagging else None

    def identity(self) -> str:
        """A digest of what decides the text: see `sap2.inference.identity`."""
        from sap2.inference.identity import identity

        return identity(self)

    def __call__(self, audio: Utterable, keywords: Listed = ()) -> Transcript:
        """Recognise one recording of any length with a keyword list of any length."""
        return self.recognise([audio], [keywords])[0]

    def recognise(self, audio: Sequence[Utterable], keywords: Sequence[Listed]) -> list[Transcript]:
        """Recognise several recordings, each with its list; all their segments are decoded together.

        Args:
            keywords: Of each recording its list, for all its segments; or a function of a segment's start and end in
                seconds that answers with that segment's own.
        """
        timings: dict[str, float] = {}
        with _timed(timings, "encode"):
            recordings = self.encode(audio)
        split = [one.parts() if callable(listed) else [one] for one, listed in zip(recordings, keywords, strict=True)]
        lists = [
            list(dict.fromkeys(listed(*part.spans[0]) if callable(listed) else listed))
            for parts, listed in zip(split, keywords, strict=True)
            for part in parts
        ]
        speech = [part for parts in split for part in parts]
        with _timed(timings, "prune"):
            if self.method == TPI:
                scores = self.select(speech, lists)
                given = [list(scored) for scored in scores]
            else:
                given, scores = self._shortlist(speech, lists), [{} for _ in lists]
        with _timed(timings, "transcribe"):
            answered = self._integrate(speech, given)
        rows = iter(zip(lists, given, scores, answered, strict=True))
        return [
            _transcript(one, [next(rows) for _ in parts], timings) for one, parts in zip(recordings, split, strict=True)
        ]

    @property
    def frame_seconds(self) -> float:
        """Seconds of audio a frame of states stands for (0.04 for Whisper's encoder and a pooling of 2)."""
        return 4 * self.processor.feature_extractor.hop_length / SAMPLE_RATE

    @property
    def segment_limit(self) -> float:
        """Seconds of a segment at most: what the encoder takes at once (where there are two, both), or less, if set."""
        limits = [] if self.max_segment is None else [self.max_segment]
        for model, processor in filter(None, ((self.model, self.processor), self.pruner)):
            extractor, positions = processor.feature_extractor, model.config.audio_config.max_source_positions
            limits.append(min(2 * positions * extractor.hop_length, extractor.n_samples) / SAMPLE_RATE)
        return min(limits)

    def encode(self, audio: Sequence[Utterable], label: str | None = None) -> list[Heard]:
        """Run the encoder once on an utterance's segments (one, if it fits).

        Where stage 1 hears otherwise, with another encoder or an adapter of it, it runs once for each stage, and stage
        1's states follow stage 2's: `(frames, both_hidden)`. The result can be given to `prune` and `transcribe` as
        often as wanted.
        """
        waves: list[np.ndarray] = []
        heard: list[Heard] = []
        for item in audio:
            if isinstance(item, Heard):
                heard.append(item)
                continue
            wave = _load(item)
            spans = segments(wave, self.segment_limit, self.segment_overlap)
            waves += [wave[round(start * SAMPLE_RATE) : round(end * SAMPLE_RATE)] for start, end in spans]
            heard.append(Heard([], spans, len(wave) / SAMPLE_RATE))
        states = iter(self._states(waves, label))
        return [replace(one, states=one.states or [next(states) for _ in one.spans]) for one in heard]

    def _states(self, waves: Sequence[np.ndarray], label: str | None) -> list[Tensor]:
        stages = (RECOGNISER, PRUNER) if self._two_encoders else (RECOGNISER,)
        states = []
        for stage in stages:
            with self._adapter(stage) if self._encoder_adapted else nullcontext():
                states.append(encode(*self._parts(stage), waves, self.decoding.batch_size, label=label))
        return states[0] if len(states) == 1 else [torch.cat(both, -1) for both in zip(*states, strict=True)]

    @property
    def _two_encoders(self) -> bool:
        """Whether the stages hear differently: an encoder each, or an adapter that changes the one there is."""
        if self.pruner is not None:
            return self.pruner[0].model.audio_tower is not self.model.model.audio_tower
        return self._encoder_adapted and self.method == TPI

    def _parts(self, stage: str) -> tuple:
        """The stage's model and processor."""
        return self.pruner if stage == PRUNER and self.pruner else (self.model, self.processor)

    def prune(
        self, audio: Sequence[Utterable], keywords: Sequence[Sequence[str]], label: str | None = None
    ) -> list[list[str]]:
        """Stage 1: each utterance's spoken keywords, in its list's spelling and order."""
        return [list(scores) for scores in self.select(audio, keywords, label)]

    def select(
        self, audio: Sequence[Utterable], keywords: Sequence[Sequence[str]], label: str | None = None
    ) -> list[dict[str, float]]:
        """Stage 1 with its certainty: each utterance's spoken keywords and their scores, in its list's order.

        Those of `weigh` that reach the threshold. Raises: as there.
        """
        return [above(scores, self.threshold) for scores in self.weigh(audio, keywords, label)]

    def weigh(
        self, audio: Sequence[Utterable], keywords: Sequence[Sequence[str]], label: str | None = None
    ) -> list[dict[str, float]]:
        """The keywords that stage 1 takes into account at all, with their scores, in the list's order: those of its
        answer, or where it tags them all that are not quite out of the question; at most `max_list`, the surest.

        A long list goes through the prefilter, if one is set, then in chunks of `max_list`; all chunks and segments of
        all utterances are decoded together. A keyword's score is the best it got from any of them.

        Raises: ModelError: the model's method has no stage 1.
        """
        if self.method != TPI:
            raise ModelError(f"the method is {self.method}, which has no stage 1; transcribe with the whole list")
        speech = self.encode(audio)
        lists = self._shortlist(speech, [list(dict.fromkeys(words)) for words in keywords])
        scored: list[list[dict[str, float]]] = [[] for _ in speech]
        if self.tagging:
            tagged = self._tagged(speech, lists, label)
            if self.first_pass:
                weighed = [chances(*told, self.first_pass) for told in self._evidence(speech, tagged)]
            else:
                weighed = [_log_chances(odds) for odds in tagged.values()]
            for (utterance, _), scores in zip(tagged, weighed, strict=True):
                scored[utterance].append(above(scores, self.least))
        else:
            rows = self._chunked(speech, lists)
            states, chunks = [speech[one].states[segment] for one, segment, _ in rows], [chunk for *_, chunk in rows]
            replies = self._answers(PRUNER, states, lambda _: pruning_prompt(), chunks, label)
            for (utterance, *_), answer, chunk in zip(rows, replies, chunks, strict=True):
                scored[utterance].append(keyword_scores(answer, chunk))
        return [self._merge(words, several) for words, several in zip(lists, scored, strict=True)]

    def evidence(
        self, audio: Sequence[Utterable], keywords: Sequence[Sequence[str]]
    ) -> list[tuple[list[Written], list[float]]]:
        """What `sap2.inference.first_pass.chances` weighs, for each utterance of a single segment with a list: the
        keywords that were tried in its first transcript, and how much likelier each makes it.
        """
        speech = self.encode(audio)
        return list(self._evidence(speech, self._tagged(speech, [list(words) for words in keywords], None)))

    def _chunked(self, speech: Sequence[Heard], lists: Sequence[list[str]]) -> list[tuple[int, int, list[str]]]:
        """Utterance, segment and part of the list of everything stage 1 is asked."""
        return [
            (utterance, segment, chunk)
            for utterance, (one, words) in enumerate(zip(speech, lists, strict=True))
            for chunk in _chunks(words, self.max_list)
            for segment in range(len(one.states))
        ]

    def _tagged(
        self, speech: Sequence[Heard], lists: Sequence[list[str]], label: str | None
    ) -> dict[tuple[int, int], dict[str, float]]:
        """Of utterance and segment each keyword's log-odds."""
        rows = self._chunked(speech, lists)
        states = self._heard_by(PRUNER, [speech[utterance].states[segment] for utterance, segment, _ in rows])
        model, processor = self._parts(PRUNER)
        model = model.get_base_model() if isinstance(model, PeftModel) else model  # with the adapter's layers in it
        decoding = self.pruning_decoding
        with self._adapter(PRUNER):
            found = tags(
                model, processor, states, pruning_prompt(), [words for *_, words in rows],
                batch_size=decoding.batch_size, batch_tokens=decoding.batch_tokens, label=label,
            )  # fmt: skip
        tagged: dict[tuple[int, int], dict[str, float]] = {}
        for (utterance, segment, _), odds in zip(rows, found, strict=True):
            tagged.setdefault((utterance, segment), {}).update(odds)
        return tagged

    def _evidence(
        self, speech: Sequence[Heard], tagged: Mapping[tuple[int, int], dict[str, float]]
    ) -> Iterator[tuple[list[Written], list[float]]]:
        """Of each segment that was tagged, what the base's first pass tells."""
        states = [speech[utterance].states[segment] for utterance, segment in tagged]
        texts = self._without_context(states)
        tried = [
            written(text, odds, self.first_pass or FirstPass())
            for text, odds in zip(texts, tagged.values(), strict=True)
        ]
        asked = [
            list(dict.fromkeys([own, *(one.text for one in ones)])) if ones else []
            for own, ones in zip(texts, tried, strict=True)
        ]
        for own, ones, one_by_one, found in zip(
            texts, tried, asked, self._likelihoods(BASE, states, [[]] * len(states), asked), strict=True
        ):
            likely = dict(zip(one_by_one, found, strict=True))
            yield ones, [likely[one.text] - likely[own] for one in ones]

    def _without_context(self, states: list[Tensor]) -> list[str]:
        """What the base hears in each segment by itself."""
        prompt = lambda _: recognition_prompt(False)  # noqa: E731
        return [answer.text for answer in self._answers(BASE, states, prompt, [[]] * len(states), None)]

    def _shortlist(self, speech: list[Heard], lists: list[list[str]]) -> list[list[str]]:
        """The lists, those longer than `prefilter` cut to what a first pass without context makes likely."""
        long = [row for row, words in enumerate(lists) if self.prefilter is not None and len(words) > self.prefilter]
        if not long:
            return lists
        from sap2.inference.prefilter import shortlist

        hypotheses = self.transcribe([speech[row] for row in long])
        kept = dict(zip(long, shortlist(hypotheses, [lists[row] for row in long], self.prefilter), strict=True))
        return [kept.get(row, words) for row, words in enumerate(lists)]

    def _merge(self, words: list[str], several: list[dict[str, float]]) -> dict[str, float]:
        """One selection of those of an utterance's chunks and segments: the surest, in list order."""
        merged = best(several)
        kept = [word for word in words if word in merged]
        surest = set(sorted(kept, key=lambda word: -merged[word])[: self.max_list])
        return {word: merged[word] for word in kept if word in surest}

    def transcribe(
        self, audio: Sequence[Utterable], keywords: Sequence[Sequence[str]] | None = None, label: str | None = None
    ) -> list[str]:
        """Stage 2: each utterance's text, with the keywords it is given (none = without context)."""
        given = [[]] * len(audio) if keywords is None else keywords
        return [text for text, _ in self.integrate(audio, given, label)]

    def integrate(
        self, audio: Sequence[Utterable], keywords: Sequence[Sequence[str]], label: str | None = None
    ) -> list[tuple[str, list[str]]]:
        """Each utterance's text, and the keywords it was written with: those given, of them JPI's own selection."""
        speech = self.encode(audio)
        answered = self._integrate(speech, keywords, label)
        return [
            (join(one.spans, [text for text, _ in parts]), _selected(parts, words))
            for one, parts, words in zip(speech, answered, keywords, strict=True)
        ]

    def _integrate(
        self, speech: Sequence[Heard], keywords: Sequence[Sequence[str]], label: str | None = None
    ) -> list[list[tuple[str, list[str]]]]:
        """The text and keywords of each segment of each utterance."""
        joint = self.method == JPI
        rows = [
            (utterance, states, list(words))
            for utterance, (one, words) in enumerate(zip(speech, keywords, strict=True))
            for states in one.states
        ]
        prompt = lambda words: joint_prompt() if joint else recognition_prompt(bool(words))  # noqa: E731
        found = self._answers(RECOGNISER, [s for _, s, _ in rows], prompt, [words for _, _, words in rows], label)
        answered: list[list[tuple[str, list[str]]]] = [[] for _ in speech]
        texts = [answer.text for answer in found]
        if self.decoding.rescoring is not None and not joint:
            texts = self._rescored([states for _, states, _ in rows], [words for *_, words in rows], texts)
        for (utterance, _, words), text in zip(rows, texts, strict=True):
            selected, _, text = parse_joint(text, words) if joint else (words, [], text)
            answered[utterance].append((text, selected))
        return answered

    def _rescored(self, states: list[Tensor], keywords: list[list[str]], texts: list[str]) -> list[str]:
        """The transcripts, with keywords in the place of what is nearly one where that costs little."""
        tried = [replacements(text, words) for text, words in zip(texts, keywords, strict=True)]
        asked = [
            [" ".join(words) for words in (text.split(), *(one.within(text.split()) for one in ones))] if ones else []
            for text, ones in zip(texts, tried, strict=True)
        ]
        rescored = []
        found = self._likelihoods(RECOGNISER, states, keywords, asked)
        for text, ones, likely in zip(texts, tried, found, strict=True):
            gains = [with_it - likely[0] + self.decoding.rescoring for with_it in likely[1:]]
            rescored.append(replaced(text, ones, gains))
        return rescored

    def _likelihoods(
        self, stage: str, states: list[Tensor], keywords: list[list[str]], texts: list[list[str]]
    ) -> list[list[float]]:
        """The log-probability of each of a segment's texts as its transcript."""
        asked = [row for row, several in enumerate(texts) if several]
        lists = [keywords[row] for row in asked]
        with self._adapter(stage):
            found = likelihoods(
                *self._parts(stage), self._heard_by(stage, [states[row] for row in asked]),
                [recognition_prompt(bool(words)) for words in lists], lists, [texts[row] for row in asked],
                batch_size=self.decoding.batch_size, batch_tokens=self.decoding.batch_tokens,
            )  # fmt: skip
        likely = dict(zip(asked, found, strict=True))
        return [likely.get(row, []) for row in range(len(texts))]

    def _heard_by(self, stage: str, states: list[Tensor]) -> list[Tensor]:
        """The stage's own of `encode`'s states."""
        if not self._two_encoders:
            return states
        width = self.model.config.audio_config.d_model
        return [both[:, width:] if stage == PRUNER else both[:, :width] for both in states]

    def _answers(self, stage: str, states, prompt: Callable, keywords, label: str | None) -> list[Answer]:
        decoding = self.pruning_decoding if stage == PRUNER else self.decoding
        model, processor = self._parts(stage)
        states = self._heard_by(stage, states)
        with self._adapter(stage):
            return answers(
                model, processor, states, [prompt(words) for words in keywords], keywords,
                batch_size=decoding.batch_size, batch_tokens=decoding.batch_tokens,
                max_new_tokens=decoding.max_new_tokens, num_beams=decoding.num_beams, selecting=stage == PRUNER,
                stop_bias=self.stop_bias, scored=stage == PRUNER, label=label,
            )  # fmt: skip

    @contextmanager
    def _adapter(self, stage: str) -> Iterator[None]:
        """The stage's adapter for a while; the bare base when there is none. A model not wrapped is taken as it is."""
        adapters = self.model.peft_config if isinstance(self.model, PeftModel) else {}
        if stage in adapters:
            self.model.set_adapter(stage, inference_mode=True)
            yield
        elif adapters:
            with self.model.disable_adapter():
                yield
        else:
            yield


def standing_in(text: str, keywords: Sequence[str]) -> list[str]:
    """The keywords that stand in the text as whole words, in any case, in list order, each once.

    >>> standing_in("ask Jon about new york's trains", ["John", "jon", "New York", "trains"])
    ['jon', 'trains']
    """
    # An apostrophe or hyphen between letters is part of the word: "york's" is not "york".
    words = {word: r"\s+".join(map(re.escape, word.split())) for word in dict.fromkeys(keywords) if word.strip()}
    pattern = r"(?<!\w)(?<!\w['’-])(?:{})(?!\w|['’-]\w)"
    return [word for word, escaped in words.items() if re.search(pattern.format(escaped), text, re.IGNORECASE)]


def _transcript(heard: Heard, rows: Sequence[tuple], timings: dict[str, float]) -> Transcript:
    """A recording's transcript.

    Args:
        rows: List, keywords given to stage 2, their scores, and text and keywords of each segment: once for the whole
            recording, or once a segment.
    """
    answered = [segment for *_, parts in rows for segment in parts]
    listed = list(dict.fromkeys(word for words, *_ in rows for word in words))
    given = {word for _, words, _, _ in rows for word in words}
    texts = without_doubles(heard.spans, [text for text, _ in answered])
    text = " ".join(filter(None, texts))
    merged = best([scored for _, _, scored, _ in rows])
    return Transcript(
        text,
        predicted=_selected(answered, [word for word in listed if word in given]),
        found=standing_in(text, listed),
        timings=timings | {"audio": heard.duration},
        scores={word: merged[word] for word in listed if word in merged},
        segments=[Segment(*span, text) for span, text in zip(heard.spans, texts, strict=True)],
    )


def _selected(parts: Sequence[tuple[str, list[str]]], given: Sequence[str]) -> list[str]:
    """Those of the keywords given that any segment was written with."""
    selected = {word for _, words in parts for word in words}
    return [word for word in given if word in selected]


def _encoder_adapted(model) -> bool:
    """Whether an adapter changes the encoder, as one trained with `freeze_vit: false` does."""
    wrappers = (BaseTunerLayer, AuxiliaryTrainingWrapper)
    return isinstance(model, PeftModel) and any(
        isinstance(module, wrappers) for module in model.get_base_model().model.audio_tower.modules()
    )


def _same_weights(one: torch.nn.Module, other: torch.nn.Module) -> bool:
    ours, theirs = one.state_dict(), other.state_dict()
    return ours.keys() == theirs.keys() and all(
        weight.shape == theirs[name].shape and torch.equal(weight, theirs[name]) for name, weight in ours.items()
    )


def _load(item: str | Path | np.ndarray) -> np.ndarray:
    if isinstance(item, np.ndarray):
        return item
    from sap2.data.audio import load_audio

    return load_audio(item)


def _log_chances(odds: dict[str, float]) -> dict[str, float]:
    """The log-probabilities of what has these log-odds."""
    return {word: -float(np.logaddexp(0.0, -one)) for word, one in odds.items()}


def _chunks(words: list[str], size: int) -> list[list[str]]:
    """Equal parts of at most `size` words: a last chunk of one word would be pruned unlike the others."""
    count = -(-len(words) // size)
    return [words[len(words) * i // count : len(words) * (i + 1) // count] for i in range(count)]


@contextmanager
def _timed(timings: dict[str, float], name: str) -> Iterator[None]:
    start = time.perf_counter()
    yield
    timings[name] = time.perf_counter() - start
