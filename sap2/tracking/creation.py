"""Idempotent registration: repeating a registration never creates a second version.

A version is created with all its tags and marked as unfinished; the move that makes it the challenger removes the mark.
An interrupted registration is completed by repeating it, and removed by any other registration. A registration is
identified by the digest of everything that it registers.
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

REGISTRATION = "sap2.registration"  # tag of a version: the digest of everything registered


def digest(facts: Mapping[str, Any], paths: Iterable[Path]) -> str:
    """Return the hex SHA-256 of a version's content: JSON-serialisable facts, files, and folders recursively.

    Raises: InputError: a file cannot be read.
    """
    files = {
        f"{path.name}/{file.relative_to(path).as_posix()}" if file != path else path.name: sha256(file)
        for path in paths
        for file in (sorted(path.rglob("*")) if path.is_dir() else [path])
        if file.is_file()
    }
    return hashlib.sha256(json.dumps([facts, files], sort_keys=True, default=str).encode()).hexdigest()


def made_before(client, name: str, registration: str):
    """Return the version of an earlier identical registration, completed if it was interrupted; else None.

    Its run is marked as finished, even if the command that opened it was killed.
    """
    if not _versions_of(client, name, registration):
        return None
    with locked(client, name):  # any registration in progress is done once the lock is ours
        made = _versions_of(client, name, registration)
        if not made:
            return None
        version = _single(client, made)
        if unfinished(version):
            client.set_tag(version.run_id, "sap2.model_version", f"{name}/{version.version}")
            _finish(client, version)
    if client.get_run(version.run_id).info.status != "FINISHED":
        client.set_terminated(version.run_id, "FINISHED")
    return version


def create(client, name: str, model, run: str, registration: str, tags: Mapping[str, str], about: str):
    """Register a logged model as the next version and the challenger; return the version.

    Args:
        model: MLflow's ModelInfo.
        run: The run that documents it.
        registration: The result of `digest`.
        tags, about: All tags, and the description.
    Raises: MLflow's errors, TrackingError: the version was not created, or must be completed by a repetition.
    """
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(name, description=ABOUT_MODEL)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    with locked(client, name):
        for left in client.search_model_versions(f"name = '{name}' and tags.`{UNFINISHED}` = 'true'"):
            client.delete_model_version(name, left.version)
        if made := _versions_of(client, name, registration):  # by another client, while this one logged its run
            return _single(client, made)
        failure = None
        marks = {REGISTRATION: registration, UNFINISHED: "true"}
        try:
            client.create_model_version(
                name, model.model_uri, run_id=run, tags={**tags, **marks}, model_id=model.model_id, description=about
            )
        except Exception as error:  # it may have been created and only the response was lost
            failure = error
        # If MLflow retried after a lost response, there are two versions.
        made = _versions_of(client, name, registration)
        if not made:
            raise failure or TrackingError(
                f"model {name}: no version of run {run} was created; see the server's log, then register again"
            )
        with _undone_on_error(client, name, registration):
            version = _single(client, made)
            client.set_tag(run, "sap2.model_version", f"{name}/{version.version}")
            _finish(client, version)
    return version


def _versions_of(client, name: str, registration: str) -> list:
    versions = client.search_model_versions(f"name = '{name}' and tags.`{REGISTRATION}` = '{registration}'")
    return sorted(versions, key=lambda version: int(version.version))


def _single(client, made: list):
    """Return the first of identical versions and delete the others.

    Raises: TrackingError: the version is not ready.
    """
    version, *twins = made
    for twin in twins:
        client.delete_model_version(twin.name, twin.version)
    if version.status != "READY":
        why = version.status_message or "no reason given"
        raise TrackingError(
            f"version {version.version} of model {version.name} is {version.status} ({why}), expected READY; "
            "see the server's log, delete the version, then register again"
        )
    return version


def _finish(client, version) -> None:
    move(client, version.name, {CHALLENGER: int(version.version)}, int(version.version), {UNFINISHED: "false"})


@contextmanager
def _undone_on_error(client, name: str, registration: str) -> Iterator[None]:
    """Delete an unfinished version on an error; once its move has started, the next lock owner finishes it."""
    try:
        yield
    except Exception:
        try:
            if JOURNAL not in client.get_registered_model(name).tags:
                for version in filter(unfinished, _versions_of(client, name, registration)):
                    client.delete_model_version(name, version.version)
        except Exception as error:  # the server is unavailable, as the first error says
            print(
                f"tracking: a version of model {name} may be left unfinished ({brief(error)}); repeating this "
                "registration completes it, another registration removes it",
                file=sys.stderr,
            )
        raise
