"""A TrainJob is created, followed and deleted."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from kubernetes.client import ApiClient, Configuration
from kubernetes_server import JOBS, Kubernetes, serving

from components.nodes import MAX_FAILURES, TrainJobError, run_trainjob
from pipelines.trainjob import trainjob
from sap2.params import load_params

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture
def cluster():
    with serving(Kubernetes()) as server:
        yield server


@pytest.fixture
def job() -> dict:
    return trainjob(load_params(ROOT / "params.yaml", "test"), "pruner", 2)


def run(cluster, job, **options) -> list[str]:
    messages = []
    configuration = Configuration(host=cluster.url)
    configuration.retries = False
    try:
        run_trainjob(job, "team", messages.append, every=0.01, client=ApiClient(configuration), **options)
    finally:
        cluster.told = messages
    return messages


def removed(cluster) -> bool:
    return cluster.job is None and cluster.deleted == [(f"{JOBS}/sap2-pruner-test", ["Foreground"])]


def test_a_job_is_created_followed_and_deleted(cluster, job):
    messages = run(cluster, job)
    assert cluster.created == [job]
    assert messages == [
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
    messages = run(cluster, job)
    assert "node 0| step 2 of 0" in messages and "sap2-pruner-test: complete" in messages


def test_a_failed_job_is_reported_and_deleted(cluster, job):
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
        (404, "the server could not find it", "Kubeflow Trainer is installed"),
        (409, "already exists", "kubectl delete -n team trainjob sap2-pruner-test"),
    ],
)
def test_a_refusal_states_the_way_out_and_deletes_nothing(cluster, job, code, message, way_out):
    cluster.refusals["POST"] = [(code, message)]
    with pytest.raises(TrainJobError, match=f"cannot create it: {message}.*{way_out}"):
        run(cluster, job)
    assert not cluster.deleted


def test_an_existing_job_is_joined_on_request(cluster, job):
    cluster.job = job
    messages = run(cluster, job, join=True)
    assert not cluster.created
    assert messages[0] == "sap2-pruner-test: already exists in team; following it"
    assert messages[-2:] == ["sap2-pruner-test: complete", "sap2-pruner-test: deleted"] and removed(cluster)


def test_a_job_under_deletion_is_awaited_and_created_again(cluster, job):
    cluster.job, cluster.leaving = job, 3
    messages = run(cluster, job, join=True)
    assert messages[:2] == [
        "sap2-pruner-test: an earlier job is being deleted; waiting until it is gone",
        "sap2-pruner-test: created in team",
    ]
    assert cluster.created == [job] and messages[-2] == "sap2-pruner-test: complete" and removed(cluster)


def test_a_deletion_that_never_ends_is_an_error(cluster, job, monkeypatch):
    monkeypatch.setattr("components.nodes.DELETION_TIMEOUT", 0.2)
    cluster.job, cluster.leaving = job, 10**9
    with pytest.raises(TrainJobError, match="already exists; wait for it, or kubectl delete"):
        run(cluster, job, join=True)
    assert not cluster.created and not cluster.deleted


def test_a_temporary_cluster_failure_is_retried(cluster, job):
    cluster.refusals["GET"] = [(503, "etcd is moving")] * (MAX_FAILURES - 1)
    assert run(cluster, job)[-2] == "sap2-pruner-test: complete"


def test_a_cluster_that_stays_away_ends_the_wait(cluster, job):
    cluster.refusals["GET"] = [(503, "etcd is gone")] * MAX_FAILURES
    with pytest.raises(TrainJobError, match="cannot watch it: etcd is gone"):
        run(cluster, job)
    assert removed(cluster)


def test_a_missing_permission_is_not_retried(cluster, job):
    cluster.refusals["GET"] = [(403, "pods is forbidden")]
    with pytest.raises(TrainJobError, match=r"pods is forbidden.*access\.yaml"):
        run(cluster, job)
    assert removed(cluster)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_command_removes_the_job_when_it_is_ended(cluster, tmp_path, number):
    cluster.end = None
    environment = os.environ | {"KUBECONFIG": str(cluster.kubeconfig(tmp_path))}
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
