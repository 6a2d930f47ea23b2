"""Charts: complete drawings, undefined figures and hostile labels."""

from xml.etree import ElementTree

import pytest

from sap2.evaluation.charts import Band, interval_chart, scatter_chart, stacked_chart, ticks
from sap2.evaluation.scores import Measure

HOSTILE = '"><b>&'
NONE = Measure(None)


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 0.95, [0, 0.2, 0.4, 0.6, 0.8, 1.0]),
        (0, 250, [0, 50, 100, 150, 200, 250]),
        (1.5, 1.53, [1.5, 1.51, 1.52, 1.53]),
    ],
)
def test_ticks_are_round_and_cover_the_range(low, high, expected):
    assert ticks(low, high) == expected


def test_interval_chart_is_proportional_and_labelled():
    figure = ElementTree.fromstring(
        interval_chart("WER %", [Band("a", (Measure(5.0, 4.0, 6.0),)), Band("b", (Measure(10.0),)), Band("c", (NONE,))])
    )
    svg = figure.find("svg")
    assert svg.get("aria-label") == "WER %: a 5.00, b 10.00, c –"
    zero, *_, ten = [float(tick.get("x")) for tick in svg.findall("text[@class='tick']")]
    five, at_ten = [float(dot.get("transform")[10:].split()[0]) for dot in svg.findall("path[@class='dot s0']")]
    assert five == pytest.approx((zero + ten) / 2, abs=0.1) and at_ten == ten
    assert [text.text for text in svg.findall("text[@class='value none']")] == ["nothing to count"]


@pytest.mark.parametrize(
    "chart",
    [
        interval_chart(HOSTILE, [Band(HOSTILE * 9, (Measure(1.0), None))], [HOSTILE, "b"]),
        scatter_chart(HOSTILE, (HOSTILE, "y"), [(HOSTILE, Measure(1.0, 0.5, 2.0), Measure(3.0, 2.0, 4.0))]),
        stacked_chart(HOSTILE, [(HOSTILE, [1.0, 2.0])], [HOSTILE, "b"]),
    ],
)
def test_text_of_the_data_stays_text(chart):
    figure = ElementTree.fromstring(chart)
    assert figure.find("figcaption").text == HOSTILE
    assert figure.find(".//b") is None


@pytest.mark.parametrize(
    "chart",
    [
        interval_chart("t", []),
        interval_chart("t", [Band("a", (Measure(0.0, 0.0, 0.0),))]),
        scatter_chart("t", ("x", "y"), [("a", Measure(1.0), NONE)]),
        scatter_chart("t", ("x", "y"), [("a", Measure(1.0), Measure(1.0))]),
        stacked_chart("t", [("a", [0, 0])], ["b", "c"]),
    ],
)
def test_nothing_to_draw_is_drawn_empty(chart):
    assert "nan" not in chart and ElementTree.fromstring(chart).tag == "figure"
