"""The base: the speech language model that both adapters sit on; embedded, from a folder, or from the hub."""

import json
import shutil
from pathlib import Path

from sap2.errors import ModelError
from sap2.files import atomic_dir

__all__ = ["EMBEDDED", "HUB_SOURCE", "hub_folder", "resolve_base"]

EMBEDDED = Path(__file__).parent.parent / "assets" / "base"
# No pickled weights, no code: what a model of the Qwen2-Audio architecture needs and nothing else.
PATTERNS = ["*.json", "*.safetensors", "*.txt", "*.jinja", "*.md"]
# In a base from the hub: its id and the commit that was fetched, by which a registered model refers to it.
HUB_SOURCE = "hub.json"
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
                    if file.name == HUB_SOURCE:  # a folder is what it is now, wherever it was fetched from
                        continue
                    shutil.copy2(file, partial / file.name)
        else:
            _download(section.path, section.revision, partial)
        model_type = _check(partial, section.path)
        size = sum(file.stat().st_size for file in partial.rglob("*") if file.is_file())
    return {"source": section.path, "revision": section.revision, "model_type": model_type, "bytes": size}


def hub_folder(source: Path) -> Path:
    """The folder of the base that a `hub.json` names, fetched into huggingface_hub's cache when it is not there.

    Raises: ModelError: it cannot be fetched.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    named = json.loads(source.read_text(encoding="utf-8"))
    try:
        return Path(snapshot_download(named["id"], revision=named["revision"], allow_patterns=PATTERNS))
    except (HFValidationError, HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise ModelError(
            f"the base {named['id']} at {named['revision']} cannot be fetched ({error}); the hub must be reachable, or "
            "register with tracking.copy_base: true"
        ) from error


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
    # "COMMIT\nETAG\nTIME": what huggingface_hub notes of every file it fetches into a folder
    noted = folder / ".cache" / "huggingface" / "download" / "config.json.metadata"
    commit = noted.read_text(encoding="utf-8").split()[0] if noted.is_file() else revision
    (folder / HUB_SOURCE).write_text(json.dumps({"id": name, "revision": commit}) + "\n", encoding="utf-8")
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
