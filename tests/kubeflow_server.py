"""Test double of the Kubeflow Pipelines API: the v2beta1 paths in use, answered as by the server of 2.17.

Based on the source of kubeflow/pipelines 2.17.0 (7b70c7b95f), all below backend/src:

- apiserver/server/pipeline_server.go, `listPipelines`; apiserver/storage/pipeline_store.go, `ListPipelines`: a list
  contains only the pipelines of the request's namespace, or the shared ones if the request has none; names are unique
  per namespace (409); if `REQUIRE_NAMESPACE_FOR_PIPELINES` is set, a request without a namespace is refused (400,
  apiserver/validation/namespace.go).
- apiserver/server/api_converter.go, `toModelTask` of a `NodeStatus`: `task_details` are the nodes of Argo's workflow
  with Argo's display names, both drivers and executors; the phase Omitted has no state in the API
  (apiserver/model/run.go, `ToV2`). `toApiRun` sets `error` only if the response itself cannot be built.
- apiserver/server/api_util.go, `YamlStringToPipelineSpecStruct`: how a version's spec is returned.
"""

import email
import json
import re
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from kfp_backend import container_tasks
from ruamel.yaml import YAML

OMITTED = "RUNTIME_STATE_UNSPECIFIED"


class Kubeflow(ThreadingHTTPServer):
    """Server with pipelines, versions, experiments and runs in memory; a run progresses with every request for it.

    At first the tasks `busy` run, and their dependencies are complete; from the third request on, the run has ended
    with the state `end`; a failed run has failed in the first of `busy`.
    """

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.multi_user = self.namespace_required = False
        self.tokens = None  # accepted tokens; None = no login
        self.refusal = None  # (path, code, message)
        self.page = None  # HTML returned for every path, such as a login page
        self.away = []  # (code, message) of the next requests for a run
        self.end, self.busy = "SUCCEEDED", ["train-pruner"]
        self.driver_fails = False
        self.pipelines = {}  # id by (namespace, name)
        self.versions = {}  # by id: name, and the documents of the YAML
        self.experiments, self.runs = {"Default": "e0"}, {}
        self.uploads = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def nodes(self, run: dict[str, Any]) -> list[tuple[str, str]]:
        """Return the Argo nodes of a run's workflow: display name and state."""
        spec, *_ = self.versions[run["pipeline_version_reference"]["pipeline_version_id"]]["documents"]
        keys = list(container_tasks(spec))
        ended = run["looks"] >= 3
        state = self.end if ended else "RUNNING"
        nodes = [("sap2-x7v2q", state), ("root-driver", "SUCCEEDED"), ("root", state)]
        nodes += [("exit-handler-1-driver", "SUCCEEDED"), ("exit-handler-1", state)]
        if "for-loop-1" in str(spec):
            nodes += [("for-loop-1", state), ("iteration-driver", "SUCCEEDED"), ("iteration-iterations(0:0)", state)]
        done = ["prepare"] if "prepare" in keys else ["deal-talks"]
        for key in done:
            nodes += _pod(key, "SUCCEEDED")
        for number, key in enumerate(self.busy):
            if ended and self.driver_fails:
                nodes += [(f"{key}-driver", "FAILED"), (key, OMITTED)]
            else:
                nodes += _pod(
                    key, state if number == 0 or ended else "SUCCEEDED" if run["looks"] > number else "RUNNING"
                )
        rest = [key for key in keys if key not in (*done, *self.busy)]
        if ended and self.end == "SUCCEEDED":
            for key in rest:
                nodes += _pod(key, "SUCCEEDED")
        elif ended:
            nodes += [(name, OMITTED) for key in rest for name in (f"{key}-driver", key)]
        return nodes


def _pod(key: str, state: str) -> list[tuple[str, str]]:
    return [(f"{key}-driver", "SUCCEEDED"), (key, state), ("executor", state), ("executor(0)", state)]


class Handler(BaseHTTPRequestHandler):
    server: Kubeflow

    def log_message(self, *_):
        pass

    def answer(self, content, code=200, kind="application/json"):
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(code)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def handled(self, method):
        self.body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        url = urlsplit(self.path)
        self.query = {key: values[0] for key, values in parse_qs(url.query).items()}
        if self.server.page:
            return self.answer(self.server.page, kind="text/html")
        sent = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if self.server.tokens is not None and sent not in self.server.tokens:
            return self.answer({"message": "Unauthenticated", "code": 16}, 401)
        if self.server.refusal and url.path.endswith(self.server.refusal[0]) and method == "POST":
            return self.answer({"message": self.server.refusal[2]}, self.server.refusal[1])
        for verb, pattern, name in ROUTES:
            match = re.fullmatch(f"/apis/v2beta1{pattern}", url.path)
            if verb == method and match:
                return getattr(self, name)(*match.groups())
        return self.answer({"message": f"Not Found: {url.path}"}, 404)

    def do_GET(self):
        self.handled("GET")

    def do_POST(self):
        self.handled("POST")

    def healthz(self):
        self.answer({"multi_user": self.server.multi_user})

    def namespace(self):
        """Return the namespace of the query; send a refusal and return None if it is required but missing."""
        asked = self.query.get("namespace", "") if self.server.multi_user else ""
        if self.server.multi_user and self.server.namespace_required and not asked:
            self.answer({"message": "Namespace is required for pipeline operations"}, 400)
            return None
        return asked

    def wanted(self):
        """Return the display name in the query's filter."""
        [predicate] = json.loads(self.query["filter"])["predicates"]
        assert (predicate["operation"], predicate["key"]) == ("EQUALS", "display_name")
        return predicate["stringValue"]

    def list_pipelines(self):
        asked = self.namespace()
        if asked is None:
            return
        pipelines = [
            {"pipeline_id": id_, "display_name": name}
            for (namespace, name), id_ in self.server.pipelines.items()
            if namespace == asked and name == self.wanted()
        ]
        self.answer({"pipelines": pipelines, "total_size": len(pipelines)})

    def upload(self):
        asked, name = self.namespace(), self.query["name"]
        if asked is None:
            return
        if (asked, name) in self.server.pipelines:
            message = f"Failed to create a new pipeline. The name {name} already exist. Please specify a new name"
            return self.answer({"message": message}, 409)
        self.server.uploads.append(self.body)
        id_ = f"p{len(self.server.pipelines) + 1}"
        self.server.pipelines[asked, name] = id_
        self.answer({"pipeline_id": id_, "display_name": name})

    def upload_version(self):
        self.server.uploads.append(self.body)
        name, pipeline = self.query["name"], self.query["pipelineid"]
        form = email.message_from_bytes(f"Content-Type: {self.headers['Content-Type']}\r\n\r\n".encode() + self.body)
        documents = list(YAML(typ="safe").load_all(form.get_payload()[0].get_payload(decode=True)))
        id_ = f"v{len(self.server.versions) + 1}"
        self.server.versions[id_] = {"name": name, "pipeline": pipeline, "documents": documents}
        self.answer({"pipeline_id": pipeline, "pipeline_version_id": id_, "display_name": name})

    def list_versions(self, pipeline):
        versions = [
            {"pipeline_version_id": id_, "display_name": version["name"]}
            for id_, version in self.server.versions.items()
            if version["pipeline"] == pipeline and version["name"] == self.wanted()
        ]
        self.answer({"pipeline_versions": versions})

    def get_version(self, pipeline, id_):
        version = self.server.versions.get(id_)
        if version is None:
            return self.answer({"message": f"Failed to get pipeline version {id_}: not found"}, 404)
        spec, platform = version["documents"]
        given = {"pipeline_spec": spec, "platform_spec": platform}
        self.answer({"pipeline_id": pipeline, "pipeline_version_id": id_, "pipeline_spec": given})

    def list_experiments(self):
        named = [{"experiment_id": id_, "display_name": name} for name, id_ in self.server.experiments.items()]
        if "filter" in self.query:
            wanted = json.loads(self.query["filter"])["predicates"][0]
            named = [
                experiment
                for experiment in named
                if experiment["display_name"] == wanted.get("stringValue", wanted.get("string_value"))
            ]
        self.answer({"experiments": named})

    def create_experiment(self):
        name = json.loads(self.body)["display_name"]
        self.server.experiments[name] = f"e{len(self.server.experiments)}"
        self.answer({"experiment_id": self.server.experiments[name], "display_name": name})

    def create_run(self):
        run = {**json.loads(self.body), "run_id": "r1", "state": "PENDING", "looks": 0}
        self.server.runs["r1"] = run
        self.answer(run)

    def get_run(self, id_):
        run = self.server.runs.get(id_)
        if run is None:
            return self.answer({"message": f"Failed to get run {id_}: not found"}, 404)
        if self.server.away:
            code, message = self.server.away.pop(0)
            return self.answer({"message": message}, code)
        run["looks"] += 1
        nodes = self.server.nodes(run)
        run["state"] = nodes[0][1]
        details = [{"task_id": f"t{n}", "display_name": name, "state": state} for n, (name, state) in enumerate(nodes)]
        self.answer({**run, "run_details": {"task_details": details}})


ROUTES = [
    ("GET", "/healthz", "healthz"),
    ("GET", "/pipelines", "list_pipelines"),
    ("POST", "/pipelines/upload", "upload"),
    ("POST", "/pipelines/upload_version", "upload_version"),
    ("GET", "/pipelines/([^/]+)/versions", "list_versions"),
    ("GET", "/pipelines/([^/]+)/versions/([^/]+)", "get_version"),
    ("GET", "/experiments", "list_experiments"),
    ("POST", "/experiments", "create_experiment"),
    ("POST", "/runs", "create_run"),
    ("GET", "/runs/([^/]+)", "get_run"),
]
