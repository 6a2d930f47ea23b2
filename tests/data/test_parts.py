"""A corpus prepared in parts, by hand, by Ray and by Kubeflow's fan-out: the files equal those of a single machine."""

import json
import warnings
from dataclasses import replace
from pathlib import Path

import pytest
from trees import kaldi
from typer.testing import CliRunner

from sap2 import cli, stages
from sap2.data.entries import SPLITS, Entry
from sap2.data.ingest import ingest, ingest_part, join_parts
from sap2.errors import InputError
from sap2.params import PrepareSection

COUNT = 200  # utterances: more than three chunks


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Path:
    """A Kaldi tree: a long recording a split; broken segments and lists on the way."""
    root = tmp_path_factory.mktemp("corpus")
    for split, count in zip(SPLITS, (COUNT, 3, 3), strict=True):
        utterances = [(f"{split}-{n:03d}", n * 0.05, n * 0.05 + 1, f"HELLO WORD {n}") for n in range(count)]
        if split == "train":
            utterances[70] = ("train-070", 3.5, 3.51, "TOO SHORT")
            utterances[130] = ("train-130", 6.0, 5.0, "ENDS BEFORE IT BEGINS")
        kaldi(root / split, root, {f"talk-{split}": utterances})
    return root


@pytest.fixture(scope="module")
def section(corpus) -> PrepareSection:
    return PrepareSection(source="kaldi", kaldi={"root": str(corpus)}, workers=1, shard_size=50)


@pytest.fixture(scope="module")
def alone(section, tmp_path_factory) -> dict[str, bytes]:
    """What one machine writes."""
    folder = tmp_path_factory.mktemp("alone")
    summary = stages.prepare(section, folder / "prepared", folder / "cache")
    assert summary.facts["rejected"] >= 2
    return files(folder / "prepared")


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_parts_merged_in_any_order_equal_a_single_run(section, alone, tmp_path):
    folders = [tmp_path / f"part{number}" for number in (2, 0, 1)]
    for folder in folders:
        stages.prepare_part(section, int(folder.name[-1]), 3, folder, tmp_path / f"cache-{folder.name}")
    held = [len((folder / "rows.jsonl").read_text().splitlines()) for folder in folders]
    assert min(held) > 0 and len(set(held)) > 1
    stages.join_parts(section, folders, tmp_path / "prepared", tmp_path / "cache")
    assert files(tmp_path / "prepared") == alone
    stages.join_parts(section, folders, tmp_path / "again", tmp_path / "cache")
    assert files(tmp_path / "again") == alone, "the parts stay as they are"


@pytest.mark.parametrize(
    ("given", "message"),
    [([0, 2], "entry 64 is in none of the 2 parts"), ([0, 1, 1, 2], "entry 65 is in two of the 4 parts")],
)
def test_a_missing_or_repeated_part_is_an_error(section, tmp_path, given, message):
    for number in range(3):
        stages.prepare_part(section, number, 3, tmp_path / str(number), tmp_path / "cache")
    with pytest.raises(InputError, match=message):
        stages.join_parts(section, [tmp_path / str(number) for number in given], tmp_path / "out", tmp_path / "cache")
    assert not (tmp_path / "out").exists()


def test_conflicting_ids_are_detected_across_parts(section, tmp_path, corpus):
    made = [
        Entry(f"u{n}", f"list:{n}", corpus / "wav" / "talk-dev.wav", "hello", split=SPLITS[n % 3]) for n in range(128)
    ]
    made[1], made[64] = replace(made[1], id="x"), replace(made[64], id="x.flac/y")
    section = section.model_copy(update={"shard_size": None})
    item = ingest(made, section, tmp_path / "one", tmp_path / "cache", "x")
    for part in range(2):
        ingest_part(made, section, tmp_path / str(part), tmp_path / "cache", part, 2)
    joined = join_parts([tmp_path / "0", tmp_path / "1"], section, tmp_path / "joined", tmp_path / "cache", "x")
    assert joined == item and item["reasons"] == {"the id cannot name a file": 1}
    assert files(tmp_path / "joined") == files(tmp_path / "one")


def test_the_command_line_does_a_part_and_joins_them(section, alone, corpus, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "params.yaml").write_text(json.dumps({"prepare": section.model_dump(mode="json")}))
    run = CliRunner().invoke
    for part in ("0/2", "1/2"):
        assert run(cli.app, ["prepare", "--part", part]).exit_code == 0
    assert run(cli.app, ["prepare", "--join", "2"]).exit_code == 0
    assert files(tmp_path / "data" / "prepared") == alone
    assert run(cli.app, ["prepare", "--part", "two"]).exit_code == 2
    assert run(cli.app, ["prepare", "--part", "0/2", "--join", "2"]).exit_code == 2


def test_the_embedded_corpus_has_no_parts(tmp_path):
    with pytest.raises(InputError, match="lectures cannot be prepared in parts"):
        stages.prepare_part(PrepareSection(), 0, 2, tmp_path / "0", tmp_path / "cache")


@pytest.mark.slow  # Ray takes its time to start
def test_ray_writes_the_output_of_a_single_machine(section, alone, tmp_path):
    ray = pytest.importorskip("ray")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    try:
        stages.prepare_over_ray(section, 4, tmp_path / "prepared", tmp_path / "cache")
    finally:
        ray.shutdown()
    assert files(tmp_path / "prepared") == alone
    assert not (tmp_path / "cache" / "parts-of-4").exists()
