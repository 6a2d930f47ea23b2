"""Reader of recordings with a TSV: every line ends in a manifest or in the quarantine."""

import json
from pathlib import Path

import numpy as np
import pytest
from videos import recording

from sap2.data.audio import SAMPLE_RATE, load_audio, save_audio
from sap2.data.corpora import prepare_corpus
from sap2.data.entries import SPLITS
from sap2.errors import InputError
from sap2.manifest import audio_path, read_manifest
from sap2.params import FolderSource, PrepareSection


def record(folder: Path, name: str, seconds: float = 0.5) -> None:
    rng = np.random.default_rng(len(name))
    save_audio(folder / name, rng.normal(0, 0.1, int(seconds * SAMPLE_RATE)))


def prepare(section: PrepareSection, output: Path) -> dict:
    return prepare_corpus(section, output, output.parent / "cache")


def make(
    tmp_path: Path, rows: list[str], header: str = "id\ttext\tkeywords", table: str = "list.tsv"
) -> PrepareSection:
    folder = tmp_path / "talks"
    folder.mkdir(exist_ok=True)
    for number in range(6):
        record(folder, f"u{number}.{'wav' if number % 2 else 'flac'}")
    (folder / table).write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return PrepareSection(source="folder", folder=FolderSource(root=str(folder)), reject_share=0.9, workers=2)


GOOD = [f"u{number}\tWelcome to part {number}.\tMeyer, deep zorvan, meyer" for number in range(6)]


def everyone(output: Path) -> dict:
    return {
        utterance.id: (split, utterance) for split in SPLITS for utterance in read_manifest(output / f"{split}.jsonl")
    }


def test_a_folder_becomes_three_manifests_with_audio(tmp_path):
    section = make(tmp_path, GOOD)
    output = tmp_path / "prepared"
    card = prepare(section, output)
    result = everyone(output)
    assert sorted(result) == [f"u{number}" for number in range(6)]
    assert (card["read"], card["accepted"], card["rejected"]) == (6, 6, 0)
    assert {split: utterance["utterances"] for split, utterance in card["splits"].items()} == {
        "train": 4,
        "dev": 1,
        "test": 1,
    }
    assert json.loads((output / "card.json").read_text()) == card
    split, utterance = result["u3"]
    assert (utterance.text, utterance.keywords, utterance.duration) == (
        "welcome to part 3",
        ["meyer", "deep zorvan"],
        0.5,
    )
    assert len(load_audio(audio_path(utterance, output / f"{split}.jsonl"))) == 0.5 * SAMPLE_RATE
    assert (output / "quarantine.jsonl").read_text() == ""


def test_without_a_column_of_keywords_there_are_none(tmp_path):
    section = make(tmp_path, [row.rpartition("\t")[0] for row in GOOD], "id\ttext")
    prepare(section, tmp_path / "prepared")
    assert all(utterance.keywords == [] for _, utterance in everyone(tmp_path / "prepared").values())


def test_a_recording_that_no_row_names_is_a_warning(tmp_path, capsys):
    section = make(tmp_path, GOOD)
    folder = Path(section.folder.root)
    record(folder, "left.wav")
    card = prepare(section, tmp_path / "prepared")
    assert card["warnings"] == [f"no row of list.tsv names 1 recordings in {folder}, the first is left.wav"]
    assert "the first is left.wav" in capsys.readouterr().err


def test_symbols_that_people_say_are_left_out_with_a_warning(tmp_path, capsys):
    (tmp_path / "talks").mkdir()
    (tmp_path / "talks" / "a.srt").write_text("1\n00:00:00,000 --> 00:00:00,400\nThat is 7€ & done.\n")
    rows = ["u0\t$30 & 5% more\tmeyer\t", *(f"{row}\t" for row in GOOD[1:5]), "u5\t\tmeyer\ta.srt"]
    section = make(tmp_path, rows, "id\ttext\tkeywords\tsubtitles")
    card = prepare(section, tmp_path / "prepared")
    table = tmp_path / "talks" / "list.tsv"
    warning = (
        f"symbols are removed from 2 texts (& 2, $ 1, % 1, € 1), first at {table}:2: write them as spoken, "
        "such as 30 dollars and 5 percent"
    )
    assert card["warnings"] == [warning] and f"prepare: {warning}" in capsys.readouterr().err
    assert f"- warning: {warning}" in (tmp_path / "prepared" / "card.md").read_text()
    assert everyone(tmp_path / "prepared")["u0"][1].text == "30 5 more"


def test_containers_are_prepared_but_headerless_files_are_not(tmp_path):
    section = make(tmp_path, [*GOOD, "phone\thello there\tmeyer", "browser\thello there\tmeyer", "x\thello\tmeyer"])
    folder = Path(section.folder.root)
    rng = np.random.default_rng(0)
    recording(folder / "phone.m4a", rng.normal(0, 0.1, 44_100), "aac", 44_100)
    recording(folder / "browser.webm", rng.normal(0, 0.1, 48_000), "libopus", 48_000)
    (folder / "x.raw").write_bytes(rng.bytes(32_000))
    table = folder / "list.tsv"
    lines = table.read_text().splitlines()
    table.write_text("\n".join([f"{lines[0]}\taudio", *lines[1:-1], f"{lines[-1]}\tx.raw"]) + "\n")
    card = prepare(section, tmp_path / "prepared")
    kept = everyone(tmp_path / "prepared")
    for id in ("phone", "browser"):
        split, utterance = kept[id]
        assert utterance.duration == pytest.approx(1.0, abs=0.1)
        stored = load_audio(audio_path(utterance, tmp_path / "prepared" / f"{split}.jsonl"))
        assert len(stored) / SAMPLE_RATE == pytest.approx(utterance.duration, abs=1e-3)
    (rejected,) = map(json.loads, (tmp_path / "prepared" / "quarantine.jsonl").read_text().splitlines())
    assert rejected["id"] == "x" and "x.raw: has no header with its sample rate" in rejected["reason"]
    assert card["reasons"] == {"unusable audio": 1}


def test_containers_are_kept_in_place_with_their_length(tmp_path):
    section = make(tmp_path, [*GOOD, "phone\thello there\tmeyer"]).model_copy(update={"audio": "keep"})
    path = recording(Path(section.folder.root) / "phone.mp3", np.zeros(32_000), "libmp3lame", 16_000)
    prepare(section, tmp_path / "prepared")
    _, utterance = everyone(tmp_path / "prepared")["phone"]
    assert utterance.audio == str(path) and utterance.duration == pytest.approx(2.0, abs=0.15)


def test_the_card_has_a_digest_of_recordings_and_their_licence(tmp_path):
    section = make(tmp_path, GOOD)
    first = prepare(section, tmp_path / "first")
    assert first["licence"] == "not stated; set prepare.licence"
    changed = tmp_path / "talks" / "u3.wav"
    save_audio(changed, load_audio(changed) * 0.5)
    second = prepare(section.model_copy(update={"licence": "CC0"}), tmp_path / "second")
    assert second["licence"] == "CC0" and "licence: CC0" in (tmp_path / "second" / "card.md").read_text()
    assert second["manifests"] == first["manifests"]
    assert sum(second["audio"][split] != first["audio"][split] for split in SPLITS) == 1


def test_the_same_folder_and_seed_give_the_same_files(tmp_path):
    section = make(tmp_path, GOOD)
    for name in ("a", "b"):
        prepare(section, tmp_path / name)
    first = {path.relative_to(tmp_path / "a"): path.read_bytes() for path in (tmp_path / "a").rglob("*.*")}
    second = {path.relative_to(tmp_path / "b"): path.read_bytes() for path in (tmp_path / "b").rglob("*.*")}
    assert first == second


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("u0\tagain\tx", "duplicate id: also at"),
        ("\tno id\tx", "the id is empty"),
        ("u5\t ... \tx", "the transcript is empty"),
        ("u5", "the transcript is empty"),
        ("u5\tsay <|audio_eos|>\tx", "a marker inside the transcript"),
        ('u5\thello\tfine, "smith, john"', "unusable keyword: a comma inside the keyword 'smith, john'"),
        ("u5\thello\tx<|startofcontext|>", "unusable keyword: the marker <|startofcontext|>"),
        ("u5\thello\t<audio>", "unusable keyword: the marker <audio>"),
        ("u5\thello\tx\tmore", "too many columns"),
        ("../secret\thello\tx", "the path escapes the folder: ../secret"),
        ("/etc/passwd\thello\tx", "the path escapes the folder"),
        ("a b?\thello\tx", "the id cannot name a file: 'a b?'"),
        ("missing\thello\tx", "no audio file: missing.wav (or .flac, .mp3, .m4a, …) is not in the folder"),
        ("empty\thello\tx", "unusable audio: "),
        ("cut\thello\tx", "unusable audio: "),
        ("text\thello\tx", "unusable audio: "),
        ("short\thello\tx", "unusable audio: "),
        ("long\thello\tx", "unusable audio: "),
    ],
)
def test_an_unusable_line_is_quarantined_with_its_reason(tmp_path, line, reason):
    section = make(tmp_path, [*GOOD[:5], line])
    folder = Path(section.folder.root)
    record(tmp_path, "secret.wav")
    (folder / "empty.wav").touch()
    (folder / "text.flac").write_text("no audio")
    record(folder, "short.wav", 0.05)
    record(folder, "long.flac", 31)
    record(folder, "cut.wav")
    (folder / "cut.wav").write_bytes((folder / "cut.wav").read_bytes()[:1000])
    output = tmp_path / "prepared"
    card = prepare(section, output)
    [row] = [json.loads(text) for text in (output / "quarantine.jsonl").read_text().splitlines()]
    assert row["reason"].startswith(reason)
    assert (row["id"], row["location"]) == (line.split("\t")[0], f"{folder / 'list.tsv'}:7")
    assert (card["read"], card["accepted"], card["rejected"]) == (6, 5, 1)
    assert sorted(everyone(output)) == [f"u{number}" for number in range(5)]


def test_splits_speakers_and_files_can_be_named(tmp_path):
    rows = [
        "a\thello\tx\ttrain\tu0.flac\tanna\tt1",
        "b\thello\tx\tdev\tu1.wav\tbob\tt2",
        "c/d\thello\tx\tTest\tu2.flac\t\t",
        "e\thello\tx\tvalid\tu3.wav\t\t",
        "f\thello\tx\ttrain\t../secret.wav\t\t",
    ]
    section = make(tmp_path, rows, "id\ttext\tkeywords\tsplit\taudio\tspeaker\ttalk")
    record(tmp_path, "secret.wav")
    output = tmp_path / "prepared"
    prepare(section, output)
    result = everyone(output)
    assert {id: split for id, (split, _) in result.items()} == {"a": "train", "b": "dev", "c/d": "test"}
    assert (result["a"][1].speaker, result["a"][1].talk) == ("anna", "t1")
    assert (output / "audio" / "c" / "d.flac").is_file()
    reasons = [json.loads(line)["reason"] for line in (output / "quarantine.jsonl").read_text().splitlines()]
    assert reasons == [
        "unknown split: 'valid', expected train, dev, test or nothing",
        "the path escapes the folder: ../secret.wav",
    ]


def test_a_link_out_of_the_folder_is_quarantined(tmp_path):
    section = make(tmp_path, [*GOOD[:5], "link\thello\tx"])
    record(tmp_path, "secret.wav")
    (Path(section.folder.root) / "link.wav").symlink_to(tmp_path / "secret.wav")
    prepare(section, tmp_path / "prepared")
    assert "the path escapes the folder: link" in (tmp_path / "prepared" / "quarantine.jsonl").read_text()


def test_a_talk_is_never_on_two_sides(tmp_path):
    rows = [f"u{number}\thello\tx\ttalk{number // 2}" for number in range(6)]
    output = tmp_path / "prepared"
    prepare(make(tmp_path, rows, "id\ttext\tkeywords\ttalk"), output)
    sides: dict[str, set[str]] = {}
    for split, utterance in everyone(output).values():
        sides.setdefault(utterance.talk, set()).add(split)
    assert all(len(splits) == 1 for splits in sides.values())


def test_too_many_rejected_stop_the_stage_without_output(tmp_path):
    section = make(tmp_path, [*GOOD[:3], "a\t\tx", "b\t\tx"]).model_copy(update={"reject_share": 0.1})
    with pytest.raises(InputError, match="2 of 5 records were rejected"):
        prepare(section, tmp_path / "prepared")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cache", "talks"]


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("id\tkeywords", "list.tsv:1: the header lacks the column text; got id, keywords, expected tab-separated"),
        ("id,text,keywords", "lacks the column id, text; got id,text,keywords"),
        ("id\ttext\tkeywords\tid", "names a column twice"),
    ],
)
def test_a_header_without_its_columns_is_refused(tmp_path, header, message):
    with pytest.raises(InputError, match=message):
        prepare(make(tmp_path, GOOD, header), tmp_path / "prepared")


def test_a_folder_must_have_a_single_table(tmp_path):
    section = make(tmp_path, GOOD)
    (Path(section.folder.root) / "other.tsv").write_text("")
    with pytest.raises(InputError, match=r"expected manifest.tsv or one \*.tsv .* got list.tsv, other.tsv"):
        prepare(section, tmp_path / "prepared")
    (Path(section.folder.root) / "list.tsv").rename(Path(section.folder.root) / "manifest.tsv")
    assert prepare(section, tmp_path / "prepared")["accepted"] == 6
    with pytest.raises(InputError, match="no such folder"):
        prepare(
            section.model_copy(update={"folder": FolderSource(root=str(tmp_path / "nothing"))}), tmp_path / "prepared"
        )


def test_too_few_recordings_suggest_a_split_column(tmp_path):
    with pytest.raises(InputError, match="no utterance for train among 2; add a `split` column"):
        prepare(make(tmp_path, GOOD[:2]), tmp_path / "prepared")
