"""Audio of the base's training, kept and augmented on the training device, down to log-mel features."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from sap2.base.corpus import Item
from sap2.model.processing import EDGE

__all__ = ["Sounds"]

NOISY = 0.4  # share of the recordings to which noise is added
NOISE = (8.0, 40.0)  # signal-to-noise ratio, dB
GAIN = (0.3, 1.2)
MASKED_MELS = 16  # widest mask in frequency, mel bands
MASKED_TIME = 0.06  # widest mask in time, as a share of the recording


class Sounds:
    """The samples of all recordings, on the training device.

    Args:
        folder: A corpus written by `sap2.base.corpus`.
        items: Its items; `features` refers to them by number.
        extractor: Whisper's feature extractor, whose features are reproduced.
    """

    def __init__(self, folder: Path, items: Sequence[Item], extractor, device: str) -> None:
        sources = sorted({item.source for item in items})
        parts = [np.fromfile(folder / source / "samples.i16", np.int16) for source in sources]
        starts = dict(zip(sources, np.cumsum([0, *map(len, parts)]), strict=False))
        self._samples = torch.empty(sum(map(len, parts)) + 1, dtype=torch.int16, device=device)
        for source, part in zip(sources, parts, strict=True):
            self._samples[starts[source] : starts[source] + len(part)] = torch.from_numpy(part).to(device)
        self._offsets = torch.tensor([starts[item.source] + item.offset for item in items], device=device)
        self._counts = torch.tensor([item.samples for item in items], device=device)
        self._filters = torch.from_numpy(np.asarray(extractor.mel_filters, np.float32)).to(device)
        self._hop, self._size, self.device = extractor.hop_length, extractor.n_fft, device
        self._window = torch.hann_window(self._size, device=device)

    def features(self, numbers: Tensor, lengths: Tensor, seed: int | None = None) -> tuple[Tensor, Tensor]:
        """Log-mel features of recordings, `(batch, mels, mel_frames)`, and their mask, True = valid.

        Args:
            numbers: Numbers of the items, `(batch,)`.
            lengths: Samples after a change of speed, `(batch,)`; fewer than the recording has = faster.
            seed: Of the augmentation; None = none.
        """
        waves, valid = self._waves(numbers.to(self.device), lengths.to(self.device))
        generator = None
        if seed is not None:
            generator = torch.Generator(self.device).manual_seed(seed)
            waves = self._augmented(waves, valid, generator)
        mel_frames = -(-lengths.to(self.device) // self._hop)
        mel = self.log_mel(waves)
        mask = torch.arange(mel.shape[-1], device=self.device) < mel_frames[:, None]
        if generator is not None:
            mel = _masked(mel, mel_frames, generator)
        return mel, mask

    def log_mel(self, waves: Tensor) -> Tensor:
        """Whisper's features of waveforms `(batch, samples)`: `(batch, mels, mel_frames)`."""
        spectra = torch.stft(waves, self._size, self._hop, window=self._window, return_complex=True)
        power = spectra[..., :-1].abs() ** 2
        mel = (self._filters.T @ power).clamp(min=1e-10).log10()
        mel = torch.maximum(mel, mel.amax((1, 2), keepdim=True) - 8.0)
        return (mel + 4.0) / 4.0

    def _waves(self, numbers: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Samples `(batch, samples)` interpolated to `lengths`, and their mask."""
        longest = -(-int(lengths.max()) // self._hop) + EDGE
        positions = torch.arange(longest * self._hop, device=self.device)
        valid = positions < lengths[:, None]
        counts = self._counts[numbers]
        exact = positions * ((counts - 1) / (lengths - 1).clamp(min=1))[:, None].double()
        index = exact.floor().long().minimum(counts[:, None] - 1)
        share = (exact - index).float()
        at = self._offsets[numbers][:, None] + index
        waves = torch.lerp(self._samples[at].float(), self._samples[at + 1].float(), share) / 32768
        return waves.masked_fill(~valid, 0), valid

    def _augmented(self, waves: Tensor, valid: Tensor, generator: torch.Generator) -> Tensor:
        batch = len(waves)

        def uniform(low: float, high: float) -> Tensor:
            return low + (high - low) * torch.rand(batch, 1, device=self.device, generator=generator)

        noise = torch.randn(waves.shape, device=self.device, generator=generator)
        smooth = torch.nn.functional.avg_pool1d(noise, 9, 1, 4)
        noise = torch.where(uniform(0, 1) < 0.5, noise, smooth / smooth.std(-1, keepdim=True))
        level = (waves.square().sum(-1, keepdim=True) / valid.sum(-1, keepdim=True)).sqrt()
        level = level * 10 ** (-uniform(*NOISE) / 20) * (uniform(0, 1) < NOISY)
        return (waves + noise * level).masked_fill(~valid, 0) * uniform(*GAIN)


def _masked(mel: Tensor, frames: Tensor, generator: torch.Generator) -> Tensor:
    """SpecAugment: two masks in frequency and two in time, filled with the mean."""
    batch, bands, length = mel.shape

    def spans(width: Tensor, room: Tensor, size: int) -> Tensor:
        starts = torch.rand(batch, 2, device=mel.device, generator=generator) * (room[:, None] - width)
        positions = torch.arange(size, device=mel.device)
        return ((positions >= starts[..., None]) & (positions < (starts + width)[..., None])).any(1)

    def widths(most: Tensor) -> Tensor:
        return torch.rand(batch, 2, device=mel.device, generator=generator) * most

    low = spans(
        widths(torch.full((batch, 1), float(MASKED_MELS), device=mel.device)),
        torch.full((batch,), float(bands), device=mel.device),
        bands,
    )
    time = spans(widths(frames[:, None] * MASKED_TIME), frames.float(), length)
    hidden = low[:, :, None] | time[:, None, :]
    return torch.where(hidden, mel.mean((1, 2), keepdim=True), mel)
