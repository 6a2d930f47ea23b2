"""Names tests that run for minutes, while they run, so that an aborted run tells where it was."""

import threading
import time

EVERY = 120.0  # seconds


class StillRunning:
    """A pytest plugin for the process that reports; prints a line each `every` seconds if a test has run that long."""

    def __init__(self, config, every: float = EVERY):
        self.config, self.every = config, every
        self.began, self.done = time.monotonic(), 0
        self.running: dict[str, float] = {}
        self.over = threading.Event()
        threading.Thread(target=self._watch, daemon=True).start()

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self.running[nodeid] = time.monotonic()

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        self.running.pop(nodeid, None)
        self.done += 1

    def pytest_unconfigure(self) -> None:
        self.over.set()

    def _watch(self) -> None:
        while not self.over.wait(self.every):
            now = time.monotonic()
            slow = {nodeid: now - since for nodeid, since in list(self.running.items()) if now - since >= self.every}
            if slow:
                tests = ", ".join(f"{nodeid} for {seconds:.0f} s" for nodeid, seconds in slow.items())
                minutes = (now - self.began) / 60
                self.config.pluginmanager.get_plugin("terminalreporter").write_line(
                    f"\n{minutes:.0f} min, {self.done} tests; still running: {tests}"
                )
