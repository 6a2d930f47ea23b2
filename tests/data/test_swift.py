"""ms-swift messages: every form of the format reads, and what is exported reads back the same."""

import json
import tracemalloc
from pathlib import Path

import pytest
from trees import write_audio

from sap2.data.corpora import prepare_corpus
from sap2.data.quarantine import Rejected
from sap2.data.swift import export, json_rows
from sap2.errors import InputError
from sap2.manifest import Utterance, read_manifest, write_manifest
from sap2.params import PrepareSection

SPLITS = ("train", "dev", "test")


def row(audio: str, text: str = "hello zorvan", keywords: str = "zorvan, meyer", **fields) -> dict:
    prompt = f"Possible keywords are: <|startofcontext|>{keywords}<|endofcontext|>"
    return {
        "messages": [
            {"role": "user", "content": f"<audio>{audio}</audio>Transcribe speech to text. {prompt}"},
            {"role": "assistant", "content": text},
        ],
        "audios": audio,
        **fields,
    }


def corpus(tmp_path: Path, **options) -> PrepareSection:
    for name in ("a", "b", "c", "d"):
        write_audio(tmp_path / "root" / "wav" / f"{name}.wav", seed=ord(name))
    listed, bare = row("/lab/x/b.wav"), row("/lab/x/c.wav", keywords="deep zorvan")
    listed["audios"] = ["/lab/x/b.wav"]
    bare["messages"][0]["content"] = bare["messages"][0]["content"].replace("<audio>/lab/x/c.wav</audio>", "<audio>")
    files = {"train": [row("/lab/x/a.wav"), listed], "dev": [bare], "test": [row("/lab/x/d.wav", id="one")]}
    (tmp_path / "root" / "train.jsonl").write_text("".join(json.dumps(path) + "\n" for path in files["train"]))
    (tmp_path / "root" / "dev.json").write_text(json.dumps(files["dev"], indent=1))
    (tmp_path / "root" / "test.jsonl").write_text(json.dumps(files["test"][0]))
    parts = {"train": ["train.jsonl"], "dev": ["dev.json"], "test": ["test.jsonl"]}
    settings = {"root": str(tmp_path / "root"), "audio_prefix": {"/lab/x/": "wav/"}} | parts
    return PrepareSection(source="swift", swift=settings, **options)


def everyone(tmp_path: Path) -> dict:
    return {
        utterance.id: utterance
        for split in SPLITS
        for utterance in read_manifest(tmp_path / "prepared" / f"{split}.jsonl")
    }


def test_all_forms_of_a_row_read_and_prefixes_are_mapped(tmp_path):
    card = prepare_corpus(corpus(tmp_path), tmp_path / "prepared", tmp_path / "cache")
    result = everyone(tmp_path)
    assert sorted(result) == ["a", "b", "c", "one"] and card["rejected"] == 0
    assert result["b"].keywords == ["zorvan", "meyer"]
    assert result["c"].keywords == ["deep", "zorvan"]  # without a comma, spaces separate
    assert result["one"].text == "hello zorvan" and result["one"].duration == 1.0


def test_recordings_can_stay_where_they_are(tmp_path):
    prepare_corpus(corpus(tmp_path, audio="keep"), tmp_path / "prepared", tmp_path / "cache")
    assert Path(everyone(tmp_path)["a"].audio) == (tmp_path / "root" / "wav" / "a.wav").resolve()
    assert list((tmp_path / "prepared" / "audio").iterdir()) == []


def test_rows_that_cannot_be_used_are_quarantined(tmp_path):
    section = corpus(tmp_path)
    rows = [
        "{not json",
        json.dumps([1]),
        json.dumps({"messages": []}),
        json.dumps(row("/lab/x/nothing.wav")),
        json.dumps(row("/etc/passwd")),
        json.dumps(row("/lab/x/../../../secret.wav")),
        json.dumps(row("/lab/x/a.wav", text="<|im_end|>")),
        json.dumps(row("/lab/x/a.wav", id="again", keywords="ok, <audio>")),
    ]
    write_audio(tmp_path / "secret.wav")
    with (tmp_path / "root" / "train.jsonl").open("a") as file:
        file.write("\n".join(rows))
    card = prepare_corpus(section, tmp_path / "prepared", tmp_path / "cache")
    assert (card["accepted"], card["rejected"]) == (4, len(rows))
    lines = [json.loads(line) for line in (tmp_path / "prepared" / "quarantine.jsonl").read_text().splitlines()]
    assert [line["location"].rsplit(":", 1)[1] for line in lines] == [str(number) for number in range(3, 11)]


def test_an_array_is_read_block_by_block(tmp_path, monkeypatch):
    monkeypatch.setattr("sap2.data.swift.BLOCK", 7)
    rows = [row(f"{name}.wav", text="ünï [x] {y} ,") for name in "abcdef"]
    path = tmp_path / "rows.json"
    for text in (json.dumps(rows), json.dumps(rows, indent=2, ensure_ascii=False), "\ufeff " + json.dumps(rows)):
        path.write_text(text, encoding="utf-8")
        assert [item for _, item in json_rows(path)] == rows
    path.write_text(json.dumps(rows)[:-30])
    with pytest.raises(InputError, match=r"rows.json: row 6: the array is broken or ends early"):
        list(json_rows(path))
    path.write_text("[1, {}]")
    assert isinstance(next(json_rows(path))[1], Rejected)


def test_rows_stream_in_constant_memory(tmp_path):
    path = tmp_path / "rows.json"
    path.write_text(json.dumps([row(f"{number}.wav", text="word " * 100) for number in range(20_000)]))
    tracemalloc.start()
    count = sum(1 for _ in json_rows(path))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert count == 20_000 and peak < 10 << 20 < path.stat().st_size


def test_what_is_exported_reads_back_the_same(tmp_path):
    """Also a list of one keyword of two words, which the format itself could not tell from two."""
    lists = {"a": ["deep zorvan"], "b": [], "c": ["meyer", "Kathryn"], "d": ["zorvan"]}
    splits = {"train": ["a", "b"], "dev": ["c"], "test": ["d"]}
    for split, names in splits.items():
        utterances = []
        for name in names:
            write_audio(tmp_path / "first" / "audio" / f"{name}.flac", 1.0, seed=ord(name))
            fields = {"speaker": "anna", "talk": f"t-{name}"} if name != "b" else {}
            utterances.append(
                Utterance(
                    id=name,
                    audio=f"audio/{name}.flac",
                    duration=1.0,
                    text="x deep zorvan",
                    keywords=lists[name],
                    **fields,
                )
            )
        write_manifest(tmp_path / "first" / f"{split}.jsonl", utterances)
        assert export(tmp_path / "first" / f"{split}.jsonl", tmp_path / f"{split}.rows", "recogniser", "full") == len(
            names
        )
    parts = {split: [f"{split}.rows"] for split in SPLITS}
    section = PrepareSection(source="swift", swift={"root": str(tmp_path)} | parts)
    prepare_corpus(section, tmp_path / "prepared", tmp_path / "cache")
    for split in SPLITS:
        assert (tmp_path / "prepared" / f"{split}.jsonl").read_text() == (
            tmp_path / "first" / f"{split}.jsonl"
        ).read_text()


@pytest.mark.parametrize(("stage", "lists"), [("pruner", "full"), ("recogniser", "spoken")])
def test_an_export_has_the_stages_prompt_and_list(tmp_path, stage, lists):
    word = Utterance(id="a", audio="a.wav", duration=1, text="hello zorvan", keywords=["meyer", "zorvan"])
    write_manifest(tmp_path / "m.jsonl", [word])
    export(tmp_path / "m.jsonl", tmp_path / "rows.jsonl", stage, lists)
    [(_, result)] = json_rows(tmp_path / "rows.jsonl")
    user, answer = (turn["content"] for turn in result["messages"])
    assert user.startswith(f"<audio>{tmp_path / 'a.wav'}</audio>")
    assert ("meyer, zorvan" in user, answer) == ((True, "zorvan") if stage == "pruner" else (False, "hello zorvan"))
    with pytest.raises(InputError, match='has no `predicted` list; run "sap2 prune"'):
        export(tmp_path / "m.jsonl", tmp_path / "rows.jsonl", stage, "predicted")


@pytest.mark.parametrize(
    "change",
    [
        {"messages": "x"}, {"messages": [{"role": [], "content": ""}]}, {"audios": {"a": 1}}, {"audios": 3},
        {"duration": "long"}, {"duration": -1}, {"keywords": "ab"}, {"keywords": [1]}, {"speaker": ["x"]}, {"talk": 5},
    ],
)  # fmt: skip
def test_a_row_of_wrong_types_is_quarantined(tmp_path, change):
    section = corpus(tmp_path)
    with (tmp_path / "root" / "train.jsonl").open("a") as file:
        file.write(json.dumps(row("/lab/x/a.wav", id="new") | change))
    card = prepare_corpus(section, tmp_path / "prepared", tmp_path / "cache")
    assert (card["accepted"], card["rejected"]) == (4, 1)
