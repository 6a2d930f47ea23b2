"""A registered model is self-contained: it loads from the store alone, and answers like its recogniser."""

import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from tiny import tone

from sap2.constants import EMBEDDED
from sap2.data.audio import save_audio
from sap2.errors import ModelError, TrackingError
from sap2.inference import load_recogniser
from sap2.settings import RecogniserSettings
from sap2.tracking import load_registered, start_run
from sap2.tracking.packaging import load_recogniser as load_model_of
from sap2.tracking.packaging import log_model, pip_requirements
from sap2.tracking.store import fluent, new_client

SETTINGS = RecogniserSettings.model_validate(
    {
        "pruning": {"max_list": 3, "max_new_tokens": 8, "num_beams": 2, "threshold": None, "first_pass": None},
        "inference": {"max_new_tokens": 12, "max_segment": None},
    }
)
KEYWORDS = ["Kathryn", "Maier", "Myer", "Zbigniew", "graphs"]


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    path = tmp_path_factory.mktemp("audio") / "talk.wav"
    save_audio(path, tone(1.0))
    return path


@pytest.fixture(scope="module")
def expected(models, recording):
    """What the recogniser says when it is used without MLflow."""
    return load_recogniser(*(models / part for part in ("base", "pruner", "recogniser")), SETTINGS)(recording, KEYWORDS)


@pytest.fixture(scope="module")
def model_folder(registered, shared_section, tmp_path_factory):
    """The version's files, as a server would hand them out."""
    answer, _, _ = registered
    folder = tmp_path_factory.mktemp("model")
    with fluent(shared_section) as mlflow:
        return mlflow.artifacts.download_artifacts(answer["uri"], dst_path=str(folder))


def test_a_registered_model_answers_like_its_recogniser(registered, shared_section, recording, expected):
    loaded = load_registered(shared_section, registered[0]["uri"])
    assert loaded(recording, KEYWORDS) == expected
    assert loaded.transcriber.stage.model.config.projection_rank == 2
    assert loaded.settings == SETTINGS


def required(requirements: list[str]) -> set[str]:
    """What can be imported where only these are installed: their modules, and those of all that they require."""
    names, left = set(), [Requirement(line) for line in requirements]
    while left:
        wanted = left.pop()
        key = (canonicalize_name(wanted.name), frozenset(wanted.extras))
        if key in names:
            continue
        names.add(key)
        try:
            more = importlib.metadata.requires(wanted.name) or []
        except importlib.metadata.PackageNotFoundError:  # of another platform
            continue
        for item in map(Requirement, more):
            extras = wanted.extras or {""}
            if item.marker is None or any(item.marker.evaluate({"extra": extra}) for extra in extras):
                left.append(item)
    installed = importlib.metadata.packages_distributions()
    ours = {name for name, _ in names}
    return {module for module, by in installed.items() if any(canonicalize_name(item) in ours for item in by)}


def test_pyfunc_loads_with_pinned_packages_and_any_input_form(model_folder, recording, expected, tmp_path):
    """In a process of its own, elsewhere, that finds nothing else: the code that answers is the model's."""
    wanted = required((Path(model_folder) / "requirements.txt").read_text().split())
    hidden = sorted(importlib.metadata.packages_distributions().keys() - wanted)
    assert {"torch", "mlflow", "peft"} <= wanted and {"kfp", "dvc", "librosa", "deepspeed"} <= set(hidden)
    script = """
import base64, json, sys
from importlib.machinery import PathFinder

hidden = set(json.loads(sys.argv[4]))

class Installed(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if name.partition(".")[0] in hidden - {"sap2"}:
            return None
        return super().find_spec(name, path, target)

sys.meta_path[:] = [Installed if one is PathFinder else one for one in sys.meta_path if "editable" not in repr(one)]
import mlflow, pandas as pd
model = mlflow.pyfunc.load_model(sys.argv[1])
path, words = sys.argv[2], json.loads(sys.argv[3])
content = open(path, "rb").read()
text = base64.b64encode(content).decode()
tables = [
    pd.DataFrame({"audio": [path, content, text, "data:audio/wav;base64," + text], "keywords": [words] * 4}),
    pd.DataFrame({"audio": [path, path], "keywords": [", ".join(words), None]}),
    pd.DataFrame({"audio": [path]}),
]
answers = [model.predict(table).to_dict("records") for table in tables]
try:
    model.predict(pd.DataFrame({"audio": [path, "no-such.wav"], "keywords": [words] * 2}))
except Exception as error:
    refusal = str(error)
import sap2
assert not hidden & {name.partition(".")[0] for name in sys.modules} - {"sap2"}
print(json.dumps({"answers": answers, "refusal": refusal, "code": sap2.__file__}))
"""
    command = [sys.executable, "-P", "-B", "-c", script]
    command += [model_folder, str(recording), json.dumps(KEYWORDS), json.dumps(hidden)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout.splitlines()[-1])
    assert said["code"].startswith(model_folder)
    whole = {"text": expected.text, "found": expected.found, "predicted": expected.predicted}
    four, two, item = said["answers"]
    assert four == [whole] * 4
    assert two[0] == whole and two[1]["found"] == two[1]["predicted"] == []
    assert item == [two[1]]
    assert "row 1: audio 'no-such.wav' is neither an existing file nor base64" in said["refusal"]


def test_the_package_has_pinned_requirements_and_no_pickle(model_folder):
    files = {path.relative_to(model_folder).as_posix() for path in Path(model_folder).rglob("*") if path.is_file()}
    assert not [name for name in files if name.endswith((".pkl", ".pickle", ".bin", ".pt", ".pth", ".pyc"))]
    assert {
        "artifacts/base/model.safetensors",
        "artifacts/pruner/adapter_model.safetensors",
        "artifacts/recogniser/adapter_model.safetensors",
        "code/sap2/inference/recogniser.py",
    } <= files
    assert not [name for name in files if name.startswith("code/") and name.endswith(".safetensors")]
    requirements = (Path(model_folder) / "requirements.txt").read_text().split()
    assert requirements == pip_requirements()


@pytest.mark.parametrize(("given", "expected"), [(None, "3600"), ("77", "77")])
def test_an_upload_waits_an_hour_by_default(models, monkeypatch, given, expected):
    """A shard of a large base takes the server longer than MLflow's two minutes to hand on."""
    if given:
        monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", given)
    else:
        monkeypatch.delenv("MLFLOW_HTTP_REQUEST_TIMEOUT", raising=False)
    monkeypatch.setattr("mlflow.models.Model.log", lambda *_, **__: os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"])
    assert log_model(*(models / part for part in ("base", "pruner", "recogniser"))) == expected
    assert os.environ.get("MLFLOW_HTTP_REQUEST_TIMEOUT") == given


def test_requirements_are_pinned_without_build_suffixes():
    pins = dict(line.split("==") for line in pip_requirements())
    assert pins["transformers"] == importlib.metadata.version("transformers")
    assert "+" not in pins["torch"] and importlib.metadata.version("torch").startswith(pins["torch"])


def test_mlflows_own_server_takes_its_json_and_answers_the_same(registered, shared_section, recording, expected):
    """What `mlflow models serve` does with a request, without the process around it."""
    import base64

    from mlflow.pyfunc import load_model
    from mlflow.pyfunc.scoring_server import invocations

    audio = base64.b64encode(recording.read_bytes()).decode()
    rows = [[audio, ", ".join(KEYWORDS)], [audio, KEYWORDS]]
    calls = json.dumps({"dataframe_split": {"columns": ["audio", "keywords"], "data": rows}})
    with fluent(shared_section):
        model = load_model(registered[0]["uri"])
    answer = invocations(calls, "application/json", model, model.metadata.get_input_schema())
    whole = {"text": expected.text, "found": expected.found, "predicted": expected.predicted}
    assert answer.status == 200 and json.loads(answer.response) == {"predictions": [whole] * 2}


def test_signature_names_the_columns(model_folder):
    import mlflow

    signature = mlflow.models.Model.load(model_folder).signature
    assert signature.inputs.input_names() == ["audio", "keywords"] and signature.inputs.required_input_names() == [
        "audio"
    ]
    assert signature.outputs.input_names() == ["text", "found", "predicted"]


def test_a_base_from_the_hub_is_stored_as_id_and_commit(section, models, recording, expected, monkeypatch, tmp_path):
    import shutil

    from sap2 import hub

    base = shutil.copytree(models / "base", tmp_path / "base")
    (base / "hub.json").write_text('{"id": "some/base", "revision": "abc123"}')
    sizes, uris = [], []
    for copy in (False, True):
        with start_run(section, "hub") as tracker, fluent(section) as mlflow, mlflow.start_run(run_id=tracker.run_id):
            info = log_model(base, models / "pruner", models / "recogniser", SETTINGS, copy_base=copy)
        with fluent(section) as mlflow:
            folder = mlflow.artifacts.download_artifacts(info.model_uri, dst_path=str(tmp_path / str(copy)))
        sizes.append(sorted(path.name for path in Path(folder, "artifacts", "base").iterdir()))
        uris.append(info.model_uri)
    assert sizes[0] == ["hub.json"] and "model.safetensors" in sizes[1]

    def fetched(source):
        assert json.loads(source.read_text()) == {"id": "some/base", "revision": "abc123"}
        return models / "base"

    monkeypatch.setattr(hub, "fetch_named", fetched)
    assert load_registered(section, uris[0])(recording, KEYWORDS) == expected


def test_unknown_version_is_a_tracking_error(registered, shared_section):
    with pytest.raises(TrackingError, match="cannot provide models:/whole/99"):
        load_registered(shared_section, "models:/whole/99")


def test_model_of_somebody_else_is_named(section, tmp_path):
    code = tmp_path / "other.py"
    code.write_text(
        "import mlflow\n\n\nclass Other(mlflow.pyfunc.PythonModel):\n    def predict(self, context, model_input):\n"
        "        return model_input\n\n\nmlflow.models.set_model(Other())\n"
    )
    with start_run(section, "other") as tracker, fluent(section) as mlflow, mlflow.start_run(run_id=tracker.run_id):
        info = mlflow.pyfunc.log_model(name="other", python_model=str(code), pip_requirements=["mlflow"])
    assert new_client(section).get_run(tracker.run_id).info.status == "FINISHED"
    with pytest.raises(ModelError, match="has no artifacts, expected base, pruner, recogniser"):
        load_registered(section, info.model_uri)


def folder_of(models, tmp_path, settings=None):
    """A folder as the flow leaves it."""
    for part in ("base", "pruner", "recogniser"):
        (tmp_path / part).symlink_to(models / part)
    if settings is not None:
        settings.save(tmp_path / "settings.json")
    return str(tmp_path)


def test_a_folder_decodes_by_its_settings_file(section, models, recording, expected, tmp_path, capsys):
    loaded = load_model_of(section, folder_of(models, tmp_path, SETTINGS))
    assert loaded.settings == SETTINGS and loaded(recording, KEYWORDS) == expected
    assert "settings" not in capsys.readouterr().err


def test_options_override_the_settings_and_say_so(section, models, registered, shared_section, tmp_path, capsys):
    changes = ["inference.max_segment=1.5", "pruning.threshold=-0.5"]
    folder, version = folder_of(models, tmp_path, SETTINGS), registered[0]["uri"]
    for tracking, model, source in ((section, folder, f"{folder}/settings.json"), (shared_section, version, version)):
        loaded = load_model_of(tracking, model, changes)
        assert (loaded.settings.inference.max_segment, loaded.settings.pruning.threshold) == (1.5, -0.5)
        assert (
            f"settings: {source}; pruning.threshold -0.5 instead of none, inference.max_segment 1.5 instead of none\n"
        ) in capsys.readouterr().err


def test_a_folder_without_settings_reports_the_defaults(section, models, tmp_path, capsys):
    loaded = load_model_of(section, folder_of(models, tmp_path))
    assert loaded.settings == RecogniserSettings()
    assert f'settings: {tmp_path} has no settings.json, the defaults apply; "sap2 settings"' in (
        capsys.readouterr().err
    )


def test_a_model_of_the_synthetic_base_says_what_it_cannot_hear(section, models, tmp_path, capsys):
    folder = tmp_path / "models"
    for part, source in (("base", EMBEDDED), ("pruner", models / "pruner"), ("recogniser", models / "recogniser")):
        shutil.copytree(source, folder / part)
    with pytest.raises(ModelError):  # the adapters are another base's
        load_model_of(section, str(folder))
    assert "knows only the synthetic voices" in capsys.readouterr().err
    load_model_of(section, str(models))
    assert "synthetic" not in capsys.readouterr().err


def test_two_checkpoints_use_the_settings_of_stage_2(section, models, tmp_path):
    import shutil

    checkpoint = shutil.copytree(models / "base", tmp_path / "checkpoint")
    SETTINGS.save(checkpoint / "settings.json")
    loaded = load_model_of(section, str(checkpoint), ["inference.max_segment=1.5"], str(models / "base"))
    assert loaded.settings == SETTINGS.with_changes({"inference": {"max_segment": 1.5}}, "test")
    assert loaded.pruner is not None


def test_an_unusable_settings_file_is_refused_before_loading(section, models, tmp_path):
    folder = folder_of(models, tmp_path)
    (tmp_path / "settings.json").write_text('{"pruning": {"treshold": -1}}')
    named = r"settings.json: unknown key pruning.treshold; the nearest valid key is pruning.threshold"
    with pytest.raises(ModelError, match=named):
        load_model_of(section, folder)
