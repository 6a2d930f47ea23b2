"""Shards: no loss, readable by WebDataset, and recordings equal to the original files."""

import doctest
import json
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest
import webdataset
from tiny import tone

from sap2.data import audio
from sap2.data.audio import load_audio, save_audio
from sap2.data.shards import Shards, is_sharded, pack
from sap2.errors import InputError
from sap2.files import sha256
from sap2.manifest import Utterance, audio_path, read_manifest, relocated, write_manifest
from sap2.params import PrepareSection
from sap2.stages import prepare


@pytest.fixture
def corpus(tmp_path) -> Path:
    """Seven utterances; ids with folders and dots, which a shard's names must not take for endings."""
    folder = tmp_path / "corpus"
    ids = ["a", "b.c.d", "deep/er/e", "deep/f", "g", "h", "ü"]
    for number, id in enumerate(ids):
        save_audio(folder / "audio" / f"{id}.flac", tone(0.3 + 0.1 * number, number))
    rows = [
        Utterance(id=id, audio=f"audio/{id}.flac", duration=0.3 + number / 10, text="über", keywords=[f"k{number}"])
        for number, id in enumerate(ids)
    ]
    write_manifest(folder / "train.jsonl", rows)
    return folder


def test_doctests():
    assert doctest.testmod(audio).failed == 0


def test_packing_changes_where_recordings_lie_and_nothing_else(corpus, tmp_path):
    manifest = corpus / "train.jsonl"
    before = read_manifest(manifest)
    waves = [load_audio(audio_path(item, manifest)) for item in before]
    (tmp_path / "pruned").mkdir()
    assert not is_sharded(manifest)
    assert pack(manifest, 3) == 3 and is_sharded(manifest)
    after = read_manifest(manifest)
    assert [utterance.with_audio("x") for utterance in after] == [utterance.with_audio("x") for utterance in before]
    for item, wave in zip(after, waves, strict=True):
        np.testing.assert_array_equal(load_audio(audio_path(item, manifest)), wave)
        moved = relocated(item, manifest, tmp_path / "pruned" / "train.jsonl")
        np.testing.assert_array_equal(load_audio(audio_path(moved, tmp_path / "pruned" / "train.jsonl")), wave)
    left = sorted(path.name for path in (corpus / "audio").rglob("*"))
    assert left == [f"train-{number:06d}.tar" for number in range(3)]


def test_the_same_corpus_gives_the_same_bytes(corpus, tmp_path):
    shutil.copytree(corpus, tmp_path / "again")
    for folder in (corpus, tmp_path / "again"):
        pack(folder / "train.jsonl", 4)
    for file in ("train.jsonl", "audio/train-000000.tar", "audio/train-000001.tar"):
        assert sha256(corpus / file) == sha256(tmp_path / "again" / file)


def test_webdataset_reads_the_same_samples(corpus):
    recordings = {row.id: audio_path(row, corpus / "train.jsonl").read_bytes() for row in _rows(corpus)}
    pack(corpus / "train.jsonl", 4)
    shards = [str(path) for path in sorted(corpus.glob("audio/*.tar"))]
    read = list(webdataset.WebDataset(shards, shardshuffle=False))
    assert [json.loads(item["json"])["id"] for item in read] == [row.id for row in _rows(corpus)]
    assert {json.loads(item["json"])["id"]: item["flac"] for item in read} == recordings
    assert json.loads(read[0]["json"])["keywords"] == ["k0"]


def _rows(folder: Path) -> list[Utterance]:
    return read_manifest(folder / "train.jsonl")


def test_a_shard_is_read_whole_with_its_rows(corpus):
    pack(corpus / "train.jsonl", 3)
    shards = Shards(corpus / "train.jsonl")
    assert len(shards) == 3 and shards.utterances == 7 and shards.keywords == [f"k{number}" for number in range(7)]
    read = [pair for number in range(3) for pair in shards.read(number)]
    assert [utterance for utterance, _ in read] == _rows(corpus)
    for utterance, content in read:
        path = audio_path(utterance, corpus / "train.jsonl")
        np.testing.assert_array_equal(load_audio(path, content=content), load_audio(path))
        assert len(content) == int(utterance.audio.partition("+")[2])


def test_rows_in_another_order_than_the_shards_are_refused(corpus):
    pack(corpus / "train.jsonl", 3)
    rows = _rows(corpus)
    write_manifest(corpus / "train.jsonl", [rows[0], rows[4], rows[1]])
    with pytest.raises(InputError, match=r"train.jsonl:3: rows of train-000000.tar are not consecutive"):
        Shards(corpus / "train.jsonl")
    write_manifest(corpus / "train.jsonl", [rows[0], rows[1].with_audio("audio/b.flac")])
    with pytest.raises(InputError, match=r"train.jsonl:2: its recording is not in a shard"):
        Shards(corpus / "train.jsonl")


def test_a_shard_that_is_cut_off_or_gone_is_named(corpus):
    pack(corpus / "train.jsonl", 3)
    shard = corpus / "audio" / "train-000001.tar"
    with tarfile.open(shard) as tar:
        cut = [item for item in tar if item.name.endswith(".flac")][1].offset_data + 100
    shard.write_bytes(shard.read_bytes()[:cut])
    with pytest.raises(InputError, match="train-000001.tar: truncated before g"):
        Shards(corpus / "train.jsonl").read(1)
    with pytest.raises(InputError, match=r"train-000001.tar#\d+\+\d+: "):
        load_audio(audio_path(_rows(corpus)[4], corpus / "train.jsonl"))
    shard.unlink()
    with pytest.raises(InputError, match=r"train-000001.tar: cannot be read \(No such file"):
        Shards(corpus / "train.jsonl").read(1)
    with pytest.raises(InputError, match=r"train-000001.tar: cannot be read \(No such file"):
        load_audio(audio_path(_rows(corpus)[4], corpus / "train.jsonl"))


def section(source: str, root: Path, size: int | None) -> PrepareSection:
    return PrepareSection(
        source=source, folder={"root": str(root)}, train_utterances=5, dev_utterances=1, test_utterances=1,
        list_size=4, slides=2, workers=1, shard_size=size,
    )  # fmt: skip


def test_prepare_packs_the_training_split_and_no_other(tmp_path):
    root = tmp_path / "talks"
    for number in range(7):
        save_audio(root / f"{number}.flac", tone(1.0, number))
    rows = [f"{number}\tword of {number}\tword" for number in range(7)]
    (root / "list.tsv").write_text("\n".join(["id\ttext\tkeywords", *rows]))
    made = {}
    for size in (None, 2):
        made[size] = tmp_path / f"prepared-{size}"
        prepare(section("folder", root, size), made[size], tmp_path / "cache")
    tars = sorted(path.name for path in made[2].glob("audio/*.tar"))
    assert tars == ["train-000000.tar", "train-000001.tar", "train-000002.tar"]
    assert len(list(made[2].glob("audio/*.flac"))) == 2 and len(list(made[None].glob("audio/*.flac"))) == 7
    for split in ("dev", "test"):
        assert sha256(made[2] / f"{split}.jsonl") == sha256(made[None] / f"{split}.jsonl")
    plain, packed = (read_manifest(made[size] / "train.jsonl") for size in (None, 2))
    assert [utterance.with_audio("x") for utterance in plain] == [utterance.with_audio("x") for utterance in packed]
    card = json.loads((made[2] / "card.json").read_text())
    assert card["manifests"]["train"] == sha256(made[2] / "train.jsonl")


def test_the_embedded_corpus_is_packed_too(tmp_path):
    prepare(section("lectures", tmp_path, 2), tmp_path / "prepared", tmp_path / "cache")
    assert [len(Shards(tmp_path / "prepared" / "train.jsonl").read(number)) for number in range(3)] == [2, 2, 1]


def test_recordings_that_stay_in_place_are_not_packed():
    with pytest.raises(ValueError, match="shard_size needs audio: convert"):
        PrepareSection(shard_size=4, audio="keep")
