"""Batched decoding: an answer depends only on its row, and is returned at its index."""

import doctest

import pytest
import torch
from tiny import build_tiny_base, tone

import sap2.inference.decoding as decoding
from sap2.errors import InputError
from sap2.inference.decoding import Likeliest, LoopStop, answers, encode, generate, likelihoods, trim_loop
from sap2.model import load_model, load_processor
from sap2.prompts import recognition_prompt

LISTS = [["Kathryn", "Maier", "Zbigniew"], [], ["a"], ["Myer"], ["Meyer"] * 5]
PROMPTS = [recognition_prompt(bool(words)) for words in LISTS]
WAVES = [tone(0.6, 1), tone(0.3, 2), tone(1.1, 3), tone(0.8, 4), tone(0.3, 5)]


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    base = build_tiny_base(tmp_path_factory.mktemp("base"))
    return load_model(base), load_processor(base)


@pytest.fixture(scope="module")
def alone(loaded):
    """Each row's answer when asked by itself."""
    rows = zip(WAVES, PROMPTS, LISTS, strict=True)
    return [generate(*loaded, [wave], [prompt], [words], max_new_tokens=6)[0] for wave, prompt, words in rows]


def test_examples_in_docstrings_run():
    assert doctest.testmod(decoding).failed == 0


@pytest.mark.parametrize("budget", [{"batch_size": 5}, {"batch_size": 2}, {"batch_tokens": 250}, {"batch_tokens": 1}])
def test_batching_changes_neither_answers_nor_order(loaded, alone, budget):
    assert generate(*loaded, WAVES, PROMPTS, LISTS, max_new_tokens=6, **budget) == alone
    assert len(set(alone)) == len(alone)


@pytest.mark.parametrize("beams", [1, 3])
def test_scores_are_the_log_probabilities_of_the_answers_tokens(loaded, monkeypatch, beams):
    """Read again with the answer behind the prompt, the model gives each token the probability it was scored with."""
    model, processor = loaded
    together = answers(*loaded, WAVES, PROMPTS, LISTS, max_new_tokens=6, num_beams=beams, scored=True)
    texts = generate(*loaded, WAVES, PROMPTS, LISTS, max_new_tokens=6, num_beams=beams)
    assert [answer.text for answer in together] == texts
    written = []
    run = model.generate
    monkeypatch.setattr(model, "generate", lambda **inputs: written.append((inputs, run(**inputs))) or written[-1][1])
    for row, (wave, prompt, words) in enumerate(zip(WAVES, PROMPTS, LISTS, strict=True)):
        alone = answers(*loaded, [wave], [prompt], [words], max_new_tokens=6, num_beams=beams, scored=True)[0]
        inputs, output = written.pop()
        ids, start = output.sequences, inputs["input_ids"].shape[1]
        placeholders = {name: inputs[name] for name in inputs if name.startswith(("context", "speech"))}
        with torch.no_grad():
            logits = model(input_ids=ids, attention_mask=torch.ones_like(ids), **placeholders).logits
        expected = logits[0, start - 1 : -1].log_softmax(-1).gather(-1, ids[0, start:, None])[:, 0]
        for answer in (alone, together[row]):
            assert len(answer.logprobs) == len(answer.pieces) > 0
            scores = torch.tensor(answer.logprobs)
            torch.testing.assert_close(scores, expected[: len(scores)], atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("budget", [{"batch_size": 5}, {"batch_size": 2}, {"batch_tokens": 250}, {"batch_tokens": 1}])
def test_likelihoods_are_the_models_own(loaded, budget):
    """As the loss of training has them, a row at a time: its mean over the answer's tokens and their end."""
    model, processor = loaded
    texts = [["ask maier", "", "thank kathryn for the proof"], ["", "a"], ["a"], [], ["the proof", "ask", "a"]]
    result = likelihoods(model, processor, WAVES, PROMPTS, LISTS, texts, **budget)
    assert [len(several) for several in result] == [3, 2, 1, 0, 3]
    for wave, prompt, words, several, totals in zip(WAVES, PROMPTS, LISTS, texts, result, strict=True):
        for text, total in zip(several, totals, strict=True):
            batch = processor([prompt], [words], audio=[wave], targets=[text])
            with torch.no_grad():
                loss = model(**batch).loss.item()
            assert total == pytest.approx(-loss * len(processor.target(text)), rel=1e-3)
    assert len(set(sum(result, []))) == 9 and likelihoods(model, processor, [], [], [], []) == []


def test_a_prompt_is_read_once_for_all_its_texts(loaded, monkeypatch):
    model, processor = loaded
    read = []
    run = model.model.merge
    monkeypatch.setattr(model.model, "merge", lambda ids, *rest: read.append(ids.numel()) or run(ids, *rest))
    texts = [["ask maier", "thank kathryn"] * 8, ["a"]]
    likelihoods(model, processor, WAVES[:2], PROMPTS[:2], LISTS[:2], texts)
    targets = [processor.target(text) for several in texts for text in several]
    width = max(processor.prompt_length(prompt, words, processor.frames(len(wave)))
                for prompt, words, wave in zip(PROMPTS[:2], LISTS[:2], WAVES, strict=False))  # fmt: skip
    assert read[0] == 2 * width and sum(read[1:]) <= len(targets) * max(map(len, targets))


def test_states_encoded_once_give_the_answers_of_the_audio(loaded, alone):
    states = encode(*loaded, WAVES, batch_size=2)
    assert [len(frames) for frames in states] == [loaded[1].frames(len(wave)) for wave in WAVES]
    mixed = [item for pair in zip(states, WAVES, strict=True) for item in pair]
    answers = generate(*loaded, mixed, [p for p in PROMPTS for _ in "ab"], [w for w in LISTS for _ in "ab"],
                       max_new_tokens=6)  # fmt: skip
    assert answers == [answer for answer in alone for _ in "ab"]


def test_encoding_runs_the_encoder_once_a_batch(loaded, monkeypatch):
    model, processor = loaded
    calls = []
    run = model.encode_speech
    monkeypatch.setattr(model, "encode_speech", lambda **inputs: calls.append(1) or run(**inputs))
    states = encode(model, processor, WAVES)
    generate(model, processor, states, PROMPTS, LISTS, max_new_tokens=2, num_beams=2)
    assert len(calls) == 1


def test_batches_stay_within_their_budget():
    lengths = [9, 1, 4, 4, 8, 2, 30]
    batches = list(decoding._batches(lengths, 3, 20, None))
    assert sorted(row for rows in batches for row in rows) == list(range(7))
    for rows in batches:
        assert len(rows) <= 3 and (len(rows) == 1 or max(lengths[row] for row in rows) * len(rows) <= 20)


def test_rows_without_speech_and_no_rows_at_all(loaded):
    assert len(generate(*loaded, [None, WAVES[0]], PROMPTS[0], [["a"], ["b"]], max_new_tokens=2)) == 2
    assert generate(*loaded, [None], PROMPTS[0], [["a"]], max_new_tokens=2)
    assert generate(*loaded, [], PROMPTS[0]) == [] and encode(*loaded, []) == []


def test_answers_are_bounded(loaded):
    tokenizer = loaded[1].tokenizer
    assert len(tokenizer(generate(*loaded, [WAVES[0]], PROMPTS[0], [["a"]], max_new_tokens=1)[0])["input_ids"]) <= 3


def test_the_bases_own_sampling_defaults_do_not_act(loaded, alone, monkeypatch):
    monkeypatch.setattr(loaded[0].generation_config, "do_sample", True)
    monkeypatch.setattr(loaded[0].generation_config, "temperature", 9.0)
    monkeypatch.setattr(loaded[0].generation_config, "repetition_penalty", 9.0)
    assert generate(*loaded, WAVES, PROMPTS, LISTS, max_new_tokens=6) == alone


def test_lists_that_do_not_match_the_items_are_refused(loaded):
    with pytest.raises(InputError, match="2 items, 2 prompts, 1 lists"):
        generate(*loaded, WAVES[:2], PROMPTS[0], [["a"]])


@pytest.mark.parametrize("block", [[5], [1, 2, 3], list(range(16))])
def test_loops_are_stopped_and_trimmed(block):
    start = [90, 91, 92]
    answer = start + block * 20
    stop = LoopStop(prompt_length=4)
    lengths = [n for n in range(len(answer) + 1) if stop(torch.tensor([[0] * 4 + answer[:n]]), None)[0]]
    assert lengths and lengths[0] < len(answer)
    assert trim_loop(answer[: lengths[0]]) == start + block


def test_a_loop_ends_its_own_row_only():
    rows = torch.tensor([[0] + [7] * 12, [0] + list(range(12))])
    assert LoopStop(prompt_length=1)(rows, None).tolist() == [True, False]
    assert LoopStop(prompt_length=2)(rows, None).tolist() == [False, False]


@pytest.mark.parametrize("answer", [[], [1], [1, 1, 1, 1, 1], [1, 2, 1, 2, 1, 2], list(range(40))])
def test_ordinary_repetition_is_speech(answer):
    assert trim_loop(answer) == answer


def test_scores_keep_a_few_tokens_a_step_not_the_vocabulary():
    likeliest = Likeliest(3)
    scores = torch.randn(2, 1000, generator=torch.Generator().manual_seed(0))
    scores[1] = 0.0  # a thousand ties: the search may take one that was not kept
    assert likeliest(torch.zeros(2, 1), scores) is scores
    assert likeliest.steps[0][0].shape == (2, 3)
    tokens = torch.stack((scores[0].argmax(), torch.tensor(777)))[:, None]
    expected = scores.log_softmax(-1).gather(-1, tokens)
    torch.testing.assert_close(likeliest.of(tokens, None), expected)
    torch.testing.assert_close(likeliest.of(tokens.flip(0), torch.tensor([[1], [0]])), expected.flip(0))
