"""Which page was shown when: read as written, or estimated by a path that never goes back and is the best there is."""

from itertools import combinations_with_replacement

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from sap2.errors import InputError
from sap2.slides.timing import align, likeness, monotone_path, pages_around, read_times, shown_between

SCORES = arrays(np.float64, array_shapes(min_dims=2, max_dims=2, max_side=5), elements=st.floats(0, 1, width=16))


@given(SCORES, st.floats(0, 1, width=16))
def test_the_path_never_goes_back_and_none_is_better(score, cost):
    def worth(path):
        return sum(score[row, column] for row, column in enumerate(path)) - cost * path[-1]

    path = monotone_path(score, cost)
    rows, columns = score.shape
    assert len(path) == rows and path == sorted(path) and 0 <= path[0] and path[-1] < columns
    best = max(map(worth, combinations_with_replacement(range(columns), rows)))
    assert worth(path) == pytest.approx(best, abs=1e-9)


def test_a_talk_is_found_on_its_pages_though_names_are_misheard_and_a_page_is_skipped():
    topics = [
        "zorvan graphs and trees",
        "kathryn meyer proves it",
        "tokens of lists",
        "speech encoders",
        "thank you all",
    ]
    said = ["the graphs of sorvin", "uh so", "catherine maier proves", "an encoder for speech", "well thank you"]
    found = align(said, topics)
    assert [found[place] for place in (0, 2, 3, 4)] == [1, 2, 4, 5] and found[1] in (1, 2)


def test_without_a_word_in_common_nothing_moves_on():
    assert align(["aaa", "bbb"], ["xyz", "uvw"]) == [1, 1]
    assert align([], ["xyz"]) == []
    assert likeness(["xyz", ""], ["xyz", ""]).tolist() == [[pytest.approx(1.0), 0], [0, 0]]


def test_times_are_read_in_any_usual_form(tmp_path):
    path = tmp_path / "times.tsv"
    path.write_text("start\tpage\n0\t1\n1:30 3\n01:00:02,5\t2\n")
    assert read_times(path) == [(0.0, 1), (90.0, 3), (3602.5, 2)]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "holds no times"),
        ("0 1\n1:xx 2\n", "times.tsv:2: '1:xx 2', expected a time and a page"),
        ("0 0\n", "times.tsv:1: '0 0'"),
        ("9 1\n8 2\n", "times.tsv:2: 8 is earlier than the line before"),
    ],
)
def test_times_that_cannot_be_used_are_refused_with_their_line(tmp_path, text, reason):
    path = tmp_path / "times.tsv"
    path.write_text(text)
    with pytest.raises(InputError, match=reason):
        read_times(path)


@pytest.mark.parametrize(
    ("start", "end", "pages"), [(0, 5, [1]), (10, 12, [2]), (5, 25, [1, 2, 3]), (25, 99, [3]), (9.9, 10.0, [1])]
)
def test_pages_between_two_times(start, end, pages):
    assert shown_between([(2.0, 1), (10.0, 2), (20.0, 3)], start, end) == pages


def test_context_is_nearest_first_and_ends_at_the_first_page():
    assert pages_around([2, 3], 1) == [2, 3, 1, 4]
    assert pages_around([1], 0) == [1]
