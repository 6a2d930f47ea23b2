"""deploy/ and compose.yaml: valid by published schemas, in agreement with params, image and server."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import kubernetes_validate
import pytest
from kubeflow_trainer_api.models import TrainerV1alpha1TrainingRuntime
from ruamel.yaml import YAML

from sap2.params import load_params
from sap2.serving.limits import Limits

ROOT = Path(__file__).parent.parent.parent
FILES = sorted((ROOT / "deploy").rglob("*.yaml"))
VERSIONS = ["1.30.0", kubernetes_validate.latest_version()]
CUSTOM = {"kustomize.config.k8s.io/v1beta1", "kustomize.config.k8s.io/v1alpha1", "trainer.kubeflow.org/v1alpha1"}
FOLDERS = sorted(path.parent.relative_to(ROOT).as_posix() for path in (ROOT / "deploy").glob("*/kustomization.yaml"))
COMPONENTS = {"deploy/trainjobs": "gang", "deploy/serving": "7b"}


def documents(path: Path) -> list[dict]:
    return list(YAML(typ="safe").load_all(path.read_text(encoding="utf-8")))


OBJECTS = [(path, one) for path in FILES for one in documents(path) if path.name != "kustomization.yaml"]
NATIVE = [one for _, one in OBJECTS if one["apiVersion"] not in CUSTOM]


def found(kind: str, name: str) -> dict:
    [one] = [one for _, one in OBJECTS if one["kind"] == kind and one["metadata"]["name"] == name]
    return one


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("manifest", NATIVE, ids=lambda one: f"{one['kind']}-{one['metadata']['name']}")
def test_a_manifest_is_valid_by_kubernetes_schema(manifest, version):
    kubernetes_validate.validate(manifest, version, strict=True)


def test_kustomize_lists_every_manifest():
    for path in (ROOT / "deploy").glob("*/kustomization.yaml"):
        [content] = documents(path)
        assert sorted([*content["resources"], path.name]) == sorted(one.name for one in path.parent.glob("*.yaml"))


def built(folder: Path) -> list[dict]:
    """What kubectl would apply."""
    if shutil.which("kubectl") is None:
        pytest.skip("no kubectl here")
    done = subprocess.run(["kubectl", "kustomize", folder], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return list(YAML(typ="safe").load_all(done.stdout))


@pytest.mark.parametrize("folder", FOLDERS)
def test_kustomize_builds_what_is_valid_for_a_profile(folder, tmp_path):
    """Through an overlay with another namespace, as docs/kubeflow.md says, and with the folder's component."""
    overlay = {"namespace": "team-a", "resources": [os.path.relpath(ROOT / folder, tmp_path)]}
    if folder in COMPONENTS:
        overlay["components"] = [f"{overlay['resources'][0]}/{COMPONENTS[folder]}"]
    YAML().dump(overlay, tmp_path / "kustomization.yaml")
    made = built(tmp_path)
    for one in made:
        if one["apiVersion"] not in CUSTOM:
            kubernetes_validate.validate(one, VERSIONS[-1], strict=True)
        assert one["metadata"].get("namespace", "team-a") == "team-a"
    if folder == "deploy/trainjobs":
        [runtime] = [one for one in made if one["kind"] == "TrainingRuntime"]
        assert TrainerV1alpha1TrainingRuntime.from_dict(runtime).to_dict() == runtime
        assert runtime["spec"]["podGroupPolicy"]["coscheduling"]
    if folder == "deploy/serving":
        [pod] = [one["spec"]["template"]["spec"] for one in made if one["kind"] == "Deployment"]
        assert pod["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == 1
        [scratch] = [volume for volume in pod["volumes"] if volume["name"] == "scratch"]
        assert scratch["emptyDir"]["sizeLimit"] == "60Gi"


def test_no_secret_is_in_the_repository():
    assert not [path for path, one in OBJECTS if one["kind"] == "Secret"]
    for name in ("deploy/secret.env.example", "deploy/mlflow.env.example", ".env.example"):
        for line in (ROOT / name).read_text(encoding="utf-8").splitlines():
            key, _, value = line.partition("=")
            assert line.startswith("#") or not value or key == "MLFLOW_TRACKING_URI"
    ignored = (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()
    assert {"/deploy/secret.env", "/deploy/mlflow.env", "/.env"} <= set(ignored)


def test_what_the_params_name_is_there():
    resources = load_params(ROOT / "params.yaml", "qwen2-audio-7b").resources
    for claim in (resources.checkpoints, resources.data):
        assert found("PersistentVolumeClaim", claim)["spec"]["accessModes"] == ["ReadWriteMany"]
    template = (ROOT / "deploy" / "secret.env.example").read_text(encoding="utf-8")
    assert all(f"\n{key}=" in template for key in resources.secret_keys)


def test_serving_is_probed_confined_and_runs_what_the_image_has():
    pod = found("Deployment", "sap2-serving")["spec"]["template"]["spec"]
    [container] = pod["containers"]
    assert container["args"][0] == "serve"
    probes = [container[f"{name}Probe"]["httpGet"]["path"] for name in ("startup", "liveness", "readiness")]
    assert probes == ["/healthz", "/healthz", "/readyz"]
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert container["resources"]["limits"]
    dockerfile = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    assert f"USER {pod['securityContext']['runAsUser']}:{pod['securityContext']['runAsGroup']}" in dockerfile
    assert "EXPOSE 8000" in dockerfile
    assert {"name": "http", "containerPort": 8000} in container["ports"]


def pods(inside) -> list[dict]:
    """The specs of all pods that an object describes, however deep."""
    if isinstance(inside, list):
        return [spec for one in inside for spec in pods(one)]
    if not isinstance(inside, dict):
        return []
    return [inside] if "containers" in inside else [spec for one in inside.values() for spec in pods(one)]


PODS = [(f"{one['kind']}-{one['metadata']['name']}", spec) for _, one in OBJECTS for spec in pods(one.get("spec"))]


def test_the_pods_that_are_held_against_the_standard_are_those_there_are():
    assert sorted(name for name, _ in PODS) == [
        "Deployment-mlflow", "Deployment-sap2-serving", "StatefulSet-database", "StatefulSet-objects",
        "TrainingRuntime-sap2-training",
    ]  # fmt: skip


@pytest.mark.parametrize(("name", "spec"), PODS, ids=[name for name, _ in PODS])
def test_pods_keep_to_the_restricted_standard_and_a_read_only_root(name, spec):
    """The controls of Kubernetes' Pod Security Standard `restricted`, each; and what it does not ask for."""
    allowed = {
        "configMap",
        "csi",
        "downwardAPI",
        "emptyDir",
        "ephemeral",
        "persistentVolumeClaim",
        "projected",
        "secret",
    }
    assert not any(spec.get(key) for key in ("hostNetwork", "hostPID", "hostIPC"))
    assert all(set(volume) - {"name"} <= allowed | {"secret"} for volume in spec.get("volumes", []))
    whole = spec["securityContext"]
    assert not {"seLinuxOptions", "windowsOptions", "sysctls"} & whole.keys()
    containers = [one for kind in ("containers", "initContainers") for one in spec.get(kind, [])]
    for container in containers:
        own = container["securityContext"]
        effective = whole | own
        assert effective["runAsNonRoot"] is True and effective["runAsUser"] > 0
        assert effective["seccompProfile"]["type"] in ("RuntimeDefault", "Localhost")
        assert own["allowPrivilegeEscalation"] is False and not own.get("privileged") and "procMount" not in own
        assert own["capabilities"]["drop"] == ["ALL"] and set(own["capabilities"].get("add", [])) <= {
            "NET_BIND_SERVICE"
        }
        assert not any("hostPort" in port for port in container.get("ports", []))
        assert own["readOnlyRootFilesystem"] is True
        writable = {mount["mountPath"] for mount in container["volumeMounts"]}
        assert "/tmp" in writable
        if container["image"].startswith("sap2-asr-python:"):
            assert "/home/sap2" in writable, "what the image's HOME and caches name"


NAME = "app.kubernetes.io/name"


def templates(inside) -> list[dict]:
    """The metadata of all pods' templates, however deep."""
    if isinstance(inside, list):
        return [one for each in inside for one in templates(each)]
    if not isinstance(inside, dict):
        return []
    own = [inside["metadata"]] if "containers" in (inside.get("spec") or {}) else []
    return own + [one for each in inside.values() for one in templates(each)]


def labels_of_pods() -> set[str]:
    return {one["labels"][NAME] for _, whole in OBJECTS for one in templates(whole)}


def test_every_pod_has_a_policy_for_both_directions():
    policies = [one["spec"] for _, one in OBJECTS if one["kind"] == "NetworkPolicy"]
    for label in labels_of_pods():
        [policy] = [one for one in policies if one["podSelector"]["matchLabels"] == {NAME: label}]
        assert sorted(policy["policyTypes"]) == ["Egress", "Ingress"] and policy["ingress"]
        assert all(rule.get("from") for rule in policy["ingress"]), "anybody may come in"
        assert all(rule.get("to") or rule.get("ports") for rule in policy["egress"]), "it may go anywhere"
    assert len(policies) == len(labels_of_pods())


def test_a_pod_that_is_replaced_answers_until_nobody_asks_it_and_then_finishes():
    pod = found("Deployment", "sap2-serving")["spec"]["template"]["spec"]
    [container] = pod["containers"]
    leaving = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert leaving >= 5
    assert not [one for one in container["args"] if one.startswith("--timeout")], "or the default is not the limit"
    assert pod["terminationGracePeriodSeconds"] > leaving + Limits().timeout
    assert found("Deployment", "sap2-serving")["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] == 0


def test_the_autoscaler_and_the_policies_are_for_the_pods_that_there_are():
    labels = found("Deployment", "sap2-serving")["spec"]["template"]["metadata"]["labels"]
    assert found("HorizontalPodAutoscaler", "sap2-serving")["spec"]["scaleTargetRef"]["name"] == "sap2-serving"
    for kind in ("NetworkPolicy", "PodDisruptionBudget", "Service"):
        spec = found(kind, "sap2-serving")["spec"]
        selector = spec.get("podSelector") or spec["selector"]
        assert selector.get("matchLabels", selector) == labels


def test_no_image_is_latest_or_without_version():
    [compose] = documents(ROOT / "compose.yaml")
    images = [service["image"] for service in compose["services"].values()]
    for _, one in OBJECTS:
        if one["kind"] in ("Deployment", "StatefulSet"):
            images += [container["image"] for container in one["spec"]["template"]["spec"]["containers"]]
    for image in images:
        assert image.partition(":")[2] not in ("", "latest"), image


def test_compose_has_no_password_of_its_own_and_opens_nothing_to_the_network():
    text = (ROOT / "compose.yaml").read_text(encoding="utf-8")
    [compose] = documents(ROOT / "compose.yaml")
    for name, service in compose["services"].items():
        for key, value in service.get("environment", {}).items():
            if key.endswith(("PASSWORD", "KEY", "ACCESS_KEY", "KEY_ID")):
                assert value.startswith("${") and ":?" in value, f"{name}: {key}"
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))
    assert "read_only: true" in text


def compose() -> dict:
    [compose] = documents(ROOT / "compose.yaml")
    return compose["services"]


def only_container(kind: str, name: str) -> dict:
    [container] = found(kind, name)["spec"]["template"]["spec"]["containers"]
    return container


def without_hosts(arguments: list[str]) -> list[str]:
    return [one for one in arguments if not one.startswith("--allowed-hosts=")]


def allowed_hosts(arguments: list[str]) -> list[str]:
    [hosts] = [one.partition("=")[2].split(",") for one in arguments if one.startswith("--allowed-hosts=")]
    return hosts


def test_compose_and_cluster_run_the_same_tracking_store():
    """What tests/tracking/test_postgresql.py runs is what both start."""
    services = compose()
    database, objects, mlflow = (
        only_container(kind, name)
        for kind, name in (("StatefulSet", "database"), ("StatefulSet", "objects"), ("Deployment", "mlflow"))
    )
    assert database["image"] == services["database"]["image"]
    assert objects["image"] == services["objects"]["image"]
    assert objects["command"] == services["objects"]["entrypoint"]
    assert objects["args"] == services["objects"]["command"]
    assert services["objects"]["stop_grace_period"] == "1m", "SeaweedFS took 25 s to end"
    assert found("StatefulSet", "objects")["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] == 60
    assert mlflow["command"] == services["mlflow"]["entrypoint"]
    assert without_hosts(mlflow["args"]) == without_hosts(services["mlflow"]["command"])
    given = {one["name"]: one.get("value") for one in mlflow["env"]}
    plain = {name: value for name, value in services["mlflow"]["environment"].items() if "${" not in value}
    # Whole, as MLflow gives it to clients in other namespaces where they ask the store directly.
    assert plain.pop("MLFLOW_S3_ENDPOINT_URL") == "http://objects:8333"
    assert given["MLFLOW_S3_ENDPOINT_URL"] == "http://objects.mlflow.svc.cluster.local:8333"
    assert plain and plain.items() <= given.items()
    uri = re.sub(r"\$\{(\w+):.*?\}", r"$(\1)", services["mlflow"]["environment"]["MLFLOW_BACKEND_STORE_URI"])
    assert given["MLFLOW_BACKEND_STORE_URI"] == uri


def test_the_store_is_one_whose_images_are_still_made():
    """MinIO's left Docker Hub in September 2026."""
    texts = [path.read_text(encoding="utf-8") for path in (*FILES, ROOT / "compose.yaml", ROOT / "docs/operations.md")]
    assert not [text for text in texts if re.search("minio|\\bmc ", text)]


def test_only_the_stores_gateway_with_keys_listens_and_nothing_is_reported():
    arguments = compose()["objects"]["command"]
    assert {"-ip.bind=127.0.0.1", "-s3.ip.bind=0.0.0.0", "-master.telemetry=false"} <= set(arguments)
    policy = found("NetworkPolicy", "mlflow-objects")["spec"]
    assert [rule["ports"] for rule in policy["ingress"]] == [[{"port": 8333}]] and policy["egress"] == []


def test_mlflow_lets_in_every_address_that_we_give_clients():
    """By MLflow's own rule, which would refuse them otherwise."""
    from mlflow.server.security_utils import get_default_allowed_hosts, is_allowed_host_header

    example = (ROOT / "deploy" / "secret.env.example").read_text(encoding="utf-8")
    [of_secret] = re.findall(r"^MLFLOW_TRACKING_URI=http://(\S+)$", example, re.MULTILINE)
    cluster = allowed_hosts(only_container("Deployment", "mlflow")["args"])
    of_compose = allowed_hosts(compose()["mlflow"]["command"])
    of_serving = compose()["serving"]["environment"]["MLFLOW_TRACKING_URI"].removeprefix("http://")
    port = compose()["mlflow"]["ports"][0].split(":")[1]
    assert not is_allowed_host_header(get_default_allowed_hosts(), of_secret)
    assert is_allowed_host_header(cluster, of_secret)
    for host in (of_serving, f"localhost:{port}", f"127.0.0.1:{port}"):
        assert is_allowed_host_header(of_compose, host), host
    for host in ("localhost:5000", "127.0.0.1:5000"):  # kubectl port-forward
        assert is_allowed_host_header(cluster, host), host
    assert not is_allowed_host_header(cluster, "elsewhere.example:5000")


def test_no_service_passes_for_a_setting_of_mlflow():
    """Kubernetes gives pods MLFLOW_PORT=tcp://… for a Service "mlflow"; MLflow reads it as its own port."""
    for name, spec in PODS:
        assert spec["enableServiceLinks"] is False, name


def test_the_nodes_of_a_training_start_again_together_and_without_proxy():
    runtime = found("TrainingRuntime", "sap2-training")["spec"]["template"]["spec"]
    [job] = runtime["replicatedJobs"]
    template = job["template"]["spec"]["template"]
    assert template["metadata"]["labels"]["sidecar.istio.io/inject"] == "false"
    assert (template["spec"]["restartPolicy"], job["template"]["spec"]["backoffLimit"]) == ("Never", 0)
    assert runtime["failurePolicy"]["maxRestarts"] >= 1


def test_a_training_works_where_the_volume_is_not_below():
    """Container runtimes make a missing workingDir as root."""
    [container] = found("TrainingRuntime", "sap2-training")["spec"]["template"]["spec"]["replicatedJobs"][0][
        "template"
    ]["spec"]["template"]["spec"]["containers"]
    assert container["workingDir"] == "/checkpoints"


def test_serving_can_log_in_where_a_login_is_wanted():
    given = {
        one["name"]: one["valueFrom"]["secretKeyRef"] for one in only_container("Deployment", "sap2-serving")["env"]
    }
    optional = {name for name, key in given.items() if key.get("optional")}
    assert optional == {
        "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD", "HF_TOKEN", "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY", "AWS_ENDPOINT_URL",
    }  # fmt: skip
    assert all(key["key"] == name for name, key in given.items())


@pytest.mark.parametrize("name", ["sap2-serving", "sap2-training", "mlflow"])
def test_name_servers_are_reached_wherever_they_are(name):
    """NodeLocal DNSCache and Cloud DNS have link-local addresses, which no selector matches."""
    rules = found("NetworkPolicy", name)["spec"]["egress"]
    [dns] = [rule for rule in rules if {"port": 53, "protocol": "UDP"} in rule.get("ports", [])]
    assert "to" not in dns and {"port": 53, "protocol": "TCP"} in dns["ports"]


@pytest.mark.parametrize("name", ["sap2-serving", "sap2-training"])
def test_mlflow_and_object_stores_are_reached(name):
    rules = found("NetworkPolicy", name)["spec"]["egress"]
    assert {port["port"] for rule in rules for port in rule.get("ports", [])} >= {5000, 8333, 9000, 443}


def test_the_pipelines_volumes_need_no_trainer():
    kinds = {folder: {one["apiVersion"] for path, one in OBJECTS if folder in path.as_posix()} for folder in FOLDERS}
    assert kinds["deploy/pipelines"] == {"v1"}
    assert "trainer.kubeflow.org/v1alpha1" in kinds["deploy/trainjobs"]


def test_both_accounts_that_run_pipelines_may_start_trainings():
    subjects = found("RoleBinding", "sap2-trainjobs")["subjects"]
    assert {one["name"] for one in subjects} == {"pipeline-runner", "default-editor"}
    assert not any("namespace" in one for one in subjects), "a namespace given here would not follow an overlay's"


def test_composes_image_is_built_with_the_cpu_torch():
    head = (ROOT / "compose.yaml").read_text(encoding="utf-8").partition("\nname:")[0]
    [build] = [line for line in head.splitlines() if "docker build" in line]
    [image] = re.findall("-t (\\S+)", build)
    assert "--build-arg PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu" in build
    assert "\nARG PIP_EXTRA_INDEX_URL=" in (ROOT / "Dockerfile").read_text(encoding="utf-8")
    assert {service["image"] for service in compose().values()} >= {image}


def test_the_page_asks_for_the_sdks_release_of_pipelines():
    """Before 2.17 the states of nested DAGs do not climb."""
    [release] = re.findall(r'"kfp>=([\d.]+),', (ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    page = (ROOT / "docs" / "kubeflow.md").read_text(encoding="utf-8")
    [asked] = re.findall(r"Kubeflow Pipelines\]\(.*?\) \| \*\*([\d.]+)\*\* or later", page)
    assert asked == release
