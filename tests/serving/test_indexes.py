"""Requests name an index in a list's place; the server holds those used last, within a bound."""

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
        assert (status, answer["text"]) == (200, "one 1.0 s Meyer Zorvan")
        assert ask(server, recording, ("keywords", "Dorst"))[2]["text"] == "one 1.0 s Dorst"
        metrics = server.ask("GET", "/metrics")[2].decode()
    assert "sap2_index_bytes 0.0" not in metrics and "sap2_index_bytes" in metrics
    assert "sap2_keywords_listed_total 1.0" in metrics, "an index is not chosen for the recording"


def test_of_an_index_what_took_part_is_kept(folder, recording, tmp_path):
    class Selecting(Model):
        def recognise(self, audio, keywords):
            return [replace(one, predicted=["Zorvan"], found=[]) for one in super().recognise(audio, keywords)]

    with running(Selecting(), indexes=IndexFolder(folder, 1 << 20), keeper=Keeper(tmp_path / "kept")) as server:
        for fields in ([("index", "names")], [("keywords", "Meyer, Zorvan")]):
            assert ask(server, recording, *fields)[0] == 200
    assert [row["keywords"] for row in requests(tmp_path / "kept")] == [["Zorvan"], ["Meyer", "Zorvan"]]


@pytest.mark.parametrize("name", ["other", "../names", "names.index", "\x00"])
def test_an_unknown_index_is_404_with_those_there_are(folder, recording, name):
    with running(Model(), indexes=IndexFolder(folder, 1 << 20)) as server:
        status, _, answer = ask(server, recording, ("index", name))
    assert status == 404 and "there are: names, terms" in answer["error"]["message"]


def test_a_server_without_indexes_says_so(recording):
    with running(Model()) as server:
        status, _, answer = ask(server, recording, ("index", "names"))
    assert status == 404 and "there are: none" in answer["error"]["message"]


def test_a_list_beside_an_index_is_refused(folder, recording):
    with running(Model(), indexes=IndexFolder(folder, 1 << 20)) as server:
        status, _, answer = ask(server, recording, ("index", "names"), ("keywords", "Dorst"))
    assert status == 400 and "expected one of them" in answer["error"]["message"]


def test_a_damaged_index_is_500_and_named_in_the_log(folder, recording, capfd):
    (folder / "names.index").write_bytes(b"nothing")
    with running(Model(), indexes=IndexFolder(folder, 1 << 20)) as server:
        status, _, answer = ask(server, recording, ("index", "names"))
        assert ask(server, recording, ("index", "terms"))[0] == 200
    assert status == 500 and "log says why" in answer["error"]["message"]
    assert "names.index: not a whole index" in capfd.readouterr().err


def test_a_replaced_file_is_read_again(folder):
    indexes = IndexFolder(folder, 1 << 20)
    before = indexes.get("names")
    assert indexes.get("names") is before
    KeywordIndex(["Dorst"], VOCABULARY).save(folder / "names.index")
    os.utime(folder / "names.index", (1, 1))
    assert list(indexes.get("names")) == ["Dorst"]


def test_requests_for_many_indexes_leave_memory_within_the_bound(folder, recording):
    size = KeywordIndex.load(folder / "names.index").nbytes
    with running(Model(), indexes=IndexFolder(folder, size)) as server:
        for name in ("names", "terms", "names"):
            assert ask(server, recording, ("index", name))[0] == 200
            metrics = server.ask("GET", "/metrics")[2].decode()
            held = float(re.search(r"^sap2_index_bytes (.+)$", metrics, re.MULTILINE)[1])
            assert 0 < held <= size, "the other is gone"


def test_indexes_used_last_stay_within_the_bound(folder):
    size = KeywordIndex.load(folder / "names.index").nbytes
    indexes = IndexFolder(folder, size + 1)
    names = indexes.get("names")
    indexes.get("terms")
    assert indexes.nbytes <= size + 1 and indexes.get("names") is not names
    with pytest.raises(InputError, match="no such folder"):
        IndexFolder(folder / "none", 1)
