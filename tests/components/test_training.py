"""A training on several nodes equals that on a single machine, and its inputs and adapter are copied."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import safetensors.numpy
from emissary import Pod
from kubernetes.client import ApiClient, Configuration
from kubernetes_server import Kubernetes, serving
from tiny import build_tiny_base, tone

from components import flow, nodes, training
from components.nodes import TrainJobError
from pipelines.trainjob import trainjob
from sap2 import stages as local
from sap2.data.audio import save_audio
from sap2.manifest import Utterance, write_manifest
from sap2.params import load_params
from sap2.tracking import check_server

ROOT = Path(__file__).parent.parent.parent
SECTIONS = ("model", "lora", "tracking")
STEPS = ("max_steps=4", "save_steps=2", "batch_size=2")
CHANGES = [*(f"{stage}.{item}" for stage in ("pruner", "recogniser") for item in STEPS), "resources.training_nodes=2"]
TRAININGS = {  # and the manifests each reads
    "pruner": (flow.train_pruner_on_nodes, "listed"),
    "recogniser": (flow.train_recogniser_on_nodes, "pruned"),
}


class Nodes(Kubernetes):
    """The double, whose pods are processes of this machine with the variables that Kubeflow Trainer sets."""

    def __init__(self, folder: Path):
        super().__init__()
        self.folder, self.processes = folder, []

    def made(self, job: dict) -> None:
        super().made(job)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = str(probe.getsockname()[1])
        trainer = job["spec"]["trainer"]
        meeting = {"PET_NNODES": str(trainer["numNodes"]), "PET_MASTER_ADDR": "127.0.0.1", "PET_MASTER_PORT": port}
        for rank in range(trainer["numNodes"]):
            with (self.folder / f"{rank}.log").open("w") as log:
                given = {item["name"]: item["value"] for item in trainer["env"] if "value" in item}
                variables = os.environ | meeting | given | {"PYTHONPATH": str(ROOT), "PET_NODE_RANK": str(rank)}
                command = [sys.executable, "-m", trainer["command"][0], *trainer["args"]]
                self.processes.append(
                    subprocess.Popen(command, env=variables, cwd=self.folder, stdout=log, stderr=subprocess.STDOUT)
                )

    def ended(self) -> str | None:
        codes = [process.poll() for process in self.processes]
        if any(codes):
            return "Failed"
        if None in codes:
            return None
        flow = self.job["spec"]["trainer"]["args"][1]
        (Path(flow) / "models" / ".checkpoints" / self.unsent).write_text("what MLflow did not take")
        return "Complete"

    def log(self, node: int, query: dict[str, str]) -> str:
        lines = (self.folder / f"{node}.log").read_text(encoding="utf-8").splitlines()
        return "".join(f"{number:09} {line}\n" for number, line in enumerate(lines))


@pytest.fixture
def inputs(tmp_path) -> SimpleNamespace:
    """As Kubeflow lays them out: each step's artifacts in a folder of its own, named by the run."""
    run = tmp_path / "run"
    prepared, base = run / "prepare-1" / "prepared", run / "base-1" / "base_model"
    listed, pruned = run / "lists-1" / "listed", run / "prune-1" / "pruned"
    build_tiny_base(base, positions=100)
    for split, count in (("train", 8), ("dev", 2), ("test", 2)):
        rows = []
        for number in range(count):
            wave = tone(0.5 + number % 3 * 0.2, seed=number)
            save_audio(prepared / "audio" / f"{split}-{number}.wav", wave)
            rows.append(
                Utterance(
                    id=f"{split}-{number}", audio=f"audio/{split}-{number}.wav", duration=len(wave) / 16_000,
                    text="the meyer graph", keywords=["meyer", "unsaid"], predicted=["meyer"],
                )
            )  # fmt: skip
        write_manifest(prepared / f"{split}.jsonl", rows)
        away = [row.with_audio(f"../../prepare-1/prepared/{row.audio}") for row in rows]
        for folder in (listed, pruned):
            write_manifest(folder / f"{split}.jsonl", away)
    return SimpleNamespace(prepared=prepared, base=base, listed=listed, pruned=pruned, volume=tmp_path / "volume")


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    (tmp_path / "nodes").mkdir()
    with serving(Nodes(tmp_path / "nodes")) as server:
        monkeypatch.setattr(nodes, "_client", lambda: ApiClient(Configuration(host=server.url)))
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlruns.db'}")
        (tmp_path / "namespace").write_text("team\n", encoding="utf-8")
        monkeypatch.setattr(training, "NAMESPACE", tmp_path / "namespace")
        monkeypatch.setattr(nodes.time, "sleep", lambda _, wait=nodes.time.sleep: wait(0.2))
        yield server
        for process in server.processes:
            process.kill()


def train(inputs, output: Path, params, stage: str = "recogniser") -> str:
    """The component's own code, with artifacts as Kubeflow gives them."""
    component, manifests = TRAININGS[stage]
    sections = {name: getattr(params, name).model_dump(mode="json") for name in SECTIONS}
    artifact = {name: SimpleNamespace(path=str(getattr(inputs, name))) for name in ("prepared", manifests, "base")}
    summary = output.with_name("summary.md")
    component.python_func(
        job=json.dumps(trainjob(params, stage, 2)), **sections, checkpoints=str(inputs.volume),
        prepared=artifact["prepared"], base_model=artifact["base"], summary=SimpleNamespace(path=str(summary)),
        **{
            stage: getattr(params, stage).model_dump(mode="json"), manifests: artifact[manifests],
            f"{stage}_adapter": SimpleNamespace(path=str(output), metadata={}),
        },
    )  # fmt: skip
    return summary.read_text(encoding="utf-8")


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["pruner", pytest.param("recogniser", marks=pytest.mark.long)])
def test_two_nodes_train_what_two_processes_do(inputs, cluster, tmp_path, capfd, stage):
    """The pod of the step copies the inputs to the volume; the nodes know nothing but its folder there."""
    params = load_params(ROOT / "params.yaml", "test", CHANGES)
    section = getattr(params, stage).model_copy(update={"nproc": 2})
    getattr(local, f"train_{stage}")(
        section, params.model, params.lora, params.tracking, getattr(inputs, TRAININGS[stage][1]), inputs.base,
        tmp_path / "run" / "one-node", tmp_path / "checkpoints",
    )  # fmt: skip
    output = tmp_path / "run" / f"train-{stage}-1" / f"{stage}_adapter"
    cluster.unsent = f"{stage}-run.1a2b3c4d.unsent.jsonl"
    summary = train(inputs, output, params, stage)
    assert "nodes: 2" in summary and "steps: 4" in summary
    messages = capfd.readouterr().out
    assert "node 0| " in messages and "node: 1" in messages
    single, two = (
        safetensors.numpy.load_file(folder / "adapter_model.safetensors")
        for folder in (tmp_path / "run" / "one-node", output)
    )
    assert single.keys() == two.keys()
    for name, weights in single.items():
        assert abs(weights - two[name]).max() <= 1e-6, name
    config = json.loads((output / "adapter_config.json").read_text(encoding="utf-8"))
    assert (output / config["base_model_name_or_path"]).resolve() == inputs.base.resolve()
    assert cluster.job is None
    assert [path.name for path in inputs.volume.iterdir()] == [cluster.unsent], "what register is to send, and no more"


STEP = """
import json, sys
from pathlib import Path
from components import nodes, training
given = json.loads(Path(sys.argv[1]).read_text())
training.NAMESPACE = Path(given["namespace"])
nodes.time.sleep = lambda _, wait=nodes.time.sleep: wait(0.2)
paths = {name: Path(path) for name, path in given["paths"].items()}
training.train_on_nodes("recogniser", given["job"], given["sections"], **paths)
"""


@pytest.mark.slow
def test_nodes_of_a_killed_step_save_and_the_retry_resumes(inputs, cluster, tmp_path, monkeypatch):
    """Two real nodes, and the step in a pod that is gone: its TrainJob must not run on for days."""
    changes = ["recogniser.max_steps=200", "recogniser.save_steps=200", "recogniser.batch_size=1"]
    params = load_params(ROOT / "params.yaml", "test", [*CHANGES, *changes])
    job = trainjob(params, "recogniser", 2)
    for variable in job["spec"]["trainer"]["env"]:
        if variable["name"] == "SAP2_HEARTBEAT_SECONDS":
            variable["value"] = "3"
    output = tmp_path / "run" / "train-recogniser-1" / "recogniser_adapter"
    paths = {"checkpoints": inputs.volume, "prepared": inputs.prepared, "manifests": inputs.pruned, "base": inputs.base}
    sections = {name: getattr(params, name).model_dump(mode="json") for name in ("recogniser", *SECTIONS)}
    given = {
        "namespace": str(tmp_path / "namespace"), "job": job, "sections": sections,
        "paths": {name: str(path) for name, path in {**paths, "output": output}.items()},
    }  # fmt: skip
    (tmp_path / "step.json").write_text(json.dumps(given), encoding="utf-8")
    cluster.unsent = "recogniser-run.1a2b3c4d.unsent.jsonl"
    monkeypatch.setenv("SAP2_RUN_ID", "0b2f7f0e")
    check_server(params.tracking)  # two nodes must not both make the file of its database
    variables = {"PYTHONPATH": str(ROOT), "KUBECONFIG": str(cluster.kubeconfig(tmp_path))}
    pod = Pod([sys.executable, "-c", STEP, str(tmp_path / "step.json")], tmp_path / "step.log", os.environ | variables)
    try:
        until = time.monotonic() + 180
        while "recogniser: step 10/" not in pod.said():
            assert time.monotonic() < until and pod.ended() is None, pod.said()[-3000:]
            time.sleep(0.1)
    finally:
        pod.kill()  # `terminate` without the half second in which the job is deleted now and then
    assert cluster.job["metadata"]["labels"]["sap2-asr/run"] == "0b2f7f0e", "by which a person finds it"
    assert [process.wait(60) for process in cluster.processes] == [0, 0], "else Kubernetes starts them again"
    said = cluster.log(0, {})
    assert "no heartbeat of the pipeline's step" in said
    [flow] = [path for path in inputs.volume.iterdir() if path.is_dir()]
    assert list(flow.rglob("checkpoint-*/complete.json")) and not (flow / "models" / "recogniser").exists()

    training.train_on_nodes("recogniser", job, sections, **paths, output=output)
    assert len(cluster.created) == 2 and "recogniser: resuming from" in cluster.log(0, {})
    assert (output / "adapter_model.safetensors").is_file() and cluster.job is None


def test_a_job_that_gives_no_adapter_is_made_anew_once(inputs, cluster, tmp_path, capsys):
    params = load_params(ROOT / "params.yaml", "test", CHANGES)
    cluster.made, cluster.ended = lambda job: Kubernetes.made(cluster, job), lambda: "Complete"
    cluster.log = lambda node, query: ""
    with pytest.raises(TrainJobError, match="complete, but .*models/recogniser is missing; see the logs"):
        train(inputs, tmp_path / "run" / "train-recogniser-1" / "recogniser_adapter", params)
    assert len(cluster.created) == 2
    assert "complete without an adapter, as it missed this step's heartbeat" in capsys.readouterr().out


def test_a_failed_training_keeps_its_folder_and_has_no_output(inputs, cluster, tmp_path):
    params = load_params(ROOT / "params.yaml", "test", [*CHANGES, "lora.targets=[nothing]"])
    output = tmp_path / "run" / "train-recogniser-1" / "recogniser_adapter"
    cluster.end, cluster.made = "Failed", lambda job: Kubernetes.made(cluster, job)
    cluster.ended, cluster.log = lambda: "Failed", lambda node, query: ""
    for _ in range(2):
        with pytest.raises(TrainJobError, match="node-0 went away"):
            train(inputs, output, params)
    [flow] = inputs.volume.iterdir()
    first, second = (job["metadata"]["name"] for job in cluster.created)
    assert first == second == flow.name, "the next try goes on in the same folder"
    assert not output.exists()
    assert (flow / "data" / "pruned" / "train.jsonl").is_file() and (flow / "params.yaml").is_file()
    shutil.rmtree(flow)
