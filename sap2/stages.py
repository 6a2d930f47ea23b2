"""One function a stage of the flow: typed params and paths in, files out. DVC, pipelines and people all call these.

prepare → lists → base → train_pruner → prune → train_recogniser → decode → settings → evaluate → register → promote

Every stage reads only the paths it is given, writes only its outputs, each whole or not at all, and returns a summary
of what it wrote. Only `promote` writes no file: it changes which version is in production. The defaults of the paths
are the places named in dvc.yaml. A stage's work is done in its room, which dvc.yaml names as a dependency and which is
imported inside the function; this file is only the doors.
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
    TrackingSection,
    TrainSection,
    load_params,
)
from sap2.settings import join_settings, read_settings

if TYPE_CHECKING:
    from sap2.inference import Recogniser
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
]

PREPARED = Path("data/prepared")
LISTS = Path("data/lists")
PRUNED = Path("data/pruned")
BASE = Path("models/base")
PRUNER = Path("models/pruner")
RECOGNISER = Path("models/recogniser")
SETTINGS = Path("models/settings.json")
INGESTED = Path("data/.ingested")  # no output: recordings converted before, by their content
CHAMPION_ALREADY = "it is the champion already"
CHECKPOINTS = Path("models/.checkpoints")  # no output: what an interrupted training needs to go on
RESULTS = Path("results")
REPORTS = Path("reports")

SHORTEST = 0.1  # seconds of a recording that can hold a word


@dataclass(frozen=True)
class Summary:
    """What a stage wrote, and what is worth knowing about it."""

    stage: str
    wrote: list[Path]
    facts: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        lines = [f"{self.stage}: wrote {', '.join(map(str, self.wrote))}" if self.wrote else f"{self.stage}:"]
        for name, value in self.facts.items():
            if isinstance(value, dict) and any(isinstance(one, dict) for one in value.values()):
                lines += [f"  {name} {key}: {_readable(one)}" for key, one in value.items()]
            else:
                lines.append(f"  {name}: {_readable(value)}")
        return "\n".join(lines)


def prepare(section: PrepareSection, output: Path = PREPARED, cache: Path = INGESTED) -> Summary:
    """Make or read the corpus: train, dev and test manifests with their audio, quarantine.jsonl and card.json."""
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
    """Do one of `parts` shares of `prepare`, on any machine; part 0 is the first."""
    from sap2.data.corpora import prepare_part as convert

    return Summary(f"prepare, part {part} of {parts}", [output], convert(section, part, parts, output, cache))


def join_parts(
    section: PrepareSection, folders: Sequence[Path], output: Path = PREPARED, cache: Path = INGESTED
) -> Summary:
    """Put all that `prepare_part` wrote together: what `prepare` would have written."""
    from sap2.data.corpora import join_corpus

    facts = join_corpus(section, folders, output, cache)
    return Summary("prepare", [output], _without_digests(facts))


def prepare_over_ray(section: PrepareSection, parts: int, output: Path = PREPARED, cache: Path = INGESTED) -> Summary:
    """`prepare` in parts, on the Ray cluster of RAY_ADDRESS or on this machine."""
    from sap2.data.over_ray import prepare_over_ray as convert

    facts = convert(section, parts, output, cache)
    return Summary("prepare", [output], _without_digests(facts))


def lists(section: ListsSection, prepared: Path = PREPARED, output: Path = LISTS) -> Summary:
    """Give each utterance its keyword list: the manifests again, which name the recordings in `prepared`; the card."""
    from sap2.data.lists import draw_lists

    return Summary("lists", [output], draw_lists(section, prepared, output))


def base(section: BaseSection, output: Path = BASE, reference: bool = False) -> Summary:
    """Put the speech language model in place, in Hugging Face format.

    Args:
        reference: Of a base of the hub, keep its id and commit alone; the stages after this fetch it.
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
    """Train the adapter that selects, by listening, the keywords that are spoken; with PC and JPI there is none.

    Args:
        accelerators: How many of them a machine must have; None = as SAP2_ACCELERATORS says, else any.
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
) -> Summary:
    """Ask the pruner about every utterance: the manifests again, with `predicted`; summary.json and threshold.csv."""
    from sap2.inference.corpus import prune_splits

    manifests = {split: lists / f"{split}.jsonl" for split in SPLITS}
    limits = {"train": section.train, "max_false_alarms": section.max_false_alarms}
    return Summary("prune", [output], prune_splits(section, manifests, present(base), pruner, output, **limits))


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
    """Train the adapter that transcribes with the keywords that are left; of PC and JPI, with the whole list.

    Args:
        accelerators: As `train_pruner` takes it.
    """
    return _train("recogniser", section, model, lora, tracking, pruned, base, output, checkpoints, accelerators)


def decode(
    section: InferenceSection,
    pruned: Path = PRUNED,
    base: Path = BASE,
    recogniser: Path = RECOGNISER,
    output: Path = RESULTS,
) -> Summary:
    """Transcribe the test split once a context: without keywords, with the whole list, the pruned one, the oracle."""
    from sap2.inference.corpus import decode_split

    facts = decode_split(section, section.contexts, pruned / "test.jsonl", present(base), recogniser, output)
    return Summary("decode", [output / f"{context}.jsonl" for context in section.contexts], facts)


def settings(pruned: Path = PRUNED, results: Path = RESULTS, output: Path = SETTINGS) -> Summary:
    """Write the settings that `prune` and `decode` ran with beside the models, so that whoever loads those decodes
    alike."""
    joined = join_settings(pruned, results)
    joined.save(output)
    return Summary("settings", [output], joined.by_stage())


def evaluate(section: EvaluationSection, results: Path = RESULTS, output: Path = REPORTS) -> Summary:
    """Score the transcripts: metrics.json, table.md, plots and report.html."""
    from sap2.evaluation.evaluate import evaluate as score

    found = {path.stem: path for path in sorted(results.glob("*.jsonl"))}
    if not found:
        raise InputError(f'{results}: holds no results, expected CONTEXT.jsonl files; run "sap2 decode" first')
    score(found, output, section)
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
    """Log params, metrics, plots, report and hashes as a run, and make a new version of the registered model.

    What the trainings could not send to MLflow lies in `checkpoints` and is sent first.
    """
    from sap2.tracking import register as log_and_register
    from sap2.tracking.runs import UNSENT, resend

    metrics = reports / "metrics.json"
    resend(params.tracking, sorted(checkpoints.glob(f"*{UNSENT}")))
    facts = log_and_register(
        params.tracking,
        metrics=json_file(metrics, 'run "sap2 evaluate" first'),
        params=params.model_dump(exclude={"resources"}),  # what a pod was given shapes no model
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
    """Hold a registered version against the champion and make it the champion when every rule of the gate holds.

    Args:
        version: Its number or alias; the challenger is the newest version registered.
        force: Why it is to be promoted whatever the rules say; recorded.
    Returns: `promoted`, `version`, `champion` (the version that is it now), `against` and `rules`, a table.
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
    """Prune and transcribe the test split of a corpus with a registered version, as that decodes.

    Args:
        version: Its number or alias.
    Returns: `version`, its number.
    """
    from sap2.inference.corpus import decode_split, prune_splits
    from sap2.tracking.aliases import version_number
    from sap2.tracking.packaging import fetch_registered
    from sap2.tracking.store import reachable

    number = version_number(reachable(tracking), tracking.model_name, version)
    with tempfile.TemporaryDirectory(prefix="sap2-version-") as folder:
        parts, settings = fetch_registered(tracking, f"models:/{tracking.model_name}/{number}", Path(folder))
        contexts = InferenceSection().contexts
        base, pruned = present(parts["base"]), Path(folder) / "pruned"
        prune_splits(settings.pruning, {"test": lists / "test.jsonl"}, base, Path(parts["pruner"]), pruned)
        test = pruned / "test.jsonl"
        facts = decode_split(settings.inference, contexts, test, base, Path(parts["recogniser"]), output)
    written = [output / f"{context}.jsonl" for context in contexts]
    return Summary("decode-version", written, {"version": number, **facts})


def log_evaluation(
    params: Params,
    version: str,
    lists: Path = LISTS,
    results: Path = RESULTS,
    reports: Path = REPORTS,
) -> Summary:
    """Log what a registered version scored on a corpus, as a run below that of the version."""
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
    """Recognise recordings of any format with the trained model, one after another.

    Args:
        keywords: The list for all of them; may be empty.
        model: Folder with `base`, `pruner` and `recogniser`, or `models:/NAME/VERSION` of the registry.
        pruner_model: Stage 1's whole checkpoint, where each stage has one; `model` is then stage 2's.
        overrides: Changes of the model's settings, as `inference.num_beams=4`; they are printed.
    Yields: Each file with its transcript, or with the reason why it cannot be read: the others still count.
    """
    recogniser = None
    for path in files:
        try:
            audio = load_audio(path, min_duration=SHORTEST)
        except InputError as error:
            yield path, error
            continue
        recogniser = recogniser or _load_recogniser(model, pruner_model, overrides)
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
    facts = _load_recogniser(model).index(keywords).save(output)
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
    """Recognise a talk with its slides; also returned is what a person should know of how the slides were read.

    Args:
        slides: Decks, agendas, lists: see `sap2.slides.keywords.slides_keywords`.
        keywords: Listed all the time.
        slide_times, slide_context, explain, journal: See `sap2.slides.talk.transcribe_talk`.
        language: Of the slides; None = it is guessed.
        model, pruner_model, overrides: As `transcribe_files` takes them.
        ocr, notes: See `sap2.slides.Options`.
    Raises: InputError: recording, slides, times or journal cannot be used.
    """
    from sap2.progress import track
    from sap2.slides import Options
    from sap2.slides.keywords import Keyword, slides_keywords
    from sap2.slides.talk import transcribe_talk as transcribe
    from sap2.slides.timing import times_known

    listed = slides_keywords(slides, language, Options(ocr, notes))
    times, notices = times_known(path, len(listed.texts), slide_times)
    audio = load_audio(path, min_duration=SHORTEST)
    recogniser = _load_recogniser(model, pruner_model, overrides)
    everywhere = [Keyword(0, word) for word in keywords]
    talk = transcribe(
        recogniser, audio, [*listed.keywords, *everywhere], listed.texts, times, slide_context, explain, journal, track
    )
    return talk, [*listed.notices, *notices, *talk.notices]


def demo(model: str = "models", port: int = 7860, overrides: Sequence[str] = ()) -> None:
    """Serve the demo's page on this machine until told to stop.

    Args:
        model, overrides: As `transcribe_files` takes them.
    """
    from sap2.serving.demo import serve_demo

    recogniser = _load_recogniser(model, overrides=overrides)
    print(f"demo: http://127.0.0.1:{port}/", file=sys.stderr)
    serve_demo(recogniser, port)


def transcribe_talks(
    talks: str, keywords: list[str], output: Path, model: str = "models", shard: int = 0, shards: int = 1
) -> Summary:
    """Transcribe a folder or bucket of talks, or every `shards`-th of them, into JSON lines.

    Args:
        talks: Folder, or an address such as s3://bucket/talks; recordings at any depth.
        keywords: The list for all of them; may be empty.
        model: As `transcribe_files` takes it; loaded once.
        shard: Number of this shard, from 0.
    """
    from sap2.inference.buckets import transcribe_shard

    recogniser = _load_recogniser(model)

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

    # One a process; a machine of more is no fault.
    check_accelerators(min(wanted(accelerators), section.nproc // node_count()))
    # Asked before anything is loaded: a training must not end in vain.
    print(check_server(tracking), file=sys.stderr)
    from sap2.training import node_rank, train
    from sap2.training.checkpoints import fingerprint

    params = {"model": model.model_dump(), "lora": lora.model_dump(), stage: section.model_dump()}
    data = [path for path in (manifests / "train.jsonl", manifests / "dev.jsonl") if path.is_file()]
    present(base)  # fetched once, before the processes of a training all ask for it
    # On a volume that many pipelines share, each training has a state of its own.
    state = checkpoints.parent / f"{stage}-{fingerprint(base, data, params)}-run.json"
    run = start_run(tracking, stage, params, state)
    with run if node_rank() == 0 else nullcontext() as tracker:  # of several nodes, one keeps the score
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
    known = {"stage", "section", "model", "lora"}  # what went in is no news
    return Summary(f"train-{stage}", [output], {name: fact for name, fact in facts.items() if name not in known})


def _figures(lists: Path, results: Path, metrics: Path) -> dict[str, dict[str, Any]]:
    """What stages noted of themselves, by their names in dvc.yaml."""
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
        return ", ".join(f"{name} {_readable(one)}" for name, one in value.items()) or "none"
    if value is None:
        return "n/a"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
