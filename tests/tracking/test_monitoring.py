"""Drift figures by day, logged as curves of a run."""

import math
from datetime import date

import pytest

from sap2.tracking.monitoring import drift, drift_table, log_drift


def request(id, day, keywords=(), found=(), predicted=(), sure=(), text="ask meyer"):
    return {
        "id": id, "at": f"2026-11-{day:02d}T10:00:00+00:00", "keywords": list(keywords), "found": list(found),
        "predicted": list(predicted), "scores": {f"w{n}": math.log(item) for n, item in enumerate(sure)},
        "duration": 30.0, "text": text,
    }  # fmt: skip


REQUESTS = [
    request("b1", 3, ["meyer", "zorvan"], ["meyer"], ["meyer", "zorvan"], [0.95, 0.55], "ask meyer"),
    request("b2", 3, ["jon", "kim"], [], [], [], "ask john now"),
    request("a1", 2),
]


def test_figures_are_by_day_without_undefined_values():
    figures = drift(REQUESTS, {"b2": "ask jon now"})
    assert list(figures) == [date(2026, 11, 2), date(2026, 11, 3)]
    assert figures[date(2026, 11, 2)] == {"requests": 1.0, "audio_minutes": 0.5, "with_list": 0.0}
    second = figures[date(2026, 11, 3)]
    assert (second["found_share"], second["hit_rate"], second["kept_rate"]) == (0.5, 0.25, 0.5)
    assert second["confidence"] == pytest.approx(0.75)
    assert (second["confidence_05"], second["confidence_09"], second["confidence_00"]) == (0.5, 0.5, 0.0)
    assert second["corrected"] == 1.0 and second["corrected_wer"] == pytest.approx(100 / 3)


def test_a_certain_keyword_is_in_the_last_tenth():
    figures = drift([request("a", 1, ["x"], ["x"], ["x"], [1.0])], {})
    assert figures[date(2026, 11, 1)]["confidence_09"] == 1.0


def test_the_table_has_a_line_a_day():
    lines = drift_table(drift(REQUESTS, {})).splitlines()
    assert len(lines) == 3 and lines[1].split()[:4] == ["2026-11-02", "1", "0", "–"]


def test_days_are_steps_of_a_run(section, client):
    run = log_drift(section, drift(REQUESTS, {}))
    history = client.get_metric_history(run, "requests")
    assert [(metric.value, metric.step) for metric in history] == [(1.0, 20759), (2.0, 20760)]
    assert client.get_run(run).data.tags["sap2.stage"] == "monitor"
