"""Measuring process: uses PyTorch and the device, and is replaced after an error or a timeout.

run.py starts it, sends the names of parts, and receives each row when it is measured.
"""

import gc
import importlib
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any

CASES_SHARE = 0.85  # share of a part's time in which new cases are started


@dataclass
class Run:
    """Settings of a part's measurements, and the function that sends their results.

    Args:
        base: A name in `scale.BASE_NAMES`.
        tiny: Use sizes for a CPU, whose figures are meaningless.
        until: Deadline (`time.monotonic`) after which no further case is started.
        send: Sends a message to run.py.
    """

    base: str
    tiny: bool
    until: float
    send: Callable[[tuple[str, Any]], None]
    failed: bool = field(default=False)

    def __post_init__(self):
        import torch
        from bases import base_named
        from scale import FULL, TINY

        self.scale = TINY if self.tiny else FULL
        self.shape = base_named(self.base, self.tiny)
        self.device = torch.device("cpu" if self.tiny else "cuda")

    def case(self, name: str, needs: float, measure: Callable[[], dict]) -> dict | None:
        """Measure a case and send its row; after an error, the row contains it, and the part continues.

        Args:
            needs: Approximate seconds on a GPU; the case is skipped if fewer are left.
        Returns: The figures; None if the case is skipped or fails.
        """
        started = time.monotonic()
        left = self.until - started
        if left < (0 if self.tiny else needs):
            self.send(("row", {"case": name, "skipped": f"{max(0, left):.0f} s left, needs {needs:.0f}"}))
            return None
        try:
            figures = measure()
        except Exception as error:  # noqa: BLE001
            figures = None
            self.failed = True
            self.send(("log", f"{name}\n{traceback.format_exc()}"))
            self.send(("row", {"case": name, "error": last_line(error)}))
        else:
            self.send(("row", {"case": name, **figures, "took_seconds": time.monotonic() - started}))
        release()
        return figures


def serve(connection: Connection, base: str, tiny: bool) -> None:
    """Run the parts requested through a connection, until it is closed.

    Receives `(part, seconds)`. Sends `("ready", "")` or `("refused", reason)`; then, for each part, its rows and log
    texts, and finally `("done", "")`, `("done with errors", "")` or `("failed", last line of the error)`.
    """
    try:
        set_up(tiny)
    except Exception as error:  # noqa: BLE001
        traceback.print_exc()
        connection.send(("refused", last_line(error)))
        return
    connection.send(("ready", ""))
    while True:
        try:
            part, seconds = connection.recv()
        except EOFError:
            return
        try:
            run = Run(base, tiny, time.monotonic() + CASES_SHARE * seconds, connection.send)
            importlib.import_module(f"parts.{part}").measure(run)
            connection.send(("done with errors" if run.failed else "done", ""))
        except Exception as error:  # noqa: BLE001
            connection.send(("log", f"{part}\n{traceback.format_exc()}"))
            connection.send(("failed", last_line(error)))
        run = None
        release()


def set_up(tiny: bool) -> None:
    """Do the slow imports of all parts, and select attention kernels as when a model is loaded.

    Raises: RuntimeError: a full run without a GPU.
    """
    from packages import register_packages

    register_packages()
    import torch

    from sap2.model.attention import avoid_planned_kernels

    avoid_planned_kernels()
    if not tiny and not torch.cuda.is_available():
        raise RuntimeError("PyTorch sees no CUDA device here; --tiny runs on a CPU")


def release() -> None:
    """Return unused memory to the device."""
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def last_line(error: BaseException) -> str:
    """Return the last line of an error's traceback."""
    lines = traceback.format_exception_only(error)
    return " ".join(lines[-1].split())[:400]
