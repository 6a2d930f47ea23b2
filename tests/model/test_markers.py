"""The context markers' trained embeddings: what they add, what they leave alone, how they travel."""

import peft
import pytest
import torch
from tiny import build_tiny_base, tone

from sap2.model import LORA_TARGETS, load_model, load_processor, save_adapter
from sap2.params import LoraSection, TrainSection
from sap2.prompts import pruning_prompt
from sap2.training.adapters import attach


@pytest.fixture(scope="module")
def unmarked(tmp_path_factory):
    """A base whose tokenizer lacks the markers, as Qwen2-Audio's does."""
    return build_tiny_base(tmp_path_factory.mktemp("unmarked"), with_context_tokens=False)


def batch(base):
    return load_processor(base)([pruning_prompt()] * 2, [["Kathryn", "Maier"], ["a"]], [tone(0.4, 1), tone(0.6, 2)])


def trained(base, seed: int = 0):
    torch.manual_seed(seed)
    model = attach(load_model(base), load_processor(base), TrainSection(), LoraSection(rank=2)).eval()
    for name, weight in model.named_parameters():
        if weight.requires_grad:
            weight.data = torch.randn_like(weight) * (1.0 if "context_markers" in name else 0.1)
    return model


def test_offsets_equal_rows_written_into_the_table(unmarked):
    """Two rows of our own give the logits of a table that holds the moved rows."""
    model, inputs = load_model(unmarked), batch(unmarked)
    ids = [model.config.context_start_id, model.config.context_end_id]
    offsets = torch.randn(2, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        plain = model(**inputs).logits
        model.model.context_markers.offsets.copy_(offsets)
        moved = model(**inputs).logits
        model.model.context_markers.offsets.zero_()
        model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight.clone())  # untied: only the inputs move
        model.get_input_embeddings().weight[ids] += offsets
        written = model(**inputs).logits
    torch.testing.assert_close(moved, written, atol=1e-6, rtol=1e-6)
    assert (moved - plain).abs().max() > 0.01


def test_a_base_that_knows_the_markers_gets_no_weights(base):
    names = [name for name, _ in load_model(base).named_parameters()]
    assert not [name for name in names if "context_markers" in name]


def test_gradients_reach_the_offsets_of_both_markers(unmarked):
    model, processor = load_model(unmarked).train(), load_processor(unmarked)
    inputs = processor([pruning_prompt()], [["Maier"]], [tone(0.4, 1)], targets=["maier"])
    model(**inputs).loss.backward()
    assert (model.model.context_markers.offsets.grad.abs().sum(-1) > 0).all()


def test_the_table_is_not_copied_in_a_forward_pass(unmarked):
    """No operation of a decoding step makes another tensor of the table's size."""
    model = trained(unmarked)
    table = model.get_input_embeddings().weight.numel()
    with torch.no_grad(), torch.profiler.profile(record_shapes=True) as profile:
        model(input_ids=torch.tensor([[1]]), logits_to_keep=1)
    copies = [event for event in profile.events() if event.name in ("aten::clone", "aten::index_copy", "aten::copy_")]
    sizes = [torch.Size(shape).numel() for event in copies for shape in event.input_shapes if shape]
    assert all(size < table for size in sizes)


def test_trained_offsets_travel_with_the_adapter(unmarked, tmp_path):
    model, inputs = trained(unmarked), batch(unmarked)
    save_adapter(model, load_processor(unmarked), tmp_path)
    with torch.no_grad():
        loaded = load_model(unmarked, tmp_path)
        assert torch.equal(loaded(**inputs).logits, model(**inputs).logits)
        loaded.get_base_model().model.context_markers.modules_to_save.default.offsets.zero_()
        assert not torch.allclose(loaded(**inputs).logits, model(**inputs).logits)


def test_adapters_with_rows_in_the_table_still_load(unmarked, tmp_path):
    """What earlier versions wrote: PEFT's trainable tokens instead of offsets."""
    model, inputs = load_model(unmarked), batch(unmarked)
    ids = [model.config.context_start_id, model.config.context_end_id]
    config = peft.LoraConfig(r=2, target_modules=LORA_TARGETS, trainable_token_indices={"embed_tokens": ids})
    old = peft.get_peft_model(model, config).eval()
    for name, weight in old.named_parameters():
        if "trainable_tokens" in name and weight.requires_grad:
            weight.data += 1
    save_adapter(old, load_processor(unmarked), tmp_path)
    with torch.no_grad():
        loaded = load_model(unmarked, tmp_path)(**inputs).logits
        torch.testing.assert_close(loaded, old(**inputs).logits)
        assert not torch.allclose(loaded, load_model(unmarked)(**inputs).logits)


def test_offsets_stay_float32_in_a_bfloat16_model(unmarked):
    model = load_model(unmarked, dtype=torch.bfloat16)
    assert model.model.context_markers.offsets.dtype == torch.float32
    assert model(**batch(unmarked)).logits.dtype == torch.bfloat16
