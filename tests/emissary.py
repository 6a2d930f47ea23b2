"""A step's process as Argo's executor runs it in a pod, and ends it: with less than a second to go.

Read in argo-workflows 4.0.5 and kubeflow/pipelines 2.17.0: the emissary (cmd/argoexec/commands/emissary.go) starts
KFP's launcher in a process group and passes SIGTERM on to the group; the launcher
(backend/src/v2/component/launcher_v2.go, `command.Run`) has no handler and is gone at once, then the emissary, whose
end is the container's: the kernel kills what is left of it.
"""

import os
import signal
import subprocess
import time
from pathlib import Path

__all__ = ["Pod"]

GRACE = 0.5  # seconds from the launcher's end to the container's


class Pod:
    """A command under a launcher without a handler, in a process group of its own."""

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
        """The exit code of a step that ended by itself."""
        return self._launcher.poll()

    def terminate(self) -> None:
        """End it as Argo does for a run that is stopped, a deadline or a node that is drained."""
        assert self._launcher.poll() is None, self.said()
        os.killpg(self._launcher.pid, signal.SIGTERM)
        assert self._launcher.wait(1) == -signal.SIGTERM, "it has no handler"
        time.sleep(GRACE)
        self.kill()

    def kill(self) -> None:
        try:
            os.killpg(self._launcher.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self._launcher.wait()
