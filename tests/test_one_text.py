"""A model and its settings give the same text in pipeline, folder, version, server, pyfunc and Kubeflow."""

import json
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest
from tiny import build_tiny_base, spoken
from transcription_server import running
from typer.testing import CliRunner

from sap2 import cli, stages
from sap2.data.audio import save_audio
from sap2.manifest import Utterance, write_manifest
from sap2.params import Params, TrackingSection

KEYWORDS = ["Kathryn", "Maier", "Myer", "Zbigniew", "graphs", "Dorst", "Zorvan", "theorem"]
STRICT = {"pruning": {"threshold": -0.4, "max_list": 3, "first_pass": None, "max_new_tokens": 12},
          "inference": {"max_new_tokens": 8, "max_segment": 1.5, "contexts": ["predicted"]}}  # fmt: skip
LOOSE = {"pruning": STRICT["pruning"] | {
    "threshold": -4.0, "max_list": 8, "first_pass": {"prior": 9.0}, "prefilter": {"method": "ctc", "keep": 6}},
         "inference": STRICT["inference"] | {"max_new_tokens": 16, "num_beams": 2},
         "runtime": {"static_cache": True, "attention": "eager"}}  # fmt: skip


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """A base with random adapters with tags, and four recordings of a test split."""
    import peft
    import torch

    from sap2.model import LORA_TARGETS, load_model, load_processor, save_adapter

    work = tmp_path_factory.mktemp("work")
    base = build_tiny_base(work / "models" / "base", positions=100)
    give_ctc_scores(base)
    for seed, stage in enumerate(("pruner", "recogniser")):
        model = peft.get_peft_model(load_model(base, tagging=1.0), peft.LoraConfig(r=2, target_modules=LORA_TARGETS))
        torch.manual_seed(seed)
        for weight in filter(lambda weight: weight.requires_grad, model.parameters()):
            torch.nn.init.normal_(weight, std=0.3)
        save_adapter(model, load_processor(base), work / "models" / stage)
    rows = []
    for number in range(4):
        name = f"u{number}.wav"
        save_audio(work / "lists" / name, spoken(0.6 + 0.2 * number, number))
        rows.append(
            Utterance(id=f"u{number}", audio=name, duration=0.6 + 0.2 * number, text="maier", keywords=KEYWORDS)
        )
    for split in stages.SPLITS:
        write_manifest(work / "lists" / f"{split}.jsonl", rows)
    return work


def give_ctc_scores(base: Path) -> None:
    """Move projected speech towards the audio placeholder's embedding: CTC's blank becomes likely in most frames."""
    from safetensors.torch import load_file, save_file

    weights = load_file(base / "model.safetensors")
    (embeddings,) = (weights[name] for name in weights if name.endswith("embed_tokens.weight"))
    (bias,) = (weights[name] for name in weights if name.endswith("multi_modal_projector.linear.bias"))
    bias += 7 * embeddings[json.loads((base / "config.json").read_text())["audio_token_index"]]
    save_file(weights, base / "model.safetensors", {"format": "pt"})


def decoded_by_the_flow(work: Path, changes: dict) -> dict[str, list]:
    """Run prune, decode and settings, which writes settings.json; return text and keywords by recording."""
    params = Params.model_validate(changes)
    base, pruner, recogniser = (work / "models" / part for part in ("base", "pruner", "recogniser"))
    stages.prune(params.pruning, work / "lists", base, pruner, work / "pruned", params.runtime)
    stages.decode(params.inference, work / "pruned", base, recogniser, work / "results", params.runtime)
    stages.settings(work / "pruned", work / "results", work / "models" / "settings.json")
    return results_of(work / "results")


def results_of(results: Path) -> dict[str, list]:
    rows = map(json.loads, (results / "predicted.jsonl").read_text().splitlines())
    return {row["id"]: [row["hypothesis"], row["predicted"]] for row in rows}


def recordings(work: Path) -> list[Path]:
    return sorted((work / "lists").glob("*.wav"))


def by_command(work: Path, model: str) -> dict[str, list]:
    """Run `sap2 transcribe --model MODEL`."""
    arguments = ["transcribe", *map(str, recordings(work)), "--keywords", ",".join(KEYWORDS), "--format", "json"]
    shown = CliRunner().invoke(cli.app, [*arguments, "--model", model])
    assert shown.exit_code == 0, shown.output
    rows = map(json.loads, shown.stdout.splitlines())
    return {Path(row["file"]).stem: [row["text"], row["keywords"]["predicted"]] for row in rows}


def by_index(work: Path, model: str, folder: Path) -> dict[str, list]:
    """Run `sap2 index`, then `sap2 transcribe --keywords-file` with the index."""
    folder.mkdir(parents=True, exist_ok=True)
    listed, index = folder / "names.txt", folder / "names.index"
    listed.write_text("\n".join(KEYWORDS))
    made = CliRunner().invoke(cli.app, ["index", str(listed), "--model", model])
    assert made.exit_code == 0, made.output
    asked = ["transcribe", *map(str, recordings(work)), "--keywords-file", str(index), "--format", "json"]
    shown = CliRunner().invoke(cli.app, [*asked, "--model", model])
    assert shown.exit_code == 0, shown.output
    rows = map(json.loads, shown.stdout.splitlines())
    return {Path(row["file"]).stem: [row["text"], row["keywords"]["predicted"]] for row in rows}


def by_server(work: Path, model: str, tracking: TrackingSection) -> dict[str, list]:
    """Run `sap2 serve --model MODEL`, with a request per recording."""
    from sap2.serving.models import ModelSource

    result = {}
    with running(ModelSource(model, tracking).load(model)) as server:
        for path in recordings(work):
            form = [("file", path.read_bytes(), path.name), ("keywords", ",".join(KEYWORDS))]
            status, _, answer = server.post(*form, ("response_format", "verbose_json"))
            assert status == 200, answer
            result[path.stem] = [answer["text"], answer["keywords"]["predicted"]]
    return result


def by_talk(work: Path, model: str, slides: Sequence[Path] = (), keywords: Sequence[str] = ()) -> dict[str, list]:
    """Run `sap2 transcribe --slides` with keywords that belong to no page."""
    result = {}
    for path in recordings(work):
        talk, _ = stages.transcribe_talk(path, slides, keywords, model=model)
        result[path.stem] = [talk.transcript.text, talk.transcript.predicted]
    return result


def by_pyfunc(work: Path, uri: str, tracking: TrackingSection) -> dict[str, list]:
    """Load the version with MLflow, with the code stored in it."""
    import pandas as pd

    from sap2.tracking.store import fluent

    paths = recordings(work)
    with fluent(tracking) as mlflow:
        model = mlflow.pyfunc.load_model(uri)
    rows = model.predict(pd.DataFrame({"audio": list(map(str, paths)), "keywords": [KEYWORDS] * len(paths)}))
    return {path.stem: [row.text, list(row.predicted)] for path, row in zip(paths, rows.itertuples(), strict=True)}


def by_components(work: Path, params: Params, folder: Path) -> dict[str, list]:
    """Run the steps of Kubeflow's pipeline, with sections as pipeline parameters."""
    from components import flow as steps

    def artifact(path: Path) -> SimpleNamespace:
        return SimpleNamespace(path=str(path), metadata={}, log_metric=lambda *_: None)

    folder.mkdir(parents=True, exist_ok=True)
    sent, shown = params.without_nulls(), artifact(folder / "page.md")
    base, pruner, recogniser = (artifact(work / "models" / part) for part in ("base", "pruner", "recogniser"))
    pruned, results = artifact(folder / "pruned"), artifact(folder / "results")
    listed = artifact(work / "lists")
    steps.prune.python_func(
        sent["pruning"], sent["runtime"], listed, listed, base, pruner, pruned, artifact(folder), shown
    )
    steps.decode.python_func(sent["inference"], sent["runtime"], listed, pruned, base, recogniser, results, shown)
    return results_of(folder / "results")


def by_shard(work: Path, uri: str, folder: Path, keywords: str, file: str) -> dict[str, list]:
    """Run Kubeflow's pipeline transcribe-batch."""
    from components.transcription import transcribe_shard

    folder.mkdir(parents=True, exist_ok=True)
    out, page = (SimpleNamespace(path=str(folder / name)) for name in ("talks.jsonl", "page.md"))
    transcribe_shard.python_func(str(work / "lists"), keywords, file, uri, "0/1", out, page)
    rows = map(json.loads, Path(out.path).read_text().splitlines())
    return {Path(row["talk"]).stem: [row["text"], row["keywords"]["predicted"]] for row in rows}


def test_every_path_gives_the_same_text_and_keywords(work, tmp_path, monkeypatch):
    from sap2.settings import read_settings
    from sap2.tracking import register

    tracking = TrackingSection(uri=f"sqlite:///{tmp_path / 'mlflow.db'}", experiment="one", model_name="one")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", tracking.uri)
    monkeypatch.chdir(tmp_path)  # without a params.yaml: the result must depend only on the model
    models = work / "models"
    seen = []
    for name, changes in (("strict", STRICT), ("loose", LOOSE)):
        expected = decoded_by_the_flow(work, changes)
        params = Params.model_validate(changes | {"tracking": tracking.model_dump()})
        answer = register(
            tracking, metrics={}, params={"profile": name}, base=models / "base", pruner=models / "pruner",
            recogniser=models / "recogniser", output=tmp_path / name / "registration.json",
            settings=read_settings(models / "settings.json"),
        )  # fmt: skip
        uri = answer["uri"]
        stages.decode_version(tracking, str(answer["version"]), work / "lists", tmp_path / name / "version")
        index = tmp_path / name / "index" / "names.index"  # written by by_index
        paths = {
            "folder": by_command(work, str(models)),
            "folder with an index": by_index(work, str(models), tmp_path / name / "index"),
            "version": by_command(work, uri),
            "version on a split": results_of(tmp_path / name / "version"),
            "server of the folder": by_server(work, str(models), tracking),
            "server of the version": by_server(work, uri, tracking),
            "talk": by_talk(work, str(models), keywords=KEYWORDS),
            "talk with an index": by_talk(work, str(models), [index]),
            "pyfunc": by_pyfunc(work, uri, tracking),
            "Kubeflow": by_components(work, params, tmp_path / name / "kubeflow"),
            "Kubeflow's batch": by_shard(work, uri, tmp_path / name / "batch", ",".join(KEYWORDS), ""),
            "Kubeflow's batch with an index": by_shard(work, uri, tmp_path / name / "indexed", "", str(index)),
        }
        for path, result in paths.items():
            assert result == expected, path
        seen.append(expected)
    strict, loose = seen
    assert any(strict[item][1] != loose[item][1] for item in strict), "the settings matter: other keywords"
    assert any(strict[item][0] != loose[item][0] for item in strict), "and other texts"
    assert any(keywords for _, keywords in strict.values())
