"""The model: the encoder at the speech's own length, scattering, loss, generation."""

import numpy as np
import pytest
import torch
import transformers
from packaging.version import Version
from tiny import tone
from transformers import AutoConfig, AutoModel, AutoModelForMultimodalLM, Qwen2AudioForConditionalGeneration

from sap2.constants import EMBEDDED
from sap2.model import SapQwen2AudioConfig, SapQwen2AudioForConditionalGeneration, load_model, load_processor
from sap2.prompts import pruning_prompt, recognition_prompt

LISTS = [["Kathryn", "Maier", "Zbigniew"], [], ["a"], ["Myer"]]
PROMPTS = [recognition_prompt(bool(words)) for words in LISTS]
WAVES = [tone(0.6, 1), tone(0.3, 2), tone(1.1, 3), tone(0.8, 4)]


@pytest.fixture(scope="module")
def processor(base):
    return load_processor(base)


@pytest.fixture(scope="module")
def model(base):
    return load_model(base)


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_encoder_at_own_length_equals_the_stock_encoder(base, processor, attention):
    """Every recording of a batch, whatever its neighbours' lengths: odd and even mel lengths alike."""
    stock = Qwen2AudioForConditionalGeneration.from_pretrained(base, attn_implementation=attention).eval()
    model = load_model(base, attn_implementation=attention)
    waves = [tone(seconds, seed) for seed, seconds in enumerate((0.05, 0.31, 1.0, 1.2345))]
    with torch.no_grad():
        states, mask = model.encode_speech(**processor.features(waves))
        for row, wave in enumerate(waves):
            padded = np.pad(wave, (0, 480_000 - len(wave)))
            features = processor.feature_extractor(padded, sampling_rate=16_000, return_tensors="pt").input_features
            valid = torch.arange(1500)[None] < ((-(-len(wave) // 160)) - 1) // 2 + 1
            attend = torch.zeros(1, 1, 1, 1500).masked_fill(~valid, torch.finfo(torch.float32).min)
            heard = stock.model.audio_tower(features, attention_mask=attend.expand(-1, -1, 1500, -1)).last_hidden_state
            frames = int(mask[row].sum())
            assert frames == processor.frames(len(wave)) > 0
            torch.testing.assert_close(states[row, :frames], heard[0, :frames], atol=1e-4, rtol=0)


def test_too_many_mel_frames_are_refused(model):
    with pytest.raises(ValueError, match="got 3002 mel frames, expected at most 3000"):
        model.encode_speech(torch.zeros(1, 80, 3002), torch.ones(1, 3002))


def test_without_a_list_it_is_the_stock_model(base, model, processor):
    """Same weights, same prompt, same speech: same logits, though ours never pads to 30 s."""
    stock = Qwen2AudioForConditionalGeneration.from_pretrained(base).eval()
    batch = processor(PROMPTS, None, WAVES)
    audio = processor.feature_extractor(WAVES, sampling_rate=16_000, return_tensors="pt", return_attention_mask=True)
    with torch.no_grad():
        ours = model(**batch).logits
        theirs = stock(batch["input_ids"], audio.input_features, batch["attention_mask"], audio.attention_mask).logits
    valid = batch["attention_mask"].bool()
    torch.testing.assert_close(ours[valid], theirs[valid], atol=1e-3, rtol=1e-3)


def test_window_of_one_reads_the_list_as_plain_text(base, processor):
    """With W = 1 the pooled prompt is the prompt with the list written out."""
    model, single = load_model(base, window=1), load_processor(base, window=1)
    batch = single([pruning_prompt()], [LISTS[0]], [WAVES[0]])
    plain = batch["input_ids"].clone()
    plain[plain == model.config.context_token_id] = batch["context_ids"][0]
    with torch.no_grad():
        features = {name: batch[name] for name in ("input_features", "feature_attention_mask", "attention_mask")}
        torch.testing.assert_close(model(**batch).logits, model(input_ids=plain, **features).logits)


def test_encoded_speech_gives_the_same_logits_as_audio(model, processor):
    batch = processor(PROMPTS, LISTS, WAVES)
    features = {name: batch.pop(name) for name in ("input_features", "feature_attention_mask")}
    with torch.no_grad():
        states, mask = model.encode_speech(**features)
        torch.testing.assert_close(
            model(**batch, **features).logits, model(**batch, speech_states=states, speech_mask=mask).logits
        )


class Int8Linear(torch.nn.Module):
    """A linear layer whose weight is stored as integers, as quantised ones are."""

    def __init__(self, linear):
        super().__init__()
        self.scale, self.bias = linear.weight.detach().abs().max() / 127, linear.bias
        self.weight = torch.nn.Parameter((linear.weight / self.scale).round().to(torch.int8), requires_grad=False)

    def forward(self, speech):
        return torch.nn.functional.linear(speech, self.weight.to(speech.dtype) * self.scale, self.bias)


def test_a_projector_of_integers_gets_speech_as_floats(base, processor):
    batch = processor(PROMPTS, LISTS, WAVES)
    quantised, rounded = load_model(base), load_model(base)
    linear = rounded.model.multi_modal_projector.linear
    quantised.model.multi_modal_projector.linear = Int8Linear(linear)
    scale = linear.weight.detach().abs().max() / 127
    with torch.no_grad():
        linear.weight.copy_((linear.weight / scale).round() * scale)
        torch.testing.assert_close(quantised(**batch).logits, rounded(**batch).logits, atol=1e-5, rtol=1e-5)


def test_other_speech_changes_the_pooled_list(model, processor):
    ids, windows = (torch.tensor([x]) for x in processor.tokenise_context(LISTS[0]))
    generator = torch.Generator().manual_seed(0)
    speech = torch.randn(2, 1, 20, 32, generator=generator)
    pooled = [model.model.pool(ids, windows, s, torch.ones(1, 20, dtype=torch.bool))[0] for s in speech]
    assert (pooled[0] - pooled[1]).abs().max() > 1e-3


def test_right_and_left_padding_agree(model, processor):
    with torch.no_grad():
        right = processor(PROMPTS, LISTS, WAVES, padding_side="right")
        left = processor(PROMPTS, LISTS, WAVES, padding_side="left")
        outputs = [model(**batch).logits[batch["attention_mask"].bool()] for batch in (right, left)]
    torch.testing.assert_close(outputs[0], outputs[1], atol=1e-3, rtol=1e-3)


def test_loss_equals_the_stock_loss_also_in_training(model, processor):
    batch = processor(PROMPTS, LISTS, WAVES, targets=["today we speak", "a", "maier proved", "none"])
    output = model(**batch)
    labels = batch["labels"][:, 1:].flatten()
    expected = torch.nn.functional.cross_entropy(output.logits[:, :-1].flatten(0, 1), labels)
    torch.testing.assert_close(output.loss, expected)
    scored = int((labels != -100).sum())
    torch.testing.assert_close(model(**batch, num_items_in_batch=2 * scored).loss, expected / 2)
    try:
        trained = model.train()(**batch)
    finally:
        model.eval()
    torch.testing.assert_close(trained.loss, expected)
    assert trained.logits is None


def test_untrained_projections_leave_every_logit_as_it_is(base, model, processor):
    projected = load_model(base, projection_rank=4)
    weights = {name: weight for name, weight in projected.named_parameters() if "context_pooling" in name}
    assert len(weights) == 4 and not [name for name, _ in model.named_parameters() if "context_pooling" in name]
    batch = processor(PROMPTS, LISTS, WAVES)
    with torch.no_grad():
        assert torch.equal(projected(**batch).logits, model(**batch).logits)
    half = load_model(base, projection_rank=4, dtype=torch.bfloat16)
    assert half.model.context_pooling.query.up.dtype == torch.float32


def test_trained_projections_are_saved_with_the_model(base, processor, tmp_path):
    projected = load_model(base, projection_rank=4)
    for projection in (projected.model.context_pooling.query, projected.model.context_pooling.key):
        torch.nn.init.normal_(projection.up)
    projected.save_pretrained(tmp_path)
    half = AutoModelForMultimodalLM.from_pretrained(tmp_path, dtype=torch.bfloat16)
    assert torch.equal(half.model.context_pooling.key.up, projected.model.context_pooling.key.up)
    loaded = AutoModelForMultimodalLM.from_pretrained(tmp_path).eval()
    batch = processor(PROMPTS, LISTS, WAVES)
    with torch.no_grad():
        logits = projected(**batch).logits
        assert torch.equal(loaded(**batch).logits, logits)
        assert not torch.allclose(load_model(base)(**batch).logits, logits)


def test_bfloat16_logits_stay_close_to_float32():
    """On the embedded base, whose weights are trained: within 5 % of the logits' own spread, and the same first choice
    in nine of ten positions (near-ties fall either way)."""
    processor = load_processor(EMBEDDED)
    batch = processor(PROMPTS, LISTS, WAVES)
    valid = batch["attention_mask"].bool()
    with torch.no_grad():
        exact, half = (
            load_model(EMBEDDED, dtype=dtype)(**batch).logits[valid].float()
            for dtype in (torch.float32, torch.bfloat16)
        )
    assert (half - exact).square().mean().sqrt() < 0.05 * exact.std()
    assert (half.argmax(-1) == exact.argmax(-1)).float().mean() > 0.9


def test_gradients_reach_the_projector_through_pooling_weights(model, processor):
    """The speech reaches this loss only by way of the pooling weights."""
    batch = processor([pruning_prompt()], [LISTS[0]], [WAVES[0]])
    states, mask = model.encode_speech(batch["input_features"], batch["feature_attention_mask"])
    speech = model.model.multi_modal_projector(states)
    pooled = model.model.pool(batch["context_ids"], batch["context_windows"], speech, mask)[0]
    projector = model.model.multi_modal_projector.linear.weight
    assert torch.autograd.grad(pooled.square().sum(), projector)[0].abs().sum() > 1e-3


@pytest.mark.parametrize(("beams", "cached"), [(1, True), (3, True), (1, False)])
def test_batched_generation_equals_one_by_one(model, processor, beams, cached):
    """Lists and recordings of different lengths side by side, left padded, greedy and beam."""

    def answer(prompts, lists, waves):
        batch = processor(prompts, lists, waves)
        output = model.generate(**batch, max_new_tokens=5, num_beams=beams, do_sample=False, use_cache=cached)
        return processor.tokenizer.batch_decode(output[:, batch["input_ids"].shape[1] :], skip_special_tokens=True)

    together = answer(PROMPTS, LISTS, WAVES)
    alone = [answer([p], [w], [a])[0] for p, w, a in zip(PROMPTS, LISTS, WAVES, strict=True)]
    assert together == alone and len(set(together)) == len(together)


def test_text_only_rows_and_batches_run(model, processor):
    mixed = processor(PROMPTS[:2] + [pruning_prompt()], LISTS[:2] + [["Maier", "Myer"]], [*WAVES[:2], None])
    text = processor([pruning_prompt()], [["Maier", "Myer"]])
    with torch.no_grad():
        row = model(**mixed).logits[2][mixed["attention_mask"][2].bool()]
        torch.testing.assert_close(row, model(**text).logits[0], atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("aggregate", ["mean", "logsumexp"])
def test_bfloat16_stays_close_to_float32(base, processor, aggregate):
    batch = processor(PROMPTS, LISTS, WAVES)
    probabilities = []
    for dtype in (torch.float32, torch.bfloat16):
        model = load_model(base, dtype=dtype, aggregate=aggregate)
        with torch.no_grad():
            states, mask = model.encode_speech(batch["input_features"], batch["feature_attention_mask"])
            speech = model.model.multi_modal_projector(states)
            probabilities.append(
                model.model.pool(batch["context_ids"], batch["context_windows"], speech, mask)[0].float()
            )
    torch.testing.assert_close(*probabilities, atol=0.05, rtol=0.05)


def test_checkpointing_changes_neither_loss_nor_gradients(base, processor):
    """Activations are thrown away and computed again, pooling included: the same numbers must come out."""
    batch = processor(PROMPTS, LISTS, WAVES, targets=["today we speak", "a", "maier proved", "none"])
    results = []
    for checkpointing in (False, True):
        model = load_model(base).train()
        if checkpointing:
            model.gradient_checkpointing_enable({"use_reentrant": False})
            assert model.model.language_model.gradient_checkpointing
        loss = model(**batch).loss
        loss.backward()
        projector = model.model.multi_modal_projector.linear.weight.grad
        results.append((loss.detach(), projector, model.model.language_model.layers[0].mlp.up_proj.weight.grad))
    for plain, checkpointed in zip(*results, strict=True):
        torch.testing.assert_close(plain, checkpointed)
    assert results[0][1].abs().sum() > 0


def test_a_prompt_without_markers_stands_beside_one_with_a_list(model, processor):
    """A row without context is a row like any other, alone or in a batch."""
    prompts, lists, waves = ["Transcribe speech to text.", PROMPTS[0]], [[], LISTS[0]], WAVES[:2]
    together = processor(prompts, lists, waves)
    alone = processor(prompts[:1], None, waves[:1])
    with torch.no_grad():
        row = model(**together).logits[0][together["attention_mask"][0].bool()]
        torch.testing.assert_close(row, model(**alone).logits[0], atol=1e-3, rtol=1e-3)


def test_token_zero_in_a_list_is_read_not_taken_for_padding(model, processor):
    """Id 0 is "!": a list of only it, padded to a longer list's length, pools to its embedding."""
    batch = processor([pruning_prompt()] * 2, [["!"], LISTS[0]])
    pooled, mask = model.model.pool(batch["context_ids"], batch["context_windows"], None, None)
    assert mask[0].tolist() == [True] + [False] * (mask.shape[1] - 1)
    assert torch.equal(pooled[0, 0], model.get_input_embeddings().weight[0])


def test_the_decoder_can_be_compiled(model, processor):
    """The text model is captured as a single graph, whatever fills its placeholders."""
    batch = processor(PROMPTS, LISTS, WAVES)
    with torch.no_grad():
        expected = model(**batch).logits
        plain = model.model.language_model.forward
        model.model.language_model.forward = torch.compile(plain, backend="aot_eager", fullgraph=True)
        try:
            compiled = model(**batch, use_cache=False).logits
        finally:
            model.model.language_model.forward = plain
    torch.testing.assert_close(compiled, expected, atol=1e-4, rtol=1e-4)


def test_two_context_spans_are_refused_by_the_model_too(model, processor):
    batch = processor(PROMPTS[:1], LISTS[:1], WAVES[:1])
    ids = batch["input_ids"]
    start, end, _ = processor.tokenizer.convert_tokens_to_ids(list(processor.context_tokens))
    batch["input_ids"] = torch.cat((ids, torch.tensor([[start, end]])), dim=1)
    batch["attention_mask"] = torch.ones_like(batch["input_ids"])
    with pytest.raises(ValueError, match="row 0 has 2 context spans"):
        model(**batch)


def test_a_processor_with_another_window_is_noticed(base, model):
    batch = load_processor(base, window=4)(PROMPTS[:1], LISTS[:1], WAVES[:1])
    batch["context_windows"] = load_processor(base, window=1)(PROMPTS[:1], LISTS[:1], WAVES[:1])["context_windows"]
    with pytest.raises(ValueError, match="context placeholders for .* for the model's window"):
        model(**batch)


def test_saved_and_loaded_model_gives_identical_logits(base, model, processor, tmp_path):
    model.save_pretrained(tmp_path)
    batch = processor(PROMPTS, LISTS, WAVES)
    assert isinstance(AutoConfig.from_pretrained(tmp_path), SapQwen2AudioConfig)
    loaded = AutoModelForMultimodalLM.from_pretrained(tmp_path).eval()
    assert isinstance(loaded, SapQwen2AudioForConditionalGeneration)
    with torch.no_grad():
        logits = model(**batch).logits
        assert torch.equal(loaded(**batch).logits, logits)
    # the key names stay those of Qwen2-Audio, so the stock class reads the folder as well
    _, info = Qwen2AudioForConditionalGeneration.from_pretrained(tmp_path, output_loading_info=True)
    assert not info["unexpected_keys"] and set(info["missing_keys"]) <= {"lm_head.weight"}


@pytest.mark.skipif(
    Version(transformers.__version__) < Version("5.23"),
    reason="older transformers lose the text model's keys without the head, for the stock Qwen2AudioModel as well",
)
def test_automodel_gives_the_same_model_without_its_head(model, processor, tmp_path):
    model.save_pretrained(tmp_path)
    batch = processor(PROMPTS, LISTS, WAVES)
    headless = AutoModel.from_pretrained(tmp_path).eval()
    with torch.no_grad():
        assert torch.equal(model.lm_head(headless(**batch).last_hidden_state), model(**batch).logits)


def test_tied_head_is_the_embedding_table_and_saved_once(model, tmp_path):
    assert model.lm_head.weight is model.get_input_embeddings().weight
    model.save_pretrained(tmp_path)
    loaded = SapQwen2AudioForConditionalGeneration.from_pretrained(tmp_path)
    assert loaded.lm_head.weight is loaded.get_input_embeddings().weight
