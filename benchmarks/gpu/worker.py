"""The process that measures: it holds PyTorch and the device, and is replaced after an error or an overrun.

The process of run.py starts it, sends the names of parts, and gets rows back as they are measured.
"""

import gc
import importlib
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any

CASES_SHARE = 0.85  # of a part's time in which cases may start


@dataclass
class Run:
    """What a part measures with, and where its figures go.

    Args:
        base: Name of the shape, of `scale.BASE_NAMES`.
        tiny: Sizes for a CPU, whose figures mean nothing.
        until: Clock (`time.monotonic`) at which no further case is started.
        send: Passes a message to the process of run.py.
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
        """Measure a case and send its row; an error goes into the row, and the part continues.

        Args:
            needs: Seconds it takes on a GPU, roughly: it is skipped when fewer are left.
        Returns: The figures; None where there are none.
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
    """Run the parts that are named through the connection, until it ends.

    Receives `(part, seconds)`. Sends `("ready", "")` or `("refused", the reason)`; then of each part its rows and log
    texts, and at its end `("done", "")`, `("done with errors", "")` or `("failed", the last line of the error)`.
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
    """Import what every part needs, which is slow, and choose attention's kernels as loading a model does.

    Raises: RuntimeError: the sizes need a GPU, and there is none.
    """
    from rooms import open_rooms

    open_rooms()
    import torch

    from sap2.model.attention import avoid_planned_kernels

    avoid_planned_kernels()
    if not tiny and not torch.cuda.is_available():
        raise RuntimeError("PyTorch sees no CUDA device here; --tiny runs on a CPU")


def release() -> None:
    """Return freed memory to the device."""
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def last_line(error: BaseException) -> str:
    """The last line of the error's traceback."""
    lines = traceback.format_exception_only(error)
    return " ".join(lines[-1].split())[:400]
