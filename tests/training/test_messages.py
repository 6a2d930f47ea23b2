"""The terminal of a training holds our own lines; what libraries say is in a log file."""

import logging
import os
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

import sap2
from sap2.training.messages import library_messages

SCRIPT = """
import sys
from pathlib import Path
from sap2.params import *
from sap2.training import train
corpus, kept = Path(sys.argv[1]), Path(sys.argv[2])
section = TrainSection(**eval(sys.argv[3]), max_steps=2, batch_size=4, list_sizes=(2, 6))
train("pruner", corpus / "base", corpus / "train.jsonl", corpus / "dev.jsonl", kept / "adapter", kept / "checkpoints",
      section, ModelSection(), LoraSection(rank=4))
"""


def test_warnings_records_and_stdout_go_to_the_log(tmp_path, capfd):
    log = tmp_path / "below" / "training.log"
    library = logging.getLogger("a-library")
    with library_messages(log):
        warnings.warn("old name", FutureWarning, stacklevel=1)
        library.addHandler(handler := logging.StreamHandler())  # as libraries do when they are imported
        library.warning("be careful")
        library.error("it broke")
        print("by print")
        os.write(1, b"by a compiler\n")
        print("ours", file=sys.stderr)
    library.removeHandler(handler)
    print("a result")
    text = log.read_text(encoding="utf-8")
    assert all(words in text for words in ("FutureWarning: old name", "be careful", "by print", "by a compiler"))
    assert capfd.readouterr() == ("a result\n", "it broke\nours\n")


def terminal(corpus: Path, folder: Path, settings: dict) -> tuple[str, list[str]]:
    """What a training in a process of its own writes to stdout, and the lines of its stderr that are not empty."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONWARNINGS"}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(corpus), str(folder), repr(settings)],
        env=environment | {"PYTHONPATH": str(Path(sap2.__file__).parents[1])}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout, [line for line in done.stderr.splitlines() if line]


@pytest.mark.parametrize("settings", [{"gradient_checkpointing": True, "cache_encoder": False}, {"deepspeed": "none"}])
def test_the_terminal_of_a_training_holds_only_our_lines(corpus, tmp_path, settings):
    stdout, lines = terminal(corpus, tmp_path, settings)
    assert stdout == "" and len(lines) >= 1
    assert [line for line in lines if not line.startswith(("pruner: ", "encode speech"))] == []


@pytest.mark.slow
def test_the_terminal_of_several_processes_holds_only_our_lines(corpus, tmp_path):
    stdout, lines = terminal(corpus, tmp_path, {"nproc": 2, "deepspeed": "zero3", "cache_encoder": False})
    assert stdout == "" and [line for line in lines if not line.startswith("pruner: ")] == []
    log = tmp_path / "checkpoints.log"
    assert lines[-1] == f"pruner: libraries' messages are in {log}" and "Warning" in log.read_text(encoding="utf-8")
