"""Transformers' model and generation tests on a family's class, ours or stock's; see tests/model/test_stock_suite.py.

Copied into a package beside transformers' own test files, which the relative imports name. SUITE_FAMILY and SUITE_SIDE
(`ours` or `stock`) choose the class.
"""

import os
import unittest

import torch
import transformers
from transformers.testing_utils import torch_device

from sap2.model import family_named

from ..generation.test_utils import GenerationTesterMixin
from ..test_modeling_common import ModelTesterMixin, ids_tensor

FAMILY, OURS = family_named(os.environ["SUITE_FAMILY"]), os.environ["SUITE_SIDE"] == "ours"
MODEL = FAMILY.model if OURS else getattr(transformers, FAMILY.model.__name__.removeprefix("Sap"))
PAD, AUDIO, START, END, CONTEXT, FIRST, VOCABULARY = 0, 5, 6, 7, 8, 10, 99  # words are FIRST and above
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


class Tester:
    """What the mixins ask a model tester for; ours has a list of four tokens in two windows besides."""

    batch_size, is_training = 3, True
    num_hidden_layers, num_attention_heads, hidden_size = 2, 4, 32
    text_config, audio_config, pad_token_id = CONFIG["text_config"], CONFIG["audio_config"], PAD

    def __init__(self, case):
        self.parent = case
        self.frames = int(FAMILY.model.headless.frame_count(MEL_FRAMES))
        self.seq_length = self.encoder_seq_length = 8 + self.frames + 4

    def get_config(self):
        fields = dict(CONFIG)
        if FAMILY.name == "qwen2_audio":
            fields["audio_token_index"] = fields.pop("audio_token_id")
        config = FAMILY.config if OURS else FAMILY.config.__mro__[2]
        return config(**fields, **(SAP if OURS else {}))

    def prepare_config_and_inputs_for_common(self):
        text = ids_tensor([self.batch_size, self.seq_length], 60) + FIRST
        text[:, 2 : 2 + self.frames] = AUDIO
        inputs = {
            "input_ids": text,
            "attention_mask": torch.ones_like(text),
            "input_features": torch.rand(self.batch_size, 16, MEL_FRAMES, device=torch_device),
            MASK: torch.ones(self.batch_size, MEL_FRAMES, dtype=torch.long, device=torch_device),
        }
        if OURS:
            at = 4 + self.frames
            text[:, at : at + 4] = torch.tensor([START, CONTEXT, CONTEXT, END], device=torch_device)
            inputs["context_ids"] = ids_tensor([self.batch_size, 4], 60) + FIRST
            inputs["context_windows"] = torch.tensor([[0, 0, 1, 1]] * self.batch_size, device=torch_device)
        return self.get_config(), inputs


class StockTest(ModelTesterMixin, GenerationTesterMixin, unittest.TestCase):
    all_model_classes = (MODEL,)
    _is_composite = True
    test_torch_exportable = False

    def setUp(self):
        self.model_tester = Tester(self)

    def _prepare_for_class(self, inputs, model_class, return_labels=False):
        """With labels for our class, too, which is in none of transformers' own lists of classes."""
        inputs = super()._prepare_for_class(inputs, model_class, return_labels=return_labels)
        if return_labels:
            inputs.setdefault("labels", inputs["input_ids"].clone())
        return inputs
