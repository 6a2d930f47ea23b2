"""Stages killed at random moments, as after the loss of a machine or by the OOM killer, or run with limited space."""

import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
from ruamel.yaml import YAML

from sap2.files import sha256

TRIES = 10
# Files that differ between runs: they contain times, or the version in MLflow.
VOLATILE = ("data/pruned/summary.json", "results/timing.json", "reports/registration.json")


class Flow:
    """A copy of a repository with finished stages, which are run again and killed.

    Args:
        finished: The repository, with the outputs of an uninterrupted run.
        environment: Environment of the commands.
        seed: Seed of the moments, and of the choice of processes to kill.
    """

    def __init__(self, finished: Path, folder: Path, environment: dict[str, str], seed: int):
        # Without the MLflow store, which contains paths of the original repository.
        shutil.copytree(finished, folder, ignore=shutil.ignore_patterns("mlruns.db", "mlartifacts"))
        shutil.rmtree(folder / "models" / ".checkpoints", ignore_errors=True)
        shutil.rmtree(folder / ".dvc" / "cache" / "runs", ignore_errors=True)  # else DVC would run nothing
        self.folder, self._environment = folder, {**environment, "PYTHONPATH": str(folder)}
        self._stages = YAML(typ="safe").load((folder / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
        self.unbroken = {stage: self.outputs(stage) for stage in self._stages}
        self._random = random.Random(seed)
        self._groups: list[int] = []

    def outputs(self, stage: str) -> dict[str, dict[str, str]]:
        """Return the SHA-256 of every file in every existing output of a stage."""
        outputs = {}
        for out in [*self._stages[stage]["outs"], *self._stages[stage].get("metrics", [])]:
            path = self.folder / (out if isinstance(out, str) else next(iter(out)))
            files = path.rglob("*") if path.is_dir() else [path]
            names = {file: file.relative_to(self.folder).as_posix() for file in files if file.is_file()}
            digests = {name: "" if name in VOLATILE else sha256(file) for file, name in names.items()}
            if path.exists():
                outputs[str(out)] = digests
        return outputs

    def seconds(self, stage: str) -> float:
        """Return the seconds of a stage that is not killed."""
        started = time.monotonic()
        code = self._start(stage).wait()
        seconds = time.monotonic() - started
        assert code == 0, f"{stage} ended with {code}: {self._said(stage)}"
        assert self.outputs(stage) == self.unbroken[stage], f"{stage} gave different outputs in two runs"
        return seconds

    def kill(self, stage: str, seconds: float) -> None:
        """Start a stage and kill it within its `seconds`: only its process, or with its child processes.

        If the stage has already ended, because the machine is faster now, it is started again.
        Raises: AssertionError: an output is neither complete nor absent, or the stage failed by itself.
        """
        for _ in range(TRIES):
            if self._random.random() < 0.5:  # DVC deletes outputs before it runs a stage; by hand they remain
                for out in self.unbroken[stage]:
                    path = self.folder / out
                    shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
            instant, alone = self._random.uniform(0, seconds), self._random.random() < 0.5
            process = self._start(stage)
            try:
                process.wait(instant)
            except subprocess.TimeoutExpired:
                process.kill() if alone else os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            story = f"{stage} after {instant:.2f} of {seconds:.2f} s, {'alone' if alone else 'with its group'}"
            assert process.returncode in (0, -signal.SIGKILL), f"{story}: failed by itself: {self._said(stage)}"
            for out, files in self.outputs(stage).items():
                assert files == self.unbroken[stage][out], f"{story}: {out} is neither complete nor absent"
            if process.returncode != 0:
                return
        raise AssertionError(f"{stage} ended {TRIES} times before it could be killed")

    def reproduce(self, *stages: str) -> None:
        """Run `dvc repro` as if the stages had never finished; outputs must equal those of the uninterrupted run."""
        self._wait_for_orphans()
        lock = self.folder / "dvc.lock"
        yaml = YAML()
        locked = yaml.load(lock.read_text(encoding="utf-8"))
        for stage in stages:
            locked["stages"].pop(stage, None)
        with lock.open("w", encoding="utf-8") as out:
            yaml.dump(locked, out)
        done = subprocess.run(
            [sys.executable, "-m", "dvc", "repro", "--single-item", "--no-run-cache", *stages], cwd=self.folder,
            env=self._environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout[-6000:]
        for stage in stages:
            assert f"\n{stage}: wrote " in f"\n{done.stdout}", f"{stage} was not run: {done.stdout[-3000:]}"
            assert self.outputs(stage) == self.unbroken[stage], stage

    def remains(self) -> list[str]:
        """Return the temporary files of killed commands that no later command deletes."""
        folders = ("data", "models", "results", "reports")
        return [str(path) for folder in folders for path in (self.folder / folder).rglob(".*.partial")] + [
            str(path) for path in self.folder.glob(".*.partial")
        ]

    def end(self) -> None:
        """End the child processes that remain after a kill of their parent."""
        for group in self._groups:
            try:
                os.killpg(group, signal.SIGKILL)
            except ProcessLookupError:
                continue

    def refused(self, stage: str, limit: str, value: int) -> str:
        """Run a stage with a limit of `resource` and return its error; its outputs must be complete or absent."""
        code = self._start(stage, lambda: resource.setrlimit(getattr(resource, limit), (value, value))).wait()
        said = self._said(stage)
        assert code == 1 and "Traceback" not in said, said
        for out, files in self.outputs(stage).items():
            assert files == self.unbroken[stage][out], f"{out} is neither complete nor absent"
        assert self.remains() == []
        return said.strip().splitlines()[-1]

    def _start(self, stage: str, limit: Callable[[], None] | None = None) -> subprocess.Popen:
        with (self.folder / f"{stage}.log").open("wb") as log:
            process = subprocess.Popen(
                ["sap2", stage, "--profile", "test"], cwd=self.folder, env=self._environment, stdout=log, stderr=log,
                start_new_session=True, preexec_fn=limit,
            )  # fmt: skip
        self._groups.append(process.pid)
        return process

    def _wait_for_orphans(self) -> None:
        """Wait for workers of a killed stage, which end by themselves after writing their current file."""
        until = time.monotonic() + 120
        for group in self._groups:
            while _is_alive(group):
                assert time.monotonic() < until, f"processes of the killed group {group} do not end"
                time.sleep(0.2)

    def _said(self, stage: str) -> str:
        return (self.folder / f"{stage}.log").read_text(encoding="utf-8")[-3000:]


def _is_alive(group: int) -> bool:
    """Return whether a process of the group still runs; zombies do not count."""
    for process in psutil.process_iter(["pid", "status"]):
        try:
            if os.getpgid(process.info["pid"]) == group and process.info["status"] != psutil.STATUS_ZOMBIE:
                return True
        except ProcessLookupError:
            pass
    return False
