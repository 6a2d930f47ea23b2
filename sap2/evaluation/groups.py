"""Breakdown of the test set into parts by list size, duration, talk and so on, with figures per part."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from sap2.evaluation.figures import COUNTS, ROW_FIGURES, keyword_figures
from sap2.evaluation.keywords import KeywordCounts
from sap2.evaluation.scores import Row, Utterance
from sap2.evaluation.significance import Figure, Sums, bounds, measure

__all__ = ["Part", "Parts", "parts_of_utterances", "rows_of"]

DURATIONS = (0.0, 2.0, 5.0, 10.0, 20.0)  # seconds lower bounds of the parts by duration
LIST_SIZES = 5  # number of parts of about equally many utterances
TRAINING = "keyword in training"
NAMED = ("talk", "speaker")  # groups with many parts, listed last


class Part(NamedTuple):
    """A part of the utterances.

    Attributes:
        group, label: As in `scores.Row`.
        members: Indices of its utterances.
        with_interval: False: the part is a single unit of the bootstrap, or there are too many parts.
    """

    group: str
    label: str
    members: np.ndarray
    with_interval: bool = True

    def column(self, name: str) -> str:
        return f"{self.group}/{self.label}/{name}"


class Parts(tuple[Part, ...]):
    """All parts, ordered by group."""

    def drawn(self, group: str | None = None) -> Iterator[Part]:
        return (part for part in self if part.with_interval and group in (None, part.group))

    def columns(self, columns: Mapping[str, np.ndarray], group: str | None = None) -> dict[str, np.ndarray]:
        """Return the counts behind the parts' figures, per utterance; zero outside the part."""
        masked = {}
        for part in self.drawn(group):
            for name in _needed(columns):
                column = np.zeros_like(columns[name])
                column[part.members] = columns[name][part.members]
                masked[part.column(name)] = column
        return masked


def parts_of_utterances(utterances: Sequence[Utterance], list_sizes: Sequence[int]) -> Parts:
    """Split utterances by list size, duration and talk (speaker if talks are unknown); omit groups of one part."""
    groups = [
        _by_size(np.array(list_sizes, dtype=np.int64)),
        _by_duration([utterance.duration for utterance in utterances]),
        _by_name("talk", [utterance.talk for utterance in utterances])
        or _by_name("speaker", [utterance.speaker for utterance in utterances]),
    ]
    return Parts(part for group in groups if len(group) > 1 for part in group)


def rows_of(
    parts: Parts,
    sums: Sums,
    columns: Mapping[str, np.ndarray],
    with_training: bool,
    figures: Mapping[str, Figure] = ROW_FIGURES,
    group: str | None = None,
) -> tuple[Row, ...]:
    """Compute the figures of all parts: with intervals from the draws' sums, or from the utterances alone."""
    rows = []
    for name in ("seen", "unseen") if with_training else ():
        b_wer = {"b_wer": Figure((f"{name}_biased_errors",), (f"{name}_biased_words",), 100)}
        known = {**b_wer, **keyword_figures(f"{name}_keyword", "keyword_")}
        measured = {figure: measure(how, sums) for figure, how in known.items()}
        counts = KeywordCounts(*(int(columns[f"{name}_keyword_{count}"].sum()) for count in COUNTS))
        rows.append(Row(TRAINING, name, int(columns[f"{name}_utterances"].sum()), measured, counts))
    wanted = [part for part in parts if group in (None, part.group)]
    totals = _totals(wanted, columns)
    without = {name: figure.of(totals) for name, figure in figures.items()}
    for number, part in enumerate(wanted):
        if part.with_interval:
            measured = {name: measure(_renamed(figure, part.column), sums) for name, figure in figures.items()}
        else:
            measured = {name: bounds(values[number : number + 1]) for name, values in without.items()}
        counts = KeywordCounts(*(int(totals[f"keyword_{count}"][number]) for count in COUNTS))
        rows.append(Row(part.group, part.label, len(part.members), measured, counts))
    return tuple(sorted(rows, key=lambda row: row.group in NAMED))


def _totals(parts: Sequence[Part], columns: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Sum the columns behind the parts' figures over each part's utterances, `(parts,)`."""
    if not parts:
        return {name: columns[name][:0] for name in _needed(columns)}
    members = np.concatenate([part.members for part in parts])
    starts = np.cumsum([0, *(len(part.members) for part in parts[:-1])])
    return {name: np.add.reduceat(columns[name][members], starts) for name in _needed(columns)}


def _needed(columns: Mapping[str, np.ndarray]) -> list[str]:
    """Return the names of the given columns that the parts' figures need."""
    names = {name for figure in ROW_FIGURES.values() for name in (*figure.over, *figure.under)}
    return [name for name in columns if name in names]


def _renamed(figure: Figure, rename: Callable[[str], str]) -> Figure:
    return Figure(tuple(map(rename, figure.over)), tuple(map(rename, figure.under)), figure.scale)


def _by_size(sizes: np.ndarray) -> list[Part]:
    if not sizes.any():
        return []
    starts = sorted(set(sizes.tolist()))
    if len(starts) > LIST_SIZES + 1:
        ordered = np.sort(sizes)
        starts = sorted({int(ordered[part * (len(sizes) - 1) // LIST_SIZES]) for part in range(LIST_SIZES)})
    part_of = np.searchsorted(starts, sizes, side="right") - 1
    parts = []
    for number in range(len(starts)):
        members = np.flatnonzero(part_of == number)
        low, high = sizes[members].min(), sizes[members].max()
        parts.append(Part("list size", str(low) if low == high else f"{low} to {high}", members))
    return parts


def _by_duration(durations: Sequence[float | None]) -> list[Part]:
    if None in durations:
        return []
    part_of = np.searchsorted(np.array(DURATIONS), np.array(durations, dtype=np.float64), side="right") - 1
    ends = [*(f"{end:g}" for end in DURATIONS[1:]), None]
    parts = []
    for number, (start, end) in enumerate(zip(DURATIONS, ends, strict=True)):
        label = f"under {end} s" if not start else f"{start:g} to {end} s" if end else f"{start:g} s and more"
        members = np.flatnonzero(part_of == number)
        if len(members):
            parts.append(Part("duration", label, members))
    return parts


def _by_name(group: str, names: Sequence[str | None]) -> list[Part]:
    """One part per talk or speaker, without intervals: they are the bootstrap's units, or too many."""
    known = [name for name in names if name is not None]
    if len(known) < len(names) or not known:
        return []
    numbers = {name: number for number, name in enumerate(dict.fromkeys(known))}
    codes = np.array([numbers[name] for name in known])
    order = np.argsort(codes, kind="stable")
    members = np.split(order, np.cumsum(np.bincount(codes))[:-1])
    return [Part(group, name, part, with_interval=False) for name, part in zip(numbers, members, strict=True)]
