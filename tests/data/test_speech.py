"""The synthesiser and its augmentation."""

import numpy as np
import pytest

from sap2.data.speech import SAMPLE_RATE, VOICES, Synthesiser, augment
from sap2.errors import SapError


@pytest.mark.parametrize("voice", VOICES)
def test_every_voice_speaks(voice):
    samples = Synthesiser().speak("hello [[k|'eI|l|@n]]", voice)
    assert 0.3 * SAMPLE_RATE < len(samples) < 3 * SAMPLE_RATE
    assert np.abs(samples).max() > 0.05


def test_phonemes_decide_the_sound():
    synthesiser = Synthesiser()
    lengths = {p: len(synthesiser.speak(f"[[{p}]]", "en-us")) for p in ("k|'a|l|@n", "k|'aI|l|@n|s|i:", "k|'a|l|@n ")}
    assert abs(lengths["k|'a|l|@n"] - lengths["k|'a|l|@n "]) < 200  # samples: jitter
    assert lengths["k|'aI|l|@n|s|i:"] > lengths["k|'a|l|@n"] + 2000


def test_an_unknown_voice_is_named():
    with pytest.raises(SapError, match="no voice 'xx-none'"):
        Synthesiser().speak("hello", "xx-none")


def test_phonemes_keep_length_and_lose_stress():
    assert Synthesiser().phonemes("meyer table") == ["m", "eI", "3", "t", "eI", "b", "@L"]


def test_augmentation_keeps_length_and_bounds_the_peak():
    samples = np.sin(np.arange(16_000) / 10).astype(np.float32)
    for seed in range(10):
        noisy = augment(samples, np.random.default_rng(seed))
        assert noisy.shape == samples.shape
        assert noisy.dtype == np.float32
        assert 0.09 < np.abs(noisy).max() < 0.91
