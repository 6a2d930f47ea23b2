"""Kaldi data folders: segments keep their times, and every line gives an entry or a rejection."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from trees import kaldi, write_audio

from sap2.data.corpora import prepare_corpus
from sap2.errors import InputError
from sap2.manifest import read_manifest
from sap2.params import PrepareSection

TALK = {"rec{}": [("rec{}-1", 0.5, 2.0, "HELLO ZORVAN"), ("rec{}-2", 2.0, 4.25, "THE NEXT SLIDE")]}


def corpus(root: Path) -> PrepareSection:
    for number, split in enumerate(("train", "dev", "test")):
        talk = {f"rec{number}": [(id.format(number), *rest) for id, *rest in TALK["rec{}"]]}
        kaldi(root / "data" / split, root, talk)
    (root / "data" / "train" / "keywords").write_text("rec0-1 Zorvan, deep meyer\n")
    parts = {split: [f"data/{split}"] for split in ("train", "dev", "test")}
    return PrepareSection(source="kaldi", kaldi={"root": str(root)} | parts)


def prepare(tmp_path: Path, section: PrepareSection) -> tuple[dict, dict, list[str]]:
    card = prepare_corpus(section, tmp_path / "prepared", tmp_path / "cache")
    result = {
        utterance.id: utterance
        for name in ("train", "dev", "test")
        for utterance in read_manifest(tmp_path / "prepared" / f"{name}.jsonl")
    }
    lines = (tmp_path / "prepared" / "quarantine.jsonl").read_text().splitlines()
    return card, result, sorted(json.loads(line)["reason"] for line in lines)


def test_segments_are_cut_where_they_say(tmp_path):
    _, result, reasons = prepare(tmp_path, corpus(tmp_path / "root"))
    assert len(result) == 6 and not reasons
    utterance = result["rec0-2"]
    assert (utterance.duration, utterance.text, utterance.speaker, utterance.talk) == (
        2.25,
        "the next slide",
        "rec0-speaker",
        "rec0",
    )
    assert utterance.model_extra == {"start": 2.0, "end": 4.25}, "its place in the talk"
    assert result["rec0-1"].keywords == ["zorvan", "deep meyer"]
    whole, rate = soundfile.read(tmp_path / "root" / "wav" / "rec0.wav")
    heard, _ = soundfile.read(tmp_path / "prepared" / utterance.audio)
    assert np.abs(heard - whole[2 * rate : round(4.25 * rate)]).max() < 1e-3


def test_lines_that_cannot_be_used_are_quarantined(tmp_path):
    section = corpus(tmp_path / "root")
    train = tmp_path / "root" / "data" / "train"
    write_audio(tmp_path / "secret.wav")
    added = {
        "wav.scp": ["cmd touch owned |", "ark data.ark:22", "away ../secret.wav", "abs /etc/passwd", "rec0 again.wav"],
        "segments": [
            "u1 cmd 0 1", "u2 ark 0 1", "u3 away 0 1", "u4 abs 0 1", "u5 nowhere 0 1", "u6 rec0 3 2", "u7 rec0 x",
            "u8 rec0 0 99", "u9 rec0 0 1",
        ],
        "text": [*(f"u{number} SOME WORDS" for number in range(1, 9)), "u10 NO SEGMENT", "rec0-1 AGAIN"],
    }  # fmt: skip
    for name, lines in added.items():
        with (train / name).open("a") as file:
            file.write("\n".join(lines) + "\n")
    card, result, reasons = prepare(tmp_path, section)
    assert len(result) == 6 and card["read"] == 6 + len(reasons)
    beginnings = [
        "a broken segment: 'rec0 x', expected", "a broken segment: from 3 s to 2 s",
        "a command in wav.scp: touch owned |",
        "an archive in wav.scp: data.ark:22", "duplicate id: also at", "duplicate id: also at",
        "no audio file: the recording nowhere", "no segment: the id is not in segments",
        "no transcript: the segment is not in text", "the path escapes the folder: ../secret.wav",
        "the path escapes the folder: /etc/passwd", "unusable audio: ",
    ]  # fmt: skip
    assert len(reasons) == len(beginnings)
    assert all(reason.startswith(beginning) for reason, beginning in zip(reasons, beginnings, strict=True)), reasons
    assert not (tmp_path / "owned").exists()


def test_without_segments_recordings_are_utterances(tmp_path):
    section = corpus(tmp_path / "root")
    train = tmp_path / "root" / "data" / "train"
    (train / "segments").unlink()
    (train / "text").write_text("rec0 HELLO WORLD\n")
    _, result, _ = prepare(tmp_path, section)
    assert result["rec0"].duration == 5.25 and result["rec0"].text == "hello world"


def test_a_folder_without_its_tables_is_refused(tmp_path):
    section = corpus(tmp_path / "root")
    (tmp_path / "root" / "data" / "dev" / "text").unlink()
    with pytest.raises(InputError, match="dev/text: no such file; expected a Kaldi data folder"):
        prepare(tmp_path, section)
