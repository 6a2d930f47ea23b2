"""The adapter sits on projector and language model, never on the encoder by default."""

import re

import pytest
from tiny import build_tiny_base

from sap2.errors import ModelError
from sap2.model import load_model, load_processor
from sap2.params import LoraSection, TrainSection
from sap2.training.adapters import attach, name_base, target_pattern, trainable_count


def trained(model):
    return {re.sub(r".*model\.model\.(model\.)?", "", name) for name, p in model.named_parameters() if p.requires_grad}


@pytest.mark.parametrize(
    ("frozen", "adapted"),
    [
        ({}, {"multi_modal_projector", "language_model"}),
        ({"freeze_llm": True}, {"multi_modal_projector"}),
        ({"freeze_aligner": True}, {"language_model"}),
        ({"freeze_vit": False, "cache_encoder": False}, {"multi_modal_projector", "language_model", "audio_tower"}),
    ],
)
def test_what_is_frozen_gets_no_adapter(corpus, frozen, adapted):
    base, processor = load_model(corpus / "base"), load_processor(corpus / "base")
    model = attach(base, processor, TrainSection(**frozen), LoraSection(rank=2))
    assert {name.split(".")[0] for name in trained(model)} == adapted
    assert all("lora_" in name for name in trained(model))
    assert trainable_count(model) == sum(p.numel() for p in model.parameters() if p.requires_grad)


def test_projections_are_trained_whatever_is_frozen(corpus):
    base, processor = load_model(corpus / "base", projection_rank=2), load_processor(corpus / "base")
    model = attach(base, processor, TrainSection(freeze_llm=True), LoraSection(rank=2))
    learned = {name for name in trained(model) if name.startswith("context_pooling.modules_to_save")}
    assert len(learned) == 4 and trainable_count(model) == 4 * 2 * 32 + 2 * (16 + 32)


def test_only_the_two_new_markers_rows_are_trained(tmp_path):
    """Not the placeholder's, and no copy of the embedding table."""
    folder = build_tiny_base(tmp_path, with_context_tokens=False, positions=100)
    processor = load_processor(folder)
    model = attach(load_model(folder), processor, TrainSection(), LoraSection(rank=2))
    assert model.peft_config["default"].trainable_token_indices is None
    offsets = {name: p.shape for name, p in model.named_parameters() if p.requires_grad and "lora_" not in name}
    assert [tuple(shape) for shape in offsets.values()] == [(2, 32)]


def test_a_base_without_rows_for_new_markers_is_refused(tmp_path):
    folder = build_tiny_base(tmp_path, with_context_tokens=False, positions=100)
    base = load_model(folder)
    base.config.trained_markers = False
    with pytest.raises(ModelError, match="startofcontext.*no trained_markers; load the base with"):
        attach(base, load_processor(folder), TrainSection(), LoraSection(rank=2))


def test_an_unknown_layer_is_an_error(corpus):
    with pytest.raises(ModelError, match="no layer 'qproj'"):
        attach(
            load_model(corpus / "base"), load_processor(corpus / "base"), TrainSection(), LoraSection(targets=["qproj"])
        )
    with pytest.raises(ModelError, match="leave nothing to train"):
        target_pattern(["projector"], TrainSection(freeze_aligner=True))


def test_the_base_is_recorded_by_relative_path_or_id(corpus, tmp_path):
    model = attach(load_model(corpus / "base"), load_processor(corpus / "base"), TrainSection(), LoraSection(rank=2))
    name_base(model, corpus / "base", corpus / "models" / "pruner")
    assert model.peft_config["default"].base_model_name_or_path == "../../base"
    name_base(model, "Qwen/Qwen2-Audio-7B-Instruct", tmp_path)
    assert model.peft_config["default"].base_model_name_or_path == "Qwen/Qwen2-Audio-7B-Instruct"
