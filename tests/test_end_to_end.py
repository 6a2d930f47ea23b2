"""The whole flow on the profile `test`, from a fresh copy of the repository to a registered model, by `dvc repro`."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LEFT_OUT = [
    ".venv", ".git", "cache", "tmp", "__pycache__", "*.egg-info", ".pytest_cache", ".ruff_cache", ".hypothesis",
    "/data", "/models", "/results", "/reports", "mlruns*", "mlartifacts", "dvc.lock", "config.local", "build", "dist",
]  # fmt: skip
STAGES = ["prepare", "base", "train-pruner", "prune", "train-recogniser", "decode", "evaluate", "register"]


@pytest.fixture(scope="module")
def environment(tmp_path_factory) -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if key not in ("MLFLOW_TRACKING_URI", "SAP2_PROFILE")}
    # The command `sap2` of the interpreter that runs the tests, on the copy's code.
    commands = tmp_path_factory.mktemp("bin")
    (commands / "sap2").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m sap2 "$@"\n')
    (commands / "sap2").chmod(0o755)
    return {**kept, "PATH": os.pathsep.join([str(commands), kept["PATH"]]), "PYTHONDONTWRITEBYTECODE": "1"}


@pytest.fixture(scope="module")
def run(environment, repository):
    def run(*command: str) -> str:
        done = subprocess.run(
            command, cwd=repository, env={**environment, "PYTHONPATH": str(repository)}, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        assert done.returncode == 0, f"{' '.join(command)}:\n{done.stdout[-6000:]}"
        return done.stdout

    return run


@pytest.fixture(scope="module")
def repository(tmp_path_factory) -> Path:
    """What git tracks or would track, with the profile `test` chosen, committed in a new repository."""
    folder = tmp_path_factory.mktemp("clone") / "repository"
    top = {name[1:] for name in LEFT_OUT if name.startswith("/")}
    patterns = shutil.ignore_patterns(*(name for name in LEFT_OUT if not name.startswith("/")))

    def ignore(directory: str, names: list[str]) -> set[str]:
        return set(patterns(directory, names)) | (top & set(names) if Path(directory) == ROOT else set())

    shutil.copytree(ROOT, folder, ignore=ignore)
    params = folder / "params.yaml"
    params.write_text(params.read_text(encoding="utf-8").replace("\nprofile: default\n", "\nprofile: test\n"), "utf-8")
    git = ["git", "-c", "user.name=test", "-c", "user.email=test@example.org", "-c", "init.defaultBranch=main"]
    for arguments in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "A copy"]):
        subprocess.run([*git, *arguments], cwd=folder, check=True)
    return folder


def test_the_flow_runs_from_a_fresh_clone_to_a_registered_model(repository, run):
    dvc = (sys.executable, "-m", "dvc")
    started = time.monotonic()
    output = run(*dvc, "repro")
    assert time.monotonic() - started < 180
    assert [line.split("'")[1] for line in output.splitlines() if line.startswith("Running stage")] == STAGES
    for stage in STAGES:
        assert f"\n{stage}: wrote " in output, f"{stage} says nothing of what it wrote"

    for manifest in ("prepared", "pruned"):
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
    assert metrics
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
