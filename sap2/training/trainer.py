"""Training a stage: in this process, or in several through torchrun, with one entry for both.

The adapter appears whole at `output`; checkpoints lie below `checkpoints` while the training is unfinished, and a
second call with the same inputs and settings goes on from the last whole one.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import sap2.errors
from sap2.errors import InputError, ModelError
from sap2.files import atomic_dir
from sap2.params import LoraSection, ModelSection, TrainSection
from sap2.training.lists import Stage

Report = Callable[[dict[str, float], int], None]
POLL_SECONDS = 0.5


class Tracker(Protocol):
    """Whatever keeps the curves: loss, learning rate, throughput, dev loss."""

    def log(self, metrics: dict[str, float], step: int) -> None: ...


def train(
    stage: Stage,
    base: Path | str,
    train: Path,
    dev: Path,
    output: Path,
    checkpoints: Path,
    section: TrainSection,
    model: ModelSection,
    lora: LoraSection,
    tracker: Tracker | None = None,
    resume: bool = True,
) -> dict[str, Any]:
    """Train one stage's adapter on a base.

    Args:
        stage: `pruner` (which listed keywords are spoken) or `recogniser` (what is said).
        base: Folder in Hugging Face format, or a hub id.
        train, dev: Manifests; dev gives the dev loss.
        output: Adapter folder: weights, adapter_config.json, sap_config.json, the processor, training.json.
        checkpoints: Folder for what an interrupted run needs; kept encoder states lie beside it, shared by both stages.
        tracker: Gets `loss`, `learning_rate`, `grad_norm`, `samples_per_second`, `epoch` and `dev_loss` by step.
        resume: Go on from the last whole checkpoint of the same training; False starts anew.
    Returns: The summary; training.json holds what of it every run with these inputs and settings agrees on.
    Raises: InputError: a manifest or recording cannot be used. ModelError: base, adapter or checkpoint do not fit, the
        loss is not finite, or a process ended early.
    """
    for name, path in (("train", train), ("dev", dev)):
        if not Path(path).is_file():
            raise InputError(f'{path}: no such {name} manifest; run "sap2 prepare" or correct the path')
    spec = {
        "stage": stage,
        "base": str(base),
        "train": str(train),
        "dev": str(dev),
        "output": str(output),
        "checkpoints": str(checkpoints),
        "section": section.model_dump(mode="json"),
        "model": model.model_dump(mode="json"),
        "lora": lora.model_dump(mode="json"),
        "resume": resume,
    }
    report: Report = tracker.log if tracker is not None else lambda metrics, step: None
    if section.nproc == 1 and _nodes() == 1:
        from sap2.training.worker import run

        return run(spec, report)
    return _launch(spec, section.nproc, report)


def leave_out(output: Path, model: ModelSection) -> dict[str, Any]:
    """Write the folder of the pruner that PC and JPI do not have: `sap_config.json`, which names the method.

    Returns: A summary that says so.
    """
    from sap2.model import save_sap_settings

    with atomic_dir(output) as partial:
        save_sap_settings(model.sap_fields(), partial)
    return {"method": model.method, "trained": f"nothing, {model.method} is one model: the recogniser"}


def _launch(spec: dict[str, Any], nproc: int, report: Report) -> dict[str, Any]:
    """Run the worker in this node's share of `nproc` processes and pass on what the first of all reports."""
    nodes = _nodes()
    if nproc % nodes:
        raise ModelError(f"nproc is {nproc}, which {nodes} nodes cannot share equally; make it a multiple of {nodes}")
    with tempfile.TemporaryDirectory(prefix="sap2-train-") as folder:
        files = {name: Path(folder) / f"{name}.json" for name in ("spec", "log", "result", "failure")}
        spec = spec | {"log": str(files["log"]), "result": str(files["result"]), "failure": str(files["failure"])}
        spec["launcher"] = os.getpid()
        files["spec"].write_text(json.dumps(spec), encoding="utf-8")
        files["log"].touch()
        command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", str(nproc // nodes)]
        if nodes == 1:
            command.append("--standalone")  # else the PET_ variables say where the nodes meet
        command += ["-m", "sap2.training.worker", "--spec", str(files["spec"])]
        process = subprocess.Popen(command, env=_environment(nproc // nodes))
        try:
            with files["log"].open(encoding="utf-8") as log, on_sigterm(process.terminate):
                while (code := _wait(process)) is None:
                    _relay(log, report)
                _relay(log, report)
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait()
        if files["failure"].is_file():
            failure = json.loads(files["failure"].read_text(encoding="utf-8"))
            raise getattr(sap2.errors, failure["type"])(failure["message"])
        if code == 0 and node_rank() > 0:
            return {"node": node_rank()}  # the first node has the summary
        if code != 0 or not files["result"].is_file():
            raise ModelError(
                f"{spec['stage']}: training in {nproc} processes ended early (exit code {code}); see the messages "
                f"above, then run the stage again: it goes on from the last checkpoint in {spec['checkpoints']}"
            )
        return json.loads(files["result"].read_text(encoding="utf-8"))


@contextmanager
def on_sigterm(call: Callable[[], None]) -> Iterator[None]:
    """Call something when SIGTERM comes, instead of ending; outside the main thread, nothing is changed."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, lambda number, frame: call())
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def node_rank() -> int:
    """Which of several nodes this is, by torchrun's variable; 0 where there is one."""
    return int(os.environ.get("PET_NODE_RANK", 0))


def _nodes() -> int:
    return int(os.environ.get("PET_NNODES", 1))


def _wait(process: subprocess.Popen) -> int | None:
    try:
        return process.wait(POLL_SECONDS)
    except subprocess.TimeoutExpired:
        return None


def _relay(log, report: Report) -> None:
    """Pass on the complete lines written since the last call."""
    while True:
        position = log.tell()
        line = log.readline()
        if not line.endswith("\n"):
            log.seek(position)
            return
        row = json.loads(line)
        report(row["metrics"], row["step"])


def _environment(nproc: int) -> dict[str, str]:
    environment = dict(os.environ)
    # torchrun would set one thread a process; the cores are there to be shared out.
    environment.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // nproc)))
    # The package must be found however the launching process found it.
    root = str(Path(sap2.errors.__file__).parent.parent)
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [root, environment.get("PYTHONPATH")]))
    return environment
