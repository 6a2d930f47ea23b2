"""The bearer token for Kubeflow's API: a fixed value, or a file or command that is read again as tokens expire."""

import os
import shlex
import subprocess
import time
from pathlib import Path
from typing import Any

from kfp.client.token_credentials_base import TokenCredentialsBase

from pipelines.errors import PipelineError
from sap2.constants import Seconds

__all__ = ["VARIABLES", "Login"]

TOKEN, TOKEN_FILE, TOKEN_COMMAND = VARIABLES = ("SAP2_KFP_TOKEN", "SAP2_KFP_TOKEN_FILE", "SAP2_KFP_TOKEN_COMMAND")
TOKEN_LIFETIME: Seconds = 60  # time for which a command's token is reused
TIMEOUT: Seconds = 30


class Login(TokenCredentialsBase):
    """The token in SAP2_KFP_TOKEN, in the file of SAP2_KFP_TOKEN_FILE, or printed by SAP2_KFP_TOKEN_COMMAND.

    Raises: PipelineError: several variables are set, the file cannot be read, or the command fails.
    """

    def __init__(self) -> None:
        given = [name for name in VARIABLES if os.environ.get(name)]
        if len(given) > 1:
            raise PipelineError(f"{' and '.join(given)} are set, expected only one; unset the others")
        self._variable = given[0] if given else None
        self._output, self._until = "", 0.0

    @property
    def renews(self) -> bool:
        """Whether a refused token may be replaced at the next request."""
        return self._variable in (TOKEN_FILE, TOKEN_COMMAND)

    def token(self) -> str | None:
        """Return the current token; None without a login."""
        if self._variable is None:
            return None
        value = os.environ[self._variable]
        if self._variable == TOKEN:
            return value
        if self._variable == TOKEN_COMMAND:
            return self._of_command(value)
        try:
            return Path(value).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            why = getattr(error, "strerror", None) or "not UTF-8"
            raise PipelineError(f"{TOKEN_FILE}: {value} cannot be read: {why}; name the file with the token") from error

    def forget(self) -> None:
        """Run the command again at the next request."""
        self._until = 0.0

    def refresh_api_key_hook(self, config: Any) -> None:
        """Refresh the token; KFP's client calls this before each request."""
        config.api_key["authorization"] = self.token()

    def _of_command(self, command: str) -> str:
        if time.monotonic() < self._until:
            return self._output
        try:
            done = subprocess.run(shlex.split(command), capture_output=True, text=True, timeout=TIMEOUT)
            why = done.stderr.strip() or f"exit code {done.returncode}" if done.returncode else ""
            why = why or ("it printed nothing" if not done.stdout.strip() else "")
        except (OSError, ValueError, subprocess.TimeoutExpired) as error:
            why = str(error)
        if why:
            raise PipelineError(
                f"{TOKEN_COMMAND}: {command}: {' '.join(why.split())}; expected a command that prints a token"
            )
        self._output, self._until = done.stdout.strip(), time.monotonic() + TOKEN_LIFETIME
        return self._output
