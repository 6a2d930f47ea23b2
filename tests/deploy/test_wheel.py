"""The wheel that users install: one top-level name, and an answer where the repository is needed."""

import resource
import subprocess
import sys
import zipfile
from email import message_from_string
from pathlib import Path

import pytest

from sap2 import __version__

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


def test_the_wheel_is_small_enough_to_publish_and_ships_types(wheel):
    assert wheel.stat().st_size < 100e6, "the limit of PyPI for a file"
    with zipfile.ZipFile(wheel) as content:
        names = content.namelist()
    assert "sap2/py.typed" in names and not [name for name in names if name.endswith((".pyc", ".pyi"))]


def test_metadata_names_what_an_index_shows(wheel):
    with zipfile.ZipFile(wheel) as content:
        [name] = [name for name in content.namelist() if name.endswith(".dist-info/METADATA")]
        metadata = message_from_string(content.read(name).decode("utf-8"))
    assert (metadata["Name"], metadata["Version"]) == ("sap2-asr", __version__)
    assert (metadata["License-Expression"], metadata.get_all("License-File")) == ("Apache-2.0", ["LICENSE", "NOTICE"])
    assert all(
        metadata[field] for field in ("Author", "Keywords", "Classifier", "Project-URL", "Description-Content-Type")
    )
    assert {"all", "dev", "docs", "pipeline"} <= set(metadata.get_all("Provides-Extra"))


@pytest.mark.parametrize("command", [["score", ROOT / "tests/formats/0.1.0/predicted.jsonl"], ["transcribe", "--help"]])
def test_a_command_of_the_wheel_takes_little_processor_time(wheel, tmp_path, command):
    """0.14 s of processor time when measured; time on the clock depends on what else the machine does."""
    with zipfile.ZipFile(wheel) as content:
        content.extractall(tmp_path)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([sys.executable, "-m", "sap2", *command], cwd=tmp_path, capture_output=True, text=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 0, done.stderr
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 0.4


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
