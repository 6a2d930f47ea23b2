"""The project's modules on a machine that has PyTorch, transformers and PEFT and nothing else of our dependencies.

The packages `sap2.training`, `sap2.inference` and `sap2.tracking` import all that the flow needs (MLflow, soundfile,
pydantic, …) in their `__init__`. The benchmark imports single modules of them, so it registers the packages without
running their `__init__`.
"""

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("sap2.training", "sap2.inference", "sap2.tracking")


def open_rooms() -> None:
    """Make `sap2.model`, `sap2.training.plan`, `sap2.inference.decoding` and what they import importable."""
    sys.path.insert(0, str(ROOT))
    for name in PACKAGES:
        package = ModuleType(name)
        package.__path__ = [str(ROOT.joinpath(*name.split(".")))]
        sys.modules[name] = package
    # The modules above name its classes in annotations only; the real module needs pydantic and ruamel.yaml.
    params = ModuleType("sap2.params")
    params.__getattr__ = _annotation
    sys.modules["sap2.params"] = params


def _annotation(name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(name)
    return Any
