"""Configuration of a pipeline's tasks in the cluster by the section `resources` of params.yaml."""

import math
import re
from typing import Literal

from kfp import kubernetes
from kfp.dsl import PipelineTask

from sap2.accelerators import VARIABLE as ACCELERATORS_VARIABLE
from sap2.errors import ParamsError
from sap2.hub import is_hub_id
from sap2.params import Params, ResourcesSection

__all__ = ["CHECKPOINTS", "DATA", "HUB_CACHE", "USER", "Size", "check_processes", "configure", "quantity"]

Size = Literal["light", "inference", "training"]
CHECKPOINTS = "/checkpoints"  # mount point of the PVC in a training's pod
DATA = "/data"
HUB_CACHE = f"{CHECKPOINTS}/huggingface"
USER = 10001  # of the image
FACTOR = 2  # growth of the pause before a retry


def configure(
    task: PipelineTask,
    resources: ResourcesSection,
    size: Size,
    title: str,
    *,
    cached: bool = False,
    reads_data: bool = False,
    waits_for_nodes: bool = False,
    reads_checkpoints: bool = False,
    fetches: str | None = None,
) -> PipelineTask:
    """Give a task its image, CPU, memory, accelerators, volumes, secrets, time limit, retries and title.

    Args:
        title: Title on Kubeflow's pages.
        cached: Whether to reuse the outputs of an equal step: same inputs, parameters and image.
        reads_data: Whether a light step reads recordings; steps that run a model always may (`prepare.audio: keep`).
        waits_for_nodes: Whether a light step waits for a training on several nodes and shares its volume.
        reads_checkpoints: Whether a light step reads the trainings' volume.
        fetches: `base.path`; a step caches a base from the hub on that volume for later steps.
    """
    cpu, memory = getattr(resources, f"{size}_cpu"), getattr(resources, f"{size}_memory")
    task.set_display_name(title)
    task.set_container_image(resources.image)
    task.set_caching_options(cached)
    task.set_cpu_request(cpu[0]).set_cpu_limit(cpu[1])
    task.set_memory_request(memory[0]).set_memory_limit(memory[1])
    timeout = (
        resources.training_timeout + resources.light_timeout
        if waits_for_nodes
        else getattr(resources, f"{size}_timeout")
    )
    kubernetes.set_timeout(task, round(timeout))
    longest = round(_longest(timeout, resources.retries, resources.backoff))
    task.set_retry(resources.retries, f"{resources.backoff}s", FACTOR, f"{longest}s")
    kubernetes.set_security_context(task, run_as_user=USER, run_as_group=0, run_as_non_root=True)
    if resources.pull_secrets:
        kubernetes.set_image_pull_secrets(task, resources.pull_secrets)
    if resources.secret_name:
        kubernetes.use_secret_as_env(task, resources.secret_name, {key: key for key in resources.secret_keys})
    if resources.data and (reads_data or size != "light"):
        kubernetes.mount_pvc(task, resources.data, DATA)
    if size == "training":
        kubernetes.empty_dir_mount(task, "shm", "/dev/shm", medium="Memory", size_limit=resources.shm)
    if waits_for_nodes:  # Kubeflow sets this label on all pods of a run (apiserver/template/v2_template.go)
        kubernetes.use_field_path_as_env(task, "SAP2_RUN_ID", "metadata.labels['pipeline/runid']")
    fetched = fetches is not None and is_hub_id(fetches) and not resources.copy_base
    if resources.checkpoints and (size == "training" or waits_for_nodes or reads_checkpoints or fetched):
        kubernetes.mount_pvc(task, resources.checkpoints, CHECKPOINTS)
    if resources.checkpoints and fetched:
        task.set_env_variable("HF_HOME", HUB_CACHE)
    accelerators = getattr(resources, f"{size}_accelerators", 0)
    if accelerators:
        _on_accelerators(task, resources, accelerators)
    elif size == "light" and resources.light_storage:
        # KFP has no field for it (pipeline_spec.proto, ResourceSpec), but its driver turns any accelerator type into a
        # limit of that name, and so a request (backend/src/v2/driver/driver.go, `initPodSpecPatch`).
        task.set_accelerator_type("ephemeral-storage").set_accelerator_limit(quantity(resources.light_storage))
    return task


def check_processes(params: Params, stage: str, nodes: int = 1) -> None:
    """Check that a training has one accelerator per process. Raises: ParamsError: it does not."""
    nproc, given = getattr(params, stage).nproc, params.resources.training_accelerators
    if given and nproc != nodes * given:
        raise ParamsError(
            f"{stage}.nproc is {nproc}, resources.training_accelerators {given} on {nodes} "
            f"node{'s' * (nodes > 1)}: each process takes one accelerator; make nproc {nodes * given}"
        )


def quantity(text: str) -> int:
    """Convert a Kubernetes quantity to bytes, rounded up.

    >>> quantity("100Gi"), quantity("1.5k"), quantity("7")
    (107374182400, 1500, 7)
    """
    number, kind = re.findall(r"^([\d.]+)(.*)$", text)[0]
    factor = {"m": 1e-3, "": 1}.get(kind) or (1024 if kind.endswith("i") else 1000) ** ("kMGT".index(kind[0]) + 1)
    return math.ceil(float(number) * factor)


def _longest(timeout: float, retries: int, backoff: float) -> float:
    """Return the time in seconds after a step's first start within which it may be retried.

    Kubeflow passes it to Argo as `maxDuration`, which includes the tries and their waits for a node, so it must never
    end a step before its last try.
    """
    tries, pauses = (retries + 1) * timeout, backoff * FACTOR ** (retries + 1)
    return 2 * tries + pauses


def _on_accelerators(task: PipelineTask, resources: ResourcesSection, count: int) -> None:
    task.set_accelerator_type(resources.accelerator).set_accelerator_limit(count)
    task.set_env_variable(ACCELERATORS_VARIABLE, str(count))
    for label, value in resources.node_selector.items():
        kubernetes.add_node_selector(task, label, value)
    for toleration in resources.tolerations:
        kubernetes.add_toleration(task, toleration.key, toleration.operator, toleration.value, toleration.effect)
