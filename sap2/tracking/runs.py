"""Training runs: curves and params, logged so that no server can stop or slow down a training.

Each training stage logs its own run, tagged with the digest of the adapter it produced. `register` finds these runs by
the adapters it registers, and makes them children of its run. So the stages of a pipeline are linked by content: the
link holds if DVC took a trained adapter from its cache or another machine trained it, and outputs contain no run ids,
which would make equal trainings differ.
"""

import getpass
import hashlib
import json
import os
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import takewhile
from pathlib import Path
from typing import Any

from sap2 import __version__
from sap2.constants import Seconds
from sap2.errors import InputError, Stopped
from sap2.files import atomic_file, read_jsonl, write_jsonl
from sap2.params import TrackingSection
from sap2.tracking.mlflow_internals import SystemMetrics
from sap2.tracking.provenance import adapter_digest, code_state
from sap2.tracking.store import brief, experiment_id, new_client, reporting, tracking_uri
from sap2.tracking.values import flat_params, safe_key

__all__ = ["ADAPTER_TAG", "Tracker", "log_params", "resend", "run_tags", "start_run", "unsent_file", "user"]


ADAPTER_TAG = "sap2.adapter_sha256"
FLUSH_SECONDS: Seconds = 5
CLOSE_SECONDS: Seconds = 60  # a finished training waits at most this long for a slow server
STOP_SECONDS: Seconds = 10  # a stopped training waits at most this long; Kubernetes kills after 30 s by default
UNSENT = ".unsent.jsonl"
PARAMS_PER_REQUEST = 50  # MLflow accepts 100 per request, but at most 1 MB
METRICS_PER_REQUEST = 1000


@contextmanager
def start_run(
    section: TrackingSection, stage: str, params: Mapping[str, Any] | None = None, state: Path | None = None
) -> Iterator["Tracker"]:
    """Open a stage's run, or resume the run named in `state` if it was interrupted with the same params.

    Args:
        stage: Name of the stage: "pruner", "recogniser", "register".
        params: The stage's params, nested; logged flat.
        state: File that names the run until it succeeds. Unsent metrics are stored beside it.
    Raises: TrackingError: the run cannot be opened. Once it is open, a failing server does not stop the stage.
    """
    uri, flat = tracking_uri(section), flat_params(params or {})
    fingerprint = hashlib.sha256(json.dumps([uri, section.experiment, stage, flat]).encode()).hexdigest()
    with reporting(uri, "cannot open a run"):
        client = new_client(section)
        run_id = _interrupted(client, state, fingerprint)
        if run_id is None:
            run = client.create_run(experiment_id(client, section), run_name=stage, tags=run_tags(stage))
            run_id = run.info.run_id
            if state is not None:
                with atomic_file(state) as partial:
                    partial.write_text(json.dumps({"run": run_id, "of": fingerprint}) + "\n", encoding="utf-8")
        else:
            client.update_run(run_id, status="RUNNING")
        log_params(client, run_id, flat)
    tracker = Tracker(client, run_id, unsent_file(run_id, state), machine=SystemMetrics(run_id, uri) if state else None)
    try:
        yield tracker
    except (KeyboardInterrupt, Stopped):
        tracker.close("KILLED", STOP_SECONDS)
        raise
    except BaseException:
        tracker.close("FAILED")
        raise
    if state is not None:
        state.unlink(missing_ok=True)  # files of unsent metrics name their run
    tracker.close("FINISHED")


def unsent_file(run_id: str, state: Path | None = None) -> Path:
    """Return the path for a run's unsent metrics: beside its state file, or in the working folder."""
    return state.with_name(f"{state.stem}.{run_id[:8]}{UNSENT}") if state else Path(f"{run_id}{UNSENT}")


class Tracker:
    """An open run; metrics are queued and sent by a thread, so that no server slows down a training.

    A failure to send is reported once; the metrics are sent again with the next batch. What is unsent at the end,
    including the run's end itself, is stored in the file `unsent`; resuming the run sends it, and so does `resend`.
    """

    def __init__(
        self,
        client,
        run_id: str,
        unsent: Path,
        flush_seconds: Seconds = FLUSH_SECONDS,
        machine: SystemMetrics | None = None,
    ):
        self.run_id, self._machine = run_id, machine
        self._client, self._unsent, self._flush_seconds = client, unsent, flush_seconds
        kept = _rows(unsent)[1] if unsent.is_file() else []
        self._waiting: list[dict[str, Any]] = [row for row in kept if "status" not in row]  # the run continues
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._failing = False
        self._sender = threading.Thread(target=self._work, name="mlflow-metrics", daemon=True)
        self._sender.start()

    def log(self, metrics: Mapping[str, float], step: int = 0) -> None:
        """Queue figures of a step; does not block."""
        now = int(time.time() * 1000)
        stamp = {"timestamp": now, "step": int(step)}
        rows = [{"key": safe_key(key), "value": float(value), **stamp} for key, value in metrics.items()]
        with self._lock:
            self._waiting += rows

    def made(self, adapter: Path) -> None:
        """Tag the run with the digest of its adapter, by which `register` finds it."""
        with self._lock:
            self._waiting.append({"tag": ADAPTER_TAG, "value": adapter_digest(adapter)})

    def close(self, status: str, patience: Seconds = CLOSE_SECONDS) -> bool:
        """Send what is queued and end the run; return whether all was sent. Failures are reported, not raised."""
        with self._lock:
            self._waiting.append({"status": status, "end_time": int(time.time() * 1000)})
        self._closing.set()
        self._sender.join(patience)
        with self._lock:
            left = list(self._waiting)
        if left:
            write_jsonl(self._unsent, ({"run": self.run_id, **row} for row in left))
            what = f"{sum('key' in row for row in left)} metrics and the end of run {self.run_id}"
            _report(
                f'{what} could not be sent; they are stored in {self._unsent}, "sap2 resend {self._unsent}" sends them'
            )
            return False
        self._unsent.unlink(missing_ok=True)
        return True

    def _work(self) -> None:
        while not self._closing.wait(self._flush_seconds):
            self._log_system_metrics()
            self._send()
        self._log_system_metrics()
        self._send()

    def _log_system_metrics(self) -> None:
        if self._machine is None:
            return
        try:
            self.log(*self._machine.read())
        except Exception as error:  # a missing driver must not stop a training
            self._machine = None
            _report(f"the machine's load is not logged: {brief(error)}")

    def _send(self) -> None:
        while True:
            with self._lock:
                batch = self._waiting[:METRICS_PER_REQUEST]
            if not batch:
                return
            try:
                sent = _deliver(self._client, self.run_id, batch)
            except Exception as error:  # no network failure may stop a training
                if not self._failing:
                    _report(f"metrics cannot be sent, they are queued while the work continues: {brief(error)}")
                self._failing = True
                return
            if self._failing:
                _report("metrics are being sent again")
            self._failing = False
            with self._lock:
                del self._waiting[:sent]


def resend(section: TrackingSection, files: Iterable[Path]) -> list[str]:
    """Upload metrics that earlier runs could not send to MLflow, delete their files, and return the runs.

    Sending twice changes nothing: a metric has a single value per step and time.
    Raises: InputError: not a file of unsent metrics. TrackingError: the store fails; the file is kept.
    """
    runs = []
    for path in files:
        run_id, rows = _rows(path)
        client = new_client(section)
        with reporting(tracking_uri(section), f"did not accept {path}"):
            while rows:
                rows = rows[_deliver(client, run_id, rows[:METRICS_PER_REQUEST]) :]
        path.unlink()
        runs.append(run_id)
    return runs


def _rows(unsent: Path) -> tuple[str, list[dict[str, Any]]]:
    """Read a file of unsent metrics: its run and its rows."""
    rows = [row for _, row in read_jsonl(unsent)]
    runs = {row.pop("run", None) for row in rows}
    if len(runs) != 1 or not all({"value", "status"} & row.keys() for row in rows):
        raise InputError(f"{unsent}: not a file of unsent metrics; expected a name ending in {UNSENT}")
    return runs.pop(), rows


def _deliver(client, run_id: str, rows: list[dict[str, Any]]) -> int:
    """Send as many of the first rows as a request allows; return their number."""
    from mlflow.entities import Metric

    metrics = list(takewhile(lambda row: "key" in row, rows))
    if metrics:
        client.log_batch(run_id, metrics=[Metric(**row) for row in metrics])
        return len(metrics)
    if "tag" in rows[0]:
        client.set_tag(run_id, rows[0]["tag"], rows[0]["value"])
    else:
        client.set_terminated(run_id, rows[0]["status"], rows[0]["end_time"])
    return 1


def _interrupted(client, state: Path | None, fingerprint: str) -> str | None:
    """Return the run to resume; None if there is none, it differs in its params, or the server has lost it."""
    if state is None or not state.is_file():
        return None
    from mlflow.exceptions import MlflowException

    try:
        noted = json.loads(state.read_text(encoding="utf-8"))
        if noted["of"] != fingerprint:
            return None
        run = client.get_run(noted["run"])
    except (ValueError, KeyError, TypeError):
        _report(f"{state} does not name a run; a new run is opened")
        return None
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return None
    return run.info.run_id if run.info.lifecycle_stage == "active" else None


def log_params(client, run_id: str, flat: dict[str, str]) -> None:
    """Log flat params in as few requests as possible."""
    from mlflow.entities import Param

    params = [Param(key, value) for key, value in flat.items()]
    for start in range(0, len(params), PARAMS_PER_REQUEST):
        client.log_batch(run_id, params=params[start : start + PARAMS_PER_REQUEST])


def run_tags(stage: str) -> dict[str, str]:
    """Return tags with a run's user, stage and code."""
    code = code_state()
    return {
        "mlflow.user": user(),
        "mlflow.source.name": f"sap2 {stage}",
        "mlflow.source.type": "LOCAL",
        "mlflow.source.git.commit": code["commit"],
        "git.dirty": code["dirty"],
        "sap2.stage": stage,
        "sap2.version": __version__,
    }


def user() -> str:
    """Return the name of the current user."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's numeric user has no name
        return str(os.getuid())


def _report(message: str) -> None:
    print(f"tracking: {message}", file=sys.stderr)
