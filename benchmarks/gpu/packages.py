"""Import of the project's modules on a machine that lacks most of our dependencies.

The `__init__` of `sap2.training`, `sap2.inference` and `sap2.tracking` imports everything that the pipeline needs
(MLflow, soundfile, pydantic, …). The benchmark only needs a few of their modules, so it registers the packages without
running their `__init__`.
"""

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("sap2.training", "sap2.inference", "sap2.tracking")


def register_packages() -> None:
    """Make `sap2.model`, `sap2.training.plan`, `sap2.inference.decoding` and their imports importable."""
    sys.path.insert(0, str(ROOT))
    for name in PACKAGES:
        package = ModuleType(name)
        package.__path__ = [str(ROOT.joinpath(*name.split(".")))]
        sys.modules[name] = package
    # These modules use its classes in annotations only; the real module needs pydantic and ruamel.yaml.
    params = ModuleType("sap2.params")
    params.__getattr__ = _annotation
    sys.modules["sap2.params"] = params


def _annotation(name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(name)
    return Any
