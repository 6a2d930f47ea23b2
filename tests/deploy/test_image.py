"""The Dockerfile: hadolint's rules, what it copies, and its steps, run in a clean environment (`make image`: all)."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent.parent
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")


def instructions() -> list[tuple[str, str]]:
    """`(RUN, its text)` of every instruction, continued lines joined."""
    lines = "\n".join(line for line in DOCKERFILE.splitlines() if not line.lstrip().startswith("#"))
    joined = re.sub(r"\\\n\s*", "", lines)
    return [tuple(line.split(maxsplit=1)) for line in joined.splitlines() if line.strip()]


def stages() -> list[list[tuple[str, str]]]:
    made = []
    for instruction in instructions():
        if instruction[0] == "FROM":
            made.append([])
        if made:
            made[-1].append(instruction)
    return made


def test_hadolint_has_nothing_to_say():
    done = subprocess.run([Path(sys.executable).with_name("hadolint"), "Dockerfile"], cwd=ROOT, capture_output=True)
    assert (done.returncode, done.stdout) == (0, b"")


def test_bases_are_pinned_and_chosen_by_one_argument():
    arguments = dict(text.split("=", 1) for kind, text in instructions() if kind == "ARG")
    assert re.fullmatch(r"python:3\.1[1-4]\.\d+-slim-\w+", arguments["BASE_IMAGE"])
    assert [stage[0][1].split()[0] for stage in stages()] == ["${BASE_IMAGE}", "packages", "${BASE_IMAGE}"]


def test_the_driver_that_is_required_is_that_of_the_locked_torch():
    """torch's wheels bring CUDA's libraries; the node's driver must be one that runs them."""
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    [cuda] = re.findall(r"^cuda-toolkit==(\d+\.\d+)\.", lock, re.MULTILINE)
    [environment] = [text for kind, text in stages()[-1] if kind == "ENV"]
    assert f'NVIDIA_REQUIRE_CUDA="cuda>={cuda}"' in environment
    page = (ROOT / "docs" / "kubeflow.md").read_text(encoding="utf-8")
    assert f"CUDA {cuda}" in page and "driver 580" in page


def test_the_final_stage_has_no_build_tools_a_numeric_user_and_a_health_check():
    final = stages()[-1]
    assert not [
        text for kind, text in final if kind == "RUN" and re.search("build-essential|python3-dev|pip install", text)
    ]
    users = [text for kind, text in final if kind == "USER"]
    assert users == ["10001:0"]
    assert [kind for kind, _ in final].index("USER") > max(n for n, (kind, _) in enumerate(final) if kind == "RUN")
    [check] = [text for kind, text in final if kind == "HEALTHCHECK"]
    assert "/healthz" in check
    [labels] = [text for kind, text in final if kind == "LABEL"]
    for name in ("title", "description", "licenses", "version", "revision"):
        assert f"org.opencontainers.image.{name}=" in labels


def test_packages_are_installed_before_any_code_is_copied():
    packages = stages()[0]
    copied = [text for kind, text in packages if kind == "COPY"]
    assert copied == ["pyproject.toml requirements.lock ./"], "a change of the code would install all packages again"


def test_everything_copied_is_let_in_by_dockerignore_and_little_else_is():
    let_in = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = set()
    for kind, text in instructions():
        if kind == "COPY" and "--from" not in text:
            copied |= set(text.replace("--chown=10001:0 ", "").split()[:-1])
    assert copied == let_in
    assert (ROOT / ".dockerignore").read_text().splitlines()[1] == "*"


def run_step(containing: str) -> str:
    [step] = [text for kind, text in instructions() if kind == "RUN" and containing in text]
    return step


@pytest.fixture(scope="module")
def listed(tmp_path_factory) -> dict[str, list[str]]:
    """What pip is to install: the step's own command, up to the installation."""
    folder = tmp_path_factory.mktemp("build")
    step = run_step("tomllib").rpartition("&& pip install")[0].replace("python -c", f"{shlex.quote(sys.executable)} -c")
    for name in ("pyproject.toml", "requirements.lock"):
        (folder / name).write_bytes((ROOT / name).read_bytes())
    subprocess.run(["sh", "-euc", step], cwd=folder, check=True)
    return {name: (folder / f"{name}.txt").read_text().splitlines() for name in ("most", "deepspeed", "pins")}


def test_the_list_of_packages_is_what_pyproject_says(listed):
    names = {Requirement(line).name for line in listed["most"]}
    assert "nvidia-ml-py" in names, "MLflow's monitor would log no load of GPUs"
    assert {"torch", "mlflow", "kfp", "kfp-kubernetes", "fastapi", "psycopg2-binary", "typer"} <= names
    assert not names & {"deepspeed", "sap2-asr", "pytest"}
    assert [Requirement(line).name for line in listed["deepspeed"]] == ["deepspeed"]


@pytest.mark.parametrize("python", ["3.11.14", "3.12.3", "3.13.5", "3.14.0"])
def test_every_package_is_locked_to_a_version_that_pyproject_takes(listed, python):
    """For the Pythons of every base image; torch's +cpu builds are of the same version."""
    of_image = {"python_version": python[:4], "python_full_version": python, "sys_platform": "linux"}
    of_image |= {"platform_system": "Linux", "platform_machine": "x86_64", "implementation_name": "cpython"}
    pins = {}
    for pin in map(Requirement, listed["pins"]):
        assert not pin.extras, "pip takes no constraint with extras"
        if pin.marker is None or pin.marker.evaluate(of_image):
            [one] = pin.specifier
            assert one.operator == "==" and canonicalize_name(pin.name) not in pins
            pins[canonicalize_name(pin.name)] = one.version
    for wanted in map(Requirement, listed["most"] + listed["deepspeed"]):
        if wanted.name != "sap2-asr" and (wanted.marker is None or wanted.marker.evaluate(of_image)):
            assert wanted.specifier.contains(pins[canonicalize_name(wanted.name)]), wanted
    assert Requirement(f"torch=={pins['torch']}").specifier.contains(f"{pins['torch']}+cpu")
    installing = [text for kind, text in stages()[0] if kind == "RUN" and "pip install" in text]
    assert len(installing) == 2 and all("-c pins.txt" in text for text in installing)


def test_what_the_tests_run_with_is_what_the_image_has(listed):
    missing, other = set(), []
    for one in map(Requirement, listed["most"] + listed["deepspeed"]):
        if one.marker and not one.marker.evaluate():
            continue
        try:
            if not one.specifier.contains(version(one.name)):
                other.append(f"{one}: {version(one.name)}")
        except PackageNotFoundError:
            missing.add(one.name)
    assert not other and not missing


@pytest.mark.long  # some gigabytes are downloaded
def test_every_step_that_needs_no_root_runs_in_a_clean_environment_and_the_stages_run_in_the_result(tmp_path):
    """`packages` and `code` as they stand, with their folders below another root; then the flow's first stages."""
    place = {name: str(tmp_path / name.strip("/")) for name in ("/opt/sap2", "/opt/code", "/build")}
    environment = {key: value for key, value in os.environ.items() if key.startswith("PIP_")}  # pip's index
    environment |= {"PATH": f"{Path(sys.executable).resolve().parent}:/usr/bin:/bin", "HOME": str(tmp_path)}
    folder = Path(place["/build"])
    folder.mkdir(parents=True)

    def here(text: str) -> str:
        for inside, outside in place.items():
            text = text.replace(inside, outside)
        return text

    ran = []
    for kind, text in [one for stage in stages()[:2] for one in stage[1:]]:
        if kind == "ENV":
            environment |= {key: here(value) for key, value in (one.split("=", 1) for one in text.split())}
            environment["PATH"] = environment["PATH"].replace("$PATH", "/usr/bin:/bin")
        elif kind == "COPY":
            *sources, target = text.split()
            for source in sources:
                to = folder / target if (ROOT / source).is_dir() else folder / source
                subprocess.run(["cp", "-r", ROOT / source, to], check=True)
        elif kind == "RUN" and "apt-get" not in text:
            subprocess.run(["bash", "-euc", here(text)], cwd=folder, env=environment, check=True)
            ran.append(text)
    assert [next(what for what in ("venv", "most", "deepspeed", "--target") if what in text) for text in ran] == [
        "venv", "most", "deepspeed", "--target",
    ]  # fmt: skip
    environment |= {"PYTHONPATH": place["/opt/code"], "PYTHONDONTWRITEBYTECODE": "1", "SAP2_REVISION": "abc"}
    environment["PATH"] = f"{place['/opt/code']}/bin:{environment['PATH']}"
    work = tmp_path / "workspace"
    work.mkdir()
    (work / "params.yaml").write_bytes((ROOT / "params.yaml").read_bytes())
    for command in (["prepare"], ["lists"], ["base"], ["train-pruner"], ["prune"]):
        subprocess.run(["sap2", *command, "--profile", "test"], cwd=work, env=environment, check=True)
    assert (work / "data" / "pruned" / "summary.json").is_file()
    shutil.rmtree(tmp_path)  # pytest would keep it


@pytest.mark.slow  # an environment is made and the package built in it
def test_the_code_is_installed_whole_in_a_clean_folder_and_answers(tmp_path):
    """The step that installs the code, from exactly what the Dockerfile copies."""
    build, code = tmp_path / "build", tmp_path / "code"
    build.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE", "NOTICE", "sap2", "components", "pipelines"):
        subprocess.run(["cp", "-r", ROOT / name, build], check=True)
    step = run_step("--target").replace("pip install", f"{shlex.quote(sys.executable)} -m pip install")
    subprocess.run(["sh", "-euc", step.replace("/opt/code", str(code))], cwd=build, check=True, capture_output=True)
    shown = subprocess.run(
        [sys.executable, "-c", "import sap2.cli; sap2.cli.main()", "pipeline", "compile", "--profile", "test",
         "--params", str(ROOT / "params.yaml"), "-o", str(tmp_path / "flow.yaml")],
        cwd=tmp_path, env={"PYTHONPATH": str(code), "PATH": "/usr/bin:/bin"}, capture_output=True, text=True,
    )  # fmt: skip
    assert shown.returncode == 0, shown.stderr
    assert (tmp_path / "flow.yaml").stat().st_size
    assert (code / "sap2" / "assets" / "base" / "model.safetensors").is_file()
    assert (code / "bin" / "sap2").is_file()
