"""`make base`: pretrain the embedded base.

    collect     recordings, lectures and text read aloud by eSpeak NG     -> corpus/, texts.txt, lexicon.tsv
    initialise  a Whisper encoder in 8 bits, random projector and decoder -> skeleton/
    pretrain    hearing and matching first, then transcribing, transcribing with a list, selecting from a list
                                                                          -> checkpoint.pt, log.jsonl
    freeze      the encoder rounded to 8 bits, and its states of the corpus -> frozen/, states/
    hear        the CTC head on these states                              -> ctc.pt, ctc.jsonl
    settle      the decoder on these states, with a falling learning rate -> settled.pt, settled.jsonl
    export      a stock Qwen2-Audio folder with the CTC head and its model card -> base/
    listing     a training set for the adapters, with keyword lists       -> set/
    adapt       the pruner's or the recogniser's adapter on that base     -> pruner/, recogniser/

experiments/base/dvc.yaml runs these commands one after the other; experiments/base/params.yaml declares the data and
the recipe. Each command keeps its results, and an interrupted one resumes.
"""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from ruamel.yaml import YAML

from sap2 import prompts
from sap2.base.adapters import AdapterRecipe, train_adapter, write_set
from sap2.base.architecture import build_model, build_processor
from sap2.base.corpus import (
    LECTURES,
    READ_ALOUD,
    SEED,
    add_lectures,
    add_read_aloud,
    add_speech,
    excerpts,
    read_items,
    sentences,
    speech_section,
)
from sap2.base.hearing import HearingRecipe, ctc_head, train_ctc
from sap2.base.lexicon import Lexicon, plain
from sap2.base.pretraining import Recipe, phoneme_numbers
from sap2.base.pretraining import pretrain as train
from sap2.base.settling import SettlingRecipe, save_heads
from sap2.base.settling import settle as train_decoder
from sap2.base.states import encode_corpus
from sap2.base.whisper import load_encoder
from sap2.data.real_names import REAL_NAMES
from sap2.errors import InputError, ParamsError
from sap2.files import atomic_dir, atomic_file, sha256
from sap2.model import load_processor
from sap2.params import PrepareSection, Section
from sap2.training.lists import Stage

PARAMS = Path("experiments/base/params.yaml")
WORK = Path("experiments/base/work")
VOCABULARY_SENTENCES = 60_000  # that the tokenizer is trained on
BARE = {"weighting": "mean", "tagging": 1.0}  # settings of the method that the base runs with without adapters
WORDING_COPIES = 20_000  # of the prompts' own words, so that they become few tokens

app = typer.Typer(help=__doc__, no_args_is_help=True, add_completion=False, rich_markup_mode=None)


class BaseParams(Section):
    """params.yaml of the base."""

    speech: dict[str, PrepareSection]  # name: how it is read, as the section `prepare` of the flow
    text: list[Path]  # text files, plain or .zst
    names: list[Path]  # files with one name or term per line
    recipe: Recipe
    hearing: HearingRecipe = HearingRecipe()
    settling: SettlingRecipe = SettlingRecipe()
    adapters: AdapterRecipe = AdapterRecipe()


def load_base_params(path: Path) -> BaseParams:
    """Read params.yaml. Raises: ParamsError: it is missing or wrong."""
    if not path.is_file():
        raise ParamsError(f"{path}: no such file; run the command in the repository, or give --params")
    return BaseParams.model_validate(YAML(typ="safe").load(path.read_text(encoding="utf-8")))


def collect_corpus(work: Path, params: BaseParams, workers: int) -> None:
    """Make corpus, texts and lexicon; parts that exist are kept. corpus.json says what there is."""
    facts_path, corpus = work / "corpus.json", work / "corpus"
    facts = json.loads(facts_path.read_text(encoding="utf-8")) if facts_path.is_file() else {}

    def note(name: str, made: dict) -> None:
        facts[name] = made
        with atomic_file(facts_path) as partial:
            partial.write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")

    work.mkdir(parents=True, exist_ok=True)
    for name, section in params.speech.items():
        if name not in facts:
            note(name, add_speech(name, section, corpus, workers))
    if "text" not in facts:
        texts = list(dict.fromkeys(sentences(params.text)))
        _write_lines(work / "texts.txt", texts)
        files = {path.name: sha256(path) for path in (*params.text, *params.names)}
        note("text", {"sentences": len(texts), "files": files})
    texts = (work / "texts.txt").read_text(encoding="utf-8").splitlines()
    if not (work / "lexicon.tsv").is_file():
        names = [plain(line) for path in params.names for line in path.read_text(encoding="utf-8").splitlines()]
        transcripts = [item.text for item in read_items(corpus) if item.source not in (LECTURES, READ_ALOUD)]
        lexicon = Lexicon.build(
            [*texts, *transcripts, " ".join(REAL_NAMES)], filter(None, names), params.recipe.common_words
        )
        lexicon.save(work / "lexicon.tsv")
    if LECTURES not in facts:
        note(LECTURES, add_lectures(corpus, params.recipe.lectures, workers, REAL_NAMES))
    if READ_ALOUD not in facts:
        chosen = excerpts(texts, Lexicon.load(work / "lexicon.tsv"), params.recipe.read_aloud)
        if not chosen:
            raise InputError(
                f"text: no sentence holds a word rarer than the {params.recipe.common_words} most frequent; add text"
            )
        note(READ_ALOUD, add_read_aloud(corpus, chosen, workers))


def make_skeleton(work: Path, recipe: Recipe) -> Path:
    """Save the model before its training: the encoder's weights, already rounded to 8 bits, and random others."""
    torch.manual_seed(recipe.seed)
    texts = (work / "texts.txt").read_text(encoding="utf-8").splitlines()
    processor = build_processor(vocabulary_texts(texts))
    model = build_model(processor, load_encoder(recipe.encoder, work))
    with atomic_dir(work / "skeleton") as partial:
        compress(model).save_pretrained(partial)
        processor.save_pretrained(partial)
    return work / "skeleton"


def compress(model):
    """The model in float16, the matrices of the encoder's layers in float8 (e4m3).

    `from_pretrained` converts both to the requested type. The encoder's states change by 7 % (relative error of their
    norm), which the training on top of them takes into account.
    """
    model = model.half()
    for parameter in model.model.audio_tower.layers.parameters():
        if parameter.ndim == 2:
            parameter.data = parameter.data.to(torch.float8_e4m3fn)
    return model


def vocabulary_texts(texts: Sequence[str]) -> list[str]:
    """Text for training the tokenizer: sentences, and the prompts' own words."""
    order = np.random.default_rng((SEED, 5)).permutation(len(texts))[:VOCABULARY_SENTENCES]
    wording = [prompts.pruning_prompt(), prompts.recognition_prompt(True), prompts.recognition_prompt(False)]
    wording += [" none,", *prompts.TAGS, "user", "assistant", "Audio 1:"]
    markers = re.compile(r"<\|\w+\|>")
    return [f" {texts[index]}," for index in order] + [markers.sub("", text) for text in wording] * WORDING_COPIES


def freeze_base(work: Path, device: str = "cpu") -> Path:
    """Round the pretrained model's encoder to 8 bits and compute its states of the corpus.

    Writes `work/frozen`, a base with the auxiliary heads of its pretraining, and `work/states`.
    """
    from transformers import Qwen2AudioForConditionalGeneration

    model = Qwen2AudioForConditionalGeneration.from_pretrained(work / "skeleton", dtype=torch.float32)
    trained = torch.load(work / "checkpoint.pt", weights_only=True, map_location="cpu")
    model.load_state_dict(trained["model"])
    with atomic_dir(work / "frozen") as partial:
        compress(model).save_pretrained(partial)
        load_processor(work / "skeleton").save_pretrained(partial)
        save_heads(trained["heads"], partial)
    return encode_corpus(work, work / "frozen", device)


def export_base(work: Path, output: Path, params: BaseParams) -> str:
    """Write a stock Qwen2-Audio folder with the CTC head and a model card; returns the digest of the weights."""
    from transformers import Qwen2AudioForConditionalGeneration

    from sap2.base.card import model_card

    model = Qwen2AudioForConditionalGeneration.from_pretrained(work / "frozen", dtype=torch.float32)
    model.load_state_dict(torch.load(work / "settled.pt", weights_only=True, map_location="cpu")["model"])
    for name, value in BARE.items():
        setattr(model.config, name, value)
    numbers = phoneme_numbers(Lexicon.load(work / "lexicon.tsv"))
    head = ctc_head(numbers, work / "frozen", params.hearing)
    head.load_state_dict(torch.load(work / "ctc.pt", weights_only=True, map_location="cpu")["model"])
    with atomic_dir(output) as partial:
        compress(model).save_pretrained(partial)
        load_processor(work / "frozen").save_pretrained(partial)
        head.save(partial)
        digest = sha256(partial / "model.safetensors")
        (partial / "README.md").write_text(model_card(work, params, digest), encoding="utf-8")
    return digest


def _write_lines(path: Path, lines: Sequence[str]) -> None:
    with atomic_file(path) as partial:
        partial.write_text("\n".join(lines) + "\n", encoding="utf-8")


ParamsOption = Annotated[Path, typer.Option("--params", metavar="FILE", help="params.yaml of the base.")]
WorkOption = Annotated[Path, typer.Option("--work", metavar="DIR", help="Folder of intermediate results.")]
DeviceOption = Annotated[str, typer.Option("--device", help="cuda or cpu.")]
WorkersOption = Annotated[int, typer.Option("--workers", min=0, help="Processes that prepare batches.")]
BEST_DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


@app.command()
def collect(
    params: ParamsOption = PARAMS,
    work: WorkOption = WORK,
    speech: Annotated[
        list[Path] | None, typer.Option(metavar="DIR", help="Speech at hand instead of params.yaml's; repeatable.")
    ] = None,
    workers: Annotated[int, typer.Option(min=0, help="Processes; 0 = one per CPU core.")] = 0,
) -> None:
    """Decode and synthesise the speech, and count the words of the text."""
    declared = load_base_params(params)
    if speech:
        sections = {folder.name: speech_section(folder) for folder in speech}
        declared = declared.model_copy(update={"speech": sections})
    collect_corpus(work, declared, workers)


@app.command()
def initialise(params: ParamsOption = PARAMS, work: WorkOption = WORK) -> None:
    """Write the model before its training."""
    print(make_skeleton(work, load_base_params(params).recipe))


@app.command()
def pretrain(
    params: ParamsOption = PARAMS,
    work: WorkOption = WORK,
    device: DeviceOption = BEST_DEVICE,
    workers: WorkersOption = 2,
) -> None:
    """Train, or resume a training that was interrupted."""
    train(work, load_base_params(params).recipe, device, workers)


@app.command()
def freeze(work: WorkOption = WORK, device: DeviceOption = BEST_DEVICE) -> None:
    """Round the encoder to 8 bits and compute its states of the corpus."""
    print(freeze_base(work, device))


@app.command()
def hear(params: ParamsOption = PARAMS, work: WorkOption = WORK, device: DeviceOption = BEST_DEVICE) -> None:
    """Train the CTC head, or resume its training."""
    train_ctc(work, work / "frozen", load_base_params(params).hearing, device)


@app.command()
def settle(
    params: ParamsOption = PARAMS,
    work: WorkOption = WORK,
    device: DeviceOption = BEST_DEVICE,
    workers: WorkersOption = 2,
) -> None:
    """Train the decoder on the frozen encoder's states, or resume its training."""
    train_decoder(work, work / "frozen", load_base_params(params).settling, device, workers)


@app.command()
def export(
    params: ParamsOption = PARAMS,
    work: WorkOption = WORK,
    output: Annotated[Path, typer.Option(metavar="DIR", help="Folder of the base.")] = WORK / "base",
) -> None:
    """Write the trained base with its model card."""
    print(f"{output}: {export_base(work, output, load_base_params(params))}")


@app.command()
def listing(params: ParamsOption = PARAMS, work: WorkOption = WORK) -> None:
    """Write the adapters' training set."""
    print(write_set(work, load_base_params(params).adapters))


@app.command()
def adapt(
    stage: Annotated[Stage, typer.Argument(help="Whose adapter.")],
    params: ParamsOption = PARAMS,
    work: WorkOption = WORK,
) -> None:
    """Train an adapter on the exported base, or resume a training that was interrupted."""
    print(train_adapter(stage, work, work / "base", load_base_params(params).adapters))


if __name__ == "__main__":
    app()
