"""Scoring and comparison of files; works without the extra `pipeline`."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

if TYPE_CHECKING:
    from sap2.evaluation import Scores

app = typer.Typer()
RefOption = Annotated[
    Path | None, typer.Option(metavar="REF", help="References; default: those in the file of hypotheses.")
]
ListsOption = Annotated[
    Path | None,
    typer.Option(
        metavar="LISTS",
        help="Keyword lists by utterance, or a common list with an entry per line; default: those in REF.",
    ),
]
DefinitionOption = Annotated[
    Literal["deep-bias", "slidespeech"], typer.Option(help="Alignment of words, and the words that count in B-WER.")
]
NormaliserOption = Annotated[
    Literal["none", "basic", "whisper-en"], typer.Option(help="Normalisation of text and lists before scoring.")
]
MissingOption = Annotated[
    bool, typer.Option("--missing-as-deletions", help="Count an utterance without hypothesis as all deleted.")
]
TrainingOption = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE", help="Training text, or lines of word, tab, count, to separate seen from unseen keywords."
    ),
]
UnitOption = Annotated[
    Literal["auto", "utterance", "speaker", "talk"],
    typer.Option(help="Resampling unit of the bootstrap; auto prefers talks."),
]
SamplesOption = Annotated[int, typer.Option(min=0, help="Bootstrap samples; 0 = no intervals.")]
SeedOption = Annotated[int, typer.Option(min=0, help="Seed of the draws.")]
JsonOption = Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write all figures as JSON.")]
ReportOption = Annotated[Path | None, typer.Option(metavar="FILE", help="Write a self-contained HTML report.")]


@app.command(epilog="Example: sap2 score hyp.tsv --ref ref.tsv --report report.html")
def score(
    hypothesis: Annotated[Path, typer.Argument(metavar="HYP", help="Hypotheses of a system.")],
    ref: RefOption = None,
    lists: ListsOption = None,
    definition: DefinitionOption = "deep-bias",
    normaliser: NormaliserOption = "none",
    missing_as_deletions: MissingOption = False,
    training: TrainingOption = None,
    unit: UnitOption = "auto",
    samples: SamplesOption = 1000,
    seed: SeedOption = 1,
    json_: JsonOption = None,
    report: ReportOption = None,
) -> None:
    """Score a file: WER, U-WER, B-WER, keywords, intervals.

    The file format is detected from its content: deep-bias TSV (id, text, rare words, list), our manifests and
    results, ms-swift results, Kaldi text, trn. Utterances are matched by id; missing, extra and duplicate ids are
    errors."""
    _without_garbage_collection()
    from sap2.evaluation import score_files
    from sap2.evaluation.output import scores_json, scores_text

    scores = score_files(
        [hypothesis],
        ref,
        lists,
        training=training,
        definition=definition,
        normaliser=normaliser,
        samples=samples,
        seed=seed,
        unit=unit,
        missing_as_deletions=missing_as_deletions,
    )
    # Files first: a reader of the text may close the pipe early, as `head` does.
    _write_json(json_, lambda: scores_json(scores))
    _write_report(report, scores)
    print(scores_text(scores))


@app.command(epilog="Example: sap2 compare baseline.trn ours.trn --ref ref.tsv")
def compare(
    hypotheses: Annotated[list[Path], typer.Argument(metavar="A B...", help="Hypotheses of two or more systems.")],
    ref: RefOption = None,
    lists: ListsOption = None,
    definition: DefinitionOption = "deep-bias",
    normaliser: NormaliserOption = "none",
    missing_as_deletions: MissingOption = False,
    unit: UnitOption = "auto",
    samples: SamplesOption = 1000,
    seed: SeedOption = 1,
    json_: JsonOption = None,
    report: ReportOption = None,
) -> None:
    """Compare systems: differences, intervals, p, changes.

    Compares each of B... with A, on the same utterances and bootstrap draws, then lists the utterances and keywords
    that differ."""
    _without_garbage_collection()
    from sap2.evaluation import compare as compare_systems
    from sap2.evaluation import score_files
    from sap2.evaluation.output import comparison_json, comparison_text, made_how

    if len(hypotheses) < 2:
        raise typer.BadParameter("expected at least two files; score a single file with `sap2 score`")
    scores = score_files(
        hypotheses,
        ref,
        lists,
        definition=definition,
        normaliser=normaliser,
        samples=samples,
        seed=seed,
        unit=unit,
        missing_as_deletions=missing_as_deletions,
    )
    comparisons = [compare_systems(scores, 0, other) for other in range(1, len(hypotheses))]
    _write_json(json_, lambda: [comparison_json(comparison) for comparison in comparisons])
    _write_report(report, scores)
    for comparison in comparisons:
        print(comparison_text(comparison), end="\n\n")
    print(made_how(scores.settings, len(scores.utterances)))


def _without_garbage_collection() -> None:
    """Disable garbage collection: scoring creates many objects but no cycles, and is a third faster without it."""
    import atexit
    import gc

    gc.disable()
    atexit.register(gc.freeze)


def _write_json(path: Path | None, make: Callable[[], Any]) -> None:
    if path is not None:
        from sap2.files import atomic_file

        with atomic_file(path) as partial:
            partial.write_text(json.dumps(make(), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _write_report(path: Path | None, scores: "Scores") -> None:
    if path is not None:
        from sap2.evaluation.report import render_report
        from sap2.files import atomic_file

        with atomic_file(path) as partial:
            partial.write_text(render_report(scores), encoding="utf-8")
