"""Long recordings are cut where it is quiet, and nothing is lost."""

import numpy as np
import pytest
from tiny import tone

from sap2.inference.segmentation import SAMPLE_RATE, split_at_silence


@pytest.mark.parametrize("seconds", [0.0, 0.5, 9.99, 10.0, 10.1, 20.05, 35.0])
def test_pieces_join_to_the_recording_and_fit_the_limit(seconds):
    audio = tone(seconds)
    pieces = split_at_silence(audio, limit=10.0)
    assert np.array_equal(np.concatenate(pieces), audio)
    assert all(len(piece) <= 10 * SAMPLE_RATE for piece in pieces)
    assert len(pieces) == 1 or all(len(piece) >= SAMPLE_RATE for piece in pieces)


def test_cut_falls_into_the_pause():
    audio = tone(15)
    audio[int(7.2 * SAMPLE_RATE) : int(7.6 * SAMPLE_RATE)] *= 0.001
    first, second = split_at_silence(audio, limit=10.0)
    assert 7.2 <= len(first) / SAMPLE_RATE <= 7.6


def test_a_pause_before_the_search_window_is_left_alone():
    audio = tone(15)
    audio[SAMPLE_RATE : 2 * SAMPLE_RATE] = 0
    assert len(split_at_silence(audio, limit=10.0, search=3.0)[0]) >= 7 * SAMPLE_RATE
