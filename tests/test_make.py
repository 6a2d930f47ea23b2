"""`make repro` ends with the table, the report's path and the way to the runs; what takes long in it is left out."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture
def project(tmp_path) -> Path:
    """The Makefile with an environment that counts as ready, whose `dvc` only writes the table."""
    for name in ("Makefile", "pyproject.toml", "params.yaml"):
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
    (tmp_path / ".venv" / ".ready").touch()  # newer than pyproject.toml: nothing is installed
    os.utime(tmp_path / "pyproject.toml", (0, 0))
    return tmp_path


def make(project: Path) -> subprocess.CompletedProcess:
    left_out = {"MLFLOW_TRACKING_URI", "SAP2_PROFILE", "MAKEFLAGS", "MAKELEVEL", "MFLAGS"}  # `make test` is one, too
    kept = {name: value for name, value in os.environ.items() if name not in left_out}
    return subprocess.run(
        ["make", "repro"], cwd=project, env={**kept, "PYTHONPATH": str(ROOT)}, text=True, capture_output=True
    )


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
