"""The paper's profile on a base of published layout and vocabulary: from both trainings to the registered version."""

import json
import unicodedata
from pathlib import Path

import pytest
from tiny import spoken as speech

from sap2 import stages
from sap2.data.audio import save_audio
from sap2.manifest import Utterance, read_manifest, spoken, write_manifest
from sap2.params import Params, load_params

PARAMS = Path(__file__).parent.parent / "params.yaml"
pytestmark = pytest.mark.slow  # two trainings

NAMES = [
    "Kathryn",
    "Maier",
    unicodedata.normalize("NFD", "Müller"),
    "Zbigniew",
    "Zorvan",
    "Łukasiewicz",
    "東京",
    "GPT-4",
]
# Differences from the profile: sizes, and no DeepSpeed, which takes a minute to start.
SMALL = [
    "pruner.max_steps=2", "pruner.batch_size=4", "pruner.nproc=1", "pruner.deepspeed=none", "pruner.list_sizes=[2, 8]",
    "recogniser.max_steps=2", "recogniser.batch_size=4", "recogniser.nproc=1", "recogniser.deepspeed=none",
    "pruning.max_new_tokens=24", "inference.max_new_tokens=12", "prepare.source=manifest",
]  # fmt: skip


@pytest.fixture(scope="module")
def flow(real_base, tmp_path_factory) -> tuple[Path, Params]:
    """A folder in which all stages have run, and their params."""
    work = tmp_path_factory.mktemp("flow")
    for split, count in (("train", 12), ("dev", 4), ("test", 4)):
        rows = []
        for number in range(count):
            seconds, name = 1.0 + number % 4 * 0.3, f"{split}-{number}"
            save_audio(work / "corpus" / "audio" / f"{name}.wav", speech(seconds, number))
            said = NAMES[number % len(NAMES)]
            text = f"today {unicodedata.normalize('NFC', said).lower()} proves a theorem"
            audio = f"audio/{name}.wav"
            rows.append(
                Utterance(id=name, audio=audio, duration=seconds, text=text).model_copy(update={"keywords": NAMES})
            )
        write_manifest(work / "corpus" / f"{split}.jsonl", rows)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(work)
        for name in ("MLFLOW_TRACKING_URI", "SAP2_PROFILE"):
            patch.delenv(name, raising=False)
        files = ", ".join(f"{split}: [{split}.jsonl]" for split in stages.SPLITS)
        changes = [*SMALL, f"base.path={real_base}", f"prepare.manifest={{root: {work / 'corpus'}, {files}}}"]
        params = load_params(PARAMS, "qwen2-audio-7b", changes)
        stages.prepare(params.prepare)
        stages.lists(params.lists)
        stages.base(params.base)
        stages.train_pruner(params.pruner, params.model, params.lora, params.tracking)
        stages.prune(params.pruning)
        stages.train_recogniser(params.recogniser, params.model, params.lora, params.tracking)
        stages.decode(params.inference)
        stages.settings()
        stages.evaluate(params.evaluation)
        stages.register(params)
        yield work, params


def test_every_split_is_pruned_by_answers(flow):
    work, params = flow
    assert params.model.tagging == 0 and params.pruning.train and params.recogniser.lists == "predicted"
    for split in stages.SPLITS:
        rows = read_manifest(work / "data" / "pruned" / f"{split}.jsonl")
        assert all(row.predicted is not None and set(row.predicted) <= set(row.keywords) for row in rows)
    summary = json.loads((work / "data" / "pruned" / "summary.json").read_text())
    assert summary["train"]["utterances"] == 12
    assert any(row.predicted for row in rows), "an untrained model selects some keywords"


def test_keywords_with_decomposed_accents_are_spoken(flow):
    rows = read_manifest(flow[0] / "data" / "lists" / "train.jsonl")
    assert spoken(rows[2]) == ["Müller"]


def test_both_adapters_train_the_markers_and_the_projector(flow):
    from safetensors import safe_open

    for stage in ("pruner", "recogniser"):
        with safe_open(flow[0] / "models" / stage / "adapter_model.safetensors", "pt") as file:
            names = set(file.keys())
        assert any("context_markers" in name for name in names)
        assert any("multi_modal_projector.linear.lora_B" in name for name in names)


def test_the_registered_version_transcribes_as_the_flow_decodes(flow, monkeypatch):
    work, params = flow
    monkeypatch.chdir(work)
    rows = map(json.loads, (work / "results" / "predicted.jsonl").read_text().splitlines())
    expected = {row["id"]: row["hypothesis"] for row in rows}
    assert len(expected) == 4 and any(expected.values())
    monkeypatch.setattr(stages, "load_params", lambda path: params)
    (work / "params.yaml").write_text("")
    keywords = read_manifest(work / "data" / "lists" / "test.jsonl")[0].keywords
    files = sorted((work / "corpus" / "audio").glob("test-*.wav"))
    model = f"models:/{params.tracking.model_name}/1"
    heard = {path.stem: found.text for path, found in stages.transcribe_files(files, keywords, model)}
    assert heard == expected
