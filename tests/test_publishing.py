"""Upload of models to the Hugging Face hub, with a local test double: uploaded files and content of the card."""

import base64
import json
import os
import shutil
import subprocess
import sys
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import peft
import pytest
import yaml
from tiny import build_tiny_base

from sap2.errors import InputError
from sap2.model import LORA_TARGETS, load_model, load_processor, save_adapter
from sap2.publishing import model_card, publish
from sap2.settings import RecogniserSettings

ROOT = Path(__file__).parent.parent
METRICS = {
    "none": {"wer": 9.5, "u_wer": 2.0, "b_wer": 80.25},
    "predicted": {"wer": 4.0, "wer_low": 3.5, "wer_high": 4.75, "u_wer": 2.25, "b_wer": 20.5},
    "pruning": {"recall": 0.91, "precision": 0.75},
    "definition": "deep-bias", "normaliser": "none", "utterances": 400,
}  # fmt: skip
CARD = {"title": "Lectures", "licence": "CC0", "splits": {"train": {"utterances": 6000, "hours": 2.5}}}


@contextmanager
def hub():
    """Run a server with the hub's API for small uploads; yields its address and the uploaded files by repository."""
    uploaded: dict[str, dict[str, bytes]] = {}

    class Hub(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            kind, *rest = self.path.removeprefix("/api/").split("/")
            if kind == "repos":
                given = json.loads(body)
                repo = "/".join(filter(None, (given.get("organization"), given["name"])))
                uploaded.setdefault(repo, {})["visibility"] = str(given.get("visibility")).encode()
                self.answer({"url": f"{self.address}/{repo}", "name": repo})
            elif kind == "validate-yaml":
                head = json.loads(body)["content"].split("---\n")[1]
                self.answer({"errors": [] if yaml.safe_load(head) else [{"message": "empty"}], "warnings": []})
            elif "preupload" in rest:
                paths = [file["path"] for file in json.loads(body)["files"]]
                modes = [{"path": path, "uploadMode": "regular", "shouldIgnore": False} for path in paths]
                self.answer({"files": modes})
            elif "commit" in rest:
                for line in map(json.loads, body.splitlines()):
                    if line["key"] == "file":
                        uploaded["/".join(rest[:2])][line["value"]["path"]] = base64.b64decode(line["value"]["content"])
                repo = "/".join(rest[:2])
                self.answer({"commitUrl": f"{self.address}/{repo}/commit/0123abc", "commitOid": "0123abc"})

        @property
        def address(self) -> str:
            return f"http://127.0.0.1:{self.server.server_port}"

        def do_GET(self):
            self.send_error(404)  # the repository has no card yet

        do_HEAD = do_GET

        def answer(self, content):
            body = json.dumps(content).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", uploaded
    finally:
        server.shutdown()


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """A folder with the outputs of the pipeline."""
    work = tmp_path_factory.mktemp("work")
    base = build_tiny_base(work / "models" / "base", positions=100)
    model = peft.get_peft_model(load_model(base), peft.LoraConfig(r=2, target_modules=LORA_TARGETS))
    for stage in ("pruner", "recogniser"):
        save_adapter(model, load_processor(base), work / "models" / stage)
    RecogniserSettings().save(work / "models" / "settings.json")
    for path, content in (("data/lists/card.json", CARD), ("reports/metrics.json", METRICS)):
        (work / path).parent.mkdir(parents=True)
        (work / path).write_text(json.dumps(content))
    return work


def run(work: Path, address: str, *command: str) -> str:
    environment = os.environ | {"HF_ENDPOINT": address, "HF_TOKEN": "hf_double", "PYTHONPATH": str(ROOT)}
    environment.pop("HF_HUB_OFFLINE", None)
    done = subprocess.run([sys.executable, *command], cwd=work, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_a_pushed_folder_holds_the_models_and_a_card(work):
    with hub() as (address, uploaded):
        said = run(work, address, "-m", "sap2", "push-to-hub", "my-lab/lectures")
    assert said == f"push-to-hub: {address}/my-lab/lectures/commit/0123abc\n"
    files = uploaded["my-lab/lectures"]
    assert files.pop("visibility") == b"private"
    assert {name.split("/")[0] for name in files} == {"README.md", "settings.json", "base", "pruner", "recogniser"}
    weights = "recogniser/adapter_model.safetensors"
    assert files[weights] == (work / "models" / weights).read_bytes()
    text = files["README.md"].decode()
    head = yaml.safe_load(text.split("---\n")[1])
    assert head["pipeline_tag"] == "automatic-speech-recognition" and "base_model" not in head
    assert head["model-index"][0]["results"][0]["metrics"][0] == {"type": "wer", "name": "WER", "value": 4.0}
    assert "| predicted | 4.00 (3.50 to 4.75) | 2.25 | 20.50 |" in text
    assert "Lectures; licence: CC0." in text and "| train | 6,000 | 2.50 |" in text
    assert "hf download my-lab/lectures --local-dir models" in text


def test_a_base_from_the_hub_is_linked_not_uploaded(work, tmp_path):
    """The card links to the base, which is not uploaded."""
    shutil.copytree(work, tmp_path / "work")
    (tmp_path / "work" / "models" / "base" / "hub.json").write_text(
        '{"id": "Qwen/Qwen2-Audio-7B", "revision": "0123abc"}'
    )
    with hub() as (address, uploaded):
        run(tmp_path / "work", address, "-m", "sap2", "push-to-hub", "my-lab/lectures", "--public")
    files = uploaded["my-lab/lectures"]
    assert [name for name in files if name.startswith("base/")] == ["base/hub.json"] and files[
        "visibility"
    ] == b"public"
    assert b'base_model: "Qwen/Qwen2-Audio-7B"' in files["README.md"]


def test_a_card_without_intervals_and_licence_says_so():
    card = model_card("a/b", {"title": "Talks"}, METRICS, {"method": "jpi", "window": 4, "weighting": "mean"}, None)
    assert "Talks; licence: not stated." in card and "| none | 9.50 | 2.00 | 80.25 |" in card
    assert "one model prunes the keyword list and transcribes in one answer" in card
    assert "windows of 4 tokens, weighted by mean" in card


def test_models_and_processors_are_pushed_as_stock_ones(work):
    code = (
        "from sap2.model import load_model, load_processor\n"
        "load_model('models/base').push_to_hub('my-lab/merged')\n"
        "load_processor('models/base').push_to_hub('my-lab/merged')"
    )
    with hub() as (address, uploaded):
        run(work, address, "-c", code)
    files = uploaded["my-lab/merged"]
    assert json.loads(files["config.json"])["model_type"] == "sap_qwen2_audio"
    assert {"model.safetensors", "tokenizer.json", "processor_config.json", "README.md"} <= files.keys()


def test_an_incomplete_folder_is_not_uploaded(work, tmp_path):
    (tmp_path / "base").mkdir()
    with pytest.raises(InputError, match="lacks pruner, recogniser, settings.json"):
        publish(tmp_path, "a/b", work / "data" / "lists", work / "reports")
    with pytest.raises(InputError, match='card.json: no such file; run "sap2 lists" first'):
        publish(work / "models", "a/b", tmp_path, work / "reports")
