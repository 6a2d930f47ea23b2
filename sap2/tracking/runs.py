"""Runs: the curves and params of a training, logged so that no server can stop or slow it.

Each training stage logs a run of its own, tagged with the digest of the adapter it made. `register` finds the runs by
the adapters it registers and hangs them below its own. So the stages of one pipeline belong together by content: when
DVC takes a trained adapter from its cache, or another machine trained it, the link still holds, and no run id gets
into an output, where it would make two equal trainings differ.
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
from sap2.tracking.store import brief, client, experiment_id, reporting, tracking_uri
from sap2.tracking.values import flat_params, safe_key

__all__ = ["ADAPTER_TAG", "Tracker", "log_params", "resend", "run_tags", "start_run", "unsent_file", "user"]


ADAPTER_TAG = "sap2.adapter_sha256"
FLUSH_SECONDS: Seconds = 5
CLOSE_SECONDS: Seconds = 60  # a training that is done waits at most this long for a slow server
STOP_SECONDS: Seconds = 10  # one that is told to stop; Kubernetes' patience is 30 s unless it is set
UNSENT = ".unsent.jsonl"
PARAMS_PER_REQUEST = 50  # MLflow takes 100 in one request, but no more than 1 MB
METRICS_PER_REQUEST = 1000


@contextmanager
def start_run(
    section: TrackingSection, stage: str, params: Mapping[str, Any] | None = None, state: Path | None = None
) -> Iterator["Tracker"]:
    """Open a stage's run; go on with the one that `state` names when it was interrupted with the same params.

    Args:
        stage: Its name: "pruner", "recogniser", "register".
        params: What the stage was given, nested; logged flat.
        state: File that remembers the run until it ends well. Metrics that could not be sent are kept beside it.
    Raises: TrackingError: the run cannot be opened. Once it is open, a failing server stops nothing.
    """
    uri, flat = tracking_uri(section), flat_params(params or {})
    fingerprint = hashlib.sha256(json.dumps([uri, section.experiment, stage, flat]).encode()).hexdigest()
    with reporting(uri, "no run can be opened"):
        asking = client(section)
        run_id = _interrupted(asking, state, fingerprint)
        if run_id is None:
            run = asking.create_run(experiment_id(asking, section), run_name=stage, tags=run_tags(stage))
            run_id = run.info.run_id
            if state is not None:
                with atomic_file(state) as partial:
                    partial.write_text(json.dumps({"run": run_id, "of": fingerprint}) + "\n", encoding="utf-8")
        else:
            asking.update_run(run_id, status="RUNNING")
        log_params(asking, run_id, flat)
    tracker = Tracker(asking, run_id, unsent_file(run_id, state), machine=SystemMetrics(run_id, uri) if state else None)
    try:
        yield tracker
    except (KeyboardInterrupt, Stopped):
        tracker.close("KILLED", STOP_SECONDS)
        raise
    except BaseException:
        tracker.close("FAILED")
        raise
    if state is not None:
        state.unlink(missing_ok=True)  # what is not sent names its run itself
    tracker.close("FINISHED")


def unsent_file(run_id: str, state: Path | None = None) -> Path:
    """Where a run keeps what it could not send: beside its state, or where the command was given."""
    return state.with_name(f"{state.stem}.{run_id[:8]}{UNSENT}") if state else Path(f"{run_id}{UNSENT}")


class Tracker:
    """One open run: metrics are gathered and sent from a thread of their own, so that no server slows a training.

    What cannot be sent is said once, tried again with the next batch, and kept in the file `unsent` if the end comes
    first, the run's end included; going on with the same run sends it, and so does `resend`.
    """

    def __init__(
        self,
        asking,
        run_id: str,
        unsent: Path,
        flush_seconds: Seconds = FLUSH_SECONDS,
        machine: SystemMetrics | None = None,
    ):
        self.run_id, self._machine = run_id, machine
        self._client, self._unsent, self._flush_seconds = asking, unsent, flush_seconds
        kept = _rows(unsent)[1] if unsent.is_file() else []
        self._waiting: list[dict[str, Any]] = [row for row in kept if "status" not in row]  # it goes on
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._failing = False
        self._sender = threading.Thread(target=self._work, name="mlflow-metrics", daemon=True)
        self._sender.start()

    def log(self, metrics: Mapping[str, float], step: int = 0) -> None:
        """Note figures for a step; returns at once."""
        now = int(time.time() * 1000)
        stamp = {"timestamp": now, "step": int(step)}
        rows = [{"key": safe_key(key), "value": float(value), **stamp} for key, value in metrics.items()]
        with self._lock:
            self._waiting += rows

    def made(self, adapter: Path) -> None:
        """Tag the run with the digest of the adapter it trained, by which `register` finds it."""
        with self._lock:
            self._waiting.append({"tag": ADAPTER_TAG, "value": adapter_digest(adapter)})

    def close(self, status: str, patience: Seconds = CLOSE_SECONDS) -> bool:
        """Send what is left and end the run; True when all of it went. Says what could not be done, raises nothing."""
        with self._lock:
            self._waiting.append({"status": status, "end_time": int(time.time() * 1000)})
        self._closing.set()
        self._sender.join(patience)
        with self._lock:
            left = list(self._waiting)
        if left:
            write_jsonl(self._unsent, ({"run": self.run_id, **row} for row in left))
            what = f"{sum('key' in row for row in left)} metrics and the end of run {self.run_id}"
            _say(f'{what} could not be sent; they are kept in {self._unsent}: "sap2 resend {self._unsent}" sends them')
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
        except Exception as error:  # a driver that is away must not stop a training
            self._machine = None
            _say(f"the machine's load is not logged: {brief(error)}")

    def _send(self) -> None:
        while True:
            with self._lock:
                batch = self._waiting[:METRICS_PER_REQUEST]
            if not batch:
                return
            try:
                sent = _deliver(self._client, self.run_id, batch)
            except Exception as error:  # a network fails in many ways, and none of them may stop a training
                if not self._failing:
                    _say(f"metrics cannot be sent, the work goes on and they are kept: {brief(error)}")
                self._failing = True
                return
            if self._failing:
                _say("metrics are sent again")
            self._failing = False
            with self._lock:
                del self._waiting[:sent]


def resend(section: TrackingSection, files: Iterable[Path]) -> list[str]:
    """Send what runs could not, and delete the files it was kept in; return the runs.

    Sent twice, it changes nothing: a run has one value of a metric for a step and a time.
    Raises: InputError: a file is no such file. TrackingError: the store fails; what is left of the file stays.
    """
    runs = []
    for path in files:
        run_id, rows = _rows(path)
        asking = client(section)
        with reporting(tracking_uri(section), f"did not take {path}"):
            while rows:
                rows = rows[_deliver(asking, run_id, rows[:METRICS_PER_REQUEST]) :]
        path.unlink()
        runs.append(run_id)
    return runs


def _rows(unsent: Path) -> tuple[str, list[dict[str, Any]]]:
    """Of which run a file keeps what."""
    rows = [row for _, row in read_jsonl(unsent)]
    runs = {row.pop("run", None) for row in rows}
    if len(runs) != 1 or not all({"value", "status"} & row.keys() for row in rows):
        raise InputError(f"{unsent}: not what a run could not send; expected a file that ends in {UNSENT}")
    return runs.pop(), rows


def _deliver(asking, run_id: str, rows: list[dict[str, Any]]) -> int:
    """Send the first of some rows, as many as go in one request; return how many."""
    from mlflow.entities import Metric

    metrics = list(takewhile(lambda row: "key" in row, rows))
    if metrics:
        asking.log_batch(run_id, metrics=[Metric(**row) for row in metrics])
        return len(metrics)
    if "tag" in rows[0]:
        asking.set_tag(run_id, rows[0]["tag"], rows[0]["value"])
    else:
        asking.set_terminated(run_id, rows[0]["status"], rows[0]["end_time"])
    return 1


def _interrupted(asking, state: Path | None, fingerprint: str) -> str | None:
    """The run to go on with; None when there is none, or it was another training's, or the server has lost it."""
    if state is None or not state.is_file():
        return None
    from mlflow.exceptions import MlflowException

    try:
        noted = json.loads(state.read_text(encoding="utf-8"))
        if noted["of"] != fingerprint:
            return None
        run = asking.get_run(noted["run"])
    except (ValueError, KeyError, TypeError):
        _say(f"{state} does not name a run; a new one is opened")
        return None
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return None
    return run.info.run_id if run.info.lifecycle_stage == "active" else None


def log_params(asking, run_id: str, flat: dict[str, str]) -> None:
    """Log flat params, as few requests as the store allows."""
    from mlflow.entities import Param

    params = [Param(key, value) for key, value in flat.items()]
    for start in range(0, len(params), PARAMS_PER_REQUEST):
        asking.log_batch(run_id, params=params[start : start + PARAMS_PER_REQUEST])


def run_tags(stage: str) -> dict[str, str]:
    """Whose run, of which stage, by which code."""
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
    """Who runs this."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's numeric user has no name
        return str(os.getuid())


def _say(message: str) -> None:
    print(f"tracking: {message}", file=sys.stderr)
