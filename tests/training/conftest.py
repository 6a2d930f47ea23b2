"""A tiny random base and a few seconds of synthetic sound, shared by this room's tests."""

from pathlib import Path

import pytest
from tiny import build_tiny_base, tone

from sap2.data.audio import save_audio
from sap2.manifest import Utterance, write_manifest
from sap2.params import LoraSection, ModelSection, RecogniserSection, TrainSection

WORDS = ["maier", "meyer", "kathryn", "zorvan", "quell", "brin", "dorst", "elm", "fen", "gorp", "hark", "ilt"]


def utterance(name: str, number: int, folder: Path) -> Utterance:
    wave = tone(0.5 + number % 5 * 0.2, seed=sum(map(ord, name)) + number)
    save_audio(folder / "audio" / f"{name}-{number}.wav", wave)
    first, second = WORDS[number % 12], WORDS[(number * 5 + 3) % 12]
    return Utterance(
        id=f"{name}-{number}",
        audio=f"audio/{name}-{number}.wav",
        duration=len(wave) / 16_000,
        text=f"the {first} graph",
        keywords=list(dict.fromkeys([second, first, "unsaid"])),
        predicted=[first],
    )


@pytest.fixture(scope="session")
def corpus(tmp_path_factory) -> Path:
    """A folder with base/, train.jsonl (24 utterances) and dev.jsonl (6)."""
    folder = tmp_path_factory.mktemp("corpus")
    build_tiny_base(folder / "base", positions=100)
    for name, count in (("train", 24), ("dev", 6)):
        write_manifest(folder / f"{name}.jsonl", [utterance(name, number, folder) for number in range(count)])
    return folder


@pytest.fixture
def job(corpus, tmp_path):
    """Call `train` with settings of the stage's section, or `base`, `model`, `lora`, `tracker`, `resume`."""
    from sap2.training import train

    def run(stage="recogniser", name="adapter", **settings):
        arguments = {key: settings.pop(key) for key in ("tracker", "resume") if key in settings}
        base = settings.pop("base", corpus / "base")
        model = settings.pop("model", ModelSection())
        lora = settings.pop("lora", LoraSection(rank=4, dropout=0.1))
        defaults = {"max_steps": 4, "batch_size": 4, "learning_rate": 1e-2, "list_sizes": (2, 6)}
        defaults |= {"warmup": 0.0, "cache_encoder": False}
        if stage == "recogniser":
            defaults["lists"] = "oracle"
        section = (TrainSection if stage == "pruner" else RecogniserSection)(**(defaults | settings))
        paths = {"output": tmp_path / name, "checkpoints": tmp_path / "checkpoints" / stage}
        return train(
            stage, base, corpus / "train.jsonl", corpus / "dev.jsonl",
            section=section, model=model, lora=lora, **paths, **arguments,
        )  # fmt: skip

    return run
