"""The model benchmarks run and give the requested figures, at sizes whose figures are meaningless."""

import json
import runpy
import sys
from pathlib import Path

import pytest
from tiny import spoken

from sap2.constants import EMBEDDED
from sap2.data.audio import save_audio
from sap2.files import sha256
from sap2.manifest import Utterance, write_manifest

ROOT = Path(__file__).parents[2]
SCRIPTS = {
    "training_step": ["--batch-size", "1", "--steps", "1", "--join", "1"],
    "inference": ["--utterances", "1", "--turns", "1"],
    "pooling_share": ["--batch-size", "2", "--repeats", "1", "--projection-rank", "2"],
    "context_cost": ["--sizes", "5", "10", "--windows", "2", "--repeats", "1"],
    "prefilter_cost": ["--utterances", "2", "--short", "5", "--long", "20", "--keep", "5", "--repeats", "1"],
}


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("prepared")
    words = ["kathryn", "maier", "zorvan", "quell"]
    rows = []
    for number in range(4):
        save_audio(folder / f"{number}.wav", spoken(0.6, number))
        rows.append(
            Utterance(id=str(number), audio=f"{number}.wav", duration=0.6, text="the maier graph", keywords=words)
        )
    for split in ("train", "test"):
        write_manifest(folder / f"{split}.jsonl", rows)
    return folder


@pytest.mark.slow  # the baseline pads to 30 s
@pytest.mark.parametrize("script", SCRIPTS)
def test_scripts_run_and_write_their_figures(script, data, tmp_path, monkeypatch, capsys):
    record, plot = tmp_path / "record.json", tmp_path / "plot.png"
    options = [*SCRIPTS[script], "--data", str(data), "--json", str(record)]
    if script == "context_cost":
        options += ["--plot", str(plot)]
    monkeypatch.chdir(ROOT)
    monkeypatch.syspath_prepend(ROOT / "benchmarks" / "model")
    monkeypatch.setattr(sys, "argv", [f"{script}.py", *options])
    runpy.run_path(str(ROOT / "benchmarks" / "model" / f"{script}.py"), run_name="__main__")
    figures = json.loads(record.read_text())
    assert figures["base"] == {"model.safetensors": sha256(EMBEDDED / "model.safetensors")}
    assert len(figures["date"]) == 10 and figures["dirty"] in ("true", "false", "unknown") and figures["commit"]
    assert f"{script}.py --" in figures["command"] and "| " in capsys.readouterr().out
    if script == "context_cost":
        short, long = figures["cells"]
        assert short["pooled"] < long["pooled"] < long["list_tokens"]
        assert plot.stat().st_size > 0
    else:
        assert all(len(taken) == 1 and taken[0] > 0 for taken in figures["seconds"].values())
    if script == "training_step":
        assert figures["losses_apart_at_most"] < 1e-3
    if script == "inference":
        assert set(figures["same_words"].values()) == {1}
