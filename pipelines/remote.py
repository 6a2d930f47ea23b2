"""Pipelines in a cluster: a version uploaded, a run started, followed and asked about, through Kubeflow's API."""

import contextlib
import hashlib
import json
import os
import sys
import tempfile
import time
import urllib.error
import urllib.request
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from pipelines.errors import PipelineError
from pipelines.running import compile_pipeline, parse_arguments
from sap2.constants import Seconds
from sap2.params import Params

__all__ = ["TOKEN", "Cluster", "Run", "Step"]

TOKEN = "SAP2_KFP_TOKEN"  # variable with the bearer token, where the cluster wants a login
PATIENCE: Seconds = 10
MISSES = 10  # answers in a row that may fail while a run is followed
ENDED = {"SUCCEEDED", "SKIPPED", "FAILED", "CANCELED"}


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
        error: Why it failed, as far as the cluster says.
    """

    id: str
    name: str
    state: str
    link: str
    steps: dict[str, Step]
    error: str = ""

    @property
    def ended(self) -> bool:
        return self.state in ENDED

    def __str__(self) -> str:
        lines = [f"{self.name}: {self.state}", *(f"  {step}" for step in self.steps.values())]
        return "\n".join([*lines, *([f"  {self.error}"] if self.error else []), f"  {self.link}"])


class Cluster:
    """Kubeflow Pipelines at an address.

    Args:
        host: Address of its API or UI, as http://localhost:8080 behind `kubectl port-forward`.
        namespace: The profile's, where several users share the cluster.
    Raises: PipelineError: nobody answers there, a login is wanted, or the namespace.
    """

    def __init__(self, host: str, namespace: str | None = None) -> None:
        self.host = (host if "://" in host else f"https://{host}").rstrip("/")
        if not self.host.startswith(("http://", "https://")):
            raise PipelineError(f"{self.host}: expected an address of http:// or https://; give it with --host")
        if self._asked_for_health().get("multi_user") and not namespace:
            raise PipelineError(f"{self.host}: several users share this cluster; say whose with --namespace NAME")
        self.namespace = namespace
        from kfp import Client

        with self._reporting("connect"), warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            self._client = Client(
                host=self.host, namespace=namespace or "kubeflow", existing_token=os.environ.get(TOKEN)
            )

    def submit(self, name: str, params: Params, experiment: str | None = None, arguments: Iterable[str] = ()) -> Run:
        """Upload the pipeline, unless this very version is there, and start a run with the profile's parameters.

        Args:
            experiment: An experiment that exists; None = the one runs are tracked in, made when it is not there.
            arguments: `key=value` for parameters of the pipeline.
        Raises: PipelineError: the cluster refuses.
        """
        with tempfile.TemporaryDirectory(prefix="sap2-pipeline-") as folder:
            package = compile_pipeline(name, params, Path(folder) / f"{name}.yaml")
            given = parse_arguments(name, package, arguments)
            pipeline, version = self._uploaded(f"sap2-{name}", params.profile, package)
        where = self._experiment(experiment, params.tracking.experiment)
        title = f"{name}-{params.profile}-{datetime.now(timezone.utc):%Y%m%d-%H%M%S}"
        with self._reporting("start the run"):
            started = self._client.run_pipeline(where, title, params=given, pipeline_id=pipeline, version_id=version)
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
                if getattr(error.__cause__, "status", None) in (401, 403, 404) or misses == MISSES:
                    raise
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
            found = self._client.get_pipeline_id(pipeline)
            if found is None:
                found = self._client.upload_pipeline(str(package), pipeline, namespace=self.namespace).pipeline_id
            predicate = {"operation": "EQUALS", "key": "display_name", "stringValue": version}
            listed = self._client.list_pipeline_versions(found, filter=json.dumps({"predicates": [predicate]}))
            for known in listed.pipeline_versions or []:
                if known.display_name == version:
                    return found, known.pipeline_version_id
            uploaded = self._client.upload_pipeline_version(str(package), version, pipeline_id=found)
            return found, uploaded.pipeline_version_id

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
        begun = [one for one in details or [] if one.state and one.display_name]
        steps = {one.task_id or one.display_name: Step(one.display_name, one.state) for one in begun}
        return Run(
            id=told.run_id,
            name=told.display_name or told.run_id,
            state=told.state or "PENDING",
            link=f"{self.host}/#/runs/details/{told.run_id}",
            steps=steps,
            error=told.error.message if told.error and told.error.message else "",
        )

    def _asked_for_health(self) -> dict:
        """What the API says of itself: asked first and once, as KFP's client would try for half a minute."""
        request = urllib.request.Request(f"{self.host}/apis/v2beta1/healthz")
        if token := os.environ.get(TOKEN):
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
        return f"log in: put a bearer token into {TOKEN}, and name your namespace with --namespace"
    if code == 404:
        return "correct the name or id, or --host: Kubeflow Pipelines 2 answers below /apis/v2beta1"
    return "see the log of the pod ml-pipeline"
