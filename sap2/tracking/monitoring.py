"""Drift of what is served, day by day: do the lists still hold what is said, and is stage 1 still sure of it?"""

import math
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

from sap2.evaluation import score
from sap2.params import TrackingSection
from sap2.tracking.runs import start_run

__all__ = ["BINS", "drift", "drift_table", "log_drift"]

BINS = 10  # of the confidence histogram: probabilities from 0 to 1


def drift(requests: Sequence[Mapping[str, Any]], corrections: Mapping[str, str]) -> dict[date, dict[str, float]]:
    """Figures of each day with requests, oldest first.

    Args:
        requests, corrections: As `sap2.serving.keeping` reads them.
    Returns: By day: `requests`, `audio_minutes`; `with_list`, requests that had one; of those the share with a
        `found_share` keyword in the text; `hit_rate`, listed keywords that were found; `kept_rate`, listed keywords
        that stage 1 kept; `confidence`, the mean probability it gave them, and `confidence_00` … `confidence_09`, the
        share of them in each tenth; `corrected`, and their `corrected_wer` in per cent. What has nothing to divide by
        is left out.
    """
    days: dict[date, list[Mapping[str, Any]]] = {}
    for request in requests:
        days.setdefault(date.fromisoformat(request["at"][:10]), []).append(request)
    return {day: _figures(days[day], corrections) for day in sorted(days)}


def drift_table(figures: Mapping[date, Mapping[str, float]]) -> str:
    """What `sap2 monitor` prints."""
    columns = {
        "requests": "{:.0f}", "with_list": "{:.0f}", "found_share": "{:.2f}", "hit_rate": "{:.3f}",
        "kept_rate": "{:.3f}", "confidence": "{:.2f}", "corrected": "{:.0f}", "corrected_wer": "{:.1f}",
    }  # fmt: skip
    rows = [("day", *columns)]
    for day, measured in figures.items():
        cells = (form.format(measured[name]) if name in measured else "–" for name, form in columns.items())
        rows.append((day.isoformat(), *cells))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(map(str.rjust, row, widths)) for row in rows)


def log_drift(section: TrackingSection, figures: Mapping[date, Mapping[str, float]]) -> str:
    """Log the figures as curves of one run, a step a day since 1970; return the run's id.

    Raises: TrackingError: the store does not answer.
    """
    epoch = date(1970, 1, 1)
    with start_run(section, "monitor") as tracker:
        for day, measured in figures.items():
            tracker.log(measured, step=(day - epoch).days)
    return tracker.run_id


def _figures(requests: Sequence[Mapping[str, Any]], corrections: Mapping[str, str]) -> dict[str, float]:
    listed = [request for request in requests if request["keywords"]]
    words = sum(len(request["keywords"]) for request in listed)
    sure = [math.exp(one) for request in listed for one in request["scores"].values()]
    figures = {
        "requests": len(requests),
        "audio_minutes": sum(request["duration"] for request in requests) / 60,
        "with_list": len(listed),
    }
    if listed:
        figures |= {
            "found_share": sum(bool(request["found"]) for request in listed) / len(listed),
            "hit_rate": sum(len(request["found"]) for request in listed) / words,
            "kept_rate": sum(len(request["predicted"]) for request in listed) / words,
        }
    if sure:
        figures["confidence"] = sum(sure) / len(sure)
        counts = [0] * BINS
        for one in sure:
            counts[min(int(one * BINS), BINS - 1)] += 1
        figures |= {f"confidence_{place:02d}": count / len(sure) for place, count in enumerate(counts)}
    known = {request["id"]: request["text"] for request in requests if request["id"] in corrections}
    if known:
        said = {id: corrections[id] for id in known}
        figures["corrected"] = len(known)
        figures["corrected_wer"] = (
            score(said, known, normaliser="basic", samples=0).systems[0].figures["wer"].value or 0.0
        )
    return {name: float(value) for name, value in figures.items()}
