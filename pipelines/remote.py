"""Pipelines in a cluster: a version uploaded, a run started, followed and asked about, through Kubeflow's API.

What the API answers was read in kubeflow/pipelines 2.17.0, below backend/src; the places are named where they matter.
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

PATIENCE: Seconds = 10
MISSES = 10  # answers in a row that may fail while a run is followed
ENDED = {"SUCCEEDED", "SKIPPED", "FAILED", "CANCELED"}
DRIVER = "-driver"  # what Argo's node of a task's driver ends in, its executor's has the task's key
SINGLE_USER = "kubeflow"  # namespace of the pods where nobody has one of their own


@dataclass(frozen=True)
class Step:
    """A step of a run: what Kubeflow's pages call it, and its state."""

    title: str
    state: str

    def __str__(self) -> str:
        return f"{self.title}: {self.state}"


@dataclass(frozen=True)
class Run:
    """A run as the cluster tells it.

    Attributes:
        state: PENDING, RUNNING, PAUSED, CANCELING, or how it ended: SUCCEEDED, SKIPPED, FAILED, CANCELED.
        steps: Each step that has begun, by its id: shards have one title.
        logs: How to read the logs of its pods; the API never says why a run failed.
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
            what = ", ".join(failed) or "no step; its pods could not be made"
            lines.append(f"  failed: {what}; why is in the log on that page, or: {self.logs}")
        return "\n".join(lines)


class Cluster:
    """Kubeflow Pipelines at an address.

    Args:
        host: Address of its API or UI, as http://localhost:8080 behind `kubectl port-forward`.
        namespace: The profile's, where several users share the cluster.
    Raises: PipelineError: nobody answers there, a login or a namespace is needed.
    """

    def __init__(self, host: str, namespace: str | None = None) -> None:
        self._login = Login()
        self.host = (host if "://" in host else f"https://{host}").rstrip("/")
        if not self.host.startswith(("http://", "https://")):
            raise PipelineError(f"{self.host}: expected an address of http:// or https://; give it with --host")
        if self._asked_for_health().get("multi_user") and not namespace:
            raise PipelineError(f"{self.host}: several users share this cluster; say whose with --namespace NAME")
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
        """Upload the pipeline, unless this very version is there, and start a run with the profile's parameters.

        Args:
            experiment: An experiment that exists; None = the one runs are tracked in, made when it is not there.
            arguments: `key=value` for parameters of the pipeline.
            service_account: Of the pods; None = the cluster's default, in a profile's namespace default-editor.
            utterances: Of the corpus, where the params do not say how many it has.
            tell: Gets what the pods will download, before anything is uploaded.
        Raises: PipelineError: the cluster refuses.
        """
        with tempfile.TemporaryDirectory(prefix="sap2-pipeline-") as folder:
            package = compile_pipeline(name, params, Path(folder) / f"{name}.yaml")
            given = {"host": self.host, **parse_arguments(name, package, arguments)}
            tell(str(count_downloads(read_spec(package), params, utterances)))
            pipeline, version = self._uploaded(f"sap2-{name}", params.profile, package)
        where = self._experiment(experiment, params.tracking.experiment)
        title = f"{name}-{params.profile}-{datetime.now(UTC):%Y%m%d-%H%M%S}"
        with self._reporting("start the run"):
            started = self._client.run_pipeline(
                where,
                title,
                params=given,
                pipeline_id=pipeline,
                version_id=version,
                service_account=service_account,
            )
        return self._run(started)

    def run(self, run_id: str) -> Run:
        """What has become of a run.

        Raises: PipelineError: there is no such run.
        """
        with self._reporting(f"find run {run_id}"):
            return self._run(self._client.get_run(run_id))

    def follow(self, run_id: str, tell: Callable[[str], None], every: Seconds = 10) -> Run:
        """Wait until a run has ended; `tell` gets a line for each change of a step.

        Raises: PipelineError: the cluster refuses, or has not answered several times in a row.
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
                if (status in (401, 403, 404) and not expired) or misses == MISSES:
                    raise
                self._login.forget()
                tell(f"{error}; asking again")
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
        """Ids of the pipeline and of the version with exactly this content."""
        digest = hashlib.sha256(package.read_bytes()).hexdigest()[:12]
        version = f"{profile}-{digest}"
        with self._reporting("upload the pipeline"):
            found = self._pipeline(pipeline)
            if found is None:
                found = self._client.upload_pipeline(str(package), pipeline, namespace=self.namespace).pipeline_id
            listed = self._client.list_pipeline_versions(found, filter=_named(version))
            for known in listed.pipeline_versions or []:
                if known.display_name == version:
                    return found, known.pipeline_version_id
            uploaded = self._client.upload_pipeline_version(str(package), version, pipeline_id=found)
            return found, uploaded.pipeline_version_id

    def _pipeline(self, name: str) -> str | None:
        """Id of the pipeline of that name in this namespace.

        KFP's `get_pipeline_id` sends no namespace: the server then lists the shared pipelines alone, so that a
        profile's own is never found and its second upload a conflict (apiserver/storage/pipeline_store.go,
        `ListPipelines`).
        """
        listed = self._client.list_pipelines(filter=_named(name), namespace=self.namespace)
        return next((one.pipeline_id for one in listed.pipelines or [] if one.display_name == name), None)

    def _experiment(self, wanted: str | None, fallback: str) -> str:
        with self._reporting("find the experiment"):
            if wanted is None:
                return self._client.create_experiment(fallback, namespace=self.namespace).experiment_id
            try:
                return self._client.get_experiment(experiment_name=wanted, namespace=self.namespace).experiment_id
            except ValueError as error:
                listed = self._client.list_experiments(namespace=self.namespace, page_size=100).experiments or []
                known = ", ".join(sorted(one.display_name for one in listed)) or "none"
                raise PipelineError(
                    f"{self.host}: no experiment {wanted!r}; there are {known}; without --experiment the run goes to "
                    f"{fallback!r}, which is made"
                ) from error

    def _run(self, told) -> Run:
        details = told.run_details.task_details if told.run_details else None
        titles = self._titles_of(told) if details else {}
        named = {
            one.task_id or one.display_name: _step(one.display_name or "", one.state, titles) for one in details or []
        }
        steps = {id_: step for id_, step in named.items() if step is not None}
        return Run(
            id=told.run_id,
            name=told.display_name or told.run_id,
            state=told.state or "PENDING",
            link=f"{self.host}/#/runs/details/{told.run_id}",
            steps=steps,
            logs=f"kubectl logs -n {self.namespace or SINGLE_USER} -l pipeline/runid={told.run_id} -c main --tail=50 "
            "--prefix",
        )

    def _titles_of(self, told: Any) -> dict[str, str] | None:
        """Titles of a run's steps by the keys of their tasks; None where its version is not there any more."""
        from kfp_server_api.exceptions import ApiException

        version = told.pipeline_version_reference
        key = version.pipeline_version_id if version else told.run_id
        if key not in self._titles:
            try:
                spec = (
                    self._client.get_pipeline_version(version.pipeline_id, key).pipeline_spec
                    if version
                    else told.pipeline_spec
                )
            except ApiException as error:
                if error.status != 404:
                    raise
                spec = None
            self._titles[key] = None if spec is None else step_titles(spec)
        return self._titles[key]

    def _asked_for_health(self) -> dict:
        """What the API says of itself: asked first and once, as KFP's client would try for half a minute."""
        request = urllib.request.Request(f"{self.host}/apis/v2beta1/healthz")
        if token := self._login.token():
            request.add_header("Authorization", f"Bearer {token}")
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            raise self._refused("answer", error.code, error.reason) from error
        except json.JSONDecodeError as error:  # a page to log in, most often
            raise self._refused("answer", 401, "it sends a page instead of an answer") from error
        except (OSError, ValueError) as error:
            why = getattr(error, "reason", error)
            raise PipelineError(
                f"{self.host}: nobody answers ({why}); give the address with --host, as http://localhost:8080 after "
                '"kubectl port-forward -n kubeflow svc/ml-pipeline-ui 8080:80"'
            ) from error

    @contextlib.contextmanager
    def _reporting(self, what: str) -> Iterator[None]:
        """Turn what KFP's client raises into a sentence; what it prints is for stderr."""
        from kfp_server_api.exceptions import ApiException
        from urllib3.exceptions import HTTPError

        try:
            with contextlib.redirect_stdout(sys.stderr):
                yield
        except ApiException as error:
            raise self._refused(what, error.status, _said(error.body) or error.reason) from error
        except HTTPError as error:
            raise PipelineError(f"{self.host}: does not {what}: {error}; is it still there?") from error

    def _refused(self, what: str, code: int | None, said: str) -> PipelineError:
        return PipelineError(f"{self.host}: does not {what}: {said} ({code}); {_way_out(code, said)}")


def step_titles(spec: Mapping[str, Any]) -> dict[str, str]:
    """Titles of a compiled pipeline's tasks that are containers, by their keys.

    Args:
        spec: As compiled, or as the API gives it back beside a `platform_spec` (apiserver/server/api_util.go).
    """
    spec = spec.get("pipeline_spec", spec)
    dags = [one["dag"]["tasks"] for one in (spec["root"], *spec["components"].values()) if "dag" in one]
    return {
        key: task["taskInfo"]["name"]
        for tasks in dags
        for key, task in tasks.items()
        if "executorLabel" in spec["components"][task["componentRef"]["name"]]
    }


def _step(node: str, state: str | None, titles: Mapping[str, str] | None) -> Step | None:
    """What a node of Argo's workflow is to people; None for what holds the workflow together and what has not begun.

    The API lists all nodes, by Argo's display names: root-driver, prepare-driver, prepare, executor, executor(0)
    (apiserver/server/api_converter.go, `toModelTask`; common/util/workflow.go, `NodeStatuses`). A driver is a step's
    only node where it fails: the executor is omitted, whose state the API leaves open.
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
    """The API's filter for a display name."""
    return json.dumps({"predicates": [{"operation": "EQUALS", "key": "display_name", "stringValue": name}]})


def _said(body: str | bytes | None) -> str:
    """The API's own words in an error's body."""
    try:
        told = json.loads(body or "")
    except ValueError:
        return ""
    return " ".join(str(told.get("message") or told.get("error") or "").split()) if isinstance(told, dict) else ""


def _way_out(code: int | None, said: str) -> str:
    if "quota" in said.lower() or code == 429:
        return "wait until other runs have ended, ask for less in the section resources, or have the quota raised"
    if code in (401, 403):
        return (
            f"log in: put a bearer token into {VARIABLES[0]}, or, where it expires, its file into {VARIABLES[1]} or a "
            f"command that prints it into {VARIABLES[2]}, and give your namespace with --namespace"
        )
    if code == 404:
        return "correct the name or id, or --host: Kubeflow Pipelines 2 answers below /apis/v2beta1"
    return "see the log of the pod ml-pipeline"
