"""Long recordings: cuts at pauses, overlaps elsewhere, and transcripts without duplicated words."""

import doctest
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny import tone

from sap2.data import segmentation
from sap2.data.audio import SAMPLE_RATE
from sap2.data.segmentation import join, segments, without_doubles
from sap2.data.speech import Synthesiser

SENTENCE = "today we compare the large model with the theory of the next question and turn to the results"


@pytest.fixture(scope="module")
def said() -> np.ndarray:
    """A sentence of some 5 s without a pause in it."""
    return Synthesiser().speak(SENTENCE, "en-us")


def pause(seconds: float) -> np.ndarray:
    rng = np.random.default_rng(1)
    return (0.001 * rng.standard_normal(int(seconds * SAMPLE_RATE))).astype(np.float32)


def test_doctests():
    assert doctest.testmod(segmentation).failed == 0


@pytest.mark.parametrize("seconds", [0.0, 0.05, 9.99, 10.0])
def test_a_recording_within_the_limit_is_one_segment(seconds):
    assert segments(tone(seconds), max_seconds=10.0) == [(0.0, int(seconds * SAMPLE_RATE) / SAMPLE_RATE)]


def test_cuts_are_in_pauses_and_long_pauses_in_no_segment(said):
    length, gap = len(said) / SAMPLE_RATE, 3.0
    audio = np.concatenate([pause(4), said, pause(0.5), said, pause(gap), said, pause(4)])
    first, second = segments(audio, max_seconds=2.5 * length, overlap=1.0)
    assert first == pytest.approx((4, 4 + 2 * length + 0.5), abs=0.4)
    assert second == pytest.approx((first[1] + gap, len(audio) / SAMPLE_RATE - 4), abs=0.6)


@pytest.mark.parametrize("overlap", [0.0, 0.5, 2.0, 100.0])
def test_speech_without_a_pause_is_cut_with_the_given_overlap(said, overlap):
    most = len(said) / SAMPLE_RATE / 2.5
    spans = segments(said, max_seconds=most, overlap=overlap)
    assert len(spans) >= 3
    for (_, end), (start, _) in zip(spans, spans[1:], strict=False):
        assert end - start == pytest.approx(min(overlap, most / 4), abs=1e-3)
    assert all(0 < end - start <= most for start, end in spans)


def test_where_no_speech_is_heard_nothing_is_lost():
    audio = tone(35.0)
    audio[int(7.2 * SAMPLE_RATE) : int(7.6 * SAMPLE_RATE)] *= 0.001
    spans = segments(audio, max_seconds=10.0, overlap=0.0)
    assert spans[0][0] == 0 and spans[-1][1] == 35.0
    assert all(end == start for (_, end), (start, _) in zip(spans, spans[1:], strict=False))
    assert 7.2 <= spans[0][1] <= 7.6 and all(1 <= end - start <= 10 for start, end in spans)


def test_invalid_bounds_are_an_error():
    with pytest.raises(ValueError, match="max_seconds is 0, overlap 1"):
        segments(tone(1), max_seconds=0, overlap=1)


def test_the_detector_keeps_torch_threads_and_uses_onnx():
    code = (
        "import torch; torch.set_num_threads(2); torch.jit.load = None\n"
        "from sap2.data.segmentation import segments\n"
        "import numpy; print(segments(numpy.zeros(32000, numpy.float32), 1.5, 0.0), torch.get_num_threads())"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.split()[-1] == "2"


VOCABULARY = "the model of Meyer's theorem, graphs and proofs that Zorvan found again last night".split()
WORDS = st.lists(st.sampled_from(VOCABULARY))


@given(WORDS, WORDS)
def test_across_a_pause_every_word_stays(before, after):
    assert without_doubles([(0, 5), (5, 9)], [" ".join(before), " ".join(after)]) == [" ".join(before), " ".join(after)]


@given(st.permutations(VOCABULARY), st.integers(1, 5), st.booleans(), st.booleans())
def test_words_of_an_overlap_appear_once_and_complete(words, shared, torn_end, torn_start):
    middle = len(words) // 2
    before, after = words[: middle + shared], words[middle:]
    if torn_end:
        before = [*before, "integra"]
    if torn_start:
        after = ["tegral", *after]
    assert join([(0.0, 10.0), (9.0, 20.0)], [" ".join(before), " ".join(after)]).split() == words


@pytest.mark.parametrize(
    ("before", "after", "joined"),
    [
        ("we turn to Maier's", "Meyer's theorem", "we turn to Maier's Meyer's theorem"),  # one word, read twice: unsure
        ("turn to Maier's theorem", "to Meyer's theorem of", "turn to Maier's theorem of"),
        ("and so it ends.", "It ends. - Next", "and so it ends. - Next"),
        ("one -", "- two", "one - - two"),
        ("", "alone", "alone"),
        ("alone", "", "alone"),
        ("no word is shared", "by these readings", "no word is shared by these readings"),
        # Alike, but further from the cut than the overlap reaches: said twice.
        ("a b c d e f g h i j", "a b c d e f g h", "a b c d e f g h i j a b c d e f g h"),
    ],
)
def test_two_readings_of_an_overlap(before, after, joined):
    assert join([(0.0, 10.0), (9.0, 20.0)], [before, after]) == joined


def test_no_segment_no_text():
    assert join([], []) == ""
