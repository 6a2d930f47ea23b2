"""Augmentation of training speech, different in every epoch: speed, and masks on its log-mel features.

Draws depend on seed, epoch and utterance only, so batches, processes and interruptions do not change them.
"""

import random
from collections.abc import Sequence

import numpy as np
from torch import Tensor

from sap2.manifest import Utterance
from sap2.params import SpecAugment, TrainSection

__all__ = ["Augmenter", "change_speed", "mask_features"]


class Augmenter:
    """Draw the speed and the masks of an utterance in an epoch.

    Args:
        section: Section with `seed`, `speed` and `spec_augment`.
        limit: Longest input of the encoder in seconds; speeds that would exceed it are not drawn.
    """

    def __init__(self, section: TrainSection, limit: float):
        self.seed, self.speeds, self.masks, self.limit = section.seed, section.speed, section.spec_augment, limit

    def speed(self, utterance: Utterance, epoch: int) -> float:
        """Return the factor of an utterance's speed; 1.0 = as recorded."""
        if self.speeds == [1.0]:
            return 1.0
        possible = [factor for factor in self.speeds if factor == 1.0 or utterance.duration / factor < self.limit]
        return self._draws("speed", utterance, epoch).choice(possible) if possible else 1.0

    def mask(self, features: Tensor, mel_frames: Sequence[int], drawn: Sequence[tuple[Utterance, int]]) -> Tensor:
        """Mask a batch in place.

        Args:
            features: Log-mel, `(batch, mels, mel_frames)`.
            mel_frames: Number of valid frames of each row.
            drawn: Each row's utterance and epoch.
        """
        if self.masks is not None:
            for row, frames, (utterance, epoch) in zip(features, mel_frames, drawn, strict=True):
                mask_features(row[:, :frames].numpy(), self.masks, self._draws("masks", utterance, epoch))
        return features

    def _draws(self, what: str, utterance: Utterance, epoch: int) -> random.Random:
        return random.Random(f"{self.seed}/{what}/{epoch}/{utterance.id}")


def change_speed(wave: np.ndarray, factor: float) -> np.ndarray:
    """Speed perturbation by resampling: tempo and pitch change together, n samples become n / factor.

    Source: Ko et al., Audio Augmentation for Speech Recognition, Interspeech 2015.
    """
    if factor == 1.0:
        return wave
    import soxr

    return soxr.resample(wave, factor, 1.0)


def mask_features(features: np.ndarray, policy: SpecAugment, draws: random.Random) -> None:
    """Replace bands of mel bins and spans of time by the features' mean, in place.

    Args:
        features: One utterance's log-mel without padding, `(mels, mel_frames)`.
        policy: Numbers and maximum widths of masks; each width is drawn uniformly, from 0.
    Source: Park et al., SpecAugment, Interspeech 2019, section 2; without time warping, which helped least there. The
        paper's features have mean 0 and are masked by 0; Whisper's do not, so the mean is computed first.
    """
    mels, frames = features.shape
    if not frames:
        return
    mean = features.mean()
    for _ in range(policy.freq_masks):
        width = draws.randint(0, min(policy.freq_width, mels))
        first = draws.randint(0, mels - width)
        features[first : first + width] = mean
    for _ in range(policy.time_masks):
        width = draws.randint(0, min(policy.time_width, int(policy.time_share * frames)))
        first = draws.randint(0, frames - width)
        features[:, first : first + width] = mean
