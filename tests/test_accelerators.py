"""A stage ends at once if requested accelerators are missing, wherever it runs."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from typer.testing import CliRunner

from components import flow as components
from pipelines.running import PIPELINES, compile_pipeline, read_spec
from pipelines.trainjob import trainjob
from sap2 import cli, stages
from sap2.accelerators import VARIABLE, check_accelerators
from sap2.errors import ModelError
from sap2.inference import best_device
from sap2.params import load_params

PARAMS = Path(__file__).parent.parent / "params.yaml"
PAPER = load_params(PARAMS, "qwen2-audio-7b")


@pytest.fixture
def build(monkeypatch):
    """Make torch look like a build for some CUDA on a machine with some devices."""

    def pretend(cuda: str | None, devices: int = 0, hip: str | None = None) -> None:
        monkeypatch.setattr(torch.version, "cuda", cuda)
        monkeypatch.setattr(torch.version, "hip", hip)
        monkeypatch.setattr(torch.cuda, "is_available", lambda: devices > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: devices)

    return pretend


def test_stages_without_accelerators_always_pass(build):
    build(None)
    check_accelerators(0)


def test_enough_accelerators_pass(build):
    build("13.0", devices=8)
    check_accelerators(8)
    check_accelerators(1)


@pytest.mark.parametrize(
    ("cuda", "devices", "message"),
    [
        (None, 0, "torch .* sees none: torch is a build for CPUs; .*PIP_EXTRA_INDEX_URL"),
        (
            "13.0",
            0,
            r"built for CUDA 13\.0, which needs NVIDIA's driver 580\.65\.06 or later on the node; .* an image of",
        ),
        ("12.8", 0, r"built for CUDA 12\.8, which needs NVIDIA's driver 525\.60\.13 or later"),
        ("13.0", 4, "8 accelerators requested, torch .* sees 4: .*nvidia-smi.*CUDA_VISIBLE_DEVICES.* request 4"),
    ],
)
def test_missing_accelerators_name_driver_and_image(build, cuda, devices, message):
    build(cuda, devices)
    with pytest.raises(ModelError, match=message):
        check_accelerators(8)


@pytest.mark.parametrize("command", ["train-pruner", "train-recogniser"])
def test_gpu_profiles_do_not_train_without_gpus(build, tmp_path, monkeypatch, command):
    build(None)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(VARIABLE, raising=False)
    done = CliRunner().invoke(cli.app, [command, "--params", str(PARAMS), "--profile", "qwen2-audio-7b"])
    assert isinstance(done.exception, ModelError) and "8 accelerators requested" in str(done.exception)
    assert list(tmp_path.iterdir()) == [], "before a run is opened"


def test_a_single_gpu_trains_in_a_single_process(build, monkeypatch, tmp_path):
    """The profile's 8 accelerators are per cluster node; locally each process needs one."""
    build("13.0", devices=1)
    section = PAPER.pruner.model_copy(update={"nproc": 1})
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")  # the next check, which fails
    with pytest.raises(Exception, match="127.0.0.1:9"):
        stages.train_pruner(section, PAPER.model, PAPER.lora, PAPER.tracking, accelerators=8)


@pytest.mark.parametrize("name", PIPELINES)
def test_pods_get_the_number_of_accelerators(tmp_path, name):
    spec = read_spec(compile_pipeline(name, PAPER, tmp_path / "flow.yaml"))
    result = 0
    for executor in spec["deploymentSpec"]["executors"].values():
        container = executor["container"]
        accelerator = container["resources"].get("accelerator", {})
        given = {item["name"]: item["value"] for item in container.get("env", [])}
        assert given.get(VARIABLE) == accelerator.get("resourceCount")
        result += bool(accelerator)
    assert result


def test_trainjob_pods_get_the_number_of_accelerators():
    given = {item["name"]: item.get("value") for item in trainjob(PAPER, "pruner", 2)["spec"]["trainer"]["env"]}
    assert given[VARIABLE] == "8"
    on_cpus = trainjob(load_params(PARAMS, "test"), "pruner", 2)["spec"]["trainer"]["env"]
    assert VARIABLE not in {item["name"] for item in on_cpus}


def test_a_pod_that_lost_its_gpus_trains_nothing(build, monkeypatch, tmp_path):
    """Run the component's code in a pod whose node has an outdated driver."""
    build("13.0")
    monkeypatch.setenv(VARIABLE, "8")
    sections = {name: getattr(PAPER, name).model_dump(mode="json") for name in ("pruner", "model", "lora", "tracking")}
    artifacts = {
        name: SimpleNamespace(path=str(tmp_path / name), metadata={})
        for name in ("prepared", "listed", "base_model", "pruner_adapter", "summary")
    }
    with pytest.raises(ModelError, match=r"8 accelerators requested, .*driver 580\.65\.06"):
        components.train_pruner.python_func(checkpoints=str(tmp_path), **sections, **artifacts)


def test_a_pod_that_lost_its_gpu_decodes_nothing(build, monkeypatch):
    build("13.0")
    monkeypatch.setenv(VARIABLE, "1")
    with pytest.raises(ModelError, match="1 accelerator requested"):
        best_device()
    monkeypatch.delenv(VARIABLE)
    assert best_device() is None
