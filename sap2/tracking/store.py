"""Access to the tracking store, an MLflow server or a SQLite file: address, clients, availability, errors."""

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
    "new_client",
    "experiment_id",
    "fluent",
    "reachable_client",
    "reporting",
    "tracking_uri",
    "uploading",
]


URI_VARIABLE = "MLFLOW_TRACKING_URI"
TIMEOUT_VARIABLE = "MLFLOW_HTTP_REQUEST_TIMEOUT"
ARTIFACTS = "mlartifacts"  # beside a SQLite file; a server has its own location
KIND = {
    "mlflow.experimentKind": "custom_model_development"
}  # MLflow then shows pages for trainings, not for conversations
TIMEOUT: Seconds = 5
UPLOAD_TIMEOUT: Seconds = 3600
# Set unless the environment has them.
DEFAULTS = {
    # Artifacts go through MLflow's server. By default it sends clients directly to the object store at the address that
    # the server uses (`http://objects:8333`), which a workstation or a pod with a network policy may not reach.
    "MLFLOW_ENABLE_PROXY_MULTIPART_DOWNLOAD": "false",
    "MLFLOW_ENABLE_PROXY_MULTIPART_UPLOAD": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",  # runs report to their own store only
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}
DATABASE_PORTS = {"postgresql": 5432, "mysql": 3306, "mssql": 1433}
SCHEMES = {"http", "https", "file", "sqlite", "databricks", "databricks-uc", "uc", *DATABASE_PORTS}


def tracking_uri(section: TrackingSection) -> str:
    """Return the tracking store's URI: the environment's MLFLOW_TRACKING_URI, else the section's `uri`."""
    return os.environ.get(URI_VARIABLE) or section.uri


def check_server(section: TrackingSection) -> str:
    """Check that tracking store and model registry respond, before a training depends on them.

    Returns: A line for the user: where the runs go.
    Raises: TrackingError: the store does not respond within seconds, refuses, or its experiment is deleted.
    """
    uri = tracking_uri(section)
    with reporting(uri, "cannot be used"), _short_timeouts():
        _check_available(uri)
        client = new_client(section)
        _existing_experiment(client, section.experiment)
        client.search_registered_models(max_results=1)
    local = not os.environ.get(URI_VARIABLE) and uri.startswith("sqlite:")
    return f"runs go to {public(uri)}" + (f" (no server: {URI_VARIABLE} is not set)" if local else "")


def new_client(section: TrackingSection):
    """Create an MLflow client of the section's store."""
    return _mlflow().MlflowClient(tracking_uri(section))


def reachable_client(section: TrackingSection):
    """Create a client after checking that the store is reachable; MLflow itself would retry for minutes.

    Raises: TrackingError: the store is not reachable, or not a store.
    """
    uri = tracking_uri(section)
    with reporting(uri, "cannot be used"):
        _check_available(uri)
    return new_client(section)


@contextmanager
def fluent(section: TrackingSection) -> Iterator[ModuleType]:
    """Yield the mlflow module, set to the section's store, for functions that the client lacks."""
    mlflow, before = _mlflow(), os.environ.get(URI_VARIABLE)
    mlflow.set_tracking_uri(tracking_uri(section))  # sets the variable too
    try:
        yield mlflow
    finally:
        mlflow.set_tracking_uri(None)
        if before is not None:
            os.environ[URI_VARIABLE] = before


def experiment_id(client, section: TrackingSection) -> str:
    """Return the id of the section's experiment, creating it if needed."""
    from mlflow.exceptions import MlflowException

    existing = _existing_experiment(client, section.experiment)
    if existing is not None:
        return existing
    path = _sqlite_path(tracking_uri(section))
    location = (path.parent / ARTIFACTS).absolute().as_uri() if path else None
    try:
        return client.create_experiment(section.experiment, artifact_location=location, tags=KIND)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
        # Another stage created it at the same time.
        existing = _existing_experiment(client, section.experiment)
        if existing is None:
            raise
        return existing


@contextmanager
def reporting(uri: str, what: str) -> Iterator[None]:
    """Turn MLflow's exceptions into a TrackingError with the store and the way out."""
    try:
        yield
    except SapError:
        raise
    except Exception as error:  # MLflow passes on errors of requests, SQLAlchemy and the file system
        raise TrackingError(_message(uri, what, brief(error))) from error


def _mlflow() -> ModuleType:
    """Import mlflow with quiet logging: stages report for themselves, and stdout is for results."""
    for name, value in DEFAULTS.items():
        os.environ.setdefault(name, value)
    # They log a page of migrations per new SQLite file, and a wait per version.
    for chatty in ("alembic", "mlflow.store.db.utils", "mlflow.store.model_registry.abstract_store"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    import mlflow

    return mlflow


def _existing_experiment(client, name: str) -> str | None:
    experiment = client.get_experiment_by_name(name)
    if experiment is None:
        return None
    if experiment.lifecycle_stage == "deleted":
        raise TrackingError(
            f"experiment {name!r} is deleted; bring it back (mlflow experiments restore --experiment-id "
            f"{experiment.experiment_id}) or choose another name (tracking.experiment)"
        )
    return experiment.experiment_id


def brief(error: Exception) -> str:
    """Shorten an error to its first line, without passwords."""
    text = public(str(error)).strip().partition("\n")[0]
    return f"{text[:300].rstrip()}…" if len(text) > 300 else text or type(error).__name__


def _check_available(uri: str) -> None:
    """Check for faults that MLflow would retry for minutes: a file that is not a database, an unreachable server."""
    path = _sqlite_path(uri)
    if path is not None:
        if path.is_file() and path.stat().st_size and not _starts_with(path, b"SQLite format 3"):
            raise TrackingError(_message(uri, "cannot be used", f"{path} is not a SQLite database"))
        folder = next(parent for parent in path.absolute().parents if parent.exists())
        if not folder.is_dir():
            raise TrackingError(_message(uri, "cannot be used", f"{folder} is a file, expected a folder"))
        if not os.access(path if path.exists() else folder, os.W_OK):
            raise TrackingError(_message(uri, "cannot be used", f"no permission to write {path}"))
        return
    parts = urlsplit(uri)
    if parts.scheme and parts.scheme.split("+")[0] not in SCHEMES:
        raise TrackingError(_message(uri, "cannot be used", f"unknown kind of store {parts.scheme}://"))
    port = parts.port or DATABASE_PORTS.get(parts.scheme.split("+")[0])
    if parts.hostname and port:
        try:
            socket.create_connection((parts.hostname, port), timeout=TIMEOUT).close()
        except OSError as error:
            raise TrackingError(_message(uri, "cannot be reached", str(error))) from error


def _starts_with(path: Path, magic: bytes) -> bool:
    with path.open("rb") as file:
        return file.read(len(magic)) == magic


def _sqlite_path(uri: str) -> Path | None:
    """Return the file of a SQLite store: `sqlite:///relative`, `sqlite:////absolute`."""
    scheme, _, path = uri.partition(":///")
    return Path(path.partition("?")[0]) if scheme.split("+")[0] == "sqlite" and path else None


def _short_timeouts():
    """Use short timeouts and no retries, to check only whether the store responds."""
    return _variables({"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0", TIMEOUT_VARIABLE: str(int(TIMEOUT))})


def uploading():
    """Wait up to an hour for the response to an upload, unless the environment sets a timeout.

    The server responds when the object store has the file: for a shard of a base of 7 billion parameters, MLflow's
    default of two minutes may be too short.
    """
    return _variables({TIMEOUT_VARIABLE: os.environ.get(TIMEOUT_VARIABLE, str(int(UPLOAD_TIMEOUT)))})


@contextmanager
def _variables(wanted: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables temporarily."""
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
