"""The package imports fast, without heavy libraries, and its doctests pass."""

import doctest
import importlib
import json
import pkgutil
import subprocess
import sys

import pytest

import sap2.evaluation

MODULES = sorted(module.name for module in pkgutil.iter_modules(sap2.evaluation.__path__, "sap2.evaluation."))
PROBE = """
import sys
import sap2.evaluation
heavy = {"torch", "transformers", "matplotlib", "jinja2", "pandas", "mlflow"} & sys.modules.keys()
print(*heavy)
"""


def test_importing_the_room_loads_nothing_heavy():
    done = subprocess.run([sys.executable, "-c", PROBE], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


WITHOUT_PIPELINE = """
import sys
for name in ("torch", "transformers", "pydantic", "pandas", "matplotlib", "mlflow", "librosa", "soundfile"):
    sys.modules[name] = None  # as if it were not installed
from sap2.cli import main
main()
"""


def test_scoring_and_comparing_need_no_extra_of_the_package(tmp_path):
    for name, written in {"a": "ask maier", "b": "ask meyer"}.items():
        row = {"id": "u1", "reference": "ask meyer", "hypothesis": written, "keywords": ["meyer", "zorvan"]}
        (tmp_path / f"{name}.jsonl").write_text(json.dumps(row) + "\n")
    score = ["score", "a.jsonl", "--json", "a.json", "--report", "a.html", "--normaliser", "whisper-en"]
    for command in (score, ["compare", "a.jsonl", "b.jsonl"]):
        done = subprocess.run(
            [sys.executable, "-c", WITHOUT_PIPELINE, *command], capture_output=True, text=True, cwd=tmp_path
        )
        assert done.returncode == 0, done.stderr
    assert "<html" in (tmp_path / "a.html").read_text() and json.loads((tmp_path / "a.json").read_text())


@pytest.mark.parametrize("name", MODULES)
def test_docstring_examples_are_true(name):
    assert doctest.testmod(importlib.import_module(name)).failed == 0


def test_everything_the_room_offers_exists():
    assert all(hasattr(sap2.evaluation, name) for name in sap2.evaluation.__all__)
