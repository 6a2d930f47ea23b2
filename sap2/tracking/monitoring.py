"""Daily drift of served requests: do the lists still contain what is spoken, and how confident is stage 1?"""

import math
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

from sap2.evaluation import score
from sap2.params import TrackingSection
from sap2.tracking.runs import start_run

__all__ = ["BINS", "drift", "drift_table", "log_drift"]

BINS = 10  # bins of the confidence histogram, from 0 to 1


def drift(requests: Sequence[Mapping[str, Any]], corrections: Mapping[str, str]) -> dict[date, dict[str, float]]:
    """Compute figures for each day with requests, oldest first.

    Args:
        requests, corrections: As `sap2.serving.keeping` reads them.
    Returns: By day: `requests`, `audio_minutes`; `with_list`, requests with a list; of those `found_share`, the share
    with
        a keyword in the text; `hit_rate`, the share of listed keywords in the text; `kept_rate`, the share of listed
        keywords that stage 1 selected; `confidence`, its mean probability, and `confidence_00` … `confidence_09`, the
        share of probabilities in each tenth; `corrected`, the number of corrections, and their `corrected_wer` in
        percent. Undefined figures are left out.
    """
    days: dict[date, list[Mapping[str, Any]]] = {}
    for request in requests:
        days.setdefault(date.fromisoformat(request["at"][:10]), []).append(request)
    return {day: _figures(days[day], corrections) for day in sorted(days)}


def drift_table(figures: Mapping[date, Mapping[str, float]]) -> str:
    """Format the figures as `sap2 monitor` prints them."""
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
    """Log the figures as curves of a run, with days since 1970 as steps; return the run's id.

    Raises: TrackingError: the store does not respond.
    """
    epoch = date(1970, 1, 1)
    with start_run(section, "monitor") as tracker:
        for day, measured in figures.items():
            tracker.log(measured, step=(day - epoch).days)
    return tracker.run_id


def _figures(requests: Sequence[Mapping[str, Any]], corrections: Mapping[str, str]) -> dict[str, float]:
    listed = [request for request in requests if request["keywords"]]
    words = sum(len(request["keywords"]) for request in listed)
    sure = [math.exp(score) for request in listed for score in request["scores"].values()]
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
        for probability in sure:
            counts[min(int(probability * BINS), BINS - 1)] += 1
        figures |= {f"confidence_{index:02d}": count / len(sure) for index, count in enumerate(counts)}
    known = {request["id"]: request["text"] for request in requests if request["id"] in corrections}
    if known:
        said = {id: corrections[id] for id in known}
        figures["corrected"] = len(known)
        figures["corrected_wer"] = (
            score(said, known, normaliser="basic", samples=0).systems[0].figures["wer"].value or 0.0
        )
    return {name: float(value) for name, value in figures.items()}
