"""LibriSpeech in both published layouts; the biasing lists of Le et al. (2021)."""

import json
from pathlib import Path

import pytest
import soundfile
from trees import librispeech, write_audio

from sap2.data.biasing import RareWords, common_words, read_published, read_words
from sap2.data.corpora import prepare_corpus
from sap2.data.librispeech import UTTERANCES
from sap2.errors import InputError
from sap2.manifest import read_manifest
from sap2.params import PrepareSection

DEEP_BIAS = Path(__file__).parents[3] / "shared" / "data" / "is21_deep_bias"
PARTS = {
    "train-clean-100": {"19-198-0000": "THE CAT SAW THE ZORVAN", "19-198-0001": "THE DOG'S MEYER RAN"},
    "dev-clean": {"84-121-0000": "THE CAT AND THE QUILT"},
    "test-clean": {"1089-134-0000": "'TIS THE ZORVAN", "1089-134-0001": "THE CAT RAN TO KATHRYN"},
}
SPLITS = {"train": ["train-clean-100"], "dev": ["dev-clean"], "test": ["test-clean"]}


def section(root: Path, **settings) -> PrepareSection:
    return PrepareSection(source="librispeech", librispeech={"root": str(root)} | SPLITS | settings)


def prepare(tmp_path: Path, section: PrepareSection) -> tuple[dict, dict]:
    card = prepare_corpus(section, tmp_path / "prepared", tmp_path / "cache")
    return card, {
        utterance.id: utterance
        for split in SPLITS
        for utterance in read_manifest(tmp_path / "prepared" / f"{split}.jsonl")
    }


def test_the_published_layout_becomes_manifests(tmp_path, capsys):
    card, result = prepare(tmp_path, section(librispeech(tmp_path / "LibriSpeech", PARTS)))
    assert sorted(result) == sorted(id for part in PARTS.values() for id in part)
    utterance = result["1089-134-0001"]
    assert (utterance.text, utterance.speaker, utterance.talk, utterance.duration) == (
        "the cat ran to kathryn",
        "1089",
        "1089-134",
        2.0,
    )
    assert utterance.keywords == [], "lists are drawn by the stage after it"
    assert result["1089-134-0000"].text == "'tis the zorvan"  # the apostrophe belongs to the word
    assert card["splits"]["test"]["speakers"] == 1 and card["licence"].startswith("CC BY 4.0")
    assert (
        f"test-clean holds 2 utterances, 2618 fewer than the {UTTERANCES['test-clean']} published" in card["warnings"]
    )
    assert "2618 fewer" in capsys.readouterr().err
    assert "# LibriSpeech" in (tmp_path / "prepared" / "card.md").read_text()


def test_the_hubs_parquet_files_read_the_same(tmp_path):
    import pyarrow
    import pyarrow.parquet

    root = librispeech(tmp_path / "LibriSpeech", PARTS)
    packed = {"train-clean-100": "all/train.clean.100", "dev-clean": "all/dev.clean", "test-clean": "all/test.clean"}
    for part, name in packed.items():
        rows = []
        for id, text in PARTS[part].items():
            speaker, chapter, _ = id.split("-")
            audio = (root / part / speaker / chapter / f"{id}.flac").read_bytes()
            rows.append({
                "file": f"{id}.flac", "audio": {"bytes": audio, "path": f"{id}.flac"}, "text": text,
                "speaker_id": int(speaker), "chapter_id": int(chapter), "id": id,
            })  # fmt: skip
        folder = tmp_path / "hub" / name
        folder.mkdir(parents=True)
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), folder / "0000.parquet")
    _, unpacked = prepare(tmp_path, section(root))
    splits = {split: [packed[part] for part in parts] for split, parts in SPLITS.items()}
    card, from_hub = prepare(tmp_path, section(tmp_path / "hub", **splits))
    assert from_hub == unpacked
    assert "all/test.clean holds 2 utterances, 2618 fewer than the 2620 published" in card["warnings"]


def test_a_missing_part_says_what_is_there(tmp_path):
    root = librispeech(tmp_path / "LibriSpeech", PARTS)
    with pytest.raises(InputError, match="test-other: no such folder; .* holds dev-clean, test-clean, train-clean-100"):
        prepare(tmp_path, section(root, test=["test-other"]))
    (root / "test-other").mkdir()
    with pytest.raises(InputError, match="holds neither SPEAKER/CHAPTER/SPEAKER-CHAPTER.trans.txt nor"):
        prepare(tmp_path, section(root, test=["test-other"]))


def test_a_missing_and_a_cut_recording_are_quarantined(tmp_path):
    root = librispeech(tmp_path / "LibriSpeech", PARTS)
    chapter = root / "test-clean" / "1089" / "134"
    (chapter / "1089-134-0000.flac").unlink()
    cut = root / "train-clean-100" / "19" / "198" / "19-198-0000.flac"
    cut.write_bytes(cut.read_bytes()[:2000])
    card, result = prepare(tmp_path, section(root))
    assert (card["read"], card["accepted"], card["rejected"]) == (5, 3, 2)
    assert sorted(card["reasons"]) == ["no audio file", "unusable audio"]


def test_a_recording_without_transcript_is_quarantined(tmp_path):
    root = librispeech(tmp_path / "LibriSpeech", PARTS)
    write_audio(root / "test-clean" / "1089" / "135" / "1089-135-0000.flac")
    card, _ = prepare(tmp_path, section(root))
    assert (card["read"], card["rejected"], card["reasons"]) == (6, 1, {"no transcript": 1})


def test_words_and_counts_tell_the_common_ones():
    assert common_words(["b a a", "c b a"], 2) == {"a", "b"}
    assert common_words(["z y"], 1) == {"y"}  # of equally frequent ones the first in the alphabet


@pytest.mark.skipif(not DEEP_BIAS.is_dir(), reason="the published lists are no part of the project")
@pytest.mark.parametrize("size", [100, 500, 1000, 2000])
def test_our_lists_have_the_published_rare_words(size):
    """For all 2,620 utterances of test-clean; distractors are drawn, so only their number agrees."""
    words = DEEP_BIAS / "words"
    lists = RareWords(frozenset(read_words(words / "common_words_5k.txt")), read_words(words / "all_rare_words.txt"))
    published = DEEP_BIAS / "ref" / "test-clean.biasing_100.tsv"
    rows = [line.split("\t") for line in published.read_text().splitlines()]
    assert len(rows) == 2620 == len(read_published(published))
    for id, text, rare, listed in rows:
        rare, listed = json.loads(rare), json.loads(listed)
        assert lists.of(text) == rare
        ours = lists.biasing_list(text, size, f"1/{id}")
        assert set(rare) <= set(ours)
        # A distractor can be one of the utterance's own words, there as here.
        assert size - 3 <= len(ours) - len(rare) <= size
        assert size != 100 or abs(len(ours) - len(listed)) <= 3


def test_recordings_of_the_cache_survive_a_second_run(tmp_path, monkeypatch):
    """What was converted before a run was killed is not converted again."""
    root = librispeech(tmp_path / "LibriSpeech", PARTS)
    _, first = prepare(tmp_path, section(root))
    monkeypatch.setattr("sap2.data.ingest.load_audio", lambda *_, **__: pytest.fail("converted again"))
    _, again = prepare(tmp_path, section(root))
    assert first == again
    files = sorted((tmp_path / "prepared" / "audio").glob("*.flac"))
    assert len(files) == 5 and all(soundfile.info(file).samplerate == 16_000 for file in files)
