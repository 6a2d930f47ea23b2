"""Training from shards: streams without overlap, a plan that follows from the seed, a run that goes on midway."""

import random
import shutil
from collections import Counter
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch.utils.data import DataLoader, SequentialSampler

from sap2.data.shards import Shards, pack
from sap2.errors import InputError
from sap2.manifest import read_manifest
from sap2.model import load_processor
from sap2.params import LoraSection, ModelSection, RecogniserSection
from sap2.training import train
from sap2.training.augment import Augmenter
from sap2.training.collator import Collator, Example, only
from sap2.training.lists import ListDrawer
from sap2.training.streaming import ShardedBatches, StreamPlan


def durations(shards: int, size: int = 8) -> list[list[float]]:
    rng = random.Random(1)
    return [[rng.uniform(1, 9) for _ in range(size if shard else size - 3)] for shard in range(shards)]


def batches(plan: StreamPlan) -> list[list]:
    located = [plan.locate(position) for position in range(len(plan))]
    return [plan.batches_of(window)[number] for window, number in located]


@pytest.mark.parametrize(("ranks", "workers"), [(1, 1), (2, 1), (1, 2), (2, 3)])
def test_an_epoch_has_every_utterance_and_streams_share_none(ranks, workers):
    lengths = durations(13)
    plan = StreamPlan(lengths, sum(map(len, lengths)), 3, seed=1, ranks=ranks, workers=workers)
    counts = Counter(row for batch in batches(plan) for row in batch)
    assert set(counts) == {(shard, row) for shard, rows in enumerate(lengths) for row in range(len(rows))}
    streams = [{shard for window in windows for shard in window.shards} for windows in plan.windows]
    assert sum(map(len, streams)) == len(lengths) == len(set().union(*streams))
    assert len(plan) % (ranks * workers) == 0
    if ranks * workers == 1:
        assert set(counts.values()) == {1}
    assert plan.sizes() == [len(batch) for batch in batches(plan)]


def test_the_order_depends_on_seed_and_epoch_only():
    lengths = durations(6)
    utterances = sum(map(len, lengths))
    of_seed, same, other = (batches(StreamPlan(lengths, 2 * utterances, 4, seed=seed)) for seed in (1, 1, 2))
    assert of_seed == same != other
    first, second = of_seed[: len(of_seed) // 2], of_seed[len(of_seed) // 2 :]
    assert first != second and sorted(sum(first, [])) == sorted(sum(second, []))


def test_a_part_of_an_epoch_and_a_number_of_steps_end_the_plan():
    lengths = durations(8)
    full = StreamPlan(lengths, sum(map(len, lengths)), 4, seed=1)
    assert len(StreamPlan(lengths, sum(map(len, lengths)) // 2, 4, seed=1)) == pytest.approx(len(full) / 2, abs=1)
    assert len(StreamPlan(lengths, 10**6, 4, seed=1, most=7)) == 7
    with pytest.raises(InputError, match="8 shards for 3 processes with 4 workers each; set prepare.shard_size"):
        StreamPlan(lengths, 10, 4, seed=1, ranks=3, workers=4)


def test_the_utterances_of_a_batch_are_about_equally_long():
    lengths = durations(20, 32)
    plan = StreamPlan(lengths, sum(map(len, lengths)), 4, seed=1)
    spread = [
        max(lengths[shard][row] for shard, row in batch) - min(lengths[shard][row] for shard, row in batch)
        for batch in batches(plan)
    ]
    assert sorted(spread)[len(spread) // 2] < 1  # of lengths from 1 to 9


@pytest.fixture(scope="module")
def sharded(corpus, tmp_path_factory) -> Path:
    """The corpus with its 24 training utterances in 6 shards."""
    folder = tmp_path_factory.mktemp("sharded")
    shutil.copytree(corpus, folder, dirs_exist_ok=True)
    assert pack(folder / "train.jsonl", 4) == 6
    return folder


def split(folder: Path, plan: StreamPlan) -> ShardedBatches:
    shards, section = (
        Shards(folder / "train.jsonl"),
        RecogniserSection(lists="predicted", speed=[0.9, 1.1], cache_encoder=False),
    )
    drawer = ListDrawer("recogniser", [], seed=1, lists="predicted", pool=shards.keywords)
    augmenter = Augmenter(section, 2.0)
    collator = Collator(load_processor(folder / "base"), folder / "train.jsonl", augmenter=augmenter)
    return ShardedBatches(shards, plan, drawer, augmenter, collator, 4096)


def test_workers_read_their_own_shards_and_equal_one_process(sharded):
    lengths = [shard.durations for shard in Shards(sharded / "train.jsonl").shards]
    plan = StreamPlan(lengths, 24, 3, seed=1, workers=2)
    alone = [split(sharded, plan)[position] for position in range(len(plan))]
    dataset = split(sharded, plan)
    loader = DataLoader(dataset, 1, sampler=SequentialSampler(dataset), collate_fn=only, num_workers=2)
    for batch, expected in zip(loader, alone, strict=True):
        assert batch.keys() == expected.keys()
        assert all(torch.equal(batch[name], expected[name]) for name in batch)


def test_batches_are_those_of_the_recordings_as_files(sharded, corpus):
    plan = StreamPlan([shard.durations for shard in Shards(sharded / "train.jsonl").shards], 24, 24, seed=1, most=1)
    batch = split(sharded, plan)[0]
    rows = {row.id: row for row in read_manifest(corpus / "train.jsonl")}
    section = RecogniserSection(lists="predicted", speed=[0.9, 1.1], cache_encoder=False)
    augmenter = Augmenter(section, 2.0)
    drawer = ListDrawer("recogniser", list(rows.values()), seed=1, lists="predicted")
    collator = Collator(load_processor(corpus / "base"), corpus / "train.jsonl", augmenter=augmenter)
    window, number = plan.locate(0)
    packed = {shard: Shards(sharded / "train.jsonl").read(shard) for shard in window.shards}
    ids = [packed[shard][row][0].id for shard, row in plan.batches_of(window)[number]]
    same = [Example(0, rows[id], drawer.draw(rows[id], 0), 0, augmenter.speed(rows[id], 0)) for id in ids]
    expected = collator(same)
    assert all(torch.equal(batch[name], expected[name]) for name in expected)


class Crash:
    """A tracker that stops the run as a crash would."""

    def __init__(self, step: int):
        self.step = step

    def log(self, metrics, step):
        if step == self.step:
            raise KeyboardInterrupt


def job(folder: Path, output: Path, name: str, **settings) -> dict:
    tracker = settings.pop("tracker", None)
    defaults = {"epochs": 2.0, "batch_size": 4, "learning_rate": 1e-2, "list_sizes": (2, 6), "lists": "oracle"}
    defaults["cache_encoder"] = False
    return train(
        "recogniser", folder / "base", folder / "train.jsonl", folder / "dev.jsonl",
        output=output / name, checkpoints=output / "checkpoints",
        section=RecogniserSection(**(defaults | settings)), model=ModelSection(), tracker=tracker,
        lora=LoraSection(rank=4, dropout=0.1),
    )  # fmt: skip


def test_a_killed_training_from_shards_resumes_exactly(sharded, tmp_path, monkeypatch):
    full = job(sharded, tmp_path, "full", save_steps=5)
    assert full["utterances"] == 24 and full["steps"] == 12
    with pytest.raises(KeyboardInterrupt):
        job(sharded, tmp_path, "again", save_steps=5, tracker=Crash(10))
    read = []
    kept = Shards.read
    monkeypatch.setattr(Shards, "read", lambda self, number: read.append(number) or kept(self, number))
    assert job(sharded, tmp_path, "again", save_steps=5)["resumed_from_step"] == 5
    assert len(read) < 12, "what was trained before is not read again"
    first, second = (load_file(tmp_path / name / "adapter_model.safetensors") for name in ("full", "again"))
    for name, tensor in first.items():
        torch.testing.assert_close(second[name], tensor, rtol=1e-6, atol=1e-6)


def test_two_processes_train_from_shards(sharded, tmp_path):
    assert job(sharded, tmp_path, "two", nproc=2, deepspeed="none", max_steps=2)["steps"] == 2


@pytest.mark.parametrize(
    ("setting", "way_out"),
    [({"cache_encoder": True}, "recogniser.cache_encoder to false"), ({"batch_tokens": 500}, "batch_tokens to null")],
)
def test_settings_that_need_all_utterances_at_hand_are_refused(sharded, tmp_path, setting, way_out):
    with pytest.raises(InputError, match=way_out):
        job(sharded, tmp_path, "no", **setting)


def test_an_utterance_too_long_for_the_model_is_named(sharded, tmp_path):
    with pytest.raises(InputError, match=r"train.jsonl \(train-\d+\): \d+ tokens for .* max_length allows 16"):
        job(sharded, tmp_path, "no", max_length=16)
