"""A TrainJob is created, followed and removed, against a local server that speaks Kubernetes' published paths."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from kubernetes.client import ApiClient, Configuration

from components.nodes import MISSES, TrainJobError, run_trainjob
from pipelines.trainjob import trainjob
from sap2.params import load_params

ROOT = Path(__file__).parent.parent.parent
JOBS = "/apis/trainer.kubeflow.org/v1alpha1/namespaces/team/trainjobs"
PODS = "/api/v1/namespaces/team/pods"


class Kubernetes(ThreadingHTTPServer):
    """A test double: one job, and two pods that get on with every look at the job."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.job = None  # while it is there
        self.created, self.deleted, self.looks = [], [], 0
        self.refusals = {}  # method: [(code, message), …], each once
        self.late = False  # whether a pod has no log at the first look
        self.end = "Complete"  # None = it goes on for ever

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Kubernetes

    def log_message(self, *_):
        pass

    def answer(self, content, code=200):
        body = content.encode() if isinstance(content, str) else json.dumps(content).encode()
        self.send_response(code)
        self.send_header("Content-Type", "text/plain" if isinstance(content, str) else "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def refused(self) -> bool:
        if waiting := self.server.refusals.get(self.command):
            code, message = waiting.pop(0)
            self.answer({"kind": "Status", "code": code, "message": message}, code)
            return True
        return False

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.refused():
            return
        assert self.path == JOBS
        self.server.job = body
        self.server.created.append(body)
        self.answer(body, 201)

    def do_DELETE(self):
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        url = urlsplit(self.path)
        self.server.deleted.append((url.path, parse_qs(url.query)["propagationPolicy"]))
        found, self.server.job = self.server.job, None
        self.answer(found or {"message": "not found"}, 200 if found else 404)

    def do_GET(self):
        if self.refused():
            return
        url, server = urlsplit(self.path), self.server
        query = {key: values[0] for key, values in parse_qs(url.query).items()}
        if url.path.startswith(JOBS):
            server.looks += 1
            ended = server.looks >= 3 and server.end
            conditions = [{"type": "Suspended", "status": "False"}]
            conditions += [{"type": server.end, "status": "True", "message": "node-0 went away"}] if ended else []
            self.answer(server.job | {"status": {"conditions": conditions}})
        elif url.path == PODS:
            assert query["labelSelector"] == f"jobset.sigs.k8s.io/jobset-name={server.job['metadata']['name']}"
            phase = "Pending" if server.looks == 1 else "Running"
            labels = [{"batch.kubernetes.io/job-completion-index": str(node)} for node in range(2)]
            pods = [
                {"metadata": {"name": f"pod-{n}", "labels": one}, "status": {"phase": phase}}
                for n, one in enumerate(labels)
            ]
            self.answer({"kind": "PodList", "items": pods})
        else:
            node = re.fullmatch(f"{PODS}/pod-(.)/log", url.path).group(1)
            assert server.looks > 1, "a pending pod has no log"
            assert query["timestamps"] == "True"
            if server.looks == 2 and server.late:
                return self.answer({"message": "the container is not there yet"}, 400)
            assert ("sinceSeconds" in query) == (server.looks > 2 + server.late), (
                "a week's log is not read at every look"
            )
            lines = [
                f"2026-11-25T10:00:0{look}.500000000Z step {look} of {node}" for look in range(2, server.looks + 1)
            ]
            self.answer("\n".join(lines) + "\n")


@pytest.fixture
def cluster():
    server = Kubernetes()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def job() -> dict:
    return trainjob(load_params(ROOT / "params.yaml", "test"), "pruner", 2)


def run(cluster, job) -> list[str]:
    told = []
    configuration = Configuration(host=cluster.url)
    configuration.retries = False
    try:
        run_trainjob(job, "team", told.append, every=0.01, client=ApiClient(configuration))
    finally:
        cluster.told = told
    return told


def removed(cluster) -> bool:
    return cluster.job is None and cluster.deleted == [(f"{JOBS}/sap2-pruner-test", ["Foreground"])]


def test_it_is_created_as_printed_followed_line_by_line_and_removed(cluster, job):
    told = run(cluster, job)
    assert cluster.created == [job]
    assert told == [
        "sap2-pruner-test: created in team",
        "node 0: Pending",
        "node 1: Pending",
        "node 0: Running",
        "node 0| step 2 of 0",
        "node 1: Running",
        "node 1| step 2 of 1",
        "node 0| step 3 of 0",
        "node 1| step 3 of 1",
        "sap2-pruner-test: complete",
        "sap2-pruner-test: deleted",
    ]
    assert removed(cluster)


def test_a_pod_without_a_log_stops_nothing(cluster, job):
    cluster.late = True
    told = run(cluster, job)
    assert "node 0| step 2 of 0" in told and "sap2-pruner-test: complete" in told


def test_a_job_that_fails_is_told_with_its_reason_and_removed(cluster, job):
    cluster.end = "Failed"
    with pytest.raises(TrainJobError, match="TrainJob sap2-pruner-test failed: node-0 went away"):
        run(cluster, job)
    assert "node 1| step 3 of 1" in cluster.told, "what it said last is what explains the failure"
    assert removed(cluster)


@pytest.mark.parametrize(
    ("code", "message", "way_out"),
    [
        (401, "Unauthorized", "log in"),
        (403, "trainjobs is forbidden", "access.yaml"),
        (404, "the server could not find it", "Kubeflow Trainer installed"),
        (409, "already exists", "kubectl delete -n team trainjob sap2-pruner-test"),
    ],
)
def test_a_refusal_is_told_with_the_way_out_and_nothing_of_others_is_removed(cluster, job, code, message, way_out):
    cluster.refusals["POST"] = [(code, message)]
    with pytest.raises(TrainJobError, match=f"cannot create it: {message}.*{way_out}"):
        run(cluster, job)
    assert not cluster.deleted


def test_a_cluster_that_stumbles_is_asked_again(cluster, job):
    cluster.refusals["GET"] = [(503, "etcd is moving")] * (MISSES - 1)
    assert run(cluster, job)[-2] == "sap2-pruner-test: complete"


def test_a_cluster_that_stays_away_ends_the_wait(cluster, job):
    cluster.refusals["GET"] = [(503, "etcd is gone")] * MISSES
    with pytest.raises(TrainJobError, match="cannot watch it: etcd is gone"):
        run(cluster, job)
    assert removed(cluster)


def test_a_right_that_is_missing_is_not_asked_for_again(cluster, job):
    cluster.refusals["GET"] = [(403, "pods is forbidden")]
    with pytest.raises(TrainJobError, match=r"pods is forbidden.*access\.yaml"):
        run(cluster, job)
    assert removed(cluster)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_command_removes_the_job_when_it_is_ended(cluster, tmp_path, number):
    cluster.end = None
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "here",
        "contexts": [{"name": "here", "context": {"cluster": "here", "user": "me"}}],
        "clusters": [{"name": "here", "cluster": {"server": cluster.url}}],
        "users": [{"name": "me", "user": {}}],
    }
    (tmp_path / "config").write_text(json.dumps(config), encoding="utf-8")
    environment = os.environ | {"KUBECONFIG": str(tmp_path / "config")}
    command = ["trainjob", "--run", "--profile", "test", "--nodes", "2", "--namespace", "team"]
    running = subprocess.Popen(
        [sys.executable, "-m", "sap2", *command], cwd=ROOT, env=environment,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background jobs ignore it
    )  # fmt: skip
    try:
        until = time.monotonic() + 60
        while cluster.looks == 0 and running.poll() is None and time.monotonic() < until:
            time.sleep(0.05)
        assert cluster.looks, "it was never asked"
        running.send_signal(number)
        assert running.wait(30) != 0
    finally:
        running.kill()
    assert removed(cluster)
