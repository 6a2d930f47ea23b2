"""Names: a sound has several spellings and a single split."""

import numpy as np
import pytest

from sap2.data.names import FAMILIES, Sound, draw_sound, real_sounds, similar_sound, split_of

SPLITS = ("train", "dev", "test")


def drawn(split, count=200, seed=0):
    rng = np.random.default_rng(seed)
    return [draw_sound(split, rng) for _ in range(count)]


@pytest.mark.parametrize("split", SPLITS)
def test_a_sound_stays_in_its_split_whatever_the_seed(split):
    assert all(split_of(sound.key) == split for seed in range(3) for sound in drawn(split, seed=seed))


def test_every_split_has_real_families():
    counts = {split: len(real_sounds(split)) for split in SPLITS}
    assert min(counts.values()) >= 2
    assert sum(counts.values()) == len(FAMILIES)


def test_a_sound_has_several_spellings_and_one_pronunciation():
    rng = np.random.default_rng(0)
    several = [len({sound.spell(rng) for _ in range(40)}) > 1 for sound in drawn("train")]
    assert np.mean(several) > 0.95
    sound = Sound(units=(("k", ("k", "c")), ("eI", ("ay", "ai")), ("", ("",)), ("l", ("l",)), ("@n", ("en",))))
    assert {sound.spell(rng) for _ in range(60)} == {"kaylen", "cailen", "kailen", "caylen"}
    assert sound.spoken == "[[k|'eI|l|@n]]"


def test_a_hard_distractor_differs_and_stays_in_its_split():
    rng = np.random.default_rng(0)
    for sound in drawn("test", 50):
        other = similar_sound(sound, "test", rng)
        assert other.key != sound.key
        assert split_of(other.key) == "test"


@pytest.mark.parametrize("split", SPLITS)
def test_a_sound_without_neighbours_still_gets_a_distractor(split):
    """Once an endless loop: of 36 neighbours a tenth is in dev, so some sounds have none."""
    rng = np.random.default_rng(0)
    for sound in drawn(split, 400):
        assert split_of(similar_sound(sound, split, rng).key) == split
