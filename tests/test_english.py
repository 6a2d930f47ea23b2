"""The contained English recogniser on recordings of people, with lists as people write them."""

import csv
from pathlib import Path

import numpy as np
import pytest
from transformers import Qwen2AudioForConditionalGeneration

from sap2.base import resolve_base
from sap2.constants import EMBEDDED_BASES, ENGLISH
from sap2.data.audio import load_audio
from sap2.deep_bias import parse_rows
from sap2.errors import ModelError
from sap2.evaluation import score
from sap2.files import sha256
from sap2.model.ctc import CtcHead
from sap2.params import BaseSection, TrackingSection
from sap2.tracking.packaging import load_recogniser

SHARED = Path(__file__).parents[2] / "shared" / "data"
SPEECH = SHARED / "speech" / "librispeech-test-clean"
LISTS = SHARED / "is21_deep_bias" / "ref" / "test-clean.biasing_100.tsv"
UTTERANCES = 12
needs_speech = pytest.mark.skipif(not LISTS.is_file(), reason=f"no recordings of people: {SPEECH} is missing")


@pytest.fixture(scope="module")
def english():
    return load_recogniser(TrackingSection(), "english")


@pytest.fixture(scope="module")
def people():
    """Every hundredth utterance: recording, reference and list of 100 keywords."""
    rows = parse_rows(str(LISTS), enumerate(LISTS.read_text(encoding="utf-8").splitlines(), 1))
    lists = {row.id: list(row.keywords) for row in rows}
    with (SPEECH / "utterances.tsv").open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file, delimiter="\t") if row["id"] in lists][::100][:UTTERANCES]
    return [(load_audio(SPEECH / row["audio"]), row["text"].lower(), lists[row["id"]]) for row in rows]


def figures(people, texts):
    ids = [f"u{index}" for index in range(len(people))]
    columns = [text for _, text, _ in people], texts, [listed for *_, listed in people]
    return score(*(dict(zip(ids, column, strict=True)) for column in columns), samples=0).systems[0].figures


def test_it_is_used_if_there_is_no_models_folder(monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    loaded = load_recogniser(TrackingSection(), "models", ["inference.num_beams=1"])
    assert loaded.pruner.tagging and loaded.transcriber.stage.ctc
    assert capsys.readouterr().err == (
        "model: english, included in the package (no folder models here; --model chooses another)\n"
        "settings: english; inference.num_beams 1 instead of 4\n"
    )
    (tmp_path / "models").mkdir()
    with pytest.raises(ModelError, match="models: has no base and no pruner and no recogniser"):
        load_recogniser(TrackingSection(), "models")


def test_its_base_is_a_small_qwen2_audio_as_its_card_states(tmp_path):
    folder = EMBEDDED_BASES["english"]
    facts = resolve_base(BaseSection(path="english"), tmp_path / "base")
    assert facts["bytes"] < 45 * 2**20
    assert Qwen2AudioForConditionalGeneration.from_pretrained(tmp_path / "base")
    assert CtcHead.load(tmp_path / "base")
    assert sha256(folder / "model.safetensors") in (folder / "README.md").read_text(encoding="utf-8")
    assert {path.name for path in ENGLISH.iterdir()} == {"base", "settings.json"}


@needs_speech
def test_a_list_helps_to_spell_what_people_say(english, people):
    """The bounds are wide for only twelve utterances; docs/results.md has the complete test set."""
    audio = english.encode([wave for wave, *_ in people])
    plain, listed, capital = (
        english.recognise(audio, lists)
        for lists in (
            [[] for _ in people],
            [words for *_, words in people],
            [[word.capitalize() for word in words] for *_, words in people],
        )
    )
    without = figures(people, [transcript.text for transcript in plain])
    with_list = figures(people, [transcript.text for transcript in listed])
    assert without["wer"].value < 30
    assert with_list["b_wer"].value < 0.75 * without["b_wer"].value
    assert with_list["u_wer"].value < without["u_wer"].value + 2
    assert [transcript.text.lower() for transcript in capital] == [transcript.text for transcript in listed]
    found = {word for transcript in capital for word in transcript.found}
    assert found and all(word[0].isupper() for word in found), "keywords have the list's spelling"
    assert all(segment.confidence for transcript in plain for segment in transcript.segments)


@pytest.mark.parametrize("kind", ["silence", "noise", "tone"])
def test_no_speech_gives_no_text(english, kind):
    time = np.arange(32_000) / 16_000
    waves = {
        "silence": np.zeros(len(time)),
        "noise": 0.1 * np.random.default_rng(1).standard_normal(len(time)),
        "tone": 0.3 * np.sin(2 * np.pi * 440 * time),
    }
    transcript = english(waves[kind].astype(np.float32), ["Kathryn", "Zorvan"])
    assert (transcript.text, transcript.segments) == ("", [])
