"""The whole flow on the profile `test`, from a fresh copy of the repository to a registered model, by `dvc repro`."""

import json
import sys
import time

STAGES = ["prepare", "lists", "base", "train-pruner", "prune", "train-recogniser", "decode", "evaluate", "register"]


def test_the_flow_runs_from_a_fresh_clone_to_a_registered_model(repository, run, reproduced):
    dvc = (sys.executable, "-m", "dvc")
    output, seconds = reproduced
    assert seconds < 180
    ran = [line.split("'")[1] for line in output.splitlines() if line.startswith("Running stage")]
    assert ({*ran[:3]}, ran[3:]) == ({*STAGES[:3]}, STAGES[3:]), "corpus and base need nothing of each other"
    for stage in STAGES:
        assert f"\n{stage}: wrote " in output, f"{stage} says nothing of what it wrote"

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
    asked = json.loads((repository / "data" / "pruned" / "summary.json").read_text())["test"]
    for figure in ("recall", "precision"):
        counted = metrics["pruning"][figure]
        assert asked[f"keyword_{figure}"] == (None if counted is None else round(counted, 4)), "one way of counting"
    assert (repository / "reports" / "table.md").stat().st_size
    assert "<html" in (repository / "reports" / "report.html").read_text(encoding="utf-8").lower()
    assert json.loads((repository / "reports" / "registration.json").read_text())["version"]

    again = time.monotonic()
    assert "Data and pipelines are up to date." in run(*dvc, "repro")
    assert time.monotonic() - again < 30
    assert "reports/metrics.json" in run(*dvc, "metrics", "show")
    assert "num_beams" in run(*dvc, "params", "diff", "--all", "HEAD")

    tracked = run("git", "status", "--porcelain", "--untracked-files=all")
    assert not [
        line for line in tracked.splitlines() if line[3:].startswith(("data/", "models/", "results/", "mlruns"))
    ]

    recording = next((repository / "data" / "prepared" / "audio").rglob("*.flac"))
    text = run("sap2", "transcribe", str(recording), "--keywords", "Meyer, Zorvan", "--show-keywords")
    assert "keywords found: " in text
