"""The downloads of a run's pods are estimated before it starts."""

from pathlib import Path

import pytest

from pipelines.downloads import Downloads, count_downloads
from pipelines.running import compile_pipeline, read_spec
from sap2.params import load_params

ROOT = Path(__file__).parent.parent.parent


def counted(folder: Path, *changes: str, profile="default", utterances=None, name="train-and-evaluate") -> Downloads:
    params = load_params(ROOT / "params.yaml", profile, changes)
    return count_downloads(read_spec(compile_pipeline(name, params, folder / "flow.yaml")), params, utterances)


CORPUS = ["prepare.source=folder", "prepare.folder={root: /data/talks}"]


def test_each_step_that_takes_the_corpus_counts_all_of_it(tmp_path):
    result = counted(tmp_path)
    assert (result.corpus_steps, result.base_steps, result.files) == (7, 5, 6600)
    assert "7 steps download the corpus (6,600 recordings), 46,200 files in total" in str(result)
    assert not result.many and "5 steps download the base model (the embedded base, some MB)" in str(result)


def test_a_large_corpus_is_answered_with_shards_or_a_volume(tmp_path):
    result = counted(tmp_path, *CORPUS, utterances=200_000)
    assert result.many and "set prepare.shard_size to 1000, or prepare.audio to keep" in str(result)
    sharded = counted(tmp_path, *CORPUS, "prepare.shard_size=1000", "prepare.dev_share=0.01", "prepare.test_share=0.01",
                      utterances=200_000)  # fmt: skip
    assert sharded.files == 196 + 4000 and not sharded.many
    kept = counted(tmp_path, *CORPUS, "prepare.audio=keep", utterances=200_000)
    assert kept.files == 3 and "recordings are read in place" in str(kept)


def test_a_corpus_of_unknown_size_is_reported(tmp_path):
    result = counted(tmp_path, *CORPUS)
    assert result.files is None and "give --utterances N" in str(result)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            [],
            "its id; Qwen/Qwen2-Audio-7B-Instruct comes from the hub, once, to /checkpoints/huggingface on sap2-check",
        ),
        (["resources.checkpoints=null"], "Qwen/Qwen2-Audio-7B-Instruct comes from the hub, in each of them"),
        (["resources.copy_base=true"], "all files of Qwen/Qwen2-Audio-7B-Instruct"),
    ],
)
def test_a_base_of_the_hub_is_a_reference_unless_copied(tmp_path, changes, said):
    assert said in str(counted(tmp_path, *changes, profile="qwen2-audio-7b"))


def test_a_pipeline_without_a_corpus_downloads_none(tmp_path):
    assert str(counted(tmp_path, name="transcribe-batch")) == ""
