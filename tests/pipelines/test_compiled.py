"""The compiled pipelines configure their steps as documented."""

import json
from pathlib import Path

import pytest
from kfp import components
from ruamel.yaml import YAML

from pipelines.running import PIPELINES, compile_pipeline
from pipelines.trainjob import trainjob
from sap2.errors import ParamsError
from sap2.params import load_params, profile_names

ROOT = Path(__file__).parent.parent.parent
PROFILES = profile_names(ROOT / "params.yaml")
TRAININGS = {"train-pruner", "train-recogniser"}
ON_GPUS = TRAININGS | {"prune", "decode", "check-version", "decode-version", "transcribe-shard"}
READ_DATA = ON_GPUS | {"prepare", "lists", "deal-talks"}
NEVER_CACHED = {"register", "check-version", "promote", "announce", "report-end"}
NEVER_CACHED_ELSEWHERE = {  # an alias moves, talks change: the pipelines that train nothing
    "sap2-evaluate-only": {"decode-version", "log-evaluation", "report-end"},
    "sap2-transcribe-batch": {"deal-talks", "transcribe-shard", "collect-transcripts", "report-end"},
}


def compiled(folder: Path, profile: str, *overrides: str, name: str = "train-and-evaluate") -> dict:
    params = load_params(ROOT / "params.yaml", profile, overrides)
    path = compile_pipeline(name, params, folder / f"{profile}.yaml")
    spec, platforms = YAML(typ="safe").load_all(path.read_text(encoding="utf-8"))
    tasks = {}
    for item in [spec["root"], *spec["components"].values()]:
        tasks |= item.get("dag", {}).get("tasks", {})
    pods = platforms["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    executors = spec["deploymentSpec"]["executors"]
    return {
        "name": f"sap2-{name}",
        "path": path,
        "all_tasks": tasks,
        "tasks": {name: task for name, task in tasks.items() if f"exec-{name}" in executors},
        "containers": {name.removeprefix("exec-"): item["container"] for name, item in executors.items()},
        "pods": {name.removeprefix("exec-"): pod for name, pod in pods.items()},
        "inputs": spec["root"]["inputDefinitions"]["parameters"],
        "components": spec["components"],
    }


@pytest.fixture(scope="module", params=[(name, item) for name in PIPELINES for item in PROFILES], ids="-".join)
def pipeline(request, tmp_path_factory) -> dict:
    name, profile = request.param
    made = compiled(tmp_path_factory.mktemp("compiled"), profile, name=name)
    return made | {"params": load_params(ROOT / "params.yaml", profile)}


@pytest.fixture(scope="module")
def on_gpus(tmp_path_factory) -> dict:
    return compiled(tmp_path_factory.mktemp("gpus"), "qwen2-audio-7b")


@pytest.fixture(scope="module", params=PIPELINES)
def any_on_gpus(request, tmp_path_factory) -> dict:
    return compiled(tmp_path_factory.mktemp("gpus"), "qwen2-audio-7b", name=request.param)


def test_it_loads_again_with_the_sdk(pipeline):
    loaded = components.load_component_from_file(str(pipeline["path"]))
    assert loaded.name == pipeline["name"]
    assert set(loaded.component_spec.inputs) == set(pipeline["inputs"])


def test_its_parameters_are_the_profiles_sections(pipeline):
    params = pipeline["params"]
    for name, given in pipeline["inputs"].items():
        assert given["description"], name
        if given["parameterType"] != "STRUCT":
            continue
        section = getattr(params, name)
        assert type(section)(**given["defaultValue"]) == section
    if "profile" in pipeline["inputs"]:
        assert pipeline["inputs"]["profile"]["defaultValue"] == params.profile


def test_every_step_has_a_title_a_retry_a_time_limit_and_bounds(pipeline):
    resources = pipeline["params"].resources
    assert pipeline["tasks"].keys() == pipeline["containers"].keys() == pipeline["pods"].keys()
    for name, task in pipeline["tasks"].items():
        assert task["taskInfo"]["name"] != name, f"{name} has no title"
        assert task["retryPolicy"]["maxRetryCount"] == resources.retries
        assert task["retryPolicy"]["backoffFactor"] == 2.0
        timeout = int(pipeline["pods"][name]["activeDeadlineSeconds"])
        assert timeout > 0
        # Argo counts it from the first try's beginning: what is shorter takes the last tries away.
        pauses = sum(resources.backoff * 2 ** (number + 1) for number in range(resources.retries))
        tries = timeout * (resources.retries + 1)
        assert int(task["retryPolicy"]["backoffMaxDuration"].removesuffix("s")) > tries + pauses, name
        assert pipeline["pods"][name]["securityContext"]["runAsNonRoot"] is True
        given = pipeline["containers"][name]["resources"]
        for key in ("resourceCpuRequest", "resourceCpuLimit", "resourceMemoryRequest", "resourceMemoryLimit"):
            assert given[key], f"{name}: {key}"


def test_all_steps_run_in_the_same_versioned_image(pipeline):
    images = {container["image"] for container in pipeline["containers"].values()}
    assert images == {pipeline["params"].resources.image}
    assert ":latest" not in pipeline["path"].read_text(encoding="utf-8")


def test_a_light_step_waits_for_the_trainjob_of_several_nodes(tmp_path, on_gpus):
    changes = ["resources.training_nodes=2", "pruner.epochs=3"]
    made = compiled(tmp_path, "qwen2-audio-7b", *changes)
    params = load_params(ROOT / "params.yaml", "qwen2-audio-7b", changes)
    assert not TRAININGS & made["tasks"].keys()
    for name in TRAININGS:
        task, pod = made["tasks"][f"{name}-on-nodes"], made["pods"][f"{name}-on-nodes"]
        job = json.loads(task["inputs"]["parameters"]["job"]["runtimeValue"]["constant"])
        assert job == trainjob(params, name.removeprefix("train-"), 2)
        assert task["taskInfo"]["name"] == on_gpus["tasks"][name]["taskInfo"]["name"]
        assert "accelerator" not in made["containers"][f"{name}-on-nodes"]["resources"]
        mounts = {item["mountPath"]: item["constant"] for item in pod["pvcMount"]}
        assert mounts["/checkpoints"] == "sap2-checkpoints", "the volume that the nodes share"
        assert int(pod["activeDeadlineSeconds"]) > params.resources.training_timeout
        assert pod["fieldPathAsEnv"] == [{"name": "SAP2_RUN_ID", "fieldPath": "metadata.labels['pipeline/runid']"}]
        assert task["retryPolicy"]["maxRetryCount"] == params.resources.retries


def test_light_steps_request_disk_space_where_it_is_given(tmp_path):
    """As a limit, which is a request, of the type that KFP's driver calls an accelerator's."""
    made = compiled(tmp_path, "qwen2-audio-7b", "resources.light_storage=100Gi")
    for name, container in made["containers"].items():
        kind = "nvidia.com/gpu" if name in ON_GPUS else "ephemeral-storage"
        assert container["resources"]["accelerator"]["resourceType"] == kind
    assert made["containers"]["prepare"]["resources"]["accelerator"]["resourceCount"] == str(100 * 2**30)


@pytest.mark.parametrize("retries", [0, 10])
def test_the_last_retry_is_always_in_time(tmp_path, retries):
    made = compiled(tmp_path, "default", f"resources.retries={retries}", "resources.training_timeout=1209600")
    for name in TRAININGS:
        policy = made["tasks"][name]["retryPolicy"]
        assert policy["maxRetryCount"] == retries if retries else "maxRetryCount" not in policy
        assert int(policy["backoffMaxDuration"].removesuffix("s")) > 1209600 * (retries + 1) + 60 * 2 ** (retries + 1)


@pytest.mark.parametrize(
    ("name", "changes"), [("transcribe-batch", []), ("train-and-evaluate", ["resources.prepare_parts=8"])]
)
def test_no_more_shards_run_at_a_time_than_the_resources_say(tmp_path, name, changes):
    made = compiled(tmp_path, "test", "resources.parallel=3", *changes, name=name)
    [loop] = [step for step in made["all_tasks"].values() if "parameterIterator" in step]
    assert loop["iteratorPolicy"]["parallelismLimit"] == 3


def test_a_version_is_tried_before_it_is_promoted(tmp_path):
    tasks = compiled(tmp_path, "test")["all_tasks"]
    assert "check-version" in tasks["promote"]["dependentTasks"], "what cannot be loaded is never the champion"
    assert "register" in tasks["check-version"]["dependentTasks"]


def test_the_verdict_is_announced_without_a_condition(pipeline):
    """An untriggered task would leave the run without an end: test_backend.py."""
    assert not [name for name, step in pipeline["all_tasks"].items() if step.get("triggerPolicy", {}).get("condition")]
    if "announce" in pipeline["tasks"]:
        given = pipeline["tasks"]["announce"]["inputs"]["parameters"]
        assert given["promoted"]["taskOutputParameter"]["producerTask"] == "promote"
        assert given["run"]["runtimeValue"]["constant"] == "{{$.pipeline_job_uuid}}"


def test_model_steps_get_accelerators_tolerations_and_nodes(any_on_gpus):
    on_gpus = any_on_gpus
    assert on_gpus["containers"].keys() & ON_GPUS
    for name, container in on_gpus["containers"].items():
        accelerator = container["resources"].get("accelerator")
        if name not in ON_GPUS:
            assert accelerator is None, f"{name} holds a GPU and runs no model"
            continue
        count = "8" if name in TRAININGS else "1"
        assert (accelerator["resourceType"], accelerator["resourceCount"]) == ("nvidia.com/gpu", count)
        pod = on_gpus["pods"][name]
        assert pod["tolerations"] == [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]
        assert pod["nodeSelector"]["labels"] == {"nvidia.com/gpu.product": "NVIDIA-A100-SXM4-80GB"}


def test_trainings_have_shared_memory_and_a_lasting_volume(any_on_gpus):
    """And register, which sends what they could not, and what fetches a base of the hub, have the volume."""
    on_gpus = any_on_gpus
    fetch = ON_GPUS
    for name, pod in on_gpus["pods"].items():
        claims = {item["constant"]: item["mountPath"] for item in pod.get("pvcMount", [])}
        wanted = {"sap2-checkpoints": "/checkpoints"} if name in fetch | {"register"} else {}
        given = {item["name"]: item["value"] for item in on_gpus["containers"][name].get("env", [])}
        assert given.get("HF_HOME") == ("/checkpoints/huggingface" if name in fetch else None), name
        assert claims == wanted | ({"sap2-data": "/data"} if name in READ_DATA else {})
        shared = [(item["mountPath"], item["medium"], item["sizeLimit"]) for item in pod.get("emptyDirMounts", [])]
        assert shared == ([("/dev/shm", "Memory", "64Gi")] if name in TRAININGS else [])
    if on_gpus["containers"].keys() & TRAININGS:
        assert on_gpus["inputs"]["checkpoints"]["defaultValue"] == "/checkpoints"
        given = on_gpus["tasks"]["register"]["inputs"]["parameters"]["checkpoints"]
        assert given["componentInputParameter"].endswith("checkpoints")


def test_secrets_are_references_to_a_kubernetes_secret(any_on_gpus, tmp_path, monkeypatch):
    on_gpus = any_on_gpus
    for pod in on_gpus["pods"].values():
        [secret] = pod["secretAsEnv"]
        assert secret["secretName"] == "sap2-asr"
        assert {"MLFLOW_TRACKING_URI", "HF_TOKEN"} <= {item["envVar"] for item in secret["keyToEnv"]}
    for name in ("MLFLOW_TRACKING_PASSWORD", "HF_TOKEN", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "hunter2")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://ana:hunter2@mlflow.example.org")
    again = compiled(tmp_path, "qwen2-audio-7b", name=on_gpus["name"].removeprefix("sap2-"))
    assert "hunter2" not in again["path"].read_text(encoding="utf-8")
    plain = {item["name"] for container in again["containers"].values() for item in container.get("env", [])}
    assert plain <= {"HF_HOME", "SAP2_ACCELERATORS"}


def test_caching_is_off_where_results_may_differ(tmp_path, on_gpus):
    def cached(made: dict) -> set[str]:
        return {name for name, task in made["tasks"].items() if task["cachingOptions"].get("enableCache")}

    default = compiled(tmp_path, "default")
    assert cached(default) == default["tasks"].keys() - NEVER_CACHED
    assert cached(on_gpus) == on_gpus["tasks"].keys() - NEVER_CACHED - {"base"}, "a hub id without revision moves on"
    moving = ["prepare.source=folder", "prepare.folder.root=/data/talks", "base.path=a/b", "base.revision=1f2e"]
    assert cached(compiled(tmp_path, "default", *moving)) == default["tasks"].keys() - NEVER_CACHED - {"prepare"}
    listed = ["lists.source=rare-words", "lists.rare_words_file=/data/rare.txt"]
    assert cached(compiled(tmp_path, "default", *listed)) == default["tasks"].keys() - NEVER_CACHED - {"lists"}


def test_pipelines_without_training_do_not_cache_aliases(pipeline):
    never = NEVER_CACHED_ELSEWHERE.get(pipeline["name"], NEVER_CACHED)
    cached = {name for name, task in pipeline["tasks"].items() if task["cachingOptions"].get("enableCache")}
    assert not cached & never and cached <= pipeline["tasks"].keys() - never
    assert cached or pipeline["name"] == "sap2-transcribe-batch"


def test_steps_that_read_recordings_also_get_the_corpus(pipeline):
    for name, task in pipeline["tasks"].items():
        if name == "log-evaluation":  # it reads their digest and card
            continue
        artifacts = task.get("inputs", {}).get("artifacts", {})
        assert artifacts.keys().isdisjoint({"listed", "pruned"}) or "prepared" in artifacts, name


@pytest.mark.parametrize("name", PIPELINES)
def test_image_secrets_are_given_to_every_pod(tmp_path, name):
    made = compiled(tmp_path, "test", "resources.pull_secrets=[registry]", name=name)
    for pod in made["pods"].values():
        assert pod["imagePullSecret"][0]["secretName"] == "registry"


@pytest.mark.parametrize(
    ("image", "accepted"),
    [
        ("sap2-asr-python", False),
        ("registry:5000/sap2-asr-python", False),
        ("registry:5000/sap2-asr-python:latest", False),
        ("registry:5000/sap2-asr-python:0.1.0", True),
        (f"sap2-asr-python@sha256:{'0' * 64}", True),
    ],
)
def test_an_image_without_version_is_refused(image, accepted):
    if accepted:
        assert load_params(ROOT / "params.yaml", "test", [f"resources.image={image}"]).resources.image == image
    else:
        with pytest.raises(ParamsError, match="resources.image is .* names no version"):
            load_params(ROOT / "params.yaml", "test", [f"resources.image={image}"])


def test_processes_and_accelerators_of_a_training_must_agree(tmp_path):
    with pytest.raises(ParamsError, match="pruner.nproc is 8, resources.training_accelerators 4 on 1 node: .* nproc 4"):
        compiled(tmp_path, "qwen2-audio-7b", "resources.training_accelerators=4")
