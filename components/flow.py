"""The pipeline's stages as Kubeflow components; parameters are sections of params.yaml.

A manifest's audio paths are relative to it, also for recordings of an earlier step: a step that reads the recordings of
`listed` or `pruned` also takes `prepared`, so that Kubeflow downloads them to the same relative path.
"""

from kfp import dsl
from kfp.dsl import HTML, Artifact, ClassificationMetrics, Dataset, Input, Markdown, Metrics, Model, Output

__all__ = [
    "announce",
    "base",
    "check_version",
    "decode",
    "decode_version",
    "evaluate",
    "join_parts",
    "lists",
    "log_evaluation",
    "prepare",
    "prepare_part",
    "promote",
    "prune",
    "register",
    "report_end",
    "train_pruner",
    "train_pruner_on_nodes",
    "train_recogniser",
    "train_recogniser_on_nodes",
]

# The image has the SDK, so nothing is installed when a step starts; the pipeline sets the image of all steps.
step = dsl.component(base_image="sap2-asr-python:0.2.0", install_kfp_package=False)


@step
def prepare(prepare: dict, prepared: Output[Dataset], summary: Output[Markdown]) -> None:
    """Generate or read the corpus: recordings, reference texts and keywords.

    Args:
        prepare: Section `prepare` of params.yaml; the corpus and its folder.

    Returns:
        prepared: Folder with train, dev and test manifests, their audio, quarantine.jsonl and card.json.
        summary: Counts, durations and why recordings were rejected.
    """
    from pathlib import Path

    from components.outputs import show
    from sap2 import stages
    from sap2.params import PrepareSection

    output = Path(prepared.path)
    # Beside the output, so that a retry on the same disk reuses converted recordings.
    show(stages.prepare(PrepareSection(**prepare), output, output.with_name("ingested")), summary)


@step
def prepare_part(prepare: dict, part: str, corpus_part: Output[Dataset], summary: Output[Markdown]) -> None:
    """Do a part of the work of `prepare`.

    Args:
        prepare: Section `prepare` of params.yaml; the corpus and its folder.
        part: The part, such as "0/8".

    Returns:
        corpus_part: Folder with the part's recordings, and the result of each.
        summary: Numbers of accepted and rejected recordings.
    """
    from pathlib import Path

    from components.outputs import show
    from sap2 import stages
    from sap2.params import PrepareSection

    output = Path(corpus_part.path)
    number, parts = map(int, part.split("/"))
    show(stages.prepare_part(PrepareSection(**prepare), number, parts, output, output.with_name("ingested")), summary)


@step
def join_parts(
    prepare: dict, parts: Input[list[Dataset]], prepared: Output[Dataset], summary: Output[Markdown]
) -> None:
    """Merge the parts of `prepare`.

    Args:
        prepare: Section `prepare` of params.yaml, equal to that of the parts.
        parts: All parts.

    Returns:
        prepared: Folder with train, dev and test manifests, their audio, quarantine.jsonl and card.json.
        summary: Counts, durations and why recordings were rejected.
    """
    from pathlib import Path

    from components.outputs import show
    from sap2 import stages
    from sap2.params import PrepareSection

    output, folders = Path(prepared.path), [Path(part.path) for part in parts]
    show(stages.join_parts(PrepareSection(**prepare), folders, output, output.with_name("ingested")), summary)


@step
def lists(lists: dict, prepared: Input[Dataset], listed: Output[Dataset], summary: Output[Markdown]) -> None:
    """Give each utterance its keyword list: the corpus's keywords, or rare words and distractors.

    Args:
        lists: Section `lists` of params.yaml: where the lists come from, and how long they are.
        prepared: The corpus.

    Returns:
        listed: Folder with train, dev and test manifests and the data card.
        summary: Lengths of the lists, and the share of spoken keywords.
    """
    from pathlib import Path

    from components.outputs import show
    from sap2 import stages
    from sap2.params import ListsSection

    show(stages.lists(ListsSection(**lists), Path(prepared.path), Path(listed.path)), summary)


@step
def base(base: dict, copy: bool, base_model: Output[Model], summary: Output[Markdown]) -> None:
    """Provide the speech language model that both stages are trained from.

    Args:
        base: Section `base` of params.yaml; `path` is "embedded", a folder, or an id of the Hugging Face hub.
        copy: Whether a base from the hub is copied with all its files; else only its id and commit are, and the steps
            that
            need it download it.

    Returns:
        base_model: Folder in Hugging Face format, or with only hub.json.
        summary: Source, revision, type and size.
    """
    from pathlib import Path

    from components.outputs import show
    from sap2 import stages
    from sap2.params import BaseSection

    show(stages.base(BaseSection(**base), Path(base_model.path), reference=not copy), summary)
    base_model.metadata.update(framework="transformers", path=base["path"])


@step
def train_pruner(
    pruner: dict,
    model: dict,
    lora: dict,
    tracking: dict,
    checkpoints: str,
    prepared: Input[Dataset],
    listed: Input[Dataset],
    base_model: Input[Model],
    pruner_adapter: Output[Model],
    summary: Output[Markdown],
) -> None:
    """Train stage 1's adapter, which selects the spoken keywords.

    Args:
        pruner: Section `pruner` of params.yaml: length, batches, learning rate, processes.
        model: Section `model`: how the keyword list is pooled.
        lora: Section `lora`: size and place of the adapter.
        tracking: Section `tracking`: where the curves go; MLFLOW_TRACKING_URI wins.
        checkpoints: Folder that outlives the pod, from which an interrupted training resumes.
        prepared: The corpus, for its recordings.
        listed: The manifests with keyword lists.
        base_model: The model that is adapted.

    Returns:
        pruner_adapter: Folder with the adapter.
        summary: Loss, steps, time.
    """
    from pathlib import Path

    from components.outputs import show
    from sap2 import stages
    from sap2.params import LoraSection, ModelSection, TrackingSection, TrainSection

    done = stages.train_pruner(
        TrainSection(**pruner),
        ModelSection(**model),
        LoraSection(**lora),
        TrackingSection(**tracking),
        lists=Path(listed.path),
        base=Path(base_model.path),
        output=Path(pruner_adapter.path),
        checkpoints=Path(checkpoints) / "pruner",
    )
    show(done, summary)
    pruner_adapter.metadata.update(framework="peft", stage="pruner")


@step
def train_pruner_on_nodes(
    job: str,
    pruner: dict,
    model: dict,
    lora: dict,
    tracking: dict,
    checkpoints: str,
    prepared: Input[Dataset],
    listed: Input[Dataset],
    base_model: Input[Model],
    pruner_adapter: Output[Model],
    summary: Output[Markdown],
) -> None:
    """Train stage 1 like `train_pruner`, on the nodes of a TrainJob of Kubeflow Trainer.

    Args:
        job: The TrainJob, in JSON.
        pruner: Section `pruner` of params.yaml; its processes are those of the TrainJob.
        model: Section `model`: how the keyword list is pooled.
        lora: Section `lora`: size and place of the adapter.
        tracking: Section `tracking`: where the curves go; MLFLOW_TRACKING_URI wins.
        checkpoints: Folder of the volume that this pod and the nodes share.
        prepared: The corpus, for its recordings.
        listed: The manifests with keyword lists.
        base_model: The model that is adapted.

    Returns:
        pruner_adapter: Folder with the adapter.
        summary: Loss, steps, nodes.
    """
    import json
    from pathlib import Path

    from components.outputs import show
    from components.training import train_on_nodes

    done = train_on_nodes(
        "pruner",
        json.loads(job),
        {"pruner": pruner, "model": model, "lora": lora, "tracking": tracking},
        checkpoints=Path(checkpoints),
        prepared=Path(prepared.path),
        manifests=Path(listed.path),
        base=Path(base_model.path),
        output=Path(pruner_adapter.path),
    )
    show(done, summary)
    pruner_adapter.metadata.update(framework="peft", stage="pruner")


@step
def prune(
    pruning: dict,
    runtime: dict,
    prepared: Input[Dataset],
    listed: Input[Dataset],
    base_model: Input[Model],
    pruner_adapter: Input[Model],
    pruned: Output[Dataset],
    metrics: Output[Metrics],
    summary: Output[Markdown],
) -> None:
    """Select the spoken keywords of every utterance's list with stage 1.

    Args:
        pruning: Section `pruning` of params.yaml: decoding of stage 1.
        runtime: Section `runtime`: how the model is run.
        prepared: The corpus, for its recordings.
        listed: The manifests with keyword lists.
        base_model: The model.
        pruner_adapter: Stage 1's adapter.

    Returns:
        pruned: The manifests, each utterance with its selected keywords.
        metrics: Recall and precision of the selections, by split.
        summary: The same, with times.
    """
    from pathlib import Path

    from components.outputs import log_figures, show
    from sap2 import stages
    from sap2.params import PruningSection, RuntimeSection

    done = stages.prune(
        PruningSection(**pruning),
        lists=Path(listed.path),
        base=Path(base_model.path),
        pruner=Path(pruner_adapter.path),
        output=Path(pruned.path),
        runtime=RuntimeSection(**runtime),
    )
    log_figures(done.facts, metrics)
    show(done, summary)


@step
def train_recogniser(
    recogniser: dict,
    model: dict,
    lora: dict,
    tracking: dict,
    checkpoints: str,
    prepared: Input[Dataset],
    pruned: Input[Dataset],
    base_model: Input[Model],
    recogniser_adapter: Output[Model],
    summary: Output[Markdown],
) -> None:
    """Train stage 2's adapter, which transcribes with the selected keywords.

    Args:
        recogniser: Section `recogniser` of params.yaml: as `pruner`, and the lists it is trained on.
        model: Section `model`: how the keyword list is pooled.
        lora: Section `lora`: size and place of the adapter.
        tracking: Section `tracking`: where the curves go; MLFLOW_TRACKING_URI wins.
        checkpoints: Folder that outlives the pod, from which an interrupted training resumes.
        prepared: The corpus, for its recordings.
        pruned: The manifests with stage 1's selections.
        base_model: The model that is adapted.

    Returns:
        recogniser_adapter: Folder with the adapter.
        summary: Loss, steps, time.
    """
    from pathlib import Path

    from components.outputs import show
    from sap2 import stages
    from sap2.params import LoraSection, ModelSection, RecogniserSection, TrackingSection

    done = stages.train_recogniser(
        RecogniserSection(**recogniser),
        ModelSection(**model),
        LoraSection(**lora),
        TrackingSection(**tracking),
        pruned=Path(pruned.path),
        base=Path(base_model.path),
        output=Path(recogniser_adapter.path),
        checkpoints=Path(checkpoints) / "recogniser",
    )
    show(done, summary)
    recogniser_adapter.metadata.update(framework="peft", stage="recogniser")


@step
def train_recogniser_on_nodes(
    job: str,
    recogniser: dict,
    model: dict,
    lora: dict,
    tracking: dict,
    checkpoints: str,
    prepared: Input[Dataset],
    pruned: Input[Dataset],
    base_model: Input[Model],
    recogniser_adapter: Output[Model],
    summary: Output[Markdown],
) -> None:
    """Train stage 2 like `train_recogniser`, on the nodes of a TrainJob of Kubeflow Trainer.

    Args:
        job: The TrainJob, in JSON.
        recogniser: Section `recogniser` of params.yaml; its processes are those of the TrainJob.
        model: Section `model`: how the keyword list is pooled.
        lora: Section `lora`: size and place of the adapter.
        tracking: Section `tracking`: where the curves go; MLFLOW_TRACKING_URI wins.
        checkpoints: Folder of the volume that this pod and the nodes share.
        prepared: The corpus, for its recordings.
        pruned: The manifests with stage 1's selections.
        base_model: The model that is adapted.

    Returns:
        recogniser_adapter: Folder with the adapter.
        summary: Loss, steps, nodes.
    """
    import json
    from pathlib import Path

    from components.outputs import show
    from components.training import train_on_nodes

    done = train_on_nodes(
        "recogniser",
        json.loads(job),
        {"recogniser": recogniser, "model": model, "lora": lora, "tracking": tracking},
        checkpoints=Path(checkpoints),
        prepared=Path(prepared.path),
        base=Path(base_model.path),
        output=Path(recogniser_adapter.path),
        manifests=Path(pruned.path),
    )
    show(done, summary)
    recogniser_adapter.metadata.update(framework="peft", stage="recogniser")


@step
def decode(
    inference: dict,
    runtime: dict,
    prepared: Input[Dataset],
    pruned: Input[Dataset],
    base_model: Input[Model],
    recogniser_adapter: Input[Model],
    results: Output[Dataset],
    summary: Output[Markdown],
) -> None:
    """Transcribe the test split without keywords, and with the full, pruned and oracle lists.

    Args:
        inference: Section `inference` of params.yaml: decoding of stage 2, and its contexts.
        runtime: Section `runtime`: how the model is run.
        prepared: The corpus, for its recordings.
        pruned: The manifests with stage 1's selections.
        base_model: The model.
        recogniser_adapter: Stage 2's adapter.

    Returns:
        results: Folder with a file of transcripts per context, and timing.json.
        summary: Counts and times.
    """
    from pathlib import Path

    from components.outputs import show
    from sap2 import stages
    from sap2.params import InferenceSection, RuntimeSection

    done = stages.decode(
        InferenceSection(**inference),
        pruned=Path(pruned.path),
        base=Path(base_model.path),
        recogniser=Path(recogniser_adapter.path),
        output=Path(results.path),
        runtime=RuntimeSection(**runtime),
    )
    show(done, summary)


@step
def evaluate(
    evaluation: dict,
    results: Input[Dataset],
    reports: Output[Artifact],
    metrics: Output[Metrics],
    selection: Output[ClassificationMetrics],
    report: Output[HTML],
    table: Output[Markdown],
) -> None:
    """Score the transcripts: WER, U-WER, B-WER and keywords, by context.

    Args:
        evaluation: Section `evaluation` of params.yaml: definition, normaliser, bootstrap.
        results: The transcripts.

    Returns:
        reports: Folder with metrics.json, table.md, report.html and plots.
        metrics: All figures, named context/figure.
        selection: Confusion matrix of stage 1's listed keywords: spoken or not, selected or not.
        report: The report with all utterances.
        table: The figures as a table.
    """
    import json
    import shutil
    from pathlib import Path

    from components.outputs import log_figures
    from sap2 import stages
    from sap2.params import EvaluationSection

    print(stages.evaluate(EvaluationSection(**evaluation), Path(results.path), Path(reports.path)))
    figures = json.loads((Path(reports.path) / "metrics.json").read_text(encoding="utf-8"))
    log_figures(figures, metrics)
    if stage_1 := figures.get("pruning"):
        tp, fp, fn = (stage_1[name] for name in ("tp", "fp", "fn"))
        listed = round(stage_1["listed_per_utterance"] * figures["utterances"])
        counts = [[tp, fn], [fp, max(0, listed - tp - fp - fn)]]
        selection.log_confusion_matrix(["spoken", "not spoken"], counts)
    shutil.copy(Path(reports.path) / "report.html", report.path)
    shutil.copy(Path(reports.path) / "table.md", table.path)


@step
def decode_version(
    version: str,
    tracking: dict,
    prepared: Input[Dataset],
    listed: Input[Dataset],
    results: Output[Dataset],
    summary: Output[Markdown],
) -> str:
    """Prune and transcribe the test split with a registered version and its settings.

    Args:
        version: Number or alias of the version.
        tracking: Section `tracking` of params.yaml: name of the model; MLFLOW_TRACKING_URI names the server.
        prepared: The corpus, for its recordings.
        listed: The manifests with keyword lists.

    Returns:
        results: Folder with a file of transcripts per context, and timing.json.
        summary: Counts and times.
        Output: The version's number.
    """
    from pathlib import Path

    from components.outputs import show
    from sap2 import stages
    from sap2.params import TrackingSection

    done = stages.decode_version(TrackingSection(**tracking), version, Path(listed.path), Path(results.path))
    show(done, summary)
    return str(done.facts["version"])


@step
def log_evaluation(
    profile: str,
    version: str,
    prepare: dict,
    lists: dict,
    evaluation: dict,
    tracking: dict,
    listed: Input[Dataset],
    results: Input[Dataset],
    reports: Input[Artifact],
    summary: Output[Markdown],
) -> None:
    """Log the scores in MLflow, as a child run of the version's run.

    Args:
        profile: The profile's name, logged.
        version: The version's number.
        prepare: Section `prepare` of params.yaml, logged.
        lists: Section `lists`, logged.
        evaluation: Section `evaluation`, logged.
        tracking: Section `tracking`: experiment and name of the model; MLFLOW_TRACKING_URI names the server.
        listed: The manifests, for their digest, and the data card.
        results: The transcripts.
        reports: Metrics, table, plots and report.

    Returns:
        summary: The run and the scores.
    """
    from pathlib import Path

    from components.outputs import show
    from sap2 import stages
    from sap2.params import Params

    params = Params.model_validate(
        dict(profile=profile, prepare=prepare, lists=lists, evaluation=evaluation, tracking=tracking)
    )
    done = stages.log_evaluation(params, version, *(Path(artifact.path) for artifact in (listed, results, reports)))
    show(done, summary)


@step
def register(
    profile: str,
    prepare: dict,
    lists: dict,
    base: dict,
    model: dict,
    lora: dict,
    pruner: dict,
    pruning: dict,
    recogniser: dict,
    inference: dict,
    runtime: dict,
    evaluation: dict,
    gate: dict,
    tracking: dict,
    checkpoints: str,
    prepared: Input[Dataset],
    listed: Input[Dataset],
    pruned: Input[Dataset],
    base_model: Input[Model],
    pruner_adapter: Input[Model],
    recogniser_adapter: Input[Model],
    results: Input[Dataset],
    reports: Input[Artifact],
    registration: Output[Artifact],
    summary: Output[Markdown],
) -> str:
    """Log the pipeline as a run in MLflow, and register its model as the next version.

    Args:
        profile: The profile's name, logged.
        prepare: Section `prepare` of params.yaml; this and the following sections are logged with the run.
        lists: Section `lists`.
        base: Section `base`.
        model: Section `model`.
        lora: Section `lora`.
        pruner: Section `pruner`.
        pruning: Section `pruning`.
        recogniser: Section `recogniser`.
        inference: Section `inference`.
        runtime: Section `runtime`.
        evaluation: Section `evaluation`.
        gate: Section `gate`.
        tracking: Section `tracking`: experiment and name of the model; MLFLOW_TRACKING_URI names the server.
        checkpoints: The trainings' folder, with metrics they could not send to MLflow; these are sent first.
        prepared: The corpus, for the recording of the model's example.
        listed: The manifests, for their digests, and the data card.
        pruned: The manifests with stage 1's selections.
        base_model: The model.
        pruner_adapter: Stage 1's adapter.
        recogniser_adapter: Stage 2's adapter.
        results: The transcripts, by which the gate compares versions.
        reports: Metrics, table, plots and report.

    Returns:
        registration: registration.json: run, version, scores.
        summary: The same as text.
        Output: The version's number.
    """
    import tempfile
    from pathlib import Path

    from components.outputs import show
    from sap2 import stages
    from sap2.params import Params

    params = Params.model_validate(
        dict(
            profile=profile,
            prepare=prepare,
            lists=lists,
            base=base,
            model=model,
            lora=lora,
            pruner=pruner,
            pruning=pruning,
            recogniser=recogniser,
            inference=inference,
            runtime=runtime,
            evaluation=evaluation,
            gate=gate,
            tracking=tracking,
        )
    )
    with tempfile.TemporaryDirectory(prefix="sap2-settings-") as folder:
        settings = Path(folder) / "settings.json"
        stages.settings(Path(pruned.path), Path(results.path), settings)
        done = stages.register(
            params,
            lists=Path(listed.path),
            pruned=Path(pruned.path),
            base=Path(base_model.path),
            pruner=Path(pruner_adapter.path),
            recogniser=Path(recogniser_adapter.path),
            settings=settings,
            results=Path(results.path),
            reports=Path(reports.path),
            output=Path(registration.path),
            checkpoints=Path(checkpoints),
        )
    show(done, summary)
    return str(done.facts["version"])


@step
def promote(version: str, gate: dict, evaluation: dict, tracking: dict, summary: Output[Markdown]) -> bool:
    """Compare the version with the champion, and make it the champion if all rules of the gate hold.

    Args:
        version: Number of the registered version.
        gate: Section `gate` of params.yaml: the rules.
        evaluation: Section `evaluation`: how both are scored.
        tracking: Section `tracking`: name of the model; MLFLOW_TRACKING_URI names the server.

    Returns:
        summary: The rules and their verdicts.
        Output: Whether it became the champion; false if it already was.
    """
    from components.outputs import show
    from sap2 import stages
    from sap2.params import EvaluationSection, GateSection, TrackingSection

    done = stages.promote(GateSection(**gate), EvaluationSection(**evaluation), TrackingSection(**tracking), version)
    show(done, summary)
    return done.facts["promoted"] and done.facts["rules"] != stages.CHAMPION_ALREADY


@step
def check_version(
    version: str, tracking: dict, prepared: Input[Dataset], listed: Input[Dataset], transcript: Output[Markdown]
) -> None:
    """Load the version from the registry, as the server does, and transcribe a recording of the test split.

    Args:
        version: Number of the registered version.
        tracking: Section `tracking` of params.yaml: name of the model; MLFLOW_TRACKING_URI names the server.
        prepared: The corpus, for a recording.
        listed: The manifests, for its list.

    Returns:
        transcript: Reference and transcript.
    """
    from pathlib import Path

    from sap2 import stages
    from sap2.errors import InputError
    from sap2.manifest import audio_path, read_manifest

    manifest = Path(listed.path) / "test.jsonl"
    utterance = read_manifest(manifest)[0]
    uri = f"models:/{tracking['model_name']}/{version}"
    [(_, result)] = stages.transcribe_files([audio_path(utterance, manifest)], utterance.keywords, uri)
    if isinstance(result, InputError):
        raise result
    found = ", ".join(result.found) or "none"
    page = (
        f"`{uri}`, utterance `{utterance.id}`\n\n- reference: {utterance.text}\n- transcript: {result.text}\n"
        f"- keywords found: {found}\n"
    )
    Path(transcript.path).write_text(page, encoding="utf-8")
    print(page)


@step
def announce(
    version: str,
    promoted: bool,
    tracking: dict,
    run: str,
    host: str,
    verdict: Input[Markdown],
    announcement: Output[Markdown],
) -> None:
    """Announce whether there is a new champion, with the rules' verdicts; also to SAP2_WEBHOOK, if set.

    Args:
        version: Number of the judged version.
        promoted: Whether it became the champion.
        tracking: Section `tracking` of params.yaml: name of the model.
        run: The run's id.
        host: Address of Kubeflow's pages, for a link; may be empty.
        verdict: The rules of the gate and their verdicts.

    Returns:
        announcement: The announcement, with how to roll back.
    """
    from pathlib import Path

    from components.outputs import announce_verdict

    rules = Path(verdict.path).read_text(encoding="utf-8")
    text = announce_verdict(f"models:/{tracking['model_name']}/{version}", promoted, rules, run, host)
    Path(announcement.path).write_text(text, encoding="utf-8")


@step
def report_end(pipeline: str, profile: str, run: str, host: str, status: dsl.PipelineTaskFinalStatus) -> None:
    """Report how the run ended; send failures to SAP2_WEBHOOK, if set.

    Args:
        pipeline: Name of the pipeline.
        profile: Profile of params.yaml.
        run: The run's id.
        host: Address of Kubeflow's pages, for a link; may be empty.
        status: State of the run, from Kubeflow.
    """
    from components.outputs import announce_end

    announce_end(pipeline, profile, run, host, status)
