"""Provenance of runs: code, data and adapters, identified by hashes that are equal on all machines."""

import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path

from sap2.files import sha256

__all__ = ["adapter_digest", "code_changes", "code_state", "environment", "file_digests"]

REVISION_VARIABLE = "SAP2_REVISION"  # the commit if the code runs without its repository; set in the image
# Written by the pipeline and hashed separately; changes to them do not count as changes of the code.
PIPELINE_OUTPUTS = ("dvc.lock", "reports", "results")
ADAPTER_WEIGHTS = "adapter_model.safetensors"


def code_state(repository: Path = Path(".")) -> dict[str, str]:
    """Return the commit, and whether the files differ from it ("true", "false" or "unknown")."""
    commit = _git(repository, "rev-parse", "HEAD")
    if commit is None:
        return {"commit": os.environ.get(REVISION_VARIABLE) or "unknown", "dirty": "unknown"}
    excluded = [f":(exclude,top){path}" for path in PIPELINE_OUTPUTS]
    changes = _git(repository, "status", "--porcelain", "--", ":(top)", *excluded)
    return {"commit": commit, "dirty": "unknown" if changes is None else str(bool(changes)).lower()}


def code_changes(repository: Path = Path(".")) -> str:
    """Return the changes since the commit as a patch for `git apply`, without untracked files."""
    excluded = [f":(exclude,top){path}" for path in PIPELINE_OUTPUTS]
    patch = _git(repository, "diff", "--binary", "HEAD", "--", ":(top)", *excluded)
    return f"{patch}\n" if patch else ""


def environment() -> str:
    """List interpreter, platform, and all installed packages with versions, one per line."""
    installed = importlib.metadata.distributions()
    packages = {package.metadata["Name"]: package.version for package in installed if package.metadata["Name"]}
    lines = [f"# Python {platform.python_version()}, {platform.platform()}"]
    return "\n".join([*lines, *(f"{name}=={packages[name]}" for name in sorted(packages, key=str.lower))]) + "\n"


def adapter_digest(adapter: Path | str) -> str | None:
    """Return the hex SHA-256 of an adapter's weights, which identifies the run that trained them.

    None if there are no weights: the methods PC and JPI have no pruner.
    """
    weights = Path(adapter) / ADAPTER_WEIGHTS
    return sha256(weights) if weights.is_file() else None


def file_digests(paths: list[Path]) -> dict[str, str]:
    """Return hex SHA-256 by name: the path relative to the working folder, or the last two parts of other paths."""
    return {_name(path): sha256(path) for path in paths}


def _name(path: Path) -> str:
    here = Path.cwd()
    path = path.absolute()
    return path.relative_to(here).as_posix() if path.is_relative_to(here) else "/".join(path.parts[-2:])


def _git(repository: Path, *arguments: str) -> str | None:
    """Return git's output; None without git, repository or commit."""
    try:
        done = subprocess.run(["git", *arguments], cwd=repository, capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
