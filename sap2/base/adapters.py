"""The embedded recogniser's adapters: a training set of the base's corpus, with keyword lists, and both trainings."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from sap2.base.corpus import LECTURES, READ_ALOUD, SEED, Item, read_items
from sap2.base.lexicon import Lexicon
from sap2.base.sampler import Sampler
from sap2.constants import SAMPLE_RATE
from sap2.data.real_names import REAL_NAMES
from sap2.files import atomic_dir
from sap2.manifest import Utterance, write_manifest
from sap2.params import LoraSection, ModelSection, RecogniserSection, Section, TrainSection
from sap2.progress import track
from sap2.training.lists import Stage

__all__ = ["AdapterRecipe", "train_adapter", "write_set"]

SETTINGS: dict[str, Any] = {
    "epochs": 2.0, "batch_size": 32, "bf16": True, "deepspeed": "none", "list_sizes": (5, 50), "hard_share": 0.1,
    "save_steps": 1000,
}  # fmt: skip


class AdapterRecipe(Section):
    """The adapters' training set and settings; the sections are those of params.yaml."""

    lectures: int = Field(4000, ge=0)  # of the corpus's lectures, at most
    read_aloud: int = Field(3000, ge=0)  # of its texts read aloud, at most
    dev: int = Field(400, ge=1)  # held-out recordings of people, at most
    distractors: int = Field(50, ge=1)  # keywords of an utterance that are not spoken
    model: ModelSection = ModelSection()
    lora: LoraSection = LoraSection()
    pruner: TrainSection = TrainSection(**SETTINGS)
    recogniser: RecogniserSection = RecogniserSection(**SETTINGS)


def write_set(work: Path, recipe: AdapterRecipe) -> dict[str, int]:
    """Write `work/set`: train.jsonl and dev.jsonl with their audio. Dev holds recordings of held-out speakers.

    The keywords of an utterance are its rare words and distractors, as `Sampler` draws them.

    Returns: Utterances of each split.
    """
    items, sampler = read_items(work / "corpus"), Sampler(Lexicon.load(work / "lexicon.tsv"), REAL_NAMES)
    rng = np.random.default_rng((SEED, 13))
    limits = {LECTURES: recipe.lectures, READ_ALOUD: recipe.read_aloud}
    by_source: dict[str, list[Item]] = {}
    for index in rng.permutation(len(items)):
        by_source.setdefault(items[index].source, []).append(items[index])
    trained = [
        item
        for source, own in sorted(by_source.items())
        for item in [item for item in own if not item.held_out][: limits.get(source, len(own))]
    ]
    people = [item for source, own in sorted(by_source.items()) if source not in limits for item in own]
    dev = [item for item in people if item.held_out] or people
    splits = {"train": trained, "dev": [dev[index] for index in rng.permutation(len(dev))[: recipe.dev]]}
    with atomic_dir(work / "set") as partial:
        for split, chosen in splits.items():
            rows = [_utterance(item, sampler, recipe.distractors) for item in chosen]
            _write_audio(work / "corpus", partial, chosen, split)
            write_manifest(partial / f"{split}.jsonl", rows)
    return {split: len(chosen) for split, chosen in splits.items()}


def train_adapter(stage: Stage, work: Path, base: Path, recipe: AdapterRecipe) -> dict[str, Any]:
    """Train `work/pruner` or `work/recogniser` on the set; an interrupted training resumes."""
    from sap2.training import train

    section = recipe.pruner if stage == "pruner" else recipe.recogniser
    corpus = work / "set"
    return train(
        stage, base, corpus / "train.jsonl", corpus / "dev.jsonl", work / stage, work / "checkpoints" / stage,
        section, recipe.model, recipe.lora,
    )  # fmt: skip


def _name(item: Item) -> str:
    return f"{item.source}-{item.offset}"


def _utterance(item: Item, sampler: Sampler, distractors: int) -> Utterance:
    text, keywords = sampler.listed(item, distractors, np.random.default_rng((SEED, 14, item.offset, item.samples)))
    return Utterance(
        id=_name(item),
        audio=f"audio/{_name(item)}.wav",
        duration=item.samples / SAMPLE_RATE,
        text=text,
        keywords=keywords,
    )


def _write_audio(corpus: Path, output: Path, items: list[Item], label: str) -> None:
    import soundfile

    (output / "audio").mkdir(exist_ok=True)
    samples = {
        source: np.memmap(corpus / source / "samples.i16", np.int16, "r") for source in {item.source for item in items}
    }

    def write(item: Item) -> None:
        part = samples[item.source][item.offset : item.offset + item.samples]
        soundfile.write(output / "audio" / f"{_name(item)}.wav", part, SAMPLE_RATE)

    with ThreadPoolExecutor() as pool:
        list(track(pool.map(write, items), len(items), f"write {label}"))
