"""Qwen3-ASR: convolutions over chunks of 1 s and windowed attention, Qwen3's decoder; the list in the system turn."""

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import torch
from huggingface_hub.dataclasses import strict
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import (
    PreTrainedConfig,
    Qwen3ASRConfig,
    Qwen3ASRForConditionalGeneration,
    Qwen3ASRModel,
    Qwen3ASRProcessor,
)

from sap2.constants import SAMPLE_RATE
from sap2.model.configuration import SapFields
from sap2.model.families import Family, register
from sap2.model.modeling import Count, SapForConditionalGeneration, SapModel
from sap2.model.processing import SapProcessor

CHUNK, CHUNK_FRAMES = 100, 13  # mel frames that are convolved together, and their frames of speech


def frame_count(mel_frames: Count) -> Count:
    """Return the frames of speech of a number or a tensor of mel frames: chunks are halved three times, rounded up."""
    rest = mel_frames % CHUNK
    for _ in range(3):
        rest = (rest + 1) // 2
    return mel_frames // CHUNK * CHUNK_FRAMES + rest


@strict
class SapQwen3ASRConfig(SapFields, Qwen3ASRConfig):
    """See `SapFields`."""

    model_type = "sap_qwen3_asr"
    list_first = True


class SapQwen3ASRModel(SapModel, Qwen3ASRModel):
    """Qwen3-ASR without its head."""

    config: SapQwen3ASRConfig
    frame_count = staticmethod(frame_count)

    def encoder_states(self, features: Tensor, mask: Tensor) -> Tensor:
        """See `SapModel.encoder_states`: the encoder's states are packed, without padding."""
        frames = self.frame_count(mask.sum(-1)).tolist()
        if not any(frames):
            width = cast(PreTrainedConfig, self.config.audio_config).d_model
            return features.new_zeros(len(features), 0, width)
        packed = self.audio_tower(features.to(self.audio_tower.dtype), input_features_mask=mask).last_hidden_state
        return pad_sequence(packed.split(frames), batch_first=True)


class SapQwen3ASRForConditionalGeneration(SapForConditionalGeneration, Qwen3ASRForConditionalGeneration):
    """Contextual speech recogniser on Qwen3-ASR."""

    config: SapQwen3ASRConfig
    headless = SapQwen3ASRModel


class SapQwen3ASRProcessor(SapProcessor, Qwen3ASRProcessor):
    """Qwen3-ASR's processor plus the keyword list; the base writes `language English<asr_text>` before a transcript."""

    answer_marker = "<asr_text>"
    mel_frames_per_frame = CHUNK / CHUNK_FRAMES
    frame_count = staticmethod(frame_count)

    def __init__(
        self, feature_extractor=None, tokenizer=None, chat_template=None, timestamp_segment_time=80,
        context_start_token=None, context_end_token=None, context_token=None, window=None, windows=None,
        separator=None, leading_blank=None, spelling=None,
    ):  # fmt: skip
        super().__init__(feature_extractor, tokenizer, chat_template, timestamp_segment_time)
        self.set_up(
            context_start_token=context_start_token, context_end_token=context_end_token, context_token=context_token,
            window=window, windows=windows, separator=separator, leading_blank=leading_blank, spelling=spelling,
        )  # fmt: skip

    def chat(self, prompt: str, has_audio: bool) -> list[dict[str, Any]]:
        """Return the prompt as the system turn, where the base was trained to read context, and the speech after it."""
        speech = [{"type": "audio", "audio": ""}] if has_audio else []
        return [
            {"role": "system", "content": [{"type": "text", "text": prompt}]},
            {"role": "user", "content": speech},
        ]

    def mel_frames(self, samples: int) -> int:
        """Return the number of mel frames of a recording, padded to the extractor's minimum length."""
        extractor = self.feature_extractor
        return max(samples, extractor.min_length) // extractor.hop_length if samples else 0

    def features(self, audio: Sequence[np.ndarray | None]) -> dict[str, torch.Tensor]:
        """Compute log-mel features per recording, padded with zeros to full chunks: other rows do not change them."""
        waves = [np.zeros(0, np.float32) if wave is None else self._check(wave, row) for row, wave in enumerate(audio)]
        mel_frames = torch.tensor([self.mel_frames(len(wave)) for wave in waves])
        length = -(-max(mel_frames.tolist(), default=0) // CHUNK) * CHUNK
        features = torch.zeros(len(waves), self.feature_extractor.feature_size, length)
        for row, wave in enumerate(waves):
            if wave.size:
                mel = self.feature_extractor(wave, sampling_rate=SAMPLE_RATE, padding=True)["input_features"][0]
                features[row, :, : mel_frames[row]] = torch.as_tensor(mel)[:, : mel_frames[row]]
        mask = torch.arange(length) < mel_frames[:, None]
        return {"input_features": features, "feature_attention_mask": mask.long()}


def _shape(width: int, audio_layers: int, audio_width: int) -> dict[str, Any]:
    """Return the configuration of a published size; other fields have the classes' defaults."""
    return {
        "audio_config": {
            "model_type": "qwen3_asr_encoder", "d_model": audio_width, "encoder_layers": audio_layers,
            "encoder_attention_heads": audio_width // 64, "encoder_ffn_dim": 4 * audio_width, "output_dim": width,
        },
        "text_config": {
            "model_type": "qwen3", "vocab_size": 151_936, "hidden_size": width, "intermediate_size": 3 * width,
            "num_hidden_layers": 28, "num_attention_heads": 16, "num_key_value_heads": 8, "head_dim": 128,
            "max_position_embeddings": 65_536, "tie_word_embeddings": True,
        },
    }  # fmt: skip


FAMILY = register(
    Family(
        title="Qwen3-ASR",
        config=SapQwen3ASRConfig,
        model=SapQwen3ASRForConditionalGeneration,
        processor=SapQwen3ASRProcessor,
        encoder_positions=1,
        published={
            "Qwen/Qwen3-ASR-0.6B-hf": _shape(width=1024, audio_layers=18, audio_width=896),
            "Qwen/Qwen3-ASR-1.7B-hf": _shape(width=2048, audio_layers=24, audio_width=1024),
        },
    )
)
