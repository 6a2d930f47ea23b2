"""TrainJob of Kubeflow Trainer for a training on several nodes; its runtime is deploy/trainjobs/runtime.yaml.

Trainer starts one pod per node and sets torchrun's PET_ variables for the rendezvous; in each pod the stage's command
starts that node's share of the processes.
"""

import io
import re
from collections.abc import Sequence
from typing import Any, Literal

from pipelines.resources import CHECKPOINTS, DATA, HUB_CACHE, check_processes
from sap2.accelerators import VARIABLE as ACCELERATORS_VARIABLE
from sap2.errors import ParamsError
from sap2.heartbeat import SECONDS_VARIABLE
from sap2.hub import is_hub_id
from sap2.params import Params

__all__ = ["FLOW", "RUNTIME", "trainjob", "trainjob_yaml"]

RUNTIME = "sap2-training"
CONTAINER = JOB = "node"
FLOW = f"{CHECKPOINTS}/flow"  # the job's working folder, with data, models and checkpoints as in a repository
IN_IMAGE = "/workspace/params.yaml"
MANAGER = "sap2.asr/trainjob"
NAME = re.compile(r"[a-z]([-a-z0-9]{0,48}[a-z0-9])?")  # Kubernetes' limit minus the suffixes of its controllers


def trainjob(
    params: Params,
    stage: Literal["pruner", "recogniser"],
    nodes: int,
    name: str | None = None,
    changed: Sequence[str] = (),
) -> dict[str, Any]:
    """Build the manifest that trains a stage on several nodes.

    Args:
        nodes: Number of nodes; each has `resources.training_accelerators`, or on CPUs its share of `nproc`.
        name: Name of the job; None = sap2-STAGE-PROFILE.
        changed: `section.key=value` overrides of the params file in the image.
    Raises: ParamsError: a value out of range.
    """
    resources = params.resources
    if name is not None and not NAME.fullmatch(name):
        raise ParamsError(
            f"--name {name}: expected lower-case letters, digits and -, at most 50, starting with a letter"
        )
    if not resources.checkpoints:
        raise ParamsError(f"resources.checkpoints is null; name the volume that holds {FLOW}, with data and base")
    section = getattr(params, stage)
    processes = nodes * (resources.training_accelerators or section.nproc)
    section = section.model_copy(update={"nproc": processes})
    check_processes(params.model_copy(update={stage: section}), stage, nodes)
    arguments = ["--directory", FLOW, f"train-{stage}", "--params", IN_IMAGE, "--profile", params.profile]
    for change in [*changed, f"{stage}.nproc={processes}"]:
        arguments += ["--set", change]
    bounds = {
        kind: {"cpu": resources.training_cpu[at], "memory": resources.training_memory[at]}
        | ({resources.accelerator: resources.training_accelerators} if resources.training_accelerators else {})
        | ({"ephemeral-storage": resources.training_storage} if resources.training_storage else {})
        for at, kind in enumerate(("requests", "limits"))
    }
    return {
        "apiVersion": "trainer.kubeflow.org/v1alpha1",
        "kind": "TrainJob",
        "metadata": {
            "name": name or _label(f"sap2-{stage}-{params.profile}"),
            "labels": {"app.kubernetes.io/part-of": "sap2-asr", "app.kubernetes.io/component": f"train-{stage}"},
        },
        "spec": {
            "runtimeRef": {"apiGroup": "trainer.kubeflow.org", "kind": "TrainingRuntime", "name": RUNTIME},
            "activeDeadlineSeconds": round(resources.training_timeout),
            "trainer": {
                "image": resources.image,
                "command": ["sap2"],
                "args": arguments,
                "numNodes": nodes,
                "numProcPerNode": processes // nodes,
                "resourcesPerNode": bounds,
                "env": _environment(params),
            },
            "runtimePatches": [{"manager": MANAGER, "trainingRuntimeSpec": {"template": {"spec": _pods(params)}}}],
        },
    }


def trainjob_yaml(
    params: Params,
    stage: Literal["pruner", "recogniser"],
    nodes: int,
    name: str | None = None,
    changed: Sequence[str] = (),
) -> str:
    """Format the manifest for `kubectl apply -f`."""
    from ruamel.yaml import YAML

    yaml = YAML()
    yaml.default_flow_style = False
    yaml.width = 120
    text = io.StringIO()
    yaml.dump(trainjob(params, stage, nodes, name, changed), text)
    return text.getvalue()


def _environment(params: Params) -> list[dict[str, Any]]:
    resources = params.resources
    keys = resources.secret_keys if resources.secret_name else []
    secrets = [
        {"name": key, "valueFrom": {"secretKeyRef": {"name": resources.secret_name, "key": key}}} for key in keys
    ]
    plain = {SECONDS_VARIABLE: f"{resources.training_heartbeat:g}"}
    if is_hub_id(params.base.path) and not resources.copy_base:
        plain["HF_HOME"] = HUB_CACHE  # downloaded once, for all nodes and later steps
    if resources.training_accelerators:
        plain[ACCELERATORS_VARIABLE] = str(resources.training_accelerators)
    return [*secrets, *({"name": name, "value": value} for name, value in plain.items())]


def _pods(params: Params) -> dict[str, Any]:
    """Return the pod settings of this job: volumes, nodes, tolerations, image secrets."""
    resources = params.resources
    volumes = [{"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": resources.shm}}]
    mounts = [{"name": "shm", "mountPath": "/dev/shm"}]
    for name, claim, path in (("checkpoints", resources.checkpoints, CHECKPOINTS), ("data", resources.data, DATA)):
        if claim:
            volumes.append({"name": name, "persistentVolumeClaim": {"claimName": claim}})
            mounts.append({"name": name, "mountPath": path})
    pod: dict[str, Any] = {"volumes": volumes, "containers": [{"name": CONTAINER, "volumeMounts": mounts}]}
    if resources.training_accelerators:
        pod["nodeSelector"] = dict(resources.node_selector)
        pod["tolerations"] = [toleration.model_dump(exclude_none=True) for toleration in resources.tolerations]
    if resources.pull_secrets:
        pod["imagePullSecrets"] = [{"name": name} for name in resources.pull_secrets]
    return {"replicatedJobs": [{"name": JOB, "template": {"spec": {"template": {"spec": pod}}}}]}


def _label(text: str) -> str:
    """Convert a text to a valid Kubernetes name."""
    return re.sub(r"[^a-z0-9-]+", "-", text.lower()).strip("-")[:50]
