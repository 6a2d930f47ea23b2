"""Recordings cut into segments and encoded once, shared by all stages that read them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import compress
from pathlib import Path

import numpy as np
from torch import Tensor

from sap2.constants import SAMPLE_RATE, Seconds
from sap2.data.audio import load_audio
from sap2.data.segmentation import segments
from sap2.data.speech_activity import speech_spans
from sap2.errors import ModelError
from sap2.inference.stage_model import BARE_ENCODER, StageModel

__all__ = ["AudioCut", "AudioEncoder", "AudioInput", "AudioSegment", "EncodedAudio"]

Span = tuple[Seconds, Seconds]


@dataclass(frozen=True)
class AudioCut:
    """A recording's division into segments.

    Args:
        spans: Start and end of the segments to recognise.
        left_out: Start and end of the segments without speech.
    """

    spans: list[Span]
    left_out: list[Span] = field(default_factory=list)


@dataclass(frozen=True)
class EncodedAudio:
    """A recording's encoded segments, which can be recognised repeatedly.

    Args:
        states: By encoder, the states of each segment, `(frames, encoder_hidden)`.
        spans: Start and end of each segment.
        duration: Length of the recording.
        left_out: Start and end of segments without speech, which were not encoded.
    """

    states: Mapping[str, list[Tensor]]
    spans: list[Span]
    duration: Seconds
    left_out: list[Span] = field(default_factory=list)

    @classmethod
    def whole(cls, states: Tensor, duration: Seconds) -> "EncodedAudio":
        """Build a recording with a single segment, encoded by the base's encoder."""
        return cls({BARE_ENCODER: [states]}, [(0.0, duration)], duration)

    def by(self, stage: StageModel) -> list[Tensor]:
        """Return each segment's states from the stage's encoder.

        Raises: ModelError: another recogniser encoded the recording.
        """
        if stage.encoder not in self.states:
            raise ModelError(
                f"audio encoded by {', '.join(self.states)}, expected {stage.encoder}; encode it with this recogniser"
            )
        return self.states[stage.encoder]

    def segments(self) -> list["EncodedAudio"]:
        """Return each segment as a recording of its own, with its span."""
        return [
            EncodedAudio({encoder: [states[index]] for encoder, states in self.states.items()}, [span], self.duration)
            for index, span in enumerate(self.spans)
        ]


@dataclass(eq=False)
class AudioSegment:
    """A segment of a recording, which is not cut again and is encoded once even if it is recognised repeatedly.

    Args:
        wave: Samples of the segment, 16 kHz mono.
        span: Start and end in the recording.
        encoded: The encoded segment; set by the first `AudioEncoder` that gets it.
    """

    wave: np.ndarray
    span: Span
    encoded: EncodedAudio | None = None

    def __len__(self) -> int:
        return len(self.wave)


# An utterance: a path, a waveform (16 kHz mono), a segment of a recording, or its encoded form.
AudioInput = str | Path | np.ndarray | AudioSegment | EncodedAudio


class AudioEncoder:
    """Cut recordings into segments and run each of the stages' encoders once.

    Args:
        stages: The stage models that will read the result; those that share an encoder share its states.
        batch_size: Segments encoded together.
        max_segment: Maximum segment length in seconds; None = the encoders' limit.
        segment_overlap: Overlap in seconds of segments without a pause between them: see `sap2.data.segmentation`.
        speech_only: Whether to drop segments without speech.
    """

    def __init__(
        self,
        stages: Sequence[StageModel],
        batch_size: int,
        max_segment: Seconds | None = None,
        segment_overlap: Seconds = 1.0,
        speech_only: bool = False,
    ):
        self._encoders = {stage.encoder: stage for stage in reversed(stages)}  # the first of several wins
        self._batch_size, self.segment_overlap, self._speech_only = batch_size, segment_overlap, speech_only
        limits = [stage.segment_limit for stage in stages]
        self.segment_limit = min(limits if max_segment is None else [*limits, max_segment])

    def __call__(self, audio: Sequence[AudioInput], label: str | None = None) -> list[EncodedAudio]:
        """Encode recordings; already encoded recordings are returned unchanged.

        Args:
            label: Name of the progress display; None = no progress.
        """
        waves: list[np.ndarray] = []
        recordings: list[EncodedAudio] = []
        for item in audio:
            if isinstance(item, AudioSegment):
                recordings.append(item.encoded or EncodedAudio({}, [item.span], len(item) / SAMPLE_RATE))
                waves += [] if item.encoded else [item.wave]
                continue
            if isinstance(item, EncodedAudio):
                recordings.append(item)
                continue
            wave = item if isinstance(item, np.ndarray) else load_audio(item)
            cut = self.cut(wave)
            waves += [wave[round(start * SAMPLE_RATE) : round(end * SAMPLE_RATE)] for start, end in cut.spans]
            recordings.append(EncodedAudio({}, cut.spans, len(wave) / SAMPLE_RATE, cut.left_out))
        encoded = {
            name: iter(stage.encode(waves, self._batch_size, label) if waves else ())
            for name, stage in self._encoders.items()
        }
        recordings = [
            recording
            if recording.states
            else replace(
                recording, states={name: [next(states) for _ in recording.spans] for name, states in encoded.items()}
            )
            for recording in recordings
        ]
        for item, recording in zip(audio, recordings, strict=True):
            if isinstance(item, AudioSegment):
                item.encoded = recording
        return recordings

    def cut(self, wave: np.ndarray) -> AudioCut:
        """Cut a waveform (16 kHz mono) into segments; leave out segments without speech if so set."""
        spans = segments(wave, self.segment_limit, self.segment_overlap)
        if not self._speech_only:
            return AudioCut(spans)
        speech = speech_spans(wave)
        spoken = [any(first < end and start < last for first, last in speech) for start, end in spans]
        return AudioCut(list(compress(spans, spoken)), list(compress(spans, (not voiced for voiced in spoken))))
