"""A training on several nodes: the inputs go to the volume the nodes share, a TrainJob trains there, the adapter comes
back."""

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
    """Train as `stages.train_pruner` and `train_recogniser` do, on the nodes of a TrainJob.

    Its working folder lies in `checkpoints` and is named by what goes in: a step that is tried again finds the job
    still running, or its last checkpoint. It is removed when the adapter is in `output`.
    This pod may be gone at any moment, without time to delete the job: the nodes watch its heartbeat, and a job that
    missed it has saved a checkpoint and is complete, without an adapter; it is then recreated.

    Args:
        stage: pruner or recogniser.
        job: The TrainJob, as of pipelines.trainjob; its name and arguments are set here.
        sections: Of params.yaml, by name.
        checkpoints: Folder of the volume that the job mounts at the same path.
        prepared: The corpus, for its recordings.
        manifests: What it is trained on.
    Raises: TrainJobError: it failed, gave no adapter, or the cluster cannot be reached or refuses.
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
        raise TrainJobError(f"TrainJob {name}: complete, but {trained} is not there; see the logs of its nodes")
    with atomic_dir(output) as partial:
        shutil.copytree(trained, partial, dirs_exist_ok=True)
        _name_base(partial / "adapter_config.json", base, output)
    facts = json.loads((output / "training.json").read_text(encoding="utf-8"))
    for unsent in (flow / CHECKPOINTS).glob(f"*{UNSENT}"):  # of the curve; `register` sends it
        shutil.move(unsent, checkpoints / unsent.name)
    shutil.rmtree(flow)
    return Summary(f"train-{stage}", [output], {"nodes": trainer["numNodes"], "processes": processes} | facts)


def _tell(line: str) -> None:
    print(line, flush=True)


def _run_label() -> dict[str, str]:
    """By which the jobs of a run are listed and deleted; none outside a cluster."""
    run = os.environ.get(RUN_VARIABLE)
    return {RUN_LABEL: run} if run else {}


def _copy_manifests(manifests: Path, prepared: Path, flow: Path, place: Path) -> None:
    """Copy manifests to their place; their recordings are those in the folder's copy of `prepared`."""
    for split in SPLITS:
        name = f"{split}.jsonl"
        moved = (relocated(one, manifests / name, prepared / name) for one in read_manifest(manifests / name))
        here = flow / place / name
        write_manifest(here, (relocated(one, flow / PREPARED / name, here) for one in moved))


def _name_base(config: Path, base: Path, output: Path) -> None:
    """Where the adapter's base lies, from the adapter's own folder."""
    content = json.loads(config.read_text(encoding="utf-8"))
    content["base_model_name_or_path"] = Path(os.path.relpath(base, output)).as_posix()
    config.write_text(json.dumps(content, indent=2, sort_keys=True), encoding="utf-8")


def _namespace() -> str:
    """Where this pod runs, or outside a cluster, where Kubeflow does."""
    return NAMESPACE.read_text(encoding="utf-8").strip() if NAMESPACE.is_file() else "kubeflow"
