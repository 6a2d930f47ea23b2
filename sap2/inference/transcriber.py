"""Stage 2: the transcript, written with the keywords that are given.

The comparison methods PC and JPI use only this stage: PC transcribes with the whole list, JPI answers with its
selection and the transcript.
"""

import math
from collections.abc import Sequence
from itertools import islice
from typing import NamedTuple

from torch import Tensor

from sap2.data.segmentation import join
from sap2.inference.encoded import AudioEncoder, AudioInput, EncodedAudio
from sap2.inference.rescoring import replaced, replacements
from sap2.inference.stage_model import StageModel
from sap2.prompts import joint_prompt, parse_joint, recognition_prompt
from sap2.settings import TranscriberSettings
from sap2.spelling import ReadList

__all__ = ["JPI", "TPI", "JointTranscriber", "Transcriber", "Written", "make_transcriber", "written_with"]

TPI, JPI = "tpi", "jpi"


class Written(NamedTuple):
    """A segment's text, the keywords it was written with, and its confidence.

    The confidence is the geometric mean of the tokens' probabilities, 0 to 1; over several segments their minimum; None
    without tokens.
    """

    text: str
    keywords: list[str]
    confidence: float | None = None


class Transcriber:
    """Transcribe with given keywords.

    Args:
        stage: The model with stage 2's adapter.
        settings: Settings of stage 2.
    """

    answers_are_text = True  # and nothing else

    def __init__(self, stage: StageModel, settings: TranscriberSettings):
        self.stage, self.settings = stage, settings
        cut = settings.max_segment, settings.segment_overlap, settings.speech_only
        self.encode = AudioEncoder([stage], settings.batch_size, *cut)

    def transcribe(
        self, audio: Sequence[AudioInput], keywords: Sequence[Sequence[str]] | None = None, label: str | None = None
    ) -> list[str]:
        """Return each utterance's text, transcribed with the given keywords (None = without context)."""
        given = [[]] * len(audio) if keywords is None else keywords
        return [written.text for written in self.integrate(audio, given, label)]

    def integrate(
        self, audio: Sequence[AudioInput], keywords: Sequence[Sequence[str]], label: str | None = None
    ) -> list[Written]:
        """Return each utterance's text and the keywords it was written with: those given, or JPI's selection."""
        speech = self.encode(audio)
        segments = self.by_segment(speech, keywords, label)
        return [
            Written(join(recording.spans, [part.text for part in parts]), written_with(parts, words), _least(parts))
            for recording, parts, words in zip(speech, segments, keywords, strict=True)
        ]

    def by_segment(
        self, speech: Sequence[EncodedAudio], keywords: Sequence[Sequence[str]], label: str | None = None
    ) -> list[list[Written]]:
        """Return text and keywords of each utterance's segments; keywords in the text are spelt as listed."""
        states = [segment for recording in speech for segment in recording.by(self.stage)]
        given = [ReadList(words, self.stage.spelling) for words in keywords]
        lists = [listed.read for recording, listed in zip(speech, given, strict=True) for _ in recording.spans]
        prompts = [self._prompt(words) for words in lists]
        answers = self.stage.answers(
            states, prompts, lists, self.settings, transcribing=self.answers_are_text, scored=True, label=label
        )
        read = self._read(states, lists, [answer.text for answer in answers])
        written = iter(
            Written(text, used, confidence_of(answer.logprobs))
            for (text, used), answer in zip(read, answers, strict=True)
        )
        return [
            [
                Written(listed.restored(part.text, part.keywords), listed.given(part.keywords), part.confidence)
                for part in islice(written, len(recording.spans))
            ]
            for recording, listed in zip(speech, given, strict=True)
        ]

    def _prompt(self, keywords: Sequence[str]) -> str:
        return recognition_prompt(bool(keywords))

    def _read(self, states: list[Tensor], keywords: list[list[str]], answers: list[str]) -> list[tuple[str, list[str]]]:
        """Parse text and keywords from each answer; keywords in the base's spelling."""
        if self.settings.rescoring is not None:
            answers = self._rescored(states, keywords, answers, self.settings.rescoring)
        return list(zip(answers, keywords, strict=True))

    def _rescored(self, states: list[Tensor], keywords: list[list[str]], texts: list[str], loss: float) -> list[str]:
        """Replace words that resemble a keyword in transcripts if that costs at most `loss`."""
        tried = [replacements(text, words) for text, words in zip(texts, keywords, strict=True)]
        variants = [
            [" ".join(words) for words in (text.split(), *(candidate.within(text.split()) for candidate in row))]
            if row
            else []
            for text, row in zip(texts, tried, strict=True)
        ]
        prompts = [self._prompt(words) for words in keywords]
        scored = self.stage.log_likelihoods(states, prompts, keywords, variants, self.settings)
        return [
            replaced(text, row, [with_it - likely[0] + loss for with_it in likely[1:]])
            for text, row, likely in zip(texts, tried, scored, strict=True)
        ]


class JointTranscriber(Transcriber):
    """JPI transcriber, whose answers contain a selection from the list and the transcript."""

    answers_are_text = False

    def _prompt(self, keywords: Sequence[str]) -> str:
        return joint_prompt()

    def _read(self, states: list[Tensor], keywords: list[list[str]], answers: list[str]) -> list[tuple[str, list[str]]]:
        parsed = [parse_joint(answer, words) for answer, words in zip(answers, keywords, strict=True)]
        return [(text, selected) for selected, _, text in parsed]


def make_transcriber(stage: StageModel, settings: TranscriberSettings) -> Transcriber:
    """Create the transcriber of the model's method."""
    return (JointTranscriber if stage.method == JPI else Transcriber)(stage, settings)


def written_with(parts: Sequence[Written], given: Sequence[str]) -> list[str]:
    """Return the given keywords that any segment was written with."""
    used = {word for part in parts for word in part.keywords}
    return [word for word in given if word in used]


def confidence_of(logprobs: Sequence[float]) -> float | None:
    """Compute the geometric mean of probabilities from their logarithms; None if empty.

    >>> confidence_of([0.0, 0.0])
    1.0
    """
    return math.exp(sum(logprobs) / len(logprobs)) if logprobs else None


def _least(parts: Sequence[Written]) -> float | None:
    return min((part.confidence for part in parts if part.confidence is not None), default=None)
