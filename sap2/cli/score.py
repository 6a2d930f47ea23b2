"""Scoring and comparison of files; needs nothing of the extra `pipeline`."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

if TYPE_CHECKING:
    from sap2.evaluation import Scores

app = typer.Typer()
RefOption = Annotated[
    Path | None, typer.Option(metavar="REF", help="What was said; else the references in the file of hypotheses.")
]
ListsOption = Annotated[
    Path | None,
    typer.Option(
        metavar="LISTS", help="Keyword lists by utterance, or one for all, an entry a line; else those in REF."
    ),
]
DefinitionOption = Annotated[
    Literal["deep-bias", "slidespeech"], typer.Option(help="How words are aligned, and which count in B-WER.")
]
NormaliserOption = Annotated[
    Literal["none", "basic", "whisper-en"], typer.Option(help="What is done to text and lists, alike, before scoring.")
]
MissingOption = Annotated[
    bool, typer.Option("--missing-as-deletions", help="Count an utterance without hypothesis as all deleted.")
]
TrainingOption = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Training text, or lines of word, tab, count: tells seen keywords from unseen."),
]
UnitOption = Annotated[
    Literal["auto", "utterance", "speaker", "talk"], typer.Option(help="What the bootstrap draws; auto prefers talks.")
]
SamplesOption = Annotated[int, typer.Option(min=0, help="Bootstrap samples; 0 = no intervals.")]
SeedOption = Annotated[int, typer.Option(min=0, help="Seed of the draws.")]
JsonOption = Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write all figures as JSON.")]
ReportOption = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Write an HTML report, one file without links.")
]


@app.command(epilog="Example: sap2 score hyp.tsv --ref ref.tsv --report report.html")
def score(
    hypothesis: Annotated[Path, typer.Argument(metavar="HYP", help="What the system wrote.")],
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
    results, ms-swift results, Kaldi text, trn. Utterances are matched by id; missing, extra and double ids are
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
    # Files first: a reader of the text may go away early, as `head` does.
    _write_json(json_, lambda: scores_json(scores))
    _write_report(report, scores)
    print(scores_text(scores))


@app.command(epilog="Example: sap2 compare baseline.trn ours.trn --ref ref.tsv")
def compare(
    hypotheses: Annotated[list[Path], typer.Argument(metavar="A B...", help="What two or more systems wrote.")],
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

    Each of B... is held against A, on the same utterances and draws; then the utterances and keywords that changed
    sides."""
    _without_garbage_collection()
    from sap2.evaluation import compare as compare_systems
    from sap2.evaluation import score_files
    from sap2.evaluation.output import comparison_json, comparison_text, made_how

    if len(hypotheses) < 2:
        raise typer.BadParameter("expected two files or more; one alone is scored by `sap2 score`")
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
    """Scoring makes millions of objects and no cycles: looking for some, also at exit, takes a third of the time."""
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
