"""Base models of the published sizes with random weights, created on the device; nothing is downloaded."""

from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import transformers
from peft import LoraConfig, PeftModel, get_peft_model
from torch import nn
from transformers import AutoTokenizer

from sap2.constants import EMBEDDED
from sap2.model import LORA_TARGETS, Family, SapProcessor, family_named

LORA = {"r": 8, "lora_alpha": 32}  # as in the profile qwen2-audio-7b
DROPOUT = 0.05

Sections = dict[str, dict[str, Any]]
# Sizes that a CPU runs within seconds.
TINY_QWEN2_AUDIO: Sections = {
    "audio_config": {
        "model_type": "qwen2_audio_encoder", "num_mel_bins": 128, "d_model": 32, "encoder_layers": 2,
        "encoder_attention_heads": 2, "encoder_ffn_dim": 64, "max_source_positions": 1500,
    },
    "text_config": {
        "model_type": "qwen2", "vocab_size": 1280, "hidden_size": 64, "intermediate_size": 128,
        "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 4, "tie_word_embeddings": False,
    },
}  # fmt: skip
TINY_QWEN3_ASR: Sections = {
    "audio_config": {
        "model_type": "qwen3_asr_encoder", "num_mel_bins": 128, "d_model": 32, "encoder_layers": 2,
        "encoder_attention_heads": 2, "encoder_ffn_dim": 64, "output_dim": 64, "downsample_hidden_size": 8,
    },
    "text_config": {
        "model_type": "qwen3", "vocab_size": 1280, "hidden_size": 64, "intermediate_size": 128, "head_dim": 16,
        "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "tie_word_embeddings": True,
    },
}  # fmt: skip
# Configuration fields with the number of layers.
LAYERS = {"audio_config": "encoder_layers", "text_config": "num_hidden_layers"}


@dataclass(frozen=True)
class Base:
    """A base model's architecture to measure.

    Args:
        model_type: `model_type` of its family.
        sections: `audio_config` and `text_config`, without values that equal the classes' defaults.
        extractor: Name of the transformers class that computes its features.
    """

    model_type: str
    sections: Sections
    extractor: str

    @property
    def family(self) -> Family:
        return family_named(self.model_type)

    @property
    def stock(self) -> type:
        """The stock transformers class of the family."""
        return getattr(transformers, self.family.model.__name__.removeprefix("Sap"))

    @property
    def pads(self) -> bool:
        """Whether the stock class requires 30 s of audio, unlike ours."""
        return self.family.model.headless.encoder is not None

    def processor(self, **pooling) -> SapProcessor:
        """Return a processor with the embedded base's tokenizer, whose token ids fit every base's vocabulary."""
        tokenizer = AutoTokenizer.from_pretrained(EMBEDDED)
        tokenizer.audio_token = "<|AUDIO|>"
        tokenizer.audio_bos_token, tokenizer.audio_eos_token = "<|audio_bos|>", "<|audio_eos|>"
        bins = self.sections["audio_config"].get("num_mel_bins", 128)
        extractor = getattr(transformers, self.extractor)(feature_size=bins)
        template = tokenizer.chat_template
        return self.family.processor(extractor, tokenizer, chat_template=template, leading_blank=True, **pooling)

    def build(
        self,
        processor: SapProcessor,
        device: torch.device,
        *,
        stock: bool = False,
        dtype: torch.dtype = torch.bfloat16,
        attention: str = "sdpa",
        layers: int | None = None,
        **pooling,
    ):
        """Build a model with random weights, in evaluation mode.

        Args:
            stock: Use the stock transformers class instead of ours.
            layers: Number of layers of encoder and decoder; None = all.
            pooling: Fields of our configuration, such as window and weighting.
        """
        tokenizer = processor.tokenizer
        sections = {name: dict(section) for name, section in self.sections.items()}
        if layers is not None:
            for name, field in LAYERS.items():
                sections[name][field] = layers
        if stock:
            config = self.stock.config_class(**sections)
        else:
            start, end, placeholder = tokenizer.convert_tokens_to_ids(list(processor.context_tokens))
            unspoken, spoken = processor.tag_ids
            config = self.family.config(
                **sections, context_start_id=start, context_end_id=end, context_token_id=placeholder,
                unspoken_id=unspoken, spoken_id=spoken, window=processor.window, **pooling,
            )  # fmt: skip
        config.audio_token_id = processor.audio_token_id
        kind = self.stock if stock else self.family.model
        torch.manual_seed(0)
        with device:
            return kind._from_config(config, dtype=dtype, attn_implementation=attention).eval()

    def adapted(self, model, dropout: float = DROPOUT, **more) -> PeftModel:
        """Add the 7B profile's LoRA adapter to a model, in float32 as PEFT trains and loads it."""
        return get_peft_model(model, LoraConfig(**LORA, lora_dropout=dropout, target_modules=LORA_TARGETS, **more))


def base_named(name: str, tiny: bool) -> Base:
    """Return the base of a name in `scale.BASE_NAMES`, or a tiny base of its family."""
    if name.startswith("qwen2-audio"):
        model_type, hub_id, sections = "qwen2_audio", "Qwen/Qwen2-Audio-7B", TINY_QWEN2_AUDIO
        extractor = "WhisperFeatureExtractor"
    else:
        model_type, hub_id, sections = "qwen3_asr", f"Qwen/Qwen3-ASR-{name[-4:].upper()}-hf", TINY_QWEN3_ASR
        extractor = "Qwen3ASRFeatureExtractor"
    return Base(model_type, sections if tiny else family_named(model_type).published[hub_id], extractor)


def encoder_layers(model) -> nn.Module:
    return model.model.audio_tower.layers


def decoder_layers(model) -> nn.Module:
    return model.model.language_model.layers


@contextmanager
def checkpointing(model, on: bool):
    """Recompute the base's layers in the backward pass, as training does with `gradient_checkpointing`."""
    # Renamed in transformers 5.24.
    kind = "activation" if hasattr(model, "activation_checkpointing_enable") else "gradient"
    if on:
        getattr(model, f"{kind}_checkpointing_enable")({"use_reentrant": False})
    try:
        yield
    finally:
        if on:
            getattr(model, f"{kind}_checkpointing_disable")()
