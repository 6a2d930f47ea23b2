"""The wheel that users install: one top-level name, and an answer where the repository is needed."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent

pytestmark = pytest.mark.slow  # the package is built


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    for name in ("pyproject.toml", "README.md", "LICENSE", "NOTICE", "sap2", "components", "pipelines", "experiments"):
        subprocess.run(["cp", "-r", ROOT / name, folder], check=True)
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", "dist", "."]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    [made] = (folder / "dist").glob("*.whl")
    return made


def test_sap2_is_the_only_top_level_name(wheel):
    with zipfile.ZipFile(wheel) as content:
        top = {name.partition("/")[0] for name in content.namelist()}
    assert {name for name in top if not name.endswith(".dist-info")} == {"sap2"}


@pytest.mark.parametrize("command", [["pipeline", "compile"], ["trainjob"], ["pipeline", "run", "--local"]])
def test_pipelines_without_repository_say_what_to_do(wheel, tmp_path, command):
    with zipfile.ZipFile(wheel) as content:
        content.extractall(tmp_path)
    done = subprocess.run(
        [sys.executable, "-m", "sap2", *command, "--params", ROOT / "params.yaml", "--profile", "test"],
        cwd=tmp_path, env={"PATH": "/usr/bin:/bin"}, capture_output=True, text=True,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"sap2: {tmp_path}: has no folders components and pipelines")
    assert "clone the repository and run \"pip install --editable '.[kubeflow]'\"" in done.stderr
