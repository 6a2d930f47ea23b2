"""A SQLite store and a tiny two-stage model shared by all tests here, as each takes seconds to create."""

import json
import time

import pytest

from sap2.params import TrackingSection
from sap2.settings import RecogniserSettings
from sap2.tracking import check_server, register, start_run

METRICS = {
    "none": {"wer": 9.5, "u_wer": 2.0, "b_wer": 80.25, "b_wer_low": 70.0},
    "predicted": {"wer": 4.0, "u_wer": 2.25, "b_wer": 20.5, "b_wer_vs_none": None},
    "pruning": {"recall": 0.91, "precision": 0.75, "f1": 0.8222, "tp": 91},
    "definition": "deep-bias",
    "normaliser": "none",
    "utterances": 8,
}
PARAMS = {"profile": "test", "model": {"window": 2}, "pruner": {"list_sizes": [5, 10], "max_steps": None}}
CARD = {
    "title": "Talks",
    "licence": "CC0",
    "splits": {"test": {"utterances": 1, "hours": 0.5}},
    "manifests": {"test": "f00"},
}
SETTINGS = RecogniserSettings.model_validate(
    {
        "pruning": {"max_list": 3, "max_new_tokens": 8, "num_beams": 2, "threshold": None, "first_pass": None},
        "inference": {"max_new_tokens": 12, "max_segment": None},
    }
)


@pytest.fixture(autouse=True)
def no_server_of_the_environment(monkeypatch):
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI", "MLFLOW_EXPERIMENT_ID", "MLFLOW_EXPERIMENT_NAME"):
        monkeypatch.delenv(name, raising=False)


def new_store(folder) -> str:
    """URI of a SQLite store that is set up already."""
    uri = f"sqlite:///{folder / 'mlflow.db'}"
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        check_server(TrackingSection(uri=uri))
    return uri


@pytest.fixture(scope="session")
def store(tmp_path_factory):
    return new_store(tmp_path_factory.mktemp("store"))


@pytest.fixture
def section(store, request):
    """Params for the store with an experiment and a model of the test's own."""
    return TrackingSection(uri=store, experiment=request.node.name, model_name=request.node.name)


@pytest.fixture
def client(section):
    from sap2.tracking.store import new_client

    return new_client(section)


@pytest.fixture(scope="session")
def models(tmp_path_factory):
    """Folder with a tiny base and two random adapters with projections, as the pipeline leaves it."""
    import peft
    import torch
    from tiny import build_tiny_base

    from sap2.model import LORA_TARGETS, POOLING, load_model, load_processor, save_adapter

    folder = tmp_path_factory.mktemp("models")
    base = build_tiny_base(folder / "base", positions=100)
    for seed, stage in enumerate(("pruner", "recogniser")):
        config = peft.LoraConfig(r=2, target_modules=LORA_TARGETS, modules_to_save=[POOLING])
        model = peft.get_peft_model(load_model(base, projection_rank=2), config)
        torch.manual_seed(seed)
        for weight in filter(lambda weight: weight.requires_grad, model.parameters()):
            torch.nn.init.normal_(weight, std=0.3)
        save_adapter(model, load_processor(base), folder / stage)
    return folder


@pytest.fixture(scope="session")
def reports(tmp_path_factory):
    """Folder with what evaluation writes, a manifest and DVC's lock."""
    folder = tmp_path_factory.mktemp("repository")
    (folder / "reports" / "plots").mkdir(parents=True)
    (folder / "reports" / "report.html").write_text("<p>report</p>")
    (folder / "reports" / "plots" / "counts.csv").write_text("context,words\n")
    (folder / "test.jsonl").write_text('{"id": "a"}\n')
    (folder / "dvc.lock").write_text("schema: '2.0'\n")
    (folder / "reports" / "metrics.json").write_text(json.dumps(METRICS))
    (folder / "results").mkdir()
    (folder / "results" / "predicted.jsonl").write_text('{"id": "a"}\n')
    (folder / "results" / "timing.json").write_text('{"real_time_factor": {"predicted": 0.25}}')
    return folder


def registering(section, models, reports, output, **changed):
    """`register` as the stage calls it."""
    given = {
        "metrics": METRICS,
        "params": PARAMS,
        "base": models / "base",
        "pruner": models / "pruner",
        "recogniser": models / "recogniser",
        "results": reports / "results",
        "files": [reports / "reports" / "report.html", reports / "reports" / "plots"],
        "manifests": [reports / "test.jsonl"],
        "settings": SETTINGS,
        "figures": {"prepare": CARD},
        "lock": reports / "dvc.lock",
    }
    return register(section, output=output, **given | changed)


@pytest.fixture(scope="session")
def shared_section(tmp_path_factory):
    """A store of its own: an adapter's training is looked for in all of a store, and other tests train the same one."""
    uri = new_store(tmp_path_factory.mktemp("whole"))
    return TrackingSection(uri=uri, experiment="whole", model_name="whole")


@pytest.fixture(scope="session")
def registered(shared_section, models, reports, tmp_path_factory):
    """The whole: a training's run of the pruner, then a registration; its answer and the file it wrote."""
    output = tmp_path_factory.mktemp("registered") / "registration.json"
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        with start_run(shared_section, "pruner") as tracker:
            tracker.log({"loss": 1.5}, step=1)
            tracker.made(models / "pruner")
        answer = registering(shared_section, models, reports, output)
    return answer, output, tracker.run_id


@pytest.fixture
def register_again(models, reports, tmp_path):
    """`register` into the test's own section, with arguments changed."""
    return lambda section, **changed: registering(section, models, reports, tmp_path / "registration.json", **changed)


@pytest.fixture
def version(section, client, tmp_path):
    """Register a version whose transcripts have the name wrong in `wrong` of forty utterances."""

    def version(wrong: int, results: bool = True, section=section) -> int:
        from mlflow.entities import Metric

        from sap2.tracking.store import experiment_id

        run = client.create_run(experiment_id(client, section))
        if results:
            rows = [
                {"id": f"u{number}", "reference": "ask meyer", "keywords": ["meyer"], "duration": 1.0,
                 "hypothesis": "ask mayor" if number < wrong else "ask meyer"}
                for number in range(40)
            ]  # fmt: skip
            path = tmp_path / "predicted.jsonl"
            path.write_text("\n".join(map(json.dumps, rows)))
            client.log_artifact(run.info.run_id, str(path), "results")
        client.log_batch(run.info.run_id, metrics=[Metric("wrong", wrong, int(time.time() * 1000), 0)])
        client.set_terminated(run.info.run_id)
        try:
            client.create_registered_model(section.model_name)
        except Exception as error:
            assert "already exists" in str(error)
        tags = {"predicted/b_wer": str(wrong * 2.5), "predicted/real_time_factor": "0.25"}
        made = client.create_model_version(
            section.model_name, run.info.artifact_uri, run_id=run.info.run_id, tags=tags, description="Made by hand."
        )
        client.set_registered_model_alias(section.model_name, "challenger", made.version)
        return int(made.version)

    return version
