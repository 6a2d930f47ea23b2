"""Training on several nodes: inputs are copied to a shared volume, a TrainJob trains, the adapter is copied back."""

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from components.nodes import TrainJobError, run_trainjob
from sap2.files import atomic_dir
from sap2.heartbeat import FILE_VARIABLE, beat
from sap2.manifest import read_manifest, relocated, write_manifest
from sap2.params import Params
from sap2.stages import BASE, CHECKPOINTS, LISTS, PREPARED, PRUNED, SPLITS, Summary
from sap2.tracking.runs import UNSENT

__all__ = ["train_on_nodes"]

NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
PARAMS = "params.yaml"
HEARTBEAT = "heartbeat"
RUN_VARIABLE = "SAP2_RUN_ID"  # set by pipelines.resources, from the pod's label
RUN_LABEL = "sap2-asr/run"
MANIFESTS = {"pruner": LISTS, "recogniser": PRUNED}


def train_on_nodes(
    stage: str,
    job: dict[str, Any],
    sections: Mapping[str, dict],
    checkpoints: Path,
    prepared: Path,
    manifests: Path,
    base: Path,
    output: Path,
) -> Summary:
    """Train like `stages.train_pruner` and `train_recogniser`, on the nodes of a TrainJob.

    The working folder is in `checkpoints` and named by a hash of the inputs: a retried step finds the job still
    running, or its last checkpoint. The folder is removed once the adapter is in `output`.
    This pod may disappear without time to delete the job. The nodes watch its heartbeat; a job that misses it saves a
    checkpoint and completes without an adapter, and is then recreated.

    Args:
        stage: pruner or recogniser.
        job: The TrainJob from pipelines.trainjob; its name and arguments are set here.
        sections: Sections of params.yaml, by name.
        checkpoints: Folder of the volume that the job mounts at the same path.
        prepared: The corpus, for its recordings.
        manifests: Manifests to train on.
    Raises: TrainJobError: the job failed or gave no adapter, or the cluster is unreachable or refuses.
    """
    trainer = job["spec"]["trainer"]
    processes = trainer["numNodes"] * trainer["numProcPerNode"]
    params = Params.model_validate({**sections, stage: {**sections[stage], "nproc": processes}}).model_dump(mode="json")
    inputs = [str(path) for path in (prepared, manifests, base)]
    what = json.dumps([stage, params, inputs, job], sort_keys=True)
    name = f"sap2-{stage}-{hashlib.sha256(what.encode()).hexdigest()[:12]}"
    flow = checkpoints.absolute() / name
    if not flow.is_dir():
        with atomic_dir(flow) as partial:
            shutil.copytree(prepared, partial / PREPARED)
            shutil.copytree(base, partial / BASE)
            _copy_manifests(manifests, prepared, partial, MANIFESTS[stage])
            (partial / PARAMS).write_text(json.dumps(params, indent=2), encoding="utf-8")
    heartbeat, trained = flow / HEARTBEAT, flow / "models" / stage
    trainer = trainer | {
        "args": ["--directory", str(flow), f"train-{stage}", "--params", PARAMS],
        "env": [*trainer["env"], {"name": FILE_VARIABLE, "value": str(heartbeat)}],
    }
    metadata = job["metadata"] | {"name": name, "labels": job["metadata"]["labels"] | _run_label()}
    job = job | {"metadata": metadata, "spec": job["spec"] | {"trainer": trainer}}
    for _ in range(2):
        run_trainjob(job, _namespace(), _tell, join=True, beat=lambda: beat(heartbeat))
        if trained.is_dir():
            break
        _tell(f"{name}: complete without an adapter, as it missed this step's heartbeat; recreated")
    else:
        raise TrainJobError(f"TrainJob {name}: complete, but {trained} is missing; see the logs of its nodes")
    with atomic_dir(output) as partial:
        shutil.copytree(trained, partial, dirs_exist_ok=True)
        _name_base(partial / "adapter_config.json", base, output)
    facts = json.loads((output / "training.json").read_text(encoding="utf-8"))
    for unsent in (flow / CHECKPOINTS).glob(f"*{UNSENT}"):  # unsent metrics, for `register`
        shutil.move(unsent, checkpoints / unsent.name)
    shutil.rmtree(flow)
    return Summary(f"train-{stage}", [output], {"nodes": trainer["numNodes"], "processes": processes} | facts)


def _tell(line: str) -> None:
    print(line, flush=True)


def _run_label() -> dict[str, str]:
    """Return the label by which a run's jobs are listed and deleted; none outside a cluster."""
    run = os.environ.get(RUN_VARIABLE)
    return {RUN_LABEL: run} if run else {}


def _copy_manifests(manifests: Path, prepared: Path, flow: Path, folder: Path) -> None:
    """Copy manifests into `folder`, referring to the recordings in the flow's copy of `prepared`."""
    for split in SPLITS:
        name = f"{split}.jsonl"
        moved = (
            relocated(utterance, manifests / name, prepared / name) for utterance in read_manifest(manifests / name)
        )
        target = flow / folder / name
        write_manifest(target, (relocated(utterance, flow / PREPARED / name, target) for utterance in moved))


def _name_base(config: Path, base: Path, output: Path) -> None:
    """Set the base's path in an adapter's configuration, relative to the adapter's folder."""
    content = json.loads(config.read_text(encoding="utf-8"))
    content["base_model_name_or_path"] = Path(os.path.relpath(base, output)).as_posix()
    config.write_text(json.dumps(content, indent=2, sort_keys=True), encoding="utf-8")


def _namespace() -> str:
    """Return this pod's namespace, or Kubeflow's outside a cluster."""
    return NAMESPACE.read_text(encoding="utf-8").strip() if NAMESPACE.is_file() else "kubeflow"
