"""A training in several processes, started by torchrun, monitored and ended together.

The processes read the job from a file, and write their log, result or failure to files of the same temporary folder.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

import sap2.errors
from sap2.errors import ModelError
from sap2.training.job import Job
from sap2.training.signals import on_sigterm

Report = Callable[[dict[str, float], int], None]
POLL_SECONDS = 0.5
JOB, LOG, RESULT, FAILURE = "job.json", "log.jsonl", "result.json", "failure.json"


def launch(job: Job, report: Report) -> dict[str, Any]:
    """Run the worker in this node's share of the job's processes, and pass on the reports of the first process.

    Returns: The summary; on all nodes but the first, the node's rank.
    Raises: As `sap2.training.train`.
    """
    nproc, nodes = job.section.nproc, node_count()
    if nproc % nodes:
        raise ModelError(f"nproc is {nproc}, which {nodes} nodes cannot share equally; make it a multiple of {nodes}")
    with tempfile.TemporaryDirectory(prefix="sap2-train-") as folder:
        job_file, log_file, result, failure = (Path(folder) / name for name in (JOB, LOG, RESULT, FAILURE))
        job_file.write_text(job.to_json(), encoding="utf-8")
        log_file.touch()
        command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", str(nproc // nodes)]
        if nodes == 1:
            command.append("--standalone")  # else the PET_ variables give the rendezvous of the nodes
        command += ["-m", "sap2.training.worker", "--folder", folder, "--launcher", str(os.getpid())]
        process = subprocess.Popen(command, env=_environment(nproc // nodes))
        try:
            with log_file.open(encoding="utf-8") as log, on_sigterm(process.terminate):
                while (code := _wait(process)) is None:
                    _relay(log, report)
                _relay(log, report)
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait()
        if failure.is_file():
            error = json.loads(failure.read_text(encoding="utf-8"))
            raise getattr(sap2.errors, error["type"])(error["message"])
        if code == 0 and node_rank() > 0:
            return {"node": node_rank()}  # the first node has the summary
        if code != 0 or not result.is_file():
            raise ModelError(
                f"{job.stage}: training in {nproc} processes ended early (exit code {code}); see the messages above, "
                f"then run the stage again: it resumes from the last checkpoint in {job.checkpoints}"
            )
        return json.loads(result.read_text(encoding="utf-8"))


def node_rank() -> int:
    """Return this node's rank, from torchrun's variable; 0 if there is a single node."""
    return int(os.environ.get("PET_NODE_RANK", 0))


def node_count() -> int:
    """Return the number of nodes that train together, from torchrun's variable."""
    return int(os.environ.get("PET_NNODES", 1))


def _wait(process: subprocess.Popen[bytes]) -> int | None:
    try:
        return process.wait(POLL_SECONDS)
    except subprocess.TimeoutExpired:
        return None


def _relay(log: TextIO, report: Report) -> None:
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
    # Processes share the cores; torchrun's default is a single thread per process.
    environment.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // nproc)))
    environment.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # c10d warns about every address that it tries
    # The processes must import the same package as this one.
    root = str(Path(sap2.errors.__file__).parent.parent)
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [root, environment.get("PYTHONPATH")]))
    return environment
