"""Figures that are ratios of counts over utterances, and how far they would move with other utterances.

The interval is the percentile bootstrap over utterances, 95 %. Draws depend on seed and number of utterances only, so
two systems scored on the same utterances are compared on the same draws.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

__all__ = ["Columns", "Figure", "Sums", "measure", "measure_ratio", "resample"]

# Column name -> what each utterance adds to it.
Columns = Mapping[str, Sequence[int]]
# Column name -> its sum, first over the utterances themselves, then over each draw.
Sums = Mapping[str, np.ndarray]
Measured = dict[str, float | None]


@dataclass(frozen=True)
class Figure:
    """`scale` x sum of the `over` columns / sum of the `under` columns; a column named twice counts twice."""

    over: tuple[str, ...]
    under: tuple[str, ...]
    scale: float = 1.0

    def of(self, sums: Sums) -> np.ndarray:
        with np.errstate(divide="ignore", invalid="ignore"):
            return self.scale * sum(sums[name] for name in self.over) / sum(sums[name] for name in self.under)


def resample(columns: Columns, samples: int, seed: int) -> Sums:
    """Column sums over the utterances, and over `samples` sets of as many drawn from them with replacement."""
    counts = np.array(list(columns.values()), dtype=np.float64).T  # (utterances, columns)
    utterances = len(counts)
    generator = np.random.default_rng(seed)
    sums = np.empty((samples + 1, len(columns)))
    sums[0] = counts.sum(axis=0)
    for draw in range(1, samples + 1):
        times_drawn = np.bincount(generator.integers(utterances, size=utterances), minlength=utterances)
        sums[draw] = times_drawn @ counts
    return dict(zip(columns, sums.T, strict=True))


def measure(figures: Mapping[str, Figure], sums: Sums) -> Measured:
    """Each figure as `name`, `name_low`, `name_high`: None where there is nothing to divide by, or no draws."""
    measured: Measured = {}
    for name, figure in figures.items():
        measured |= _named(name, figure.of(sums))
    return measured


def measure_ratio(name: str, figure: Figure, sums: Sums, base: Sums) -> Measured:
    """A figure of one system over the same figure of another, whose sums are over the same utterances and draws."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return _named(name, figure.of(sums) / figure.of(base))


def _named(name: str, values: np.ndarray) -> Measured:
    """The figure and its bounds; draws in which it is undefined are left out."""
    value, drawn = values[0], values[1:][np.isfinite(values[1:])]
    if not np.isfinite(value):
        return {name: None, f"{name}_low": None, f"{name}_high": None}
    low, high = np.percentile(drawn, [2.5, 97.5]) if len(drawn) else (None, None)
    bounds = {f"{name}_low": low, f"{name}_high": high}
    return {name: float(value), **{key: None if bound is None else float(bound) for key, bound in bounds.items()}}
