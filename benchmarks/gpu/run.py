"""Measure a GPU in minutes: exactness, training and decoding at the published size, and the cost of their parts.

    python benchmarks/gpu/run.py --minutes 8 --out gpu

Needs PyTorch, transformers (5.17 or newer), PEFT and accelerate. Nothing is downloaded: random weights of the base's
published size are created on the device. Every result is written to OUT/records.json immediately, and as a table to
OUT/report.md. `--tiny` runs all parts on a CPU, in sizes whose figures are meaningless.
"""

import argparse
import json
import multiprocessing
import os
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from packages import register_packages
from records import RECORDS, REPORT, Records
from report import markdown
from scale import BASE_NAMES
from worker import serve

START = 180.0  # s, limit of a worker's imports
STOP = 20.0  # s, limit for a killed process to end
GRACE = 3.0  # s, reserved for the report


@dataclass(frozen=True)
class Part:
    """A module of `parts/`.

    Args:
        needs: Minimum seconds left; otherwise the part is skipped.
        limit: Maximum seconds in a run of eight minutes; in other runs in proportion.
    """

    name: str
    needs: float
    limit: float


# The most important first, in case the run is interrupted.
PARTS = (
    Part("device", 5, 60),
    Part("training", 30, 150),
    Part("decoding", 30, 130),
    Part("exactness", 20, 90),
    Part("public_step", 30, 100),
    Part("markers", 20, 70),
    Part("pooling", 20, 60),
    Part("compiled", 60, 240),
)


class Worker:
    """A measuring process, which runs `worker.serve`."""

    def __init__(self, base: str, tiny: bool):
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=serve, args=(theirs, base, tiny))
        self.process.start()
        theirs.close()

    def messages(self, seconds: float):
        """Yield its messages.

        Raises: TimeoutError: `seconds` have passed. EOFError: the process died.
        """
        until = time.monotonic() + seconds
        while True:
            if not self.connection.poll(max(0.0, until - time.monotonic())):
                raise TimeoutError(f"ended after {seconds:.0f} s")
            yield self.connection.recv()

    def stop(self) -> None:
        self.connection.close()
        self.process.kill()
        self.process.join(STOP)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    options.add_argument("--out", type=Path, help="folder of records.json and report.md")
    options.add_argument("--minutes", type=float, default=8.0, help="time limit; parts that do not fit are skipped")
    options.add_argument("--base", default=BASE_NAMES[0], choices=BASE_NAMES, help="base model to measure")
    options.add_argument("--parts", nargs="+", choices=[part.name for part in PARTS], help="measure only these parts")
    options.add_argument("--tiny", action="store_true", help="run on a CPU, in sizes whose figures are meaningless")
    options.add_argument("--report", type=Path, metavar="DIR", help="only write DIR/report.md from DIR/records.json")
    arguments = options.parse_args()
    if arguments.report:
        content = json.loads((arguments.report / RECORDS).read_text(encoding="utf-8"))
        (arguments.report / REPORT).write_text(markdown(content), encoding="utf-8")
        return
    if arguments.out is None:
        options.error("--out is missing; give a folder for the records")
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    # Without a network, requests to the hub would only time out.
    os.environ |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    register_packages()
    records = Records(arguments.out, base=arguments.base, tiny=arguments.tiny, minutes=arguments.minutes)
    chosen = [part for part in PARTS if not arguments.parts or part.name in arguments.parts]
    measure(chosen, records, arguments.base, arguments.tiny, 60 * arguments.minutes)
    print(f"\n{(arguments.out / REPORT).read_text(encoding='utf-8')}")


def measure(parts: list[Part], records: Records, base: str, tiny: bool, seconds: float) -> None:
    """Run the parts in order, within a time limit."""
    deadline, worker = time.monotonic() + seconds - GRACE, None
    try:
        for part in parts:
            records.start(part.name)
            started = time.monotonic()
            if deadline - started < part.needs and not tiny:
                left = max(0, deadline - started)
                records.end("skipped", 0, f"{left:.0f} s left, needs {part.needs:.0f}")
                continue
            state, reason = "failed", ""
            try:
                worker = worker or start(base, tiny, deadline)
                limit = min(part.limit * seconds / 480, deadline - time.monotonic())
                state, reason = run_part(worker, part, records, limit)
            except TimeoutError as error:
                state, reason = "out of time", str(error)
            except (EOFError, OSError) as error:
                reason = f"its process died ({type(error).__name__})"
            except BaseException:
                records.end("interrupted", time.monotonic() - started)
                raise
            records.end(state, time.monotonic() - started, reason)
            print(f"{part.name}: {state} after {time.monotonic() - started:.0f} s {reason}", flush=True)
            if state != "done" and worker is not None:  # after an error the GPU or its memory may be unusable
                worker.stop()
                worker = None
    finally:
        if worker is not None:
            worker.stop()


def start(base: str, tiny: bool, deadline: float) -> Worker:
    """Start a worker, and wait for its imports.

    Raises: SystemExit: the worker cannot measure on this machine.
    """
    worker = Worker(base, tiny)
    try:
        kind, reason = next(worker.messages(min(START, deadline - time.monotonic())))
        if kind == "refused":
            raise SystemExit(reason)
    except BaseException:
        worker.stop()
        raise
    return worker


def run_part(worker: Worker, part: Part, records: Records, seconds: float) -> tuple[str, str]:
    """Have the worker measure a part, and record its rows.

    Returns: The part's state and the reason for it.
    """
    worker.connection.send((part.name, seconds))
    for kind, content in worker.messages(seconds):
        if kind == "row":
            records.row(content)
            print(f"  {part.name}: {json.dumps(content)}", flush=True)
        elif kind == "log":
            records.log(content)
        else:
            return kind, content
    raise EOFError


if __name__ == "__main__":
    main()
