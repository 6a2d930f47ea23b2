"""A registered version is made once and whole, however often its registration is given.

It is made with all its tags and marked as unfinished; the move that makes it the challenger takes the mark away. What a
registration that was cut short left, the same one given again completes, and any other one removes. The same one is
known by the digest of all that it registers.
"""

import hashlib
import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sap2.errors import TrackingError
from sap2.files import sha256
from sap2.tracking.aliases import CHALLENGER, JOURNAL, UNFINISHED, locked, move, unfinished
from sap2.tracking.describe import ABOUT_MODEL
from sap2.tracking.store import brief

__all__ = ["create", "digest", "made_before"]

REGISTRATION = "sap2.registration"  # tag of a version: the digest of all that was registered


def digest(facts: Mapping[str, Any], paths: Iterable[Path]) -> str:
    """Hex SHA-256 of what a version is made of: facts that JSON can hold, and files and folders with all they hold.

    Raises: InputError: a file cannot be read.
    """
    files = {
        f"{path.name}/{file.relative_to(path).as_posix()}" if file != path else path.name: sha256(file)
        for path in paths
        for file in (sorted(path.rglob("*")) if path.is_dir() else [path])
        if file.is_file()
    }
    return hashlib.sha256(json.dumps([facts, files], sort_keys=True, default=str).encode()).hexdigest()


def made_before(asking, name: str, registration: str):
    """The version that this registration has made, completed if it was cut short; None: it has made none.

    Its run ends as finished, whatever became of the command that opened it.
    """
    if not _made(asking, name, registration):
        return None
    with locked(asking, name):  # whoever makes it is done when this is ours
        made = _made(asking, name, registration)
        if not made:
            return None
        version = _one(asking, made)
        if unfinished(version):
            asking.set_tag(version.run_id, "sap2.model_version", f"{name}/{version.version}")
            _finish(asking, version)
    if asking.get_run(version.run_id).info.status != "FINISHED":
        asking.set_terminated(version.run_id, "FINISHED")
    return version


def create(asking, name: str, model, run: str, registration: str, tags: Mapping[str, str], about: str):
    """Make a logged model the next version and the challenger; return the version.

    Args:
        model: MLflow's ModelInfo.
        run: The run that says everything about it.
        registration: `digest`.
        tags, about: All tags, and the description.
    Raises: MLflow's errors, TrackingError: it is not made, or it is left to be completed by the same once more.
    """
    from mlflow.exceptions import MlflowException

    try:
        asking.create_registered_model(name, description=ABOUT_MODEL)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    with locked(asking, name):
        for left in asking.search_model_versions(f"name = '{name}' and tags.`{UNFINISHED}` = 'true'"):
            asking.delete_model_version(name, left.version)
        if made := _made(asking, name, registration):  # by another one, while this one logged its run
            return _one(asking, made)
        failure = None
        marks = {REGISTRATION: registration, UNFINISHED: "true"}
        try:
            asking.create_model_version(
                name, model.model_uri, run_id=run, tags={**tags, **marks}, model_id=model.model_id, description=about
            )
        except Exception as error:  # perhaps it was made and only the answer was lost
            failure = error
        # Where MLflow asked again after a lost answer, it was made twice.
        made = _made(asking, name, registration)
        if not made:
            raise failure or TrackingError(
                f"model {name} has no version of run {run}; see the server's log, register again"
            )
        with _or_taken_back(asking, name, registration):
            version = _one(asking, made)
            asking.set_tag(run, "sap2.model_version", f"{name}/{version.version}")
            _finish(asking, version)
    return version


def _made(asking, name: str, registration: str) -> list:
    found = asking.search_model_versions(f"name = '{name}' and tags.`{REGISTRATION}` = '{registration}'")
    return sorted(found, key=lambda one: int(one.version))


def _one(asking, made: list):
    """The first of versions that are the same, the others deleted.

    Raises: TrackingError: it is not ready, and never will be.
    """
    version, *twins = made
    for twin in twins:
        asking.delete_model_version(twin.name, twin.version)
    if version.status != "READY":
        why = version.status_message or "no reason given"
        raise TrackingError(
            f"version {version.version} of model {version.name} is {version.status} ({why}), expected READY; "
            "see the server's log, delete the version, then register again"
        )
    return version


def _finish(asking, version) -> None:
    move(asking, version.name, {CHALLENGER: int(version.version)}, int(version.version), {UNFINISHED: "false"})


@contextmanager
def _or_taken_back(asking, name: str, registration: str) -> Iterator[None]:
    """Delete a version when what is to be done with it fails before it counts; after that, the next one finishes it."""
    try:
        yield
    except Exception:
        try:
            if JOURNAL not in asking.get_registered_model(name).tags:
                for version in filter(unfinished, _made(asking, name, registration)):
                    asking.delete_model_version(name, version.version)
        except Exception as error:  # the server is away, which the first error says
            print(
                f"tracking: a version of model {name} may be left unfinished ({brief(error)}); the same registration "
                "once more completes it, another one removes it",
                file=sys.stderr,
            )
        raise
