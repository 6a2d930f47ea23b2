"""The base: the speech language model that both adapters sit on; embedded, from a folder, or from the hub."""

import json
import shutil
from pathlib import Path

from sap2.errors import ModelError
from sap2.files import atomic_dir

__all__ = ["EMBEDDED", "resolve_base"]

EMBEDDED = Path(__file__).parent.parent / "assets" / "base"
# No pickled weights, no code: what a model of the Qwen2-Audio architecture needs and nothing else.
PATTERNS = ["*.json", "*.safetensors", "*.txt", "*.jinja", "*.md"]
MODEL_TYPES = ("qwen2_audio", "sap_qwen2_audio")


def resolve_base(section, output: Path) -> dict:
    """Put the base named by the `base` section into the folder `output`.

    Args:
        section: `path` is "embedded", a folder in Hugging Face format or a hub id; `revision` pins a hub id.
    Returns: `source`, `revision`, `model_type` and `bytes`.
    Raises: ModelError: there is no such folder or hub id, or it is not a Qwen2-Audio model in safetensors.
    """
    source = EMBEDDED if section.path == "embedded" else Path(section.path)
    with atomic_dir(output) as partial:
        if source.is_dir():
            for pattern in PATTERNS:
                for file in source.glob(pattern):
                    shutil.copy2(file, partial / file.name)
        else:
            _download(section.path, section.revision, partial)
        model_type = _check(partial, section.path)
        size = sum(file.stat().st_size for file in partial.rglob("*") if file.is_file())
    return {"source": section.path, "revision": section.revision, "model_type": model_type, "bytes": size}


def _download(name: str, revision: str | None, folder: Path) -> None:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        snapshot_download(name, revision=revision, local_dir=folder, allow_patterns=PATTERNS)
    except (HFValidationError, HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ModelError(
            f"base.path {name!r}: neither a folder here nor a hub id that can be fetched ({reason}); "
            'give "embedded", a folder, or an id such as Qwen/Qwen2-Audio-7B-Instruct'
        ) from error
    shutil.rmtree(folder / ".cache", ignore_errors=True)


def _check(folder: Path, name: str) -> str:
    config = folder / "config.json"
    if not config.is_file() or not any(folder.glob("*.safetensors")):
        found = ", ".join(sorted(file.name for file in folder.iterdir())) or "nothing"
        raise ModelError(f"base.path {name!r}: needs config.json and *.safetensors, found {found}")
    model_type = json.loads(config.read_text(encoding="utf-8")).get("model_type")
    if model_type not in MODEL_TYPES:
        raise ModelError(f"base.path {name!r}: model_type is {model_type!r}, expected {' or '.join(MODEL_TYPES)}")
    return model_type
