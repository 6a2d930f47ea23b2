"""The recipe of the embedded base: from speech and text to a folder that the stock class loads, resumable."""

import json

import numpy as np
import pytest
import soundfile
import torch
from transformers import Qwen2AudioForConditionalGeneration

from sap2.base import recipe
from sap2.base.adapters import AdapterRecipe, train_adapter, write_set
from sap2.base.corpus import read_items, speech_section
from sap2.base.hearing import HearingRecipe, ctc_head, train_ctc
from sap2.base.lexicon import Lexicon
from sap2.base.pretraining import Recipe, phoneme_numbers, pretrain
from sap2.base.recipe import (
    BaseParams,
    collect_corpus,
    compress,
    export_base,
    freeze_base,
    load_base_params,
    make_skeleton,
)
from sap2.base.settling import SettlingRecipe, settle
from sap2.base.states import States, encode_corpus
from sap2.constants import EMBEDDED
from sap2.data.speech import Synthesiser
from sap2.errors import InputError, ModelError
from sap2.inference import load_recogniser
from sap2.inference.decoding import encode
from sap2.manifest import audio_path, read_manifest, spoken
from sap2.model import load_model, load_processor
from sap2.model.ctc import CtcHead
from sap2.params import TrainSection

TEXTS = [
    "Ask Kathryn about the theorem. The pony carriage from Brandon drew up before the garden.",
    "THE FERNS DRENCHED HIS STIRRUPS AS HE BRUSHED THROUGH THEM",
    "In 1984 nobody came.",
]
SMALL = Recipe(encoder=str(EMBEDDED), steps=6, seconds=10, rows=4, common_words=5, lectures=100, read_aloud=100)


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """Corpus and untrained model, of recordings of two speakers made here."""
    root = tmp_path_factory.mktemp("base")
    speech, synthesiser = root / "speech", Synthesiser()
    speech.mkdir()
    rows = []
    for number, text in enumerate(["ask kathryn", "the pony carriage", "drenched stirrups", "room 12"] * 3):
        soundfile.write(speech / f"u{number}.flac", synthesiser.speak(text, "en-us"), 16_000)
        rows.append(f"u{number}\t{text}\tspeaker{number % 2}")
    (speech / "list.tsv").write_text("id\ttext\tspeaker\n" + "\n".join(rows) + "\n")
    (root / "text.txt").write_text("\n".join(TEXTS * 3) + "\n")
    (root / "names.txt").write_text("Zoë Weiler-Jönsson\nGPT-4\n")
    params = BaseParams(
        speech={"speech": speech_section(speech)}, text=[root / "text.txt"], names=[root / "names.txt"], recipe=SMALL
    )
    collect_corpus(root / "work", params, workers=1)
    make_skeleton(root / "work", SMALL)
    return root / "work"


def test_collecting_says_what_it_left_out_and_why(work):
    facts = json.loads((work / "corpus.json").read_text())
    assert facts["speech"]["utterances"] == 9
    assert facts["speech"]["left_out"] == {"digits or foreign letters": 3}
    assert (work / "texts.txt").read_text().splitlines() == [
        "ask kathryn about the theorem",
        "the pony carriage from brandon drew up before the garden",
        "the ferns drenched his stirrups as he brushed through them",
    ]
    assert "zoe weiler jonsson" in (work / "lexicon.tsv").read_text()


def test_items_point_at_their_samples(work):
    items = [item for item in read_items(work / "corpus") if item.source == "speech"]
    samples = np.fromfile(work / "corpus" / "speech" / "samples.i16", np.int16)
    assert [item.offset for item in items] == list(np.cumsum([0] + [item.samples for item in items[:-1]]))
    assert items[-1].offset + items[-1].samples == len(samples)


def test_a_stopped_run_ends_like_one_in_one_go(work, tmp_path):
    def copy(name):
        folder = tmp_path / name
        folder.mkdir()
        for part in ("corpus", "lexicon.tsv", "skeleton", "texts.txt"):
            (folder / part).symlink_to(work / part)
        return folder

    class Stop(Exception):
        pass

    whole, stopped = copy("whole"), copy("stopped")
    pretrain(whole, SMALL, workers=0)

    def stop(_model):
        raise Stop

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sap2.base.running.LOG_STEPS", 3)
        with pytest.raises(Stop):
            pretrain(stopped, SMALL, workers=0, save_minutes=0, on_log=stop)
    pretrain(stopped, SMALL, workers=0)
    weights = [torch.load(folder / "checkpoint.pt", weights_only=True)["model"] for folder in (whole, stopped)]
    before = load_model(work / "skeleton", dtype=torch.float32).state_dict()
    # Sums of a gradient may be added in another order; another batch or dropout would change the weights otherwise.
    apart = sum((weights[0][name] - weights[1][name]).square().sum() for name in before).sqrt()
    learnt = sum((weights[0][name] - before[name]).square().sum() for name in before).sqrt()
    assert apart < 0.02 * learnt
    row = json.loads((stopped / "log.jsonl").read_text().splitlines()[-1])
    assert row["step"] == 6 and {"answer", "ctc", "tags", "lectures_wer_list"} <= row.keys()


def test_a_pretrained_model_becomes_a_base_with_its_head_and_card(work, tmp_path):
    for part in ("corpus", "corpus.json", "lexicon.tsv", "skeleton", "texts.txt"):
        (tmp_path / part).symlink_to(work / part)
    params = BaseParams(
        speech={}, text=[], names=[], recipe=SMALL,
        hearing=HearingRecipe(epochs=2, frames=500, hidden=16, blocks=1, kernel=3),
        settling=SettlingRecipe(steps=2, seconds=10, rows=4),
    )  # fmt: skip
    pretrain(tmp_path, SMALL, workers=0)
    freeze_base(tmp_path)
    states = {path.name: path.read_bytes() for path in (tmp_path / "states").iterdir()}
    freeze_base(tmp_path)
    assert states == {path.name: path.read_bytes() for path in (tmp_path / "states").iterdir()}
    train_ctc(tmp_path, tmp_path / "frozen", params.hearing)
    settle(tmp_path, tmp_path / "frozen", params.settling, workers=0)
    for log, figures in (
        ("ctc.jsonl", {"tokens", "phonemes", "lectures_wer_ctc"}),
        ("settled.jsonl", {"answer", "tags", "lectures_wer_list"}),
    ):
        assert figures <= json.loads((tmp_path / log).read_text().splitlines()[-1]).keys()

    digest = export_base(tmp_path, tmp_path / "base", params)
    card = (tmp_path / "base" / "README.md").read_text()
    assert digest in card and "| speech | 9 |" in card and "{" not in card and "settling: 2 steps" in card
    model = Qwen2AudioForConditionalGeneration.from_pretrained(tmp_path / "base", dtype=torch.float32)
    trained = torch.load(tmp_path / "settled.pt", weights_only=True)["model"]
    name = "model.language_model.layers.0.mlp.up_proj.weight"
    assert torch.allclose(model.model.language_model.layers[0].mlp.up_proj.weight, trained[name], atol=1e-3)
    frozen = load_model(tmp_path / "frozen", dtype=torch.float32)
    assert all(
        torch.equal(ours, theirs)
        for ours, theirs in zip(
            model.model.audio_tower.parameters(), frozen.model.audio_tower.parameters(), strict=True
        )
    ), "the encoder is the one whose states were trained on"
    head, lexicon = CtcHead.load(tmp_path / "base"), Lexicon.load(tmp_path / "lexicon.tsv")
    assert "S" in head.phonemes and not torch.equal(
        head.to_tokens.weight,
        ctc_head(phoneme_numbers(lexicon), tmp_path / "frozen", params.hearing).to_tokens.weight.half().float(),
    )
    assert load_recogniser(tmp_path / "base")(np.zeros(16_000, np.float32)).text == ""


def test_states_are_the_encoders_own_and_masked_in_time(work, tmp_path):
    for part in ("corpus", "skeleton"):
        (tmp_path / part).symlink_to(work / part)
    encode_corpus(tmp_path, tmp_path / "skeleton")
    processor, model = load_processor(tmp_path / "skeleton"), load_model(tmp_path / "skeleton", dtype=torch.float32)
    items = read_items(tmp_path / "corpus")
    states = States(tmp_path / "states", items, processor, model.config.audio_config.d_model)
    number = next(place for place, item in enumerate(items) if item.source == "speech")
    samples = np.fromfile(tmp_path / "corpus" / "speech" / "samples.i16", np.int16)[: items[number].samples]
    (expected,) = encode(model, processor, [samples.astype(np.float32) / 32768])
    assert states[number].shape == expected.shape
    assert (states[number] - expected).norm() < 0.05 * expected.norm()
    padded, mask, frames = states.batch([number, number + 1], seed=3)
    assert padded.shape[:2] == mask.shape and frames.tolist() == mask.sum(-1).tolist()
    assert torch.equal(states.batch([number, number + 1], seed=3)[0], padded)
    assert (padded[0] == 0).all(-1).sum() > (states.batch([number])[0][0] == 0).all(-1).sum()


def test_the_encoder_is_kept_in_eight_bits_and_hardly_changes(work):
    original, rounded = load_model(EMBEDDED, dtype=torch.float32), load_model(work / "skeleton", dtype=torch.float32)
    mel, mask = torch.randn(1, 80, 200), torch.ones(1, 200)
    states = [model.encode_speech(mel, mask)[0] for model in (original, rounded)]
    assert (states[0] - states[1]).norm() < 0.15 * states[0].norm()
    layer = compress(rounded).model.audio_tower.layers[-1]
    assert layer.fc1.weight.dtype == torch.float8_e4m3fn and layer.fc1.bias.dtype == torch.float16


def test_adapters_train_on_the_corpus_with_its_lists(work, tmp_path):
    for part in ("corpus", "lexicon.tsv"):
        (tmp_path / part).symlink_to(work / part)
    short = TrainSection(max_steps=1, batch_size=2, deepspeed="none")
    recipe = AdapterRecipe(lectures=3, read_aloud=2, dev=2, distractors=4, pruner=short)
    assert write_set(tmp_path, recipe) == {"train": 14, "dev": 2}

    utterances = read_manifest(tmp_path / "set" / "train.jsonl")
    sources = [utterance.id.rsplit("-", 1)[0] for utterance in utterances]
    assert [sources.count(name) for name in ("speech", "lectures", "read-aloud")] == [9, 3, 2]
    for utterance in utterances:
        samples = soundfile.info(audio_path(utterance, tmp_path / "set" / "train.jsonl")).frames
        assert samples / 16_000 == pytest.approx(utterance.duration)
        assert 4 <= len(utterance.keywords) <= 4 + len(spoken(utterance))
    assert any(spoken(utterance) for utterance in utterances)

    summary = train_adapter("pruner", tmp_path, work / "skeleton", recipe)
    assert summary["steps"] == 1 and (tmp_path / "pruner" / "adapter_model.safetensors").is_file()


def test_what_is_declared_is_valid():
    declared = load_base_params(recipe.PARAMS)
    assert (
        declared.recipe == Recipe()
        and declared.hearing == HearingRecipe()
        and declared.settling == SettlingRecipe()
        and declared.adapters == AdapterRecipe()
        and declared.speech["train-clean-5"].source == "librispeech"
    )


def test_missing_speech_or_encoder_says_what_is_expected(tmp_path):
    with pytest.raises(InputError, match="no such folder; expected recordings with one TSV"):
        speech_section(tmp_path / "none")
    with pytest.raises(ModelError, match="expected tiny.en, base or a folder"):
        recipe.load_encoder("large", tmp_path)
