"""Bases from the Hugging Face hub: fetched into a folder that names its commit, by which a model can refer to them."""

import json
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

from sap2.errors import ModelError

__all__ = ["HUB_SOURCE", "PATTERNS", "fetch", "fetch_named", "is_hub_id", "present"]

# No pickled weights, no code: what a model of the Qwen2-Audio architecture needs and nothing else.
PATTERNS = ["*.json", "*.safetensors", "*.txt", "*.jinja", "*.md"]
HUB_SOURCE = "hub.json"  # in the folder of a base from the hub: its id and commit


def is_hub_id(path: str) -> bool:
    """Whether `base.path` names a base of the hub, as far as can be said without asking it.

    >>> is_hub_id("Qwen/Qwen2-Audio-7B-Instruct"), is_hub_id("embedded"), is_hub_id("/data/base")
    (True, False, False)
    """
    return re.fullmatch(r"[\w.-]+/[\w.-]+", path) is not None and not Path(path).is_dir()


def present(folder: str | Path) -> Path:
    """The folder; where it only names a base of the hub, the one that this machine has fetched of it."""
    folder = Path(folder)
    named = folder / HUB_SOURCE
    return fetch_named(named) if named.is_file() and not (folder / "config.json").is_file() else folder


def fetch(name: str, revision: str | None, folder: Path, patterns: Sequence[str] = PATTERNS) -> None:
    """Put the base `name` into `folder`, and its id and commit into the folder's hub.json.

    Args:
        patterns: Of the files that are fetched; config.json must be one.
    Raises: ModelError: it cannot be fetched.
    """
    _download(
        name,
        revision,
        folder,
        patterns,
        'give "embedded", a folder, or an id such as Qwen/Qwen2-Audio-7B-Instruct',
        "base.path ",
    )
    # "COMMIT\nETAG\nTIME": what huggingface_hub notes of every file it fetches into a folder
    noted = folder / ".cache" / "huggingface" / "download" / "config.json.metadata"
    commit = noted.read_text(encoding="utf-8").split()[0] if noted.is_file() else revision
    (folder / HUB_SOURCE).write_text(json.dumps({"id": name, "revision": commit}) + "\n", encoding="utf-8")
    shutil.rmtree(folder / ".cache", ignore_errors=True)


def fetch_named(source: Path) -> Path:
    """The folder of the base that a hub.json names, in huggingface_hub's cache.

    Raises: ModelError: it cannot be fetched.
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
            f"{key}{name!r}: neither a folder here nor a hub id that can be fetched ({reason}); {way_out}"
        ) from error
