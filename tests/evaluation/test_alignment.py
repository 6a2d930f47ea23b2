"""Rules of the two alignments, checked against slow and plain re-implementations."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sap2.errors import ParamsError
from sap2.evaluation.alignment import DEFINITIONS, Edit, align, align_all, definition_of

words = st.lists(st.sampled_from("abc"), max_size=7)
definitions = st.sampled_from(sorted(DEFINITIONS))


def plain_alignment(reference, hypothesis, definition):
    """The textbook table with stored back pointers: the first move in the order of preference that costs least."""
    costs, moves = {(0, 0): 0}, {}
    for row in range(len(reference) + 1):
        for column in range(len(hypothesis) + 1):
            options = {}
            if row and column:
                differs = reference[row - 1] != hypothesis[column - 1]
                options["diagonal"] = costs[row - 1, column - 1] + differs * definition.substitution
            if column:
                options["insertion"] = costs[row, column - 1] + definition.insertion
            if row:
                options["deletion"] = costs[row - 1, column] + definition.deletion
            if options:
                best = min((move for move in definition.preference if move in options), key=options.__getitem__)
                costs[row, column], moves[row, column] = options[best], best
    edits, row, column = [], len(reference), len(hypothesis)
    while row or column:
        move = moves[row, column]
        row, column = row - (move != "insertion"), column - (move != "deletion")
        spoken = None if move == "insertion" else reference[row]
        written = None if move == "deletion" else hypothesis[column]
        kind = move if move != "diagonal" else "equal" if spoken == written else "substitution"
        edits.insert(0, Edit(kind, spoken, written))
    return tuple(edits)


@given(words, words, definitions)
def test_the_alignment_is_the_textbook_alignment(reference, hypothesis, name):
    assert align(reference, hypothesis, name) == plain_alignment(reference, hypothesis, DEFINITIONS[name])


@given(words, words, words, words, definitions)
def test_what_is_equal_at_both_ends_changes_no_alignment(start, reference, hypothesis, end, name):
    said, written = start + reference + end, start + hypothesis + end
    assert align(said, written, name) == plain_alignment(said, written, DEFINITIONS[name])


def test_tuples_and_lists_of_the_same_words_are_equal():
    assert [edit.kind for edit in align(("a", "b"), ["a", "b"])] == ["equal", "equal"]


@given(st.lists(st.tuples(words, words), max_size=6), definitions)
def test_aligning_together_equals_aligning_alone(pairs, name):
    assert align_all(pairs, name) == [align(*pair, name) for pair in pairs]


@given(words, words, definitions)
def test_an_alignment_spells_both_texts(reference, hypothesis, name):
    edits = align(reference, hypothesis, name)
    assert [edit.reference for edit in edits if edit.kind != "insertion"] == reference
    assert [edit.hypothesis for edit in edits if edit.kind != "deletion"] == hypothesis


def test_many_pairs_are_split_into_chunks_and_come_back_in_order():
    pairs = [(["x"] * length, ["y"] * (900 - length)) for length in range(0, 900, 60)]
    kinds = [[edit.kind for edit in alignment] for alignment in align_all(pairs)]
    assert [row.count("deletion") + row.count("substitution") for row in kinds] == [
        len(reference) for reference, _ in pairs
    ]


def test_deep_bias_prefers_deletion_and_insertion():
    # Cost 6 against 8: under unit costs the two substitutions of "a b" by "b c" cost as little as that.
    assert [edit.kind for edit in align("a b".split(), "b c".split())] == ["deletion", "equal", "insertion"]


def test_ties_are_broken_as_each_definition_says():
    # One of two equal words is missing: walking from the end, the diagonal comes first for one and last for the other.
    assert [edit.kind for edit in align(["a", "a"], ["a"], "deep-bias")] == ["deletion", "equal"]
    assert [edit.kind for edit in align(["a", "a"], ["a"], "slidespeech")] == ["equal", "deletion"]
    assert [edit.kind for edit in align(["a"], ["a", "a"], "deep-bias")] == ["insertion", "equal"]
    assert [edit.kind for edit in align(["a"], ["a", "a"], "slidespeech")] == ["equal", "insertion"]


def test_empty_sides_align_to_nothing_insertions_or_deletions():
    assert align([], []) == ()
    assert align([], ["a"]) == (Edit("insertion", None, "a"),)
    assert align(["a"], []) == (Edit("deletion", "a", None),)
    assert align_all([]) == []


def test_an_unknown_definition_is_refused_by_name():
    with pytest.raises(
        ParamsError, match=r"evaluation\.definition: got 'kaldi', expected one of: deep-bias, slidespeech"
    ):
        definition_of("kaldi")
