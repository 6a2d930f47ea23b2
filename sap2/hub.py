"""Bases from the Hugging Face hub: download into a folder that records the commit, by which models refer to them."""

import json
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

from sap2.errors import ModelError

__all__ = ["HUB_SOURCE", "PATTERNS", "fetch", "fetch_named", "is_hub_id", "present"]

# Only what a model of the Qwen2-Audio architecture needs: no pickled weights, no code.
PATTERNS = ["*.json", "*.safetensors", "*.txt", "*.jinja", "*.md"]
HUB_SOURCE = "hub.json"  # in the folder of a base from the hub: its id and commit


def is_hub_id(path: str) -> bool:
    """Return whether `base.path` looks like a hub id, without a network request.

    >>> is_hub_id("Qwen/Qwen2-Audio-7B-Instruct"), is_hub_id("embedded"), is_hub_id("/data/base")
    (True, False, False)
    """
    return re.fullmatch(r"[\w.-]+/[\w.-]+", path) is not None and not Path(path).is_dir()


def present(folder: str | Path) -> Path:
    """Return the folder of a base, downloading it if the folder only names a base on the hub."""
    folder = Path(folder)
    named = folder / HUB_SOURCE
    return fetch_named(named) if named.is_file() and not (folder / "config.json").is_file() else folder


def fetch(name: str, revision: str | None, folder: Path, patterns: Sequence[str] = PATTERNS) -> None:
    """Download the base `name` into `folder`, and write its id and commit to the folder's hub.json.

    Args:
        patterns: Patterns of the files to download; must include config.json.
    Raises: ModelError: the base cannot be downloaded.
    """
    _download(
        name,
        revision,
        folder,
        patterns,
        'give "embedded", "english", a folder, or an id such as Qwen/Qwen2-Audio-7B-Instruct',
        "base.path ",
    )
    # "COMMIT\nETAG\nTIME": written by huggingface_hub for every file it downloads into a folder
    noted = folder / ".cache" / "huggingface" / "download" / "config.json.metadata"
    commit = noted.read_text(encoding="utf-8").split()[0] if noted.is_file() else revision
    (folder / HUB_SOURCE).write_text(json.dumps({"id": name, "revision": commit}) + "\n", encoding="utf-8")
    shutil.rmtree(folder / ".cache", ignore_errors=True)


def fetch_named(source: Path) -> Path:
    """Download the base named in a hub.json into huggingface_hub's cache; return its folder.

    Raises: ModelError: the base cannot be downloaded.
    """
    named = json.loads(source.read_text(encoding="utf-8"))
    out = "the hub must be reachable; or register with tracking.copy_base: true"
    return Path(_download(named["id"], named["revision"], None, PATTERNS, out))


def _download(
    name: str, revision: str | None, folder: Path | None, patterns: Sequence[str], way_out: str, key: str = ""
) -> str:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return snapshot_download(name, revision=revision, local_dir=folder, allow_patterns=list(patterns))
    except (HFValidationError, HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ModelError(
            f"{key}{name!r}: neither an existing folder nor a hub id that can be downloaded ({reason}); {way_out}"
        ) from error
