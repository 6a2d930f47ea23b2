"""The TrainJob is valid for Kubeflow Trainer, and requests the params' resources."""

import io
from pathlib import Path

import pytest
from kubeflow_trainer_api.models import TrainerV1alpha1TrainingRuntime, TrainerV1alpha1TrainJob
from ruamel.yaml import YAML
from typer.testing import CliRunner

from pipelines.resources import CHECKPOINTS
from pipelines.trainjob import CONTAINER, FLOW, JOB, RUNTIME, trainjob
from sap2 import cli
from sap2.errors import ParamsError
from sap2.params import load_params

ROOT = Path(__file__).parent.parent.parent
PARAMS = ROOT / "params.yaml"


@pytest.fixture(scope="module")
def job() -> dict:
    done = CliRunner().invoke(
        cli.app, ["trainjob", "--params", str(PARAMS), "--profile", "qwen2-audio-7b", "--nodes", "2"]
    )
    assert done.exit_code == 0, done.output
    return YAML(typ="safe").load(io.StringIO(done.stdout))


@pytest.fixture(scope="module")
def runtime() -> dict:
    return YAML(typ="safe").load((ROOT / "deploy" / "trainjobs" / "runtime.yaml").read_text(encoding="utf-8"))


def test_it_is_a_trainjob_by_trainers_published_types(job):
    """Nothing is lost on the way through them: a key they do not know would be."""
    assert TrainerV1alpha1TrainJob.from_dict(job).to_dict() == job


def test_the_runtime_is_valid_by_trainers_published_types(job, runtime):
    assert TrainerV1alpha1TrainingRuntime.from_dict(runtime).to_dict() == runtime
    assert job["spec"]["runtimeRef"]["name"] == runtime["metadata"]["name"] == RUNTIME
    assert job["spec"]["runtimeRef"]["kind"] == runtime["kind"]
    [replicated] = runtime["spec"]["template"]["spec"]["replicatedJobs"]
    [container] = replicated["template"]["spec"]["template"]["spec"]["containers"]
    assert (replicated["name"], container["name"]) == (JOB, CONTAINER), "the patch is for this container"
    assert container["workingDir"] == CHECKPOINTS


def test_all_processes_of_all_nodes_train_together(job):
    trainer = job["spec"]["trainer"]
    assert (trainer["numNodes"], trainer["numProcPerNode"]) == (2, 8)
    assert trainer["resourcesPerNode"]["limits"]["nvidia.com/gpu"] == 8
    assert trainer["args"][-2:] == ["--set", "pruner.nproc=16"]
    assert trainer["args"][:3] == ["--directory", FLOW, "train-pruner"]


def test_its_pods_get_volumes_nodes_tolerations_and_secrets(job):
    [replicated] = job["spec"]["runtimePatches"][0]["trainingRuntimeSpec"]["template"]["spec"]["replicatedJobs"]
    pod = replicated["template"]["spec"]["template"]["spec"]
    mounts = {item["mountPath"]: item["name"] for item in pod["containers"][0]["volumeMounts"]}
    assert mounts == {"/dev/shm": "shm", "/checkpoints": "checkpoints", "/data": "data"}
    assert {item["name"] for item in pod["volumes"]} == set(mounts.values())
    assert pod["tolerations"] == [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]
    assert pod["nodeSelector"] == {"nvidia.com/gpu.product": "NVIDIA-A100-SXM4-80GB"}
    given = job["spec"]["trainer"]["env"]
    names = {item["name"]: item["valueFrom"]["secretKeyRef"] for item in given if "valueFrom" in item}
    assert names["HF_TOKEN"] == {"name": "sap2-asr", "key": "HF_TOKEN"}


def test_a_job_has_labels_and_its_nodes_watch_the_heartbeat(job):
    labels = {"app.kubernetes.io/part-of": "sap2-asr", "app.kubernetes.io/component": "train-pruner"}
    assert job["metadata"]["labels"] == labels
    given = {item["name"]: item.get("value") for item in job["spec"]["trainer"]["env"]}
    assert given["SAP2_HEARTBEAT_SECONDS"] == "900" and given["HF_HOME"] == "/checkpoints/huggingface"


def test_disk_space_is_requested_where_it_is_given():
    params = load_params(PARAMS, "test", ["resources.training_storage=100Gi"])
    bounds = trainjob(params, "pruner", 2)["spec"]["trainer"]["resourcesPerNode"]
    assert bounds["requests"]["ephemeral-storage"] == bounds["limits"]["ephemeral-storage"] == "100Gi"


def test_changed_params_are_passed_on_and_the_command_takes_them():
    params = load_params(PARAMS, "test", ["pruner.max_steps=5"])
    arguments = trainjob(params, "pruner", 2, changed=["pruner.max_steps=5"])["spec"]["trainer"]["args"]
    assert arguments[-4:] == ["--set", "pruner.max_steps=5", "--set", "pruner.nproc=2"]
    assert load_params(PARAMS, "test", arguments[-3::2]).pruner.nproc == 2


def test_a_count_of_accelerators_that_does_not_match_is_refused():
    params = load_params(PARAMS, "qwen2-audio-7b", ["pruner.nproc=8", "resources.training_accelerators=0"])
    assert trainjob(params, "pruner", 2)["spec"]["trainer"]["numProcPerNode"] == 8
    with pytest.raises(ParamsError, match="must be above|greater than or equal to 0"):
        load_params(PARAMS, "qwen2-audio-7b", ["resources.training_accelerators=-1"])
