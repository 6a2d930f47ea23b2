"""Plots as PNG files for DVC and MLflow; the HTML report draws its own charts."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["draw_error_rates", "draw_recall"]

Rows = list[dict[str, Any]]


def draw_error_rates(rows: Rows, path: Path) -> None:
    """Draw each context's B-WER as a bar with its interval."""
    _draw(path, rows, "context", "b_wer", "B-WER (%)", "Errors on list words by the recogniser's context")


def draw_recall(rows: Rows, path: Path) -> None:
    """Draw stage 1's recall of spoken keywords by list size."""
    _draw(path, rows, "list_size", "recall", "keyword recall", "Stage 1 recall by number of listed keywords")


def _draw(path: Path, rows: Rows, label: str, figure: str, unit: str, title: str) -> None:
    from matplotlib.figure import Figure  # takes most of a second, which scoring without plots should not wait for

    canvas = Figure(figsize=(6.4, 0.9 + 0.5 * len(rows)), dpi=150, layout="constrained")
    axes: Axes = canvas.subplots()
    axes.set_title(title, fontsize=10, loc="left")
    axes.set_xlabel(unit)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="x", alpha=0.3)
    axes.set_axisbelow(True)
    for index, row in enumerate(rows):
        value, low, high = (row[figure + bound] for bound in ("", "_low", "_high"))
        if value is None:
            axes.text(0, index, " nothing to count", va="center", fontsize=9)
            continue
        whisker = None if low is None else [[max(0, value - low)], [max(0, high - value)]]
        axes.barh(index, value, xerr=whisker, color="#3a6ea5", height=0.6, error_kw={"capsize": 3, "elinewidth": 1})
        end = (value if high is None else high, index)
        axes.annotate(f"{value:.3g}", end, (4, 0), textcoords="offset points", va="center", fontsize=9)
    axes.set_yticks(range(len(rows)), [str(row[label]) for row in rows])
    axes.invert_yaxis()
    axes.margins(x=0.12)
    axes.set_xlim(left=0)
    canvas.savefig(path, metadata={"Software": None})
