"""Handling of SIGTERM, by which Kubernetes ends a pod, for processes that must finish work first."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def on_sigterm(call: Callable[[], None]) -> Iterator[None]:
    """Call `call` on SIGTERM instead of ending the process; outside the main thread, change nothing."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, lambda number, frame: call())
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
