"""Bases and adapters: nothing missing, nothing left over, and an adapter comes back as it was saved."""

import json
import shutil

import peft
import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny import build_tiny_base, tone
from transformers import Qwen2AudioForConditionalGeneration

from sap2.errors import ModelError
from sap2.model import LORA_TARGETS, POOLING, add_adapter, load_model, load_processor, sap_settings, save_adapter
from sap2.params import LoraSection, TrainSection
from sap2.prompts import pruning_prompt
from sap2.training.adapters import attach


def adapter(base, seed: int, **settings):
    """An adapter as training would leave it: not the identity."""
    model = load_model(base, **settings)
    saved = [POOLING] if model.config.projection_rank else None
    config = peft.LoraConfig(r=2, lora_alpha=8, target_modules=LORA_TARGETS, modules_to_save=saved)
    model = peft.get_peft_model(model, config)
    torch.manual_seed(seed)
    for weight in filter(lambda weight: weight.requires_grad, model.parameters()):
        torch.nn.init.normal_(weight, std=0.3)
    return model.eval()


def batch_of(base, **settings):
    processor = load_processor(base, **settings)
    return processor([pruning_prompt()] * 2, [["Kathryn", "Maier"], ["Zbigniew"]], [tone(0.5), tone(0.8, 1)])


@pytest.mark.parametrize("tie", [True, False])
def test_stock_folder_loads_with_its_own_head(tmp_path, tie):
    base = build_tiny_base(tmp_path, tie=tie)
    model = load_model(base)
    weights = load_file(base / "model.safetensors")
    head = next(weight for name, weight in weights.items() if "lm_head" in name)
    assert torch.equal(model.lm_head.weight, head)
    assert (model.lm_head.weight is model.get_input_embeddings().weight) == tie


def test_sharded_stock_folder_loads_like_a_single_file(base, tmp_path):
    """The hub's checkpoint comes in several safetensors files with an index."""
    shutil.copytree(base, tmp_path / "sharded")
    (tmp_path / "sharded" / "model.safetensors").unlink()
    stock = Qwen2AudioForConditionalGeneration.from_pretrained(base)
    stock.save_pretrained(tmp_path / "sharded", max_shard_size="40KB")
    assert len(list((tmp_path / "sharded").glob("model-*-of-*.safetensors"))) > 1
    batch = batch_of(base)
    with torch.no_grad():
        assert torch.equal(load_model(tmp_path / "sharded")(**batch).logits, load_model(base)(**batch).logits)


def test_projections_travel_with_the_adapter(base, tmp_path):
    trained = adapter(base, 1, projection_rank=3)
    save_adapter(trained, load_processor(base), tmp_path / "adapter")
    saved = load_file(tmp_path / "adapter" / "adapter_model.safetensors")
    assert len([name for name in saved if POOLING in name]) == 4
    loaded, batch = load_model(base, tmp_path / "adapter", trainable=True), batch_of(base)
    assert loaded.config.projection_rank == 3
    learned = [name for name, weight in loaded.named_parameters() if POOLING in name and weight.requires_grad]
    assert len(learned) == 4
    with torch.no_grad():
        logits = loaded.eval()(**batch).logits
        assert torch.equal(logits, trained(**batch).logits)
        for name, weight in trained.named_parameters():
            if name.endswith("up") and weight.requires_grad:
                weight.zero_()
        assert not torch.allclose(logits, trained(**batch).logits)


def test_an_adapter_older_than_a_setting_has_its_default(base, tmp_path):
    save_adapter(adapter(base, 1, window=4), load_processor(base, window=4), tmp_path)
    settings = json.loads((tmp_path / "sap_config.json").read_text())
    del settings["projection_rank"], settings["base_sha256"]
    (tmp_path / "sap_config.json").write_text(json.dumps(settings))
    assert sap_settings(tmp_path) == settings | {"projection_rank": 0}


@pytest.mark.parametrize("tie", [True, False])
def test_missing_context_tokens_start_as_the_mean_of_the_rows(tmp_path, tie):
    base = build_tiny_base(tmp_path, with_context_tokens=False, tie=tie)
    model, processor = load_model(base), load_processor(base)
    new = processor.tokenizer.convert_tokens_to_ids(list(processor.context_tokens))
    assert [model.config.context_start_id, model.config.context_end_id, model.config.context_token_id] == new
    for table in (model.get_input_embeddings().weight, model.lm_head.weight):
        assert table.shape[0] == len(processor.tokenizer)
        for row in new:
            torch.testing.assert_close(table[row], table[: len(processor.tokenizer) - 3].mean(0))
    assert (model.lm_head.weight is model.get_input_embeddings().weight) == tie
    with torch.no_grad():
        assert torch.isfinite(model(**batch_of(base)).logits).all()


def test_lora_targets_projector_and_text_model(base):
    names = adapter(base, 0).targeted_module_names
    assert len(names) == 1 + 2 * 7 and not [name for name in names if "audio_tower" in name]
    assert "model.multi_modal_projector.linear" in names


def test_adapter_comes_back_with_its_logits_and_its_pooling(base, tmp_path):
    trained = adapter(base, 1, window=4, aggregate="max")
    save_adapter(trained, load_processor(base, window=4), tmp_path / "adapter")
    assert (tmp_path / "adapter" / "adapter_model.safetensors").is_file()
    loaded = load_model(base, tmp_path / "adapter")
    assert (loaded.config.window, loaded.config.aggregate) == (4, "max")
    assert load_processor(tmp_path / "adapter").window == 4
    batch = batch_of(base, window=4)
    with torch.no_grad():
        assert torch.equal(loaded(**batch).logits, trained(**batch).logits)
        assert not torch.allclose(loaded(**batch).logits, load_model(base, window=4, aggregate="max")(**batch).logits)
    assert not any(weight.requires_grad for weight in loaded.parameters())
    again = load_model(base, tmp_path / "adapter", trainable=True)
    assert all(weight.requires_grad == ("lora_" in name) for name, weight in again.named_parameters())


@pytest.mark.parametrize("rank", [0, 3])
def test_two_adapters_sit_on_one_base(base, tmp_path, rank):
    """With the pooling's projections each adapter has its own."""
    batch, processor, expected = batch_of(base), load_processor(base), {}
    for seed, name in enumerate(("pruner", "recogniser")):
        trained = adapter(base, seed, projection_rank=rank)
        save_adapter(trained, processor, tmp_path / name)
        with torch.no_grad():
            expected[name] = trained(**batch).logits
    model = load_model(base, projection_rank=rank)
    with torch.no_grad():
        plain = model(**batch).logits
    for name in expected:
        model = add_adapter(model, tmp_path / name, name)
    for name, logits in expected.items():
        model.set_adapter(name)
        with torch.no_grad():
            torch.testing.assert_close(model(**batch).logits, logits)
    with torch.no_grad(), model.disable_adapter():
        torch.testing.assert_close(model(**batch).logits, plain)
    # a named adapter is saved without PEFT's extra folder level
    save_adapter(model, processor, tmp_path / "copy", name="recogniser")
    with torch.no_grad():
        torch.testing.assert_close(load_model(base, tmp_path / "copy")(**batch).logits, expected["recogniser"])


@pytest.mark.parametrize("rank", [0, 3])
def test_a_batch_may_mix_adapters(tmp_path, rank):
    """Each row has its own adapter's projections and markers, whatever lengths the lists have."""
    base = build_tiny_base(tmp_path / "base", with_context_tokens=False)
    processor, expected = load_processor(base), {}
    batch = batch_of(base)
    model = load_model(base, projection_rank=rank)
    for seed, name in enumerate(("pruner", "recogniser")):
        trained = attach(load_model(base, projection_rank=rank), processor, TrainSection(), LoraSection(rank=2))
        torch.manual_seed(seed)
        for weight in filter(lambda weight: weight.requires_grad, trained.parameters()):
            torch.nn.init.normal_(weight, std=0.3)
        save_adapter(trained, processor, tmp_path / name)
        model = add_adapter(model, tmp_path / name, name)
    for name in ("pruner", "recogniser"):
        model.set_adapter(name)
        with torch.no_grad():
            expected[name] = model(**batch).logits
    with torch.no_grad(), model.disable_adapter():
        expected["__base__"] = model(**batch).logits
    for names in (["recogniser", "pruner"], ["pruner", "__base__"]):
        with torch.no_grad():
            mixed = model(**batch, adapter_names=names).logits
        for row, name in enumerate(names):
            torch.testing.assert_close(mixed[row], expected[name][row], rtol=1e-4, atol=1e-4)
            other = next(candidate for candidate in expected if candidate != name)
            assert not torch.allclose(mixed[row], expected[other][row], atol=1e-2)


def test_trained_marker_embeddings_travel_with_the_adapter(base, tmp_path):
    """The embedding layer is frozen; the markers' own rows may be trained (PEFT's trainable tokens)."""
    model = load_model(base)
    config = peft.LoraConfig(
        r=2, target_modules=LORA_TARGETS,
        trainable_token_indices={"embed_tokens": [model.config.context_start_id, model.config.context_end_id]},
    )  # fmt: skip
    model = peft.get_peft_model(model, config).eval()
    for name, weight in model.named_parameters():
        if "trainable_tokens" in name and weight.requires_grad:
            weight.data += 1
    save_adapter(model, load_processor(base), tmp_path / "adapter")
    batch = batch_of(base)
    with torch.no_grad():
        loaded = load_model(base, tmp_path / "adapter")(**batch).logits
        torch.testing.assert_close(loaded, model(**batch).logits)
        assert not torch.allclose(loaded, load_model(base)(**batch).logits)


def test_unusable_bases_and_settings_are_refused(base, tmp_path):
    with pytest.raises(ModelError, match="nowhere"):
        load_model(tmp_path / "nowhere")
    with pytest.raises(ModelError, match="unknown model setting widow"):
        load_model(base, widow=3)
    with pytest.raises(ModelError, match="window is 0"):
        load_model(base, window=0)
    with pytest.raises(ModelError, match="no adapter_config.json"):
        load_model(base, tmp_path)


def test_missing_and_left_over_weights_are_named(tmp_path):
    base = build_tiny_base(tmp_path)
    weights = load_file(base / "model.safetensors")
    gone = next(name for name in weights if "multi_modal_projector.linear.bias" in name)
    save_file({k: v for k, v in weights.items() if k != gone}, base / "model.safetensors", {"format": "pt"})
    with pytest.raises(ModelError, match="missing keys: model.multi_modal_projector.linear.bias"):
        load_model(base)
    save_file(weights | {"spare.weight": torch.zeros(1)}, base / "model.safetensors", {"format": "pt"})
    with pytest.raises(ModelError, match="unexpected keys: spare.weight"):
        load_model(base)


@pytest.mark.parametrize("rank", [0, 3])
def test_adapters_with_missing_or_foreign_tensors_are_refused(base, tmp_path, rank):
    """Left to PEFT, what the file lacks keeps its random start, and what does not fit is dropped."""
    save_adapter(adapter(base, 1, projection_rank=rank), load_processor(base), tmp_path)
    file = tmp_path / "adapter_model.safetensors"
    weights = load_file(file)
    for gone in (
        "model.multi_modal_projector.linear.lora_A.weight",
        f"{POOLING}.query.up" if rank else "down_proj.lora_B.weight",
    ):
        half = {name: weight for name, weight in weights.items() if gone not in name}
        assert len(half) < len(weights)
        save_file(half, file)
        with pytest.raises(ModelError, match=f"adapter_model.safetensors: lacks .*{gone}.*train the stage again"):
            load_model(base, tmp_path)
    save_file(weights | {"base_model.model.elsewhere.lora_A.weight": torch.zeros(2, 2)}, file)
    with pytest.raises(ModelError, match="adapter_model.safetensors: has .*elsewhere.lora_A.weight, which the base"):
        load_model(base, tmp_path)


def test_another_architecture_is_refused(base, tmp_path):
    for file in base.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "qwen2"}))
    with pytest.raises(ModelError, match="model_type is qwen2, expected one of qwen2_audio, qwen3_asr"):
        load_model(tmp_path)
