"""Adapters of ms-swift and plain PEFT: the same tensors, the same logits, or a refusal."""

import json

import peft
import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny import build_tiny_base, tone
from torch import nn
from transformers import Qwen2AudioForConditionalGeneration

from sap2.errors import ModelError
from sap2.model import LORA_TARGETS, POOLING, load_model, load_processor, sap_settings, save_adapter
from sap2.model.exchange import export_adapter, import_adapter
from sap2.params import LoraSection, TrainSection
from sap2.prompts import recognition_prompt
from sap2.training.adapters import attach

# As ms-swift writes it for Qwen2-Audio and the public recipe's `--target_modules all-linear --freeze_aligner false`.
SWIFT_TARGETS = (
    r"^(language_model(?=\.).*\.(down_proj|gate_proj|k_proj|o_proj|q_proj|up_proj|v_proj)"
    r"|multi_modal_projector(?=\.).*\.(linear))$"
)

CLOSE = 2e-3  # of logits of some tens: stock hears 30 s of padding


class Earlier(nn.Module):
    """Qwen2-Audio's modules as transformers before 5 names them, on the weights of a model of today."""

    def __init__(self, stock: Qwen2AudioForConditionalGeneration):
        super().__init__()
        self.language_model = nn.Module()
        self.language_model.model, self.language_model.lm_head = stock.model.language_model, stock.lm_head
        self.audio_tower, self.multi_modal_projector = stock.model.audio_tower, stock.model.multi_modal_projector


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """With a head of its own, as Qwen2-Audio has it: trained rows of the embeddings are no part of it."""
    return build_tiny_base(tmp_path_factory.mktemp("base"), tie=False)


def stock_of(base):
    return Qwen2AudioForConditionalGeneration.from_pretrained(base, dtype=torch.float32).eval()


def randomised(model: nn.Module) -> nn.Module:
    torch.manual_seed(1)
    for name, weight in model.named_parameters():
        if "lora_" in name or POOLING in name:
            nn.init.normal_(weight, std=0.3)
    return model.eval()


def question(base, **settings):
    """A prompt without a list: what stock understands as well."""
    inputs = load_processor(base, **settings)([recognition_prompt(False)] * 2, audio=[tone(0.5), tone(0.8, 1)])
    return dict(inputs)


def logits(model, inputs, *left_out) -> torch.Tensor:
    with torch.no_grad():
        return model(**{name: value for name, value in inputs.items() if name not in left_out}).logits


def of_stock(model, inputs) -> torch.Tensor:
    return logits(model, inputs, "context_ids", "context_windows")


@pytest.fixture
def swift(base, tmp_path):
    """An adapter as ms-swift leaves it, and the logits of the model it was made with."""
    stock = stock_of(base)
    config = peft.LoraConfig(r=2, lora_alpha=8, target_modules=SWIFT_TARGETS, task_type="CAUSAL_LM")
    model = randomised(peft.PeftModel(Earlier(stock), config))
    model.save_pretrained(tmp_path / "swift")
    (tmp_path / "swift" / "args.json").write_text(json.dumps({"model": "Qwen/Qwen2-Audio-7B-Instruct"}))
    return tmp_path / "swift", padded(stock, base)


def padded(stock, base) -> torch.Tensor:
    """Stock's logits: it demands 30 s of mel features."""
    inputs = question(base)
    short = inputs["input_features"].shape[-1]
    width = 2 * stock.config.audio_config.max_source_positions - short
    # Behind the speech stands the mel of silence, as in the last frame.
    features = inputs["input_features"]
    inputs["input_features"] = torch.cat([features, features[..., -1:].expand(-1, -1, width)], -1)
    inputs["feature_attention_mask"] = nn.functional.pad(inputs["feature_attention_mask"], (0, width))
    return of_stock(stock, inputs)


def test_an_adapter_of_ms_swift_loads_exactly_once_imported(base, swift, tmp_path):
    folder, expected = swift
    modules = import_adapter(folder, base, tmp_path / "ours", window=4)
    assert len(modules) == 2 * 7 + 1
    model = load_model(base, tmp_path / "ours", dtype=torch.float32)
    torch.testing.assert_close(logits(model, question(base)), expected, rtol=0, atol=CLOSE)
    assert not torch.allclose(logits(load_model(base), question(base)), expected, atol=0.1)
    theirs, ours = (
        sorted(load_file(path / "adapter_model.safetensors").items()) for path in (folder, tmp_path / "ours")
    )
    assert len(theirs) == len(ours) == 30
    pooling = sap_settings(tmp_path / "ours")
    assert (pooling["window"], pooling["weighting"], pooling["windows"], pooling["tagging"]) == (4, "mean", "fixed", 0)


def test_an_adapter_of_ms_swift_is_refused_until_imported(base, swift):
    with pytest.raises(ModelError, match='has the layout of ms-swift; run "sap2 import-adapter"'):
        load_model(base, swift[0])


def test_what_ms_swift_trained_besides_lora_is_refused(base, swift, tmp_path):
    file = swift[0] / "adapter_model.safetensors"
    weights = load_file(file)
    save_file(weights | {"base_model.model.language_model.lm_head.weight": torch.zeros(2, 2)}, file)
    with pytest.raises(ModelError, match="trains other weights than LoRA's matrices .*lm_head.weight.*; merge it"):
        import_adapter(swift[0], base, tmp_path / "ours")
    gone = next(name for name in weights if "multi_modal_projector" in name)
    save_file({name: weight for name, weight in weights.items() if name != gone}, file)
    with pytest.raises(ModelError, match="lacks .*multi_modal_projector.linear.lora_A.weight, unlike an adapter"):
        import_adapter(swift[0], base, tmp_path / "ours")
    save_file(weights | {gone: weights[gone][:, 1:].contiguous()}, file)
    with pytest.raises(ModelError, match=r"lora_A.weight is \(2, 15\), expected \(2, 16\)"):
        import_adapter(swift[0], base, tmp_path / "ours")
    assert not (tmp_path / "ours").exists()


def test_imported_adapters_keep_the_bases_marker_rows(real_base, tmp_path):
    """Qwen2-Audio has spare rows where its markers go: the public recipe trained with these as they are."""
    model = peft.PeftModel(Earlier(stock_of(real_base)), peft.LoraConfig(r=2, target_modules=SWIFT_TARGETS))
    randomised(model).save_pretrained(tmp_path / "swift")
    import_adapter(tmp_path / "swift", real_base, tmp_path / "ours")
    rows = stock_of(real_base).get_input_embeddings().weight[151649:151651]
    loaded = load_model(real_base, tmp_path / "ours", dtype=torch.float32)
    assert torch.equal(loaded.get_input_embeddings().weight[151649:151651], rows)
    bare = load_model(real_base, dtype=torch.float32).get_input_embeddings()
    assert not torch.allclose(bare.weight[151649:151651], rows)


@pytest.fixture
def ours(base, tmp_path):
    """An adapter of ours with trained markers."""
    model = load_model(base, dtype=torch.float32)
    rows = {"embed_tokens": [model.config.context_start_id, model.config.context_end_id]}
    config = peft.LoraConfig(r=2, lora_alpha=8, target_modules=LORA_TARGETS, trainable_token_indices=rows)
    model = randomised(peft.get_peft_model(model, config))
    for name, weight in model.named_parameters():
        if "trainable_tokens" in name and weight.requires_grad:
            weight.data += 1
    save_adapter(model, load_processor(base), tmp_path / "ours")
    return tmp_path / "ours"


def test_exports_are_read_by_peft_on_the_stock_class(base, ours, tmp_path):
    export_adapter(ours, base, tmp_path / "peft", "peft")
    stock = stock_of(base)
    read = peft.PeftModel.from_pretrained(stock, tmp_path / "peft").eval()
    expected = logits(load_model(base, ours, dtype=torch.float32), question(base))
    torch.testing.assert_close(padded(read, base), expected, rtol=0, atol=CLOSE)


def test_exports_are_read_with_the_names_of_ms_swift(base, ours, tmp_path):
    export_adapter(ours, base, tmp_path / "swift", "ms-swift")
    assert json.loads((tmp_path / "swift" / "adapter_config.json").read_text())["target_modules"] == SWIFT_TARGETS
    stock = stock_of(base)
    peft.PeftModel.from_pretrained(Earlier(stock), tmp_path / "swift").eval()
    expected = logits(load_model(base, ours, dtype=torch.float32), question(base))
    torch.testing.assert_close(padded(stock, base), expected, rtol=0, atol=CLOSE)


@pytest.mark.parametrize("layout", ["peft", "ms-swift"])
def test_trained_markers_are_exported_as_rows_of_the_table(real_base, tmp_path, layout):
    """Of the real base, whose table has spare rows; ours hold them as offsets from where they started."""
    processor, base = load_processor(real_base), load_model(real_base, dtype=torch.float32)
    model = randomised(attach(base, processor, TrainSection(), LoraSection(rank=2)))
    for name, weight in model.named_parameters():
        if "context_markers" in name and weight.requires_grad:
            nn.init.normal_(weight)
    save_adapter(model, processor, tmp_path / "ours")
    export_adapter(tmp_path / "ours", real_base, tmp_path / "out", layout)
    stock = stock_of(real_base)
    read = peft.PeftModel.from_pretrained(stock if layout == "peft" else Earlier(stock), tmp_path / "out").eval()
    expected = logits(load_model(real_base, tmp_path / "ours", dtype=torch.float32), question(real_base))
    answered = padded(read if layout == "peft" else stock, real_base)
    # The scores of the markers themselves, which no answer holds, are of the head's rows, which only ours sets.
    torch.testing.assert_close(answered[..., :151649], expected[..., :151649], rtol=0, atol=CLOSE)
    plain = logits(load_model(real_base, dtype=torch.float32), question(real_base))
    assert not torch.allclose(plain, expected, atol=0.1)


def test_learned_projections_cannot_be_exported(base, tmp_path):
    config = peft.LoraConfig(r=2, target_modules=LORA_TARGETS, modules_to_save=[POOLING])
    model = randomised(peft.get_peft_model(load_model(base, projection_rank=2), config))
    save_adapter(model, load_processor(base), tmp_path / "ours")
    with pytest.raises(ModelError, match="has .*context_pooling.*; it cannot be exported"):
        export_adapter(tmp_path / "ours", base, tmp_path / "out", "peft")
