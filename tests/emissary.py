"""A pipeline step's process as Argo's executor runs it in a pod, and ends it: with a grace period under a second.

Based on the source of argo-workflows 4.0.5 and kubeflow/pipelines 2.17.0: the emissary
(cmd/argoexec/commands/emissary.go) starts KFP's launcher in a process group and passes SIGTERM on to the group; the
launcher (backend/src/v2/component/launcher_v2.go, `command.Run`) has no handler and ends at once, then the emissary,
with which the container ends: the kernel kills the remaining processes.
"""

import os
import signal
import subprocess
import time
from pathlib import Path

__all__ = ["Pod"]

GRACE = 0.5  # s from the end of the launcher to the end of the container


class Pod:
    """A command under a launcher without a signal handler, in its own process group."""

    def __init__(self, command: list[str], log: Path, environment: dict[str, str] | None = None):
        self.log = log
        with log.open("wb") as out:
            self._launcher = subprocess.Popen(
                ["sh", "-c", '"$@"; exit $?', "launcher", *command], env=environment, stdout=out, stderr=out,
                start_new_session=True,
            )  # fmt: skip

    def said(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")

    def ended(self) -> int | None:
        """Return the exit code of a step that ended by itself; None while it runs."""
        return self._launcher.poll()

    def terminate(self) -> None:
        """End the step as Argo does when a run is stopped, a deadline passes or a node is drained."""
        assert self._launcher.poll() is None, self.said()
        os.killpg(self._launcher.pid, signal.SIGTERM)
        assert self._launcher.wait(1) == -signal.SIGTERM, "the launcher has no signal handler"
        time.sleep(GRACE)
        self.kill()

    def kill(self) -> None:
        try:
            os.killpg(self._launcher.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self._launcher.wait()
