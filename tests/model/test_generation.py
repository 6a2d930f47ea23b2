"""What transformers offers around a stock model works on ours: caches, embeddings as inputs, assistants, tuples."""

import pytest
import torch
from tiny import tone
from transformers import DynamicCache

from sap2.model import CACHE, load_model, load_processor
from sap2.prompts import pruning_prompt

LISTS = [["Kathryn", "Maier", "Zbigniew"], ["a"]]
WAVES = [tone(0.6, 1), tone(1.1, 3)]


@pytest.fixture(scope="module")
def model(base):
    return load_model(base)


@pytest.fixture(scope="module")
def inputs(base):
    return load_processor(base)([pruning_prompt()] * 2, LISTS, WAVES)


def generate(model, inputs, **options):
    return model.generate(**inputs, max_new_tokens=8, do_sample=False, **options)


def test_a_cache_of_the_callers_is_filled_and_used(model, inputs):
    cache = DynamicCache(config=model.config.text_config)
    tokens = generate(model, inputs, **{CACHE: cache})
    assert torch.equal(tokens, generate(model, inputs))
    assert cache.get_seq_length() == tokens.shape[1] - 1


def test_an_answer_continues_from_its_cache(model, inputs):
    full = generate(model, inputs)
    first = model.generate(**inputs, max_new_tokens=3, do_sample=False, return_dict_in_generate=True)
    mask = torch.nn.functional.pad(inputs["attention_mask"], (0, 3), value=1)
    more = model.generate(
        first.sequences, attention_mask=mask, max_new_tokens=5, do_sample=False, **{CACHE: getattr(first, CACHE)}
    )
    assert torch.equal(more, full)


def test_an_answer_goes_on_with_all_inputs_of_its_start(model, inputs):
    """Speech and list are in the cache, and are not asked for placeholders again."""
    whole = generate(model, inputs)
    first = model.generate(**inputs, max_new_tokens=3, do_sample=False, return_dict_in_generate=True)
    mask = torch.nn.functional.pad(inputs["attention_mask"], (0, 3), value=1)
    again = {**inputs, "input_ids": first.sequences, "attention_mask": mask, CACHE: getattr(first, CACHE)}
    assert torch.equal(model.generate(**again, max_new_tokens=5, do_sample=False), whole)


def test_embeddings_with_unfilled_placeholders_are_refused(model, inputs):
    embeddings = model.get_input_embeddings()(inputs["input_ids"])
    rest = {name: value for name, value in inputs.items() if name != "input_ids"}
    with pytest.raises(ValueError, match="inputs_embeds are given with speech or a keyword list"):
        model(inputs_embeds=embeddings, **rest)


def test_embeddings_are_taken_instead_of_tokens(model, inputs):
    states, mask = model.encode_speech(inputs["input_features"], inputs["feature_attention_mask"])
    merged = model.model.merge(inputs["input_ids"], inputs["context_ids"], inputs["context_windows"], states, mask)
    tokens = model.generate(
        inputs_embeds=merged, attention_mask=inputs["attention_mask"], max_new_tokens=8, do_sample=False
    )
    assert torch.equal(tokens, generate(model, inputs)[:, inputs["input_ids"].shape[1] :])


def test_an_assistant_changes_nothing_in_the_answer(base, model):
    row = load_processor(base)([pruning_prompt()], LISTS[:1], WAVES[:1])
    assert torch.equal(generate(model, row, assistant_model=load_model(base)), generate(model, row))


@pytest.mark.parametrize("part", ["full", "headless"])
def test_outputs_come_as_tuples_when_wanted(model, inputs, part):
    called = model if part == "full" else model.model
    with torch.no_grad():
        output, plain = called(**inputs), called(**inputs, return_dict=False)
    assert isinstance(plain, tuple) and torch.equal(plain[0], output[0])


def test_the_old_name_of_the_cache_is_still_an_input(model, inputs):
    with torch.no_grad():
        read = model(**inputs, use_cache=True)
        step = {"input_ids": torch.tensor([[1], [1]]), "use_cache": True}
        step["attention_mask"] = torch.nn.functional.pad(inputs["attention_mask"], (0, 1), value=1)
        cached = model(**step, past_key_values=getattr(read, CACHE)).logits
        alone = model(**step).logits
    assert not torch.allclose(cached, alone)
