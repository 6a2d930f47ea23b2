"""Registration of a finished pipeline: an MLflow run and a version in the model registry, tagged with its scores."""

import json
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from sap2 import __version__
from sap2.errors import InputError
from sap2.files import atomic_file, read_jsonl, sha256
from sap2.params import TrackingSection
from sap2.settings import RecogniserSettings
from sap2.tracking.aliases import version_number
from sap2.tracking.creation import create, digest, made_before
from sap2.tracking.describe import describe
from sap2.tracking.lineage import log_stages, read_lock
from sap2.tracking.packaging import log_model
from sap2.tracking.provenance import code_changes, code_state, environment, file_digests
from sap2.tracking.runs import start_run, unsent_file
from sap2.tracking.store import fluent, new_client, reporting, tracking_uri
from sap2.tracking.values import flat, numbers, public, public_values, safe_key

__all__ = [
    "PARAMS_FILE",
    "PATCH_FILE",
    "RECIPE",
    "RESULTS",
    "SETTINGS_TAG",
    "SPEED",
    "log_evaluation",
    "register",
    "scores",
]

RESULTS = "results"  # artifact folder of the transcripts, by which the gate compares versions
SPEED = "real_time_factor"
SETTINGS_TAG = "sap2.settings"  # of a version: its settings in a line
RECIPE = "reproduce"  # artifact folder of what is needed to reproduce the run
PARAMS_FILE = "params.yaml"
PATCH_FILE = "changes.patch"
# The figures shown with a version, for all contexts and for stage 1.
SCORES = {"wer", "u_wer", "b_wer", "false_alarms_per_100", "recall", "precision", "f1"}


def register(
    section: TrackingSection,
    *,
    metrics: Mapping[str, Any],
    params: Mapping[str, Any],
    base: Path,
    pruner: Path,
    recogniser: Path,
    output: Path,
    results: Path | None = None,
    files: Iterable[Path] = (),
    manifests: Iterable[Path] = (),
    settings: RecogniserSettings | None = None,
    figures: Mapping[str, Mapping[str, Any]] | None = None,
    example: tuple[Path, Sequence[str]] | None = None,
    lock: Path = Path("dvc.lock"),
) -> dict[str, Any]:
    """Log a finished pipeline as a run, and register its model as the next version.

    The version is created last and with all its tags: an earlier error leaves a failed run and no version. Repeating an
    interrupted or completed registration returns the same version, never a second version.

    Args:
        metrics: Results of the evaluation, by context; figures become metrics `context/figure`, strings become tags.
        params: All params, nested.
        base, pruner, recogniser: The model's folders.
        output: JSON file for the result.
        results: Folder with the transcripts of the test split, stored with the run for the gate.
        files: Reports and plots, files or folders, stored with the run under "reports".
        manifests: Manifests of the data, whose digests are logged.
        settings: Stored with the model, and shown by `sap2 models`; None = the defaults.
        figures: Counts and measurements by stage, as in dvc.yaml; logged with the stage's run.
        example: A recording and its list, for the model's input example.
        lock: DVC's lock file: logged with its digest if it exists, and its stages as child runs.
    Returns: `run`, `model`, `version`, `uri`, `tracking_uri`, `scores`, `trained_by` (run by stage, as far as known).
    Raises: InputError: a file is missing. ModelError: a model folder is missing. TrackingError: the store fails or
    refuses.
    """
    files, manifests, settings = list(files), list(manifests), settings or RecogniserSettings()
    transcripts = [] if results is None else [results, *sorted(results.glob("*.jsonl"))]
    for path in (*files, *manifests, *transcripts):
        if not path.exists():
            raise InputError(f"{path}: no such file; run the stage that writes it first")
    uri = tracking_uri(section)
    client = new_client(section)
    digests = file_digests(manifests)
    stages = read_lock(lock)
    code = code_state()
    origin = _origin(code, digests, lock)
    about = describe(params, metrics, code["commit"], code["dirty"] == "true")
    content = [base, pruner, recogniser, *files, *manifests, *transcripts, *([] if example is None else [example[0]])]
    facts = {"metrics": metrics, "params": params, "settings": settings.model_dump(), "figures": figures,
             "stages": stages, "code": code, "changes": code_changes(), "environment": environment(),
             "sap2": __version__, "keywords": None if example is None else list(example[1]),
             "copy_base": section.copy_base}  # fmt: skip
    registration = digest(facts, content)
    with reporting(uri, "cannot open a run"):
        before = made_before(client, section.model_name, registration)
        if before is not None:
            unsent_file(before.run_id).unlink(missing_ok=True)  # it would mark the run as failed
            return _answer(client, section, before, metrics, output)
    with start_run(section, "register", params) as tracker, reporting(uri, "did not accept the model"):
        run = tracker.run_id
        client.update_run(run, name="pipeline")
        for name, value in {**_texts(metrics), **origin, "mlflow.note.content": about}.items():
            client.set_tag(run, name, value)
        _log_files(client, run, files)
        if lock.is_file():
            client.log_artifact(run, str(lock), RECIPE)
        for path in transcripts[1:]:
            client.log_artifact(run, str(path), RESULTS)
        _log_state(client, run, params, code["dirty"] == "true")
        _log_table(client, run, transcripts[1:])
        _log_datasets(client, run, digests, (figures or {}).get("prepare", {}))
        with fluent(section) as mlflow, mlflow.start_run(run_id=run):
            model = log_model(base, pruner, recogniser, settings, example, section.copy_base)
        client.update_run(run, status="RUNNING")  # leaving mlflow.start_run ended it
        speed = _speed(results)
        _log_metrics(client, run, numbers(metrics) | speed, model.model_id)
        adapters = {"pruner": pruner, "recogniser": recogniser}
        log_stages(client, run, stages, adapters, figures or {})
        speeds = {name: f"{value:g}" for name, value in speed.items()}
        # Data digests are tags of the run only, as the registry shows all tags of all versions at once.
        own = {name: value for name, value in origin.items() if not name.startswith("data.")}
        tags = {**scores(metrics), **speeds, **_texts(metrics), **own, "sap2.version": __version__}
        tags[SETTINGS_TAG] = settings.summary()
        with fluent(section):  # the registry looks the logged model up in the global store
            version = create(client, section.model_name, model, run, registration, tags, about)
        return _answer(client, section, version, metrics, output)


def _answer(client, section: TrackingSection, version, metrics: Mapping[str, Any], output: Path) -> dict[str, Any]:
    kept = client.get_run(version.run_id).data.tags
    trained = "sap2.trained_by/"
    answer = {
        "run": version.run_id,
        "model": section.model_name,
        "version": int(version.version),
        "uri": f"models:/{section.model_name}/{version.version}",
        "tracking_uri": public(tracking_uri(section)),
        "scores": {name: float(value) for name, value in scores(metrics).items()},
        "trained_by": {name.removeprefix(trained): run for name, run in kept.items() if name.startswith(trained)},
    }
    with atomic_file(output) as partial:
        partial.write_text(json.dumps(answer, indent=2) + "\n", encoding="utf-8")
    return answer


def log_evaluation(
    section: TrackingSection,
    version: str,
    *,
    metrics: Mapping[str, Any],
    params: Mapping[str, Any],
    results: Path,
    files: Sequence[Path] = (),
    manifests: Iterable[Path] = (),
    card: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Log a registered version's scores on another set as a child run of the version's run.

    Args:
        version: Its number or alias.
        metrics, params, files, manifests: See `register`.
        results: Folder with the transcripts.
        card: The corpus's data card.
    Returns: `run`, `version`, `scores`.
    Raises: TrackingError: no such version, or the store fails.
    """
    uri, name, client = tracking_uri(section), section.model_name, new_client(section)
    with reporting(uri, "did not accept the evaluation"):
        number = version_number(client, name, version)
        parent = client.get_model_version(name, str(number)).run_id
    digests = file_digests(list(manifests))
    with start_run(section, "evaluate", params) as tracker, reporting(uri, "did not accept the evaluation"):
        run = tracker.run_id
        client.update_run(run, name=f"evaluation of {name}/{number}")
        tags = {"mlflow.parentRunId": parent, "sap2.model_version": f"{name}/{number}"}
        tags |= {safe_key(f"data.sha256/{path}"): digest for path, digest in digests.items()}
        for tag, value in {**_texts(metrics), **tags}.items():
            client.set_tag(run, tag, value)
        _log_files(client, run, list(files))
        transcripts = sorted(results.glob("*.jsonl"))
        for path in transcripts:
            client.log_artifact(run, str(path), RESULTS)
        _log_table(client, run, transcripts)
        _log_datasets(client, run, digests, card or {})
        _log_metrics(client, run, numbers(metrics) | _speed(results))
    return {"run": run, "version": number, "scores": {key: float(value) for key, value in scores(metrics).items()}}


def scores(metrics: Mapping[str, Any]) -> dict[str, str]:
    """Return the figures shown with a version, as tags.

    >>> scores({"predicted": {"b_wer": 4.5, "b_wer_low": 3.9}, "pruning": {"recall": 0.91}, "utterances": 400})
    {'predicted/b_wer': '4.5', 'pruning/recall': '0.91'}
    """
    return {name: f"{value:g}" for name, value in numbers(metrics).items() if name.rpartition("/")[2] in SCORES}


def _texts(metrics: Mapping[str, Any]) -> dict[str, str]:
    """Return the strings among the metrics: definition, normaliser, lists."""
    return {safe_key(name): value for name, value in flat(metrics, "/") if isinstance(value, str)}


def _origin(code: Mapping[str, str], digests: dict[str, str], lock: Path) -> dict[str, str]:
    tags = {"git.commit": code["commit"], "git.dirty": code["dirty"]}
    if lock.is_file():
        tags["dvc.lock_sha256"] = sha256(lock)
    return tags | {safe_key(f"data.sha256/{name}"): digest for name, digest in digests.items()}


def _log_files(client, run: str, files: list[Path]) -> None:
    for path in files:
        if path.is_dir():
            client.log_artifacts(run, str(path), f"reports/{path.name}")
        else:
            client.log_artifact(run, str(path), "reports")


def _log_state(client, run: str, params: Mapping[str, Any], dirty: bool) -> None:
    """Log what is needed to reproduce the run: params, packages, and uncommitted changes."""
    # A params file with the effective values; its profile has the same name and changes nothing.
    profile = str(params.get("profile", "default"))
    sections = {name: value for name, value in params.items() if isinstance(value, Mapping)}
    whole = {"profile": profile, **sections, "profiles": {profile: {name: {} for name in sections}}}
    client.log_dict(run, public_values(whole), f"{RECIPE}/{PARAMS_FILE}")
    client.log_text(run, environment(), f"{RECIPE}/environment.txt")
    if dirty and (patch := code_changes()):
        client.log_text(run, public(patch), f"{RECIPE}/{PATCH_FILE}")


def _log_table(client, run: str, transcripts: list[Path]) -> None:
    """Log the results as a table for MLflow's page: a row per utterance, with its transcript in each context."""
    table: dict[str, list[Any]] = {}
    for path in transcripts:
        rows = [row for _, row in read_jsonl(path)]
        if not table:
            table = {name: [row.get(name) for row in rows] for name in ("id", "reference", "keywords", "predicted")}
        table[path.stem] = [row.get("hypothesis") for row in rows]
    if table:
        client.log_table(run, table, "results_table.json")


def _speed(results: Path | None) -> dict[str, float]:
    """Return `CONTEXT/real_time_factor` as measured by `sap2 decode`, if it was."""
    timing = None if results is None else results / "timing.json"
    if timing is None or not timing.is_file():
        return {}
    factors = json.loads(timing.read_text(encoding="utf-8"))[SPEED]
    return {f"{context}/{SPEED}": float(factor) for context, factor in factors.items()}


def _log_datasets(client, run: str, digests: dict[str, str], card: Mapping[str, Any]) -> None:
    """Log each manifest as a dataset, with its split's part of the data card."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    inputs = [
        DatasetInput(
            # MLflow allows 36 characters; the full digest is a tag of the run.
            Dataset(
                name=name,
                digest=digest[:36],
                source_type="local",
                source=json.dumps({"uri": name}),
                profile=_profile(card, Path(name).stem),
            ),
            [InputTag("mlflow.data.context", Path(name).stem)],
        )
        for name, digest in digests.items()
    ]
    if inputs:
        client.log_inputs(run, inputs)


def _profile(card: Mapping[str, Any], split: str) -> str | None:
    """Return a split's part of the data card in MLflow's form; None without card."""
    figures = card.get("splits", {}).get(split)
    if figures is None:
        return None
    about = {name: card[name] for name in ("title", "kind", "source", "licence", "seed") if name in card}
    digests = {name: card[name][split] for name in ("manifests", "audio") if name in card}
    return json.dumps(about | figures | {f"{name}_sha256": digest for name, digest in digests.items()})


def _log_metrics(client, run: str, figures: dict[str, float], model_id: str | None = None) -> None:
    """Log the figures of the run, and of the model if given, so that MLflow shows them on its page."""
    from mlflow.entities import Metric

    now = int(time.time() * 1000)
    client.log_batch(run, [Metric(name, value, now, 0, model_id=model_id) for name, value in figures.items()])
