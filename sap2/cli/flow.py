"""The stages of dvc.yaml, fetching of corpora, and export of message rows."""

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
            metavar="NAME", help="As prepare.source, or a folder of recordings with a TSV (id, text, keywords)."
        ),
    ] = None,
    root: Annotated[str | None, typer.Option(metavar="DIR", help="The source's folder.")] = None,
    part: Annotated[
        str | None,
        typer.Option(metavar="N/PARTS", help="Prepare only part N (0/8 to 7/8), on one of several machines."),
    ] = None,
    join: Annotated[int | None, typer.Option(min=1, metavar="PARTS", help="Join the parts.")] = None,
    ray: Annotated[
        int | None,
        typer.Option(min=1, metavar="PARTS", help="Split the work into PARTS tasks on the Ray cluster at RAY_ADDRESS."),
    ] = None,
    params: ParamsOption = PARAMS,
    profile: ProfileOption = None,
    set_: SetOption = None,
) -> None:
    """Prepare the manifests and audio.

    Writes train, dev and test.jsonl, audio, quarantine.jsonl and card.json to data/prepared. To distribute the work,
    run --part on several machines with a shared folder, then --join; or use --ray."""
    from sap2 import stages
    from sap2.params import source_names

    if root is not None and source is None:
        raise typer.BadParameter("--root is the folder of a --source; give --source, too")
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
        folder = stages.INGESTED / f"parts-of-{parts}" / str(int(number))
        print(stages.prepare_part(section, int(number), int(parts), folder))
    elif join is not None:
        folders = [stages.INGESTED / f"parts-of-{join}" / str(number) for number in range(join)]
        print(stages.join_parts(section, folders))
    else:
        print(stages.prepare(section) if ray is None else stages.prepare_over_ray(section, ray))


@app.command(epilog="Example: sap2 lists -S lists.source=rare-words -S lists.distractors=500")
def lists(params: ParamsOption = PARAMS, profile: ProfileOption = None, set_: SetOption = None) -> None:
    """Give each utterance its keyword list.

    Copies the manifests of data/prepared to data/lists, with the corpus's keywords or rare words, and distractors."""
    from sap2 import stages

    print(stages.lists(load(params, profile, set_).lists))


@app.command(epilog="Example: sap2 fetch librispeech --split dev-clean --split test-clean --to /data/LibriSpeech")
def fetch(
    corpus: Annotated[
        Literal["librispeech", "slidespeech", "sap2-metadata"], typer.Argument(metavar="CORPUS", help="The corpus.")
    ],
    to: Annotated[Path, typer.Option(metavar="DIR", help="The folder to write.")],
    split: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PART",
            help="A part of LibriSpeech or Mini LibriSpeech (train-clean-5, dev-clean-2); default: all of LibriSpeech.",
        ),
    ] = None,
    mirror: Annotated[
        str, typer.Option(metavar="URL", help="For LibriSpeech: a mirror of OpenSLR.")
    ] = "https://www.openslr.org/resources",
) -> None:
    """Fetch a published corpus and check it.

    Estimates the space first, resumes interrupted downloads, verifies checksums and unpacks safely. SlideSpeech is
    fetched without its recordings, which are at https://www.openslr.org/144."""
    from sap2.data import fetch as corpora

    if corpus == "librispeech":
        all_parts = [part for part in corpora.LIBRISPEECH_MD5 if part not in corpora.MINI_LIBRISPEECH]
        paths = corpora.fetch_librispeech(to, split or all_parts, mirror)
    elif split:
        raise typer.BadParameter("--split is for librispeech; the other corpora have no parts")
    else:
        paths = corpora.fetch_slidespeech(to) if corpus == "slidespeech" else corpora.fetch_metadata(to)
    print(f"fetch: {', '.join(map(str, paths))}")


@app.command(epilog="Example: sap2 export data/lists/train.jsonl train.jsonl --lists full")
def export(
    manifest: Annotated[Path, typer.Argument(metavar="MANIFEST", help="A manifest of data/lists or data/pruned.")],
    output: Annotated[Path, typer.Argument(metavar="OUT", help="The JSONL to write.")],
    format_: Annotated[Literal["swift"], typer.Option("--format", help="ms-swift messages.")] = "swift",
    stage: Annotated[
        Literal["pruner", "recogniser"], typer.Option(help="The stage whose prompt and answer the rows hold.")
    ] = "recogniser",
    lists: Annotated[Literal["full", "spoken", "predicted"], typer.Option(help="The keywords in the prompt.")] = "full",
) -> None:
    """Write a manifest as message rows for ms-swift.

    `prepare.source: swift` reads the recogniser's rows back as the same utterances."""
    from sap2.data.swift import export as write

    print(f"export: wrote {write(manifest, output, stage, lists)} rows to {output}")


@app.command(epilog="Example: sap2 base -S base.path=Qwen/Qwen2-Audio-7B-Instruct")
def base(params: ParamsOption = PARAMS, profile: ProfileOption = None, set_: SetOption = None) -> None:
    """Install the speech language model in models/base."""
    from sap2 import stages

    print(stages.base(load(params, profile, set_).base))


@app.command(epilog="Example: sap2 train-pruner -S pruner.epochs=2")
def train_pruner(params: ParamsOption = PARAMS, profile: ProfileOption = None, set_: SetOption = None) -> None:
    """Train models/pruner, which selects keywords.

    Given the speech and the keyword list, it answers with the keywords that are spoken."""
    from sap2 import stages

    loaded = load(params, profile, set_)
    accelerators = loaded.resources.training_accelerators or None
    print(stages.train_pruner(loaded.pruner, loaded.model, loaded.lora, loaded.tracking, accelerators=accelerators))


@app.command(epilog="Example: sap2 prune -S pruning.batch_size=32")
def prune(params: ParamsOption = PARAMS, profile: ProfileOption = None, set_: SetOption = None) -> None:
    """Add the pruner's answers to the manifests.

    Writes every split to data/pruned, with each utterance's selected keywords in `predicted`; the train split only
    with pruning.train."""
    from sap2 import stages

    loaded = load(params, profile, set_)
    print(stages.prune(loaded.pruning, runtime=loaded.runtime))


@app.command(epilog="Example: sap2 train-recogniser -S recogniser.lists=oracle")
def train_recogniser(params: ParamsOption = PARAMS, profile: ProfileOption = None, set_: SetOption = None) -> None:
    """Train models/recogniser, which transcribes.

    Given the speech and the few selected keywords, it answers with the transcript."""
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

    In four contexts: without keywords, with the full list, with the pruned list and with the oracle list."""
    from sap2 import stages

    loaded = load(params, profile, set_)
    print(stages.decode(loaded.inference, runtime=loaded.runtime))


@app.command(epilog="Example: sap2 settings")
def settings() -> None:
    """Write models/settings.json, the decoding settings.

    The settings of `sap2 prune` and `sap2 decode`, including the tuned threshold. `sap2 transcribe`, `serve`, `demo`
    and `register` read them."""
    from sap2 import stages

    print(stages.settings())


@app.command(epilog="Example: sap2 evaluate -S evaluation.definition=slidespeech")
def evaluate(params: ParamsOption = PARAMS, profile: ProfileOption = None, set_: SetOption = None) -> None:
    """Score the results; write a table and a report.

    WER, U-WER, B-WER and keyword scores of every context, in reports: metrics.json, table.md, plots and report.html."""
    from sap2 import stages

    print(stages.evaluate(load(params, profile, set_).evaluation))


@app.command(epilog="Example: MLFLOW_TRACKING_URI=http://mlflow:5000 sap2 register")
def register(params: ParamsOption = PARAMS, profile: ProfileOption = None, set_: SetOption = None) -> None:
    """Log the run and register the model in MLflow.

    The run holds params, metrics, plots, report and hashes; the models become a new version with scores as tags."""
    from sap2 import stages

    print(stages.register(load(params, profile, set_)))
