"""Speed and masks: drawn by seed, epoch and utterance, within their bounds, and never on padding."""

import random

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny import tone

from sap2.manifest import Utterance
from sap2.params import SpecAugment, TrainSection
from sap2.training.augment import Augmenter, change_speed, mask_features


def utterances(count=200, duration=10.0):
    return [Utterance(id=f"u{number}", audio="a.wav", duration=duration, text="we saw it") for number in range(count)]


def augmenter(limit=30.0, **settings):
    return Augmenter(TrainSection(**({"speed": [0.9, 1.0, 1.1], "cache_encoder": False} | settings)), limit)


def test_factors_depend_on_seed_epoch_and_id_only():
    drawn = [augmenter().speed(utterance, 0) for utterance in utterances()]
    assert drawn == [augmenter().speed(utterance, 0) for utterance in utterances()]
    assert all(40 < drawn.count(factor) < 95 for factor in (0.9, 1.0, 1.1))
    assert drawn != [augmenter().speed(utterance, 1) for utterance in utterances()]
    assert drawn != [augmenter(seed=2).speed(utterance, 0) for utterance in utterances()]


def test_no_speed_makes_an_utterance_too_long_for_the_encoder():
    assert {augmenter().speed(utterance, 0) for utterance in utterances(duration=28.0)} == {1.0, 1.1}
    assert {augmenter(speed=[0.5, 0.6]).speed(utterance, 0) for utterance in utterances(duration=28.0)} == {1.0}


@pytest.mark.parametrize("factor", [0.9, 1.0, 1.1])
def test_speed_changes_length_and_pitch_together(factor):
    seconds = np.arange(16_000) / 16_000
    changed = change_speed(np.sin(2 * np.pi * 440 * seconds).astype(np.float32), factor)
    assert len(changed) == pytest.approx(16_000 / factor, abs=1) and changed.dtype == np.float32
    spectrum = np.abs(np.fft.rfft(changed * np.hanning(len(changed))))
    assert spectrum.argmax() * 16_000 / len(changed) == pytest.approx(440 * factor, abs=2)


@given(
    st.integers(1, 128), st.integers(1, 300), st.integers(0, 3), st.integers(0, 128), st.integers(0, 3),
    st.integers(0, 300), st.floats(0, 1),
)  # fmt: skip
def test_masks_stay_within_their_number_and_widths(mels, frames, freq_masks, freq_width, time_masks, time_width, share):
    policy = SpecAugment(
        freq_masks=freq_masks, freq_width=freq_width, time_masks=time_masks, time_width=time_width, time_share=share
    )
    rng = np.random.default_rng(0)
    before = rng.normal(size=(mels, frames)).astype(np.float32)
    after = before.copy()
    mask_features(after, policy, random.Random(1))
    changed = after != before
    bins, times = changed.all(axis=1), changed.all(axis=0)
    assert np.all(after[changed] == before.mean())
    assert not (changed & ~bins[:, None] & ~times).any()
    assert bins.sum() <= freq_masks * freq_width or times.all()
    assert times.sum() <= time_masks * min(time_width, share * frames) or bins.all()


def test_rows_are_masked_by_their_own_draw_and_padding_is_not():
    features = torch.randn(3, 80, 120)
    rows, frames = [(utterance, 4) for utterance in utterances(3)], [120, 60, 90]
    masked = augmenter(spec_augment=SpecAugment(time_share=1.0)).mask(features.clone(), frames, rows)
    for row, valid in enumerate(frames):
        alone = augmenter(spec_augment=SpecAugment(time_share=1.0)).mask(
            features[row : row + 1].clone(), [valid], rows[row : row + 1]
        )
        assert torch.equal(masked[row], alone[0])
        assert torch.equal(masked[row, :, valid:], features[row, :, valid:])
        assert not torch.equal(masked[row, :, :valid], features[row, :, :valid])


def test_without_a_policy_nothing_is_touched():
    features = torch.randn(2, 80, 50)
    assert torch.equal(
        augmenter().mask(features.clone(), [50, 40], [(utterance, 0) for utterance in utterances(2)]), features
    )
    wave = tone(0.5)
    assert change_speed(wave, 1.0) is wave
