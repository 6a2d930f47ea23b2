"""The stages of dvc.yaml, and what surrounds them: corpora in, message rows out."""

import json
from pathlib import Path
from typing import Annotated, Literal

import typer

from sap2.cli.options import PARAMS, ParamsOption, ProfileOption, SetOption, load

app = typer.Typer()


@app.command(epilog="Example: sap2 prepare --source librispeech --root /data/LibriSpeech")
def prepare(
    source: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="As prepare.source; or a folder of recordings with one TSV (id, text, keywords)."
        ),
    ] = None,
    root: Annotated[str | None, typer.Option(metavar="DIR", help="Where that source lies.")] = None,
    part: Annotated[
        str | None, typer.Option(metavar="N/PARTS", help="Do part N (0/8 to 7/8) alone, on a machine of its own.")
    ] = None,
    join: Annotated[int | None, typer.Option(min=1, metavar="PARTS", help="Put the parts together.")] = None,
    ray: Annotated[
        int | None,
        typer.Option(min=1, metavar="PARTS", help="Split the work into PARTS tasks on the Ray cluster at RAY_ADDRESS."),
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
    section = load(params, profile, [*chosen, *(set_ or ())]).prepare
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

    print(stages.lists(load(params, profile, set_).lists))


@app.command(epilog="Example: sap2 fetch librispeech --split dev-clean --split test-clean --to /data/LibriSpeech")
def fetch(
    corpus: Annotated[
        Literal["librispeech", "slidespeech", "sap2-metadata"], typer.Argument(metavar="CORPUS", help="What to fetch.")
    ],
    to: Annotated[Path, typer.Option(metavar="DIR", help="Where to.")],
    split: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PART",
            help="A part of LibriSpeech or Mini LibriSpeech (train-clean-5, dev-clean-2); default: all of LibriSpeech.",
        ),
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
        whole = [part for part in room.LIBRISPEECH_MD5 if part not in room.MINI_LIBRISPEECH]
        found = room.fetch_librispeech(to, split or whole, mirror)
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

    print(stages.base(load(params, profile, set_).base))


@app.command(epilog="Example: sap2 train-pruner -S pruner.epochs=2")
def train_pruner(params: ParamsOption = PARAMS, profile: ProfileOption = None, set_: SetOption = None) -> None:
    """Train models/pruner, which selects keywords.

    It hears the speech, reads the list and names the keywords that are spoken."""
    from sap2 import stages

    loaded = load(params, profile, set_)
    accelerators = loaded.resources.training_accelerators or None
    print(stages.train_pruner(loaded.pruner, loaded.model, loaded.lora, loaded.tracking, accelerators=accelerators))


@app.command(epilog="Example: sap2 prune -S pruning.batch_size=32")
def prune(params: ParamsOption = PARAMS, profile: ProfileOption = None, set_: SetOption = None) -> None:
    """Add the pruner's answers to the manifests.

    Every split goes to data/pruned, each utterance with the keywords that the pruner heard in `predicted`; those of
    train only with pruning.train."""
    from sap2 import stages

    loaded = load(params, profile, set_)
    print(stages.prune(loaded.pruning, runtime=loaded.runtime))


@app.command(epilog="Example: sap2 train-recogniser -S recogniser.lists=oracle")
def train_recogniser(params: ParamsOption = PARAMS, profile: ProfileOption = None, set_: SetOption = None) -> None:
    """Train models/recogniser, which transcribes.

    It hears the speech and reads the few keywords that are left of the list."""
    from sap2 import stages

    loaded = load(params, profile, set_)
    accelerators = loaded.resources.training_accelerators or None
    print(
        stages.train_recogniser(
            loaded.recogniser, loaded.model, loaded.lora, loaded.tracking, accelerators=accelerators
        )
    )


@app.command(epilog="Example: sap2 decode -S inference.num_beams=4")
def decode(params: ParamsOption = PARAMS, profile: ProfileOption = None, set_: SetOption = None) -> None:
    """Transcribe the test split into results.

    Once a context: without keywords, with the whole list, with the pruned one and with the oracle."""
    from sap2 import stages

    loaded = load(params, profile, set_)
    print(stages.decode(loaded.inference, runtime=loaded.runtime))


@app.command(epilog="Example: sap2 settings")
def settings() -> None:
    """Write models/settings.json, by which the models decode.

    The settings that `sap2 prune` and `sap2 decode` ran with, the tuned threshold among them. `sap2 transcribe`,
    `serve`, `demo` and `register` read it."""
    from sap2 import stages

    print(stages.settings())


@app.command(epilog="Example: sap2 evaluate -S evaluation.definition=slidespeech")
def evaluate(params: ParamsOption = PARAMS, profile: ProfileOption = None, set_: SetOption = None) -> None:
    """Score the results; table and report in reports.

    WER, U-WER, B-WER and keyword scores for every context: metrics.json, table.md, plots and report.html."""
    from sap2 import stages

    print(stages.evaluate(load(params, profile, set_).evaluation))


@app.command(epilog="Example: MLFLOW_TRACKING_URI=http://mlflow:5000 sap2 register")
def register(params: ParamsOption = PARAMS, profile: ProfileOption = None, set_: SetOption = None) -> None:
    """Log the run and register the model in MLflow.

    Params, metrics, plots, report and hashes become a run, the models a new version with its scores as tags."""
    from sap2 import stages

    print(stages.register(load(params, profile, set_)))
