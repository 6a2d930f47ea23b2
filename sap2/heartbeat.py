"""A sign of life on a volume: whoever waits for a training writes it, the training's processes watch it.

What counts is that the file's content changes, by the reader's own clock: those of two machines need not agree, and the
times of files on a network's volume are kept in caches.
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
LOOKS = 10  # at the file, in the time that makes it stale


def beat(file: Path) -> None:
    """Write a sign of life, different from the one before."""
    with atomic_file(file) as partial:
        partial.write_text(f"{time.time_ns()}\n", encoding="utf-8")


class Heartbeat:
    """A file whose content must change within `limit` seconds."""

    def __init__(self, file: Path, limit: Seconds):
        self.file, self.limit = file, limit
        self._seen, self._since = self._content(), time.monotonic()

    def lost(self) -> bool:
        """Whether the content has been the same, or the file away, for too long."""
        content = self._content()
        if content is not None and content != self._seen:
            self._seen, self._since = content, time.monotonic()
        return time.monotonic() - self._since > self.limit

    def watch(self, tell: Callable[[], None]) -> threading.Event:
        """Call `tell` once, from a thread of its own, when it is lost; the event ends that."""
        ended = threading.Event()

        def look() -> None:
            while not ended.wait(self.limit / LOOKS):
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
    """The heartbeat that the environment names: SAP2_HEARTBEAT, and its limit SAP2_HEARTBEAT_SECONDS."""
    file = os.environ.get(FILE_VARIABLE)
    return Heartbeat(Path(file), float(os.environ.get(SECONDS_VARIABLE, LIMIT))) if file else None
