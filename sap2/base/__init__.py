"""The base: the speech language model that both adapters sit on; embedded, from a folder, or from the hub."""

import json
import shutil
from pathlib import Path

from sap2.constants import EMBEDDED_BASES
from sap2.errors import ModelError
from sap2.files import atomic_dir
from sap2.hub import HUB_SOURCE, PATTERNS, fetch

__all__ = ["resolve_base"]


def resolve_base(section, output: Path, reference: bool = False) -> dict:
    """Put the base named by the `base` section into the folder `output`.

    Args:
        section: `path` is "embedded", "english", a folder in Hugging Face format or a hub id; `revision` pins a hub id.
        reference: Of a hub id, keep hub.json alone, its id and commit, by which `sap2.hub.present` fetches it.
    Returns: `source`, `revision`, `model_type` and `bytes`.
    Raises: ModelError: there is no such folder or hub id, or it is not a model of a known family in safetensors.
    """
    source = EMBEDDED_BASES.get(section.path) or Path(section.path)
    with atomic_dir(output) as partial:
        if source.is_dir():
            for pattern in PATTERNS:
                for file in source.glob(pattern):
                    if file.name == HUB_SOURCE:  # a folder is what it is now, wherever it was fetched from
                        continue
                    shutil.copy2(file, partial / file.name)
        elif reference:
            fetch(section.path, section.revision, partial, ["config.json"])
            model_type = _model_type(partial / "config.json", section.path)
            (partial / "config.json").unlink()
            noted = json.loads((partial / HUB_SOURCE).read_text(encoding="utf-8"))
            return {"source": section.path, "revision": noted["revision"], "model_type": model_type, "bytes": 0}
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
    return _model_type(config, name)


def _model_type(config: Path, name: str) -> str:
    try:
        model_type = json.loads(config.read_text(encoding="utf-8")).get("model_type")
    except (ValueError, AttributeError) as error:
        reason = f"its config.json is not a JSON object ({error})"
        raise ModelError(f"base.path {name!r}: {reason}; copy it again") from error
    from sap2.model.families import FAMILIES, OURS

    if str(model_type).removeprefix(OURS) not in FAMILIES:
        raise ModelError(f"base.path {name!r}: model_type is {model_type!r}, expected {' or '.join(FAMILIES)}")
    return model_type
