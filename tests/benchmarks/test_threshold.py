"""The benchmark finds thresholds on dev and applies them to both splits, and the page says what it recorded."""

import json
import runpy
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from sap2 import inference
from sap2.files import sha256
from sap2.manifest import Utterance, write_manifest

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "benchmarks" / "threshold" / "run.py"
RECORD = SCRIPT.parent / "records" / "threshold.json"


class Sure:
    """Selects what is said and one word more, less surely from utterance to utterance; writes what it is given."""

    def encode(self, audio, label):
        return [int(Path(path).stem) for path in audio]

    pruner = SimpleNamespace(threshold=None)

    def score_keywords(self, speech, lists, label):
        return [{"said": -0.1, f"false{number}": -0.5 - number} for number in speech]

    def transcribe(self, speech, kept, label):
        return [" ".join(["the", *words]) for words in kept]


@pytest.fixture
def record(tmp_path, monkeypatch, capsys) -> dict:
    """Four utterances in each split; `record["printed"]` is what the script said."""
    rows = [
        Utterance(id=str(n), audio=f"{n}.wav", duration=1.0, text="the said", keywords=["said", f"false{n}"])
        for n in range(4)
    ]
    for split in ("dev", "test"):
        write_manifest(tmp_path / f"{split}.jsonl", rows)
    for part, name in (("base", "model"), ("pruner", "adapter_model"), ("recogniser", "adapter_model")):
        (tmp_path / part).mkdir()
        (tmp_path / part / f"{name}.safetensors").write_bytes(part.encode())
    monkeypatch.setattr(inference, "load_recogniser", lambda *_, **__: Sure())
    monkeypatch.chdir(ROOT)
    written = tmp_path / "records" / "record.json"
    options = ["--models", str(tmp_path), "--lists", str(tmp_path), "--limits", "50", "0", "--json", str(written)]
    monkeypatch.setattr(sys, "argv", ["run.py", *options])
    runpy.run_path(str(SCRIPT), run_name="__main__")
    found = json.loads(written.read_text(encoding="utf-8"))
    return found | {"printed": capsys.readouterr().out, "base": sha256(tmp_path / "base" / "model.safetensors")}


def test_thresholds_of_dev_are_applied_to_both_splits(record):
    figures = [
        (row["split"], row["allowed"], row["threshold"], row["false_alarms_per_100"], row["transcripts"]["b_wer"])
        for row in record["rows"]
    ]
    both = [(None, None, 100.0), (50, -1.5, 50.0), (0, -0.1, 0.0)]
    assert figures == [(split, *row, 0.0) for split in ("dev", "test") for row in both]
    assert [row["recall"] for row in record["rows"]] == [1.0] * 6
    assert "| test | 50 | −1.500 | 1.000 | 0.667 | 50.0 | 0.0 | 50.0 | 50.0 |" in record["printed"]


def test_a_record_says_what_it_is_of(record):
    assert record["weights"]["base"] == record["base"] and set(record["manifests"]) == {"dev", "test"}
    assert len(record["date"]) == 10 and {"commit", "dirty", "machine"} <= set(record)


@pytest.mark.skipif(not RECORD.is_file(), reason="nothing is recorded yet")
def test_the_page_says_what_the_record_says():
    page = (ROOT / "docs" / "method.md").read_text(encoding="utf-8")
    line = runpy.run_path(str(SCRIPT))["line"]
    missing = [row for row in map(line, json.loads(RECORD.read_text(encoding="utf-8"))["rows"]) if row not in page]
    assert not missing, "copy the printed table to docs/method.md"
