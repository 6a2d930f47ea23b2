"""The command line: a command parses, calls one stage, prints its summary.

Results go to stdout, progress and logs to stderr. Exit codes: 0 done, 1 unusable input or params, 2 bad usage.
Heavy rooms are imported inside the commands: `sap2 --help` answers at once.
"""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sap2 import __version__
from sap2.errors import InputError, SapError

if TYPE_CHECKING:
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


def main() -> None:
    """Run the command line; an error a user can act on becomes one line on stderr and exit code 1."""
    try:
        app(prog_name="sap2")
    except SapError as error:
        print(f"sap2: {' '.join(str(error).split())}", file=sys.stderr)
        raise SystemExit(1) from None


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"sap2 {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


@app.command(epilog="Example: sap2 prepare --source my-talks")
def prepare(
    source: Annotated[
        str | None,
        typer.Option(metavar="DIR", help="A folder of WAV/FLAC with one TSV (id, text, keywords), or lectures."),
    ] = None,
    params: ParamsOption = PARAMS,
    profile: ProfileOption = None,
    set_: SetOption = None,
) -> None:
    """Make the manifests, audio and keyword lists.

    They go to data/prepared: train, dev and test.jsonl, audio, quarantine.jsonl and card.json."""
    from sap2 import stages

    chosen = [] if source is None else [f"prepare.source={json.dumps(source)}"]
    print(stages.prepare(_load(params, profile, [*(set_ or ()), *chosen]).prepare))


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

    Every split goes to data/pruned, each utterance with the keywords that the pruner heard in `predicted`."""
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


@app.command(epilog='Example: sap2 transcribe talk.wav --keywords "Meyer, Kathryn, Zorvan" --show-keywords')
def transcribe(
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE", help="WAV, FLAC, MP3 or Ogg; any rate, mono or stereo.")
    ],
    keywords: Annotated[str | None, typer.Option(metavar="LIST", help="Words to expect, separated by commas.")] = None,
    keywords_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Words to expect, one a line or separated by commas.")
    ] = None,
    model: Annotated[
        str, typer.Option(metavar="DIR", help="Folder with base, pruner and recogniser, or models:/NAME/VERSION.")
    ] = "models",
    show_keywords: Annotated[
        bool, typer.Option("--show-keywords", help="Say which words of the list were found.")
    ] = False,
) -> None:
    """Print the text of recordings, with a keyword list."""
    from sap2 import stages
    from sap2.data.biasing import read_list

    listed = read_list(keywords, keywords_file)
    failed = 0
    for path, outcome in stages.transcribe_files(files, listed, model):
        if isinstance(outcome, InputError):
            print(f"sap2: {outcome}", file=sys.stderr)
            failed += 1
            continue
        print(f"{path}: {outcome.text}" if len(files) > 1 else outcome.text)
        if show_keywords:
            print(f"  keywords found: {', '.join(outcome.found) or 'none'}")
    if failed:
        raise typer.Exit(1)


@app.command(epilog="Example: sap2 plan --profile qwen2-audio-7b --gpus 8")
def plan(
    gpus: Annotated[int | None, typer.Option(metavar="N", help="Processes, one a GPU; else nproc of params.")] = None,
    manifest: Annotated[
        Path, typer.Option(metavar="FILE", help="Training manifest to measure; lengths are assumed without it.")
    ] = Path("data/prepared/train.jsonl"),
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

    print(plan_training(_load(params, profile, set_), gpus, manifest, tflops, utterances))


def _load(path: Path, profile: str | None, overrides: list[str] | None) -> "Params":
    from sap2.params import load_params

    return load_params(path, profile, overrides or ())
