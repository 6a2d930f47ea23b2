"""A part of PEFT's common tests on a tiny base, in our class or stock's; see tests/model/test_peft_suite.py.

Copied into a package beside PEFT's own test files, which the relative import names. SUITE_BASE is the base's folder,
SUITE_SIDE (`ours` or `stock`) chooses the class.
"""

import os
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from peft import LoraConfig
from transformers import Qwen2AudioForConditionalGeneration

from sap2.model import LORA_TARGETS, load_model, load_processor
from sap2.prompts import pruning_prompt

from .testing_common import PeftCommonTester

BASE, OURS = os.environ["SUITE_BASE"], os.environ["SUITE_SIDE"] == "ours"
# PEFT's tests of a LoRA that what the pipeline does with adapters relies on, or that anybody may do with them.
TESTS = (
    "model_attr", "adapter_name", "prepare_for_training", "save_pretrained", "save_pretrained_selected_adapters",
    "save_pretrained_adapter_name_substring", "from_pretrained_config_construction", "load_multiple_adapters",
    "merge_layers", "merge_layers_multi", "merge_layers_nan", "merge_layers_is_idempotent", "safe_merge",
    "mixed_adapter_batches", "generate_with_mixed_adapter_batches_and_beam_search", "generate", "training",
    "inference_safetensors", "training_layer_indexing", "training_gradient_checkpointing", "delete_adapter",
    "delete_inactive_adapter", "delete_unknown_adapter_raises", "unload_adapter",
    "weighted_combination_of_adapters", "disable_adapter", "adding_multiple_adapters_with_bias_raises",
    "get_base_model_state_dict",
)  # fmt: skip
# Those in which a new adapter must change the output at once.
EFFECTIVE = {name for name in TESTS if "merge" in name or "mixed" in name or name == "disable_adapter"}
# The others' outputs must be finite and equal after loading, for which PEFT starts LoRA as in training.


class TestLora(PeftCommonTester):
    @staticmethod
    def _load(folder, **options):
        if OURS:
            return load_model(folder, dtype=options.pop("dtype", torch.float32))
        return Qwen2AudioForConditionalGeneration.from_pretrained(folder, **options)

    transformers_class = SimpleNamespace(from_pretrained=_load.__func__)

    def prepare_inputs_for_testing(self):
        """Two rows with a list and a sound each; in stock's, whose features are of 30 s, the list is text."""
        processor = load_processor(BASE, window=2 if OURS else 1)
        rng = np.random.default_rng(0)
        waves = [rng.standard_normal(16_000).astype(np.float32)] * 2
        batch = dict(processor([pruning_prompt()] * 2, [["Kathryn", "Maier"]] * 2, waves))
        if not OURS:
            listed = batch["input_ids"] == processor.tokenizer.convert_tokens_to_ids(processor.context_tokens[2])
            batch["input_ids"][listed] = batch.pop("context_ids").flatten()
            del batch["context_windows"]
            audio = processor.feature_extractor(
                waves, sampling_rate=16_000, return_tensors="pt", return_attention_mask=True
            )
            batch["input_features"], batch["feature_attention_mask"] = audio.input_features, audio.attention_mask
        return batch

    @pytest.mark.parametrize("name", TESTS)
    def test_lora(self, name):
        config = {"r": 8, "lora_alpha": 32, "lora_dropout": 0.0, "bias": "none", "target_modules": LORA_TARGETS}
        if name in EFFECTIVE:
            config["init_lora_weights"] = False
        torch.manual_seed(0)
        getattr(self, f"_test_{name}")(BASE, LoraConfig, config)
