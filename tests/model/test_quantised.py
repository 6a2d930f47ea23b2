"""4-bit and 8-bit bases give stock logits and train adapters; attention, static caches and compiling keep the text."""

from importlib.util import find_spec

import pytest
import torch
from family_measures import corpus, losses
from tiny import spoken, tone
from transformers import BitsAndBytesConfig, Qwen2AudioForConditionalGeneration

from sap2.constants import EMBEDDED
from sap2.errors import ModelError
from sap2.inference.loading import load_recogniser
from sap2.model import load_model, load_processor, quantization, save_adapter
from sap2.params import LoraSection, TrainSection
from sap2.prompts import pruning_prompt
from sap2.settings import RecogniserSettings
from sap2.training.adapters import attach
from sap2.training.memory import memory
from sap2.training.shapes import base_shape, count

LISTS = [["Kathryn", "Maier", "Zbigniew"], ["a"], []]
WAVES = [tone(0.6, 1), tone(1.1, 3), tone(0.8, 4)]
QUANTISED = {
    "4bit": BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_compute_dtype=torch.float32),
    "8bit": BitsAndBytesConfig(load_in_8bit=True),
}
needs_bitsandbytes = pytest.mark.skipif(find_spec("bitsandbytes") is None, reason="bitsandbytes is not installed")


@needs_bitsandbytes
@pytest.mark.parametrize("kind", QUANTISED)
def test_a_quantised_base_gives_the_stock_models_logits(kind):
    """On the stock features: 8-bit layers round by the whole batch's largest values, padding included."""
    ours = load_model(EMBEDDED, dtype=torch.float32, window=1, quantization_config=QUANTISED[kind])
    stock = Qwen2AudioForConditionalGeneration.from_pretrained(
        EMBEDDED, dtype=torch.float32, quantization_config=QUANTISED[kind]
    ).eval()
    assert not ours.model.multi_modal_projector.linear.weight.is_floating_point()
    processor = load_processor(EMBEDDED, window=1)
    batch = processor([pruning_prompt()], LISTS[:1], WAVES[:1])
    audio = processor.feature_extractor(WAVES[0], sampling_rate=16_000, return_tensors="pt", return_attention_mask=True)
    features = {"input_features": audio.input_features, "feature_attention_mask": audio.attention_mask}
    ids = batch["input_ids"].clone()
    ids[ids == ours.config.context_token_id] = batch["context_ids"][0]
    with torch.no_grad():
        expected = stock(input_ids=ids, attention_mask=batch["attention_mask"], **features).logits
        assert torch.equal(ours(**{**batch, **features}).logits, expected)


@needs_bitsandbytes
def test_an_adapter_is_trained_on_a_4_bit_base(tmp_path):
    """QLoRA: the loss falls, no weight of the base moves, and the adapter loads on the 4-bit base again."""
    torch.manual_seed(0)
    base = load_model(EMBEDDED, dtype=torch.float32, tagging=0.0, quantization_config=QUANTISED["4bit"])
    processor = load_processor(EMBEDDED)
    model = attach(base, processor, TrainSection(), LoraSection(rank=8, alpha=16)).train()
    frozen = {name: weight.clone() for name, weight in model.named_parameters() if not weight.requires_grad}
    batch = processor([pruning_prompt()] * 3, LISTS, WAVES, targets=["maier", "a", "none"])
    optimizer = torch.optim.AdamW([weight for weight in model.parameters() if weight.requires_grad], lr=2e-3)
    losses = []
    for _ in range(8):
        optimizer.zero_grad()
        loss = model(**batch).loss
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]
    assert all(torch.equal(weight, frozen[name]) for name, weight in model.named_parameters() if name in frozen)
    save_adapter(model, processor, tmp_path)
    inputs = processor([pruning_prompt()] * 3, LISTS, WAVES)
    loaded = load_model(EMBEDDED, tmp_path, dtype=torch.float32, quantization_config=QUANTISED["4bit"])
    with torch.no_grad():
        torch.testing.assert_close(loaded(**inputs).logits, model.eval()(**inputs).logits)


@needs_bitsandbytes
@pytest.mark.parametrize("kind", QUANTISED)
def test_a_recogniser_runs_on_a_quantised_base(kind):
    settings = RecogniserSettings().with_changes({"pruning": {"first_pass": None, "speech_only": False}}, "test")
    recogniser = load_recogniser(EMBEDDED, settings=settings, device="cpu", quantization_config=QUANTISED[kind])
    transcript = recogniser(spoken(2.0), LISTS[0])
    assert transcript.text and {*transcript.scores} <= {*LISTS[0]}


@pytest.fixture(scope="module")
def greedy():
    return answers(load_model(EMBEDDED, dtype=torch.float32))


def answers(model, **options) -> list[str]:
    processor = load_processor(EMBEDDED)
    batch = processor([pruning_prompt()] * 3, LISTS, WAVES)
    output = model.generate(**batch, max_new_tokens=10, do_sample=False, **options)
    return processor.tokenizer.batch_decode(output[:, batch["input_ids"].shape[1] :])


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_every_attention_gives_the_same_text(greedy, attention):
    assert answers(load_model(EMBEDDED, dtype=torch.float32, attn_implementation=attention)) == greedy


def test_a_static_cache_gives_the_same_text(greedy):
    model = load_model(EMBEDDED, dtype=torch.float32)
    assert answers(model, cache_implementation="static", disable_compile=True) == greedy


@pytest.mark.slow
def test_compiled_decoding_gives_the_same_text(greedy):
    model = load_model(EMBEDDED, dtype=torch.float32)
    model.model.language_model.forward = torch.compile(model.model.language_model.forward, backend="aot_eager")
    assert answers(model, cache_implementation="static", disable_compile=True) == greedy


@needs_bitsandbytes
@pytest.mark.slow
@pytest.mark.parametrize("kind", QUANTISED)
def test_a_training_by_params_runs_on_a_quantised_base(tmp_path, kind):
    """`quantization` of a training section; its adapter then loads on the base as it is."""
    data = corpus(tmp_path / "corpus")
    settings = {"quantization": kind, "cache_encoder": False, "attention": "sdpa"}
    first, second = losses(EMBEDDED, data, "recogniser", tmp_path / "adapter", **settings)
    assert second < 0.9 * first
    assert load_model(EMBEDDED, tmp_path / "adapter").peft_config


@needs_bitsandbytes
@pytest.mark.parametrize("kind", QUANTISED)
def test_plans_count_a_quantised_bases_bytes(kind):
    model = load_model(EMBEDDED, dtype=torch.bfloat16, quantization_config=quantization(kind, torch.bfloat16))
    section = TrainSection(bf16=True, quantization=kind, cache_encoder=False, deepspeed="none")
    sizes = count(base_shape("embedded"), section, LoraSection())
    planned = memory(sizes, section, "none", 0.0).weights - 4 * sizes.trainable
    assert planned == pytest.approx(sum(weight.nbytes for weight in model.parameters()), rel=0.05)


def test_quantisation_without_bitsandbytes_says_what_to_install(monkeypatch):
    monkeypatch.setattr("sap2.model.loading.find_spec", lambda name: None)
    with pytest.raises(ModelError, match="quantization 4bit needs bitsandbytes.*pip install bitsandbytes"):
        quantization("4bit", torch.float32)


@pytest.mark.parametrize("change", [{"cache_encoder": True}, {"freeze_vit": False}, {"deepspeed": "zero3"}])
def test_what_would_move_or_split_quantised_weights_is_refused(change):
    with pytest.raises(ValueError, match="quantization 4bit needs cache_encoder: false"):
        TrainSection(**{"quantization": "4bit", "cache_encoder": False} | change)
