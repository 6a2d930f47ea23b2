"""`sap2 pipeline submit` and `status` against a local server that speaks the published paths of KFP's API v2beta1."""

import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest
from typer.testing import CliRunner

from pipelines.errors import PipelineError
from pipelines.remote import MISSES, Cluster
from sap2 import cli
from sap2.params import load_params


class Kubeflow(ThreadingHTTPServer):
    """A test double: pipelines, versions, experiments and runs in memory; a run gets on with every look at it."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.multi_user = False
        self.token = None  # None = no login
        self.refusal = None  # (path, code, message)
        self.page = None  # HTML for every path, as a login page
        self.away = []  # (code, message) of the next looks at a run
        self.end = "SUCCEEDED"
        self.pipelines, self.versions, self.experiments, self.runs = {}, {}, {"Default": "e0"}, {}
        self.uploads = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Kubeflow

    def log_message(self, *_):
        pass

    def answer(self, content, code=200, kind="application/json"):
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(code)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def handled(self, method):
        self.body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        url = urlsplit(self.path)
        self.query = {key: values[0] for key, values in parse_qs(url.query).items()}
        if self.server.page:
            return self.answer(self.server.page, kind="text/html")
        if self.server.token and self.headers.get("Authorization") != f"Bearer {self.server.token}":
            return self.answer({"message": "Unauthenticated", "code": 16}, 401)
        if self.server.refusal and url.path.endswith(self.server.refusal[0]) and method == "POST":
            return self.answer({"message": self.server.refusal[2]}, self.server.refusal[1])
        for verb, pattern, name in ROUTES:
            match = re.fullmatch(f"/apis/v2beta1{pattern}", url.path)
            if verb == method and match:
                return getattr(self, name)(*match.groups())
        return self.answer({"message": f"Not Found: {url.path}"}, 404)

    def do_GET(self):
        self.handled("GET")

    def do_POST(self):
        self.handled("POST")

    def healthz(self):
        self.answer({"multi_user": self.server.multi_user})

    def list_pipelines(self):
        named = [{"pipeline_id": id_, "display_name": name} for name, id_ in self.server.pipelines.items()]
        self.answer({"pipelines": named, "total_size": len(named)})

    def upload(self):
        self.server.uploads.append(self.body)
        self.server.pipelines[self.query["name"]] = "p1"
        self.answer({"pipeline_id": "p1", "display_name": self.query["name"]})

    def upload_version(self):
        self.server.uploads.append(self.body)
        name = self.query["name"]
        self.server.versions[name] = f"v{len(self.server.versions) + 1}"
        self.answer({"pipeline_id": "p1", "pipeline_version_id": self.server.versions[name], "display_name": name})

    def list_versions(self, _):
        wanted = json.loads(self.query["filter"])["predicates"][0]["stringValue"]
        found = [
            {"pipeline_version_id": id_, "display_name": name}
            for name, id_ in self.server.versions.items()
            if name == wanted
        ]
        self.answer({"pipeline_versions": found})

    def list_experiments(self):
        named = [{"experiment_id": id_, "display_name": name} for name, id_ in self.server.experiments.items()]
        if "filter" in self.query:
            wanted = json.loads(self.query["filter"])["predicates"][0]
            named = [
                one for one in named if one["display_name"] == wanted.get("stringValue", wanted.get("string_value"))
            ]
        self.answer({"experiments": named})

    def create_experiment(self):
        name = json.loads(self.body)["display_name"]
        self.server.experiments[name] = f"e{len(self.server.experiments)}"
        self.answer({"experiment_id": self.server.experiments[name], "display_name": name})

    def create_run(self):
        run = {**json.loads(self.body), "run_id": "r1", "state": "PENDING", "looks": 0}
        self.server.runs["r1"] = run
        self.answer(run)

    def get_run(self, id_):
        run = self.server.runs.get(id_)
        if run is None:
            return self.answer({"message": f"Failed to get run {id_}: not found"}, 404)
        if self.server.away:
            code, message = self.server.away.pop(0)
            return self.answer({"message": message}, code)
        run["looks"] += 1
        steps = [{"task_id": "t0", "display_name": "Prepare corpus", "state": "SUCCEEDED"}]
        shards = ["SUCCEEDED" if run["looks"] > n + 1 else "RUNNING" for n in range(2)]
        title = "Transcribe a shard"
        steps += [{"task_id": f"s{n}", "display_name": title, "state": state} for n, state in enumerate(shards)]
        if run["looks"] < 3:
            run["state"] = "RUNNING"
            steps.append({"task_id": "t1", "display_name": "Train pruner", "state": "RUNNING"})
        else:
            run["state"] = self.server.end
            steps.append({"task_id": "t1", "display_name": "Train pruner", "state": self.server.end})
            if self.server.end == "FAILED":
                run["error"] = {"code": 1, "message": "Train pruner: OOMKilled"}
        self.answer({**run, "run_details": {"task_details": steps}})


ROUTES = [
    ("GET", "/healthz", "healthz"),
    ("GET", "/pipelines", "list_pipelines"),
    ("POST", "/pipelines/upload", "upload"),
    ("POST", "/pipelines/upload_version", "upload_version"),
    ("GET", "/pipelines/([^/]+)/versions", "list_versions"),
    ("GET", "/experiments", "list_experiments"),
    ("POST", "/experiments", "create_experiment"),
    ("POST", "/runs", "create_run"),
    ("GET", "/runs/([^/]+)", "get_run"),
]


@pytest.fixture
def kubeflow(monkeypatch):
    for name in ("SAP2_KFP_TOKEN", "KF_PIPELINES_ENDPOINT", "KF_PIPELINES_UI_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("pipelines.remote.time.sleep", lambda seconds: None)
    with Kubeflow() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def sap2(*arguments: str):
    return CliRunner().invoke(cli.app, ["pipeline", *arguments], catch_exceptions=True)


def submit(server, *arguments: str):
    return sap2("submit", "--host", server.url, "--profile", "test", *arguments)


def test_submit_uploads_a_version_starts_a_run_and_prints_its_page(kubeflow):
    done = submit(kubeflow)
    assert done.exit_code == 0, done.output
    assert f"{kubeflow.url}/#/runs/details/r1" in done.stdout
    assert list(kubeflow.pipelines) == ["sap2-train-and-evaluate"]
    [version] = kubeflow.versions
    assert re.fullmatch(r"test-[0-9a-f]{12}", version)
    assert b"exec-train-pruner" in kubeflow.uploads[-1]
    run = kubeflow.runs["r1"]
    assert re.fullmatch(r"train-and-evaluate-test-\d{8}-\d{6}", run["display_name"])
    assert run["pipeline_version_reference"] == {"pipeline_id": "p1", "pipeline_version_id": "v1"}
    assert run["experiment_id"] == kubeflow.experiments["sap2-asr-test"]
    assert "parameters" not in run["runtime_config"] or not run["runtime_config"]["parameters"]


def test_the_same_pipeline_is_uploaded_once_and_a_changed_one_anew(kubeflow):
    submit(kubeflow)
    uploads = len(kubeflow.uploads)
    assert submit(kubeflow).exit_code == 0
    assert len(kubeflow.uploads) == uploads
    assert submit(kubeflow, "-S", "inference.num_beams=2").exit_code == 0
    assert (len(kubeflow.uploads), len(kubeflow.versions)) == (uploads + 1, 2)


def test_wait_follows_the_run_to_its_end(kubeflow):
    done = submit(kubeflow, "--wait")
    assert done.exit_code == 0, done.output
    lines = done.output.splitlines()
    assert lines.count("Train pruner: RUNNING") == 1, "a state is told once"
    assert "Train pruner: SUCCEEDED" in lines
    assert lines.count("Transcribe a shard: RUNNING") == lines.count("Transcribe a shard: SUCCEEDED") == 2
    kubeflow.end = "FAILED"
    failed = submit(kubeflow, "--wait")
    assert failed.exit_code == 1
    assert "OOMKilled" in failed.stdout


def test_an_answer_that_fails_does_not_end_the_wait_and_many_do(kubeflow):
    kubeflow.away = [(503, "upstream is restarting")] * (MISSES - 1)
    done = submit(kubeflow, "--wait")
    assert done.exit_code == 0, done.output
    assert done.output.count("upstream is restarting (503)") == MISSES - 1 and "asking again" in done.output
    kubeflow.away = [(503, "upstream is gone")] * MISSES
    assert "upstream is gone (503)" in str(submit(kubeflow, "--wait").exception)
    kubeflow.away = [(403, "runs is forbidden"), (200, "never asked")]
    assert "runs is forbidden (403)" in str(submit(kubeflow, "--wait").exception)
    assert len(kubeflow.away) == 1


def test_status_tells_the_steps_of_a_run(kubeflow):
    submit(kubeflow)
    done = sap2("status", "r1", "--host", kubeflow.url)
    assert done.exit_code == 0
    shards = ["  Transcribe a shard: RUNNING"] * 2
    assert done.stdout.splitlines()[1:5] == ["  Prepare corpus: SUCCEEDED", *shards, "  Train pruner: RUNNING"]
    assert done.stdout.splitlines()[0].endswith(": RUNNING")


def test_a_token_of_the_environment_is_the_login(kubeflow, monkeypatch):
    kubeflow.token = "s3cret"
    refused = submit(kubeflow)
    assert isinstance(refused.exception, PipelineError)
    assert "Unauthorized (401); log in: put a bearer token into SAP2_KFP_TOKEN" in str(refused.exception)
    monkeypatch.setenv("SAP2_KFP_TOKEN", "s3cret")
    done = submit(kubeflow)
    assert done.exit_code == 0
    assert "s3cret" not in done.output


def told(kubeflow, *arguments: str) -> str:
    params = load_params("params.yaml", "test")
    with pytest.raises(PipelineError) as raised:
        cluster = Cluster(kubeflow.url)
        if arguments[:1] == ("status",):
            cluster.run(arguments[1])
        else:
            cluster.submit("train-and-evaluate", params, *arguments)
    return str(raised.value)


def test_a_page_to_log_in_is_told_as_such(kubeflow):
    kubeflow.page = b"<html>Log in to dex</html>"
    assert "it sends a page instead of an answer (401); log in" in told(kubeflow)


def test_a_shared_cluster_wants_a_namespace(kubeflow):
    kubeflow.multi_user = True
    assert "say whose with --namespace NAME" in told(kubeflow)
    assert submit(kubeflow, "--namespace", "ana").exit_code == 0


def test_an_unknown_experiment_is_told_with_those_there_are(kubeflow):
    message = told(kubeflow, "nonsense")
    assert "no experiment 'nonsense'; there are Default; without --experiment" in message


@pytest.mark.parametrize(("code", "message"), [(403, "pods is forbidden: exceeded quota: gpus"), (429, "Too many")])
def test_a_quota_is_told_with_what_to_do(kubeflow, code, message):
    kubeflow.refusal = ("/runs", code, message)
    assert f"does not start the run: {message} ({code}); wait until other runs have ended" in told(kubeflow)


def test_an_unknown_run_is_told(kubeflow):
    assert "does not find run r9: Failed to get run r9: not found (404); correct the name or id" in told(
        kubeflow, "status", "r9"
    )


def test_no_host_and_nobody_there_are_told(kubeflow, monkeypatch):
    done = sap2("submit", "--profile", "test")
    assert done.exit_code == 2
    assert "--host http://localhost:8080" in " ".join(done.output.split())
    kubeflow.shutdown()
    kubeflow.server_close()
    with pytest.raises(PipelineError, match=r"nobody answers \(.*refused\); give the address with --host"):
        Cluster(kubeflow.url)
