"""Packaging of the two-stage recogniser as an MLflow model: base, two adapters, settings and code.

Models-from-code and safetensors: nothing is pickled, and loading needs the pinned packages but no repository.
"""

import base64
import filecmp
import importlib.metadata
import shutil
import sys
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

from sap2.constants import EMBEDDED, ENGLISH
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
DEFAULT_MODEL, ENGLISH_MODEL = "models", "english"
MODEL_NAME = "sap2"
PACKAGE = Path(__file__).parents[1]
# Direct imports of the transcription code.
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
        base, pruner, recogniser: Their folders, copied; a base from the hub is stored as id and commit only.
        settings: Stored with the model.
        example: A recording and its list, for the model's input example.
        copy_base: Copy a base from the hub too.
    Raises: ModelError: a folder is missing.
    """
    import mlflow

    folders = dict(zip(PARTS, map(Path, (base, pruner, recogniser)), strict=True))
    for name, folder in folders.items():
        if not folder.is_dir():
            raise ModelError(f"{folder}: no such folder for {name}; run its stage first")
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
        # MLflow warns about missing type hints, which its tables do not need.
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
    """Load a recogniser from a folder with `base`, `pruner` and `recogniser`, or from the registry (`models:/…`).

    Settings are read from settings.json in the folder, or from the registered version. The model, overridden settings
    and missing files are reported on stderr.

    Args:
        model: Besides these, "english" is the recogniser in the package, a base without adapters; "models" falls back
            to it if there is no such folder.
        overrides: `inference.num_beams=4` texts, which change settings.
        pruner_model: Full checkpoint of stage 1, if each stage has its own; `model` is then stage 2's checkpoint.
    Raises: ModelError: the folder lacks a part, or a setting is unusable. TrackingError: see `load_registered`.
    """
    if pruner_model is None and model.startswith("models:/"):
        return load_registered(section, model, overrides)
    folder = Path(model)
    if pruner_model is None and (model == ENGLISH_MODEL or (model == DEFAULT_MODEL and not folder.exists())):
        reason = "" if model == ENGLISH_MODEL else f" (no folder {DEFAULT_MODEL} here; --model chooses another)"
        print(f"model: english, included in the package{reason}", file=sys.stderr)
        settings = _overridden(read_settings(ENGLISH / SETTINGS_FILE), ENGLISH_MODEL, overrides)
        return build({"base": str(ENGLISH / "base")}, settings)
    missing = [name for name in PARTS if not (folder / name).is_dir()]
    if missing and pruner_model is None:
        raise ModelError(
            f"{folder}: has no {' and no '.join(missing)}, expected the folders {', '.join(PARTS[:-1])} and "
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
    Raises: TrackingError: no such model, or the store does not respond. ModelError: it is not a model of this project.
    """
    with tempfile.TemporaryDirectory(prefix="sap2-model-") as folder:
        artifacts, settings = fetch_registered(section, uri, Path(folder))
        return build(artifacts, _overridden(settings, uri, overrides))


def fetch_registered(section: TrackingSection, uri: str, folder: Path) -> tuple[dict[str, str], RecogniserSettings]:
    """Download a registered model into a folder; return the paths of its parts by name, and its settings.

    Raises: as `load_registered`.
    """
    store = tracking_uri(section)
    with reporting(store, f"cannot provide {uri}"), fluent(section) as mlflow:
        local = Path(mlflow.artifacts.download_artifacts(uri, dst_path=str(folder)))
        flavor = mlflow.models.Model.load(local).flavors.get("python_function", {})
    artifacts = {name: str(local / artifact["path"]) for name, artifact in (flavor.get("artifacts") or {}).items()}
    if set(artifacts) != set(PARTS):
        raise ModelError(f"{uri}: has {sorted(artifacts) or 'no artifacts'}, expected {', '.join(PARTS)}")
    return artifacts, parse_settings(flavor.get("config") or {}, uri)


def build(artifacts: Mapping[str, str], settings: RecogniserSettings):
    """Load a recogniser from the folders of its parts and settings, onto a GPU if available."""
    from sap2.inference import best_device, load_recogniser

    base = present(artifacts["base"])
    pruner, recogniser = (present(artifacts[part]) if part in artifacts else None for part in PARTS[1:])
    if _synthetic(base):
        print(
            'model: trained on the base "embedded", which knows only the synthetic voices of the embedded corpus; for '
            "recordings of people give --model english, or train on base.path english",
            file=sys.stderr,
        )
    return load_recogniser(base, pruner, recogniser, settings, device=best_device())


def _synthetic(base: Path) -> bool:
    """Return whether a base is the embedded one of the synthetic corpus."""
    own, embedded = (folder / "model.safetensors" for folder in (base, EMBEDDED))
    return own.is_file() and embedded.is_file() and filecmp.cmp(own, embedded, shallow=False)


def pip_requirements() -> list[str]:
    """Return the packages that transcription needs, pinned to the installed versions."""
    # Builds such as "+cpu" are not on the package index.
    return [f"{name}=={importlib.metadata.version(name).partition('+')[0]}" for name in REQUIREMENTS]


def _folder_settings(folder: Path) -> tuple[RecogniserSettings, str]:
    """Return a folder's settings, or else the defaults, and their source."""
    path = folder / SETTINGS_FILE
    if path.is_file():
        return read_settings(path), str(path)
    print(
        f'settings: {folder} has no {SETTINGS_FILE}, the defaults apply; "sap2 settings" writes the settings that '
        "the pipeline decoded with",
        file=sys.stderr,
    )
    return RecogniserSettings(), "defaults"


def _overridden(settings: RecogniserSettings, source: str, overrides: Sequence[str]) -> RecogniserSettings:
    """Apply a command's options to the settings; print the changes."""
    changed = override_settings(settings, overrides)
    if differences := changed.differences(settings):
        print(f"settings: {source}; {', '.join(differences)}", file=sys.stderr)
    return changed


def _example(recording: Path, keywords: Sequence[str]):
    """Build a JSON-serialisable input example: the recording in base64, the list as text."""
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
