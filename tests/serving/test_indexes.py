"""Requests may name an index instead of a list; the server keeps recently used indexes, within a limit."""

import os
import re
from dataclasses import replace

import pytest
from fake_stage import FakeStage
from transcription_server import Model, running

from sap2.errors import InputError
from sap2.inference.index import KeywordIndex
from sap2.serving.indexes import IndexFolder
from sap2.serving.keeping import Keeper, requests

VOCABULARY = FakeStage().vocabulary


@pytest.fixture
def folder(tmp_path):
    for name, words in (("names", ["Meyer", "Zorvan"]), ("terms", ["theorem"])):
        KeywordIndex(words, VOCABULARY).save(tmp_path / f"{name}.index")
    return tmp_path


def ask(server, recording, *fields):
    return server.post(("file", recording, "talk.wav"), *fields)


def test_a_request_gets_the_keywords_of_the_index_it_names(folder, recording):
    with running(Model(), indexes=IndexFolder(folder, 1 << 20)) as server:
        status, _, answer = ask(server, recording, ("index", "names"))
        assert (status, answer["text"]) == (200, "first 1.0 s Meyer Zorvan")
        assert ask(server, recording, ("keywords", "Dorst"))[2]["text"] == "first 1.0 s Dorst"
        metrics = server.ask("GET", "/metrics")[2].decode()
    assert "sap2_index_bytes 0.0" not in metrics and "sap2_index_bytes" in metrics
    assert "sap2_keywords_listed_total 1.0" in metrics, "an index is not specific to the recording"


def test_only_keywords_in_use_are_stored_of_an_index(folder, recording, tmp_path):
    class Selecting(Model):
        def recognise(self, audio, keywords):
            return [replace(each, predicted=["Zorvan"], found=[]) for each in super().recognise(audio, keywords)]

    with running(Selecting(), indexes=IndexFolder(folder, 1 << 20), keeper=Keeper(tmp_path / "kept")) as server:
        for fields in ([("index", "names")], [("keywords", "Meyer, Zorvan")]):
            assert ask(server, recording, *fields)[0] == 200
    assert [row["keywords"] for row in requests(tmp_path / "kept")] == [["Zorvan"], ["Meyer", "Zorvan"]]


@pytest.mark.parametrize("name", ["other", "../names", "names.index", "\x00"])
def test_an_unknown_index_is_a_404_that_lists_all_indexes(folder, recording, name):
    with running(Model(), indexes=IndexFolder(folder, 1 << 20)) as server:
        status, _, answer = ask(server, recording, ("index", name))
    assert status == 404 and "there are: names, terms" in answer["error"]["message"]


def test_without_indexes_every_name_is_a_404(recording):
    with running(Model()) as server:
        status, _, answer = ask(server, recording, ("index", "names"))
    assert status == 404 and "there are: none" in answer["error"]["message"]


def test_a_list_together_with_an_index_is_rejected(folder, recording):
    with running(Model(), indexes=IndexFolder(folder, 1 << 20)) as server:
        status, _, answer = ask(server, recording, ("index", "names"), ("keywords", "Dorst"))
    assert status == 400 and "expected at most one of them" in answer["error"]["message"]


def test_a_damaged_index_is_a_500_and_logged(folder, recording, capfd):
    (folder / "names.index").write_bytes(b"nothing")
    with running(Model(), indexes=IndexFolder(folder, 1 << 20)) as server:
        status, _, answer = ask(server, recording, ("index", "names"))
        assert ask(server, recording, ("index", "terms"))[0] == 200
    assert status == 500 and "see the server's log" in answer["error"]["message"]
    assert "names.index: not a whole index" in capfd.readouterr().err


def test_a_replaced_file_is_read_again(folder):
    indexes = IndexFolder(folder, 1 << 20)
    before = indexes.get("names")
    assert indexes.get("names") is before
    KeywordIndex(["Dorst"], VOCABULARY).save(folder / "names.index")
    os.utime(folder / "names.index", (1, 1))
    assert list(indexes.get("names")) == ["Dorst"]


def test_requests_for_many_indexes_stay_within_the_limit(folder, recording):
    size = KeywordIndex.load(folder / "names.index").nbytes
    with running(Model(), indexes=IndexFolder(folder, size)) as server:
        for name in ("names", "terms", "names"):
            assert ask(server, recording, ("index", name))[0] == 200
            metrics = server.ask("GET", "/metrics")[2].decode()
            held = float(re.search(r"^sap2_index_bytes (.+)$", metrics, re.MULTILINE)[1])
            assert 0 < held <= size, "the other index was removed"


def test_loaded_indexes_stay_within_the_limit(folder):
    size = KeywordIndex.load(folder / "names.index").nbytes
    indexes = IndexFolder(folder, size + 1)
    names = indexes.get("names")
    indexes.get("terms")
    assert indexes.nbytes <= size + 1 and indexes.get("names") is not names
    with pytest.raises(InputError, match="no such folder"):
        IndexFolder(folder / "none", 1)
