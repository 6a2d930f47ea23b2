"""deploy/ and compose.yaml: valid by published schemas, in agreement with params, image and server."""

from pathlib import Path

import kubernetes_validate
import pytest
from ruamel.yaml import YAML

from sap2.params import load_params
from sap2.serving.limits import Limits

ROOT = Path(__file__).parent.parent.parent
FILES = sorted((ROOT / "deploy").rglob("*.yaml"))
VERSIONS = ["1.30.0", kubernetes_validate.latest_version()]
CUSTOM = {"kustomize.config.k8s.io/v1beta1", "trainer.kubeflow.org/v1alpha1"}


def documents(path: Path) -> list[dict]:
    return list(YAML(typ="safe").load_all(path.read_text(encoding="utf-8")))


OBJECTS = [(path, one) for path in FILES for one in documents(path)]
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


def test_no_secret_is_in_the_repository():
    assert not [path for path, one in OBJECTS if one["kind"] == "Secret"]
    for name in ("deploy/secret.env.example", ".env.example"):
        for line in (ROOT / name).read_text(encoding="utf-8").splitlines():
            key, _, value = line.partition("=")
            assert line.startswith("#") or not value or key == "MLFLOW_TRACKING_URI"
    ignored = (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()
    assert "/deploy/secret.env" in ignored and "/.env" in ignored


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
    assert sorted(name for name, _ in PODS) == ["Deployment-sap2-serving", "TrainingRuntime-sap2-training"]


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
        assert writable >= {"/tmp", "/home/sap2"}, "what the image's HOME and caches name"


def test_every_pod_has_a_policy_for_both_directions():
    policies = [one["spec"] for _, one in OBJECTS if one["kind"] == "NetworkPolicy"]
    for kind, name in (("Deployment", "sap2-serving"), ("TrainingRuntime", "sap2-training")):
        label = {"app.kubernetes.io/name": name}
        [policy] = [one for one in policies if one["podSelector"]["matchLabels"] == label]
        assert sorted(policy["policyTypes"]) == ["Egress", "Ingress"] and policy["egress"] and policy["ingress"]
        assert all(rule.get("from") for rule in policy["ingress"]), "anybody may come in"
        assert all(rule.get("to") or rule.get("ports") for rule in policy["egress"]), "it may go anywhere"
        assert str(found(kind, name)).count(str(label)) >= 1


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
        if one["kind"] == "Deployment":
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
