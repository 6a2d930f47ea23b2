"""Readers of lhotse cuts and of this project's manifests."""

import json
from pathlib import Path

import pytest
from trees import write_audio

from sap2.data.corpora import prepare_corpus
from sap2.errors import InputError
from sap2.manifest import Utterance, read_manifest, write_manifest
from sap2.params import PrepareSection

SPLITS = ("train", "dev", "test")


def prepare(tmp_path: Path, source: str, ending: str) -> tuple[dict, dict]:
    parts = {split: [f"{split}{ending}"] for split in SPLITS}
    section = PrepareSection.model_validate({"source": source, source: {"root": str(tmp_path / "root")} | parts})
    card = prepare_corpus(section, tmp_path / "prepared", tmp_path / "cache")
    return card, {
        utterance.id: utterance
        for split in SPLITS
        for utterance in read_manifest(tmp_path / "prepared" / f"{split}.jsonl")
    }


def test_cuts_keep_their_time_text_and_keywords(tmp_path):
    lhotse = pytest.importorskip("lhotse")
    for number, split in enumerate(SPLITS):
        audio = write_audio(tmp_path / "root" / "wav" / f"{split}.wav", 5.0, seed=number)
        recording = lhotse.Recording.from_file(audio, recording_id=split)
        words = lhotse.SupervisionSegment(
            f"{split}-s",
            split,
            start=0.0,
            duration=5.0,
            text="Hello  ZORVAN",
            speaker="anna",
            custom={"keywords": ["Zorvan"]},
        )
        cut = lhotse.MonoCut(f"{split}-cut", 0.0, 5.0, 0, [words], recording=recording).truncate(
            offset=1.0, duration=2.0
        )
        outside = lhotse.Recording.from_file(write_audio(tmp_path / f"{split}-secret.wav"), recording_id="secret")
        away = lhotse.MonoCut(f"{split}-away", 0.0, 1.0, 0, [words], recording=outside)
        lhotse.CutSet.from_cuts([cut.with_id(f"{split}-1"), away]).to_file(tmp_path / "root" / f"{split}.jsonl.gz")
    card, result = prepare(tmp_path, "lhotse", ".jsonl.gz")
    assert sorted(result) == ["dev-1", "test-1", "train-1"]
    utterance = result["train-1"]
    assert (utterance.text, utterance.keywords, utterance.duration, utterance.speaker, utterance.talk) == (
        "hello zorvan",
        ["zorvan"],
        2.0,
        "anna",
        "train",
    )
    assert card["reasons"] == {"the path escapes the folder": 3}


def test_a_file_that_holds_no_cuts_is_refused(tmp_path):
    pytest.importorskip("lhotse")
    (tmp_path / "root").mkdir()
    for split in SPLITS:
        (tmp_path / "root" / f"{split}.jsonl").write_text('{"id": 1}\n')
    with pytest.raises(InputError, match="train.jsonl: not a lhotse cut manifest"):
        prepare(tmp_path, "lhotse", ".jsonl")


def test_manifests_read_as_they_are_written(tmp_path):
    for number, split in enumerate(SPLITS):
        write_audio(tmp_path / "root" / "audio" / f"{split}.flac", seed=number)
        word = Utterance(
            id=split, audio=f"audio/{split}.flac", duration=1.0, text="hello", keywords=["deep zorvan"], talk="t"
        )
        write_manifest(tmp_path / "root" / f"{split}.jsonl", [word])
    with (tmp_path / "root" / "test.jsonl").open("a") as file:
        file.write(json.dumps({"id": "x", "audio": "a.wav", "duration": -1, "text": "x"}) + "\n")
        file.write(json.dumps({"id": "y", "audio": "../y.wav", "duration": 1, "text": "x"}) + "\n")
    card, _ = prepare(tmp_path, "manifest", ".jsonl")
    for split in SPLITS:
        written = (tmp_path / "root" / f"{split}.jsonl").read_text().splitlines()[:1]
        assert (tmp_path / "prepared" / f"{split}.jsonl").read_text().splitlines() == written
    assert card["reasons"] == {"not a manifest row": 1, "the path escapes the folder": 1}
