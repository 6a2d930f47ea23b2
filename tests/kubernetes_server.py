"""Test double of a cluster: a local server with the Kubernetes API paths used for a TrainJob of two nodes."""

import contextlib
import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

JOBS = "/apis/trainer.kubeflow.org/v1alpha1/namespaces/team/trainjobs"
PODS = "/api/v1/namespaces/team/pods"


@contextlib.contextmanager
def serving(server: "Kubernetes") -> Iterator["Kubernetes"]:
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class Kubernetes(ThreadingHTTPServer):
    """A server with one job and two pods, which progress with every request for the job."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.job = None  # None = not created, or deleted
        self.created, self.deleted, self.looks = [], [], 0
        self.refusals = {}  # method: [(code, message), …], each once
        self.leaving = 0  # requests until a job that is being deleted is gone
        self.late = False  # True = a pod has no log at the first request
        self.end = "Complete"  # None = it never ends

    def made(self, job: dict) -> None:
        self.job = job
        self.created.append(job)

    def ended(self) -> str | None:
        """Return the condition with which the job ended; None while it runs."""
        return self.end if self.looks >= 3 else None

    def log(self, node: int, query: dict[str, str]) -> str:
        assert self.looks > 1, "a pending pod has no log"
        assert ("sinceSeconds" in query) == (self.looks > 2 + self.late), "the full log must not be read at every poll"
        return "".join(
            f"2026-11-25T10:00:0{look}.500000000Z step {look} of {node}\n" for look in range(2, self.looks + 1)
        )

    def kubeconfig(self, folder: Path) -> Path:
        """Write a kubeconfig for this server."""
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "here",
            "contexts": [{"name": "here", "context": {"cluster": "here", "user": "me"}}],
            "clusters": [{"name": "here", "cluster": {"server": self.url}}],
            "users": [{"name": "me", "user": {}}],
        }
        path = folder / "kubeconfig"
        path.write_text(json.dumps(config), encoding="utf-8")
        return path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Kubernetes

    def log_message(self, *_):
        pass

    def answer(self, content, code=200):
        body = content.encode() if isinstance(content, str) else json.dumps(content).encode()
        self.send_response(code)
        self.send_header("Content-Type", "text/plain" if isinstance(content, str) else "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def refused(self) -> bool:
        if waiting := self.server.refusals.get(self.command):
            code, message = waiting.pop(0)
            self.answer({"kind": "Status", "code": code, "message": message}, code)
            return True
        return False

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.refused():
            return
        assert self.path == JOBS
        if self.server.job is not None:
            return self.answer({"message": "already exists"}, 409)
        self.server.made(body)
        self.answer(body, 201)

    def do_DELETE(self):
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        url = urlsplit(self.path)
        self.server.deleted.append((url.path, parse_qs(url.query)["propagationPolicy"]))
        found, self.server.job = self.server.job, None
        self.answer(found or {"message": "not found"}, 200 if found else 404)

    def do_GET(self):
        if self.refused():
            return
        url, server = urlsplit(self.path), self.server
        query = {key: values[0] for key, values in parse_qs(url.query).items()}
        if url.path.startswith(JOBS):
            if server.job is None:
                return self.answer({"message": "not found"}, 404)
            if server.leaving:
                server.leaving -= 1
                leaving, server.job = server.job, server.job if server.leaving else None
                return self.answer(leaving | {"metadata": {"deletionTimestamp": "2026-11-25T10:00:00Z"}})
            server.looks += 1
            end = server.ended()
            conditions = [{"type": "Suspended", "status": "False"}]
            conditions += [{"type": end, "status": "True", "message": "node-0 went away"}] if end else []
            self.answer(server.job | {"status": {"conditions": conditions}})
        elif url.path == PODS:
            assert query["labelSelector"] == f"jobset.sigs.k8s.io/jobset-name={server.job['metadata']['name']}"
            phase = "Pending" if server.looks == 1 else "Running"
            labels = [{"batch.kubernetes.io/job-completion-index": str(node)} for node in range(2)]
            pods = [
                {"metadata": {"name": f"pod-{n}", "labels": one}, "status": {"phase": phase}}
                for n, one in enumerate(labels)
            ]
            self.answer({"kind": "PodList", "items": pods})
        else:
            assert query["timestamps"] == "True"
            if server.looks == 2 and server.late:
                return self.answer({"message": "the container is not there yet"}, 400)
            self.answer(server.log(int(re.fullmatch(f"{PODS}/pod-(.)/log", url.path).group(1)), query))
