"""Bases at their true shape, with random weights made on the device in its precision: nothing is downloaded."""

from collections.abc import Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import nn
from transformers import AutoTokenizer, Qwen2AudioConfig, Qwen2AudioForConditionalGeneration, WhisperFeatureExtractor

from sap2.model import LORA_TARGETS, SapQwen2AudioConfig, SapQwen2AudioForConditionalGeneration, SapQwen2AudioProcessor
from sap2.training.shapes import EMBEDDED, QWEN2_AUDIO_7B

LORA = {"r": 8, "lora_alpha": 32}  # of the profile qwen2-audio-7b
DROPOUT = 0.05

# A Qwen2-Audio that a CPU runs in moments.
TINY = {
    "audio_config": {
        "model_type": "qwen2_audio_encoder", "num_mel_bins": 128, "d_model": 32, "encoder_layers": 2,
        "encoder_attention_heads": 2, "encoder_ffn_dim": 64, "max_source_positions": 1500,
    },
    "text_config": {
        "model_type": "qwen2", "vocab_size": 1280, "hidden_size": 64, "intermediate_size": 128,
        "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 4, "tie_word_embeddings": False,
    },
}  # fmt: skip


@dataclass(frozen=True)
class Base:
    """A shape that can be measured.

    Args:
        sections: `audio_config` and `text_config`, as far as they differ from the classes' defaults.
        ours, ours_config: Our classes of its family.
        stock, stock_config: transformers' classes of its family.
        lora: Pattern of the layers that training adapts.
    """

    sections: Mapping[str, Mapping[str, Any]]
    ours: type = SapQwen2AudioForConditionalGeneration
    ours_config: type = SapQwen2AudioConfig
    stock: type = Qwen2AudioForConditionalGeneration
    stock_config: type = Qwen2AudioConfig
    lora: str = LORA_TARGETS

    def processor(self, **pooling) -> SapQwen2AudioProcessor:
        """A processor with the embedded base's tokenizer: its few tokens are within any base's vocabulary."""
        bins = self.sections["audio_config"]["num_mel_bins"]
        return SapQwen2AudioProcessor(
            WhisperFeatureExtractor(feature_size=bins), AutoTokenizer.from_pretrained(EMBEDDED), leading_blank=True,
            **pooling,
        )  # fmt: skip

    def build(
        self,
        processor: SapQwen2AudioProcessor,
        device: torch.device,
        *,
        stock: bool = False,
        dtype: torch.dtype = torch.bfloat16,
        attention: str = "sdpa",
        layers: int | None = None,
        **pooling,
    ):
        """A model with random weights, in evaluation mode.

        Args:
            stock: transformers' own class instead of ours.
            layers: Layers of encoder and decoder; None = all.
            pooling: Fields of our configuration, as window and weighting.
        """
        tokenizer = processor.tokenizer
        start, end, placeholder = tokenizer.convert_tokens_to_ids(list(processor.context_tokens))
        sections = {name: dict(section) for name, section in self.sections.items()}
        sections["text_config"] |= {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
        if layers is not None:
            sections["audio_config"]["encoder_layers"] = sections["text_config"]["num_hidden_layers"] = layers
        fields = sections | {"audio_token_index": processor.audio_token_id}
        if not stock:
            unspoken, spoken = processor.tag_ids
            fields |= {"context_start_id": start, "context_end_id": end, "context_token_id": placeholder}
            fields |= {"unspoken_id": unspoken, "spoken_id": spoken, "window": processor.window} | pooling
        config = (self.stock_config if stock else self.ours_config)(**fields)
        torch.manual_seed(0)
        with device:
            model = (self.stock if stock else self.ours)._from_config(
                config, dtype=dtype, attn_implementation=attention
            )
        return model.eval()

    def adapted(self, model, dropout: float = DROPOUT, **more) -> PeftModel:
        """The model with the 7B profile's LoRA, in float32 as PEFT trains and loads it."""
        return get_peft_model(model, LoraConfig(**LORA, lora_dropout=dropout, target_modules=self.lora, **more))


BASES = {"qwen2-audio-7b": Base(QWEN2_AUDIO_7B), "tiny": Base(TINY)}


def encoder_layers(model) -> nn.Module:
    return model.model.audio_tower.layers


def decoder_layers(model) -> nn.Module:
    return model.model.language_model.layers


@contextmanager
def checkpointing(model, on: bool):
    """The base computes layers again in the backward pass, as training does with `gradient_checkpointing`."""
    # transformers 5.24 renames its methods.
    kind = "activation" if hasattr(model, "activation_checkpointing_enable") else "gradient"
    if on:
        getattr(model, f"{kind}_checkpointing_enable")({"use_reentrant": False})
    try:
        yield
    finally:
        if on:
            getattr(model, f"{kind}_checkpointing_disable")()
