"""Formats are detected from the content; errors name file, line and id."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sap2.errors import InputError
from sap2.evaluation import reading
from sap2.evaluation.reading import read_lists, read_source, read_training

PROMPT = "<audio>/x/talk-7.wav</audio>Transcribe speech to text according to keywords may appear in the utterance. "
MARKED = "Possible keywords are: <|startofcontext|>{}<|endofcontext|>"


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return path


def only(path, text, text_is="hypothesis"):
    source = read_source(write(path, text), text_is)
    (row,) = source.rows.values()
    return source.kind, row


def refusal(path, text, read=read_source):
    write(path, text)
    with pytest.raises(InputError) as error:
        read(path)
    assert str(error.value).startswith(str(path))
    return str(error.value).removeprefix(str(path))


def test_deep_bias_references_hold_text_rare_words_and_list(tmp_path):
    kind, row = only(tmp_path / "x", 'u-1\task meyer\t["meyer"]\t["jon", "meyer", "o\'neil"]\n', "reference")
    assert (kind, row.id, row.reference, row.hypothesis) == ("TSV", "u-1", "ask meyer", None)
    assert (row.biasing, list(row.keywords)) == (("meyer",), ["jon", "meyer", "o'neil"])


def test_rare_words_alone_are_the_list_too(tmp_path):
    _, row = only(tmp_path / "x", 'u-1\task meyer\t["meyer"]\n')
    assert (row.reference, row.biasing, row.keywords) == ("ask meyer", ("meyer",), ("meyer",))


def test_deep_bias_hypotheses_may_be_empty_with_or_without_tab(tmp_path):
    source = read_source(write(tmp_path / "x", "a\tone two\nb\t\nc\n\n"))
    assert {id: row.hypothesis for id, row in source.rows.items()} == {"a": "one two", "b": "", "c": ""}


def test_kaldi_text_begins_with_the_id(tmp_path):
    source = read_source(write(tmp_path / "x", "a one two\r\nb\n  c   three  \n"), "reference")
    assert source.kind == "Kaldi text"
    assert {id: row.reference for id, row in source.rows.items()} == {"a": "one two", "b": "", "c": "three"}


@pytest.mark.parametrize("block", [1, 7, 16, 1000])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_file_may_be_of_several_blocks(tmp_path, monkeypatch, block, end):
    monkeypatch.setattr(reading, "BLOCK", block)
    lines = ["\ufeffa\tone\u2028two", "", "b\t\u00e9\rt\u00e9", "c\t", "d\tthree"]
    for text in (end.join(lines), end.join(lines) + end):
        rows = read_source(write(tmp_path / "x", text)).rows
        assert {id: (row.line, row.hypothesis) for id, row in rows.items()} == {
            "a": (1, "one\u2028two"), "b": (3, "\u00e9\rt\u00e9"), "c": (4, ""), "d": (5, "three"),
        }  # fmt: skip


def test_a_non_utf_8_line_is_named_in_any_block(tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "BLOCK", 16)
    (tmp_path / "x").write_bytes("".join(f"a{n}\tone\n" for n in range(90)).encode() + b"b\tf\xfcnf\n")
    with pytest.raises(InputError, match=r"x:91: not UTF-8 \(invalid start byte\)"):
        read_source(tmp_path / "x")


def test_lists_of_many_lines_stay_with_their_lines(tmp_path):
    lines = [f'u{n}\tone\t["w{n}"]\t["w{n}", "x"]' for n in range(120)]
    lines[60] = 'u60\tone\t[]\t["w\\u0036\\u0030", "x"]'
    rows = read_source(write(tmp_path / "x", "\n".join(lines)), "reference").rows
    assert [list(row.keywords) for row in rows.values()] == [[f"w{n}", "x"] for n in range(120)]
    lines[70] = 'u70\tone\t[]\t["a", 3]'
    assert refusal(tmp_path / "x", "\n".join(lines)).startswith(":71 (u70): list ")


def test_trn_ends_with_the_id(tmp_path):
    source = read_source(write(tmp_path / "x", "one (two) (spk-a)\n(spk-b)\n"))
    assert source.kind == "trn"
    assert {id: row.hypothesis for id, row in source.rows.items()} == {"spk-a": "one (two)", "spk-b": ""}


def test_a_kaldi_line_may_end_with_brackets(tmp_path):
    source = read_source(write(tmp_path / "x", "a one (laughs)\nb two\n"))
    assert source.rows["a"].hypothesis == "one (laughs)"


def test_our_manifest_is_a_reference_with_a_list(tmp_path):
    row = {"id": "u", "audio": "u.wav", "duration": 2.5, "text": "ask meyer", "keywords": ["Meyer"], "talk": "t"}
    kind, result = only(tmp_path / "x", json.dumps({**row, "predicted": ["Jon"]}))
    assert (kind, result.reference, result.hypothesis) == ("JSON lines", "ask meyer", None)
    assert (result.keywords, result.predicted, result.duration, result.talk) == (("Meyer",), ("Jon",), 2.5, "t")


def test_our_results_hold_both_texts(tmp_path):
    row = {"id": "u", "hypothesis": "a", "reference": "b", "keywords": [], "messages": [], "response": "x"}
    _, result = only(tmp_path / "x", json.dumps(row))
    assert (result.hypothesis, result.reference, result.keywords) == ("a", "b", ())


@pytest.mark.parametrize("wrap", [lambda row: json.dumps(row), lambda row: json.dumps([row], indent=2)])
@pytest.mark.parametrize("listed", ["Jon, hidden layer", "Jon layer"])
def test_swift_results_are_known_by_their_recording(tmp_path, wrap, listed):
    row = {
        "messages": [
            {"role": "user", "content": PROMPT + MARKED.format(listed)}, {"role": "assistant", "content": "x"},
        ],
        "audios": ["/data/talk-7.wav"], "response": "ask jon", "labels": "ask Jon",
    }  # fmt: skip
    kind, result = only(tmp_path / "x", wrap(row))
    assert kind in ("JSON lines", "JSON array")
    assert (result.id, result.hypothesis, result.reference) == ("talk-7", "ask jon", "ask Jon")
    assert result.keywords == (("Jon", "hidden layer") if "," in listed else ("Jon", "layer"))


def test_a_joint_answer_is_split(tmp_path):
    prompt = "First select keywords that may appear … Then Transcribe speech to text according to selected keywords. "
    answer = "Selected keywords are: Jon.\nTranscription: {}"
    row = {
        "id": "u", "response": answer.format("ask john"), "labels": answer.format("ask jon"),
        "messages": [{"role": "user", "content": prompt + MARKED.format("Jon, Meyer")}],
    }  # fmt: skip
    _, result = only(tmp_path / "x", json.dumps(row))
    assert (result.hypothesis, result.reference, result.predicted) == ("ask john", "ask jon", ("Jon",))


def test_answers_of_stage_1_are_no_transcripts(tmp_path):
    messages = [{"role": "user", "content": "Select keywords that may appear. " + MARKED.format("Jon")}]
    row = json.dumps({"id": "u", "response": "Jon", "messages": messages})
    assert ":1 (u): its prompt requests keywords" in refusal(tmp_path / "x", row)


def test_a_text_alone_is_what_the_file_is_for(tmp_path):
    line = json.dumps({"id": "u", "text": "hi"})
    assert only(tmp_path / "x", line)[1].hypothesis == "hi"
    assert only(tmp_path / "x", line, "reference")[1].reference == "hi"


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", ": empty, expected one line per utterance"),
        (" \n\n", ": empty, expected one line per utterance"),
        ("a one\nb two\na three\n", ":3 (a): this id is already in line 1; expected each utterance once"),
        ("one (a)\ntwo b\n" * 30, ":2"),
        ("a\tone\n\ttwo\n", ":2: no id before the first tab"),
        ("a\tone\t[]\t[]\tfive\n", ":1 (a): 5 columns, expected at most id, text, rare words and list"),
        ("a\tone\t[1]\n", ":1 (a): rare words '[1]' are not a JSON list of strings"),
        ("a\tone\t[]\tmeyer\n", ":1 (a): list 'meyer' are not a JSON list of strings"),
        ('{"id": "a", "hypothesis": "x"}\n{"id": \n', ":2: not JSON"),
        ('{"id": "a"}\n[1]\n', ":2: got list, expected a JSON object"),
        ('{"hypothesis": "x"}\n', ':1: no id, expected a field "id", or "audios"'),
        ('{"id": "a", "hypothesis": 3}\n', ':1 (a): field "hypothesis" is 3, expected a string'),
        ('{"id": "a", "keywords": "Jon"}\n', ":1 (a): field \"keywords\" is 'Jon', expected a list of strings"),
        ('{"id": "a", "keywords": ["Jon", 3]}\n', ":1 (a): field \"keywords\" is ['Jon', 3], expected strings"),
        ('{"id": "a", "duration": true}\n', ':1 (a): field "duration" is True, expected a number of seconds'),
        ('[\n{"id": "a"},\n{"id": }\n]', ":3: not JSON"),
        ('[\n{"id": "a"}\n{"id": "b"}\n]', ":2: expected a comma or ] after this object of the array"),
    ],
)
def test_a_broken_line_is_refused_with_file_and_line(tmp_path, text, message):
    if text.startswith("one (a)"):  # the format is detected from the first fifty lines: a later line breaks it
        text = "one (a)\n" + "".join(f"x (a{number})\n" for number in range(60)) + "two b\n"
        message = ":62: got 'two b', expected text and (id), as in the lines before it"
    assert refusal(tmp_path / "x", text).startswith(message)


def test_files_that_cannot_be_opened_are_refused(tmp_path):
    (tmp_path / "latin").write_bytes("a one\nb \xe9\n".encode("latin-1"))
    for name, message in (("nothing", "no such file"), ("", "a folder"), ("latin", "latin:2: not UTF-8")):
        with pytest.raises(InputError, match=message):
            read_source(tmp_path / name)


def test_a_plain_file_is_a_common_list(tmp_path):
    path = write(tmp_path / "x", "Meyer\nhidden  layer\n\nO'Neil\nMeyer\n")
    assert read_lists(path) == ("Meyer", "hidden layer", "O'Neil")


@pytest.mark.parametrize("cell", ['["Jon", "hidden layer"]', "Jon, hidden  layer"])
def test_lists_by_utterance_are_json_or_separated_by_commas(tmp_path, cell):
    source = read_lists(write(tmp_path / "x", f"u\t{cell}\nv\t\n"))
    assert {id: row.keywords for id, row in source.rows.items()} == {"u": ("Jon", "hidden layer"), "v": ()}


def test_a_json_line_without_a_list_is_refused_as_a_list(tmp_path):
    assert refusal(tmp_path / "x", '{"id": "u", "text": "hi"}', read_lists).startswith(":1 (u): no list, expected")


def test_training_words_come_from_texts_or_counts(tmp_path):
    assert read_training(write(tmp_path / "x", "the\t12\nmeyer\t3\n")) == {"the": 12, "meyer": 3}
    assert read_training(write(tmp_path / "y", "u1 the meyer\nu2 the\n")) == {"the": 2, "meyer": 1}
    counts = "".join(f"w{number}\t1\n" for number in range(60)) + "meyer\tmany\n"
    assert refusal(tmp_path / "z", counts, read_training).startswith(":61: got 'meyer\\tmany', expected a word, a tab")


ids = st.text("ab-_0.", min_size=1, max_size=5)
texts = st.lists(st.text("ab\u00e9\u4e2d'-", min_size=1, max_size=4), max_size=5).map(" ".join)


@given(st.dictionaries(ids, texts, min_size=1, max_size=5))
def test_every_format_says_the_same(tmp_path_factory, rows):
    folder = tmp_path_factory.mktemp("formats")
    written = {
        "kaldi": "".join(f"{id} {text}\n" for id, text in rows.items()),
        "trn": "".join(f"{text} ({id})\n" for id, text in rows.items()),
        "tsv": "".join(f"{id}\t{text}\n" for id, text in rows.items()),
        "jsonl": "".join(json.dumps({"id": id, "hypothesis": text}) + "\n" for id, text in rows.items()),
        "array": json.dumps([{"id": id, "response": text} for id, text in rows.items()], indent=1),
    }
    for name, content in written.items():
        source = read_source(write(folder / name, content))
        assert {id: row.hypothesis for id, row in source.rows.items()} == rows
