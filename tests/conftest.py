"""Shared fixtures: a fresh copy of the repository, and the complete pipeline, run in it once."""

import os
import resource
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from still_running import StillRunning

ROOT = Path(__file__).parent.parent
LEFT_OUT = [
    ".venv", ".git", "cache", "tmp", "__pycache__", "*.egg-info", ".pytest_cache", ".ruff_cache", ".hypothesis",
    "/data", "/models", "/results", "/reports", "mlruns*", "mlartifacts", "dvc.lock", "config.local", "build", "dist",
]  # fmt: skip
IMPORTED_FROM = tuple(sys.path)


def pytest_configure(config):
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(StillRunning(config))


def pytest_collection_modifyitems(config, items):
    """Deselect tests marked `long` unless requested, and run the files with most slow tests first, as `make test`
    distributes files to several processes."""
    if "long" not in config.option.markexpr:
        config.hook.pytest_deselected(items=[item for item in items if item.get_closest_marker("long")])
        items[:] = [item for item in items if not item.get_closest_marker("long")]
    slow = Counter(item.path for item in items if item.get_closest_marker("slow"))
    items.sort(key=lambda item: -slow[item.path])


@pytest.fixture(autouse=True)
def import_path(monkeypatch):
    """Restore sys.path: MLflow prepends a loaded model's copy of our code, which child processes would import."""
    monkeypatch.setattr(sys, "path", list(IMPORTED_FROM))


@pytest.fixture(scope="session")
def environment(tmp_path_factory) -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if key not in ("MLFLOW_TRACKING_URI", "SAP2_PROFILE")}
    # `sap2` runs with the tests' interpreter and imports the copy's code.
    commands = tmp_path_factory.mktemp("bin")
    (commands / "sap2").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m sap2 "$@"\n')
    (commands / "sap2").chmod(0o755)
    return {**kept, "PATH": os.pathsep.join([str(commands), kept["PATH"]]), "PYTHONDONTWRITEBYTECODE": "1"}


@pytest.fixture(scope="session")
def run(environment, repository):
    def run(*command: str) -> str:
        done = subprocess.run(
            command, cwd=repository, env={**environment, "PYTHONPATH": str(repository)}, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        assert done.returncode == 0, f"{' '.join(command)}:\n{done.stdout[-6000:]}"
        return done.stdout

    return run


@pytest.fixture(scope="session")
def repository(tmp_path_factory) -> Path:
    """A new repository with all files that git tracks or would track, and the profile `test` selected."""
    folder = tmp_path_factory.mktemp("clone") / "repository"
    top = {name[1:] for name in LEFT_OUT if name.startswith("/")}
    patterns = shutil.ignore_patterns(*(name for name in LEFT_OUT if not name.startswith("/")))

    def ignore(directory: str, names: list[str]) -> set[str]:
        left = set(patterns(directory, names)) | (top & set(names) if Path(directory) == ROOT else set())
        return left | (set(names) - {"README.md"} if Path(directory) == ROOT / "corpora" else set())

    shutil.copytree(ROOT, folder, ignore=ignore)
    params = folder / "params.yaml"
    params.write_text(params.read_text(encoding="utf-8").replace("\nprofile: default\n", "\nprofile: test\n"), "utf-8")
    git = ["git", "-c", "user.name=test", "-c", "user.email=test@example.org", "-c", "init.defaultBranch=main"]
    for arguments in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "A copy"]):
        subprocess.run([*git, *arguments], cwd=folder, check=True)
    return folder


@pytest.fixture(scope="session")
def reproduced(run) -> tuple[str, float]:
    """Output of `dvc repro` in the copy with the profile `test`, and its CPU seconds."""
    started = processor_seconds()
    output = run(sys.executable, "-m", "dvc", "repro")
    return output, processor_seconds() - started


@pytest.fixture(scope="session")
def real_base(tmp_path_factory) -> Path:
    """A tiny Qwen2-Audio with the published vocabulary and file layout: see tests/real_shape.py."""
    from real_shape import build_real_shape

    return build_real_shape(tmp_path_factory.mktemp("real") / "base")


def processor_seconds() -> float:
    """Return the CPU seconds of all child processes so far; unlike wall time, they do not depend on the load."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
