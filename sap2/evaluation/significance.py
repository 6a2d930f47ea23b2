"""Figures that are ratios of counts, how far they would move with other utterances, and whether two systems differ.

Intervals are the percentile bootstrap, 95 %: utterances, or all of a speaker or talk together, are drawn with
replacement. Draws depend on seed and number of units only, so two systems scored on the same utterances are compared on
the same draws.

Source: Bisani & Ney, ICASSP 2004 (bootstrap for ASR, paired draws); Gillick & Cox, ICASSP 1989 (units that are
independent). The paired test is approximate randomisation (Noreen 1989): each unit's two outputs may change sides.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import numpy as np

from sap2.evaluation.scores import Measure

__all__ = ["Figure", "Sums", "bounds", "measure", "paired_p", "resample", "swapped"]

# Column name -> its sum: first over the utterances themselves, then over each draw.
Sums = Mapping[str, np.ndarray]
# Column name -> what each unit adds to it.
Columns = Mapping[str, np.ndarray]
CELLS = 1 << 22  # of a block of draws x units, which bounds the memory


class Figure(NamedTuple):
    """`scale` x sum of the `over` columns / sum of the `under` columns; a column named twice counts twice."""

    over: tuple[str, ...]
    under: tuple[str, ...]
    scale: float = 1.0

    def of(self, sums: Sums) -> np.ndarray:
        with np.errstate(divide="ignore", invalid="ignore"):
            over, under = (sum((sums[name] for name in names), np.zeros(())) for names in (self.over, self.under))
            return self.scale * over / under


def resample(columns: Columns, samples: int, seed: int) -> Sums:
    """Column sums over the units, and over `samples` sets of as many drawn from them with replacement."""
    counts = _matrix(columns)
    units = len(counts)

    def draw(generator: np.random.Generator, draws: int) -> np.ndarray:
        chosen = generator.integers(units, size=(draws, units), dtype=np.int32) + _offsets(draws, units)
        return np.bincount(chosen.ravel(), minlength=draws * units).reshape(draws, units)

    sums = [counts.sum(axis=0, dtype=np.float64)[None]]
    if units:
        sums += [times @ counts for times in _blocks(draw, units, samples, seed, counts.dtype)]
    return dict(zip(columns, np.concatenate(sums).astype(np.float64).T, strict=True))


def swapped(a: Columns, b: Columns, samples: int, seed: int) -> tuple[Sums, Sums]:
    """Column sums of two systems, and those of `samples` shuffles in which each unit's outputs may change sides."""
    first, second = _matrix(a), _matrix(b)
    units = len(first)

    def draw(generator: np.random.Generator, draws: int) -> np.ndarray:
        return generator.integers(2, size=(draws, units), dtype=np.int8)

    total_a, total_b = (counts.sum(axis=0, dtype=np.float64)[None] for counts in (first, second))
    moved = [np.zeros_like(total_a)]
    moved += [sides @ (second - first) for sides in _blocks(draw, units, samples, seed, first.dtype)]
    change = np.concatenate(moved).astype(np.float64)
    return dict(zip(a, (total_a + change).T, strict=True)), dict(zip(b, (total_b - change).T, strict=True))


def measure(figure: Figure, sums: Sums) -> Measure:
    """A figure with its interval: None where there is nothing to divide by, or nothing was drawn."""
    return bounds(figure.of(sums))


def bounds(values: np.ndarray) -> Measure:
    """The first value, and the interval of the others; draws in which the figure is undefined are left out."""
    value, drawn = values[0], values[1:]
    if not np.isfinite(value):
        return Measure(None)
    drawn = drawn[np.isfinite(drawn)]
    if not len(drawn):
        return Measure(float(value))
    low, high = _quantiles(drawn, 0.025, 0.975)
    return Measure(float(value), low, high)


def _quantiles(values: np.ndarray, *shares: float) -> list[float]:
    """Quantiles with linear interpolation, as `np.quantile` has them, without its overhead of many checks."""
    ordered = np.sort(values)
    found = []
    for share in shares:
        place = share * (len(ordered) - 1)
        below = int(place)
        above = min(below + 1, len(ordered) - 1)
        found.append(float(ordered[below] + (place - below) * (ordered[above] - ordered[below])))
    return found


def paired_p(differences: np.ndarray) -> float | None:
    """Two-sided p of a difference: the share of shuffles with one at least as large, the observed one counted in.

    Args:
        differences: The observed difference, then that of each shuffle.
    """
    observed, shuffled = differences[0], differences[1:]
    if not np.isfinite(observed) or not len(shuffled):
        return None
    shuffled = shuffled[np.isfinite(shuffled)]
    as_large = np.count_nonzero(np.abs(shuffled) >= abs(observed) - 1e-9)
    return float((as_large + 1) / (len(shuffled) + 1))


def _matrix(columns: Columns) -> np.ndarray:
    """`(units, columns)`; whole numbers below 2**24 are exact in 32 bits, which are twice as fast."""
    counts = np.stack([np.asarray(column, dtype=np.float64) for column in columns.values()], axis=1)
    # Four times the whole is more than any draw will hold.
    return counts.astype(np.float32) if 4 * counts.sum(axis=0).max(initial=0) < 1 << 24 else counts


def _blocks(
    draw: Callable[[np.random.Generator, int], np.ndarray], units: int, samples: int, seed: int, dtype: np.dtype
) -> Iterator[np.ndarray]:
    """All draws from one stream of random numbers, in blocks of bounded size."""
    generator = np.random.default_rng(seed)
    at_once = max(1, CELLS // units)
    for start in range(0, samples, at_once):
        yield draw(generator, min(at_once, samples - start)).astype(dtype)


def _offsets(draws: int, units: int) -> np.ndarray:
    return (np.arange(draws) * units)[:, None]
