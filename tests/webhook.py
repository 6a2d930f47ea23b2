"""Local server that receives the messages sent to SAP2_WEBHOOK."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer


@contextmanager
def webhook(monkeypatch, field: str | None = None) -> Iterator[list]:
    """Point SAP2_WEBHOOK at a server; yields its messages, or a field of each."""
    posted: list = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            message = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            posted.append(message if field is None else message[field])
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_):
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("SAP2_WEBHOOK", f"http://127.0.0.1:{server.server_port}/hook")
        yield posted
        server.shutdown()
