"""Loading of recognisers: active adapters and encoders, with real models."""

import shutil

import numpy as np
import peft
import pytest
import torch
from tiny import build_tiny_base, tone

from sap2.errors import ModelError
from sap2.inference import EncodedAudio, encode, generate, load_checkpoints, load_pruner, load_recogniser
from sap2.model import LORA_TARGETS, load_model, load_processor, save_adapter
from sap2.params import ModelSection
from sap2.prompts import pruning_prompt, recognition_prompt
from sap2.settings import PrunerSettings, RecogniserSettings
from sap2.training import leave_out

PLAIN = {
    "pruning": {
        "batch_size": 4,
        "max_new_tokens": 5,
        "max_list": 200,
        "threshold": None,
        "first_pass": None,
        "speech_only": False,
    },
    "inference": {
        "batch_size": 4,
        "max_new_tokens": 5,
        "max_segment": None,
        "segment_overlap": 1.0,
        "speech_only": False,
    },
}
SETTINGS = RecogniserSettings.model_validate(PLAIN)


def changed(**changes) -> RecogniserSettings:
    return SETTINGS.with_changes(changes, "test")


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A base that takes 2 s at most, and both adapters; the pruner also with another window."""
    root = tmp_path_factory.mktemp("models")
    build_tiny_base(root / "base", positions=100)
    kinds = {"pruner": {}, "recogniser": {}, "other": {"window": 4}, "pc": {"method": "pc"}, "jpi": {"method": "jpi"}}
    kinds |= {"tagger": {"tagging": 1.0}, "tagged": {"tagging": 1.0}}
    hearing = {f"{stage}-hearing": {} for stage in ("pruner", "recogniser")}  # trained with freeze_vit: false
    for seed, (name, sap) in enumerate((kinds | hearing).items()):
        encoder = r"|.*audio_tower\..*\.(q_proj|fc1)" if name in hearing else ""
        config = peft.LoraConfig(r=2, target_modules=f"({LORA_TARGETS}){encoder}")
        model = peft.get_peft_model(load_model(root / "base", **sap), config)
        torch.manual_seed(seed)
        for key, weight in model.named_parameters():
            if "lora_" in key:
                torch.nn.init.normal_(weight, std=0.5)
        save_adapter(model, load_processor(root / "base", window=sap.get("window", 2)), root / name)
    return root


@pytest.fixture(scope="module")
def recogniser(folders):
    return load_recogniser(folders / "base", folders / "pruner", folders / "recogniser", SETTINGS)


def test_each_stage_runs_with_its_own_adapter(folders, recogniser):
    wave, words = tone(0.8), ["Kathryn", "Maier"]
    processor = load_processor(folders / "base")
    text = {}
    for name in ("pruner", "recogniser"):
        model = load_model(folders / "base", folders / name)
        prompt = pruning_prompt() if name == "pruner" else recognition_prompt(True)
        selecting = name == "pruner"
        text[name] = generate(model, processor, [wave], prompt, [words], max_new_tokens=5, selecting=selecting)[0]
    assert text["pruner"] != text["recogniser"]
    for _ in range(2):  # neither leaves its adapter switched on
        speech = recogniser.encode([wave])
        stage = recogniser.pruner.stage
        states = speech[0].by(stage)
        answer = stage.answers(states, [pruning_prompt()], [words], SETTINGS.pruning, selecting=True)[0]
        assert answer.text == text["pruner"]
        assert len(answer.pieces) == len(answer.logprobs) > 0 and all(score <= 0 for score in answer.logprobs)
        assert recogniser.transcribe(speech, [words]) == [text["recogniser"]]


def test_tags_are_the_models_own_chunk_by_chunk(folders):
    both = load_recogniser(folders / "base", folders / "tagger", folders / "tagged", changed(pruning={"max_list": 3}))
    assert both.pruner.tagging and both.pruner.threshold == pytest.approx(np.log(0.5))
    assert not load_pruner(folders / "base", folders / "pruner").tagging
    wave, listed = tone(0.8), ["Kathryn", "Maier", "Zbigniew", "Dorst", "Myer"]
    model, processor = load_model(folders / "base", folders / "tagger"), load_processor(folders / "base")
    expected = {}
    for chunk in (listed[:2], listed[2:]):
        batch = processor([pruning_prompt()], keywords=[chunk], audio=[wave])
        places = processor.keyword_positions(batch["input_ids"], [chunk])
        with torch.no_grad():
            odds = model.get_base_model().tag_keywords(places, **batch)[0]
        expected |= zip(chunk, torch.nn.functional.logsigmoid(odds).tolist(), strict=True)
    likely = {word: score for word, score in expected.items() if score >= np.log(0.01)}
    surest = sorted(likely, key=lambda word: -likely[word])[:3]
    (scores,) = both.score_keywords([wave], [listed])
    assert scores == pytest.approx({word: likely[word] for word in listed if word in surest}, abs=1e-4)
    assert list(scores) == [word for word in listed if word in surest]


@pytest.mark.parametrize("settings", [{"first_pass": {"prior": 3.0, "likelihood": 0.01}}, {"prefilter": 1}], ids=str)
@pytest.mark.parametrize("pruner", ["tagger", "pruner-hearing"])
def test_stage_1_decides_alike_alone_and_beside_stage_2(folders, settings, pruner):
    """Its first passes are the base's own, so that `sap2 prune` decides as the two stages together do."""
    waves, lists = [tone(0.8), tone(0.5)], [["Maier", "Kathryn", "Zorvan"], ["Myer", "graphs"]]
    stage_2 = {"tagger": "tagged", "pruner-hearing": "recogniser-hearing"}[pruner]
    both = load_recogniser(folders / "base", folders / pruner, folders / stage_2, changed(pruning=settings))
    alone = load_pruner(folders / "base", folders / pruner, changed(pruning=settings).pruning)
    weighed = alone.score_keywords(waves, lists)
    assert weighed == both.score_keywords(waves, lists) and any(weighed)


def test_stages_without_adapters_run_on_the_bare_base(folders):
    wave = tone(0.8)
    bare = generate(
        load_model(folders / "base"), load_processor(folders / "base"), [wave], recognition_prompt(False),
        max_new_tokens=5,
    )  # fmt: skip
    for adapters in ({}, {"pruner": folders / "pruner"}):
        loaded = load_recogniser(folders / "base", **adapters, settings=SETTINGS)
        assert loaded.transcribe([wave]) == bare


def test_adapters_trained_with_other_pooling_are_refused(folders):
    with pytest.raises(ModelError, match="'window': 4.*'window': 2.*train both stages with the same model section"):
        load_recogniser(folders / "base", folders / "other", folders / "recogniser")


def test_the_pruner_of_another_method_is_refused(folders):
    with pytest.raises(ModelError, match="'method': 'tpi'.*'method': 'jpi'.*train both stages with the same"):
        load_recogniser(folders / "base", folders / "pruner", folders / "jpi")
    with pytest.raises(ModelError, match="jpi: its method is jpi, which has no stage 1"):
        load_pruner(folders / "base", folders / "jpi")


@pytest.mark.parametrize("method", ["pc", "jpi"])
def test_one_model_needs_no_pruner(folders, method):
    leave_out(folders / f"no-{method}", ModelSection(method=method, tagging=0.0))
    words = ["Kathryn", "Maier"]
    result = [
        load_recogniser(folders / "base", pruner, folders / method, SETTINGS)(tone(0.8), words)
        for pruner in (None, folders / f"no-{method}")
    ]
    assert result[0] == result[1] and (method == "jpi" or result[0].predicted == words)


@pytest.mark.parametrize(
    ("pruner", "recogniser"), [("pruner-hearing", "recogniser-hearing"), ("pruner-hearing", "recogniser"),
                               ("pruner", "recogniser-hearing"), ("pruner-hearing", None)],
)  # fmt: skip
def test_adapted_encoders_each_hear_for_their_own_stage(folders, pruner, recogniser):
    wave, words = tone(0.8), ["Kathryn", "Maier", "Myer"]
    names = {"pruner": pruner, "recogniser": recogniser}
    paths = {stage: None if name is None else folders / name for stage, name in names.items()}
    loaded = load_recogniser(folders / "base", **paths, settings=SETTINGS)
    alone = {stage: load_model(folders / "base", path) for stage, path in paths.items()}
    processor = load_processor(folders / "base")
    expected = {stage: encode(model, processor, [wave])[0] for stage, model in alone.items()}
    assert (expected["pruner"] - expected["recogniser"]).abs().max() > 0.1
    (speech,) = loaded.encode([wave])
    torch.testing.assert_close(speech.by(loaded.pruner.stage)[0], expected["pruner"])
    torch.testing.assert_close(speech.by(loaded.transcriber.stage)[0], expected["recogniser"])
    first, second = loaded(wave, words), loaded(wave, words)
    assert first == second and first.scores == second.scores
    text = generate(
        alone["recogniser"], processor, [wave], recognition_prompt(bool(first.predicted)), [first.predicted],
        max_new_tokens=5,
    )  # fmt: skip
    assert [first.text] == text


@pytest.mark.parametrize(("kind", "encoders"), [("", 1), ("-hearing", 2)])
def test_the_encoder_runs_once_unless_an_adapter_changes_it(folders, monkeypatch, kind, encoders):
    loaded = load_recogniser(folders / "base", folders / f"pruner{kind}", folders / f"recogniser{kind}", SETTINGS)
    core, batches = loaded.transcriber.stage.model.get_base_model(), []
    monkeypatch.setattr(
        core, "encode_speech", lambda _run=core.encode_speech, **inputs: batches.append(inputs) or _run(**inputs)
    )
    loaded(tone(0.8), ["Kathryn", "Maier"])
    assert len(batches) == encoders
    batches.clear()
    loaded.with_settings(changed(pruning={"prefilter": 1}))(tone(0.8), ["Kathryn", "Maier"])
    assert len(batches) == (1 if encoders == 1 else 3), "the first pass hears by the bare base's encoder"


def test_several_recordings_at_once_get_what_each_gets_alone(recogniser):
    waves, lists = [tone(1.0, 1), tone(3.5, 2), tone(0.5, 3)], [["Kathryn", "Maier"], [], ["graphs"]]
    together = recogniser.recognise(waves, lists)
    assert together == [recogniser(wave, words) for wave, words in zip(waves, lists, strict=True)]
    assert [len(item.segments) for item in together] == [1, 3, 1]


def test_real_model_takes_audio_of_any_length(recogniser):
    result = recogniser(tone(4.5), ["Kathryn"])
    assert isinstance(result.text, str) and result.timings["audio"] == pytest.approx(4.5, abs=0.2)


def test_audio_comes_from_a_path_too(recogniser, tmp_path):
    soundfile = pytest.importorskip("soundfile")
    wave = tone(0.9)
    soundfile.write(tmp_path / "a.wav", wave, 16_000, subtype="FLOAT")
    first, second = (item.by(recogniser.transcriber.stage)[0] for item in recogniser.encode([tmp_path / "a.wav", wave]))
    np.testing.assert_allclose(first, second, atol=1e-3)


def test_states_made_elsewhere_are_used_as_they_are(recogniser, folders):
    wave = tone(0.8)
    states = encode(load_model(folders / "base"), load_processor(folders / "base"), [wave])[0]
    made = EncodedAudio.whole(states, 0.8)
    assert recogniser(made, ["Kathryn"]) == recogniser(wave, ["Kathryn"])


@pytest.fixture(scope="module")
def checkpoints(folders):
    """Each adapter merged into a base of its own: `pruner-whole`, `recogniser-whole`."""
    for name in ("pruner", "recogniser", "jpi"):
        merged = load_model(folders / "base", folders / name).merge_and_unload()
        merged.save_pretrained(folders / f"{name}-whole")
        load_processor(folders / "base").save_pretrained(folders / f"{name}-whole")
    return folders


def test_two_checkpoints_answer_like_a_base_with_two_adapters(checkpoints, recogniser):
    folders = [checkpoints / f"{name}-whole" for name in ("pruner", "recogniser")]
    two = load_checkpoints(*folders, SETTINGS)
    towers = [stage.model.model.audio_tower for stage in (two.pruner.stage, two.transcriber.stage)]
    assert towers[0] is towers[1], "the same weights are kept once"
    waves, lists = (
        [tone(1.0, 1), tone(3.5, 2), tone(0.5, 3)],
        [["Kathryn", "Maier", "Myer"], [], ["graphs", "Maier"]],
    )
    ours, expected = two.recognise(waves, lists), recogniser.recognise(waves, lists)
    assert ours == expected and any(first.predicted for first in expected)
    for first, other in zip(ours, expected, strict=True):
        assert first.scores == pytest.approx(other.scores, abs=1e-4)
    speech = two.encode(waves)
    assert list(speech[0].states) == ["base"] and two.prune(speech, lists) == [first.predicted for first in expected]


def test_checkpoints_with_different_encoders_use_their_own(checkpoints, recogniser, tmp_path):
    other = load_model(checkpoints / "pruner-whole")
    with torch.no_grad():
        for weight in other.model.audio_tower.parameters():
            weight += 0.05 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(1))
    other.save_pretrained(tmp_path / "pruner")
    load_processor(checkpoints / "base").save_pretrained(tmp_path / "pruner")
    two = load_checkpoints(tmp_path / "pruner", checkpoints / "recogniser-whole", SETTINGS)
    alone = load_pruner(tmp_path / "pruner", settings=SETTINGS.pruning)
    waves, lists = [tone(1.0, 1), tone(1.5, 2)], [["Kathryn", "Maier"], ["Myer", "graphs", "Maier"]]
    speech = two.encode(waves)
    assert set(speech[0].states) == {"pruner", "base"}
    scores = two.select(speech, lists)
    for first, other in zip(scores, alone.select(waves, lists), strict=True):
        assert list(first) == list(other) and first == pytest.approx(other, abs=1e-4)
    assert two.transcribe(speech, lists) == recogniser.transcribe(waves, lists)
    assert [transcript.text for transcript in two.recognise(waves, lists)] == recogniser.transcribe(
        waves, two.prune(waves, lists)
    )


def test_a_single_stage_checkpoint_is_refused(checkpoints):
    with pytest.raises(ModelError, match="jpi-whole: its method is jpi, a model of one stage; load it alone"):
        load_checkpoints(checkpoints / "pruner-whole", checkpoints / "jpi-whole")


def test_half_precision_bases_are_run_in_float32_on_a_cpu(folders, tmp_path):
    half = tmp_path / "half"
    shutil.copytree(folders / "base", half)
    load_model(folders / "base", dtype=torch.float16).save_pretrained(half)
    assert load_recogniser(half).transcriber.stage.model.dtype == torch.float32
    assert load_recogniser(half, dtype="auto").transcriber.stage.model.dtype == torch.float16
    assert load_pruner(half, settings=PrunerSettings()).stage.model.dtype == torch.float32


def test_a_base_without_ctc_is_refused_for_ctc_spotting(folders):
    loaded = load_recogniser(folders / "base", settings=changed(pruning={"prefilter": {"method": "ctc", "keep": 1}}))
    with pytest.raises(ModelError, match="gives no CTC frame scores.*set pruning.prefilter.method=phonetic"):
        loaded(tone(0.8), ["Kathryn", "Maier"])
    assert loaded(tone(0.8), ["Kathryn"]).segments, "a list that is not cut needs none"
