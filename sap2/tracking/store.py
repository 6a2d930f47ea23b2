"""The place where runs and models are kept: a server, or a SQLite file beside the code; and whether it answers."""

import logging
import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from urllib.parse import urlsplit

from sap2.constants import Seconds
from sap2.errors import SapError, TrackingError
from sap2.params import TrackingSection
from sap2.tracking.values import public

__all__ = [
    "brief",
    "check_server",
    "client",
    "experiment_id",
    "fluent",
    "reachable",
    "reporting",
    "tracking_uri",
    "uploading",
]


URI_VARIABLE = "MLFLOW_TRACKING_URI"
TIMEOUT_VARIABLE = "MLFLOW_HTTP_REQUEST_TIMEOUT"
ARTIFACTS = "mlartifacts"  # beside a SQLite file; a server decides for itself
KIND = {"mlflow.experimentKind": "custom_model_development"}  # its pages show trainings, not conversations
PATIENCE: Seconds = 5
UPLOAD_PATIENCE: Seconds = 3600
# Set where the environment does not.
DEFAULTS = {
    # Artifacts go through MLflow's server. Its own default sends clients to the object store at the address that the
    # server has for it (`http://objects:8333`), which a workstation or a pod under a network policy may not reach.
    "MLFLOW_ENABLE_PROXY_MULTIPART_DOWNLOAD": "false",
    "MLFLOW_ENABLE_PROXY_MULTIPART_UPLOAD": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",  # a run tells nobody but its own store
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}
DATABASE_PORTS = {"postgresql": 5432, "mysql": 3306, "mssql": 1433}
SCHEMES = {"http", "https", "file", "sqlite", "databricks", "databricks-uc", "uc", *DATABASE_PORTS}


def tracking_uri(section: TrackingSection) -> str:
    """Where runs and models are kept: the environment's MLFLOW_TRACKING_URI, else the section's `uri`."""
    return os.environ.get(URI_VARIABLE) or section.uri


def check_server(section: TrackingSection) -> str:
    """Ask the tracking store and the model registry one question each, so that a training does not end in vain.

    Returns: One line for the reader: where the runs go.
    Raises: TrackingError: it does not answer within seconds, refuses, or its experiment is deleted.
    """
    uri = tracking_uri(section)
    with reporting(uri, "cannot be used"), _impatient():
        _check_place(uri)
        asking = client(section)
        _existing_experiment(asking, section.experiment)
        asking.search_registered_models(max_results=1)
    local = not os.environ.get(URI_VARIABLE) and uri.startswith("sqlite:")
    return f"runs go to {public(uri)}" + (f" (no server: {URI_VARIABLE} is not set)" if local else "")


def client(section: TrackingSection):
    """An MLflow client of the section's store."""
    return _mlflow().MlflowClient(tracking_uri(section))


def reachable(section: TrackingSection):
    """`client`, of a store that was seen to be there: MLflow itself would try for minutes.

    Raises: TrackingError: it is not, or is no store.
    """
    uri = tracking_uri(section)
    with reporting(uri, "cannot be used"):
        _check_place(uri)
    return client(section)


@contextmanager
def fluent(section: TrackingSection) -> Iterator[ModuleType]:
    """The mlflow module, for a while pointing at the section's store: for what its client cannot do."""
    mlflow, before = _mlflow(), os.environ.get(URI_VARIABLE)
    mlflow.set_tracking_uri(tracking_uri(section))  # sets the variable, too
    try:
        yield mlflow
    finally:
        mlflow.set_tracking_uri(None)
        if before is not None:
            os.environ[URI_VARIABLE] = before


def experiment_id(asking, section: TrackingSection) -> str:
    """The section's experiment, made when it is not there."""
    from mlflow.exceptions import MlflowException

    found = _existing_experiment(asking, section.experiment)
    if found is not None:
        return found
    path = _sqlite_path(tracking_uri(section))
    place = (path.parent / ARTIFACTS).absolute().as_uri() if path else None
    try:
        return asking.create_experiment(section.experiment, artifact_location=place, tags=KIND)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
        made = _existing_experiment(asking, section.experiment)  # another stage was a moment faster
        if made is None:
            raise
        return made


@contextmanager
def reporting(uri: str, what: str) -> Iterator[None]:
    """Turn whatever MLflow raises into a TrackingError that says where and how to get on."""
    try:
        yield
    except SapError:
        raise
    except Exception as error:  # MLflow lets errors of requests, SQLAlchemy and the file system through
        raise TrackingError(_message(uri, what, brief(error))) from error


def _mlflow() -> ModuleType:
    """The module, quiet: what a stage has to say is said by the stage, and stdout is for results."""
    for name, value in DEFAULTS.items():
        os.environ.setdefault(name, value)
    # A page of migrations for every new SQLite file; a wait for every version.
    for chatty in ("alembic", "mlflow.store.db.utils", "mlflow.store.model_registry.abstract_store"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    import mlflow

    return mlflow


def _existing_experiment(asking, name: str) -> str | None:
    found = asking.get_experiment_by_name(name)
    if found is None:
        return None
    if found.lifecycle_stage == "deleted":
        raise TrackingError(
            f"experiment {name!r} is deleted; bring it back (mlflow experiments restore --experiment-id "
            f"{found.experiment_id}) or choose another name (tracking.experiment)"
        )
    return found.experiment_id


def brief(error: Exception) -> str:
    """The first line of what may be a page, and no password in it."""
    text = public(str(error)).strip().partition("\n")[0]
    return f"{text[:300].rstrip()}…" if len(text) > 300 else text or type(error).__name__


def _check_place(uri: str) -> None:
    """What MLflow itself would try again for minutes: a file that is no database, a database that is not there."""
    path = _sqlite_path(uri)
    if path is not None:
        if path.is_file() and path.stat().st_size and not _starts_with(path, b"SQLite format 3"):
            raise TrackingError(_message(uri, "cannot be used", f"{path} is not a SQLite database"))
        folder = next(parent for parent in path.absolute().parents if parent.exists())
        if not folder.is_dir():
            raise TrackingError(_message(uri, "cannot be used", f"{folder} is a file, expected a folder"))
        if not os.access(path if path.exists() else folder, os.W_OK):
            raise TrackingError(_message(uri, "cannot be used", f"no right to write {path}"))
        return
    parts = urlsplit(uri)
    if parts.scheme and parts.scheme.split("+")[0] not in SCHEMES:
        raise TrackingError(_message(uri, "cannot be used", f"no store is of the kind {parts.scheme}://"))
    port = parts.port or DATABASE_PORTS.get(parts.scheme.split("+")[0])
    if parts.hostname and port:
        try:
            socket.create_connection((parts.hostname, port), timeout=PATIENCE).close()
        except OSError as error:
            raise TrackingError(_message(uri, "cannot be reached", str(error))) from error


def _starts_with(path: Path, magic: bytes) -> bool:
    with path.open("rb") as file:
        return file.read(len(magic)) == magic


def _sqlite_path(uri: str) -> Path | None:
    """The file of a SQLite store: `sqlite:///relative`, `sqlite:////absolute`."""
    scheme, _, path = uri.partition(":///")
    return Path(path.partition("?")[0]) if scheme.split("+")[0] == "sqlite" and path else None


def _impatient():
    """Short waits and no second tries, where the question is only whether somebody answers."""
    return _variables({"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0", TIMEOUT_VARIABLE: str(int(PATIENCE))})


def uploading():
    """Wait up to an hour for the answer to an upload, unless the environment says how long.

    The server answers when the object store has the file: for a shard of a base of 7 billion parameters MLflow's own
    two minutes may be too short.
    """
    return _variables({TIMEOUT_VARIABLE: os.environ.get(TIMEOUT_VARIABLE, str(int(UPLOAD_PATIENCE)))})


@contextmanager
def _variables(wanted: Mapping[str, str]) -> Iterator[None]:
    """Environment variables for a while."""
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _message(uri: str, what: str, why: str) -> str:
    return (
        f"tracking store {public(uri)} {what}: {why}; start the server, correct {URI_VARIABLE} or tracking.uri, "
        f"or use a local file ({URI_VARIABLE}=sqlite:///mlflow.db)"
    )
