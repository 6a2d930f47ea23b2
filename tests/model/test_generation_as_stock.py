"""`generate` on ours does what it does on the stock class: without pooling (window 1), the same tokens and scores.

A selection of what transformers' GenerationTesterMixin checks, whose file is in no package.
"""

import pytest
import torch
from tiny import tone
from transformers import LogitsProcessor, LogitsProcessorList, Qwen2AudioForConditionalGeneration

from sap2.model import load_model, load_processor
from sap2.prompts import pruning_prompt

LISTS = [["Kathryn", "Maier", "Zbigniew"], ["a"]]
WAVES = [tone(0.6, 1), tone(1.9, 3)]
STEPS = 7
EXACT = {"max_new_tokens": STEPS, "min_new_tokens": STEPS, "return_dict_in_generate": True, "output_scores": True}


class OddOnly(LogitsProcessor):
    """Allow odd token ids alone."""

    def __call__(self, input_ids, scores):
        return scores.index_fill(-1, torch.arange(0, scores.shape[-1], 2), -torch.inf)


GENERATIONS = {
    "greedily": {},
    "by beams": {"num_beams": 3},
    "by beams, several answers": {"num_beams": 3, "num_return_sequences": 2},
    "by beams of some length": {"num_beams": 2, "length_penalty": 2.0, "early_stopping": True},
    "by sampling": {"do_sample": True, "temperature": 0.8, "top_k": 10},
    "by sampling, several answers": {"do_sample": True, "top_p": 0.8, "num_return_sequences": 2},
    "by sampling beams": {"do_sample": True, "num_beams": 2},
    "under a processor": {"logits_processor": LogitsProcessorList([OddOnly()])},
    "by beams under a processor": {"num_beams": 2, "logits_processor": LogitsProcessorList([OddOnly()])},
    "without repetition": {"repetition_penalty": 1.3, "no_repeat_ngram_size": 2},
    "without a cache": {"use_cache": False},
    "by beams without a cache": {"num_beams": 2, "use_cache": False},
    "with a static cache": {"cache_implementation": "static", "disable_compile": True},
    "by beams with a static cache": {"num_beams": 2, "cache_implementation": "static", "disable_compile": True},
}


@pytest.fixture(scope="module")
def models(base):
    options = {"attn_implementation": "eager"}  # attentions can be shown
    stock = Qwen2AudioForConditionalGeneration.from_pretrained(base, **options).eval()
    return {"ours": load_model(base, window=1, **options), "stock": stock}


@pytest.fixture(scope="module")
def inputs(base):
    """A batch of two rows, the shorter padded on the left, in each side's form; features of 30 s, as stock has them."""
    return {side: batch(base, side, LISTS, WAVES) for side in ("ours", "stock")}


def batch(base, side, lists, waves):
    processor = load_processor(base, window=1)
    made = dict(processor([pruning_prompt()] * len(lists), lists, waves, padding_side="left"))
    audio = processor.feature_extractor(waves, sampling_rate=16_000, return_tensors="pt", return_attention_mask=True)
    made["input_features"], made["feature_attention_mask"] = audio.input_features, audio.attention_mask
    context, windows = made["context_ids"], made["context_windows"]
    if side == "stock":
        placeholder = processor.tokenizer.convert_tokens_to_ids(processor.context_tokens[2])
        made["input_ids"] = made["input_ids"].masked_scatter(made["input_ids"] == placeholder, context[windows >= 0])
        del made["context_ids"], made["context_windows"]
    return made


def generate(models, inputs, side, **options):
    torch.manual_seed(0)
    output = models[side].generate(**inputs[side], **EXACT | options)
    return output.sequences[:, inputs[side]["input_ids"].shape[1] :], output


@pytest.mark.parametrize("how", GENERATIONS)
def test_answers_are_the_stock_models(models, inputs, how):
    if "repetition" in how:  # of the prompt, too, which ours reads with placeholders
        penalised = {side: generate(models, inputs, side, **GENERATIONS[how])[0] for side in models}
        assert all(len(set(row)) > STEPS // 2 for rows in penalised.values() for row in rows.tolist())
        return
    (ours, output), (stock, expected) = (generate(models, inputs, side, **GENERATIONS[how]) for side in models)
    assert torch.equal(ours, stock)
    for got, wanted in zip(output.scores, expected.scores, strict=True):
        torch.testing.assert_close(got, wanted, atol=1e-4, rtol=1e-4)
    if "processor" in how:
        assert (ours % 2 == 1).all()


def test_one_beam_of_a_search_is_greedy(models, inputs):
    greedy, _ = generate(models, inputs, "ours")
    assert torch.equal(generate(models, inputs, "ours", num_beams=1, length_penalty=2.0)[0], greedy)


def test_the_seed_decides_what_is_sampled(models, inputs):
    first, again = (generate(models, inputs, "ours", do_sample=True, temperature=2.0)[0] for _ in range(2))
    torch.manual_seed(1)
    other = models["ours"].generate(**inputs["ours"], **EXACT, do_sample=True, temperature=2.0).sequences
    assert torch.equal(first, again) and not torch.equal(first, other[:, -STEPS:])


@pytest.mark.parametrize("row", [0, 1])
def test_padding_on_the_left_changes_no_answer(base, models, inputs, row):
    alone = {"ours": batch(base, "ours", LISTS[row : row + 1], WAVES[row : row + 1])}
    assert (inputs["ours"]["attention_mask"] == 0).any()
    assert torch.equal(generate(models, alone, "ours")[0][0], generate(models, inputs, "ours")[0][row])


@pytest.mark.parametrize("how", ["greedily", "by beams"])
def test_outputs_have_the_stock_models_parts(models, inputs, how):
    shown = {"output_logits": True, "output_hidden_states": True, "output_attentions": True}
    (_, ours), (_, stock) = (generate(models, inputs, side, **GENERATIONS[how], **shown) for side in models)
    assert set(ours.keys()) == set(stock.keys())
    for part in ("logits", "hidden_states", "attentions"):
        got, wanted = (torch.utils._pytree.tree_leaves(getattr(output, part)) for output in (ours, stock))
        for ours_of, stocks in zip(got, wanted, strict=True):
            torch.testing.assert_close(ours_of, stocks, atol=1e-4, rtol=1e-4)


def test_lookup_in_the_prompt_changes_no_answer(base, models):
    alone = {"ours": batch(base, "ours", LISTS[:1], WAVES[:1])}
    plain, _ = generate(models, alone, "ours")
    assert torch.equal(generate(models, alone, "ours", prompt_lookup_num_tokens=2)[0], plain)
