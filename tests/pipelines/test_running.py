"""The complete compiled pipeline on this machine, with injected faults."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from kfp import dsl
from mlflow import MlflowClient
from webhook import webhook

from components.flow import report_end
from pipelines import running
from pipelines.errors import PipelineError
from pipelines.resources import configure
from pipelines.running import compile_pipeline, run_locally
from sap2.errors import InputError
from sap2.files import write_jsonl
from sap2.params import load_params

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(scope="module")
def kubeflow(environment, repository, tmp_path_factory):
    """Runs `sap2 pipeline run --local` of the profile `test` in the copy of the repository."""
    folder = tmp_path_factory.mktemp("kubeflow")
    (folder / "faults").mkdir()
    path = os.pathsep.join([str(Path(__file__).parent / "faults"), str(repository)])
    variables = {
        **environment, "PYTHONPATH": path, "SAP2_FAULTS": str(folder / "faults"),
        "MLFLOW_TRACKING_URI": f"sqlite:///{folder / 'mlruns.db'}",
    }  # fmt: skip

    def sap2(*arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "sap2", *arguments], cwd=repository, env=variables, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout[-6000:]
        return re.sub(r"\x1b\[\d+m", "", done.stdout)

    sap2.folder = folder
    return sap2


@pytest.fixture(scope="module")
def first_run(kubeflow) -> str:
    return kubeflow("pipeline", "run", "--local", "--folder", str(kubeflow.folder))


def test_print_is_as_before_whatever_the_runner_leaves_behind(monkeypatch, tmp_path):
    before = print

    def pipeline(**_):
        monkeypatch.setattr("builtins.print", lambda *args, **kwargs: before("    ", *args, **kwargs))
        raise RuntimeError("a step failed.")

    pipeline.component_spec = SimpleNamespace(inputs={})
    monkeypatch.setattr(running.components, "load_component_from_file", lambda _: pipeline)
    with pytest.raises(PipelineError, match="a step failed"):
        run_locally("transcribe-batch", load_params(ROOT / "params.yaml", "test"), tmp_path)
    assert print is before


@pytest.mark.slow  # the whole flow, once more
def test_pipeline_metrics_equal_dvc_despite_failures(kubeflow, first_run, reproduced, repository):
    assert {path.name for path in (kubeflow.folder / "faults").iterdir()} == {"disk-full", "killed"}
    assert "Task prepare failed (attempt 1/4)" in first_run
    assert "Task train-pruner failed (attempt 1/4)" in first_run
    assert re.search(r"pruner: resuming from .*checkpoint-2", first_run)

    [metrics] = (kubeflow.folder / "artifacts").glob("*/evaluate/reports/metrics.json")
    by_dvc = json.loads((repository / "reports" / "metrics.json").read_text(encoding="utf-8"))
    assert json.loads(metrics.read_text(encoding="utf-8")) == by_dvc
    [confusion] = (kubeflow.folder / "artifacts").glob("*/evaluate/executor_output.json")
    logged = json.loads(confusion.read_text(encoding="utf-8"))["artifacts"]
    assert logged["metrics"]["artifacts"][0]["metadata"]["predicted/b_wer"] == by_dvc["predicted"]["b_wer"]
    rows = logged["selection"]["artifacts"][0]["metadata"]["confusionMatrix"]["rows"]
    assert rows[0]["row"] == [by_dvc["pruning"]["tp"], by_dvc["pruning"]["fn"]]
    assert "sap2-train-and-evaluate (profile test) succeeded; run " in first_run


def lost_metric(folder: Path) -> Path:
    """A file that a training left on the volume when MLflow was away: a metric and the end of its run."""
    client = MlflowClient(f"sqlite:///{folder / 'mlruns.db'}")
    experiment = client.get_experiment_by_name("sap2-asr-test").experiment_id
    run = client.create_run(experiment).info.run_id
    unsent = folder / "checkpoints" / f"pruner-run.{run[:8]}.unsent.jsonl"
    rows = [{"key": "loss", "value": 1.5, "timestamp": 1, "step": 7}, {"status": "FINISHED", "end_time": 2}]
    write_jsonl(unsent, ({"run": run, **row} for row in rows))
    return unsent


@pytest.mark.slow
def test_a_refusal_keeps_the_champion_and_equal_steps_are_cached(kubeflow, first_run):
    assert "announce' finished with status SUCCESS" in first_run
    assert first_run.index("Executing task 'check-version'") < first_run.index("Executing task 'promote'")
    [page] = (kubeflow.folder / "artifacts").glob("*/announce/announcement")
    announced = page.read_text(encoding="utf-8")
    assert announced.startswith("models:/sap2-asr-test/1 is the champion now") and "| holds " in announced
    before = kubeflow("models", "--profile", "test")
    assert re.search(r"^1 +champion", before, re.MULTILINE)

    unsent = lost_metric(kubeflow.folder)
    other = ["--set", "evaluation.bootstrap_samples=60"]  # else it is the same registration, and version 1
    again = kubeflow("pipeline", "run", "--local", "--folder", str(kubeflow.folder), *other)
    assert not unsent.exists(), "register sends what a training could not"
    assert {"prepare", "train-pruner"} <= set(re.findall(r"Task ([\w-]+) cache hit", again))
    executed = re.findall(r"Executing task '([\w-]+)'", again)
    assert {"register", "check-version", "promote", "announce"} <= set(executed), (
        "what changes the registry is never cached"
    )
    refused = max((kubeflow.folder / "artifacts").glob("*/announce/announcement"), key=os.path.getmtime)
    assert refused.read_text(encoding="utf-8").startswith("models:/sap2-asr-test/2 was not promoted; the champion is")
    after = kubeflow("models", "--profile", "test")
    assert re.search(r"^2 +challenger .*refused", after, re.MULTILINE)
    assert re.search(r"^1 +champion", after, re.MULTILINE)


@pytest.mark.slow
def test_a_registered_version_reproduces_its_scores(kubeflow, first_run):
    done = kubeflow("pipeline", "run", "--local", "evaluate-only", "--folder", str(kubeflow.folder))
    assert "sap2-evaluate-only (profile test) succeeded; run " in done
    runs = sorted((kubeflow.folder / "artifacts").glob("*/evaluate/reports/metrics.json"), key=os.path.getmtime)
    trained, again = (json.loads(path.read_text(encoding="utf-8")) for path in (runs[0], runs[-1]))
    assert runs[0].parents[2].name.startswith("sap2-train") and runs[-1].parents[2].name.startswith("sap2-evaluate")
    assert again == trained

    client = MlflowClient(f"sqlite:///{kubeflow.folder / 'mlruns.db'}")
    version = client.get_model_version("sap2-asr-test", "1")
    experiment = client.get_run(version.run_id).info.experiment_id
    [run] = client.search_runs(
        [experiment],
        f"tags.mlflow.parentRunId = '{version.run_id}' and tags.`sap2.stage` = 'evaluate'"
        " and attributes.run_name LIKE 'evaluation of%'",
    )
    assert run.info.run_name == "evaluation of sap2-asr-test/1" and run.info.status == "FINISHED"
    assert run.data.metrics["predicted/b_wer"] == pytest.approx(trained["predicted"]["b_wer"])
    assert {"report.html", "table.md"} <= {
        Path(file.path).name for file in client.list_artifacts(run.info.run_id, "reports")
    }


@pytest.mark.slow
def test_talks_are_transcribed_in_shards_and_collected(kubeflow, first_run, tmp_path):
    [corpus] = (kubeflow.folder / "artifacts").glob("sap2-train*/prepare/prepared")
    talks = tmp_path / "talks"
    talks.mkdir()
    for number, path in enumerate(sorted((corpus / "audio").glob("test-*.flac"))[:3]):
        shutil.copy(path, talks / f"talk-{number}.flac")
    (talks / "broken.wav").write_bytes(b"no sound")
    done = kubeflow(
        "pipeline", "run", "--local", "transcribe-batch", "--folder", str(kubeflow.folder),
        "-a", f"talks={talks}", "-a", "shards=2", "-a", "keywords=meyer, zorvan",
    )  # fmt: skip
    assert "sap2-transcribe-batch (profile test) succeeded; run " in done
    [collected] = (kubeflow.folder / "artifacts").glob("*/collect-transcripts/transcripts")
    rows = [json.loads(line) for line in collected.read_text(encoding="utf-8").splitlines()]
    assert [row["talk"] for row in rows] == ["broken.wav", "talk-0.flac", "talk-1.flac", "talk-2.flac"]
    assert "error" in rows[0] and all("text" in row for row in rows[1:])


@dsl.component(base_image="python:3.11", install_kfp_package=False)
def flaky(mark: str) -> str:
    """Fails at its first try."""
    from pathlib import Path

    if not Path(mark).exists():
        Path(mark).touch()
        raise OSError("the first try fails")
    return "done"


@dsl.component(base_image="python:3.11", install_kfp_package=False)
def steady(said: str) -> None:
    """Fails never."""
    print(said)


def one_flaky_step(params):
    @dsl.pipeline(name="two-steps")
    def flow(mark: str):
        first = configure(flaky(mark=mark), params.resources, "light", "Fail once", cached=True)
        configure(steady(said=first.output), params.resources, "light", "And no more")

    return flow


def test_a_failed_step_is_retried_and_an_equal_step_is_cached(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(running.PIPELINES, "flaky", SimpleNamespace(build=one_flaky_step))
    params = load_params(ROOT / "params.yaml", "test")
    for message in ("Task flaky failed (attempt 1/4). Retrying", "Task flaky cache hit"):
        run_locally("flaky", params, tmp_path, [f"mark={tmp_path / 'mark'}"])
        shown = capsys.readouterr()
        assert message in shown.err and not shown.out
    (tmp_path / "mark").unlink()
    stubborn = load_params(ROOT / "params.yaml", "test", ["resources.retries=0"])
    with pytest.raises(PipelineError, match="flaky: Pipeline .two-steps. finished with status FAILURE"):
        run_locally("flaky", stubborn, tmp_path, [f"mark={tmp_path / 'mark'}"], cached=False)


def a_step_that_never_succeeds(params):
    @dsl.pipeline(name="in-vain")
    def flow(mark: str):
        end = report_end(pipeline="in-vain", profile="test", run=dsl.PIPELINE_JOB_ID_PLACEHOLDER, host="")
        configure(end, params.resources, "light", "Report the end")
        with dsl.ExitHandler(end, name="flow"):
            configure(flaky(mark=mark), params.resources, "light", "Fail")

    return flow


def test_the_exit_handler_reports_a_failed_run(tmp_path, monkeypatch, capsys):
    """The component itself, in its process, with what the runner tells it of the end."""
    monkeypatch.setitem(running.PIPELINES, "in-vain", SimpleNamespace(build=a_step_that_never_succeeds))
    params = load_params(ROOT / "params.yaml", "test", ["resources.retries=0"])
    failure = "in-vain: Pipeline .in-vain. finished with status FAILURE"
    with webhook(monkeypatch, "text") as posted, pytest.raises(PipelineError, match=failure):
        run_locally("in-vain", params, tmp_path, [f"mark={tmp_path / 'mark'}"])
    assert len(posted) == 1 and posted[0].startswith("in-vain (profile test) failed: a step failed")
    assert "in-vain (profile test) failed: a step failed" in capsys.readouterr().err


def test_an_unknown_parameter_lists_the_known_parameters(tmp_path):
    params = load_params(ROOT / "params.yaml", "test")
    with pytest.raises(InputError, match="--argument shard=2: .*transcribe-batch has the parameters host, keywords, "):
        run_locally("transcribe-batch", params, tmp_path, ["shard=2"])


def test_an_unknown_pipeline_lists_the_known_ones(tmp_path):
    with pytest.raises(
        InputError, match="no pipeline 'train', expected one of: train-and-evaluate, evaluate-only, transcribe-batch"
    ):
        compile_pipeline("train", load_params(ROOT / "params.yaml"), tmp_path / "x.yaml")


def test_the_same_params_give_the_same_bytes_in_every_process(tmp_path):
    """The order of Python's and protobuf's hash tables differs from process to process."""
    made = []
    for seed in ("1", "2"):
        output = tmp_path / f"{seed}.yaml"
        subprocess.run(
            [sys.executable, "-m", "sap2", "pipeline", "compile", "--profile", "test", "-o", str(output)],
            cwd=ROOT, env={**os.environ, "PYTHONHASHSEED": seed}, check=True, capture_output=True,
        )  # fmt: skip
        made.append(output.read_bytes())
    assert made[0] == made[1]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1.yaml", "2.yaml"]
