"""The two-stage recogniser as one MLflow model: base, two adapters, settings and the code that runs them.

Models-from-code and safetensors: nothing is pickled, and loading needs the pinned packages but not this repository.
"""

import base64
import importlib.metadata
import shutil
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sap2.errors import ModelError
from sap2.hub import HUB_SOURCE, fetch_named
from sap2.params import DecodingSection, InferenceSection, PruningSection, TrackingSection
from sap2.tracking.store import fluent, reporting, tracking_uri

__all__ = [
    "build",
    "fetch_registered",
    "load_recogniser",
    "load_registered",
    "log_model",
    "pip_requirements",
    "present",
    "sections",
]

PARTS = ("base", "pruner", "recogniser")
MODEL_NAME = "sap2"
OPTIONS = (*PruningSection().options(), *InferenceSection().segmentation())
PACKAGE = Path(__file__).parents[1]
# What transcribing imports, directly or through these.
REQUIREMENTS = (
    "mlflow", "torch", "transformers", "peft", "accelerate", "safetensors", "numpy", "pandas", "soundfile", "soxr",
    "av", "jellyfish", "onnxruntime", "pydantic", "rapidfuzz", "silero-vad", "tqdm",
)  # fmt: skip


def log_model(
    base: Path,
    pruner: Path,
    recogniser: Path,
    settings: Mapping[str, Any] | None = None,
    example: tuple[Path, Sequence[str]] | None = None,
    copy_base: bool = False,
):
    """Log the recogniser to MLflow's active run; return MLflow's ModelInfo.

    Args:
        base, pruner, recogniser: Their folders, copied whole; of a base from the hub only its id and commit.
        settings: How it decodes, kept with the model: see `build`.
        example: A recording and its list, the model's input example.
        copy_base: Copy a base from the hub, too.
    Raises: ModelError: a folder is missing, or a setting unknown.
    """
    import mlflow

    _decodings(settings or {})  # found out now, not by whoever loads the version
    folders = dict(zip(PARTS, map(Path, (base, pruner, recogniser)), strict=True))
    for name, folder in folders.items():
        if not folder.is_dir():
            raise ModelError(f"{folder}: no {name} folder to register; run its stage first")
    with tempfile.TemporaryDirectory(prefix="sap2-code-") as staging, warnings.catch_warnings():
        code = Path(staging) / PACKAGE.name
        if (folders["base"] / HUB_SOURCE).is_file() and not copy_base:
            reference = Path(staging) / "base"
            reference.mkdir()
            shutil.copy2(folders["base"] / HUB_SOURCE, reference)
            folders["base"] = reference
        # The package without its embedded base: the model carries its own.
        shutil.copytree(PACKAGE, code, ignore=shutil.ignore_patterns("__pycache__", "assets", "*.safetensors"))
        # MLflow would like type hints, which its tables do not need.
        warnings.filterwarnings("ignore", category=UserWarning, module="mlflow.pyfunc")
        return mlflow.pyfunc.log_model(
            name=MODEL_NAME,
            python_model=str(code / "tracking" / "pyfunc_model.py"),
            code_paths=[str(code)],
            artifacts={name: str(folder) for name, folder in folders.items()},
            model_config=dict(settings or {}),
            signature=_signature(),
            input_example=None if example is None else _example(*example),
            pip_requirements=pip_requirements(),
        )


def load_recogniser(section: TrackingSection, model: str, segmentation: Mapping[str, Any] | None = None):
    """The recogniser of a folder with `base`, `pruner` and `recogniser`, or of the registry (`models:/…`).

    Args:
        segmentation: Of a folder, which keeps no settings: `InferenceSection.segmentation()`.
    Raises: ModelError: the folder lacks a part. TrackingError: see `load_registered`.
    """
    if model.startswith("models:/"):
        return load_registered(section, model)
    folder = Path(model)
    missing = [name for name in PARTS if not (folder / name).is_dir()]
    if missing:
        raise ModelError(
            f"{folder}: holds no {' and no '.join(missing)}, expected the folders {', '.join(PARTS[:-1])} and "
            f"{PARTS[-1]}; run `make repro` to train them, or name the folder with --model"
        )
    from sap2.inference import Recogniser
    from sap2.inference.corpus import best_device

    return Recogniser.load(*(folder / part for part in PARTS), device=best_device(), **segmentation or {})


def load_registered(section: TrackingSection, uri: str):
    """Load `models:/NAME/VERSION` (or `models:/NAME@ALIAS`, `runs:/…`) as a `sap2.inference.Recogniser`.

    Raises: TrackingError: no such model, or the store does not answer. ModelError: it is not one of ours.
    """
    with tempfile.TemporaryDirectory(prefix="sap2-model-") as folder:
        return build(*fetch_registered(section, uri, Path(folder)))


def fetch_registered(section: TrackingSection, uri: str, folder: Path) -> tuple[dict[str, str], dict[str, Any]]:
    """Fetch a registered model into a folder: where its parts lie, by name, and the settings kept with them.

    Raises: as `load_registered`.
    """
    store = tracking_uri(section)
    with reporting(store, f"gives no {uri}"), fluent(section) as mlflow:
        local = Path(mlflow.artifacts.download_artifacts(uri, dst_path=str(folder)))
        flavor = mlflow.models.Model.load(local).flavors.get("python_function", {})
    artifacts = {name: str(local / found["path"]) for name, found in (flavor.get("artifacts") or {}).items()}
    if set(artifacts) != set(PARTS):
        raise ModelError(f"{uri}: holds {sorted(artifacts) or 'no artifacts'}, expected {', '.join(PARTS)}")
    return artifacts, flavor.get("config") or {}


def sections(settings: Mapping[str, Any]) -> tuple[PruningSection, InferenceSection]:
    """The settings kept with a model, as sections of the params: how both stages of it decode.

    Raises: ModelError: a setting is unknown.
    """
    decoding, pruning_decoding, options = _decodings(settings)
    segmentation = {name: options.pop(name) for name in InferenceSection().segmentation() if name in options}
    return (
        PruningSection(**{name: getattr(pruning_decoding, name) for name in DecodingSection.model_fields}, **options),
        InferenceSection(**asdict(decoding), **segmentation),
    )


def build(artifacts: Mapping[str, str], settings: Mapping[str, Any]):
    """A recogniser of three folders and the settings kept with them, on the GPU when there is one.

    Args:
        settings: `decoding` and `pruning_decoding`, fields of `sap2.inference.Decoding`, and the options of
            `sap2.inference.Recogniser` that `sap2.params.PruningSection` and `InferenceSection` name.
    """
    import torch

    from sap2.inference import Recogniser

    decoding, pruning_decoding, options = _decodings(settings)
    options["device"] = "cuda" if torch.cuda.is_available() else None
    recogniser = Recogniser.load(*(present(artifacts[part]) for part in PARTS), decoding=decoding, **options)
    recogniser.pruning_decoding = pruning_decoding
    return recogniser


def pip_requirements() -> list[str]:
    """The packages transcribing needs, each at the version that is installed here."""
    # "+cpu" and the like name a build that the index does not have.
    return [f"{name}=={importlib.metadata.version(name).partition('+')[0]}" for name in REQUIREMENTS]


def present(folder: str | Path) -> Path:
    """The folder; where it only names a base of the hub, the one that this machine has fetched of it."""
    folder = Path(folder)
    named = folder / HUB_SOURCE
    return fetch_named(named) if named.is_file() and not (folder / "config.json").is_file() else folder


def _decodings(settings: Mapping[str, Any]):
    """How both stages decode, and the recogniser's other options.

    Raises: ModelError: a setting is unknown.
    """
    from sap2.inference import Decoding

    left = dict(settings)
    try:
        decoding = Decoding(**left.pop("decoding", {}))
        pruning = left.pop("pruning_decoding", None)
        pruning_decoding = decoding if pruning is None else Decoding(**pruning)
    except TypeError as error:
        raise ModelError(
            f"settings of the model: {error}; known: {', '.join(Decoding.__dataclass_fields__)}"
        ) from error
    if unknown := sorted(left.keys() - set(OPTIONS)):
        known = ", ".join(("decoding", "pruning_decoding", *OPTIONS))
        raise ModelError(f"unknown settings of the model: {', '.join(unknown)}; known: {known}")
    return decoding, pruning_decoding, left


def _example(recording: Path, keywords: Sequence[str]):
    """The input as JSON can hold it: the recording in base64, the list as text."""
    import pandas as pd

    audio = base64.b64encode(recording.read_bytes()).decode("ascii")
    return pd.DataFrame({"audio": [audio], "keywords": [", ".join(keywords)]})


def _signature():
    from mlflow.models import ModelSignature
    from mlflow.types.schema import AnyType, Array, ColSpec, DataType, Schema

    texts = Array(DataType.string)
    inputs = Schema([ColSpec(AnyType(), "audio"), ColSpec(AnyType(), "keywords", required=False)])
    outputs = Schema([ColSpec(DataType.string, "text"), ColSpec(texts, "found"), ColSpec(texts, "predicted")])
    return ModelSignature(inputs, outputs)
