"""Comparison of two systems on the same utterances: differences, significance, and what changed."""

from collections import defaultdict
from collections.abc import Mapping
from typing import NamedTuple

from sap2.errors import InputError
from sap2.evaluation.figures import FIGURES
from sap2.evaluation.scores import Measure, Scores, Settings, System
from sap2.evaluation.scoring import by_unit, units_of
from sap2.evaluation.significance import bounds, paired_p, resample, swapped

__all__ = ["Comparison", "Difference", "KeywordChange", "UtteranceChange", "compare"]


class Difference(NamedTuple):
    """A figure of two systems and their difference.

    Attributes:
        a, b: The figure of each system; None if its divisor is 0.
        difference: b - a, with its 95 % interval over common draws.
        p: Two-sided p value of the paired test; None without draws.
    """

    a: float | None
    b: float | None
    difference: Measure
    p: float | None


class UtteranceChange(NamedTuple):
    """An utterance on which the systems' numbers of errors differ."""

    id: str
    errors_a: int
    errors_b: int


class KeywordChange(NamedTuple):
    """A list entry that only one of the systems got right in some utterances.

    Attributes:
        keyword: In the list's spelling.
        won, lost: Ids of utterances that contain it, where only b (only a) wrote it as often as spoken.
        alarms_ended, alarms_new: Ids where it was not spoken (as often), and only a (only b) wrote it.
    """

    keyword: str
    won: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()
    alarms_ended: tuple[str, ...] = ()
    alarms_new: tuple[str, ...] = ()


class Comparison(NamedTuple):
    """The comparison of system b with system a.

    Attributes:
        a, b: Their names.
        settings: How both were scored and resampled.
        figures: By the names in `System.figures`, without those undefined for both.
        better, worse: Utterances with fewer (more) errors in b than in a, largest change first.
        keywords: Entries that changed, most frequent first.
    """

    a: str
    b: str
    settings: Settings
    figures: Mapping[str, Difference]
    better: tuple[UtteranceChange, ...]
    worse: tuple[UtteranceChange, ...]
    keywords: tuple[KeywordChange, ...]


def compare(scores: Scores, a: int | str = 0, b: int | str = 1) -> Comparison:
    """Compare two systems that were scored together: `b` against `a`.

    Args:
        a, b: Names or indices of the systems in `scores.systems`.
    Returns: For each figure the difference b - a, its percentile bootstrap interval (both on the same draws), and p of
        approximate randomisation: the share of shuffles, in which the two outputs of each unit are swapped with
        probability one half, that differ at least as much. Units are those of `scores.settings.unit`.
    Source: Bisani & Ney, ICASSP 2004; Noreen 1989. See `significance`.

    >>> from sap2.evaluation import score_files  # doctest: +SKIP
    >>> compare(score_files(["a.trn", "b.trn"], "ref.trn")).figures["wer"].p  # doctest: +SKIP
    0.004
    """
    first, second = _find(scores, a), _find(scores, b)
    settings = scores.settings
    codes = units_of(scores.utterances, settings.unit)[1]
    columns = [by_unit(system.columns, codes) for system in (first, second)]
    drawn = [resample(counts, settings.samples, settings.seed) for counts in columns]
    shuffled = swapped(columns[0], columns[1], settings.samples, settings.seed)
    figures = {}
    for name, figure in FIGURES.items():
        values = [system.figures[name].value for system in (first, second)]
        if values == [None, None]:
            continue
        if name == "word_recall" and first.list_words == first.keywords and second.list_words == second.keywords:
            continue  # all entries are single words: equals the keyword recall
        difference = bounds(figure.of(drawn[1]) - figure.of(drawn[0]))
        figures[name] = Difference(
            values[0], values[1], difference, paired_p(figure.of(shuffled[1]) - figure.of(shuffled[0]))
        )
    better, worse = _utterances(scores, first, second)
    return Comparison(first.name, second.name, settings, figures, better, worse, _keywords(scores, first, second))


def _find(scores: Scores, which: int | str) -> System:
    if isinstance(which, int):
        return scores.systems[which]
    for system in scores.systems:
        if system.name == which:
            return system
    known = ", ".join(system.name for system in scores.systems)
    raise InputError(f"compare: no system {which!r}, expected one of: {known}")


def _utterances(
    scores: Scores, a: System, b: System
) -> tuple[tuple[UtteranceChange, ...], tuple[UtteranceChange, ...]]:
    errors = [system.columns["all_errors"].tolist() for system in (a, b)]
    changes = [
        UtteranceChange(utterance.id, of_a, of_b)
        for utterance, of_a, of_b in zip(scores.utterances, *errors, strict=True)
        if of_a != of_b
    ]
    changes.sort(key=lambda change: -abs(change.errors_b - change.errors_a))
    better = tuple(change for change in changes if change.errors_b < change.errors_a)
    return better, tuple(change for change in changes if change.errors_b > change.errors_a)


def _keywords(scores: Scores, a: System, b: System) -> tuple[KeywordChange, ...]:
    ids_of: defaultdict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    wrong = [system.columns["keyword_fp"] + system.columns["keyword_fn"] for system in (a, b)]
    for position in ((wrong[0] > 0) | (wrong[1] > 0)).nonzero()[0].tolist():
        id, of_a, of_b = scores.utterances[position].id, a.lines[position], b.lines[position]
        for side, only_in, not_in in (
            ("won", of_a.missed, of_b.missed),
            ("lost", of_b.missed, of_a.missed),
            ("alarms_ended", of_a.false_alarms, of_b.false_alarms),
            ("alarms_new", of_b.false_alarms, of_a.false_alarms),
        ):
            for keyword in only_in:
                if keyword not in not_in:
                    ids_of[keyword][side].append(id)
    changes = [
        KeywordChange(keyword, **{side: tuple(ids) for side, ids in sides.items()}) for keyword, sides in ids_of.items()
    ]
    return tuple(sorted(changes, key=lambda change: (-_size(change), change.keyword)))


def _size(change: KeywordChange) -> int:
    return len(change.won) + len(change.lost) + len(change.alarms_ended) + len(change.alarms_new)
