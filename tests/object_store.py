"""Test double of an object store: one bucket that can be listed and read with the S3 API."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, body: bytes, code: int = 200, size: int | None = None):
        self.send_response(code)
        self.send_header("Content-Length", str(len(body) if size is None else size))
        self.send_header("ETag", '"0"')
        self.send_header("Last-Modified", formatdate(usegmt=True))
        self.end_headers()
        self.wfile.write(body)

    @property
    def key(self) -> str:
        return unquote(urlsplit(self.path).path).removeprefix("/bucket").strip("/")

    def signed(self) -> bool:
        if "Credential=key/" in self.headers.get("Authorization", ""):
            return True
        self.answer(b"<Error><Code>AccessDenied</Code><Message>whose keys are these?</Message></Error>", 403)
        return False

    def do_HEAD(self):
        found = self.server.objects.get(self.key)
        self.answer(b"", 404 if found is None else 200, len(found or b""))

    def do_GET(self):
        if not self.signed():
            return
        query = {key: values[0] for key, values in parse_qs(urlsplit(self.path).query).items()}
        if "list-type" not in query:
            return self.answer(self.server.objects[self.key])
        prefix, entries = query.get("prefix", ""), []
        for key in sorted(self.server.objects):
            name, deeper, _ = key.removeprefix(prefix).partition(query.get("delimiter", "\0"))
            if key.startswith(prefix) and deeper:
                entries.append(f"<CommonPrefixes><Prefix>{escape(prefix + name)}/</Prefix></CommonPrefixes>")
            elif key.startswith(prefix):
                size = len(self.server.objects[key])
                entries.append(
                    f"<Contents><Key>{escape(key)}</Key><Size>{size}</Size><ETag>0</ETag>"
                    "<LastModified>2026-01-01T00:00:00.000Z</LastModified></Contents>"
                )
        listed = "".join(dict.fromkeys(entries))
        page = f'<ListBucketResult xmlns="{NAMESPACE}"><IsTruncated>false</IsTruncated>{listed}</ListBucketResult>'
        self.answer(page.encode())


@contextmanager
def object_store(objects: dict[str, bytes]) -> Iterator[dict[str, str]]:
    """Serve the objects as `s3://bucket/…`; yields the environment variables that a client needs."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads, server.objects = True, objects
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    try:
        yield {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{server.server_port}",
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_DEFAULT_REGION": "us-east-1",
        }
    finally:
        server.shutdown()
        server.server_close()
