"""The command line: a command parses, calls one stage, prints its summary.

Results go to stdout, progress and logs to stderr. Exit codes: 0 done, 1 unusable input or params, 2 bad usage,
3 refused by the gate, 143 a training told to stop by SIGTERM, which can go on.
Heavy rooms are imported inside the commands: `sap2 --help` answers at once.
"""

import json
import math
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NoReturn

import typer

from sap2 import __version__
from sap2.errors import InputError, SapError, Stopped, out_of_memory

if TYPE_CHECKING:
    from sap2.evaluation import Scores
    from sap2.params import Params

app = typer.Typer(
    name="sap2",
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    help="Contextual speech recognition: prune the keyword list by listening, then transcribe with what is left.",
    epilog='Example: sap2 transcribe talk.wav --keywords "Meyer, Kathryn, Zorvan"',
)

ParamsOption = Annotated[Path, typer.Option("--params", metavar="FILE", help="The params file.")]
ProfileOption = Annotated[
    str | None,
    typer.Option(
        "--profile", metavar="NAME", help="Profile of the params file; else SAP2_PROFILE, else its own choice."
    ),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", "-S", metavar="KEY=VALUE", help="Change one param, as inference.num_beams=2. Repeatable."),
]
PARAMS = Path("params.yaml")
MANIFEST = Path("data/lists/train.jsonl")
REFUSED = 3
STOPPED = 128 + signal.SIGTERM
EXTRAS = dict.fromkeys(["fastapi", "uvicorn", "multipart", "python_multipart", "prometheus_client"], "serve")
EXTRAS |= dict.fromkeys(
    ["pypdfium2", "pptx", "lxml", "wordfreq", "bibtexparser", "rapidocr", "onnxruntime", "av"], "talks"
)
EXTRAS |= dict.fromkeys(["kfp", "kfp_server_api", "kubernetes", "components", "pipelines"], "kubeflow")
RefOption = Annotated[
    Path | None, typer.Option(metavar="REF", help="What was said; else the references in the file of hypotheses.")
]
ListsOption = Annotated[
    Path | None,
    typer.Option(
        metavar="LISTS", help="Keyword lists by utterance, or one for all, an entry a line; else those in REF."
    ),
]
DefinitionOption = Annotated[
    Literal["deep-bias", "slidespeech"], typer.Option(help="How words are aligned, and which count in B-WER.")
]
NormaliserOption = Annotated[
    Literal["none", "basic", "whisper-en"], typer.Option(help="What is done to text and lists, alike, before scoring.")
]
MissingOption = Annotated[
    bool, typer.Option("--missing-as-deletions", help="Count an utterance without hypothesis as all deleted.")
]
TrainingOption = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Training text, or lines of word, tab, count: tells seen keywords from unseen."),
]
UnitOption = Annotated[
    Literal["auto", "utterance", "speaker", "talk"], typer.Option(help="What the bootstrap draws; auto prefers talks.")
]
SamplesOption = Annotated[int, typer.Option(min=0, help="Bootstrap samples; 0 = no intervals.")]
SeedOption = Annotated[int, typer.Option(min=0, help="Seed of the draws.")]
JsonOption = Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write all figures as JSON.")]
ReportOption = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Write an HTML report, one file without links.")
]


def _finite(value: float | None) -> float | None:
    if value is not None and not math.isfinite(value):
        raise typer.BadParameter(f"{value} is not a finite number")
    return value


def main() -> None:
    """Run the command line; an error a user can act on becomes one line on stderr and exit code 1."""
    try:
        app(prog_name="sap2")
    except SapError as error:
        _fail(str(error), STOPPED if isinstance(error, Stopped) else 1)
    except (MemoryError, RuntimeError) as error:
        if not out_of_memory(error):
            raise
        said = str(error).strip().partition("\n")[0][:200]
        _fail(f"out of memory ({said or 'of this machine'}); lower the stage's batch_size or give it more")
    except ModuleNotFoundError as error:
        # `pip install sap2-asr` brings what scoring needs; training and recognition are an extra.
        if error.name is None or error.name.partition(".")[0] == "sap2":
            raise
        extra = EXTRAS.get(error.name.partition(".")[0], "pipeline")
        _fail(f"this command needs {error.name}, which is not installed; run \"pip install 'sap2-asr[{extra}]'\"")


def _fail(message: str, code: int = 1) -> NoReturn:
    print(f"sap2: {' '.join(message.split())}", file=sys.stderr)
    raise SystemExit(code) from None


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"sap2 {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
    directory: Annotated[
        Path | None,
        typer.Option("--directory", "-C", metavar="DIR", help="Work there, as if started in it."),
    ] = None,
) -> None:
    if directory is not None:
        try:
            os.chdir(directory)
        except OSError as error:
            raise InputError(f"--directory {directory}: {error.strerror}") from error


@app.command(epilog="Example: sap2 prepare --source librispeech --root /data/LibriSpeech")
def prepare(
    source: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="As prepare.source; or a folder of WAV/FLAC with one TSV (id, text, keywords)."
        ),
    ] = None,
    root: Annotated[str | None, typer.Option(metavar="DIR", help="Where that source lies.")] = None,
    part: Annotated[
        str | None, typer.Option(metavar="N/PARTS", help="Do part N (0/8 to 7/8) alone, on a machine of its own.")
    ] = None,
    join: Annotated[int | None, typer.Option(min=1, metavar="PARTS", help="Put the parts together.")] = None,
    ray: Annotated[
        int | None, typer.Option(min=1, metavar="PARTS", help="Do so many parts on the Ray cluster of RAY_ADDRESS.")
    ] = None,
    params: ParamsOption = PARAMS,
    profile: ProfileOption = None,
    set_: SetOption = None,
) -> None:
    """Make the manifests and audio.

    They go to data/prepared: train, dev and test.jsonl, audio, quarantine.jsonl and card.json. Several machines share
    the work by --part, then --join, in a folder they all see; or by --ray."""
    from sap2 import stages
    from sap2.params import source_names

    if root is not None and source is None:
        raise typer.BadParameter("--root says where a --source lies; name that, too")
    if source is not None and root is None and source not in source_names():
        source, root = "folder", source
    chosen = [] if source is None else [f"prepare.source={json.dumps(source)}"]
    chosen += [] if root is None else [f"prepare.{source}.root={json.dumps(root)}"]
    section = _load(params, profile, [*chosen, *(set_ or ())]).prepare
    if sum(option is not None for option in (part, join, ray)) > 1:
        raise typer.BadParameter("--part, --join and --ray exclude each other")
    if part is not None:
        number, slash, parts = part.partition("/")
        if not (slash and number.isdecimal() and parts.isdecimal() and len(part) < 12):
            raise typer.BadParameter(f"--part {part}: expected N/PARTS, such as 0/8")
        place = stages.INGESTED / f"parts-of-{parts}" / str(int(number))
        print(stages.prepare_part(section, int(number), int(parts), place))
    elif join is not None:
        places = [stages.INGESTED / f"parts-of-{join}" / str(number) for number in range(join)]
        print(stages.join_parts(section, places))
    else:
        print(stages.prepare(section) if ray is None else stages.prepare_over_ray(section, ray))


@app.command(epilog="Example: sap2 lists -S lists.source=rare-words -S lists.distractors=500")
def lists(params: ParamsOption = PARAMS, profile: ProfileOption = None, set_: SetOption = None) -> None:
    """Give each utterance its keyword list.

    The manifests of data/prepared go to data/lists, with the corpus's keywords or rare words and distractors."""
    from sap2 import stages

    print(stages.lists(_load(params, profile, set_).lists))


@app.command(epilog="Example: sap2 fetch librispeech --split dev-clean --split test-clean --to /data/LibriSpeech")
def fetch(
    corpus: Annotated[
        Literal["librispeech", "slidespeech", "sap2-metadata"], typer.Argument(metavar="CORPUS", help="What to fetch.")
    ],
    to: Annotated[Path, typer.Option(metavar="DIR", help="Where to.")],
    split: Annotated[
        list[str] | None, typer.Option(metavar="PART", help="A part of LibriSpeech; else all. Repeatable.")
    ] = None,
    mirror: Annotated[
        str, typer.Option(metavar="URL", help="LibriSpeech: a mirror of OpenSLR's resources.")
    ] = "https://www.openslr.org/resources",
) -> None:
    """Fetch a published corpus and check it.

    Space is estimated first; a download that was cut goes on where it was, is checked, and unpacked safely. Of
    SlideSpeech it is all but the recordings, which https://www.openslr.org/144 has."""
    from sap2.data import fetch as room

    if corpus == "librispeech":
        found = room.fetch_librispeech(to, split or list(room.LIBRISPEECH_MD5), mirror)
    elif split:
        raise typer.BadParameter("--split is for librispeech; the others come whole")
    else:
        found = room.fetch_slidespeech(to) if corpus == "slidespeech" else room.fetch_metadata(to)
    print(f"fetch: {', '.join(map(str, found))}")


@app.command(epilog="Example: sap2 export data/lists/train.jsonl train.jsonl --lists full")
def export(
    manifest: Annotated[Path, typer.Argument(metavar="MANIFEST", help="Utterances of data/lists or data/pruned.")],
    output: Annotated[Path, typer.Argument(metavar="OUT", help="The JSONL to write.")],
    format_: Annotated[Literal["swift"], typer.Option("--format", help="ms-swift messages.")] = "swift",
    stage: Annotated[
        Literal["pruner", "recogniser"], typer.Option(help="Whose prompt and answer a row holds.")
    ] = "recogniser",
    lists: Annotated[Literal["full", "spoken", "predicted"], typer.Option(help="The keywords in the prompt.")] = "full",
) -> None:
    """Write a manifest as message rows for ms-swift.

    `prepare.source: swift` reads the recogniser's rows back as the same utterances."""
    from sap2.data.swift import export as write

    print(f"export: wrote {write(manifest, output, stage, lists)} rows to {output}")


@app.command(epilog="Example: sap2 base -S base.path=Qwen/Qwen2-Audio-7B-Instruct")
def base(params: ParamsOption = PARAMS, profile: ProfileOption = None, set_: SetOption = None) -> None:
    """Put the speech language model in models/base."""
    from sap2 import stages

    print(stages.base(_load(params, profile, set_).base))


@app.command(epilog="Example: sap2 train-pruner -S pruner.epochs=2")
def train_pruner(params: ParamsOption = PARAMS, profile: ProfileOption = None, set_: SetOption = None) -> None:
    """Train models/pruner, which selects keywords.

    It hears the speech, reads the list and names the keywords that are spoken."""
    from sap2 import stages

    loaded = _load(params, profile, set_)
    print(stages.train_pruner(loaded.pruner, loaded.model, loaded.lora, loaded.tracking))


@app.command(epilog="Example: sap2 prune -S pruning.batch_size=32")
def prune(params: ParamsOption = PARAMS, profile: ProfileOption = None, set_: SetOption = None) -> None:
    """Add the pruner's answers to the manifests.

    Every split goes to data/pruned, each utterance with the keywords that the pruner heard in `predicted`; those of
    train only with pruning.train."""
    from sap2 import stages

    print(stages.prune(_load(params, profile, set_).pruning))


@app.command(epilog="Example: sap2 train-recogniser -S recogniser.lists=oracle")
def train_recogniser(params: ParamsOption = PARAMS, profile: ProfileOption = None, set_: SetOption = None) -> None:
    """Train models/recogniser, which transcribes.

    It hears the speech and reads the few keywords that are left of the list."""
    from sap2 import stages

    loaded = _load(params, profile, set_)
    print(stages.train_recogniser(loaded.recogniser, loaded.model, loaded.lora, loaded.tracking))


@app.command(epilog="Example: sap2 decode -S inference.num_beams=4")
def decode(params: ParamsOption = PARAMS, profile: ProfileOption = None, set_: SetOption = None) -> None:
    """Transcribe the test split into results.

    Once a context: without keywords, with the whole list, with the pruned one and with the oracle."""
    from sap2 import stages

    print(stages.decode(_load(params, profile, set_).inference))


@app.command(epilog="Example: sap2 evaluate -S evaluation.definition=slidespeech")
def evaluate(params: ParamsOption = PARAMS, profile: ProfileOption = None, set_: SetOption = None) -> None:
    """Score the results; table and report in reports.

    WER, U-WER, B-WER and keyword scores for every context: metrics.json, table.md, plots and report.html."""
    from sap2 import stages

    print(stages.evaluate(_load(params, profile, set_).evaluation))


@app.command(epilog="Example: MLFLOW_TRACKING_URI=http://mlflow:5000 sap2 register")
def register(params: ParamsOption = PARAMS, profile: ProfileOption = None, set_: SetOption = None) -> None:
    """Log the run and register the model in MLflow.

    Params, metrics, plots, report and hashes become a run, the models a new version with its scores as tags."""
    from sap2 import stages

    print(stages.register(_load(params, profile, set_)))


@app.command(epilog="Example: sap2 resend models/.checkpoints/pruner-run.1a2b3c4d.unsent.jsonl")
def resend(
    files: Annotated[
        list[Path] | None, typer.Argument(metavar="FILE", help="What a run kept; else all in models/.checkpoints.")
    ] = None,
    params: ParamsOption = PARAMS,
    profile: ProfileOption = None,
    set_: SetOption = None,
) -> None:
    """Send MLflow what runs could not.

    A training whose server is away goes on and keeps its curve in a file; `sap2 register` sends it, too."""
    from sap2.stages import CHECKPOINTS
    from sap2.tracking.runs import UNSENT
    from sap2.tracking.runs import resend as send

    runs = send(_load(params, profile, set_).tracking, files or sorted(CHECKPOINTS.glob(f"*{UNSENT}")))
    print(f"resend: {', '.join(runs) or 'nothing was kept'}")


@app.command(epilog="Example: sap2 promote 7 --force 'the champion fails on German names'")
def promote(
    version: Annotated[
        str, typer.Argument(metavar="VERSION", help="Number or alias; the challenger is the newest one registered.")
    ] = "challenger",
    force: Annotated[
        str | None, typer.Option(metavar="REASON", help="Promote whatever the rules say, and record why.")
    ] = None,
    params: ParamsOption = PARAMS,
    profile: ProfileOption = None,
    set_: SetOption = None,
) -> None:
    """Make a version the champion, if the gate holds.

    It is held against the champion on the same test set, by the rules in the section `gate`: B-WER better by more than
    noise, WER and U-WER no worse than a margin, false alarms and time within limits. A refusal exits 3."""
    from sap2 import stages

    loaded = _load(params, profile, set_)
    summary = stages.promote(loaded.gate, loaded.evaluation, loaded.tracking, version, force)
    print(summary)
    if not summary.facts["promoted"]:
        raise typer.Exit(REFUSED)


@app.command(epilog="Example: sap2 rollback --reason 'mishears numbers'")
def rollback(
    reason: Annotated[str, typer.Option(metavar="REASON", help="Why; kept with the version that goes.")] = "",
    params: ParamsOption = PARAMS,
    profile: ProfileOption = None,
    set_: SetOption = None,
) -> None:
    """Make the previous champion the champion again."""
    from sap2.tracking.promotion import rollback as roll_back

    was, now = roll_back(_load(params, profile, set_).tracking, reason)
    print(f"rollback: champion was version {was}, is version {now}")


@app.command(epilog="Example: sap2 models --profile qwen2-audio-7b")
def models(params: ParamsOption = PARAMS, profile: ProfileOption = None, set_: SetOption = None) -> None:
    """List the registered versions, scores and aliases."""
    from sap2.tracking.promotion import versions, versions_table

    loaded = _load(params, profile, set_)
    print(versions_table(versions(loaded.tracking), loaded.gate.context))


@app.command(epilog="Example: sap2 reproduce models:/sap2-asr@champion --run")
def reproduce(
    which: Annotated[str, typer.Argument(metavar="RUN", help="A run's id, a version's number, or models:/….")],
    run: Annotated[bool, typer.Option("--run", help="Carry the commands out, not only print them.")] = False,
    params: ParamsOption = PARAMS,
    profile: ProfileOption = None,
    set_: SetOption = None,
) -> None:
    """Print the commands that make a run again.

    With its commit and changes, its params, and the hashes of its data: a shell script. Each run gets a work tree of
    its own beside this repository."""
    from sap2.tracking.reproduce import recipe
    from sap2.tracking.reproduce import run as carry_out

    found = recipe(_load(params, profile, set_).tracking, which)
    print(found)
    if run:
        carry_out(found)


@app.command(epilog='Example: sap2 transcribe talk.wav --keywords "Meyer, Kathryn, Zorvan" --show-keywords')
def transcribe(
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE", help="WAV, FLAC, MP3 or Ogg, any rate; with slides MP4 too.")
    ],
    keywords: Annotated[str | None, typer.Option(metavar="LIST", help="Words to expect, separated by commas.")] = None,
    keywords_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Words to expect, one a line or separated by commas.")
    ] = None,
    model: Annotated[
        str, typer.Option(metavar="DIR", help="Folder with base, pruner and recogniser, or models:/NAME/VERSION.")
    ] = "models",
    pruner_model: Annotated[
        str | None,
        typer.Option(metavar="DIR", help="A whole checkpoint for stage 1; --model is then one for stage 2."),
    ] = None,
    show_keywords: Annotated[
        bool, typer.Option("--show-keywords", help="Say which words of the list were found.")
    ] = False,
    max_segment: Annotated[
        float | None,
        typer.Option(min=1, callback=_finite, help="Seconds of the parts of a long recording, at most 30."),
    ] = None,
    segment_overlap: Annotated[
        float | None, typer.Option(min=0, callback=_finite, help="Seconds two parts share where no pause is in reach.")
    ] = None,
    slides: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="What was shown: as `sap2 keywords` takes it, or its list. Repeatable."),
    ] = None,
    slide_times: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Lines of time and page, or a video with a chapter a page.")
    ] = None,
    slide_context: Annotated[
        int, typer.Option(min=0, metavar="K", help="Pages before and after those shown whose keywords are listed too.")
    ] = 2,
    language: Annotated[str, typer.Option(metavar="CODE", help="Of the slides: en, de, fr, …")] = "en",
    explain: Annotated[
        bool, typer.Option("--explain", help="With slides: list, stage 1's choice, and text without it, by segment.")
    ] = False,
    journal: Annotated[
        Path | None, typer.Option(metavar="FILE", help="With slides: segments done go there; the next run goes on.")
    ] = None,
    format_: Annotated[
        Literal["text", "json", "srt", "vtt", "md"],
        typer.Option("--format", help="json has a line a recording; md, with slides, marks each keyword."),
    ] = "text",
) -> None:
    """Print the text of recordings, with a keyword list.

    With slides each segment of a talk gets the keywords of what was shown meanwhile, by --slide-times, the recording's
    chapter marks where it has one a page, or else what is said:
    sap2 transcribe talk.wav --slides deck.pdf --format md"""
    from sap2 import stages
    from sap2.data.biasing import read_list
    from sap2.serving.formats import subtitles, verbose

    if slides:
        if len(files) > 1:
            raise typer.BadParameter(f"expected one recording with --slides, got {len(files)}")
        from sap2.serving.talks import rendered

        talk, notices = stages.transcribe_talk(
            files[0], slides, read_list(keywords, keywords_file), slide_times, slide_context, language, explain,
            journal, model, pruner_model, max_segment, segment_overlap,
        )  # fmt: skip
        for notice in notices:
            print(f"sap2: {notice}", file=sys.stderr)
        print(rendered(talk, files[0].name, format_, explain, show_keywords), end="")
        return
    if slide_times or explain or journal or format_ == "md":
        raise typer.BadParameter("--slide-times, --explain, --journal and --format md go with --slides")
    if format_ in ("srt", "vtt") and len(files) > 1:
        raise typer.BadParameter(f"expected one recording for --format {format_}, got {len(files)}")
    listed = read_list(keywords, keywords_file)
    failed = 0
    for path, outcome in stages.transcribe_files(files, listed, model, pruner_model, max_segment, segment_overlap):
        if isinstance(outcome, InputError):
            print(f"sap2: {outcome}", file=sys.stderr)
            failed += 1
            continue
        if format_ == "json":
            print(json.dumps({"file": str(path)} | verbose(outcome), ensure_ascii=False))
            continue
        if format_ in ("srt", "vtt"):
            print(subtitles(outcome, format_))
            continue
        print(f"{path}: {outcome.text}" if len(files) > 1 else outcome.text)
        if show_keywords:
            print(f"  keywords found: {', '.join(outcome.found) or 'none'}")
    if failed:
        raise typer.Exit(1)


@app.command(epilog="Example: sap2 keywords deck.pdf speakers.csv > keywords.tsv")
def keywords(
    files: Annotated[
        list[Path],
        typer.Argument(metavar="FILE", help="PDF, PPTX, picture, Markdown, HTML, text, BibTeX, or CSV of people."),
    ],
    language: Annotated[
        str, typer.Option(metavar="CODE", help="Of the slides; tells which words are rare: en, de, fr, …")
    ] = "en",
    format_: Annotated[Literal["tsv", "json"], typer.Option("--format", help="Both can be edited and read back.")] = (
        "tsv"
    ),
) -> None:
    """Print the keywords of slides, with page and reason.

    Names, acronyms, products' spellings and rare words, page by page. Pages without text are read by OCR. Pages of
    several files count on. Edit the list, then: sap2 transcribe talk.wav --slides keywords.tsv"""
    from sap2.slides.keywords import keywords_json, keywords_tsv, slides_keywords

    found = slides_keywords(files, language)
    for notice in found.notices:
        print(f"sap2: {notice}", file=sys.stderr)
    print((keywords_tsv if format_ == "tsv" else keywords_json)(found.keywords), end="")


@app.command(epilog="Example: sap2 demo --port 8080")
def demo(
    model: Annotated[str, typer.Option(metavar="MODEL", help="As `sap2 transcribe` takes it.")] = "models",
    port: Annotated[int, typer.Option(min=1, max=65535)] = 7860,
    max_segment: Annotated[
        float | None,
        typer.Option(min=1, callback=_finite, help="Seconds of the parts of a long recording, at most 30."),
    ] = None,
) -> None:
    """Open a page to try talks with slides.

    On this machine alone: upload a recording and slides, see and hear the names, edit the keywords, run again,
    download."""
    from sap2 import stages

    stages.demo(model, port, max_segment)


@app.command(epilog="Example: sap2 serve --model models:/sap2-asr@champion")
def serve(
    model: Annotated[
        str,
        typer.Option(metavar="MODEL", help="models:/NAME@ALIAS (followed), models:/NAME/VERSION, or a folder."),
    ] = "models",
    host: Annotated[str, typer.Option(help="Where to listen; beyond this machine only with SAP2_API_KEY set.")] = (
        "127.0.0.1"
    ),
    port: Annotated[int, typer.Option(min=1, max=65535)] = 8000,
    max_batch: Annotated[int, typer.Option(min=1, help="Recordings recognised together; 1 = none.")] = 16,
    queue: Annotated[int, typer.Option(min=1, help="Recordings that may wait; then 429.")] = 64,
    timeout: Annotated[
        float, typer.Option(min=1, callback=_finite, help="Seconds from a request to its answer.")
    ] = 120.0,
    max_mb: Annotated[int, typer.Option("--max-mb", min=1, help="Megabytes of a request.")] = 64,
    max_minutes: Annotated[float, typer.Option(min=0.1, callback=_finite, help="Minutes of a recording.")] = 10.0,
    max_keywords: Annotated[int, typer.Option(min=0, help="Keywords of a list.")] = 2000,
    poll: Annotated[
        float, typer.Option(min=0.1, callback=_finite, help="Seconds between two looks at the alias.")
    ] = 5.0,
    keep: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Keep recordings, lists and texts, for monitor and feedback.")
    ] = None,
    params: ParamsOption = PARAMS,
    profile: ProfileOption = None,
    set_: SetOption = None,
) -> None:
    """Serve a model by OpenAI's transcription API.

    POST /v1/audio/transcriptions takes a recording and a keyword list; /docs describes it, /healthz, /readyz and
    /metrics are for operation. A new champion is taken without a pause. Keys of clients: SAP2_API_KEY."""
    from sap2.params import InferenceSection, TrackingSection
    from sap2.serving.limits import Limits
    from sap2.serving.server import serve as run

    tracking, inference = TrackingSection(), InferenceSection()
    if params.is_file():
        loaded = _load(params, profile, set_)
        tracking, inference = loaded.tracking, loaded.inference
    limits = Limits(
        max_bytes=max_mb << 20,
        max_duration=max_minutes * 60,
        max_keywords=max_keywords,
        timeout=timeout,
        queue=queue,
        max_batch=max_batch,
    )
    run(model, tracking, limits, host, port, poll, keep, inference)


@app.command(epilog="Example: sap2 monitor served")
def monitor(
    kept: Annotated[Path, typer.Argument(metavar="DIR", help="What `sap2 serve --keep DIR` kept.")],
    params: ParamsOption = PARAMS,
    profile: ProfileOption = None,
    set_: SetOption = None,
) -> None:
    """Show and log how what is served drifts.

    By day: requests with a found keyword, keywords found and kept of those listed, how sure stage 1 is, errors of
    corrected ones. The curves become a run in MLflow."""
    from sap2.serving.keeping import corrections, requests
    from sap2.tracking.monitoring import drift, drift_table, log_drift

    figures = drift(requests(kept), corrections(kept))
    print(drift_table(figures))
    print(f"run: {log_drift(_load(params, profile, set_).tracking, figures)}")


feedback = typer.Typer(no_args_is_help=True, help="Learn from what was served.", rich_markup_mode=None)
app.add_typer(feedback, name="feedback", epilog="Example: sap2 feedback add ID 'ask jon meyer' --kept served")


@feedback.command("add", epilog="Example: sap2 feedback add 4f1c… 'ask jon meyer' --kept served")
def feedback_add(
    id: Annotated[str, typer.Argument(metavar="ID", help="The answer's header x-sap2-id.")],
    text: Annotated[str, typer.Argument(metavar="TEXT", help="What was really said.")],
    kept: Annotated[Path, typer.Option(metavar="DIR", help="What `sap2 serve --keep DIR` kept.")],
    manifest: Annotated[Path, typer.Option(metavar="FILE", help="Manifest that gains the utterance.")] = Path(
        "data/feedback.jsonl"
    ),
) -> None:
    """Add a corrected transcript to a manifest, as training data."""
    from sap2.serving.keeping import add_correction

    added = add_correction(kept, id, text, manifest)
    print(f"{manifest}: {added.id}: {added.text}")


@app.command(epilog="Example: sap2 score hyp.tsv --ref ref.tsv --report report.html")
def score(
    hypothesis: Annotated[Path, typer.Argument(metavar="HYP", help="What the system wrote.")],
    ref: RefOption = None,
    lists: ListsOption = None,
    definition: DefinitionOption = "deep-bias",
    normaliser: NormaliserOption = "none",
    missing_as_deletions: MissingOption = False,
    training: TrainingOption = None,
    unit: UnitOption = "auto",
    samples: SamplesOption = 1000,
    seed: SeedOption = 1,
    json_: JsonOption = None,
    report: ReportOption = None,
) -> None:
    """Score a file: WER, U-WER, B-WER, keywords, intervals.

    Files are told by their content: deep-bias TSV (id, text, rare words, list), our manifests and results, ms-swift
    results, Kaldi text, trn. Utterances are matched by id; missing, extra and double ids are errors."""
    _without_garbage_collection()
    from sap2.evaluation import score_files
    from sap2.evaluation.output import scores_json, scores_text

    scores = score_files(
        [hypothesis],
        ref,
        lists,
        training=training,
        definition=definition,
        normaliser=normaliser,
        samples=samples,
        seed=seed,
        unit=unit,
        missing_as_deletions=missing_as_deletions,
    )
    # Files first: a reader of the text may go away early, as `head` does.
    _write_json(json_, lambda: scores_json(scores))
    _write_report(report, scores)
    print(scores_text(scores))


@app.command(epilog="Example: sap2 compare baseline.trn ours.trn --ref ref.tsv")
def compare(
    hypotheses: Annotated[list[Path], typer.Argument(metavar="A B...", help="What two or more systems wrote.")],
    ref: RefOption = None,
    lists: ListsOption = None,
    definition: DefinitionOption = "deep-bias",
    normaliser: NormaliserOption = "none",
    missing_as_deletions: MissingOption = False,
    unit: UnitOption = "auto",
    samples: SamplesOption = 1000,
    seed: SeedOption = 1,
    json_: JsonOption = None,
    report: ReportOption = None,
) -> None:
    """Compare systems: differences, intervals, p, changes.

    Each of B... is held against A, on the same utterances and draws; then the utterances and keywords that changed
    sides."""
    _without_garbage_collection()
    from sap2.evaluation import compare as compare_systems
    from sap2.evaluation import score_files
    from sap2.evaluation.output import comparison_json, comparison_text, made_how

    if len(hypotheses) < 2:
        raise typer.BadParameter("expected two files or more; one alone is scored by `sap2 score`")
    scores = score_files(
        hypotheses,
        ref,
        lists,
        definition=definition,
        normaliser=normaliser,
        samples=samples,
        seed=seed,
        unit=unit,
        missing_as_deletions=missing_as_deletions,
    )
    comparisons = [compare_systems(scores, 0, other) for other in range(1, len(hypotheses))]
    _write_json(json_, lambda: [comparison_json(comparison) for comparison in comparisons])
    _write_report(report, scores)
    for comparison in comparisons:
        print(comparison_text(comparison), end="\n\n")
    print(made_how(scores.settings, len(scores.utterances)))


def _without_garbage_collection() -> None:
    """Scoring makes millions of objects and no cycles: looking for some, also at exit, takes a third of the time."""
    import atexit
    import gc

    gc.disable()
    atexit.register(gc.freeze)


def _write_json(path: Path | None, make: Callable[[], Any]) -> None:
    if path is not None:
        from sap2.files import atomic_file

        with atomic_file(path) as partial:
            partial.write_text(json.dumps(make(), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _write_report(path: Path | None, scores: "Scores") -> None:
    if path is not None:
        from sap2.evaluation.report import render_report
        from sap2.files import atomic_file

        with atomic_file(path) as partial:
            partial.write_text(render_report(scores), encoding="utf-8")


@app.command(epilog="Example: sap2 plan --profile qwen2-audio-7b --gpus 8")
def plan(
    gpus: Annotated[int | None, typer.Option(metavar="N", help="Processes, one a GPU; else nproc of params.")] = None,
    manifest: Annotated[
        Path, typer.Option(metavar="FILE", help="Training manifest to measure; lengths are assumed without one.")
    ] = MANIFEST,
    utterances: Annotated[
        int | None, typer.Option(metavar="N", help="Training utterances; else those of the manifest.")
    ] = None,
    tflops: Annotated[float, typer.Option(help="Peak of one GPU, 10^12 operations a second (A100: 312).")] = 312.0,
    params: ParamsOption = PARAMS,
    profile: ProfileOption = None,
    set_: SetOption = None,
) -> None:
    """Say what a training would need.

    Parameters, GPU memory by ZeRO stage, tokens, steps and time, without a download and with its assumptions."""
    from sap2.training.plan import plan_training

    if manifest != MANIFEST and not manifest.is_file():
        raise InputError(f"{manifest}: no such manifest; correct --manifest, or leave it out")
    print(plan_training(_load(params, profile, set_), gpus, manifest, tflops, utterances))


pipeline = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Kubeflow pipelines: compile, run here, submit.\n\nThe stages as containers in a cluster, or here.",
    epilog="Example: sap2 pipeline run --local --profile test",
)
app.add_typer(pipeline, name="pipeline")
PipelineArgument = Annotated[
    Literal["train-and-evaluate", "evaluate-only", "transcribe-batch"],
    typer.Argument(metavar="PIPELINE", help="train-and-evaluate, evaluate-only or transcribe-batch."),
]
ArgumentOption = Annotated[
    list[str] | None,
    typer.Option("--argument", "-a", metavar="KEY=VALUE", help="A parameter of the pipeline, as talks=/data/talks."),
]
WHOLE_FLOW = "train-and-evaluate"


@pipeline.command("compile", epilog="Example: sap2 pipeline compile --profile qwen2-audio-7b -o flow.yaml")
def compile_(
    name: PipelineArgument = WHOLE_FLOW,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Else PIPELINE-PROFILE.yaml.")
    ] = None,
    params: ParamsOption = PARAMS,
    profile: ProfileOption = None,
    set_: SetOption = None,
) -> None:
    """Write a pipeline as YAML for Kubeflow.

    The profile's sections are the defaults of its parameters, the section `resources` is built in."""
    from pipelines.running import compile_pipeline

    loaded = _load(params, profile, set_)
    print(f"wrote {compile_pipeline(name, loaded, output or Path(f'{name}-{loaded.profile}.yaml'))}")


@pipeline.command("run", epilog="Example: sap2 pipeline run --local --profile test --folder kubeflow")
def run_pipeline(
    name: PipelineArgument = WHOLE_FLOW,
    local: Annotated[bool, typer.Option("--local", help="On this machine, by KFP's local runner.")] = False,
    folder: Annotated[
        Path, typer.Option(metavar="DIR", help="For the compiled pipeline, artifacts, cache and checkpoints.")
    ] = Path("kubeflow"),
    cache: Annotated[bool, typer.Option(help="Take outputs of equal steps in earlier runs.")] = True,
    argument: ArgumentOption = None,
    params: ParamsOption = PARAMS,
    profile: ProfileOption = None,
    set_: SetOption = None,
) -> None:
    """Run a pipeline on this machine, as it is compiled.

    A step that fails is tried again as in a cluster, a training that was interrupted goes on from its checkpoint."""
    if not local:
        raise typer.BadParameter(
            "expected --local; in a cluster a pipeline is run by `sap2 pipeline submit --host URL`"
        )
    from pipelines.running import run_locally

    loaded = _load(params, profile, set_)
    run_locally(name, loaded, folder, argument or (), cache)
    print(f"{name}: done; artifacts are in {folder / 'artifacts'}")


@app.command(epilog="Example: sap2 trainjob --profile qwen2-audio-7b --nodes 2 > job.yaml")
def trainjob(
    nodes: Annotated[
        int | None,
        typer.Option(
            min=1, metavar="N", help="Each with resources.training_accelerators; else resources.training_nodes."
        ),
    ] = None,
    stage: Annotated[Literal["pruner", "recogniser"], typer.Option(help="Which of the two trainings.")] = "pruner",
    name: Annotated[str | None, typer.Option(metavar="NAME", help="Of the job; else sap2-STAGE-PROFILE.")] = None,
    run: Annotated[
        bool, typer.Option("--run", help="Run it in kubectl's cluster: follow its logs, delete it at the end.")
    ] = False,
    namespace: Annotated[str, typer.Option(metavar="NAME", help="With --run: where.")] = "kubeflow",
    params: ParamsOption = PARAMS,
    profile: ProfileOption = None,
    set_: SetOption = None,
) -> None:
    """Print a Kubeflow TrainJob, on several nodes, or run it.

    Its nodes share the volume resources.checkpoints: what earlier stages made lies in its folder `flow`, as in a
    repository, and the adapter appears there. The runtime is in deploy/pipelines."""
    from pipelines.trainjob import trainjob as manifest
    from pipelines.trainjob import trainjob_yaml

    loaded = _load(params, profile, set_)
    wanted = loaded, stage, nodes or loaded.resources.training_nodes, name, set_ or ()
    if not run:
        print(trainjob_yaml(*wanted), end="")
        return
    from components.nodes import run_trainjob

    run_trainjob(manifest(*wanted), namespace, lambda line: print(line, file=sys.stderr))


HostOption = Annotated[
    str | None,
    typer.Option(
        metavar="URL", envvar="KF_PIPELINES_ENDPOINT", help="Address of Kubeflow Pipelines. A login: SAP2_KFP_TOKEN."
    ),
]
NamespaceOption = Annotated[
    str | None, typer.Option(metavar="NAME", help="Whose runs, where several users share the cluster.")
]


@pipeline.command(epilog="Example: sap2 pipeline submit --host http://localhost:8080 --profile qwen2-audio-7b --wait")
def submit(
    name: PipelineArgument = WHOLE_FLOW,
    host: HostOption = None,
    namespace: NamespaceOption = None,
    experiment: Annotated[
        str | None, typer.Option(metavar="NAME", help="One that exists; else that of the section tracking, made new.")
    ] = None,
    argument: ArgumentOption = None,
    wait: Annotated[bool, typer.Option("--wait", help="Follow the run; exit 1 when it fails.")] = False,
    params: ParamsOption = PARAMS,
    profile: ProfileOption = None,
    set_: SetOption = None,
) -> None:
    """Upload a version to a cluster and start a run.

    A version that is there already is used again. The run's page is printed."""
    loaded = _load(params, profile, set_)
    cluster = _cluster(host, namespace)
    run = cluster.submit(name, loaded, experiment, argument or ())
    print(run)
    print(f"sap2 pipeline status {run.id} --host {cluster.host}", file=sys.stderr)
    if wait:
        _follow(cluster, run.id)


@pipeline.command(epilog="Example: sap2 pipeline status 5f2c9a --host http://localhost:8080 --wait")
def status(
    run: Annotated[str, typer.Argument(metavar="RUN", help="Its id, as submit prints it.")],
    host: HostOption = None,
    namespace: NamespaceOption = None,
    wait: Annotated[bool, typer.Option("--wait", help="Follow the run; exit 1 when it fails.")] = False,
) -> None:
    """Say what has become of a run, step by step."""
    cluster = _cluster(host, namespace)
    if wait:
        _follow(cluster, run)
    else:
        print(cluster.run(run))


def _cluster(host: str | None, namespace: str | None) -> Any:
    if not host:
        raise typer.BadParameter(
            "expected the address of Kubeflow Pipelines; give --host http://localhost:8080 after "
            "`kubectl port-forward -n kubeflow svc/ml-pipeline-ui 8080:80`, or set KF_PIPELINES_ENDPOINT"
        )
    from pipelines.remote import Cluster

    return Cluster(host, namespace)


def _follow(cluster: Any, run_id: str) -> None:
    run = cluster.follow(run_id, lambda line: print(line, file=sys.stderr))
    print(run)
    if run.state not in ("SUCCEEDED", "SKIPPED"):
        raise typer.Exit(1)


def _load(path: Path, profile: str | None, overrides: list[str] | None) -> "Params":
    from sap2.params import load_params

    return load_params(path, profile, overrides or ())
