"""The complete pipeline with the profile `test`: from a fresh copy of the repository to a registered model."""

import json
import sys

import numpy as np
import soundfile
import soxr

from sap2.data.speech import SAMPLE_RATE, VOICES, Synthesiser

STAGES = ["prepare", "lists", "base", "train-pruner", "prune", "train-recogniser", "decode", "settings", "evaluate"]
STAGES.append("register")


def test_the_flow_runs_from_a_fresh_clone_to_a_registered_model(repository, run, reproduced):
    dvc = (sys.executable, "-m", "dvc")
    output, processor_seconds = reproduced
    assert processor_seconds < 180
    ran = [line.split("'")[1] for line in output.splitlines() if line.startswith("Running stage")]
    assert {*ran[:3]} == {*STAGES[:3]}, "corpus and base need nothing of each other"
    assert {*ran[7:9]} == {*STAGES[7:9]} and ran[3:7] + ran[9:] == STAGES[3:7] + STAGES[9:]
    for stage in STAGES:
        assert f"\n{stage}: wrote " in output, f"{stage} says nothing of what it wrote"

    for library in ("Warning", "warn(", "INFO", "[transformers]", "Loading weights", "DeepSpeed", "deprecated"):
        assert library not in output, "what libraries say belongs in a log file"

    for manifest in ("prepared", "lists", "pruned"):
        for split, count in (("train", 24), ("dev", 6), ("test", 8)):
            lines = (repository / "data" / manifest / f"{split}.jsonl").read_text(encoding="utf-8").splitlines()
            assert len(lines) == count
    for folder in ("base", "pruner", "recogniser"):
        assert list((repository / "models" / folder).glob("*.safetensors"))
    ids = None
    for context in ("none", "full", "predicted", "oracle"):
        rows = [json.loads(line) for line in (repository / "results" / f"{context}.jsonl").read_text().splitlines()]
        assert ids in (None, [row["id"] for row in rows])
        ids = [row["id"] for row in rows]
    assert len(ids) == 8
    metrics = json.loads((repository / "reports" / "metrics.json").read_text())
    calls = json.loads((repository / "data" / "pruned" / "summary.json").read_text())["test"]
    for figure in ("recall", "precision"):
        counted = metrics["pruning"][figure]
        assert calls[f"keyword_{figure}"] == (None if counted is None else round(counted, 4)), "counted in the same way"
    assert (repository / "reports" / "table.md").stat().st_size
    assert "<html" in (repository / "reports" / "report.html").read_text(encoding="utf-8").lower()
    assert json.loads((repository / "reports" / "registration.json").read_text())["version"]

    assert "Data and pipelines are up to date." in run(*dvc, "repro")
    assert "reports/metrics.json" in run(*dvc, "metrics", "show")
    assert "num_beams" in run(*dvc, "params", "diff", "--all", "HEAD")

    tracked = run("git", "status", "--porcelain", "--untracked-files=all")
    assert not [
        line for line in tracked.splitlines() if line[3:].startswith(("data/", "models/", "results/", "mlruns"))
    ]

    plots = run(*dvc, "plots", "show", "--out", "plots")
    page = repository / "plots" / "index.html"
    assert page.as_uri() in plots and "B-WER by context (%)" in page.read_text(encoding="utf-8")


def test_a_recording_outside_the_corpus_is_transcribed(run, reproduced, tmp_path):
    """The recording has another voice, other words, and a sample rate and channels that no corpus has."""
    voice, said = "en-029+f5", "zorvan and meyer sat on the harbour wall and counted ships"
    assert voice not in VOICES
    mono = soxr.resample(Synthesiser().speak(said, voice, rate=150), SAMPLE_RATE, 44_100)
    talk = tmp_path / "talk.wav"
    soundfile.write(talk, np.stack((mono, 0.5 * mono), axis=1), 44_100, subtype="PCM_16")
    assert (soundfile.info(talk).samplerate, soundfile.info(talk).channels) == (44_100, 2)
    output = run("sap2", "transcribe", str(talk), "--keywords", "Meyer, Zorvan", "--show-keywords")
    *_, text, result = output.splitlines()
    assert len(text.split()) > 3 and result.strip().startswith("keywords found: ")
