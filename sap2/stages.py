"""Stages of the pipeline, one function each: typed params and paths in, files out. Called by DVC, Kubeflow and the CLI.

prepare → lists → base → train_pruner → prune → train_recogniser → decode → settings → evaluate → register → promote

Each stage reads only the paths it is given, writes only its outputs, each atomically, and returns a summary of them.
Only `promote` writes no file: it changes which version is in production. Default paths are those in dvc.yaml. Each
stage's logic lives in its own package, listed in dvc.yaml as a dependency and imported inside the function; this module
only dispatches.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from sap2.constants import SPLITS
from sap2.data.audio import load_audio
from sap2.errors import InputError
from sap2.files import json_file
from sap2.hub import present
from sap2.manifest import audio_path, read_manifest
from sap2.params import (
    BaseSection,
    EvaluationSection,
    GateSection,
    InferenceSection,
    ListsSection,
    LoraSection,
    ModelSection,
    Params,
    PrepareSection,
    PruningSection,
    RecogniserSection,
    RuntimeSection,
    TrackingSection,
    TrainSection,
    load_params,
)
from sap2.settings import join_settings, read_settings

if TYPE_CHECKING:
    from sap2.inference import Recogniser
    from sap2.slides.talk_input import TalkInput
    from sap2.transcripts.talk import Talk
    from sap2.transcripts.transcript import Transcript

__all__ = [
    "Summary",
    "base",
    "decode",
    "decode_version",
    "demo",
    "evaluate",
    "index",
    "join_parts",
    "lists",
    "log_evaluation",
    "prepare",
    "prepare_over_ray",
    "prepare_part",
    "promote",
    "prune",
    "register",
    "settings",
    "train_pruner",
    "train_recogniser",
    "transcribe_files",
    "transcribe_talk",
    "transcribe_talks",
    "write_talk",
]

PREPARED = Path("data/prepared")
LISTS = Path("data/lists")
PRUNED = Path("data/pruned")
BASE = Path("models/base")
PRUNER = Path("models/pruner")
RECOGNISER = Path("models/recogniser")
SETTINGS = Path("models/settings.json")
INGESTED = Path("data/.ingested")  # not an output: cache of converted recordings, by content
CHAMPION_ALREADY = "already the champion"
CHECKPOINTS = Path("models/.checkpoints")  # not an output: what an interrupted training needs to resume
RESULTS = Path("results")
REPORTS = Path("reports")
RUNTIME = RuntimeSection()

SHORTEST = 0.1  # shortest recording in seconds that can contain a word


@dataclass(frozen=True)
class Summary:
    """The outputs of a stage, and facts about them."""

    stage: str
    wrote: list[Path]
    facts: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        lines = [f"{self.stage}: wrote {', '.join(map(str, self.wrote))}" if self.wrote else f"{self.stage}:"]
        for name, value in self.facts.items():
            if isinstance(value, dict) and any(isinstance(item, dict) for item in value.values()):
                lines += [f"  {name} {key}: {_readable(item)}" for key, item in value.items()]
            else:
                lines.append(f"  {name}: {_readable(value)}")
        return "\n".join(lines)


def prepare(section: PrepareSection, output: Path = PREPARED, cache: Path = INGESTED) -> Summary:
    """Generate or read the corpus: train, dev and test manifests with their audio, quarantine.jsonl and card.json."""
    if section.source == "lectures":
        from sap2.data.lectures import prepare_lectures

        facts = prepare_lectures(section, output)
        for split in SPLITS:
            read_manifest(output / f"{split}.jsonl")
    else:
        from sap2.data.corpora import prepare_corpus

        facts = prepare_corpus(section, output, cache)
    return Summary("prepare", [output], _without_digests(facts))


def prepare_part(section: PrepareSection, part: int, parts: int, output: Path, cache: Path = INGESTED) -> Summary:
    """Do part `part` (from 0) of `parts` of the work of `prepare`."""
    from sap2.data.corpora import prepare_part as convert

    return Summary(f"prepare, part {part} of {parts}", [output], convert(section, part, parts, output, cache))


def join_parts(
    section: PrepareSection, folders: Sequence[Path], output: Path = PREPARED, cache: Path = INGESTED
) -> Summary:
    """Merge the outputs of `prepare_part` into the output of `prepare`."""
    from sap2.data.corpora import join_corpus

    facts = join_corpus(section, folders, output, cache)
    return Summary("prepare", [output], _without_digests(facts))


def prepare_over_ray(section: PrepareSection, parts: int, output: Path = PREPARED, cache: Path = INGESTED) -> Summary:
    """Split the work of `prepare` into `parts` tasks on the Ray cluster at RAY_ADDRESS, or on this machine."""
    from sap2.data.over_ray import prepare_over_ray as convert

    facts = convert(section, parts, output, cache)
    return Summary("prepare", [output], _without_digests(facts))


def lists(section: ListsSection, prepared: Path = PREPARED, output: Path = LISTS) -> Summary:
    """Write manifests with keyword lists, which refer to the recordings in `prepared`, and the card."""
    from sap2.data.lists import draw_lists

    return Summary("lists", [output], draw_lists(section, prepared, output))


def base(section: BaseSection, output: Path = BASE, reference: bool = False) -> Summary:
    """Write the speech language model in Hugging Face format.

    Args:
        reference: Store only id and commit of a base from the hub; later stages download it.
    """
    from sap2.base import resolve_base

    return Summary("base", [output], resolve_base(section, output, reference))


def train_pruner(
    section: TrainSection,
    model: ModelSection,
    lora: LoraSection,
    tracking: TrackingSection,
    lists: Path = LISTS,
    base: Path = BASE,
    output: Path = PRUNER,
    checkpoints: Path = CHECKPOINTS / "pruner",
    accelerators: int | None = None,
) -> Summary:
    """Train stage 1's adapter, which selects the spoken keywords; PC and JPI have none.

    Args:
        accelerators: Required number per machine; None = SAP2_ACCELERATORS, else any number.
    """
    if model.method != "tpi":
        from sap2.training import leave_out

        return Summary("train-pruner", [output], leave_out(output, model))
    return _train("pruner", section, model, lora, tracking, lists, base, output, checkpoints, accelerators)


def prune(
    section: PruningSection,
    lists: Path = LISTS,
    base: Path = BASE,
    pruner: Path = PRUNER,
    output: Path = PRUNED,
    runtime: RuntimeSection = RUNTIME,
) -> Summary:
    """Prune every utterance's list; write manifests with `predicted`, summary.json and threshold.csv."""
    from sap2.inference.corpus import prune_splits

    manifests = {split: lists / f"{split}.jsonl" for split in SPLITS}
    counts = prune_splits(
        section, manifests, present(base), pruner, output,
        train=section.train, max_false_alarms=section.max_false_alarms, runtime=runtime,
    )  # fmt: skip
    return Summary("prune", [output], counts)


def train_recogniser(
    section: RecogniserSection,
    model: ModelSection,
    lora: LoraSection,
    tracking: TrackingSection,
    pruned: Path = PRUNED,
    base: Path = BASE,
    output: Path = RECOGNISER,
    checkpoints: Path = CHECKPOINTS / "recogniser",
    accelerators: int | None = None,
) -> Summary:
    """Train stage 2's adapter, which transcribes with the selected keywords; with PC and JPI, with the whole list.

    Args:
        accelerators: See `train_pruner`.
    """
    return _train("recogniser", section, model, lora, tracking, pruned, base, output, checkpoints, accelerators)


def decode(
    section: InferenceSection,
    pruned: Path = PRUNED,
    base: Path = BASE,
    recogniser: Path = RECOGNISER,
    output: Path = RESULTS,
    runtime: RuntimeSection = RUNTIME,
) -> Summary:
    """Transcribe the test split once per context: without keywords, with the full, pruned and oracle lists."""
    from sap2.inference.corpus import decode_split

    facts = decode_split(
        section, section.contexts, pruned / "test.jsonl", present(base), recogniser, output, runtime=runtime
    )
    return Summary("decode", [output / f"{context}.jsonl" for context in section.contexts], facts)


def settings(pruned: Path = PRUNED, results: Path = RESULTS, output: Path = SETTINGS) -> Summary:
    """Write the settings that `prune` and `decode` ran with beside the models, for all commands that load them."""
    joined = join_settings(pruned, results)
    joined.save(output)
    return Summary("settings", [output], joined.by_stage())


def evaluate(section: EvaluationSection, results: Path = RESULTS, output: Path = REPORTS) -> Summary:
    """Score the transcripts: metrics.json, table.md, plots and report.html."""
    from sap2.evaluation.evaluate import evaluate as score

    results_of = {path.stem: path for path in sorted(results.glob("*.jsonl"))}
    if not results_of:
        raise InputError(f'{results}: has no results, expected CONTEXT.jsonl files; run "sap2 decode" first')
    score(results_of, output, section)
    table = (output / "table.md").read_text(encoding="utf-8")
    written = [output / name for name in ("metrics.json", "table.md", "report.html", "plots")]
    return Summary("evaluate", written, {"table": "\n" + table.rstrip()})


def register(
    params: Params,
    lists: Path = LISTS,
    pruned: Path = PRUNED,
    base: Path = BASE,
    pruner: Path = PRUNER,
    recogniser: Path = RECOGNISER,
    settings: Path = SETTINGS,
    results: Path = RESULTS,
    reports: Path = REPORTS,
    output: Path = REPORTS / "registration.json",
    checkpoints: Path = CHECKPOINTS,
) -> Summary:
    """Log params, metrics, plots, report and hashes as a run, and register a new version of the model.

    Metrics that trainings could not send to MLflow are in `checkpoints` and are sent first.
    """
    from sap2.tracking import register as log_and_register
    from sap2.tracking.runs import UNSENT, resend

    metrics = reports / "metrics.json"
    resend(params.tracking, sorted(checkpoints.glob(f"*{UNSENT}")))
    facts = log_and_register(
        params.tracking,
        metrics=json_file(metrics, 'run "sap2 evaluate" first'),
        params=params.model_dump(exclude={"resources"}),  # resources do not affect the model
        base=base,
        pruner=pruner,
        recogniser=recogniser,
        output=output,
        results=results,
        files=[
            *(reports / name for name in ("metrics.json", "table.md", "report.html", "plots")),
            pruned / "summary.json",
            pruned / "threshold.csv",
            lists / "card.json",
            lists / "card.md",
        ],
        manifests=[lists / f"{split}.jsonl" for split in SPLITS],
        settings=read_settings(settings),
        figures=_figures(lists, results, metrics),
        example=_example(lists),
    )
    return Summary("register", [output], facts)


def promote(
    gate: GateSection,
    evaluation: EvaluationSection,
    tracking: TrackingSection,
    version: str = "challenger",
    force: str | None = None,
) -> Summary:
    """Compare a registered version with the champion, and make it the champion if all rules of the gate hold.

    Args:
        version: Its number or alias; the challenger is the newest registered version.
        force: Reason for promoting it regardless of the rules; recorded.
    Returns: `promoted`, `version`, `champion` (the current version), `against` and `rules`, a table.
    """
    from sap2.tracking.gate import table
    from sap2.tracking.promotion import promote as judge_and_move

    outcome = judge_and_move(tracking, gate, evaluation, version, force)
    facts: dict[str, Any] = {
        "promoted": outcome.promoted,
        "version": outcome.version,
        "champion": outcome.champion,
        "against": outcome.against,
        "rules": "\n" + table(outcome.rules) if outcome.rules else CHAMPION_ALREADY,
    }
    return Summary("promote", [], facts | ({"forced": outcome.forced} if outcome.forced else {}))


def decode_version(
    tracking: TrackingSection, version: str = "champion", lists: Path = LISTS, output: Path = RESULTS
) -> Summary:
    """Prune and transcribe the test split of a corpus with a registered version and its settings.

    Args:
        version: Its number or alias.
    Returns: `version`: the version's number.
    """
    from sap2.inference.corpus import decode_split, prune_splits
    from sap2.tracking.aliases import version_number
    from sap2.tracking.packaging import fetch_registered
    from sap2.tracking.store import reachable_client

    number = version_number(reachable_client(tracking), tracking.model_name, version)
    with tempfile.TemporaryDirectory(prefix="sap2-version-") as folder:
        parts, settings = fetch_registered(tracking, f"models:/{tracking.model_name}/{number}", Path(folder))
        contexts = InferenceSection().contexts
        base, pruned = present(parts["base"]), Path(folder) / "pruned"
        pruner, recogniser = Path(parts["pruner"]), Path(parts["recogniser"])
        manifests = {"test": lists / "test.jsonl"}
        prune_splits(settings.pruning, manifests, base, pruner, pruned, runtime=settings.runtime)
        test = pruned / "test.jsonl"
        facts = decode_split(settings.inference, contexts, test, base, recogniser, output, runtime=settings.runtime)
    written = [output / f"{context}.jsonl" for context in contexts]
    return Summary("decode-version", written, {"version": number, **facts})


def log_evaluation(
    params: Params,
    version: str,
    lists: Path = LISTS,
    results: Path = RESULTS,
    reports: Path = REPORTS,
) -> Summary:
    """Log a registered version's scores on a corpus as a child run of the version's run."""
    from sap2.tracking import log_evaluation as log

    files = [reports / name for name in ("metrics.json", "table.md", "report.html", "plots")]
    facts = log(
        params.tracking,
        version,
        metrics=json_file(files[0], 'run "sap2 evaluate" first'),
        params=params.model_dump(include={"profile", "prepare", "lists", "evaluation"}),
        results=results,
        files=files,
        manifests=[lists / "test.jsonl"],
        card=json_file(lists / "card.json", 'run "sap2 lists" first'),
    )
    return Summary("log-evaluation", [], facts)


def transcribe_files(
    files: Sequence[Path],
    keywords: Sequence[str],
    model: str = "models",
    pruner_model: str | None = None,
    overrides: Sequence[str] = (),
) -> Iterator[tuple[Path, Transcript | InputError]]:
    """Recognise recordings of any format with the trained model.

    Args:
        keywords: The list for all recordings, or its index; may be empty.
        model: Folder with `base`, `pruner` and `recogniser`, or `models:/NAME/VERSION` of the registry.
        pruner_model: Full checkpoint of stage 1, if each stage has its own; `model` is then stage 2's checkpoint.
        overrides: Changes of the model's settings, such as `inference.num_beams=4`; they are printed.
    Yields: Each file with its transcript, or with the error if it is unreadable.
    Raises: InputError: the index was built for another base.
    """
    recogniser = None
    for path in files:
        try:
            audio = load_audio(path, min_duration=SHORTEST)
        except InputError as error:
            yield path, error
            continue
        if recogniser is None:
            recogniser = _load_recogniser(model, pruner_model, overrides)
            recogniser.check(keywords)
        yield path, recogniser(audio, keywords)


def index(listed: Path, output: Path, model: str = "models") -> Summary:
    """Prepare a keyword list for a model once, as a file that stands wherever a list does.

    Args:
        listed: The list, as `sap2.data.biasing.read_list` takes it.
        model: As `transcribe_files` takes it.
    Raises: InputError: the list cannot be used, is empty, or would be overwritten.
    """
    from sap2.data.biasing import read_list

    keywords = read_list(file=listed)
    if not keywords:
        raise InputError(f"{listed}: holds no keyword, expected at least one a line")
    if output.resolve() == listed.resolve():
        raise InputError(f"{output}: is the list itself; give another --output")
    facts = _load_recogniser(model).index(keywords).save(output, listed.name)
    return Summary("index", [output], facts)


def transcribe_talk(
    path: Path,
    slides: Sequence[Path],
    keywords: Sequence[str] = (),
    slide_times: Path | None = None,
    slide_context: int = 2,
    language: str | None = None,
    explain: bool = False,
    journal: Path | None = None,
    model: str = "models",
    pruner_model: str | None = None,
    overrides: Sequence[str] = (),
    ocr: Literal["auto", "always", "never"] = "auto",
    notes: bool = False,
) -> tuple[Talk, list[str]]:
    """Recognise a talk with its slides; return the talk, and notices for the user about the slides.

    Args:
        slides: Decks, agendas, lists: see `sap2.slides.keywords.slides_keywords`.
        keywords: Keywords listed throughout the talk, or their index.
        slide_times, slide_context, explain, journal: See `sap2.slides.talk.transcribe_talk`.
        language: Language of the slides; None = detected.
        model, pruner_model, overrides: See `transcribe_files`.
        ocr, notes: See `sap2.slides.Options`.
    Raises: InputError: recording, slides, times or journal are unusable.
    """
    from sap2.slides import Options
    from sap2.slides.talk_input import read_talk

    given = read_talk(path, slides, keywords, slide_times, language, Options(ocr, notes), SHORTEST)
    recogniser = _load_recogniser(model, pruner_model, overrides)
    return _recognised(recogniser, given, slide_context, explain, journal)


def write_talk(
    path: Path,
    slides: Sequence[Path],
    output: Path | None = None,
    keywords: Sequence[str] = (),
    slide_times: Path | None = None,
    slide_context: int = 2,
    language: str | None = None,
    explain: bool = False,
    journal: Path | None = None,
    model: str = "models",
    overrides: Sequence[str] = (),
    ocr: Literal["auto", "always", "never"] = "auto",
    notes: bool = False,
) -> tuple[Summary, list[str]]:
    """Recognise a talk with its slides as `transcribe_talk` does, into a folder of text, SubRip, JSON and a page.

    Args:
        output: The folder; None = beside the recording, with its name and `.talk`.
        explain: Whether the page shows what the context changed also where that takes another pass over the talk.
    Returns: What was written, and what a person should know: what was dropped or guessed.
    Raises: InputError: as `transcribe_talk`; the folder holds other files.
    """
    from sap2.slides import Options
    from sap2.slides.talk_input import read_talk
    from sap2.slides.talk_output import KINDS, PAGE, check_output, default_output
    from sap2.slides.talk_output import write_talk as write
    from sap2.transcripts.transcript import left_out_notice, warning_of

    folder = output or default_output(path)
    check_output(folder)
    given = read_talk(path, slides, keywords, slide_times, language, Options(ocr, notes), SHORTEST)
    recogniser = _load_recogniser(model, overrides=overrides)
    # Where times are estimated there is a first pass without context anyway.
    estimated = given.times is None and bool(given.texts)
    talk, notices = _recognised(recogniser, given, slide_context, explain or estimated, journal)
    notices += write(folder, talk, given, path, slides, notices, model)
    said = filter(None, (left_out_notice(talk.transcript), warning_of(talk.transcript)))
    doubtful = sum(one.doubtful for one in talk.segments)
    facts = {
        "used": "; ".join([f"{path}: {talk.duration:.1f} s", *given.used]),
        "slides": given.timed_by,
        "segments": f"{len(talk.segments)}, {doubtful} doubtful, {len(talk.left_out)} without speech left out",
        "keywords written": ", ".join(talk.written) or "none",
    }
    summary = Summary("talk", [folder / name for name in (PAGE, *KINDS)], facts)
    return summary, [*notices, *(f"{path}: {one}" for one in said)]


def _recognised(
    recogniser: Recogniser, given: TalkInput, slide_context: int, explain: bool, journal: Path | None
) -> tuple[Talk, list[str]]:
    """The talk, and what a person should know of how it was made."""
    from sap2.progress import track
    from sap2.slides.talk import transcribe_talk as transcribe

    recogniser.check(given.glossary)
    talk = transcribe(
        recogniser, given.wave, given.keywords, given.texts, given.times, slide_context, explain, journal, track,
        given.glossary,
    )  # fmt: skip
    return talk, [*given.notices, *talk.notices]


def demo(model: str = "models", port: int = 7860, overrides: Sequence[str] = ()) -> None:
    """Serve the demo page on this machine until stopped.

    Args:
        model, overrides: See `transcribe_files`.
    """
    from sap2.serving.demo import serve_demo

    recogniser = _load_recogniser(model, overrides=overrides)
    print(f"demo: http://127.0.0.1:{port}/", file=sys.stderr)
    serve_demo(recogniser, port)


def transcribe_talks(
    talks: str, keywords: Sequence[str], output: Path, model: str = "models", shard: int = 0, shards: int = 1
) -> Summary:
    """Transcribe a folder or bucket of talks, or every `shards`-th of them, into JSON lines.

    Args:
        talks: Folder, or an address such as s3://bucket/talks; recordings at any depth.
        keywords: The list for all talks, or its index; may be empty.
        model: See `transcribe_files`; loaded once.
        shard: Index of this shard, from 0.
    Raises: InputError: the index was built for another base.
    """
    from sap2.inference.buckets import transcribe_shard

    recogniser = _load_recogniser(model)
    recogniser.check(keywords)

    def transcribe(files: Sequence[Path]) -> Iterator[tuple[Path, Transcript | InputError]]:
        for path in files:
            try:
                yield path, recogniser(load_audio(path, min_duration=SHORTEST), keywords)
            except InputError as error:
                yield path, error

    return Summary("transcribe-talks", [output], transcribe_shard(talks, shard, shards, transcribe, output))


def _train(
    stage: Literal["pruner", "recogniser"],
    section: TrainSection,
    model: ModelSection,
    lora: LoraSection,
    tracking: TrackingSection,
    manifests: Path,
    base: Path,
    output: Path,
    checkpoints: Path,
    accelerators: int | None,
) -> Summary:
    from sap2.accelerators import check_accelerators, wanted
    from sap2.tracking import check_server, start_run
    from sap2.training.launch import node_count

    # One per process; a machine may have more.
    check_accelerators(min(wanted(accelerators), section.nproc // node_count()))
    # Check before loading anything, so that no training is lost.
    print(check_server(tracking), file=sys.stderr)
    from sap2.training import node_rank, train
    from sap2.training.checkpoints import fingerprint

    params = {"model": model.model_dump(), "lora": lora.model_dump(), stage: section.model_dump()}
    data = [path for path in (manifests / "train.jsonl", manifests / "dev.jsonl") if path.is_file()]
    present(base)  # downloaded once, before all processes of a training need it
    # On a volume shared by pipelines, each training has its own state file.
    state = checkpoints.parent / f"{stage}-{fingerprint(base, data, params)}-run.json"
    run = start_run(tracking, stage, params, state)
    with run if node_rank() == 0 else nullcontext() as tracker:  # only the first node logs
        facts = train(
            stage,
            base,
            manifests / "train.jsonl",
            manifests / "dev.jsonl",
            output,
            checkpoints,
            section,
            model,
            lora,
            tracker,
        )
        if tracker is not None:
            tracker.made(output)
    known = {"stage", "section", "model", "lora"}  # inputs are not results
    return Summary(f"train-{stage}", [output], {name: fact for name, fact in facts.items() if name not in known})


def _figures(lists: Path, results: Path, metrics: Path) -> dict[str, dict[str, Any]]:
    """Collect the figures that stages wrote, by their names in dvc.yaml."""
    noted = {"prepare": lists / "card.json", "decode": results / "timing.json", "evaluate": metrics}
    return {
        stage: json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {} for stage, path in noted.items()
    }


def _example(lists: Path) -> tuple[Path, list[str]]:
    manifest = lists / "test.jsonl"
    first = read_manifest(manifest)[0]
    return audio_path(first, manifest), first.keywords


def _load_recogniser(model: str, pruner_model: str | None = None, overrides: Sequence[str] = ()) -> Recogniser:
    from sap2.tracking.packaging import load_recogniser

    here = Path("params.yaml")
    tracking = load_params(here).tracking if here.is_file() else TrackingSection()
    return load_recogniser(tracking, model, overrides, pruner_model)


def _without_digests(card: dict[str, Any]) -> dict[str, Any]:
    return {name: fact for name, fact in card.items() if name not in ("manifests", "audio")}


def _readable(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_readable(item)}" for name, item in value.items()) or "none"
    if value is None:
        return "n/a"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
