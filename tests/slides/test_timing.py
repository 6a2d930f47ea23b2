"""Times of pages: read from files, or estimated by the best path that never goes back."""

import random
from itertools import combinations_with_replacement

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from tiny import tone
from videos import video

from sap2.errors import InputError
from sap2.slides.timing import (
    align,
    chapter_times,
    known_times,
    likeness,
    monotone_path,
    pages_around,
    read_times,
    shown_between,
    steps,
)

SCORES = arrays(np.float64, array_shapes(min_dims=2, max_dims=2, max_side=5), elements=st.floats(0, 1, width=16))


@given(SCORES, st.floats(0.05, 3))
def test_the_path_never_goes_back_and_none_is_better(score, rate):
    rows, columns = score.shape
    step = steps(columns, rate)

    def worth(path):
        moves = [path[0], *(after - before for before, after in zip(path, path[1:], strict=False))]
        return sum(score[row, column] for row, column in enumerate(path)) + sum(step[move] for move in moves)

    path = monotone_path(score, step)
    assert len(path) == rows and path == sorted(path) and 0 <= path[0] and path[-1] < columns
    best = max(map(worth, combinations_with_replacement(range(columns), rows)))
    assert worth(path) == pytest.approx(best, abs=1e-6)


def test_steps_have_a_poisson_distribution():
    assert np.exp(steps(50, 0.5)).sum() == pytest.approx(1)
    assert (np.exp(steps(50, 0.5)) * np.arange(50)).sum() == pytest.approx(0.5)


def test_alignment_tolerates_misheard_names_and_skipped_pages():
    topics = [
        "zorvan graphs and trees",
        "kathryn meyer proves it",
        "tokens of lists",
        "speech encoders",
        "thank you all",
    ]
    spoken = ["the graphs of sorvin", "uh so", "catherine maier proves", "an encoder for speech", "well thank you"]
    pages = align(spoken, topics)
    assert [pages[index] for index in (0, 2, 3, 4)] == [1, 2, 4, 5] and pages[1] in (1, 2)


# Names of the default corpus, and how the default models' first pass misheard them.
HEARD = dict(
    pair.split(":")
    for pair in """
    fiemey:nieny stoucaid:houcade phiekey:siecaid brurcuss:brirkus thienpin:siemmam frederick:grirner vonstett:vounchit
    voengit:numchit cawhus:phouphus mirline:moulline beenpaid:beenade flawnxum:phlawnzum towlzine:gounnyne
    thiechon:gichem phoehuss:phowfah dawfliss:mauclis hoomklle:gynklo jirtriss:xurtriss segaid:zagaid stocer:haukor
    mangauraid:mengroe gramty:brirmtie gramgrey:lamgrle girmbral:germrhle gousty:goutiewhus broulsadaid:goostaid
    vanhit:vanthade lenade:lenaid jyhyne:chyhine vivien:meibie fayshus:stisphuss phaishor:basic leasham:phleasam
    sautathuss:cawdah loelklaid:voulklaid xoocine:cousnaid daycor:zaynclor lynkla:nienkla fowltan:phoulta
    thyngis:hienchys""".split()
)
SENTENCES = ["the test of {}", "people study {}", "they compare what {} tested", "finally the method is second"]


def talk_of_shared_names(seed):
    """Make ten pages with recurring names between an agenda and a summary; return heard texts, pages, true pages."""
    rng = random.Random(seed)
    names = rng.sample(sorted(HEARD), 20)
    shown = [rng.choices(names, k=rng.randint(1, 7)) for _ in range(10)]
    pages = [" ".join({*spoken, *rng.sample(names, 3)}) for spoken in shown]
    heard = [rng.choice(SENTENCES).format(HEARD[name]) for spoken in shown for name in spoken]
    agenda = [" ".join(rng.sample(names, 12)) for _ in range(2)]
    return heard, [agenda[0], *pages, agenda[1]], [page for page, spoken in enumerate(shown, start=2) for _ in spoken]


def test_pages_with_shared_names_are_distinguished_by_sound():
    off = []
    for heard, pages, truth in map(talk_of_shared_names, range(20)):
        off += [abs(page - true) for page, true in zip(align(heard, pages), truth, strict=True)]
    # The former method, letter triples, reached 0.28 and 0.71.
    assert np.mean(np.array(off) == 0) >= 0.4 and np.mean(np.array(off) <= 2) >= 0.8


def test_without_evidence_the_page_stays_the_same():
    assert align(["aaa", "bbb", ""], ["xyz", "uvw"]) == [1, 1, 1]
    assert align(["pymtrus"] * 8, ["pymtrus gotram"] * 8) == [1] * 8
    assert align([], ["xyz"]) == []
    assert align(["uvw"], ["", "uvw"]) == [2]


def test_likeness_is_a_log_likelihood_ratio():
    ratios = likeness(["xyz", "", "xyz uvw"], ["xyz", "uvw"])
    assert ratios[0, 0] == pytest.approx(np.log(2), abs=0.01) and ratios[0, 1] < -5
    assert ratios[1].tolist() == [0, 0]
    assert ratios[2] == pytest.approx(ratios[0] + ratios[0, ::-1])
    assert likeness(["ab"] * 2, ["", ""]).tolist() == [[0, 0], [0, 0]]


def test_scripts_without_spaces_are_aligned_by_their_characters():
    assert align(["我们看东京塔", "谢谢大家"], ["东京塔的历史", "谢谢"]) == [1, 2]


def test_times_are_read_in_any_common_format(tmp_path):
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
def test_invalid_times_are_errors_that_name_the_line(tmp_path, text, reason):
    path = tmp_path / "times.tsv"
    path.write_text(text)
    with pytest.raises(InputError, match=reason):
        read_times(path)


CHAPTERS = [(0.0, "Welcome"), (0.7, "Zorvan's graphs"), (1.5, "Thanks")]


@pytest.mark.parametrize("ending", ["mp4", "m4a", "mkv"])
def test_chapter_marks_are_used_if_each_page_has_a_mark(tmp_path, ending):
    talk = video(tmp_path / f"talk.{ending}", tone(2.0), chapters=CHAPTERS)
    times = [(0.0, 1), (0.7, 2), (1.5, 3)]
    known, notices = known_times(talk, pages=3)
    assert known == times == read_times(talk)
    assert notices == [f"{talk}: its 3 chapter marks serve as the times of the slides"]
    assert known_times(talk, pages=4) == (None, [])
    (tmp_path / "times.tsv").write_text("1 2\n")
    assert known_times(talk, 3, tmp_path / "times.tsv") == ([(1.0, 2)], [])


def test_chapter_titles_need_not_be_utf_8(tmp_path):
    talk = video(tmp_path / "talk.mkv", tone(1.0), chapters=[(0.0, "Grün"), (1, "")])
    talk.write_bytes(talk.read_bytes().replace("ü".encode(), b"\xfc\xfc"))
    assert known_times(talk, pages=2)[0] == [(0.0, 1), (1.0, 2)]


def test_chapters_map_to_pages_by_number_or_by_order():
    def pages(*titles):
        return [page for _, page in chapter_times([(float(start), title) for start, title in enumerate(titles)])]

    assert pages("Slide 2", "Folie 4: Ergebnisse", "7. Danke", "#9") == [2, 4, 7, 9]
    assert pages("Slide 2", "Results", "Slide 4") == [1, 2, 3]
    assert pages("0", "3D models", "") == [1, 2, 3]


def test_a_recording_without_chapters_has_unknown_times(tmp_path):
    plain = video(tmp_path / "plain.mp4", tone(1.0))
    assert known_times(plain, pages=1) == known_times(tmp_path / "talk.wav", pages=0) == (None, [])
    with pytest.raises(InputError, match="holds no chapter marks; give lines of time and page"):
        read_times(plain)
    with pytest.raises(InputError, match="none.mp4: cannot be read"):
        read_times(tmp_path / "none.mp4")


@pytest.mark.parametrize(
    ("start", "end", "pages"), [(0, 5, [1]), (10, 12, [2]), (5, 25, [1, 2, 3]), (25, 99, [3]), (9.9, 10.0, [1])]
)
def test_pages_shown_between_two_times(start, end, pages):
    assert shown_between([(2.0, 1), (10.0, 2), (20.0, 3)], start, end) == pages


def test_neighbouring_pages_are_nearest_first_and_at_least_1():
    assert pages_around([2, 3], 1) == [2, 3, 1, 4]
    assert pages_around([1], 0) == [1]
