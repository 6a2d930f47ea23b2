"""From a finished pipeline to one MLflow run and one version in the model registry, tagged with its scores."""

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
from sap2.tracking.store import client, fluent, reporting, tracking_uri
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

RESULTS = "results"  # where the run keeps the transcripts, by which the gate compares versions
SPEED = "real_time_factor"
SETTINGS_TAG = "sap2.settings"  # of a version: its settings in one line
RECIPE = "reproduce"  # where the run keeps what it takes to make it again
PARAMS_FILE = "params.yaml"
PATCH_FILE = "changes.patch"
# The figures a version is judged by, for every context and for stage 1.
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
    """Log everything about a finished pipeline as one run, and make its model the next version in the registry.

    The version is made last and with all its tags: an error before leaves a failed run and no version. The same once
    more, after it was cut short or because somebody gave it again, completes that version and makes no second one.

    Args:
        metrics: What evaluation found, by context; figures become metrics `context/figure`, texts become tags.
        params: All params, nested.
        base, pruner, recogniser: The model's folders.
        output: JSON file for the answer.
        results: Folder with the transcripts of the test split: kept with the run, for the gate.
        files: Reports and plots, files or folders, kept with the run under "reports".
        manifests: The data: their digests are logged.
        settings: Kept with the model, and shown by `sap2 models`; None = the defaults.
        figures: What each stage counted and measured, by its name in dvc.yaml; logged with its own run.
        example: A recording and its list: the input example of the model.
        lock: DVC's lock file: logged with its digest when it is there, its stages as runs below.
    Returns: `run`, `model`, `version`, `uri`, `tracking_uri`, `scores`, `trained_by` (stage to run, as far as found).
    Raises: InputError: a file is missing. ModelError: a model folder is. TrackingError: the store fails or refuses.
    """
    files, manifests, settings = list(files), list(manifests), settings or RecogniserSettings()
    transcripts = [] if results is None else [results, *sorted(results.glob("*.jsonl"))]
    for path in (*files, *manifests, *transcripts):
        if not path.exists():
            raise InputError(f"{path}: no such file to register; run the stage that writes it first")
    uri = tracking_uri(section)
    asking = client(section)
    digests = file_digests(manifests)
    stages = read_lock(lock)
    code = code_state()
    origin = _origin(code, digests, lock)
    about = describe(params, metrics, code["commit"], code["dirty"] == "true")
    given = [base, pruner, recogniser, *files, *manifests, *transcripts, *([] if example is None else [example[0]])]
    facts = {"metrics": metrics, "params": params, "settings": settings.model_dump(), "figures": figures,
             "stages": stages, "code": code, "changes": code_changes(), "environment": environment(),
             "sap2": __version__, "keywords": None if example is None else list(example[1]),
             "copy_base": section.copy_base}  # fmt: skip
    registration = digest(facts, given)
    with reporting(uri, "no run can be opened"):
        before = made_before(asking, section.model_name, registration)
        if before is not None:
            unsent_file(before.run_id).unlink(missing_ok=True)  # it would say that the run has failed
            return _answer(asking, section, before, metrics, output)
    with start_run(section, "register", params) as tracker, reporting(uri, "did not take the model"):
        run = tracker.run_id
        asking.update_run(run, name="pipeline")
        for name, value in {**_texts(metrics), **origin, "mlflow.note.content": about}.items():
            asking.set_tag(run, name, value)
        _log_files(asking, run, files)
        if lock.is_file():
            asking.log_artifact(run, str(lock), RECIPE)
        for path in transcripts[1:]:
            asking.log_artifact(run, str(path), RESULTS)
        _log_state(asking, run, params, code["dirty"] == "true")
        _log_table(asking, run, transcripts[1:])
        _log_datasets(asking, run, digests, (figures or {}).get("prepare", {}))
        with fluent(section) as mlflow, mlflow.start_run(run_id=run):
            model = log_model(base, pruner, recogniser, settings, example, section.copy_base)
        asking.update_run(run, status="RUNNING")  # leaving mlflow.start_run has ended it
        speed = _speed(results)
        _log_metrics(asking, run, numbers(metrics) | speed, model.model_id)
        adapters = {"pruner": pruner, "recogniser": recogniser}
        log_stages(asking, run, stages, adapters, figures or {})
        speeds = {name: f"{value:g}" for name, value in speed.items()}
        # The registry shows all tags of all versions at once: digests of the data are the run's.
        own = {name: value for name, value in origin.items() if not name.startswith("data.")}
        tags = {**scores(metrics), **speeds, **_texts(metrics), **own, "sap2.version": __version__}
        tags[SETTINGS_TAG] = settings.summary()
        with fluent(section):  # the registry looks the logged model up in the global store
            version = create(asking, section.model_name, model, run, registration, tags, about)
        return _answer(asking, section, version, metrics, output)


def _answer(asking, section: TrackingSection, version, metrics: Mapping[str, Any], output: Path) -> dict[str, Any]:
    kept = asking.get_run(version.run_id).data.tags
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
    """Log what a registered version scored on another set, as a run below that of the version.

    Args:
        version: Its number or alias.
        metrics, params, files, manifests: As `register` takes them.
        results: Folder with the transcripts.
        card: The corpus's data card.
    Returns: `run`, `version`, `scores`.
    Raises: TrackingError: no such version, or the store fails.
    """
    uri, name, asking = tracking_uri(section), section.model_name, client(section)
    with reporting(uri, "did not take the evaluation"):
        number = version_number(asking, name, version)
        parent = asking.get_model_version(name, str(number)).run_id
    digests = file_digests(list(manifests))
    with start_run(section, "evaluate", params) as tracker, reporting(uri, "did not take the evaluation"):
        run = tracker.run_id
        asking.update_run(run, name=f"evaluation of {name}/{number}")
        tags = {"mlflow.parentRunId": parent, "sap2.model_version": f"{name}/{number}"}
        tags |= {safe_key(f"data.sha256/{path}"): digest for path, digest in digests.items()}
        for tag, value in {**_texts(metrics), **tags}.items():
            asking.set_tag(run, tag, value)
        _log_files(asking, run, list(files))
        transcripts = sorted(results.glob("*.jsonl"))
        for path in transcripts:
            asking.log_artifact(run, str(path), RESULTS)
        _log_table(asking, run, transcripts)
        _log_datasets(asking, run, digests, card or {})
        _log_metrics(asking, run, numbers(metrics) | _speed(results))
    return {"run": run, "version": number, "scores": {key: float(value) for key, value in scores(metrics).items()}}


def scores(metrics: Mapping[str, Any]) -> dict[str, str]:
    """The figures a version is judged by, as its tags.

    >>> scores({"predicted": {"b_wer": 4.5, "b_wer_low": 3.9}, "pruning": {"recall": 0.91}, "utterances": 400})
    {'predicted/b_wer': '4.5', 'pruning/recall': '0.91'}
    """
    return {name: f"{value:g}" for name, value in numbers(metrics).items() if name.rpartition("/")[2] in SCORES}


def _texts(metrics: Mapping[str, Any]) -> dict[str, str]:
    """How the figures were made: definition, normaliser, lists."""
    return {safe_key(name): value for name, value in flat(metrics, "/") if isinstance(value, str)}


def _origin(code: Mapping[str, str], digests: dict[str, str], lock: Path) -> dict[str, str]:
    tags = {"git.commit": code["commit"], "git.dirty": code["dirty"]}
    if lock.is_file():
        tags["dvc.lock_sha256"] = sha256(lock)
    return tags | {safe_key(f"data.sha256/{name}"): digest for name, digest in digests.items()}


def _log_files(asking, run: str, files: list[Path]) -> None:
    for path in files:
        if path.is_dir():
            asking.log_artifacts(run, str(path), f"reports/{path.name}")
        else:
            asking.log_artifact(run, str(path), "reports")


def _log_state(asking, run: str, params: Mapping[str, Any], dirty: bool) -> None:
    """What it takes to do all of it again: params, packages, and the changes that are in no commit."""
    # A params file of its own: the values as they were used, under the name of the profile, which changes nothing more.
    profile = str(params.get("profile", "default"))
    sections = {name: value for name, value in params.items() if isinstance(value, Mapping)}
    whole = {"profile": profile, **sections, "profiles": {profile: {name: {} for name in sections}}}
    asking.log_dict(run, public_values(whole), f"{RECIPE}/{PARAMS_FILE}")
    asking.log_text(run, environment(), f"{RECIPE}/environment.txt")
    if dirty and (patch := code_changes()):
        asking.log_text(run, public(patch), f"{RECIPE}/{PATCH_FILE}")


def _log_table(asking, run: str, transcripts: list[Path]) -> None:
    """The results as a table that MLflow shows: an utterance a row, its transcript in each context."""
    table: dict[str, list[Any]] = {}
    for path in transcripts:
        rows = [row for _, row in read_jsonl(path)]
        if not table:
            table = {name: [row.get(name) for row in rows] for name in ("id", "reference", "keywords", "predicted")}
        table[path.stem] = [row.get("hypothesis") for row in rows]
    if table:
        asking.log_table(run, table, "results_table.json")


def _speed(results: Path | None) -> dict[str, float]:
    """`CONTEXT/real_time_factor` as `sap2 decode` measured it; nothing where it did not."""
    timing = None if results is None else results / "timing.json"
    if timing is None or not timing.is_file():
        return {}
    factors = json.loads(timing.read_text(encoding="utf-8"))[SPEED]
    return {f"{context}/{SPEED}": float(factor) for context, factor in factors.items()}


def _log_datasets(asking, run: str, digests: dict[str, str], card: Mapping[str, Any]) -> None:
    """Each manifest as a dataset, with what the data card says of its split."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    inputs = [
        DatasetInput(
            # 36 characters are MLflow's limit; the whole digest is a tag of the run.
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
        asking.log_inputs(run, inputs)


def _profile(card: Mapping[str, Any], split: str) -> str | None:
    """A split's part of the data card, as MLflow keeps it; None where there is no card."""
    figures = card.get("splits", {}).get(split)
    if figures is None:
        return None
    about = {name: card[name] for name in ("title", "kind", "source", "licence", "seed") if name in card}
    digests = {name: card[name][split] for name in ("manifests", "audio") if name in card}
    return json.dumps(about | figures | {f"{name}_sha256": digest for name, digest in digests.items()})


def _log_metrics(asking, run: str, figures: dict[str, float], model_id: str | None = None) -> None:
    """Log the figures for the run and, so that MLflow shows them beside it, for the model if one is given."""
    from mlflow.entities import Metric

    now = int(time.time() * 1000)
    asking.log_batch(run, [Metric(name, value, now, 0, model_id=model_id) for name, value in figures.items()])
