"""Charts of the HTML report as inline SVG, coloured by the page's CSS for dark mode and print.

Values are printed beside the marks and in `aria-label`; series differ in shape as well as in colour.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from os.path import commonprefix

from markupsafe import Markup

from sap2.evaluation.scores import Measure

__all__ = ["Band", "interval_chart", "scatter_chart", "stacked_chart", "ticks", "written"]

WIDTH = 360
# Outlines around (0, 0), one per series; further series start over.
MARKERS = (
    "M-4.5 0a4.5 4.5 0 1 0 9 0a4.5 4.5 0 1 0-9 0z",
    "M-4-4h8v8h-8z",
    "M0-5.5l5.5 5.5l-5.5 5.5l-5.5-5.5z",
    "M0-5l5 9h-10z",
    "M0 5l5-9h-10z",
    "M-5-1.6h3.4v-3.4h3.2v3.4h3.4v3.2h-3.4v3.4h-3.2v-3.4h-3.4z",
)


@dataclass(frozen=True)
class Band:
    """A labelled line of an interval chart, with a measure for each series (None: not measured)."""

    label: str
    measures: tuple[Measure | None, ...]


def interval_chart(
    title: str, bands: Sequence[Band], series: Sequence[str] = ("",), pattern: str = "{:.2f}", focus: int | None = None
) -> Markup:
    """Draw dots with their intervals on a scale that starts at 0.

    Args:
        pattern: Format of the values.
        focus: Index of the band to highlight; for a single series only.
    """
    step, gap = (24, 0) if len(series) == 1 else (17, 12)
    labels, left = _labels([band.label for band in bands])
    measures = [measure for band in bands for measure in band.measures if measure and measure.value is not None]
    scale = _Scale(0, max((_end(measure) for measure in measures), default=0) or 1, left, WIDTH - 62)
    height = len(bands) * (step * len(series) + gap)
    parts, said = [_vertical_grid(scale, height)], []
    for index, band in enumerate(bands):
        top = index * (step * len(series) + gap) + gap / 2
        middle = top + step * len(series) / 2
        emphasis = " focus" if index == focus else ""
        parts.append(_text(left - 10, middle + 4, labels[index], f"label{emphasis}", band.label))
        for number, measure in enumerate(band.measures):
            y = top + step * (number + 0.5)
            said.append(f"{band.label} {series[number]} {written(measure, pattern)}".replace("  ", " "))
            parts.append(_interval(scale, y, measure, pattern, f"s{number % len(MARKERS)}{emphasis}", number))
    legend = series if len(series) > 1 else ()
    return _figure(title, f"{title}: {', '.join(said)}", parts, height + 24, legend)


def scatter_chart(
    title: str, axes: tuple[str, str], points: Sequence[tuple[str, Measure, Measure]], focus: int | None = None
) -> Markup:
    """Plot two figures against each other, with both intervals; points nearer the lower left corner are better."""
    bottom, left = 214, 44
    drawn = [(label, x, y) for label, x, y in points if x.value is not None and y.value is not None]
    across = _Scale(*_span([x for _, x, _ in drawn]), left, WIDTH - 14)
    up = _Scale(*_span([y for _, _, y in drawn]), bottom, 8)
    names, _ = _labels([label for label, _, _ in drawn])
    parts = [_vertical_grid(across, bottom)]
    for at in up.ticks:
        line = Markup('<path class="grid" d="M{} {:.1f}H{}"/>').format(left, up(at), WIDTH - 14)
        parts += [line, _text(left - 7, up(at) + 4, f"{at:g}", "label tick")]
    parts += [
        _text(WIDTH - 14, bottom + 36, f"{axes[0]} →", "label"),
        Markup('<text class="label" transform="rotate(-90)" x="-8" y="11">{} →</text>').format(axes[1]),
    ]
    for number, (label, x, y) in enumerate(drawn):
        style = f"s{number % len(MARKERS)}{' focus' if number == focus else ''}"
        at_x, at_y = across(x.value or 0.0), up(y.value or 0.0)  # neither is None here
        whiskers = Markup()
        if x.low is not None and x.high is not None and y.low is not None and y.high is not None:
            ends = (across(x.low), at_y, across(x.high), at_x, up(y.low), up(y.high))
            whiskers = Markup('<path class="whisker" d="M{:.1f} {:.1f}H{:.1f}M{:.1f} {:.1f}V{:.1f}"/>').format(*ends)
        parts += [
            whiskers,
            _marker(at_x, at_y, style, number, f"{label}: {x.value:.2f}, {y.value:.2f}"),
        ]
        if len(drawn) <= 8:
            side = (-9, "name end") if at_x > WIDTH * 0.7 else (9, "name")
            parts.append(_text(at_x + side[0], at_y - 8, names[number], side[1], label))
    said = ", ".join(f"{label} {x.value:.2f} and {y.value:.2f}" for label, x, y in drawn)
    return _figure(title, f"{title}, {axes[0]} and {axes[1]}: {said}", parts, bottom + 42)


def stacked_chart(
    title: str, rows: Sequence[tuple[str, Sequence[float]]], series: Sequence[str], pattern: str = "{:.2f}"
) -> Markup:
    """Draw stacked bars; their parts, in the order of `series`, are labelled with their values."""
    labels, left = _labels([label for label, _ in rows])
    step = 30
    widest = max((sum(values) for _, values in rows), default=0) or 1
    scale = _Scale(0, widest, left, WIDTH - 10, nice=False)
    parts, said = [], []
    for index, (label, values) in enumerate(rows):
        middle, before = index * step + step / 2, 0.0
        parts.append(_text(left - 10, middle + 4, labels[index], "label", label))
        for number, value in enumerate(values):
            start, end = scale(before), scale(before + value)
            before += value
            note = f"{label}, {series[number]}: {pattern.format(value)}"
            said.append(note)
            bar = '<rect class="part p{}" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="22"><title>{}</title></rect>'
            parts.append(Markup(bar).format(number, start, middle - 11, end - start, note))
            if end - start > 7 * len(pattern.format(value)):
                parts.append(_text((start + end) / 2, middle + 4, pattern.format(value), f"inside p{number}"))
    boxes = tuple((f"p{number}", "M-5-5h10v10h-10z", name) for number, name in enumerate(series))
    return _figure(title, f"{title}: {'; '.join(said)}", parts, len(rows) * step, boxes)


def ticks(low: float, high: float, most: int = 5) -> list[float]:
    """Return round numbers that cover `low` to `high` in about `most` steps or fewer.

    >>> ticks(0, 14.08), ticks(1.4, 2.6)
    ([0.0, 5.0, 10.0, 15.0], [1.0, 1.5, 2.0, 2.5, 3.0])
    """
    steps = (factor * 10.0**power for power in range(-12, 13) for factor in (1, 2, 5))
    step = next(step for step in steps if (high - low) / step <= most)
    first, last = math.floor(round(low / step, 6)), math.ceil(round(high / step, 6))
    return [round(number * step, 12) for number in range(first, last + 1)]


def written(measure: Measure | None, pattern: str, nothing: str = "–") -> str:
    """Format a measure's value without its interval."""
    return nothing if measure is None or measure.value is None else pattern.format(measure.value)


class _Scale:
    """Map figures linearly to coordinates of the drawing."""

    def __init__(self, low: float, high: float, start: float, end: float, nice: bool = True) -> None:
        self.ticks = ticks(low, high)
        self.low, self.high = (self.ticks[0], self.ticks[-1]) if nice else (low, high)
        self.start, self.end = start, end

    def __call__(self, value: float) -> float:
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)


def _span(measures: Sequence[Measure]) -> tuple[float, float]:
    ends = [end for measure in measures for end in (measure.value, measure.low, measure.high) if end is not None]
    low, high = min(ends, default=0), max(ends, default=1)
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def _end(measure: Measure) -> float:
    return max(end for end in (measure.value, measure.high) if end is not None)


def _labels(labels: Sequence[str], longest: int = 24) -> tuple[list[str], float]:
    """Shorten labels to the available room, common beginnings first; return them and the drawing's left margin.

    >>> _labels(["test-clean.base.tsv", "test-clean.biased.with-a-long-list.tsv"])[0]
    ['…base.tsv', '…biased.with…ong-list.tsv']
    """
    shared = 1 + max(map(commonprefix(labels).rfind, "._-/ ")) if len(labels) > 1 else 0
    shown = []
    for label in labels:
        short = label if shared < 6 or shared == len(label) else "…" + label[shared:]
        half = longest // 2
        shown.append(short if len(short) <= longest + 1 else f"{short[:half]}…{short[-half:]}")
    return shown, 24 + 6.6 * max(map(len, shown), default=0)


def _text(x: float, y: float, text: str, style: str, whole: str = "") -> Markup:
    note = Markup("<title>{}</title>").format(whole) if whole not in ("", text) else ""
    return Markup('<text class="{}" x="{:.1f}" y="{:.1f}">{}{}</text>').format(style, x, y, text, note)


def _marker(x: float, y: float, style: str, number: int, title: str = "") -> Markup:
    note = Markup("<title>{}</title>").format(title) if title else ""
    shape = MARKERS[number % len(MARKERS)]
    return Markup('<path class="dot {}" transform="translate({:.1f} {:.1f})" d="{}">{}</path>').format(
        style, x, y, shape, note
    )


def _interval(scale: _Scale, y: float, measure: Measure | None, pattern: str, style: str, number: int) -> Markup:
    if measure is None or measure.value is None:
        return _text(scale.start + 6, y + 4, "nothing to count", "value none")
    whisker = ""
    if measure.low is not None and measure.high is not None:
        low, high = scale(measure.low), scale(measure.high)
        whisker = Markup('<path class="whisker" d="M{:.1f} {:.1f}v8m0-4H{:.1f}m0-4v8"/>').format(low, y - 4, high)
    dot = _marker(scale(measure.value), y, style, number)
    return Markup("{}{}{}").format(
        whisker, dot, _text(scale(_end(measure)) + 9, y + 4, written(measure, pattern), "value")
    )


def _vertical_grid(scale: _Scale, height: float) -> Markup:
    line = Markup('<path class="grid" d="M{:.1f} 0V{}"/>')
    lines = [
        Markup("{}{}").format(line.format(scale(at), height), _text(scale(at), height + 17, f"{at:g}", "tick"))
        for at in scale.ticks
    ]
    return Markup("").join(lines)


def _figure(
    title: str,
    said: str,
    parts: Sequence[str | Markup],
    height: float,
    legend: Sequence[str | tuple[str, str, str]] = (),
) -> Markup:
    """Return a captioned figure; legend entries are series names, or (class, outline, name)."""
    entries = [
        (f"s{number % len(MARKERS)}", MARKERS[number % len(MARKERS)], entry) if isinstance(entry, str) else entry
        for number, entry in enumerate(legend)
    ]
    key = Markup(
        '<span class="key"><svg viewBox="-7 -7 14 14" aria-hidden="true"><path class="dot {}" d="{}"/></svg>{}</span>'
    )
    keys = Markup('<p class="keys">{}</p>').format(Markup(" ").join(key.format(*entry) for entry in entries))
    return Markup(
        '<figure><figcaption>{}</figcaption>{}<svg viewBox="0 0 {} {:.0f}" role="img" aria-label="{}">{}</svg></figure>'
    ).format(title, keys if entries else "", WIDTH, height, said, Markup("").join(parts))
