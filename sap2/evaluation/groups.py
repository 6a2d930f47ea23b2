"""Parts of the test set: which utterance is in which, and the figures of each part."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from sap2.evaluation.figures import COUNTS, ROW_FIGURES, keyword_figures
from sap2.evaluation.keywords import KeywordCounts
from sap2.evaluation.scores import Row, Utterance
from sap2.evaluation.significance import Figure, Sums, bounds, measure

__all__ = ["Part", "Parts", "parts_of_utterances", "rows_of"]

DURATIONS = (0.0, 2.0, 5.0, 10.0, 20.0)  # seconds at which a part of the recordings begins
LIST_SIZES = 5  # parts of about as many utterances each
TRAINING = "keyword in training"
NAMED = ("talk", "speaker")  # groups of many parts come last


class Part(NamedTuple):
    """Some of the utterances.

    Attributes:
        group, label: As in `scored.Row`.
        members: Positions of its utterances.
        with_interval: False: the part is one unit of the bootstrap, or there are too many parts.
    """

    group: str
    label: str
    members: np.ndarray
    with_interval: bool = True

    def column(self, name: str) -> str:
        return f"{self.group}/{self.label}/{name}"


class Parts(tuple[Part, ...]):
    """All parts, group after group."""

    def drawn(self, group: str | None = None) -> Iterator[Part]:
        return (part for part in self if part.with_interval and group in (None, part.group))

    def columns(self, columns: Mapping[str, np.ndarray], group: str | None = None) -> dict[str, np.ndarray]:
        """What the parts' figures are made of, by utterance: zero outside the part."""
        found = {}
        for part in self.drawn(group):
            for name in _needed(columns):
                column = np.zeros_like(columns[name])
                column[part.members] = columns[name][part.members]
                found[part.column(name)] = column
        return found


def parts_of_utterances(utterances: Sequence[Utterance], list_sizes: Sequence[int]) -> Parts:
    """Parts by size of list, by duration and by talk (by speaker where no talk is known); one part alone is none."""
    groups = [
        _by_size(np.array(list_sizes, dtype=np.int64)),
        _by_duration([one.duration for one in utterances]),
        _by_name("talk", [one.talk for one in utterances]) or _by_name("speaker", [one.speaker for one in utterances]),
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
    """The figures of all parts, from the sums over all draws or, without interval, from the utterances themselves."""
    rows = []
    for name in ("seen", "unseen") if with_training else ():
        b_wer = {"b_wer": Figure((f"{name}_biased_errors",), (f"{name}_biased_words",), 100)}
        known = {**b_wer, **keyword_figures(f"{name}_keyword", "keyword_")}
        measured = {figure: measure(how, sums) for figure, how in known.items()}
        counts = KeywordCounts(*(int(columns[f"{name}_keyword_{one}"].sum()) for one in COUNTS))
        rows.append(Row(TRAINING, name, int(columns[f"{name}_utterances"].sum()), measured, counts))
    wanted = [part for part in parts if group in (None, part.group)]
    totals = _totals(wanted, columns)
    without = {name: figure.of(totals) for name, figure in figures.items()}
    for number, part in enumerate(wanted):
        if part.with_interval:
            measured = {name: measure(_renamed(figure, part.column), sums) for name, figure in figures.items()}
        else:
            measured = {name: bounds(values[number : number + 1]) for name, values in without.items()}
        counts = KeywordCounts(*(int(totals[f"keyword_{one}"][number]) for one in COUNTS))
        rows.append(Row(part.group, part.label, len(part.members), measured, counts))
    return tuple(sorted(rows, key=lambda row: row.group in NAMED))


def _totals(parts: Sequence[Part], columns: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Sums over the utterances of each part, `(parts,)`, of the columns that their figures are made of."""
    if not parts:
        return {name: columns[name][:0] for name in _needed(columns)}
    members = np.concatenate([part.members for part in parts])
    starts = np.cumsum([0, *(len(part.members) for part in parts[:-1])])
    return {name: np.add.reduceat(columns[name][members], starts) for name in _needed(columns)}


def _needed(columns: Mapping[str, np.ndarray]) -> list[str]:
    """The columns that figures of a part are made of, as far as they are there."""
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
    """One part a talk or speaker. They are what the bootstrap draws, or too many to draw inside: no intervals."""
    known = [name for name in names if name is not None]
    if len(known) < len(names) or not known:
        return []
    numbers = {name: number for number, name in enumerate(dict.fromkeys(known))}
    codes = np.array([numbers[name] for name in known])
    order = np.argsort(codes, kind="stable")
    members = np.split(order, np.cumsum(np.bincount(codes))[:-1])
    return [Part(group, name, part, with_interval=False) for name, part in zip(numbers, members, strict=True)]
