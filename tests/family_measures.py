"""Measurements of a family on tiny random bases, checked by tests and printed by benchmarks/model/families.py."""

import inspect
import json
import tempfile
from importlib import import_module
from pathlib import Path

import torch
import transformers
from tiny import tone
from transformers import AutoProcessor

from sap2.data.audio import save_audio
from sap2.manifest import Utterance, write_manifest
from sap2.model import FAMILIES, Family, family_of, load_model, load_processor
from sap2.params import LoraSection, ModelSection, RecogniserSection, TrainSection
from sap2.prompts import pruning_prompt
from sap2.training import train

LISTS = [["Kathryn", "Maier", "Zbigniew"], ["Myer"], ["a", "New York"], []]
WAVES = [tone(0.61, 1), tone(0.3, 2), tone(2.45, 3), tone(1.3, 4)]
NAMES = ["maier", "kathryn", "zorvan", "quell", "brin", "dorst"]


def stock_class(family: Family) -> type:
    """Return the stock transformers class of a family."""
    return getattr(transformers, family.model.__name__.removeprefix("Sap"))


def stock_audio(processor, wave) -> dict[str, torch.Tensor]:
    """Return a recording's features and their mask, as computed by the stock processor."""
    extractor = processor.feature_extractor
    whole = "longest" if type(extractor).__name__ == "Qwen3ASRFeatureExtractor" else "max_length"
    made = extractor(wave, sampling_rate=16_000, padding=whole, return_tensors="pt", return_attention_mask=True)
    return {"input_features": made["input_features"], "mask": made["attention_mask"]}


@torch.no_grad()
def stock_differences(folder: Path) -> tuple[float, float]:
    """Return the maximum difference of our logits with W = 1 from the stock model's, which gets the list as text.

    Returns: With the stock features; with ours, which are not padded to 30 s where the encoder allows it.
    """
    stock, processor = (
        stock_class(family_of(folder)[0]).from_pretrained(folder).eval(),
        AutoProcessor.from_pretrained(folder),
    )
    ours, single = load_model(folder, window=1), load_processor(folder, window=1)
    name = "input_features_mask"
    if name not in inspect.signature(type(stock).forward).parameters:
        name = "feature_attention_mask"
    same, own = [], []
    for words, wave in zip(LISTS, WAVES, strict=True):
        batch = single([pruning_prompt()], [words], [wave])
        audio = stock_audio(processor, wave)
        ids = batch["input_ids"].clone()
        ids[ids == ours.config.context_token_id] = batch["context_ids"][0]
        mask = batch["attention_mask"]
        features = {"input_features": audio["input_features"], name: audio["mask"]}
        expected = stock(input_ids=ids, attention_mask=mask, **features).logits
        own.append((ours(**batch).logits - expected).abs().max())
        same.append((ours(**{**batch, "feature_attention_mask": None, **features}).logits - expected).abs().max())
    return float(max(same)), float(max(own))


@torch.no_grad()
def batch_difference(folder: Path) -> float:
    """Return the maximum difference between a row's logits alone and in a batch, padded left and right."""
    model, processor = load_model(folder), load_processor(folder)
    rows, differences = [*zip(LISTS, WAVES, strict=True)], []
    for side in ("left", "right"):
        batch = processor([pruning_prompt()] * len(rows), LISTS, WAVES, padding_side=side)
        logits = model(**batch).logits
        for row, (words, wave) in enumerate(rows):
            alone = model(**processor([pruning_prompt()], [words], [wave])).logits[0]
            differences.append((logits[row][batch["attention_mask"][row].bool()] - alone).abs().max())
    return float(max(differences))


def texts(folder: Path, waves=WAVES, lists=LISTS, **options) -> list[str]:
    """Return greedy answers, with all rows in one batch."""
    model, processor = load_model(folder), load_processor(folder)
    batch = processor([pruning_prompt()] * len(waves), lists, waves)
    output = model.generate(**batch, max_new_tokens=6, do_sample=False, **options)
    return processor.tokenizer.batch_decode(output[:, batch["input_ids"].shape[1] :])


def corpus(folder: Path) -> Path:
    """Write a corpus of synthetic sound: 24 utterances for training and 6 for development."""
    for split, count in (("train", 24), ("dev", 6)):
        rows = []
        for number in range(count):
            wave = tone(0.4 + number % 5 * 0.15, seed=number + 100 * count)
            save_audio(folder / "audio" / f"{split}-{number}.wav", wave)
            said, other = NAMES[number % 6], NAMES[(number * 5 + 1) % 6]
            rows.append(
                Utterance(
                    id=f"{split}-{number}",
                    audio=f"audio/{split}-{number}.wav",
                    duration=len(wave) / 16_000,
                    text=f"the {said} graph",
                    keywords=list(dict.fromkeys([other, said, "unsaid"])),
                    predicted=[said],
                )  # fmt: skip
            )
        write_manifest(folder / f"{split}.jsonl", rows)
    return folder


class Losses:
    """Tracker that records the training loss of every ten steps."""

    def __init__(self):
        self.losses: list[float] = []

    def log(self, metrics: dict[str, float], step: int) -> None:
        self.losses += [metrics["loss"]] if "loss" in metrics else []


def losses(folder: Path, data: Path, stage: str, output: Path, **settings) -> list[float]:
    """Return the training loss of a stage's first and second ten steps; the adapter is written to `output`.

    Args:
        settings: Further settings of the stage's section.
    """
    section = (TrainSection if stage == "pruner" else RecogniserSection)(
        max_steps=20, batch_size=8, learning_rate=1e-2, list_sizes=(2, 6), deepspeed="none", warmup=0.0,
        **({} if stage == "pruner" else {"lists": "oracle"}), **settings,
    )  # fmt: skip
    kept = Losses()
    with tempfile.TemporaryDirectory() as scratch:
        train(
            stage, folder, data / "train.jsonl", data / "dev.jsonl", output, Path(scratch) / "checkpoints" / stage,
            section, ModelSection(tagging=0), LoraSection(rank=8, alpha=16), kept,
        )  # fmt: skip
    return kept.losses


def module_lines(family: str) -> int:
    """Count the lines of a family's module that are neither blank nor a comment."""
    source = inspect.getsource(import_module(FAMILIES[family]))
    return sum(bool(line.strip()) and not line.strip().startswith("#") for line in source.splitlines())


def saved_type(folder: Path) -> str:
    """Return the model_type of a folder's config.json."""
    return json.loads((folder / "config.json").read_text(encoding="utf-8"))["model_type"]
