"""A server in a thread with a fake model, for tests of the server itself."""

import http.client
import json
import threading
import time
import uuid
from contextlib import contextmanager
from dataclasses import dataclass

import uvicorn

from sap2.serving.app import create_app
from sap2.serving.limits import Limits
from sap2.transcripts.transcript import Segment, Transcript


class Model:
    """Fake model that returns each recording's length and keywords; may be slow, or fail at a given length."""

    def __init__(self, name="first", seconds=0.0, fails_at=None):
        self.name, self.seconds, self.fails_at = name, seconds, fails_at
        self.batches = []

    def recognise(self, audio, keywords):
        self.batches.append(len(audio))
        time.sleep(self.seconds)
        if self.fails_at in [len(wave) for wave in audio]:
            raise RuntimeError("out of memory")
        return [
            Transcript(
                f"{self.name} {len(wave) / 16_000:.1f} s {' '.join(words)}".strip(), list(words), list(words),
                {"audio": len(wave) / 16_000}, {word: -0.5 for word in words},
                [Segment(0.0, 1.5, "<first> & more"), Segment(1.5, 2.0, ""), Segment(2.0, 3661.25, "last")],
            )
            for wave, words in zip(audio, keywords, strict=True)
        ]  # fmt: skip


class Source:
    """Fake registry whose alias the test moves."""

    uri, name, moves = "models:/m@champion", "m", True

    def __init__(self, model):
        self.version, self.models, self.broken = 1, {1: model}, False

    def current(self):
        from sap2.errors import TrackingError

        if self.broken:
            raise TrackingError("the registry is away")
        return f"models:/m/{self.version}"

    def load(self, current):
        return self.models[int(current.rpartition("/")[2])]


@dataclass
class Server:
    port: int
    source: Source
    app: object
    handle: uvicorn.Server

    def ask(self, method, path, body=None, headers=None):
        """Send a request; return the status, headers and content of the response."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        connection.request(method, path, body, headers or {})
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        return answer.status, dict(answer.getheaders()), content

    def post(self, *parts, path="/v1/audio/transcriptions", headers=None):
        """Post a form of parts `(field, content)` or `(field, content, file name)`; content is text or bytes."""
        body, kind = multipart(parts)
        status, answered, content = self.ask("POST", path, body, {"Content-Type": kind} | (headers or {}))
        return status, answered, json.loads(content) if answered["content-type"] == "application/json" else content


def multipart(parts):
    boundary, body = uuid.uuid4().hex, b""
    for name, content, *file in parts:
        named = f'; filename="{file[0]}"' if file else ""
        content = content.encode() if isinstance(content, str) else content
        body += (
            f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"{named}\r\n\r\n'.encode() + content + b"\r\n"
        )
    return body + f"--{boundary}--\r\n".encode(), f"multipart/form-data; boundary={boundary}"


@contextmanager
def running(model=None, limits=None, keys=(), poll=0.05, keeper=None, indexes=None):
    source = Source(model or Model())
    app = create_app(source, limits or Limits(), keys, poll, keeper, indexes=indexes)
    handle = uvicorn.Server(uvicorn.Config(app, "127.0.0.1", 0, log_level="warning"))
    thread = threading.Thread(target=handle.run)
    thread.start()
    try:
        while not (handle.started and app.state.service.engine.model):
            assert thread.is_alive()
            time.sleep(0.01)
        yield Server(handle.servers[0].sockets[0].getsockname()[1], source, app, handle)
    finally:
        handle.should_exit = True
        thread.join(20)
