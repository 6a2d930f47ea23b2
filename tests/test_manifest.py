"""Utterances are written and read without loss, and errors name file, line and id."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sap2.errors import InputError
from sap2.manifest import (
    Utterance,
    audio_path,
    from_swift,
    keyword_fault,
    read_manifest,
    relocated,
    spoken,
    to_swift,
    unique_keywords,
    write_manifest,
)

ONE = Utterance(
    id="talk3-0007",
    audio="audio/talk3-0007.flac",
    duration=2.6,
    text="the next slide is by meyer on deep zorvan",
    keywords=["maier", "Meyer", "deep zorvan", "deep", "van"],
    talk="talk3",
)


def test_written_manifests_read_back_the_same(tmp_path):
    two = ONE.model_copy(update={"id": "b", "predicted": []})
    path = tmp_path / "train.jsonl"
    assert write_manifest(path, [ONE, two]) == 2
    assert read_manifest(path) == [ONE, two]
    assert "predicted" not in path.read_text(encoding="utf-8").splitlines()[0]


def test_unknown_keys_are_kept(tmp_path):
    path = tmp_path / "train.jsonl"
    path.write_text(json.dumps({**ONE.model_dump(), "slide": 12}) + "\n")
    write_manifest(path, [utterance.with_predicted(["Meyer"]) for utterance in read_manifest(path)])
    row = json.loads(path.read_text())
    assert (row["slide"], row["predicted"]) == (12, ["Meyer"])


def test_spoken_keywords_are_whole_words_in_list_order():
    assert spoken(ONE) == ["Meyer", "deep zorvan", "deep"]


def test_keywords_are_normalised_and_deduplicated():
    assert ONE.with_keywords(["deep  zorvan", "Deep Zorvan", " x "]).keywords == ["deep zorvan", "x"]


def test_keywords_with_accents_match_in_any_unicode_form():
    utterance = ONE.with_keywords(["Mu\u0308ller", "MÜLLER", "Zoë"]).model_copy(
        update={"text": "zoe\u0308 thanks müller"}
    )
    assert utterance.keywords == ["Müller", "Zoë"] == spoken(utterance)


def test_operations_return_new_records_with_the_same_id():
    changed = ONE.with_predicted(["Meyer"])
    assert (changed.id, changed.predicted, ONE.predicted) == (ONE.id, ["Meyer"], None)


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"duration": -1.2}, "duration is -1.2, must be greater than 0"),
        ({"duration": float("nan")}, "duration is nan, must be a finite number"),
        ({"snr": [1.5, float("inf")]}, "snr is [1.5, inf], must contain only finite numbers"),
        ({"text": "  "}, "text is '  ', must contain at least one word"),
        ({"id": ""}, "id is ''"),
        ({"keywords": ["smith, john"]}, "a comma inside the keyword 'smith, john'"),
        ({"keywords": ["a<|endofcontext|>"]}, "the marker <|endofcontext|> inside the keyword"),
        ({"keywords": ["<audio>"]}, "the marker <audio> inside the keyword"),
        ({"keywords": "meyer"}, "keywords is 'meyer', must be a valid list"),
    ],
)
def test_a_bad_line_is_named_by_file_line_and_id(tmp_path, change, message):
    path = tmp_path / "train.jsonl"
    row = {**ONE.model_dump(), "id": "bad", **change}
    path.write_text(f"{json.dumps(ONE.model_dump())}\n\n{json.dumps(row)}\n")
    with pytest.raises(InputError) as caught:
        read_manifest(path)
    assert str(caught.value).startswith(f"{path}:3 ({row['id']}): ")
    assert message in str(caught.value)


def test_missing_fields_duplicate_ids_and_non_json_are_named(tmp_path):
    path = tmp_path / "train.jsonl"
    path.write_text('{"id": "a", "audio": "a.wav", "text": "one"}\n')
    with pytest.raises(InputError, match=r"train.jsonl:1 \(a\): duration is missing"):
        read_manifest(path)
    write_manifest(path, [ONE, ONE])
    with pytest.raises(InputError, match=r"train.jsonl:2 \(talk3-0007\): the id is already on line 1"):
        read_manifest(path)
    path.write_text("id: a\n")
    with pytest.raises(InputError, match=r"train.jsonl:1: not JSON"):
        read_manifest(path)
    path.write_text("\n")
    with pytest.raises(InputError, match="holds no utterance"):
        read_manifest(path)
    with pytest.raises(InputError, match="no such file"):
        read_manifest(tmp_path / "nothing.jsonl")


def test_relative_audio_starts_at_the_manifest_and_moves_with_it(tmp_path):
    source, target = tmp_path / "prepared" / "dev.jsonl", tmp_path / "pruned" / "dev.jsonl"
    moved = relocated(ONE, source, target)
    assert moved.audio == "../prepared/audio/talk3-0007.flac"
    assert audio_path(moved, target).resolve() == audio_path(ONE, source).resolve()
    assert relocated(ONE.with_audio("/a/b.wav"), source, target).audio == "/a/b.wav"


def test_swift_rows_carry_prompt_list_and_answer():
    row = to_swift(ONE, "recogniser", ["Meyer", "deep zorvan"])
    user, assistant = row["messages"]
    assert user["content"].startswith("<audio>audio/talk3-0007.flac</audio>Transcribe speech to text according to")
    assert user["content"].endswith("<|startofcontext|>Meyer, deep zorvan<|endofcontext|>")
    assert assistant == {"role": "assistant", "content": ONE.text}
    pruning = to_swift(ONE, "pruner")["messages"]
    assert "<|startofcontext|>maier, Meyer, deep zorvan, deep, van<|endofcontext|>" in pruning[0]["content"]
    assert pruning[1]["content"] == "Meyer, deep zorvan, deep"
    assert to_swift(ONE, "pruner", ["maier"])["messages"][1]["content"] == "none"


words = st.text("abcdefgh'", min_size=1, max_size=6)


@given(st.lists(words, max_size=5), st.lists(words, min_size=1, max_size=6))
def test_swift_rows_read_back_the_same(keywords, text):
    utterance = ONE.model_copy(update={"keywords": unique_keywords(keywords), "text": " ".join(text), "talk": None})
    back = from_swift(to_swift(utterance, "recogniser", utterance.keywords))
    assert back == utterance


def test_swift_rows_of_the_public_metadata_are_read():
    """A list in `audios`, a bare <audio>, keywords separated by spaces, no id and no duration."""
    row = {
        "messages": [
            {"role": "user", "content": "<audio>Transcribe it <|startofcontext|>keyword1 select<|endofcontext|>"},
            {"role": "assistant", "content": "transcribed text"},
        ],
        "audios": ["/path/a.wav"],
    }
    utterance = from_swift(row, duration=2.0)
    assert (utterance.id, utterance.audio, utterance.text, utterance.keywords) == (
        "a",
        "/path/a.wav",
        "transcribed text",
        ["keyword1", "select"],
    )


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({}, "expected `messages`"),
        (to_swift(ONE, "pruner"), "has no transcript"),
        ({**to_swift(ONE, "recogniser"), "duration": -1}, "duration is -1"),
        ({**to_swift(ONE, "recogniser"), "duration": None}, "has no duration"),
    ],
)
def test_invalid_swift_rows_are_rejected_with_the_reason(row, message):
    with pytest.raises(InputError, match=message):
        from_swift(row)


@given(st.text(max_size=20))
def test_valid_keywords_have_no_separator_or_marker(keyword):
    if keyword_fault(keyword) is None:
        assert "," not in keyword and "<|" not in keyword.replace("<|", "", 0) or "|>" not in keyword
        assert keyword.strip() and keyword.isprintable()
