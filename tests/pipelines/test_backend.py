"""Announcements at the end of a run in a cluster, with a fake of Kubeflow's backend (tests/kfp_backend.py)."""

from pathlib import Path

import pytest
from kfp import compiler, dsl
from kfp_backend import RUN_ID, Backend
from webhook import webhook

from components import flow as stages
from pipelines.running import compile_pipeline
from sap2.params import load_params

ROOT = Path(__file__).parent.parent.parent
HOST = "https://kubeflow.example.org"
PAGE = f"run {RUN_ID}, {HOST}/#/runs/details/{RUN_ID}"
FLOW = "sap2-train-and-evaluate (profile test)"
OUTPUTS = {"register": {"Output": "7"}, "promote": {"Output": True}}
ANNOUNCING = ("announce", "report-end")


@pytest.fixture
def chat(monkeypatch):
    """Yields what was posted to SAP2_WEBHOOK."""
    with webhook(monkeypatch, "text") as posted:
        yield posted


@pytest.fixture(scope="module")
def flow(tmp_path_factory) -> Path:
    return compile_pipeline(
        "train-and-evaluate", load_params(ROOT / "params.yaml", "test"), tmp_path_factory.mktemp("flow") / "flow.yaml"
    )


def ended(package: Path, folder: Path, attempts=None, outputs=OUTPUTS, real=ANNOUNCING) -> tuple[str, str, Backend]:
    """Argo's phase, what `report_end` printed, and the backend."""
    backend = Backend(package, folder, attempts, outputs, real)
    phase = backend.run(host=HOST)
    [log] = folder.glob("*-report-end/log")
    return phase, log.read_text(encoding="utf-8"), backend


def test_a_success_announces_the_champion_and_no_failure(flow, tmp_path, chat):
    phase, said, backend = ended(flow, tmp_path)
    assert phase == "Succeeded" and f"{FLOW} succeeded; {PAGE}" in said
    [text] = chat
    assert text.startswith("models:/sap2-asr-test/7 is the champion now") and PAGE in text
    assert "summary of promote" in text, "the rules"
    assert [item for item in backend.pods if item.startswith("train")] == ["train-pruner", "train-recogniser"]


def test_a_gate_that_refuses_is_a_success_that_says_so(flow, tmp_path, chat):
    phase, said, _ = ended(flow, tmp_path, outputs=OUTPUTS | {"promote": {"Output": False}})
    assert phase == "Succeeded" and f"{FLOW} succeeded; {PAGE}" in said
    [text] = chat
    assert text.startswith("models:/sap2-asr-test/7 was not promoted; the champion is unchanged") and PAGE in text


def test_a_step_that_fails_once_is_no_failure_of_the_run(flow, tmp_path, chat):
    phase, said, backend = ended(flow, tmp_path, {"train-pruner": ["fails", "succeeds"]})
    assert phase == "Succeeded" and f"{FLOW} succeeded" in said
    assert backend.pods.count("train-pruner") == 2 and [text for text in chat if "failed" in text] == []


def test_a_step_that_fails_for_good_is_announced(flow, tmp_path, chat):
    phase, said, backend = ended(flow, tmp_path, {"train-pruner": ["fails"]})
    assert phase == "Failed" and chat == [f"{FLOW} failed: a step failed; {PAGE}"] and chat[0] in said
    assert backend.pods.count("train-pruner") == 4 and "prune" not in backend.pods


@pytest.mark.parametrize("end", ["is killed", "has no driver"])
def test_a_pod_that_is_gone_is_announced_as_cut_off(flow, tmp_path, chat, end):
    phase, said, _ = ended(flow, tmp_path, {"train-pruner": [end]})
    assert phase == "Failed" and chat[0] in said
    assert chat == [f"{FLOW} failed: a step was interrupted, its pod was killed or never started; {PAGE}"]


def test_a_run_with_parts_succeeds(tmp_path, chat):
    params = load_params(ROOT / "params.yaml", "test", ["resources.prepare_parts=3"])
    package = compile_pipeline("train-and-evaluate", params, tmp_path / "flow.yaml")
    phase, said, backend = ended(package, tmp_path / "run")
    assert phase == "Succeeded" and f"{FLOW} succeeded" in said
    assert backend.pods.count("prepare-part") == 3


@pytest.mark.parametrize(
    ("name", "outputs"), [("evaluate-only", {}), ("transcribe-batch", {"deal-talks": {"Output": ["0/2", "1/2"]}})]
)
def test_the_other_pipelines_end_well_and_quietly(tmp_path, chat, name, outputs):
    package = compile_pipeline(name, load_params(ROOT / "params.yaml", "test"), tmp_path / "flow.yaml")
    phase, said, _ = ended(package, tmp_path / "run", outputs=outputs)
    assert phase == "Succeeded" and f"sap2-{name} (profile test) succeeded; {PAGE}" in said
    assert chat == []


@dsl.component(base_image="python:3.11", install_kfp_package=False)
def judge() -> bool:
    return False


@dsl.pipeline(name="conditional")
def conditional(host: str = ""):
    end = stages.report_end(pipeline="conditional", profile="test", run=dsl.PIPELINE_JOB_ID_PLACEHOLDER, host=host)
    with dsl.ExitHandler(end, name="flow"):
        judged = judge()
        with dsl.If(judged.output == True, name="promoted"):  # noqa: E712  an expression of KFP
            judge()


def test_a_condition_would_leave_a_success_without_an_end(tmp_path, chat):
    """Why no pipeline of ours has one: kubeflow/pipelines#11826."""
    compiler.Compiler().compile(conditional, str(tmp_path / "flow.yaml"))
    outputs = {"judge": {"Output": False}}
    phase, said, _ = ended(tmp_path / "flow.yaml", tmp_path / "run", outputs=outputs, real=["report-end"])
    assert phase == "Succeeded" and "conditional (profile test) failed: a step was interrupted" in said
    for name in ("train-and-evaluate", "evaluate-only", "transcribe-batch"):
        package = compile_pipeline(name, load_params(ROOT / "params.yaml", "test"), tmp_path / f"{name}.yaml")
        assert '"condition"' not in package.read_text() and "condition:" not in package.read_text()
