"""Control of a TrainJob in a cluster: create it, follow it with its nodes' logs, and delete it at the end.

Deletion may fail for lack of time, as Argo stops a step in less than a second; the heartbeat covers that case.
"""

import contextlib
import json
import signal
import time
from collections.abc import Callable, Iterator
from typing import Any

from sap2.constants import Seconds
from sap2.errors import SapError

__all__ = ["TrainJobError", "run_trainjob"]

API = {"group": "trainer.kubeflow.org", "version": "v1alpha1", "plural": "trainjobs"}
OWNER = "jobset.sigs.k8s.io/jobset-name"  # label of a job's pods; Trainer makes a JobSet of the job's name
INDEX = "batch.kubernetes.io/job-completion-index"  # index of a pod's node
ENDS = {"Complete", "Failed"}
MAX_FAILURES = 10  # consecutive failed requests while waiting
TIMEOUT: Seconds = 30
DELETION_TIMEOUT: Seconds = 900  # maximum time until a deleted job is gone
OVERLAP = 30  # seconds of log that are read again, without printing lines twice


class TrainJobError(SapError):
    """A training on several nodes failed, or the cluster refused it."""


def run_trainjob(
    job: dict[str, Any],
    namespace: str,
    tell: Callable[[str], None],
    every: Seconds = 10,
    client: Any = None,
    join: bool = False,
    beat: Callable[[], None] = lambda: None,
) -> None:
    """Create the job, wait for its end, and delete it, also on failure, Ctrl-C and SIGTERM.

    Args:
        job: Manifest from pipelines.trainjob.
        tell: Called with a line per change of the job and its pods, and with each log line of the nodes.
        every: Seconds between two requests.
        join: Whether an existing job of this name is followed instead of refused; a job under deletion is waited for,
            and recreated.
        client: kubernetes.client.ApiClient; None = by kubeconfig, in a pod by its service account.
        beat: Called at each request, as a heartbeat for the nodes.
    Raises: TrainJobError: the job failed, or the cluster is unreachable or refuses.
    """
    watched = _TrainJob(job["metadata"]["name"], namespace, tell, client or _client(), beat)
    with _exit_on_sigterm():
        watched.create(job, join, every)
        try:
            watched.wait(every)
        finally:
            watched.delete()


class _TrainJob:
    def __init__(
        self, name: str, namespace: str, tell: Callable[[str], None], client: Any, beat: Callable[[], None]
    ) -> None:
        from kubernetes.client import CoreV1Api, CustomObjectsApi

        self.name, self.namespace, self.tell, self._beat = name, namespace, tell, beat
        self._objects, self._core = CustomObjectsApi(client), CoreV1Api(client)
        self._states: dict[str, str] = {}  # by pod
        self._read: dict[str, Seconds] = {}  # by pod: time its log was read
        self._printed: dict[str, str] = {}  # by pod: time of the last printed line

    def create(self, job: dict[str, Any], join: bool, every: Seconds) -> None:
        from kubernetes.client.exceptions import ApiException

        announced, until = False, time.monotonic() + DELETION_TIMEOUT
        with self._reporting("create"):
            while True:
                self._beat()
                try:
                    self._objects.create_namespaced_custom_object(
                        **API, namespace=self.namespace, body=job, _request_timeout=TIMEOUT
                    )
                    break
                except ApiException as error:
                    if not (join and error.status == 409) or time.monotonic() > until:
                        raise
                if not self._is_leaving():
                    return self.tell(f"{self.name}: already exists in {self.namespace}; following it")
                if not announced:
                    self.tell(f"{self.name}: an earlier job is being deleted; waiting until it is gone")
                announced = True
                time.sleep(every)
        self.tell(f"{self.name}: created in {self.namespace}")

    def wait(self, every: Seconds) -> None:
        """Wait for the job's end. Raises: TrainJobError: the job failed, or the cluster stopped responding."""
        misses = 0
        while True:
            self._beat()
            try:
                end = self._poll()
                misses = 0
            except TrainJobError as error:
                misses += 1
                refused = getattr(error.__cause__, "status", None) in (401, 403, 404)
                if refused or misses == MAX_FAILURES:
                    raise
                end = None
                self.tell(f"{error}; retrying")
            if end:
                kind, why = end
                if kind == "Failed":
                    raise TrainJobError(f"TrainJob {self.name} failed: {why or 'the cluster gives no reason'}")
                return self.tell(f"{self.name}: complete")
            time.sleep(every)

    def delete(self) -> None:
        from kubernetes.client.exceptions import ApiException

        with self._reporting("delete"):
            try:
                self._objects.delete_namespaced_custom_object(
                    **API,
                    namespace=self.namespace,
                    name=self.name,
                    propagation_policy="Foreground",
                    _request_timeout=TIMEOUT,
                )
            except ApiException as error:
                if error.status != 404:  # already deleted
                    raise
        self.tell(f"{self.name}: deleted")

    def _is_leaving(self) -> bool:
        """Return whether the job of this name is being deleted or just gone, and so will never complete."""
        from kubernetes.client.exceptions import ApiException

        try:
            job = self._objects.get_namespaced_custom_object(
                **API, namespace=self.namespace, name=self.name, _request_timeout=TIMEOUT
            )
        except ApiException as error:
            if error.status == 404:
                return True
            raise
        return "deletionTimestamp" in job["metadata"]

    def _poll(self) -> tuple[str, str] | None:
        """Print news of the job; return how and why it ended, None while it runs."""
        with self._reporting("watch"):
            # Request the job first, so that the last log lines of its pods are read below.
            job = self._objects.get_namespaced_custom_object(
                **API, namespace=self.namespace, name=self.name, _request_timeout=TIMEOUT
            )
            pods = self._core.list_namespaced_pod(
                self.namespace, label_selector=f"{OWNER}={self.name}", _request_timeout=TIMEOUT
            )
            for pod in pods.items:
                self._report_pod(pod)
        for condition in job.get("status", {}).get("conditions", []):
            if condition["type"] in ENDS and condition["status"] == "True":
                return condition["type"], condition.get("message", "")
        return None

    def _report_pod(self, pod: Any) -> None:
        from kubernetes.client.exceptions import ApiException

        name, state = pod.metadata.name, pod.status.phase
        node = f"node {(pod.metadata.labels or {}).get(INDEX, name)}"
        if self._states.get(name) != state:
            self._states[name] = state
            self.tell(f"{node}: {state}")
        if state == "Pending":
            return
        now = time.monotonic()
        since = {"since_seconds": round(now - self._read[name]) + OVERLAP} if name in self._read else {}
        try:
            text = self._core.read_namespaced_pod_log(
                name, self.namespace, timestamps=True, **since, _preload_content=False, _request_timeout=TIMEOUT
            ).data.decode("utf-8", "replace")
        except ApiException as error:
            if error.status not in (400, 404):  # its container does not exist yet, or is gone
                raise
            return
        self._read[name] = now
        for line in text.splitlines():
            when, _, said = line.partition(" ")
            if when > self._printed.get(name, ""):
                self._printed[name] = when
                self.tell(f"{node}| {said}")

    @contextlib.contextmanager
    def _reporting(self, what: str) -> Iterator[None]:
        from kubernetes.client.exceptions import ApiException
        from urllib3.exceptions import HTTPError

        try:
            yield
        except ApiException as error:
            why = _message(error.body) or error.reason
            way_out = {
                401: "; log in to the cluster again",
                403: f"; its rights are in deploy/trainjobs/access.yaml: kubectl apply -n {self.namespace} -k "
                "deploy/trainjobs",
                404: "; check that Kubeflow Trainer is installed and the namespace exists" if what == "create" else "",
                409: f"; wait for it, or kubectl delete -n {self.namespace} trainjob {self.name}",
            }.get(error.status, "")
            raise TrainJobError(f"TrainJob {self.name}: cannot {what} it: {why}{way_out}") from error
        except HTTPError as error:
            raise TrainJobError(f"TrainJob {self.name}: cannot {what} it: the cluster does not respond") from error


def _client() -> Any:
    from kubernetes import client, config

    try:
        config.load_incluster_config()
    except config.ConfigException:
        try:
            config.load_kube_config()
        except config.ConfigException as error:
            raise TrainJobError(f"no cluster: {error}; set KUBECONFIG to the file that kubectl uses") from error
    return client.ApiClient()


def _message(body: str | None) -> str:
    try:
        return json.loads(body or "{}").get("message", "")
    except (ValueError, AttributeError):
        return ""


@contextlib.contextmanager
def _exit_on_sigterm() -> Iterator[None]:
    """Turn SIGTERM, with which Kubernetes stops a pod, into an exit that cleans up."""

    def leave(number: int, _: Any) -> None:
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
