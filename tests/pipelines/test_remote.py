"""`sap2 pipeline submit` and `status` against a fake of KFP's API v2beta1 (tests/kubeflow_server.py)."""

import re
import sys
import threading

import pytest
from kubeflow_server import OMITTED, Kubeflow
from typer.testing import CliRunner

from pipelines.errors import PipelineError
from pipelines.login import VARIABLES
from pipelines.remote import MAX_FAILURES, Cluster
from sap2 import cli
from sap2.params import load_params


@pytest.fixture
def kubeflow(monkeypatch):
    for name in (*VARIABLES, "KF_PIPELINES_ENDPOINT", "KF_PIPELINES_UI_ENDPOINT"):
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


def test_submit_uploads_runs_and_prints_the_page(kubeflow):
    done = submit(kubeflow)
    assert done.exit_code == 0, done.output
    assert f"{kubeflow.url}/#/runs/details/r1" in done.stdout
    assert "downloads: 7 steps download the corpus (38 recordings), 266 files in total" in done.stderr
    assert list(kubeflow.pipelines) == [("", "sap2-train-and-evaluate")]
    [version] = kubeflow.versions.values()
    assert re.fullmatch(r"test-[0-9a-f]{12}", version["name"])
    assert b"exec-train-pruner" in kubeflow.uploads[-1]
    run = kubeflow.runs["r1"]
    assert re.fullmatch(r"train-and-evaluate-test-\d{8}-\d{6}", run["display_name"])
    assert run["pipeline_version_reference"] == {"pipeline_id": "p1", "pipeline_version_id": "v1"}
    assert run["experiment_id"] == kubeflow.experiments["sap2-asr-test"]
    assert run["runtime_config"]["parameters"] == {"host": kubeflow.url}, "for the links in what the run announces"
    assert "service_account" not in run


def test_only_a_changed_pipeline_is_uploaded_again(kubeflow):
    submit(kubeflow)
    uploads = len(kubeflow.uploads)
    assert submit(kubeflow).exit_code == 0
    assert len(kubeflow.uploads) == uploads
    assert submit(kubeflow, "-S", "inference.num_beams=2").exit_code == 0
    assert (len(kubeflow.uploads), len(kubeflow.versions)) == (uploads + 1, 2)


def test_wait_tells_steps_by_their_titles_and_no_nodes_of_argo(kubeflow):
    done = submit(kubeflow, "--wait")
    assert done.exit_code == 0, done.output
    lines = done.output.splitlines()
    assert lines.count("Train pruner: RUNNING") == 1, "a state is told once"
    assert "Train pruner: SUCCEEDED" in lines and "Announce the verdict: SUCCEEDED" in lines
    assert not [line for line in lines if re.search("driver|executor|handler|root|x7v2q|UNSPECIFIED", line)]


def test_shards_are_reported_with_their_tasks_title(kubeflow):
    kubeflow.busy = ["transcribe-shard", "transcribe-shard"]
    lines = sap2(
        "submit", "transcribe-batch", "--host", kubeflow.url, "--profile", "test", "--wait"
    ).output.splitlines()
    assert lines.count("Transcribe a shard: RUNNING") == lines.count("Transcribe a shard: SUCCEEDED") == 2


@pytest.mark.parametrize("driver", [False, True])
def test_a_failed_run_names_its_step_and_where_its_log_is(kubeflow, driver):
    """The API gives no reason; a step whose driver fails has no executor."""
    kubeflow.end, kubeflow.driver_fails = "FAILED", driver
    failed = submit(kubeflow, "--wait")
    assert failed.exit_code == 1
    said = failed.stdout.splitlines()[-1]
    assert said == (
        "  failed: Train pruner; see the log on that page, or run: "
        "kubectl logs -n kubeflow -l pipeline/runid=r1 -c main --tail=50 --prefix"
    )
    assert "Evaluate" not in failed.output, "what never began"


def test_a_run_of_a_deleted_version_is_reported_by_nodes(kubeflow):
    submit(kubeflow)
    kubeflow.versions.clear()
    kubeflow.nodes = lambda run: [("sap2-x7v2q", "RUNNING"), ("prepare", "RUNNING"), ("lists", OMITTED)]
    assert [step.title for step in Cluster(kubeflow.url).run("r1").steps.values()] == ["sap2-x7v2q", "prepare"]


def test_an_answer_that_fails_does_not_end_the_wait_and_many_do(kubeflow):
    kubeflow.away = [(503, "upstream is restarting")] * (MAX_FAILURES - 1)
    done = submit(kubeflow, "--wait")
    assert done.exit_code == 0, done.output
    assert done.output.count("upstream is restarting (503)") == MAX_FAILURES - 1 and "retrying" in done.output
    kubeflow.away = [(503, "upstream is gone")] * MAX_FAILURES
    assert "upstream is gone (503)" in str(submit(kubeflow, "--wait").exception)
    kubeflow.away = [(403, "runs is forbidden"), (200, "never asked")]
    assert "runs is forbidden (403)" in str(submit(kubeflow, "--wait").exception)
    assert len(kubeflow.away) == 1


def test_status_tells_the_steps_of_a_run(kubeflow):
    submit(kubeflow)
    done = sap2("status", "r1", "--host", kubeflow.url)
    assert done.exit_code == 0
    assert done.stdout.splitlines()[1:3] == ["  Prepare corpus: SUCCEEDED", "  Train pruner: RUNNING"]
    assert done.stdout.splitlines()[0].endswith(": RUNNING")


def test_a_token_of_the_environment_is_the_login(kubeflow, monkeypatch):
    kubeflow.tokens = ["s3cret"]
    refused = submit(kubeflow)
    assert isinstance(refused.exception, PipelineError)
    assert "Unauthorized (401); log in: put a bearer token into SAP2_KFP_TOKEN" in str(refused.exception)
    monkeypatch.setenv("SAP2_KFP_TOKEN", "s3cret")
    done = submit(kubeflow)
    assert done.exit_code == 0
    assert "s3cret" not in done.output


def test_a_token_in_a_file_is_read_anew_when_it_is_renewed(kubeflow, monkeypatch, tmp_path):
    """As Kubernetes and identity providers renew it while a run is followed for days."""
    file = tmp_path / "token"
    file.write_text("first\n", encoding="utf-8")
    monkeypatch.setenv("SAP2_KFP_TOKEN_FILE", str(file))
    kubeflow.tokens = ["first"]
    submit(kubeflow)
    cluster = Cluster(kubeflow.url)
    kubeflow.tokens, kubeflow.busy = ["second"], ["train-pruner"]
    told = []
    monkeypatch.setattr("pipelines.remote.time.sleep", lambda seconds: file.write_text("second", encoding="utf-8"))
    assert cluster.follow("r1", told.append).state == "SUCCEEDED"
    assert "401" in told[0] and "retrying" in told[0]


def test_a_refused_token_is_requested_from_the_command_again(kubeflow, monkeypatch, tmp_path):
    script = tmp_path / "token.py"
    count = (
        f"from pathlib import Path; f = Path({str(tmp_path / 'count')!r}); n = len(f.read_text()) if f.exists() else 0"
    )
    script.write_text(f"{count}; f.write_text('x' * (n + 1)); print(f'token-{{n}}')", encoding="utf-8")
    monkeypatch.setenv("SAP2_KFP_TOKEN_COMMAND", f"{sys.executable} {script}")
    kubeflow.tokens = ["token-0"]
    cluster = Cluster(kubeflow.url)
    cluster.submit("train-and-evaluate", load_params("params.yaml", "test"))
    assert (tmp_path / "count").read_text() == "x", "not run at each request"
    kubeflow.tokens = ["token-1"]
    assert cluster.follow("r1", lambda line: None).state == "SUCCEEDED"


def test_an_unusable_login_is_an_error(kubeflow, monkeypatch):
    monkeypatch.setenv("SAP2_KFP_TOKEN_FILE", "/nowhere/token")
    with pytest.raises(PipelineError, match="SAP2_KFP_TOKEN_FILE: /nowhere/token cannot be read: No such file"):
        Cluster(kubeflow.url)
    monkeypatch.setenv("SAP2_KFP_TOKEN_COMMAND", "false")
    with pytest.raises(
        PipelineError, match="SAP2_KFP_TOKEN_FILE and SAP2_KFP_TOKEN_COMMAND are set, expected only one"
    ):
        Cluster(kubeflow.url)
    monkeypatch.delenv("SAP2_KFP_TOKEN_FILE")
    with pytest.raises(PipelineError, match="SAP2_KFP_TOKEN_COMMAND: false: exit code 1; expected a command"):
        Cluster(kubeflow.url)


def told(kubeflow, *arguments: str) -> str:
    params = load_params("params.yaml", "test")
    with pytest.raises(PipelineError) as raised:
        cluster = Cluster(kubeflow.url)
        if arguments[:1] == ("status",):
            cluster.run(arguments[1])
        else:
            cluster.submit("train-and-evaluate", params, *arguments)
    return str(raised.value)


def test_a_login_page_is_an_error(kubeflow):
    kubeflow.page = b"<html>Log in to dex</html>"
    assert "it sent a web page, expected JSON (401); log in" in told(kubeflow)


@pytest.mark.parametrize("required", [False, True])
def test_each_namespace_has_its_own_pipeline(kubeflow, required):
    kubeflow.multi_user, kubeflow.namespace_required = True, required
    assert "give a namespace with --namespace NAME" in told(kubeflow)
    for namespace in ("ana", "ana", "ben"):
        done = submit(kubeflow, "--namespace", namespace)
        assert done.exit_code == 0, done.exception
    assert [namespace for namespace, _ in kubeflow.pipelines] == ["ana", "ben"]
    assert [version["pipeline"] for version in kubeflow.versions.values()] == ["p1", "p2"], "uploaded once a namespace"


def test_the_pods_get_the_service_account_that_is_given(kubeflow):
    submit(kubeflow, "--service-account", "trainer")
    assert kubeflow.runs["r1"]["service_account"] == "trainer"


def test_an_unknown_experiment_lists_the_known_ones(kubeflow):
    message = told(kubeflow, "nonsense")
    assert "no experiment 'nonsense', expected one of: Default; without --experiment" in message


@pytest.mark.parametrize(("code", "message"), [(403, "pods is forbidden: exceeded quota: gpus"), (429, "Too many")])
def test_an_exceeded_quota_states_the_way_out(kubeflow, code, message):
    kubeflow.refusal = ("/runs", code, message)
    assert f"does not start the run: {message} ({code}); wait until other runs have ended" in told(kubeflow)


def test_an_unknown_run_is_an_error(kubeflow):
    assert "does not find run r9: Failed to get run r9: not found (404); correct the name or id" in told(
        kubeflow, "status", "r9"
    )


def test_a_missing_or_silent_host_is_an_error(kubeflow, monkeypatch):
    done = sap2("submit", "--profile", "test")
    assert done.exit_code == 2
    assert "--host http://localhost:8080" in " ".join(done.output.split())
    kubeflow.shutdown()
    kubeflow.server_close()
    with pytest.raises(PipelineError, match=r"no response \(.*refused\); give the address with --host"):
        Cluster(kubeflow.url)
