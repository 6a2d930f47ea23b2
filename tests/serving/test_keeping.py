"""Requests are stored only if enabled, and corrections become training data."""

import json

import numpy as np
import pytest

from sap2.data.audio import load_audio
from sap2.errors import InputError
from sap2.manifest import read_manifest
from sap2.serving.keeping import Keeper, add_correction, corrections, requests


@pytest.fixture
def kept(start, recording, tmp_path):
    """A folder with a stored answer, the answer's id and its text."""
    with start(keeper=Keeper(tmp_path / "kept")) as server:
        status, headers, answer = server.post(("file", recording, "../a.wav"), ("keywords", "Meyer, Zorvan"))
        assert status == 200
    return tmp_path / "kept", headers["x-sap2-id"], answer["text"]


def test_an_answer_is_stored_with_its_recording_list_and_scores(kept):
    folder, id, text = kept
    (row,) = requests(folder)
    assert (row["id"], row["text"], row["keywords"]) == (id, text, ["Meyer", "Zorvan"])
    assert (row["found"], row["scores"]["Meyer"], row["model"]) == (["Meyer", "Zorvan"], -0.5, "models:/m/1")
    assert len(load_audio(folder / row["audio"])) == 16_000
    assert {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()} == {
        "requests.jsonl", f"audio/{id}.flac"
    }  # fmt: skip


def test_by_default_answers_are_not_stored_and_have_no_id(start, recording, tmp_path):
    with start() as server:
        _, headers, _ = server.post(("file", recording, "a.wav"))
    assert "x-sap2-id" not in headers


def test_each_answer_of_a_batch_has_an_id(start, recording, tmp_path):
    with start(keeper=Keeper(tmp_path)) as server:
        parts = [("file", recording, "a.wav"), ("file", b"x", "b.wav"), ("file", recording, "c.wav")]
        _, _, answer = server.post(*parts, path="/v1/audio/transcriptions/batch")
    first, broken, last = answer["results"]
    assert [row["id"] for row in requests(tmp_path)] == [first["id"], last["id"]] and "id" not in broken


def test_a_full_disk_does_not_prevent_answers(start, recording, tmp_path, monkeypatch):
    keeper = Keeper(tmp_path)
    monkeypatch.setattr(keeper, "add", lambda *_: (_ for _ in ()).throw(OSError("No space left on device")))
    with start(keeper=keeper) as server:
        status, headers, _ = server.post(("file", recording, "a.wav"))
    assert status == 200 and "x-sap2-id" not in headers


def test_the_last_correction_becomes_a_training_utterance(kept, tmp_path):
    folder, id, _ = kept
    manifest = tmp_path / "data" / "feedback.jsonl"
    add_correction(folder, id, "Ask Meier!", manifest)
    add_correction(folder, id, "Ask Meyer, please.", manifest)
    (utterance,) = read_manifest(manifest)
    assert (utterance.id, utterance.text, utterance.keywords) == (id, "ask meyer please", ["Meyer", "Zorvan"])
    assert np.isclose(utterance.duration, 1.0) and len(load_audio(utterance.audio)) == 16_000
    assert corrections(folder) == {id: "ask meyer please"}


def test_a_correction_needs_a_stored_answer_and_words(kept, tmp_path):
    folder, id, _ = kept
    with pytest.raises(InputError, match="holds no answer 'other'; ids are in the answers' header x-sap2-id"):
        add_correction(folder, "other", "ask meyer", tmp_path / "m.jsonl")
    with pytest.raises(InputError, match="holds no word"):
        add_correction(folder, id, "?!", tmp_path / "m.jsonl")
    assert not (tmp_path / "m.jsonl").exists()


def test_lines_written_by_many_threads_stay_complete(start, recording, tmp_path):
    from concurrent.futures import ThreadPoolExecutor

    with start(keeper=Keeper(tmp_path)) as server, ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: server.post(("file", recording, "a.wav")), range(24)))
    lines = (tmp_path / "requests.jsonl").read_text().splitlines()
    assert len({json.loads(line)["id"] for line in lines}) == 24
