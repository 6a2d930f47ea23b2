"""A real MLflow server, and a proxy in front of it that injects faults: closed, slow, failing, or without responses."""

import http.client
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

DELAY = 3  # s per request of a slow server

# Faults of a request, by whether the request still reaches the server.
CLOSED, ERROR, SLOW, TIMEOUT = "closed", "error", "slow", "timeout"
NO_RESPONSE, ERROR_AFTER, TIMEOUT_AFTER = "no response", "error after", "timeout after"
BEFORE = (CLOSED, ERROR, TIMEOUT)  # the request does not reach the server
AFTER = (NO_RESPONSE, ERROR_AFTER, TIMEOUT_AFTER)  # the request is processed, but the client gets no response


@contextmanager
def running(folder: Path) -> Iterator[int]:
    """Run an MLflow server with its SQLite database and artifacts in a folder; yields its port."""
    with ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as probe:
        port = probe.server_port
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", f"sqlite:///{folder / 'mlflow.db'}"]
    command += ["--artifacts-destination", str(folder / "artifacts"), "--port", str(port), "--workers", "1"]
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log)
    try:
        until = time.monotonic() + 240
        while True:
            assert server.poll() is None and time.monotonic() < until, (folder / "log").read_text()[-3000:]
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5).close()
                break
            except OSError:
                time.sleep(0.5)
        yield port
    finally:
        server.terminate()
        server.wait(30)


class FaultyProxy(ThreadingHTTPServer):
    """Proxy that forwards requests to a server, or injects `fault` into all further requests or a single one.

    Attributes:
        seen: Method and path of the requests since the start, or since the last call of `arm`.
    """

    daemon_threads = True

    def __init__(self, port: int):
        self.port, self.fault, self.seen = port, None, []
        self._at, self._then, self._lock = None, None, threading.Lock()
        super().__init__(("127.0.0.1", 0), Request)

    def arm(self, fault: str | None = None, at: int = 0, then: str | None = None) -> None:
        """Inject `fault` into request number `at`, counted from now and from 0, and `then` into later requests."""
        with self._lock:
            self.seen, self.fault, self._at, self._then = [], fault, at, then

    def fault_of(self, asked: str) -> str | None:
        """Record a request and return its fault; None = forward it."""
        with self._lock:
            number = len(self.seen)
            self.seen.append(asked)
            if self._at is None or number == self._at:
                return self.fault
            return self._then if number > self._at else None

    @contextmanager
    def started(self) -> Iterator["FaultyProxy"]:
        with self:
            threading.Thread(target=self.serve_forever, daemon=True).start()
            try:
                yield self
            finally:
                self.shutdown()


class Request(BaseHTTPRequestHandler):
    def forward(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        fault = self.server.fault_of(f"{self.command} {self.path.partition('?')[0]}")
        if fault in BEFORE:
            return self.fail(fault)
        if fault == SLOW:
            time.sleep(DELAY)
        inner = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=60)
        headers = {name: value for name, value in self.headers.items() if name.lower() != "host"}
        inner.request(self.command, self.path, body, headers)
        answer = inner.getresponse()
        content = answer.read()
        inner.close()
        if fault in AFTER:
            return self.fail(fault)
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.headers.get("Content-Type", "application/json"))
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def fail(self, fault: str) -> None:
        self.close_connection = True
        if fault in (ERROR, ERROR_AFTER):
            return self.send_error(503)
        if fault in (TIMEOUT, TIMEOUT_AFTER):
            time.sleep(DELAY)
        self.connection.close()

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = forward

    def log_message(self, *_):
        return
