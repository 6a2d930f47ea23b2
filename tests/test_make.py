"""`make repro` ends with the table, the report's path and the command to see the runs; slow steps are faked."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture
def project(tmp_path) -> Path:
    """The Makefile with an environment marked as ready, whose `dvc` only writes the table."""
    for name in ("Makefile", "pyproject.toml", "requirements.lock", "params.yaml"):
        shutil.copy(ROOT / name, tmp_path)
    commands = {
        "dvc": 'echo "dvc $*" && mkdir reports && echo "| the table |" > reports/table.md',
        "python": f'exec "{sys.executable}" "$@"',
    }
    for name, line in commands.items():
        command = tmp_path / ".venv" / "bin" / name
        command.parent.mkdir(parents=True, exist_ok=True)
        command.write_text(f"#!/bin/sh\n{line}\n")
        command.chmod(0o755)
    (tmp_path / ".venv" / ".ready").touch()  # newer than pyproject.toml, so nothing is installed
    for name in ("pyproject.toml", "requirements.lock"):
        os.utime(tmp_path / name, (0, 0))
    return tmp_path


def make(project: Path, *arguments: str) -> subprocess.CompletedProcess:
    left_out = {"MLFLOW_TRACKING_URI", "SAP2_PROFILE", "MAKEFLAGS", "MAKELEVEL", "MFLAGS"}  # set by `make test`
    kept = {name: value for name, value in os.environ.items() if name not in left_out}
    command = ["make", *(arguments or ["repro"])]
    return subprocess.run(command, cwd=project, env={**kept, "PYTHONPATH": str(ROOT)}, text=True, capture_output=True)


def test_repro_ends_with_the_table_the_report_and_the_runs(project):
    done = make(project)
    assert done.returncode == 0, done.stderr
    ran, *rest = [line for line in done.stdout.splitlines() if line and not line.startswith("PATH=")]
    assert ran == "dvc repro", "the environment's own commands come first in the path"
    table, report, runs = rest
    assert table == "| the table |"
    assert report == f"Report:  {project}/reports/report.html"
    command, uri = runs.rsplit(" ", 1)
    assert command == "Runs:    .venv/bin/mlflow ui --backend-store-uri"
    assert uri.startswith("sqlite:///") and uri.endswith(".db")


def test_a_run_that_fails_shows_no_table(project):
    (project / "reports").mkdir()
    (project / "reports" / "table.md").write_text("| of an earlier run |\n")
    (project / ".venv" / "bin" / "dvc").write_text("#!/bin/sh\nexit 3\n")
    done = make(project)
    assert done.returncode != 0 and "earlier" not in done.stdout and "Report:" not in done.stdout


def installing(project: Path, *arguments: str) -> str:
    """Return the commands by which make would install an outdated environment."""
    (project / ".venv" / ".ready").unlink(missing_ok=True)
    done = make(project, "--dry-run", "env", *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout.replace("\\\n", "")


def test_every_package_is_installed_in_the_locked_version(project):
    lines = [line for line in installing(project).splitlines() if "pip install" in line and "--upgrade pip" not in line]
    assert len(lines) == 4 and all("-c build/pins.txt" in line for line in lines)


def test_the_cpu_build_of_torch_is_taken_from_its_own_index(project):
    cpu = "--extra-index-url https://download.pytorch.org/whl/cpu"
    assert cpu in installing(project, "TORCH=cpu") and cpu not in installing(project)


def test_uv_installs_the_same_packages_as_pip(project):
    def packages(text: str) -> list[str]:
        return [line.partition("-c build/pins.txt")[2] for line in text.splitlines() if "-c build/pins.txt" in line]

    with_uv = installing(project, "UV=uv")
    assert "uv pip install --python .venv/bin/python" in with_uv
    assert packages(with_uv) == packages(installing(project))


def test_an_invalid_value_of_torch_prints_the_valid_values(project):
    (project / ".venv" / ".ready").unlink(missing_ok=True)
    done = make(project, "env", "TORCH=cuda")
    assert done.returncode != 0 and "TORCH is cuda, expected cpu" in done.stderr


@pytest.mark.parametrize(
    ("packages", "expected"),
    [
        ([("torch", "2.13.0"), ("nvidia-cublas", "13.1"), ("cuda-toolkit", "13.0.3")], "for CUDA, with 2 packages"),
        ([("torch", "2.13.0+cpu"), ("sympy", "1.14")], "torch 2.13.0+cpu for CPUs: about 0.2 GB"),
        ([], "torch is installed already"),
    ],
)
def test_the_build_of_torch_is_named_before_it_is_downloaded(packages, expected):
    report = {"install": [{"metadata": {"name": name, "version": version}} for name, version in packages]}
    command = [sys.executable, ROOT / "tools" / "torch_build.py"]
    done = subprocess.run(command, input=json.dumps(report), text=True, capture_output=True, check=True)
    assert expected in done.stdout
    assert ("TORCH=cpu" in done.stdout) == ("for CUDA" in expected)
