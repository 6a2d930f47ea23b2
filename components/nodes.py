"""A TrainJob in a cluster: created, watched with the logs of its nodes, and removed when that ends.

Removed where there is time for it: Argo gives a step that it ends less than a second. The heartbeat is for that.
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
INDEX = "batch.kubernetes.io/job-completion-index"  # which node a pod is
ENDS = {"Complete", "Failed"}
MISSES = 10  # answers in a row that may fail while waiting
PATIENCE: Seconds = 30
LEAVING: Seconds = 900  # a job that is being deleted has at most so long to go
OVERLAP = 30  # seconds of log that are read twice, and told once


class TrainJobError(SapError):
    """A training on several nodes failed, or the cluster refuses it."""


def run_trainjob(
    job: dict[str, Any],
    namespace: str,
    tell: Callable[[str], None],
    every: Seconds = 10,
    client: Any = None,
    join: bool = False,
    beat: Callable[[], None] = lambda: None,
) -> None:
    """Create the job, wait until it has ended, and delete it, also on failure, Ctrl-C and SIGTERM.

    Args:
        job: Manifest, as of pipelines.trainjob.
        tell: Gets a line for each change of the job and its pods, and each line the nodes write.
        every: Between two looks.
        join: Whether a job of this name that is there already is followed, not refused; one that is being deleted is
            waited for, and recreated.
        client: kubernetes.client.ApiClient; None = by kubeconfig, in a pod by its service account.
        beat: Called at each look, a sign of life for the nodes.
    Raises: TrainJobError: it failed, or the cluster cannot be reached or refuses.
    """
    watched = _TrainJob(job["metadata"]["name"], namespace, tell, client or _client(), beat)
    with _terminable():
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
        self._read: dict[str, Seconds] = {}  # by pod: when its log was read
        self._told: dict[str, str] = {}  # by pod: time of the last line

    def create(self, job: dict[str, Any], join: bool, every: Seconds) -> None:
        from kubernetes.client.exceptions import ApiException

        told, until = False, time.monotonic() + LEAVING
        with self._reporting("create"):
            while True:
                self._beat()
                try:
                    self._objects.create_namespaced_custom_object(
                        **API, namespace=self.namespace, body=job, _request_timeout=PATIENCE
                    )
                    break
                except ApiException as error:
                    if not (join and error.status == 409) or time.monotonic() > until:
                        raise
                if not self._leaving():
                    return self.tell(f"{self.name}: is there already, in {self.namespace}; followed from here")
                if not told:
                    self.tell(f"{self.name}: an earlier one is being deleted; waiting until it has gone")
                told = True
                time.sleep(every)
        self.tell(f"{self.name}: created in {self.namespace}")

    def wait(self, every: Seconds) -> None:
        """Raises: TrainJobError: it failed, or the cluster does not answer any more."""
        misses = 0
        while True:
            self._beat()
            try:
                end = self._looked_at()
                misses = 0
            except TrainJobError as error:
                misses += 1
                refused = getattr(error.__cause__, "status", None) in (401, 403, 404)
                if refused or misses == MISSES:
                    raise
                end = None
                self.tell(f"{error}; asking again")
            if end:
                kind, why = end
                if kind == "Failed":
                    raise TrainJobError(f"TrainJob {self.name} failed: {why or 'the cluster does not say why'}")
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
                    _request_timeout=PATIENCE,
                )
            except ApiException as error:
                if error.status != 404:  # somebody else was quicker
                    raise
        self.tell(f"{self.name}: deleted")

    def _leaving(self) -> bool:
        """Whether the job of this name is being deleted, or has just gone: it will never end."""
        from kubernetes.client.exceptions import ApiException

        try:
            job = self._objects.get_namespaced_custom_object(
                **API, namespace=self.namespace, name=self.name, _request_timeout=PATIENCE
            )
        except ApiException as error:
            if error.status == 404:
                return True
            raise
        return "deletionTimestamp" in job["metadata"]

    def _looked_at(self) -> tuple[str, str] | None:
        """Tell what is new; how the job ended and why, None while it runs."""
        with self._reporting("watch"):
            # The job first: what its pods wrote before it ended is then read below.
            job = self._objects.get_namespaced_custom_object(
                **API, namespace=self.namespace, name=self.name, _request_timeout=PATIENCE
            )
            pods = self._core.list_namespaced_pod(
                self.namespace, label_selector=f"{OWNER}={self.name}", _request_timeout=PATIENCE
            )
            for pod in pods.items:
                self._tell_of(pod)
        for one in job.get("status", {}).get("conditions", []):
            if one["type"] in ENDS and one["status"] == "True":
                return one["type"], one.get("message", "")
        return None

    def _tell_of(self, pod: Any) -> None:
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
                name, self.namespace, timestamps=True, **since, _preload_content=False, _request_timeout=PATIENCE
            ).data.decode("utf-8", "replace")
        except ApiException as error:
            if error.status not in (400, 404):  # its container is not there yet, or it is gone by now
                raise
            return
        self._read[name] = now
        for line in text.splitlines():
            when, _, said = line.partition(" ")
            if when > self._told.get(name, ""):
                self._told[name] = when
                self.tell(f"{node}| {said}")

    @contextlib.contextmanager
    def _reporting(self, what: str) -> Iterator[None]:
        from kubernetes.client.exceptions import ApiException
        from urllib3.exceptions import HTTPError

        try:
            yield
        except ApiException as error:
            why = _said(error.body) or error.reason
            way_out = {
                401: "; log in to the cluster again",
                403: f"; its rights are in deploy/trainjobs/access.yaml: kubectl apply -n {self.namespace} -k "
                "deploy/trainjobs",
                404: "; is Kubeflow Trainer installed, and does the namespace exist?" if what == "create" else "",
                409: f"; wait for it, or kubectl delete -n {self.namespace} trainjob {self.name}",
            }.get(error.status, "")
            raise TrainJobError(f"TrainJob {self.name}: cannot {what} it: {why}{way_out}") from error
        except HTTPError as error:
            raise TrainJobError(f"TrainJob {self.name}: cannot {what} it: the cluster does not answer") from error


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


def _said(body: str | None) -> str:
    try:
        return json.loads(body or "{}").get("message", "")
    except (ValueError, AttributeError):
        return ""


@contextlib.contextmanager
def _terminable() -> Iterator[None]:
    """SIGTERM, by which Kubernetes ends a pod, becomes an exit that cleans up."""

    def leave(number: int, _: Any) -> None:
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
