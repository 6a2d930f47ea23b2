"""From a run back to what makes it again: the commit, its changes, the params, the data, the commands."""

import os
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sap2.errors import InputError, TrackingError
from sap2.params import TrackingSection
from sap2.tracking.aliases import aliases
from sap2.tracking.lineage import PARENT_TAG, read_lock
from sap2.tracking.registry import PARAMS_FILE, PATCH_FILE, RECIPE
from sap2.tracking.store import reachable, reporting, tracking_uri

__all__ = ["Recipe", "recipe", "run"]

LOCK = "dvc.lock"


@dataclass(frozen=True)
class Recipe:
    """How a run is made again.

    Attributes:
        run: Its id; `version` the registered model's version it became, as "NAME/NUMBER"; None = none.
        commit, dirty: The code, and whether its files differed from it.
        data: DVC's hash of each stage's outputs; digests: SHA-256 of each manifest.
        stages: The command of each stage, as it ran.
        commands: What to run, one after another, in the repository; the first makes the folder they go on in.
    """

    run: str
    version: str | None
    commit: str
    dirty: bool
    data: dict[str, str]
    digests: dict[str, str]
    stages: dict[str, str]
    commands: list[list[str]]

    def __str__(self) -> str:
        """A shell script, its comments saying what it makes again."""
        lines = [
            f"# run {self.run}" + (f", version {self.version}" if self.version else ""),
            f"# commit {self.commit}" + (" with changes, which are applied below" if self.dirty else ""),
            *(f"# {path}: SHA-256 {digest}" for path, digest in self.digests.items()),
            *(f"# {path}: DVC {digest}" for path, digest in self.data.items()),
            *(f"# stage {stage}: {command}" for stage, command in self.stages.items()),
            "set -e",
            *map(shlex.join, self.commands),
        ]
        return "\n".join(lines)


def recipe(tracking: TrackingSection, which: str) -> Recipe:
    """Read a run's recipe.

    Args:
        which: A run's id; `models:/NAME/VERSION` or `models:/NAME@ALIAS`; or the number of a version of the params'
            model. A stage's run stands for the pipeline's it belongs to.
    Raises: TrackingError: there is no such run or version. InputError: the run tells no commit.
    """
    uri, asking = tracking_uri(tracking), reachable(tracking)
    with reporting(uri, f"tells nothing of {which}"), tempfile.TemporaryDirectory(prefix="sap2-recipe-") as folder:
        found = asking.get_run(_run_of(asking, tracking.model_name, which))
        if PARENT_TAG in found.data.tags:
            found = asking.get_run(found.data.tags[PARENT_TAG])
        tags, run_id = found.data.tags, found.info.run_id
        kept = {Path(file.path).name for file in asking.list_artifacts(run_id, RECIPE)}
        commit = tags.get("git.commit") or tags.get("mlflow.source.git.commit") or "unknown"
        if not re.fullmatch(r"[0-9a-f]{7,64}", commit):
            raise InputError(
                f"run {run_id}: its commit is {commit!r}: it ran outside a repository and SAP2_REVISION was not set"
            )
        dirty = tags.get("git.dirty") == "true"
        lock: Mapping[str, Any] = {}
        if LOCK in kept:
            lock = read_lock(Path(asking.download_artifacts(run_id, f"{RECIPE}/{LOCK}", folder)))
        if dirty and PATCH_FILE not in kept:
            print("reproduce: the run's code had changes that were not kept; the commit alone is used", file=sys.stderr)
    return Recipe(
        run=run_id,
        version=tags.get("sap2.model_version"),
        commit=commit,
        dirty=dirty,
        data={out["path"]: out.get("md5", "") for entry in lock.values() for out in entry.get("outs") or ()},
        digests={key.removeprefix("data.sha256/"): tags[key] for key in sorted(tags) if key.startswith("data.sha256/")},
        stages={name: str(entry["cmd"]) for name, entry in lock.items()},
        commands=_commands(run_id, commit, _absolute(uri), kept),
    )


def run(found: Recipe) -> None:
    """Carry the commands out, with the programs of this environment before any others.

    Raises: InputError: one of them failed; the message names it.
    """
    programs = os.pathsep.join([os.path.dirname(sys.executable), os.environ.get("PATH", os.defpath)])
    for command in found.commands:
        print(f"$ {shlex.join(command)}", file=sys.stderr)
        if subprocess.run(command, env=os.environ | {"PATH": programs}).returncode != 0:
            raise InputError(f"{shlex.join(command)}: failed; what was made before it is still there")


def _commands(run_id: str, commit: str, uri: str, kept: set[str]) -> list[list[str]]:
    place = f"../sap2-{run_id[:8]}"
    download = ["env", f"MLFLOW_TRACKING_URI={uri}", "mlflow", "artifacts", "download", "--run-id", run_id]
    commands = [["git", "worktree", "add", "--detach", place, commit]]
    if kept:
        commands.append([*download, "--artifact-path", RECIPE, "--dst-path", place])
    if PATCH_FILE in kept:
        commands.append(["git", "-C", place, "apply", f"{RECIPE}/{PATCH_FILE}"])
    for name in sorted(
        kept & {PARAMS_FILE, LOCK}
    ):  # after the changes, which are those of the commit's own params file
        commands.append(["cp", f"{place}/{RECIPE}/{name}", place])
    # The lock is the run's: what this repository's cache holds of it is checked out, only the rest is computed.
    cache = str(Path(".dvc", "cache").absolute())
    return [*commands, ["dvc", "--cd", place, "cache", "dir", "--local", cache], ["dvc", "--cd", place, "repro"]]


def _run_of(asking, name: str, which: str) -> str:
    number = which
    if which.startswith("models:/"):
        name, at, number = which.removeprefix("models:/").rpartition("@" if "@" in which else "/")
        if at == "@":
            held = aliases(asking, name)
            if number not in held:
                known = ", ".join(sorted(held)) or "none"
                raise TrackingError(f"{which}: no version has this alias; there are: {known}")
            number = str(held[number])
    elif not (which.isdecimal() and len(which) < 32):
        return which
    return asking.get_model_version(name, number).run_id


def _absolute(uri: str) -> str:
    """A SQLite file's place from wherever the commands run."""
    scheme, sep, path = uri.partition(":///")
    return f"{scheme}:///{Path(path).absolute()}" if sep and scheme.startswith("sqlite") else uri
