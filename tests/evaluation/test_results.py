"""Reader of results files: what is refused, and the messages."""

import json

import pytest

from sap2.errors import InputError
from sap2.evaluation.results import CONTEXTS, read_contexts

ROW = {
    "id": "talk1-0001",
    "context": "none",
    "hypothesis": "Hi.",
    "reference": "Hi!",
    "keywords": ["Jon"],
    "predicted": None,
}


def write(path, *rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def refusal(paths):
    with pytest.raises(InputError) as error:
        read_contexts(paths)
    return str(error.value)


def test_contexts_are_in_the_order_of_the_tables(tmp_path):
    paths = {
        context: write(tmp_path / f"{context}.jsonl", {**ROW, "context": context, "predicted": []})
        for context in reversed(CONTEXTS)
    }
    assert list(read_contexts(paths)) == ["none", "full", "predicted", "oracle"]


def test_rows_are_matched_by_id_whatever_their_order(tmp_path):
    first, second = {**ROW, "id": "a", "hypothesis": "one"}, {**ROW, "id": "b", "hypothesis": "two"}
    none = write(tmp_path / "none.jsonl", first, second)
    full = write(tmp_path / "full.jsonl", {**second, "context": "full"}, {**first, "context": "full"})
    contexts = read_contexts({"none": none, "full": full})
    assert [result.hypothesis for result in contexts["full"].values()] == ["one", "two"]


def test_an_unknown_or_absent_context_is_refused():
    expected = "expected files named after contexts, CONTEXT.jsonl of: none, full, predicted, oracle"
    assert refusal({"half": "x"}) == f"x: {expected}"
    assert refusal({}) == f"no results: {expected}"


def test_a_missing_and_an_empty_file_are_refused(tmp_path):
    assert "no such file" in refusal({"none": tmp_path / "none.jsonl"})
    assert "no results, expected" in refusal({"none": write(tmp_path / "none.jsonl")})


def test_a_repeated_id_is_refused_with_both_lines(tmp_path):
    path = write(tmp_path / "none.jsonl", ROW, {**ROW, "id": "b"}, ROW)
    assert refusal({"none": path}) == (
        f"{path}:3 (talk1-0001): this id is already in line 1; expected each utterance once"
    )


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"id": 7}, ':1: field "id" is 7, expected a string; run "sap2 decode" again'),
        ({"hypothesis": None}, ':1 (talk1-0001): field "hypothesis" is None, expected a string'),
        ({"keywords": "Jon"}, ":1 (talk1-0001): field \"keywords\" is 'Jon', expected a list of strings"),
        ({"keywords": ["Jon", 3]}, ":1 (talk1-0001): field \"keywords\" is ['Jon', 3], expected strings"),
        ({"duration": True}, ':1 (talk1-0001): field "duration" is True, expected a number of seconds'),
        ({"context": "full"}, ":1 (talk1-0001): context is 'full', expected 'none'; give each context its own file"),
    ],
)
def test_a_broken_row_is_refused_with_file_line_and_id(tmp_path, change, words):
    path = write(tmp_path / "none.jsonl", {**ROW, **change})
    assert refusal({"none": path}).startswith(f"{path}{words}")


def test_a_missing_field_is_called_nothing(tmp_path):
    path = write(tmp_path / "none.jsonl", {key: value for key, value in ROW.items() if key != "reference"})
    assert 'field "reference" is nothing, expected a string' in refusal({"none": path})


def test_the_predicted_context_must_hold_stage_1_answers(tmp_path):
    path = write(tmp_path / "p.jsonl", {**ROW, "context": "predicted"})
    assert 'field "predicted" is None, expected a list of strings' in refusal({"predicted": path})


def test_contexts_must_hold_the_same_utterances(tmp_path):
    none = write(tmp_path / "none.jsonl", ROW, {**ROW, "id": "b"})
    full = write(tmp_path / "full.jsonl", {**ROW, "context": "full"}, {**ROW, "id": "c", "context": "full"})
    assert refusal({"none": none, "full": full}) == (
        f"{full}: b missing; c not in {none}; got 2 utterances, expected the 2 of {none}: "
        "a score must cover all utterances"
    )


@pytest.mark.parametrize(("field", "value"), [("reference", "Ho!"), ("keywords", ["John"])])
def test_contexts_must_be_on_the_same_data(tmp_path, field, value):
    none = write(tmp_path / "none.jsonl", ROW)
    full = write(tmp_path / "full.jsonl", {**ROW, "context": "full", field: value})
    assert refusal({"none": none, "full": full}).startswith(
        f"{full} (talk1-0001): its {field} differs from that in {none}"
    )
