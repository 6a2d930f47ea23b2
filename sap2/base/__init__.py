"""The base: the speech language model that both adapters sit on; embedded, from a folder, or from the hub."""

import json
import shutil
from pathlib import Path

from sap2.errors import ModelError
from sap2.files import atomic_dir
from sap2.hub import HUB_SOURCE, PATTERNS, fetch

__all__ = ["EMBEDDED", "resolve_base"]

EMBEDDED = Path(__file__).parent.parent / "assets" / "base"
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
            fetch(section.path, section.revision, partial)
        model_type = _check(partial, section.path)
        size = sum(file.stat().st_size for file in partial.rglob("*") if file.is_file())
    return {"source": section.path, "revision": section.revision, "model_type": model_type, "bytes": size}


def _check(folder: Path, name: str) -> str:
    config = folder / "config.json"
    if not config.is_file() or not any(folder.glob("*.safetensors")):
        found = ", ".join(sorted(file.name for file in folder.iterdir())) or "nothing"
        raise ModelError(f"base.path {name!r}: needs config.json and *.safetensors, found {found}")
    try:
        model_type = json.loads(config.read_text(encoding="utf-8")).get("model_type")
    except (ValueError, AttributeError) as error:
        raise ModelError(f"base.path {name!r}: its config.json is no JSON object ({error}); copy it again") from error
    if model_type not in MODEL_TYPES:
        raise ModelError(f"base.path {name!r}: model_type is {model_type!r}, expected {' or '.join(MODEL_TYPES)}")
    return model_type
