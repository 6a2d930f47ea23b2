"""Bootstrap intervals of figures that are ratios of counts, and a paired test of whether two systems differ.

Intervals are 95 % percentile bootstrap: utterances, or all utterances of a speaker or talk together, are drawn with
replacement. Draws depend only on seed and number of units, so two systems scored on the same utterances are compared
on the same draws.

Source: Bisani & Ney, ICASSP 2004 (bootstrap for ASR, paired draws); Gillick & Cox, ICASSP 1989 (units that are
independent). The paired test is approximate randomisation (Noreen 1989): the outputs of each unit are swapped at
random.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import numpy as np

from sap2.evaluation.scores import Measure

__all__ = ["Figure", "Sums", "bounds", "measure", "paired_p", "resample", "swapped"]

# Column name -> its sum: first over all utterances, then over each draw.
Sums = Mapping[str, np.ndarray]
# Column name -> its value in each unit.
Columns = Mapping[str, np.ndarray]
CELLS = 1 << 22  # per block of draws x units, to bound memory


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
    """Sum columns over all units, and over each of `samples` bootstrap draws of as many units."""
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
    """Sum columns of two systems, also for `samples` shuffles in which units' outputs are swapped at random."""
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
    """Compute a figure with its interval; None where the divisor is 0 or without draws."""
    return bounds(figure.of(sums))


def bounds(values: np.ndarray) -> Measure:
    """Return the first value with the interval of the others, ignoring draws in which the figure is undefined."""
    value, drawn = values[0], values[1:]
    if not np.isfinite(value):
        return Measure(None)
    drawn = drawn[np.isfinite(drawn)]
    if not len(drawn):
        return Measure(float(value))
    low, high = _quantiles(drawn, 0.025, 0.975)
    return Measure(float(value), low, high)


def _quantiles(values: np.ndarray, *shares: float) -> list[float]:
    """Compute quantiles with linear interpolation like `np.quantile`, without its overhead."""
    ordered = np.sort(values)
    quantiles = []
    for share in shares:
        position = share * (len(ordered) - 1)
        below = int(position)
        above = min(below + 1, len(ordered) - 1)
        quantiles.append(float(ordered[below] + (position - below) * (ordered[above] - ordered[below])))
    return quantiles


def paired_p(differences: np.ndarray) -> float | None:
    """Compute the two-sided p value: the share of differences at least as large as observed, including it.

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
    """Stack columns, `(units, columns)`; float32 is twice as fast, and exact for integers below 2**24."""
    counts = np.stack([np.asarray(column, dtype=np.float64) for column in columns.values()], axis=1)
    # No draw will exceed four times the total.
    return counts.astype(np.float32) if 4 * counts.sum(axis=0).max(initial=0) < 1 << 24 else counts


def _blocks(
    draw: Callable[[np.random.Generator, int], np.ndarray], units: int, samples: int, seed: int, dtype: np.dtype
) -> Iterator[np.ndarray]:
    """Yield all draws from a single random stream, in blocks of bounded size."""
    generator = np.random.default_rng(seed)
    at_once = max(1, CELLS // units)
    for start in range(0, samples, at_once):
        yield draw(generator, min(at_once, samples - start)).astype(dtype)


def _offsets(draws: int, units: int) -> np.ndarray:
    return (np.arange(draws) * units)[:, None]
