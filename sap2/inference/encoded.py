"""Recordings cut into segments and encoded once, for every stage that reads them."""

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
    """What the encoders made of a recording; can be recognised as often as wanted.

    Args:
        states: By encoder, of each segment, `(frames, encoder_hidden)`.
        spans: Start and end of each segment.
        duration: Of the recording.
    """

    states: Mapping[str, list[Tensor]]
    spans: list[tuple[Seconds, Seconds]]
    duration: Seconds

    @classmethod
    def whole(cls, states: Tensor, duration: Seconds) -> "EncodedAudio":
        """A recording of a single segment, encoded by the base's own encoder."""
        return cls({BARE_ENCODER: [states]}, [(0.0, duration)], duration)

    def by(self, stage: StageModel) -> list[Tensor]:
        """Each segment's states as the stage's encoder made them.

        Raises: ModelError: another recogniser encoded the recording.
        """
        if stage.encoder not in self.states:
            raise ModelError(
                f"encoded by {', '.join(self.states)}, expected {stage.encoder}; encode it with this recogniser"
            )
        return self.states[stage.encoder]

    def segments(self) -> list["EncodedAudio"]:
        """Each segment as a recording of its own, at its time."""
        return [
            EncodedAudio({encoder: [states[place]] for encoder, states in self.states.items()}, [span], self.duration)
            for place, span in enumerate(self.spans)
        ]


# An utterance: path, waveform (16 kHz mono), or what an encoder made of it.
AudioInput = str | Path | np.ndarray | EncodedAudio


class AudioEncoder:
    """Cuts recordings into segments and runs each of the stages' encoders over them once.

    Args:
        stages: The stage models that will read the result; those that share an encoder share its states.
        batch_size: Segments encoded together.
        max_segment: Seconds of a segment of a longer recording, at most; None = what the encoders take.
        segment_overlap: Seconds that two segments share where no pause parts them: see `sap2.data.segmentation`.
        speech_only: Whether segments without speech are left out.
    """

    def __init__(
        self,
        stages: Sequence[StageModel],
        batch_size: int,
        max_segment: Seconds | None = None,
        segment_overlap: Seconds = 1.0,
        speech_only: bool = False,
    ):
        self._encoders = {stage.encoder: stage for stage in reversed(stages)}  # of several the first
        self._batch_size, self.segment_overlap, self._speech_only = batch_size, segment_overlap, speech_only
        limits = [stage.segment_limit for stage in stages]
        self.segment_limit = min(limits if max_segment is None else [*limits, max_segment])

    def __call__(self, audio: Sequence[AudioInput], label: str | None = None) -> list[EncodedAudio]:
        """Encode recordings; those that are encoded already stay as they are.

        Args:
            label: Shows progress under this name.
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
            one
            if one.states
            else replace(one, states={name: [next(states) for _ in one.spans] for name, states in encoded.items()})
            for one in recordings
        ]

    def cut(self, wave: np.ndarray) -> list[tuple[Seconds, Seconds]]:
        """Start and end of each segment of a waveform (16 kHz mono), without those that hold no speech if so set."""
        spans = segments(wave, self.segment_limit, self.segment_overlap)
        if not self._speech_only:
            return spans
        speech = speech_spans(wave)
        return [(start, end) for start, end in spans if any(first < end and start < last for first, last in speech)]
