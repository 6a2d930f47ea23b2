"""Heartbeat on a shared volume: whoever waits for a training writes it, the training's processes watch it.

Only changes of the file's content count, measured by the reader's clock: clocks of two machines may differ, and file
times on a network volume may be cached.
"""

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

from sap2.constants import Seconds
from sap2.files import atomic_file

__all__ = ["FILE_VARIABLE", "SECONDS_VARIABLE", "Heartbeat", "beat", "watched"]

FILE_VARIABLE, SECONDS_VARIABLE = "SAP2_HEARTBEAT", "SAP2_HEARTBEAT_SECONDS"
LIMIT: Seconds = 900
CHECKS = 10  # checks of the file within the limit


def beat(file: Path) -> None:
    """Write a heartbeat that differs from the previous one."""
    with atomic_file(file) as partial:
        partial.write_text(f"{time.time_ns()}\n", encoding="utf-8")


class Heartbeat:
    """Watches a file whose content must change within `limit` seconds."""

    def __init__(self, file: Path, limit: Seconds):
        self.file, self.limit = file, limit
        self._seen, self._since = self._content(), time.monotonic()

    def lost(self) -> bool:
        """Return whether the content has been unchanged, or the file missing, for too long."""
        content = self._content()
        if content is not None and content != self._seen:
            self._seen, self._since = content, time.monotonic()
        return time.monotonic() - self._since > self.limit

    def watch(self, tell: Callable[[], None]) -> threading.Event:
        """Call `tell` once from a thread when the heartbeat is lost; setting the event ends the watch."""
        ended = threading.Event()

        def look() -> None:
            while not ended.wait(self.limit / CHECKS):
                if self.lost():
                    return tell()

        threading.Thread(target=look, name="heartbeat", daemon=True).start()
        return ended

    def _content(self) -> bytes | None:
        try:
            return self.file.read_bytes()
        except OSError:
            return None


def watched() -> Heartbeat | None:
    """Return the heartbeat named in the environment: SAP2_HEARTBEAT, with the limit SAP2_HEARTBEAT_SECONDS."""
    file = os.environ.get(FILE_VARIABLE)
    return Heartbeat(Path(file), float(os.environ.get(SECONDS_VARIABLE, LIMIT))) if file else None
