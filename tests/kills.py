"""Stages killed at drawn instants, as a lost machine or the kernel's lack of memory ends them, or short of room."""

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
# What differs from run to run: how fast it was, and under which name MLflow keeps it.
VOLATILE = ("data/pruned/summary.json", "results/timing.json", "reports/registration.json")


class Flow:
    """A copy of a repository in which the flow has run, whose stages are run again and killed.

    Args:
        finished: The repository; its outputs are the unbroken run's.
        environment: Of the commands.
        seed: Of the instants and of who is killed.
    """

    def __init__(self, finished: Path, folder: Path, environment: dict[str, str], seed: int):
        # Its own MLflow store: the other's names the places of the repository it is a copy of.
        shutil.copytree(finished, folder, ignore=shutil.ignore_patterns("mlruns.db", "mlartifacts"))
        shutil.rmtree(folder / "models" / ".checkpoints", ignore_errors=True)
        shutil.rmtree(folder / ".dvc" / "cache" / "runs", ignore_errors=True)  # or DVC would run nothing
        self.folder, self._environment = folder, {**environment, "PYTHONPATH": str(folder)}
        self._stages = YAML(typ="safe").load((folder / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
        self.unbroken = {stage: self.outputs(stage) for stage in self._stages}
        self._random = random.Random(seed)
        self._groups: list[int] = []

    def outputs(self, stage: str) -> dict[str, dict[str, str]]:
        """SHA-256 of every file of every output of a stage that is there."""
        found = {}
        for out in [*self._stages[stage]["outs"], *self._stages[stage].get("metrics", [])]:
            path = self.folder / (out if isinstance(out, str) else next(iter(out)))
            files = path.rglob("*") if path.is_dir() else [path]
            names = {file: file.relative_to(self.folder).as_posix() for file in files if file.is_file()}
            digests = {name: "" if name in VOLATILE else sha256(file) for file, name in names.items()}
            if path.exists():
                found[str(out)] = digests
        return found

    def seconds(self, stage: str) -> float:
        """How long a stage takes when nobody kills it."""
        started = time.monotonic()
        code = self._start(stage).wait()
        seconds = time.monotonic() - started
        assert code == 0, f"{stage} ended with {code}: {self._said(stage)}"
        assert self.outputs(stage) == self.unbroken[stage], f"{stage} did not give the same twice"
        return seconds

    def kill(self, stage: str, seconds: float) -> None:
        """Start a stage and kill it at an instant of its `seconds`: its process alone or with those it started.

        One that has ended by then, on a machine that is quicker than it was, is started again.
        Raises: AssertionError: an output is neither whole nor absent, or the stage failed by itself.
        """
        for _ in range(TRIES):
            if self._random.random() < 0.5:  # DVC deletes a stage's outputs before it runs it; a person does not
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
                assert files == self.unbroken[stage][out], f"{story}: {out} is neither whole nor absent"
            if process.returncode != 0:
                return
        raise AssertionError(f"{stage} ended {TRIES} times before it could be killed")

    def reproduce(self, *stages: str) -> None:
        """`dvc repro` as if the stages had never ended; their outputs must be the unbroken run's."""
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
        """What killed commands left that is no output and that nobody will delete."""
        places = ("data", "models", "results", "reports")
        return [str(path) for place in places for path in (self.folder / place).rglob(".*.partial")] + [
            str(path) for path in self.folder.glob(".*.partial")
        ]

    def end(self) -> None:
        """End what lone kills left behind."""
        for group in self._groups:
            try:
                os.killpg(group, signal.SIGKILL)
            except ProcessLookupError:
                continue

    def refused(self, stage: str, limit: str, value: int) -> str:
        """What a stage says that runs against a limit of `resource`; its outputs must be whole or absent."""
        code = self._start(stage, lambda: resource.setrlimit(getattr(resource, limit), (value, value))).wait()
        said = self._said(stage)
        assert code == 1 and "Traceback" not in said, said
        for out, files in self.outputs(stage).items():
            assert files == self.unbroken[stage][out], f"{out} is neither whole nor absent"
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
        """Workers of a stage that was killed alone end by themselves, after the file that they are writing."""
        until = time.monotonic() + 120
        for group in self._groups:
            while _is_alive(group):
                assert time.monotonic() < until, f"processes of the killed group {group} do not end"
                time.sleep(0.2)

    def _said(self, stage: str) -> str:
        return (self.folder / f"{stage}.log").read_text(encoding="utf-8")[-3000:]


def _is_alive(group: int) -> bool:
    """Whether a process of the group still runs; those that nobody has waited for do not count."""
    for process in psutil.process_iter(["pid", "status"]):
        try:
            if os.getpgid(process.info["pid"]) == group and process.info["status"] != psutil.STATUS_ZOMBIE:
                return True
        except ProcessLookupError:
            pass
    return False
