"""Stage 1: which keywords of a list are spoken, with a score for each."""

import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from torch import Tensor

from sap2.data.segmentation import join
from sap2.inference.encoded import AudioEncoder, AudioInput, EncodedAudio
from sap2.inference.first_pass import Written, chances, written
from sap2.inference.index import IndexCache, KeywordIndex, Vocabulary
from sap2.inference.prefilter import cut
from sap2.inference.scoring import best, keyword_scores
from sap2.inference.stage_model import StageModel
from sap2.inference.threshold import above
from sap2.prompts import pruning_prompt, recognition_prompt
from sap2.settings import FirstPassWeights, PrunerSettings
from sap2.spelling import ReadList

__all__ = ["LEAST_TAG_SCORE", "TAG_THRESHOLD", "Pruner", "thresholds"]

TAG_THRESHOLD = math.log(0.5)  # default threshold of tagged keywords: as likely spoken as not
LEAST_TAG_SCORE = math.log(0.01)  # less likely keywords are dropped before the threshold


def thresholds(settings: PrunerSettings, tagging: bool) -> tuple[float | None, float | None]:
    """Return the minimum score of a selected keyword, and the lowest score that `Pruner.score_keywords` returns.

    None = no limit: all keywords of the answer are selected, or returned.
    """
    threshold = TAG_THRESHOLD if settings.threshold is None and tagging else settings.threshold
    return threshold, LEAST_TAG_SCORE if tagging else None


class Pruner:
    """Select the spoken keywords of lists of any length.

    Args:
        stage: The model with stage 1's adapter.
        base: The same base without an adapter, so that first passes without context do not depend on stage 2's
            training.
        settings: Settings of stage 1; first passes use the same search.
    """

    def __init__(self, stage: StageModel, base: StageModel, settings: PrunerSettings):
        self.stage, self.base, self.settings = stage, base, settings
        self.tagging = stage.tagging
        self.threshold, self.least = thresholds(settings, self.tagging)
        self.indexes = IndexCache(_vocabulary(stage, base))
        self.encode = AudioEncoder(self.stages, settings.batch_size, speech_only=settings.speech_only)

    @property
    def stages(self) -> list[StageModel]:
        """Stage models that read the audio."""
        first_pass = self.settings.prefilter is not None or (self.tagging and self.settings.first_pass is not None)
        return [self.stage, self.base] if first_pass else [self.stage]

    def select(
        self, audio: Sequence[AudioInput], keywords: Sequence[Sequence[str]], label: str | None = None
    ) -> list[dict[str, float]]:
        """Select each utterance's keywords whose scores reach the threshold, in its list's spelling and order."""
        return [above(scores, self.threshold) for scores in self.score_keywords(audio, keywords, label)]

    def score_keywords(
        self, audio: Sequence[AudioInput], keywords: Sequence[Sequence[str]], label: str | None = None
    ) -> list[dict[str, float]]:
        """Score the keywords of each list, in the list's spelling and order.

        These are the keywords in the model's answer or, if it tags, all but the least likely; at most `max_list`, those
        with the highest scores. A long list passes the prefilter, if set, then is split into chunks of `max_list`; the
        chunks and segments of all utterances are decoded together. A keyword's score is the best over chunks and
        segments.
        """
        speech = self.encode(audio)
        listed = [self.indexes.of(words) for words in keywords]
        lists, sizes = self._shortlist(speech, listed), [len(index.listed.read) for index in listed]
        scored: list[list[dict[str, float]]] = [[] for _ in speech]
        segments = (
            self._by_tags(speech, lists, sizes, label) if self.tagging else self._by_answers(speech, lists, label)
        )
        for utterance, scores in segments:
            scored[utterance].append(scores)
        return [
            index.listed.scores(self._merge(words, several))
            for index, words, several in zip(listed, lists, scored, strict=True)
        ]

    def evidence(
        self, audio: Sequence[AudioInput], keywords: Sequence[Sequence[str]]
    ) -> list[tuple[list[Written], list[float]]]:
        """Return the input of `sap2.inference.first_pass.chances` for each utterance of a single segment with a list.

        That is the keywords tried in its first transcript, as the base reads them, and each keyword's gain in
        likelihood.
        """
        speech = AudioEncoder([self.stage, self.base], self.settings.batch_size)(audio)
        lists = [ReadList(words, self.stage.spelling).read for words in keywords]
        tagged, weights = self._tagged(speech, lists, None), self.settings.first_pass or FirstPassWeights()
        return list(self._evidence(speech, tagged, [weights] * len(tagged)))

    def _by_answers(
        self, speech: Sequence[EncodedAudio], lists: Sequence[list[str]], label: str | None
    ) -> Iterator[tuple[int, dict[str, float]]]:
        """Yield utterance index and scores of each chunk and segment, by the model's answers."""
        rows = self._chunked(speech, lists)
        states = [speech[utterance].by(self.stage)[segment] for utterance, segment, _ in rows]
        chunks = [chunk for *_, chunk in rows]
        replies = self.stage.answers(
            states, [pruning_prompt()] * len(rows), chunks, self.settings,
            selecting=True, stop_bias=self.settings.stop_bias, label=label,
        )  # fmt: skip
        for (utterance, *_), answer, chunk in zip(rows, replies, chunks, strict=True):
            yield utterance, keyword_scores(answer, chunk)

    def _by_tags(
        self, speech: Sequence[EncodedAudio], lists: Sequence[list[str]], sizes: Sequence[int], label: str | None
    ) -> Iterator[tuple[int, dict[str, float]]]:
        """Yield utterance index and scores of each segment, by the model's tags.

        Args:
            sizes: Keywords of each utterance's list before the prefilter.
        """
        tagged, first_pass = self._tagged(speech, lists, label), self.settings.first_pass
        if first_pass is None:
            scored = [_log_probabilities(odds) for odds in tagged.values()]
        else:
            weights = [first_pass.for_list(sizes[utterance]) for utterance, _ in tagged]
            scored = [
                chances(tried, gains, own)
                for (tried, gains), own in zip(self._evidence(speech, tagged, weights), weights, strict=True)
            ]
        for (utterance, _), scores in zip(tagged, scored, strict=True):
            yield utterance, above(scores, self.least)

    def _chunked(self, speech: Sequence[EncodedAudio], lists: Sequence[list[str]]) -> list[tuple[int, int, list[str]]]:
        """Return utterance, segment and chunk of the list of each prompt of stage 1."""
        return [
            (utterance, segment, chunk)
            for utterance, (recording, words) in enumerate(zip(speech, lists, strict=True))
            for chunk in _chunks(words, self.settings.max_list)
            for segment in range(len(recording.spans))
        ]

    def _tagged(
        self, speech: Sequence[EncodedAudio], lists: Sequence[list[str]], label: str | None
    ) -> dict[tuple[int, int], dict[str, float]]:
        """Tag all keywords; return log-odds by utterance and segment."""
        rows = self._chunked(speech, lists)
        states = [speech[utterance].by(self.stage)[segment] for utterance, segment, _ in rows]
        odds = self.stage.tag(states, pruning_prompt(), [words for *_, words in rows], self.settings, label)
        tagged: dict[tuple[int, int], dict[str, float]] = {}
        for (utterance, segment, _), row in zip(rows, odds, strict=True):
            tagged.setdefault((utterance, segment), {}).update(row)
        return tagged

    def _evidence(
        self,
        speech: Sequence[EncodedAudio],
        tagged: Mapping[tuple[int, int], dict[str, float]],
        weights: Sequence[FirstPassWeights],
    ) -> Iterator[tuple[list[Written], list[float]]]:
        """Yield the keywords tried in the base's transcript of each tagged segment, and the gain of each."""
        states = [speech[utterance].by(self.base)[segment] for utterance, segment in tagged]
        prompts, no_lists = _without_context(len(states))
        texts = self._transcripts(states)
        tried = [written(text, odds, own) for text, odds, own in zip(texts, tagged.values(), weights, strict=True)]
        variants = [
            list(dict.fromkeys([own, *(candidate.text for candidate in row)])) if row else []
            for own, row in zip(texts, tried, strict=True)
        ]
        scored = self.base.log_likelihoods(states, prompts, no_lists, variants, self.settings)
        for own, row, texts_tried, logprobs in zip(texts, tried, variants, scored, strict=True):
            likely = dict(zip(texts_tried, logprobs, strict=True))
            yield row, [likely[candidate.text] - likely[own] for candidate in row]

    def _shortlist(self, speech: Sequence[EncodedAudio], listed: Sequence[KeywordIndex]) -> list[list[str]]:
        """The lists as the base reads them, long ones cut to what the base makes likely."""
        return cut(
            self.settings.prefilter,
            listed,
            lambda row: map(self.base.frame_scores, speech[row].by(self.base)),
            lambda rows: self._first_pass([speech[row] for row in rows]),
        )

    def _first_pass(self, speech: Sequence[EncodedAudio]) -> list[str]:
        """Transcribe each recording with the base, without context."""
        states = [segment for recording in speech for segment in recording.by(self.base)]
        texts = iter(self._transcripts(states))
        return [join(recording.spans, [next(texts) for _ in recording.spans]) for recording in speech]

    def _transcripts(self, states: Sequence[Tensor]) -> list[str]:
        """Transcribe each segment with the base, without context."""
        replies = self.base.answers(states, *_without_context(len(states)), self.settings, transcribing=True)
        return [answer.text for answer in replies]

    def _merge(self, words: list[str], several: list[dict[str, float]]) -> dict[str, float]:
        """Merge the scores of an utterance's chunks and segments: the `max_list` best keywords, in list order."""
        merged = best(several)
        kept = [word for word in words if word in merged]
        surest = set(sorted(kept, key=lambda word: -merged[word])[: self.settings.max_list])
        return {word: merged[word] for word in kept if word in surest}


def _vocabulary(stage: StageModel, base: StageModel) -> Vocabulary:
    """That of the base, with the spelling that stage 1 reads."""
    if stage.spelling == base.spelling:
        return base.vocabulary
    return Vocabulary(base.processor, stage.spelling, base.phonemes)


def _without_context(count: int) -> tuple[list[str], list[list[str]]]:
    """Prompts and lists of transcriptions without context."""
    return [recognition_prompt(False)] * count, [[]] * count


def _chunks(words: list[str], size: int) -> list[list[str]]:
    """Split a list into equal chunks of at most `size` words; a short last chunk would be pruned differently."""
    count = -(-len(words) // size)
    return [words[len(words) * i // count : len(words) * (i + 1) // count] for i in range(count)]


def _log_probabilities(odds: Mapping[str, float]) -> dict[str, float]:
    """Convert log-odds to log-probabilities."""
    return {word: -float(np.logaddexp(0.0, -value)) for word, value in odds.items()}
