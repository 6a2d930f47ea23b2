"""The GPU benchmark runs whole on a CPU, without most of our dependencies, and keeps what a cut run had measured."""

import doctest
import json
import os
import runpy
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "gpu"
PARTS = ("device", "training", "decoding", "exactness", "public_step", "markers", "pooling", "compiled")
TIMEOUT = 480.0
# What a machine with PyTorch, transformers, PEFT and accelerate need not have.
ABSENT = (
    "av", "deepspeed", "dvc", "jellyfish", "jiwer", "kfp", "librosa", "matplotlib", "mlflow", "pandas", "pyarrow",
    "pydantic", "rapidfuzz", "ruamel", "soundfile", "soxr", "typer",
)  # fmt: skip
WITHOUT = f"""
import importlib.util, sys
ABSENT, find = {ABSENT!r}, importlib.util.find_spec

def present(name):
    return name.split(".")[0] not in ABSENT

class Refusal:
    def find_spec(self, name, path=None, target=None):
        if not present(name):
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

importlib.util.find_spec = lambda name, package=None: find(name, package) if present(name) else None
sys.meta_path.insert(0, Refusal())
"""


@pytest.fixture
def environment(tmp_path) -> dict[str, str]:
    """An environment in which the absent packages cannot be imported, in no process."""
    site = tmp_path / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(WITHOUT)
    return {**os.environ, "PYTHONPATH": str(site), "OMP_NUM_THREADS": "1"}


def content(folder: Path) -> dict:
    return json.loads((folder / "records.json").read_text(encoding="utf-8"))


@pytest.mark.slow
def test_every_part_runs_on_a_cpu_without_our_other_packages(environment, tmp_path):
    out = tmp_path / "out"
    command = [sys.executable, str(BENCHMARK / "run.py"), "--tiny", "--minutes", "8", "--out", str(out)]
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=TIMEOUT)
    assert done.returncode == 0, done.stderr
    made = content(out)
    parts = {part["part"]: part for part in made["parts"]}
    assert tuple(parts) == PARTS
    log = (out / "log.txt").read_text() if (out / "log.txt").is_file() else ""
    assert {part["state"] for part in parts.values()} == {"done"}, log
    rows = {name: {row["case"]: row for row in part["rows"]} for name, part in parts.items()}

    exact = rows["exactness"]["float32, first layers, sdpa"]
    assert exact["largest_difference"] < 1e-5 < 1e-3 < exact["other_speech_largest"]
    assert all(abs(row["our_loss"] - row["public_loss"]) < 1e-3 for row in rows["public_step"].values())
    steps = rows["training"].values()
    assert all(row["planned_gb"] > 0 and row["last_loss"] < row["first_loss"] for row in steps)
    assert {row["same_tokens_as_eager"] for row in rows["compiled"].values()} == {1.0}
    assert all(row["utterances_per_second"] > 0 for case, row in rows["decoding"].items() if "answers" not in case)
    assert all(0 < row["share"] < 1 for row in rows["pooling"].values())

    report = (out / "report.md").read_text(encoding="utf-8")
    assert all(f"## {part}\n\ndone" in report for part in PARTS) and "| pruner, checkpointing |" in report
    (out / "report.md").unlink()
    subprocess.run([*command[:2], "--report", str(out)], env=environment, check=True, timeout=TIMEOUT)
    assert (out / "report.md").read_text(encoding="utf-8") == report


@pytest.mark.slow
def test_qwen3_asr_is_measured_too(environment, tmp_path):
    out = tmp_path / "out"
    command = [sys.executable, str(BENCHMARK / "run.py"), "--tiny", "--base", "qwen3-asr-0.6b", "--out", str(out)]
    subprocess.run(
        [*command, "--parts", "training", "exactness"],
        env=environment,
        check=True,
        capture_output=True,
        timeout=TIMEOUT,
    )
    training, exactness = content(out)["parts"]
    assert (training["state"], exactness["state"]) == ("done", "done")
    assert all(row["planned_gb"] > 0 for row in training["rows"])
    assert all(row["largest_difference"] < 1e-2 for row in exactness["rows"] if "skipped" not in row)


@pytest.mark.slow
def test_a_stopped_run_keeps_what_it_had_measured(environment, tmp_path):
    out = tmp_path / "out"
    command = [sys.executable, str(BENCHMARK / "run.py"), "--tiny", "--minutes", "8", "--out", str(out)]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        first = running.stdout.readline()
        running.send_signal(signal.SIGTERM)
        assert running.wait(TIMEOUT) == 128 + signal.SIGTERM
    assert '"case": "versions"' in first
    (part,) = content(out)["parts"]
    assert part["state"] == "interrupted" and part["rows"][0]["case"] == "versions"
    assert "interrupted" in (out / "report.md").read_text(encoding="utf-8")


@pytest.mark.slow
def test_a_broken_part_and_a_late_one_leave_the_others(environment, tmp_path):
    out, driver = tmp_path / "out", tmp_path / "driver.py"
    driver.write_text(
        f"import sys\nsys.path.insert(0, {str(BENCHMARK)!r})\nimport run\n"
        "run.PARTS = run.Part('absent', 0, 60), run.Part('device', 0, 60), run.Part('compiled', 0, 0.001)\n"
        "if __name__ == '__main__':\n    run.main()\n"
    )
    started = time.monotonic()
    command = [sys.executable, str(driver), "--tiny", "--minutes", "8", "--out", str(out)]
    subprocess.run(command, env=environment, check=True, capture_output=True, timeout=TIMEOUT)
    assert time.monotonic() - started < TIMEOUT
    broken, device, late = content(out)["parts"]
    assert broken["state"] == "failed" and broken["reason"] == "ModuleNotFoundError: No module named 'parts.absent'"
    assert device["state"] == "done" and len(device["rows"]) == 3
    assert late["state"] == "out of time"
    assert "Traceback" in (out / "log.txt").read_text()


@pytest.mark.slow
def test_without_a_gpu_only_tiny_runs(environment, tmp_path):
    command = [sys.executable, str(BENCHMARK / "run.py"), "--out", str(tmp_path / "out")]
    hidden = {**environment, "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(command, env=hidden, capture_output=True, text=True, timeout=TIMEOUT)
    assert done.returncode == 1 and "PyTorch sees no CUDA device here; --tiny runs on a CPU" in done.stderr


def test_the_report_shows_rows_and_their_errors():
    names = runpy.run_path(str(BENCHMARK / "report.py"))
    examples = doctest.DocTestFinder().find(names["markdown"], globs=names)
    examples += doctest.DocTestFinder().find(names["_cell"], globs=names)
    runner = doctest.DocTestRunner()
    assert [runner.run(example).failed for example in examples] == [0, 0]


def test_the_page_lists_the_parts_and_says_what_was_run():
    page = (BENCHMARK / "README.md").read_text(encoding="utf-8")
    assert all(f"| `{part}` |" in page for part in PARTS)
    records = sorted((BENCHMARK / "records").glob("*/records.json"))
    assert ("has not been run on a GPU yet" in page) == (not records)
    assert all(f"records/{record.parent.name}" in page for record in records)
