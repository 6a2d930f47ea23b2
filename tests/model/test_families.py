"""The method on every family of bases: stock without pooling, the same in batches, trainable, saved and loaded."""

import math

import pytest
import torch
from family_measures import (
    LISTS,
    WAVES,
    batch_difference,
    corpus,
    losses,
    module_lines,
    saved_type,
    stock_audio,
    stock_class,
    stock_differences,
    texts,
)
from tiny import tone
from tiny_families import build_tiny
from transformers import AutoConfig, AutoModel, AutoModelForMultimodalLM, AutoProcessor

from sap2.errors import ModelError
from sap2.inference.decoding import answers
from sap2.inference.loading import load_recogniser
from sap2.inference.stage_model import StageModel
from sap2.model import FAMILIES, available_families, family_named, family_of, load_model, load_processor, save_adapter
from sap2.params import BaseSection, LoraSection, ModelSection, Params, TrainSection
from sap2.prompts import pruning_prompt
from sap2.settings import RecogniserSettings
from sap2.training.adapters import attach, trainable_count
from sap2.training.plan import plan_training
from sap2.training.shapes import base_shape, count


@pytest.fixture(scope="module", params=FAMILIES)
def family(request):
    return request.param


@pytest.fixture(scope="module")
def folder(family, tmp_path_factory):
    return build_tiny(family, tmp_path_factory.mktemp(family))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return corpus(tmp_path_factory.mktemp("corpus"))


def test_the_family_is_read_from_the_bases_configuration(family, folder):
    assert family_of(folder)[0] is family_named(family) is family_named(f"sap_{family}")
    assert saved_type(folder) == family
    assert type(load_model(folder)) is family_named(family).model


def test_an_unknown_family_is_refused_with_the_known_ones():
    with pytest.raises(ModelError, match="model_type is voxtral, expected one of qwen2_audio, qwen3_asr, .*docs/fam"):
        family_named("voxtral")


def test_families_that_transformers_lacks_are_left_out(monkeypatch):
    """An older transformers still plans and loads the families it has, and says which it lacks."""
    monkeypatch.setitem(FAMILIES, "newer", "sap2.model.families.of_the_future")
    assert [family.name for family in available_families()] == [name for name in FAMILIES if name != "newer"]
    with pytest.raises(ModelError, match="model_type is newer: the installed transformers lacks it"):
        family_named("newer")


def test_windows_of_one_give_the_stock_models_logits(folder):
    """0.0 on the stock features; where the encoder hears no padding, ours differ by its rounding alone."""
    same, own = stock_differences(folder)
    assert same == 0.0
    assert own < 1e-3


def test_prompts_without_a_list_are_the_stock_processors(family, folder):
    ours, stock = load_processor(folder), AutoProcessor.from_pretrained(folder)
    text, wave = "Transcribe speech to text.", WAVES[2]
    chat = ours.chat(text, True)
    shown = stock.tokenizer.apply_chat_template(
        chat, chat_template=stock.chat_template, tokenize=False, add_generation_prompt=True
    )
    expected = stock(text=[shown], audio=[wave], return_tensors="pt", padding=True)["input_ids"]
    assert torch.equal(ours([text], None, [wave])["input_ids"], expected)


@pytest.mark.parametrize("seconds", [0.09, 0.3, 0.99, 1.0, 1.01, 2.345])
def test_frames_are_as_many_as_the_encoder_makes(folder, seconds):
    processor, model, wave = load_processor(folder), load_model(folder), tone(seconds)
    with torch.no_grad():
        states, mask = model.encode_speech(**processor.features([wave, tone(1.7)]))
    assert int(mask[0].sum()) == processor.frames(len(wave)) > 0
    assert states.shape[:2] == mask.shape


def test_a_row_does_not_depend_on_its_batch(folder):
    assert batch_difference(folder) < 1e-3


def test_batched_text_equals_text_of_single_rows(folder):
    together = texts(folder)
    alone = [texts(folder, [wave], [words])[0] for wave, words in zip(WAVES, LISTS, strict=True)]
    assert together == alone and len(set(together)) > 1


def test_encoded_speech_gives_the_logits_of_its_audio(folder):
    model, processor = load_model(folder), load_processor(folder)
    batch = processor([pruning_prompt()] * len(WAVES), LISTS, WAVES)
    audio = {name: batch.pop(name) for name in ("input_features", "feature_attention_mask")}
    with torch.no_grad():
        states, mask = model.encode_speech(**audio)
        kept = model(**batch, speech_states=states, speech_mask=mask).logits
        torch.testing.assert_close(model(**batch, **audio).logits, kept)


def test_other_speech_gives_other_pooled_keywords(folder):
    model, processor = load_model(folder), load_processor(folder)
    batch = processor([pruning_prompt()] * 2, [LISTS[0]] * 2, [tone(0.6, 1), tone(0.6, 9)])
    with torch.no_grad():
        states, mask = model.encode_speech(batch["input_features"], batch["feature_attention_mask"])
        speech = model.model.multi_modal_projector(states)
        pooled, _ = model.model.pool(batch["context_ids"], batch["context_windows"], speech, mask)
    assert (pooled[0] - pooled[1]).abs().max() > 1e-4


def test_gradients_reach_the_projector_through_the_list(folder):
    model, processor = load_model(folder), load_processor(folder)
    batch = processor([pruning_prompt()], LISTS[:1], WAVES[:1])
    with torch.no_grad():
        states, mask = model.encode_speech(batch["input_features"], batch["feature_attention_mask"])
    speech = model.model.multi_modal_projector(states)
    pooled, _ = model.model.pool(batch["context_ids"], batch["context_windows"], speech, mask)
    weights = [*model.model.multi_modal_projector.parameters()]
    gradients = torch.autograd.grad(pooled.square().sum(), weights, allow_unused=True)
    assert gradients[0].abs().sum() > 1e-4


def test_text_without_speech_runs_beside_speech(folder):
    model, processor = load_model(folder), load_processor(folder)
    prompts, lists = [pruning_prompt()] * 2, [["Maier", "Myer"], ["a"]]
    mixed, text = processor(prompts, lists, [None, WAVES[0]]), processor(prompts[:1], lists[:1])
    silent = processor(prompts[:1], lists[:1], [None])
    with torch.no_grad():
        row = model(**mixed).logits[0][mixed["attention_mask"][0].bool()]
        torch.testing.assert_close(row, model(**text).logits[0], atol=1e-3, rtol=1e-3)
        torch.testing.assert_close(row, model(**silent).logits[0], atol=1e-3, rtol=1e-3)


def test_saved_models_load_in_stock_and_auto_classes(family, folder, tmp_path):
    model, processor = load_model(folder), load_processor(folder)
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    batch = processor([pruning_prompt()] * len(WAVES), LISTS, WAVES)
    assert isinstance(AutoConfig.from_pretrained(tmp_path), family_named(family).config)
    assert isinstance(AutoProcessor.from_pretrained(tmp_path), family_named(family).processor)
    with torch.no_grad():
        expected = model(**batch).logits
        for loaded in (AutoModelForMultimodalLM.from_pretrained(tmp_path).eval(), load_model(tmp_path)):
            assert torch.equal(loaded(**batch).logits, expected)
        headless = AutoModel.from_pretrained(tmp_path).eval()
        assert torch.equal(model.lm_head(headless(**batch).last_hidden_state), expected)
    _, info = stock_class(family_named(family)).from_pretrained(tmp_path, output_loading_info=True)
    assert not info["unexpected_keys"] and set(info["missing_keys"]) <= {"lm_head.weight"}


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["pruner", "recogniser"])
def test_both_stages_train_and_their_adapters_load(family, folder, data, tmp_path, stage):
    first, second = losses(folder, data, stage, tmp_path / "adapter")
    assert second < 0.9 * first and math.isfinite(second)
    model = load_model(folder, tmp_path / "adapter")
    batch = load_processor(tmp_path / "adapter")([pruning_prompt()] * len(WAVES), LISTS, WAVES)
    with torch.no_grad():
        assert (model(**batch).logits - load_model(folder)(**batch).logits).abs().max() > 0.01


@pytest.mark.slow
def test_training_runs_as_the_profiles_set_it(folder, data, tmp_path):
    """In bfloat16 with gradient checkpointing, from audio: the encoder takes part in every step."""
    settings = {"bf16": True, "gradient_checkpointing": True, "cache_encoder": False}
    first, second = losses(folder, data, "recogniser", tmp_path / "adapter", **settings)
    assert second < 0.9 * first and math.isfinite(second)


def test_recordings_go_through_both_stages(folder, tmp_path):
    """One base, two adapters: a long recording is cut, pruned for and transcribed."""
    for name in ("pruner", "recogniser"):
        model, processor = load_model(folder), load_processor(folder)
        save_adapter(attach(model, processor, TrainSection(), LoraSection(rank=2)), processor, tmp_path / name)
    settings = RecogniserSettings().with_changes(
        {
            "pruning": {"threshold": None, "first_pass": None, "speech_only": False},
            "inference": {"max_segment": 2.0, "speech_only": False, "max_new_tokens": 8},
        },
        "test",
    )
    recogniser = load_recogniser(folder, tmp_path / "pruner", tmp_path / "recogniser", settings)
    keywords = ["Kathryn", "Maier", "Zbigniew"]
    transcript = recogniser(tone(5.0, 3), keywords)
    assert len(transcript.segments) >= 3 and transcript.text
    assert {*transcript.scores} <= {*keywords} and "audio" in transcript.timings


def test_new_markers_are_learnt_in_every_family(family, tmp_path):
    folder = build_tiny(family, tmp_path, with_context_tokens=False)
    model, processor = load_model(folder), load_processor(folder)
    adapted = attach(model, processor, TrainSection(), LoraSection(rank=2)).train()
    batch = processor([pruning_prompt()], LISTS[:1], WAVES[:1], targets=["maier"])
    adapted(**batch).loss.backward()
    offsets = model.model.context_markers.modules_to_save["default"].offsets
    assert (offsets.grad.abs().sum(-1) > 0).all()


def test_plans_count_the_weights_that_are_trained(folder):
    section, lora = TrainSection(), LoraSection(rank=2)
    sizes, model = count(base_shape(str(folder)), section, lora), load_model(folder)
    assert sizes.frozen == sum(weight.numel() for weight in model.parameters())
    assert sizes.trainable == trainable_count(attach(model, load_processor(folder), section, lora))


@pytest.mark.parametrize("frozen", [True, False])
def test_the_encoder_is_adapted_only_when_unfrozen(folder, frozen):
    section = TrainSection(freeze_vit=frozen, cache_encoder=frozen)
    model = attach(load_model(folder), load_processor(folder), section, LoraSection(rank=2))
    adapted = [name for name, weight in model.named_parameters() if weight.requires_grad and "audio_tower" in name]
    assert bool(adapted) is not frozen


def test_published_shapes_are_planned_without_a_download(family):
    for hub_id in family_named(family).published:
        plan = plan_training(Params(base=BaseSection(path=hub_id), model=ModelSection(tagging=0)), utterances=1000)
        assert len(plan.stages) == 2 and "no download" in str(plan)
        seconds = plan.stages[0].mean.frames / family_named(family).frames_per_second
        assert seconds == pytest.approx(10)


def test_qwen3_asr_is_its_decoder_and_its_encoder():
    """In billions: Qwen3-0.6B (0.6, head tied) with an encoder of 0.2, Qwen3-1.7B (1.7) with an encoder of 0.3."""
    sizes = {}
    for name in ("Qwen/Qwen3-ASR-0.6B-hf", "Qwen/Qwen3-ASR-1.7B-hf"):
        sizes[name] = count(base_shape(name), TrainSection(), LoraSection()).frozen / 1e9
    assert [round(size, 1) for size in sizes.values()] == [0.8, 2.0]


def test_a_segment_is_as_long_as_the_encoder_takes(folder):
    model, processor = load_model(folder), load_processor(folder)
    stage = StageModel(model, processor)
    assert stage.segment_limit == 30.0
    assert stage.frame_seconds * processor.frames(160_000) == pytest.approx(10, rel=0.02)


def test_a_families_module_is_thin(family):
    assert module_lines(family) <= 120


class Script:
    """Stands for a model: writes the tokens it is given."""

    device = torch.device("cpu")

    def __init__(self, tokens):
        self.tokens = tokens

    def generate(self, input_ids, **inputs):
        sequences = torch.cat((input_ids, torch.tensor([self.tokens])), dim=1)
        return type("Output", (), {"sequences": sequences})()


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("language English<asr_text>today we speak", "today we speak"),
        ("language None<asr_text>", ""),
        ("today we speak", "today we speak"),
    ],
)
def test_an_answers_language_prefix_is_left_out(tmp_path, written, expected):
    processor = load_processor(build_tiny("qwen3_asr", tmp_path))
    tokens = processor.tokenizer(written, add_special_tokens=False)["input_ids"] + [processor.end_id]
    (answer,) = answers(Script(tokens), processor, [None], "Transcribe speech to text.")
    assert answer.text == expected


def test_tags_are_refused_where_the_list_comes_first(tmp_path):
    folder = build_tiny("qwen3_asr", tmp_path)
    with pytest.raises(ModelError, match="tagging is 1.0, must be 0 for qwen3_asr.*set model.tagging to 0"):
        load_model(folder, tagging=1.0)


def test_stock_features_of_a_recording_are_ours(family, folder):
    """Where the encoder hears a recording's own length, ours are the first of the stock's 30 s."""
    ours, wave = load_processor(folder).features([WAVES[2]]), WAVES[2]
    stock = stock_audio(AutoProcessor.from_pretrained(folder), wave)
    length = int(stock["mask"].sum())
    assert int(ours["feature_attention_mask"].sum()) == length
    torch.testing.assert_close(ours["input_features"][..., :length], stock["input_features"][..., :length])
