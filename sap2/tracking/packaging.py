"""The two-stage recogniser as one MLflow model: base, two adapters, settings and the code that runs them.

Models-from-code and safetensors: nothing is pickled, and loading needs the pinned packages but not this repository.
"""

import base64
import importlib.metadata
import shutil
import sys
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

from sap2.errors import ModelError
from sap2.hub import HUB_SOURCE, present
from sap2.params import TrackingSection, override_settings
from sap2.settings import SETTINGS_FILE, RecogniserSettings, parse_settings, read_settings
from sap2.tracking.store import fluent, reporting, tracking_uri, uploading

__all__ = [
    "build",
    "fetch_registered",
    "load_recogniser",
    "load_registered",
    "log_model",
    "pip_requirements",
]

PARTS = ("base", "pruner", "recogniser")
MODEL_NAME = "sap2"
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
    settings: RecogniserSettings | None = None,
    example: tuple[Path, Sequence[str]] | None = None,
    copy_base: bool = False,
):
    """Log the recogniser to MLflow's active run; return MLflow's ModelInfo.

    Args:
        base, pruner, recogniser: Their folders, copied whole; of a base from the hub only its id and commit.
        settings: Kept with the model.
        example: A recording and its list, the model's input example.
        copy_base: Copy a base from the hub, too.
    Raises: ModelError: a folder is missing.
    """
    import mlflow

    folders = dict(zip(PARTS, map(Path, (base, pruner, recogniser)), strict=True))
    for name, folder in folders.items():
        if not folder.is_dir():
            raise ModelError(f"{folder}: no {name} folder to register; run its stage first")
    if copy_base:
        folders["base"] = present(folders["base"])
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
        with uploading():
            return mlflow.pyfunc.log_model(
                name=MODEL_NAME,
                python_model=str(code / "tracking" / "pyfunc_model.py"),
                code_paths=[str(code)],
                artifacts={name: str(folder) for name, folder in folders.items()},
                model_config=(settings or RecogniserSettings()).model_dump(),
                signature=_signature(),
                input_example=None if example is None else _example(*example),
                pip_requirements=pip_requirements(),
            )


def load_recogniser(
    section: TrackingSection, model: str, overrides: Sequence[str] = (), pruner_model: str | None = None
):
    """The recogniser of a folder with `base`, `pruner` and `recogniser`, or of the registry (`models:/…`).

    Its settings are those of settings.json in the folder, or of the registered version. What else counts, and why, is
    printed to stderr.

    Args:
        overrides: `inference.num_beams=4` texts, which change settings.
        pruner_model: Stage 1's whole checkpoint, where each stage has one; `model` is then stage 2's.
    Raises: ModelError: the folder lacks a part, or a setting is unusable. TrackingError: see `load_registered`.
    """
    if pruner_model is None and model.startswith("models:/"):
        return load_registered(section, model, overrides)
    folder = Path(model)
    missing = [name for name in PARTS if not (folder / name).is_dir()]
    if missing and pruner_model is None:
        raise ModelError(
            f"{folder}: holds no {' and no '.join(missing)}, expected the folders {', '.join(PARTS[:-1])} and "
            f"{PARTS[-1]}; run `make repro` to train them, or name the folder with --model"
        )
    settings = _overridden(*_folder_settings(folder), overrides)
    from sap2.inference import best_device, load_checkpoints

    if pruner_model is not None:
        return load_checkpoints(pruner_model, model, settings, device=best_device())
    return build({part: str(folder / part) for part in PARTS}, settings)


def load_registered(section: TrackingSection, uri: str, overrides: Sequence[str] = ()):
    """Load `models:/NAME/VERSION` (or `models:/NAME@ALIAS`, `runs:/…`) as a `sap2.inference.Recogniser`.

    Args:
        overrides: See `load_recogniser`.
    Raises: TrackingError: no such model, or the store does not answer. ModelError: it is not one of ours.
    """
    with tempfile.TemporaryDirectory(prefix="sap2-model-") as folder:
        artifacts, settings = fetch_registered(section, uri, Path(folder))
        return build(artifacts, _overridden(settings, uri, overrides))


def fetch_registered(section: TrackingSection, uri: str, folder: Path) -> tuple[dict[str, str], RecogniserSettings]:
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
    return artifacts, parse_settings(flavor.get("config") or {}, uri)


def build(artifacts: Mapping[str, str], settings: RecogniserSettings):
    """A recogniser of three folders and its settings, on the GPU when there is one."""
    from sap2.inference import best_device, load_recogniser

    base, pruner, recogniser = (present(artifacts[part]) for part in PARTS)
    return load_recogniser(base, pruner, recogniser, settings, device=best_device())


def pip_requirements() -> list[str]:
    """The packages transcribing needs, each at the version that is installed here."""
    # "+cpu" and the like name a build that the index does not have.
    return [f"{name}=={importlib.metadata.version(name).partition('+')[0]}" for name in REQUIREMENTS]


def _folder_settings(folder: Path) -> tuple[RecogniserSettings, str]:
    """A folder's settings, and where they are from; without a file the defaults."""
    path = folder / SETTINGS_FILE
    if path.is_file():
        return read_settings(path), str(path)
    print(
        f'settings: {folder} holds no {SETTINGS_FILE}, so that the defaults count; "sap2 settings" writes those that '
        "the flow decoded with",
        file=sys.stderr,
    )
    return RecogniserSettings(), "defaults"


def _overridden(settings: RecogniserSettings, source: str, overrides: Sequence[str]) -> RecogniserSettings:
    """The settings as a command's options change them; what is changed is printed."""
    changed = override_settings(settings, overrides)
    if differences := changed.differences(settings):
        print(f"settings: {source}; {', '.join(differences)}", file=sys.stderr)
    return changed


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
