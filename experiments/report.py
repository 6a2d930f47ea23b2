"""Score a grid's results, and write the tables, plots and verdicts of docs/results.md.

    python -m experiments.report
    python -m experiments.report --grid experiments/people/grid.yaml

All figures come from the transcripts under `results` beside the grid, scored here by sap2.evaluation; the page contains
only figures of both grids' summary.json. The seeds of a training are scored together, each utterance once per seed; the
intervals draw talks (speakers of LibriSpeech) with the results of all seeds.
"""

import argparse
import csv
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined

from experiments.grid import Grid, load_grid
from experiments.run import GRID, HERE, SIZED
from sap2.evaluation.results import CONTEXTS, Result, read_contexts
from sap2.evaluation.scores import Measure
from sap2.evaluation.scoring import Details, Given, Options, score_systems
from sap2.files import atomic_file

__all__ = ["summarise", "write_page"]

PAGE, IMAGES, SUMMARY = Path("docs/results.md"), Path("docs/images"), "summary.json"
PEOPLE = HERE / "people"
RATES = {"b_wer": "B-WER %", "u_wer": "U-WER %", "wer": "WER %"}
SOURCES = ["training", "seed", "commit", "changed files", "params", "grid"]
MISSING = "–"  # a training that has not run yet

Summary = dict[str, Any]
Scored = tuple[Grid, Summary]
Figures = Mapping[str, Sequence[float | None]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--grid", type=Path, default=GRID, help=f"whose results are scored (default: {GRID})")
    work = parser.parse_args().grid.parent
    grid = load_grid(work / GRID.name)
    summary = summarise(grid, work / "results")
    if not summary["trainings"]:
        raise SystemExit(f"{work / 'results'}: no results yet; run `make ablation`, or `make ablation-people`")
    with atomic_file(work / SUMMARY) as partial:
        partial.write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")
    write_page(_summary(HERE), _summary(PEOPLE))
    print(f"{PAGE}: {len(summary['trainings'])} of {len(grid.trainings)} trainings, from {work / SUMMARY}")


def _summary(work: Path) -> Scored:
    return load_grid(work / GRID.name), json.loads((work / SUMMARY).read_text(encoding="utf-8"))


def summarise(grid: Grid, results: Path = HERE / "results", samples: int = 1000) -> Summary:
    """Score each training, test set and context; figures are [value, low, high], with their provenance."""
    trainings: Summary = {}
    for name in grid.trainings:
        runs = {seed: results / f"{name}-{seed}" for own, seed in grid.runs() if own == name}
        runs = {seed: folder for seed, folder in runs.items() if (folder / "made.json").is_file()}
        if not runs:
            continue
        sets = [name for name in (*grid.corpora, *map(SIZED.format, grid.sizes.lists)) if _has(runs, name)]
        trainings[name] = {
            "made": {str(seed): json.loads((folder / "made.json").read_text()) for seed, folder in runs.items()},
            "sets": {test_set: _scored(runs, test_set, samples) for test_set in sets},
            "thresholds": _thresholds(next(iter(runs.values())) / "pruned" / "threshold.csv"),
        }
    return {"samples": samples, "trainings": trainings}


def _has(runs: Mapping[int, Path], test_set: str) -> bool:
    return any((folder / test_set).is_dir() for folder in runs.values())


def _scored(runs: Mapping[int, Path], test_set: str, samples: int) -> Summary:
    """Score each context on a test set over all tested seeds."""
    tested: dict[str, dict[str, Result]] = {}
    for seed, folder in runs.items():
        files = {path.stem: path for path in (folder / test_set).glob("*.jsonl")}
        for context, rows in (read_contexts(files) if files else {}).items():
            tested.setdefault(context, {}).update({f"{seed}/{id}": row for id, row in rows.items()})
    by_context: Summary = {}
    for context, rows in tested.items():
        given = Given(
            references={id: row.reference for id, row in rows.items()},
            lists={id: row.keywords for id, row in rows.items()},
            predicted={id: row.predicted for id, row in rows.items()},
            details={id: Details(row.duration, row.talk, row.speaker) for id, row in rows.items()},
        )
        hypotheses = {id: row.hypothesis for id, row in rows.items()}
        scores = score_systems(given, {context: ("", "", hypotheses)}, Options(samples=samples))
        by_context[context] = {
            "utterances": len(rows),
            "seeds": len({id.partition("/")[0] for id in rows}),
            "figures": {name: list(measure) for name, measure in scores.systems[0].figures.items()},
            "stage_1": {name: list(measure) for name, measure in scores.selection.figures.items()},
        }
    return by_context


def _thresholds(path: Path) -> list[list[float]]:
    """Read stage 1's recall and precision on dev at each threshold."""
    if not path.is_file():
        return []
    with path.open(encoding="utf-8") as lines:
        return [[float(row["recall"]), float(row["precision"])] for row in csv.DictReader(lines) if row["precision"]]


def write_page(lectures: Scored, people: Scored, page: Path = PAGE, images: Path = IMAGES) -> None:
    """Write the tables and plots of both grids."""
    images.mkdir(parents=True, exist_ok=True)
    grid, summary = lectures
    _draw_sizes(summary, images / "ablation-list-size.png")
    _draw_selection(grid, summary, images / "ablation-selection.png")
    with atomic_file(page) as partial:
        partial.write_text(_page(lectures, people), encoding="utf-8")


def _page(lectures: Scored, people: Scored) -> str:
    grid, summary = lectures
    trainings = summary["trainings"]
    rates = [*RATES.values(), "false alarms / 100"]
    pruning = ["stage 1: recall", "precision"]

    def rows(names: Iterable[str], sets: Callable[[str], Iterable[str]], label: Callable[[str], str]):
        for name in names:
            for test_set in sets(name):
                scored = trainings.get(name)
                yield [
                    grid.trainings[name].says,
                    label(test_set),
                    *_cells(scored, test_set, "predicted"),
                    *_stage_1(scored, test_set),
                ]

    def served(own: Grid, scored: Summary) -> list[list[str]]:
        """Return each training with its own way of giving keywords."""
        return [
            [training.says, *_cells(scored.get(name), own.first, "predicted"), *_stage_1(scored.get(name), own.first)]
            for name, training in own.trainings.items()
        ]

    sized = {name: [SIZED.format(size) for size in training.sizes] for name, training in grid.trainings.items()}
    template = (Path(__file__).parent / "results.md.j2").read_text(encoding="utf-8")
    return Environment(undefined=StrictUndefined, keep_trailing_newline=True).from_string(template).render(
        samples=summary["samples"],
        missing=MISSING,
        sizes=grid.sizes,
        methods=_table(["training", "keywords given", "seeds", *rates], _methods(*lectures)),
        people=_table(["training", "keywords given", "seeds", *rates], _methods(*people)),
        people_aims=_table(["question", "measured", "answer"], _answers(*people)),
        people_served=_table(["training", "seeds", *rates, *pruning], served(people[0], people[1]["trainings"])),
        people_sources=_table(SOURCES, _sources(people[1]["trainings"])),
        people_ran=bool(people[1]["trainings"]),
        every=people[0].every,
        aims=_table(["aim", "measured", "met"], _verdicts(grid, trainings)),
        trainings=_table(["training", "seeds", *rates, *pruning], served(grid, trainings)),
        corpora=_table(
            ["training", "test set", "seeds", *rates, *pruning], rows(grid.main, lambda _: grid.corpora, str)
        ),
        lengths=_table(
            ["training", "N", "seeds", *rates, *pruning], rows(sized, sized.__getitem__, lambda test_set: test_set[1:])
        ),
        sources=_table(SOURCES, _sources(trainings)),
    )  # fmt: skip


def _methods(grid: Grid, summary: Summary) -> list[list[str]]:
    """Return the main trainings' error rates with each context that they were tested with."""
    trainings = summary["trainings"]
    return [
        [grid.trainings[name].says, _context(name, context), *_cells(trainings.get(name), grid.first, context)]
        for name in grid.main
        for context in (CONTEXTS if name.startswith("tpi") else ("none", "predicted"))
    ]


def _context(name: str, context: str) -> str:
    """Describe a method's context; PC and JPI use the whole list."""
    return CONTEXTS["full" if context == "predicted" and not name.startswith("tpi") else context]


def _cells(training: Summary | None, test_set: str, context: str) -> list[str]:
    """Format seeds, error rates and false alarms of a training on a test set."""
    scored = (training or {}).get("sets", {}).get(test_set, {}).get(context)
    if scored is None:
        return [MISSING] * (2 + len(RATES))
    figures: Figures = scored["figures"]
    return [str(scored["seeds"]), *(_written(figures[name], 2) for name in (*RATES, "false_alarms_per_100"))]


def _stage_1(training: Summary | None, test_set: str) -> list[str]:
    scored = (training or {}).get("sets", {}).get(test_set, {}).get("predicted", {}).get("stage_1")
    return [_written(scored[name], 3) for name in ("recall", "precision")] if scored else [MISSING, MISSING]


def _written(measure: Sequence[float | None], digits: int) -> str:
    value, low, high = measure
    if value is None:
        return "n/a"
    return f"{value:.{digits}f}" if low is None else f"{value:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def _figure(trainings: Summary, name: str, test_set: str, context: str, what: str) -> Measure | None:
    scored = trainings.get(name, {}).get("sets", {}).get(test_set, {}).get(context, {})
    values = {
        **scored.get("figures", {}),
        **{f"stage_1_{key}": value for key, value in scored.get("stage_1", {}).items()},
    }
    return Measure(*values[what]) if what in values and values[what][0] is not None else None


def _verdict(text: str, measures: Sequence[Measure | None], shown: str, holds: Callable[..., bool]) -> list[str]:
    if None in measures:
        return [text, MISSING, "not measured"]
    return [
        text,
        shown.format(*(measure.value for measure in measures if measure)),
        "yes" if holds(*measures) else "**no**",
    ]


def _answers(grid: Grid, summary: Summary) -> Iterator[list[str]]:
    """Yield each question that recordings of people answer."""

    def pair(what: str, *sides: tuple[str, str]) -> list[Measure | None]:
        return [_figure(summary["trainings"], name, grid.first, context, what) for name, context in sides]

    rates, shares = "{:.2f} % against {:.2f} %", "{:.3f} against {:.3f}"
    two = ("tpi", "predicted")
    yield _verdict(
        "Does a list pay? Two stages: B-WER at most 0.6 times that without a list, intervals apart",
        pair("b_wer", two, ("tpi", "none")),
        rates,
        lambda ours, none: ours.value <= 0.6 * none.value and _apart(ours, none),
    )
    yield _verdict(
        "U-WER within 0.5 points of that without a list",
        pair("u_wer", two, ("tpi", "none")),
        rates,
        lambda ours, none: ours.value <= none.value + 0.5,
    )
    for says, other in (
        ("Does pruning pay? B-WER lower than in one stage with the whole list, intervals apart", ("pc", "predicted")),
        ("B-WER lower than that of the same two-stage model with the whole list, intervals apart", ("tpi", "full")),
        ("Does speech-driven pooling pay? B-WER lower than by plain mean, intervals apart", ("tpi-mean", "predicted")),
    ):  # fmt: skip
        yield _verdict(says, pair("b_wer", two, other), rates, _lower)
    for says, other in (
        ("Or stage 1's recall higher, intervals apart", ("tpi-mean", "predicted")),
        ("Do tags and first pass pay? Recall higher than by its answer, intervals apart", ("answer", "predicted")),
    ):  # fmt: skip
        yield _verdict(says, pair("stage_1_recall", two, other), shares, lambda ours, theirs: _lower(theirs, ours))


def _lower(measure: Measure, other: Measure) -> bool:
    """Return whether a measure is lower than another one, their intervals disjoint."""
    return measure.value < other.value and _apart(measure, other)


def _verdicts(grid: Grid, trainings: Summary) -> Iterator[list[str]]:
    """Yield each aim, its measurement and verdict; an aim with missing trainings is not met."""

    def figure(name: str, test_set: str, context: str, what: str) -> Measure | None:
        return _figure(trainings, name, test_set, context, what)

    aim = _verdict
    first = grid.first
    two, none = (figure("tpi", first, context, "b_wer") for context in ("predicted", "none"))
    yield aim(
        "two stages: B-WER at most half of that without context, intervals apart",
        [two, none],
        "{:.2f} % against {:.2f} %",
        lambda two, none: two.value <= 0.5 * none.value and _apart(two, none),
    )
    yield aim(
        "U-WER within 0.5 points of that without context",
        [figure("tpi", first, context, "u_wer") for context in ("predicted", "none")],
        "{:.2f} % against {:.2f} %",
        lambda two, none: two.value <= none.value + 0.5,
    )
    yield aim(
        "stage 1 at N = 50: recall at least 0.9 at a precision of at least 0.8",
        [figure("tpi", first, "predicted", f"stage_1_{what}") for what in ("recall", "precision")],
        "{:.3f} at {:.3f}",
        lambda recall, precision: recall.value >= 0.9 and precision.value >= 0.8,
    )
    for speech, mean, window in (("tpi", "tpi-mean", 2), ("w4", "w4-mean", 4)):
        yield aim(
            f"W = {window}: B-WER lower than with the plain mean, intervals apart",
            [figure(name, first, "predicted", "b_wer") for name in (speech, mean)],
            "{:.2f} % against {:.2f} %",
            _lower,
        )
        yield aim(
            f"W = {window}: or stage 1's recall higher, intervals apart",
            [figure(name, first, "predicted", "stage_1_recall") for name in (speech, mean)],
            "{:.3f} against {:.3f}",
            lambda ours, theirs: _lower(theirs, ours),
        )
    yield aim(
        "B-WER at N = 1,000 at most 1.5 times that at N = 50",
        [figure("tpi", SIZED.format(size), "predicted", "b_wer") for size in (1000, 50)],
        "{:.2f} % against {:.2f} %",
        lambda long, short: long.value <= 1.5 * short.value,
    )
    yield aim(
        "at most 1 false alarm in 100 utterances",
        [figure("tpi", first, "predicted", "false_alarms_per_100")],
        "{:.2f}",
        lambda alarms: alarms.value <= 1,
    )


def _apart(measure: Measure, other: Measure) -> bool:
    """Return whether two intervals are disjoint."""
    return None not in (measure.low, other.low) and (measure.high < other.low or other.high < measure.low)


def _sources(trainings: Summary) -> Iterator[list[str]]:
    for name, training in trainings.items():
        for seed, made in training["made"].items():
            yield [name, seed, made["commit"][:12], made["dirty"], made["params"][:12], made["grid"][:12]]


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _draw_sizes(summary: Summary, path: Path) -> None:
    from matplotlib.figure import Figure

    canvas = Figure(figsize=(6.4, 3.6), dpi=150, layout="constrained")
    axes = canvas.subplots()
    for name, training in summary["trainings"].items():
        tests = training["sets"].items()
        sized = {
            int(test_set[1:]): scored for test_set, scored in tests if test_set[0] == "n" and test_set[1:].isdigit()
        }
        points = [(size, *scored["predicted"]["figures"]["b_wer"]) for size, scored in sorted(sized.items())]
        if points:
            sizes, values, lows, highs = zip(*points, strict=True)
            axes.plot(sizes, values, marker="o", label=name)
            if None not in lows:
                axes.fill_between(sizes, lows, highs, alpha=0.15)
    axes.set(xscale="log", xlabel="keywords in the list", ylabel="B-WER (%)", ylim=(0, None))
    _finish(canvas, axes, path)


def _draw_selection(grid: Grid, summary: Summary, path: Path) -> None:
    from matplotlib.figure import Figure

    canvas = Figure(figsize=(6.4, 3.6), dpi=150, layout="constrained")
    axes = canvas.subplots()
    for name in grid.main:
        if points := summary["trainings"].get(name, {}).get("thresholds"):
            recalls, precisions = zip(*points, strict=True)
            axes.plot(recalls, precisions, marker=".", label=name)
    axes.set(xlabel="recall of stage 1 on dev", ylabel="precision", xlim=(0, 1), ylim=(0, 1.02))
    _finish(canvas, axes, path)


def _finish(canvas, axes, path: Path) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.3)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=False)
    canvas.savefig(path, metadata={"Software": None})


if __name__ == "__main__":
    main()
