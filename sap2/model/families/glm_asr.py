"""GLM-ASR: an encoder with rotary positions and no mask, four of its states per frame, Llama's decoder."""

from typing import cast

from huggingface_hub.dataclasses import strict
from torch import Tensor
from transformers import (
    GlmAsrConfig,
    GlmAsrForConditionalGeneration,
    GlmAsrModel,
    GlmAsrProcessor,
    PreTrainedConfig,
)

from sap2.model.configuration import SapFields
from sap2.model.families import Family, register
from sap2.model.modeling import Count, SapForConditionalGeneration, SapModel
from sap2.model.processing import SapProcessor


def frame_count(mel_frames: Count) -> Count:
    """Return the frames of speech of a number or a tensor of mel frames; an incomplete last frame is dropped."""
    return ((mel_frames - 1) // 2 + 1) // 4


@strict
class SapGlmAsrConfig(SapFields, GlmAsrConfig):
    """See `SapFields`."""

    model_type = "sap_glmasr"


class SapGlmAsrModel(SapModel, GlmAsrModel):
    """GLM-ASR without its head."""

    config: SapGlmAsrConfig
    frame_count = staticmethod(frame_count)

    def encoder_states(self, features: Tensor, mask: Tensor) -> Tensor:
        """See `SapModel.encoder_states`: no mask, and four consecutive encoder states are concatenated."""
        states = self.audio_tower(features.to(self.audio_tower.dtype)).last_hidden_state
        width = cast(PreTrainedConfig, self.config.audio_config).intermediate_size
        frames = states.reshape(len(features), -1, width)
        if self.training:  # else padding would be projected and kept for the backward pass
            frames = frames[:, : int(self.frame_count(mask.sum(-1)).max())]
        return frames


class SapGlmAsrForConditionalGeneration(SapForConditionalGeneration, GlmAsrForConditionalGeneration):
    """Contextual speech recogniser on GLM-ASR."""

    config: SapGlmAsrConfig
    headless = SapGlmAsrModel


class SapGlmAsrProcessor(SapProcessor, GlmAsrProcessor):
    """GLM-ASR's processor plus the keyword list; an answer ends at the user's next turn."""

    end_token = "<|user|>"
    own_length = False
    mel_frames_per_frame = 8
    frame_count = staticmethod(frame_count)

    def __init__(
        self, feature_extractor=None, tokenizer=None, chat_template=None, audio_token="<|pad|>",
        default_transcription_prompt="Please transcribe this audio into text", max_audio_len=655,
        context_start_token=None, context_end_token=None, context_token=None, window=None, windows=None,
        separator=None, leading_blank=None, spelling=None,
    ):  # fmt: skip
        super().__init__(
            feature_extractor, tokenizer, chat_template, audio_token, default_transcription_prompt, max_audio_len
        )
        self.set_up(
            context_start_token=context_start_token, context_end_token=context_end_token, context_token=context_token,
            window=window, windows=windows, separator=separator, leading_blank=leading_blank, spelling=spelling,
        )  # fmt: skip


FAMILY = register(
    Family(
        title="GLM-ASR",
        config=SapGlmAsrConfig,
        model=SapGlmAsrForConditionalGeneration,
        processor=SapGlmAsrProcessor,
        encoder_positions=4,
        encoder_seconds=30.0,
        published={"zai-org/GLM-ASR-Nano-2512": {}},  # the classes' defaults
    )
)
