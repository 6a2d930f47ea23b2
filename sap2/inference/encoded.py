"""Recordings cut into segments and encoded once, shared by all stages that read them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from torch import Tensor

from sap2.constants import SAMPLE_RATE, Seconds
from sap2.data.audio import load_audio
from sap2.data.segmentation import segments
from sap2.data.speech_activity import speech_spans
from sap2.errors import ModelError
from sap2.inference.stage_model import BARE_ENCODER, StageModel

__all__ = ["AudioEncoder", "AudioInput", "EncodedAudio"]


@dataclass(frozen=True)
class EncodedAudio:
    """A recording's encoded segments, which can be recognised repeatedly.

    Args:
        states: By encoder, the states of each segment, `(frames, encoder_hidden)`.
        spans: Start and end of each segment.
        duration: Length of the recording.
    """

    states: Mapping[str, list[Tensor]]
    spans: list[tuple[Seconds, Seconds]]
    duration: Seconds

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


# An utterance: a path, a waveform (16 kHz mono), or its encoded form.
AudioInput = str | Path | np.ndarray | EncodedAudio


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
            if isinstance(item, EncodedAudio):
                recordings.append(item)
                continue
            wave = item if isinstance(item, np.ndarray) else load_audio(item)
            spans = self.cut(wave)
            waves += [wave[round(start * SAMPLE_RATE) : round(end * SAMPLE_RATE)] for start, end in spans]
            recordings.append(EncodedAudio({}, spans, len(wave) / SAMPLE_RATE))
        encoded = {
            name: iter(stage.encode(waves, self._batch_size, label) if waves else ())
            for name, stage in self._encoders.items()
        }
        return [
            recording
            if recording.states
            else replace(
                recording, states={name: [next(states) for _ in recording.spans] for name, states in encoded.items()}
            )
            for recording in recordings
        ]

    def cut(self, wave: np.ndarray) -> list[tuple[Seconds, Seconds]]:
        """Return start and end of each segment of a waveform (16 kHz mono), without silent segments if so set."""
        spans = segments(wave, self.segment_limit, self.segment_overlap)
        if not self._speech_only:
            return spans
        speech = speech_spans(wave)
        return [(start, end) for start, end in spans if any(first < end and start < last for first, last in speech)]
