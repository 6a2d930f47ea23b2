"""The room as a whole: it opens fast, without heavy libraries, and the examples in its docstrings are true."""

import doctest
import importlib
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


@pytest.mark.parametrize("name", MODULES)
def test_docstring_examples_are_true(name):
    assert doctest.testmod(importlib.import_module(name)).failed == 0


def test_everything_the_room_offers_exists():
    assert all(hasattr(sap2.evaluation, name) for name in sap2.evaluation.__all__)
