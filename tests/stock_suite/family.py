"""A family's class, ours or stock's, tiny and random, and inputs for it; transformers' and PEFT's own tests run on it.

Copied beside their test files. SUITE_FAMILY and SUITE_SIDE (`ours` or `stock`) choose the class.
"""

import os

import torch
import transformers
from transformers.testing_utils import torch_device

from sap2.model import family_named

FAMILY, OURS = family_named(os.environ["SUITE_FAMILY"]), os.environ["SUITE_SIDE"] == "ours"
MODEL = FAMILY.model if OURS else getattr(transformers, FAMILY.model.__name__.removeprefix("Sap"))
# Tests that shrink the vocabulary by 15 must leave the placeholders.
AUDIO, START, END, CONTEXT, PAD, VOCABULARY = 90, 91, 92, 93, 0, 120
MEL_FRAMES = {"qwen2_audio": 60, "qwen3_asr": 100}[FAMILY.name]
MASK = {"qwen2_audio": "feature_attention_mask", "qwen3_asr": "input_features_mask"}[FAMILY.name]
CONFIG = {
    "audio_config": {
        "model_type": f"{FAMILY.name}_encoder", "d_model": 16, "encoder_layers": 2, "encoder_attention_heads": 2,
        "encoder_ffn_dim": 32, "num_mel_bins": 16, "initializer_range": 0.02,
        **({"max_source_positions": 30} if FAMILY.name == "qwen2_audio" else {}),
        **({"output_dim": 32, "downsample_hidden_size": 4} if FAMILY.name == "qwen3_asr" else {}),
    },
    "text_config": {
        "model_type": "qwen3" if FAMILY.name == "qwen3_asr" else "qwen2", "vocab_size": VOCABULARY, "hidden_size": 32,
        "intermediate_size": 37, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
        "max_position_embeddings": 512, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": PAD,
        "tie_word_embeddings": FAMILY.name == "qwen3_asr", **({"head_dim": 8} if FAMILY.name == "qwen3_asr" else {}),
    },
    "audio_token_id": AUDIO,
}  # fmt: skip
SAP = {"context_start_id": START, "context_end_id": END, "context_token_id": CONTEXT, "spoken_id": 3, "unspoken_id": 4}


FRAMES = int(FAMILY.model.headless.frame_count(MEL_FRAMES))  # the stock class has as many
LENGTH = 8 + FRAMES + 4


def config() -> transformers.PretrainedConfig:
    """The configuration of `MODEL`."""
    fields = dict(CONFIG)
    if FAMILY.name == "qwen2_audio":
        fields["audio_token_index"] = fields.pop("audio_token_id")
    cls = FAMILY.config if OURS else FAMILY.config.__mro__[2]
    return cls(**fields, **(SAP if OURS else {}))


def inputs(batch_size: int) -> dict[str, torch.Tensor]:
    """Speech and text, `(batch, LENGTH)`; ours has a list of four tokens in two windows besides."""

    def ids(*shape: int) -> torch.Tensor:
        return torch.randint(5, AUDIO - 5, shape, device=torch_device)

    text = ids(batch_size, LENGTH)
    text[:, 2 : 2 + FRAMES] = AUDIO
    made = {
        "input_ids": text,
        "attention_mask": torch.ones_like(text),
        "input_features": torch.rand(batch_size, 16, MEL_FRAMES, device=torch_device),
        MASK: torch.ones(batch_size, MEL_FRAMES, dtype=torch.long, device=torch_device),
    }
    if OURS:
        at = 4 + FRAMES
        text[:, at : at + 4] = torch.tensor([START, CONTEXT, CONTEXT, END], device=torch_device)
        made["context_ids"] = ids(batch_size, 4)
        made["context_windows"] = torch.tensor([[0, 0, 1, 1]] * batch_size, device=torch_device)
    return made
