"""Reproduction of a run: its commit, uncommitted changes, params, data and commands."""

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
from sap2.tracking.store import reachable_client, reporting, tracking_uri

__all__ = ["Recipe", "recipe", "run"]

LOCK = "dvc.lock"


@dataclass(frozen=True)
class Recipe:
    """What is needed to reproduce a run.

    Attributes:
        run: The run's id; `version`: its registered version as "NAME/NUMBER", or None.
        commit, dirty: The code's commit, and whether there were uncommitted changes.
        data: DVC's hash of each stage's outputs; digests: SHA-256 of each manifest.
        stages: The command of each stage.
        commands: Commands to run in the repository, in order; the first creates the working folder of the others.
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
        """Format the recipe as a shell script; comments state what it reproduces."""
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
    """Read the recipe of a run from the tracking store.

    Args:
        which: A run's id; `models:/NAME/VERSION` or `models:/NAME@ALIAS`; or a version's number of the model in params.
            A
            stage's run stands for its pipeline's run.
    Raises: TrackingError: no such run or version. InputError: the run has no commit.
    """
    uri, client = tracking_uri(tracking), reachable_client(tracking)
    with reporting(uri, f"cannot provide {which}"), tempfile.TemporaryDirectory(prefix="sap2-recipe-") as folder:
        source = client.get_run(_run_of(client, tracking.model_name, which))
        if PARENT_TAG in source.data.tags:
            source = client.get_run(source.data.tags[PARENT_TAG])
        tags, run_id = source.data.tags, source.info.run_id
        kept = {Path(file.path).name for file in client.list_artifacts(run_id, RECIPE)}
        commit = tags.get("git.commit") or tags.get("mlflow.source.git.commit") or "unknown"
        if not re.fullmatch(r"[0-9a-f]{7,64}", commit):
            raise InputError(
                f"run {run_id}: its commit is {commit!r}, expected a hash: it ran outside a repository and "
                "SAP2_REVISION was not set; choose another run"
            )
        dirty = tags.get("git.dirty") == "true"
        lock: Mapping[str, Any] = {}
        if LOCK in kept:
            lock = read_lock(Path(client.download_artifacts(run_id, f"{RECIPE}/{LOCK}", folder)))
        if dirty and PATCH_FILE not in kept:
            print("reproduce: the run's uncommitted changes were not stored; only the commit is used", file=sys.stderr)
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


def run(plan: Recipe) -> None:
    """Run a recipe's commands, preferring the programs of this environment.

    Raises: InputError: a command failed; the message names it.
    """
    programs = os.pathsep.join([os.path.dirname(sys.executable), os.environ.get("PATH", os.defpath)])
    for command in plan.commands:
        print(f"$ {shlex.join(command)}", file=sys.stderr)
        if subprocess.run(command, env=os.environ | {"PATH": programs}).returncode != 0:
            raise InputError(f"{shlex.join(command)}: failed; the results of earlier commands are kept")


def _commands(run_id: str, commit: str, uri: str, kept: set[str]) -> list[list[str]]:
    folder = f"../sap2-{run_id[:8]}"
    download = ["env", f"MLFLOW_TRACKING_URI={uri}", "mlflow", "artifacts", "download", "--run-id", run_id]
    commands = [["git", "worktree", "add", "--detach", folder, commit]]
    if kept:
        commands.append([*download, "--artifact-path", RECIPE, "--dst-path", folder])
    if PATCH_FILE in kept:
        commands.append(["git", "-C", folder, "apply", f"{RECIPE}/{PATCH_FILE}"])
    for name in sorted(kept & {PARAMS_FILE, LOCK}):  # after the patch, which applies to the commit's params file
        commands.append(["cp", f"{folder}/{RECIPE}/{name}", folder])
    # With the run's lock, outputs in this repository's cache are checked out and only the rest is computed.
    cache = str(Path(".dvc", "cache").absolute())
    return [*commands, ["dvc", "--cd", folder, "cache", "dir", "--local", cache], ["dvc", "--cd", folder, "repro"]]


def _run_of(client, name: str, which: str) -> str:
    number = which
    if which.startswith("models:/"):
        name, at, number = which.removeprefix("models:/").rpartition("@" if "@" in which else "/")
        if at == "@":
            held = aliases(client, name)
            if number not in held:
                known = ", ".join(sorted(held)) or "none"
                raise TrackingError(f"{which}: no version has this alias, expected one of: {known}")
            number = str(held[number])
    elif not (which.isdecimal() and len(which) < 32):
        return which
    return client.get_model_version(name, number).run_id


def _absolute(uri: str) -> str:
    """Make the path of a SQLite URI absolute, as commands run in another folder."""
    scheme, sep, path = uri.partition(":///")
    return f"{scheme}:///{Path(path).absolute()}" if sep and scheme.startswith("sqlite") else uri
