"""Recordings cut into segments and encoded once, for every stage that reads them."""

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
    """Where a recording is cut.

    Args:
        spans: Start and end of the segments that are recognised.
        left_out: Those of the segments that hold no speech.
    """

    spans: list[Span]
    left_out: list[Span] = field(default_factory=list)


@dataclass(frozen=True)
class EncodedAudio:
    """What the encoders made of a recording; can be recognised as often as wanted.

    Args:
        states: By encoder, of each segment, `(frames, encoder_hidden)`.
        spans: Start and end of each segment.
        duration: Of the recording.
        left_out: Start and end of segments without speech, which were not encoded.
    """

    states: Mapping[str, list[Tensor]]
    spans: list[Span]
    duration: Seconds
    left_out: list[Span] = field(default_factory=list)

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


@dataclass(eq=False)
class AudioSegment:
    """A segment of a recording that is cut already: taken as it is, and encoded once however often it is recognised.

    Args:
        wave: Its samples, 16 kHz mono.
        span: Its start and end in the recording.
        encoded: What the encoders made of it; set by the first `AudioEncoder` that gets it.
    """

    wave: np.ndarray
    span: Span
    encoded: EncodedAudio | None = None

    def __len__(self) -> int:
        return len(self.wave)


# An utterance: path, waveform (16 kHz mono), segment of a recording, or what an encoder made of one of these.
AudioInput = str | Path | np.ndarray | AudioSegment | EncodedAudio


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
            one
            if one.states
            else replace(one, states={name: [next(states) for _ in one.spans] for name, states in encoded.items()})
            for one in recordings
        ]
        for item, one in zip(audio, recordings, strict=True):
            if isinstance(item, AudioSegment):
                item.encoded = one
        return recordings

    def cut(self, wave: np.ndarray) -> AudioCut:
        """The segments of a waveform (16 kHz mono); those that hold no speech are left out if so set."""
        spans = segments(wave, self.segment_limit, self.segment_overlap)
        if not self._speech_only:
            return AudioCut(spans)
        speech = speech_spans(wave)
        spoken = [any(first < end and start < last for first, last in speech) for start, end in spans]
        return AudioCut(list(compress(spans, spoken)), list(compress(spans, (not one for one in spoken))))
