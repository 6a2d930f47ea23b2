"""Pipelines in a cluster, through Kubeflow's API: upload a version, start a run, follow it and query its state.

Written for kubeflow/pipelines 2.17.0; references are to files below backend/src.
"""

import contextlib
import hashlib
import json
import sys
import tempfile
import time
import urllib.error
import urllib.request
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pipelines.downloads import count_downloads
from pipelines.errors import PipelineError
from pipelines.login import VARIABLES, Login
from pipelines.running import compile_pipeline, parse_arguments, read_spec
from sap2.constants import Seconds
from sap2.params import Params

__all__ = ["Cluster", "Run", "Step"]

TIMEOUT: Seconds = 10
MAX_FAILURES = 10  # consecutive failed requests while following a run
ENDED = {"SUCCEEDED", "SKIPPED", "FAILED", "CANCELED"}
DRIVER = "-driver"  # suffix of Argo's node of a task's driver; the executor's node has the task's key
SINGLE_USER = "kubeflow"  # namespace of the pods without multi-user mode


@dataclass(frozen=True)
class Step:
    """A step of a run: its title on Kubeflow's pages, and its state."""

    title: str
    state: str

    def __str__(self) -> str:
        return f"{self.title}: {self.state}"


@dataclass(frozen=True)
class Run:
    """The state of a run in the cluster.

    Attributes:
        state: PENDING, RUNNING, PAUSED, CANCELING, or its end: SUCCEEDED, SKIPPED, FAILED, CANCELED.
        steps: Steps that have begun, by id, as shards share a title.
        logs: Command that prints its pods' logs, as the API does not state why a run failed.
    """

    id: str
    name: str
    state: str
    link: str
    steps: dict[str, Step]
    logs: str = ""

    @property
    def ended(self) -> bool:
        return self.state in ENDED

    def __str__(self) -> str:
        lines = [f"{self.name}: {self.state}", *(f"  {step}" for step in self.steps.values()), f"  {self.link}"]
        failed = list(dict.fromkeys(step.title for step in self.steps.values() if step.state == "FAILED"))
        if self.state == "FAILED":
            what = ", ".join(failed) or "no step; its pods could not be created"
            lines.append(f"  failed: {what}; see the log on that page, or run: {self.logs}")
        return "\n".join(lines)


class Cluster:
    """Kubeflow Pipelines at an address.

    Args:
        host: Address of its API or UI, as http://localhost:8080 behind `kubectl port-forward`.
        namespace: The profile's namespace, if several users share the cluster.
    Raises: PipelineError: the address does not respond, or a login or namespace is needed.
    """

    def __init__(self, host: str, namespace: str | None = None) -> None:
        self._login = Login()
        self.host = (host if "://" in host else f"https://{host}").rstrip("/")
        if not self.host.startswith(("http://", "https://")):
            raise PipelineError(f"{self.host}: expected an http:// or https:// address; give it with --host")
        if self._health().get("multi_user") and not namespace:
            raise PipelineError(
                f"{self.host}: several users share this cluster; give a namespace with --namespace NAME"
            )
        self.namespace = namespace
        from kfp import Client

        with self._reporting("connect"), warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            credentials = self._login if self._login.token() else None
            self._client = Client(host=self.host, namespace=namespace or SINGLE_USER, credentials=credentials)
        self._titles: dict[str, dict[str, str] | None] = {}  # by version of a pipeline

    def submit(
        self,
        name: str,
        params: Params,
        experiment: str | None = None,
        arguments: Iterable[str] = (),
        service_account: str | None = None,
        utterances: int | None = None,
        tell: Callable[[str], None] = lambda line: None,
    ) -> Run:
        """Upload the pipeline, unless this version exists, and start a run with the profile's parameters.

        Args:
            experiment: An existing experiment; None = the params' experiment, created if needed.
            arguments: `key=value` for parameters of the pipeline.
            service_account: Service account of the pods; None = the cluster's default, or default-editor in a profile's
                namespace.
            utterances: Number of utterances of the corpus, if the params do not state it.
            tell: Called with the pods' downloads, before the upload.
        Raises: PipelineError: the cluster refuses.
        """
        with tempfile.TemporaryDirectory(prefix="sap2-pipeline-") as folder:
            package = compile_pipeline(name, params, Path(folder) / f"{name}.yaml")
            values = {"host": self.host, **parse_arguments(name, package, arguments)}
            tell(str(count_downloads(read_spec(package), params, utterances)))
            pipeline, version = self._uploaded(f"sap2-{name}", params.profile, package)
        where = self._experiment(experiment, params.tracking.experiment)
        title = f"{name}-{params.profile}-{datetime.now(UTC):%Y%m%d-%H%M%S}"
        with self._reporting("start the run"):
            started = self._client.run_pipeline(
                where,
                title,
                params=values,
                pipeline_id=pipeline,
                version_id=version,
                service_account=service_account,
            )
        return self._run(started)

    def run(self, run_id: str) -> Run:
        """Query the state of a run.

        Raises: PipelineError: no such run.
        """
        with self._reporting(f"find run {run_id}"):
            return self._run(self._client.get_run(run_id))

    def follow(self, run_id: str, tell: Callable[[str], None], every: Seconds = 10) -> Run:
        """Wait for a run's end; call `tell` with a line for each change of a step.

        Raises: PipelineError: the cluster refuses, or repeatedly does not respond.
        """
        seen: dict[str, Step] = {}
        misses = 0
        while True:
            try:
                run = self.run(run_id)
            except PipelineError as error:
                misses += 1
                status = getattr(error.__cause__, "status", None)
                expired = status == 401 and self._login.renews
                if (status in (401, 403, 404) and not expired) or misses == MAX_FAILURES:
                    raise
                self._login.forget()
                tell(f"{error}; retrying")
                time.sleep(every)
                continue
            misses = 0
            for id_, step in run.steps.items():
                if seen.get(id_) != step:
                    tell(str(step))
            seen = run.steps
            if run.ended:
                return run
            time.sleep(every)

    def _uploaded(self, pipeline: str, profile: str, package: Path) -> tuple[str, str]:
        """Return the ids of the pipeline and of the version with this content, uploading them if needed."""
        digest = hashlib.sha256(package.read_bytes()).hexdigest()[:12]
        version = f"{profile}-{digest}"
        with self._reporting("upload the pipeline"):
            pipeline_id = self._pipeline(pipeline)
            if pipeline_id is None:
                pipeline_id = self._client.upload_pipeline(str(package), pipeline, namespace=self.namespace).pipeline_id
            listed = self._client.list_pipeline_versions(pipeline_id, filter=_named(version))
            for known in listed.pipeline_versions or []:
                if known.display_name == version:
                    return pipeline_id, known.pipeline_version_id
            uploaded = self._client.upload_pipeline_version(str(package), version, pipeline_id=pipeline_id)
            return pipeline_id, uploaded.pipeline_version_id

    def _pipeline(self, name: str) -> str | None:
        """Return the id of the pipeline of that name in this namespace.

        KFP's `get_pipeline_id` sends no namespace, and the server then lists only shared pipelines: a profile's
        pipeline would not be found and a second upload would be a conflict (apiserver/storage/pipeline_store.go,
        `ListPipelines`).
        """
        listed = self._client.list_pipelines(filter=_named(name), namespace=self.namespace)
        return next((entry.pipeline_id for entry in listed.pipelines or [] if entry.display_name == name), None)

    def _experiment(self, wanted: str | None, fallback: str) -> str:
        with self._reporting("find the experiment"):
            if wanted is None:
                return self._client.create_experiment(fallback, namespace=self.namespace).experiment_id
            try:
                return self._client.get_experiment(experiment_name=wanted, namespace=self.namespace).experiment_id
            except ValueError as error:
                listed = self._client.list_experiments(namespace=self.namespace, page_size=100).experiments or []
                known = ", ".join(sorted(entry.display_name for entry in listed)) or "none"
                raise PipelineError(
                    f"{self.host}: no experiment {wanted!r}, expected one of: {known}; without --experiment the "
                    f"run goes to {fallback!r}, which is created"
                ) from error

    def _run(self, answer) -> Run:
        details = answer.run_details.task_details if answer.run_details else None
        titles = self._titles_of(answer) if details else {}
        named = {
            node.task_id or node.display_name: _step(node.display_name or "", node.state, titles)
            for node in details or []
        }
        steps = {id_: step for id_, step in named.items() if step is not None}
        return Run(
            id=answer.run_id,
            name=answer.display_name or answer.run_id,
            state=answer.state or "PENDING",
            link=f"{self.host}/#/runs/details/{answer.run_id}",
            steps=steps,
            logs=f"kubectl logs -n {self.namespace or SINGLE_USER} -l pipeline/runid={answer.run_id} -c main --tail=50 "
            "--prefix",
        )

    def _titles_of(self, answer: Any) -> dict[str, str] | None:
        """Return titles of a run's steps by their tasks' keys; None if its version no longer exists."""
        from kfp_server_api.exceptions import ApiException

        version = answer.pipeline_version_reference
        key = version.pipeline_version_id if version else answer.run_id
        if key not in self._titles:
            try:
                spec = (
                    self._client.get_pipeline_version(version.pipeline_id, key).pipeline_spec
                    if version
                    else answer.pipeline_spec
                )
            except ApiException as error:
                if error.status != 404:
                    raise
                spec = None
            self._titles[key] = None if spec is None else step_titles(spec)
        return self._titles[key]

    def _health(self) -> dict:
        """Query the API's health once before using KFP's client, which would retry for half a minute."""
        request = urllib.request.Request(f"{self.host}/apis/v2beta1/healthz")
        if token := self._login.token():
            request.add_header("Authorization", f"Bearer {token}")
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            raise self._refused("answer", error.code, error.reason) from error
        except json.JSONDecodeError as error:  # usually a login page
            raise self._refused("answer", 401, "it sent a web page, expected JSON") from error
        except (OSError, ValueError) as error:
            why = getattr(error, "reason", error)
            raise PipelineError(
                f"{self.host}: no response ({why}); give the address with --host, such as http://localhost:8080 after "
                '"kubectl port-forward -n kubeflow svc/ml-pipeline-ui 8080:80"'
            ) from error

    @contextlib.contextmanager
    def _reporting(self, what: str) -> Iterator[None]:
        """Turn exceptions of KFP's client into PipelineError, and redirect its output to stderr."""
        from kfp_server_api.exceptions import ApiException
        from urllib3.exceptions import HTTPError

        try:
            with contextlib.redirect_stdout(sys.stderr):
                yield
        except ApiException as error:
            raise self._refused(what, error.status, _message(error.body) or error.reason) from error
        except HTTPError as error:
            raise PipelineError(f"{self.host}: does not {what}: {error}; check the connection") from error

    def _refused(self, what: str, code: int | None, said: str) -> PipelineError:
        return PipelineError(f"{self.host}: does not {what}: {said} ({code}); {_way_out(code, said)}")


def step_titles(spec: Mapping[str, Any]) -> dict[str, str]:
    """Return the titles of a compiled pipeline's container tasks, by their keys.

    Args:
        spec: As compiled, or as the API returns it beside a `platform_spec` (apiserver/server/api_util.go).
    """
    spec = spec.get("pipeline_spec", spec)
    parts = (spec["root"], *spec["components"].values())
    dags = [part["dag"]["tasks"] for part in parts if "dag" in part]
    return {
        key: task["taskInfo"]["name"]
        for tasks in dags
        for key, task in tasks.items()
        if "executorLabel" in spec["components"][task["componentRef"]["name"]]
    }


def _step(node: str, state: str | None, titles: Mapping[str, str] | None) -> Step | None:
    """Convert a node of Argo's workflow to a step; None for nodes of its structure and nodes that have not begun.

    The API lists all nodes, by Argo's display names: root-driver, prepare-driver, prepare, executor, executor(0)
    (apiserver/server/api_converter.go, `toModelTask`; common/util/workflow.go, `NodeStatuses`). A driver is a step's
    only node if it fails: the executor is then omitted.
    """
    if not state or state == "RUNTIME_STATE_UNSPECIFIED":
        return None
    if titles is None:
        return Step(node, state)
    if node in titles:
        return Step(titles[node], state)
    if node.endswith(DRIVER) and state == "FAILED" and node.removesuffix(DRIVER) in titles:
        return Step(titles[node.removesuffix(DRIVER)], state)
    return None


def _named(name: str) -> str:
    """Return the API's filter for a display name."""
    return json.dumps({"predicates": [{"operation": "EQUALS", "key": "display_name", "stringValue": name}]})


def _message(body: str | bytes | None) -> str:
    """Return the API's message in an error's body."""
    try:
        content = json.loads(body or "")
    except ValueError:
        return ""
    return (
        " ".join(str(content.get("message") or content.get("error") or "").split()) if isinstance(content, dict) else ""
    )


def _way_out(code: int | None, said: str) -> str:
    if "quota" in said.lower() or code == 429:
        return "wait until other runs have ended, request less in the section resources, or have the quota raised"
    if code in (401, 403):
        return (
            f"log in: put a bearer token into {VARIABLES[0]}, or, if it expires, its file into {VARIABLES[1]} or a "
            f"command that prints it into {VARIABLES[2]}, and give your namespace with --namespace"
        )
    if code == 404:
        return "correct the name or id, or --host: the API of Kubeflow Pipelines 2 is below /apis/v2beta1"
    return "see the log of the pod ml-pipeline"
