"""What a limit on stage 1's false alarms costs: thresholds found on dev, applied to dev and test, through both stages.

python benchmarks/threshold/run.py --limits 14 10 7 5 3 1
"""

import argparse
from pathlib import Path

from sap2.evaluation import Scores, score
from sap2.inference import Recogniser
from sap2.inference.corpus import best_device
from sap2.inference.threshold import above, choose, curve
from sap2.manifest import audio_path, read_manifest, spoken
from sap2.params import PruningSection, load_params

HEAD = (
    "| split | allowed | threshold | stage 1: recall | precision | false alarms / 100 "
    "| transcripts: B-WER % | U-WER % | false alarms / 100 |\n"
    "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=Path, default=Path("models"), help="folder with base, pruner and recogniser")
    parser.add_argument("--lists", type=Path, default=Path("data/lists"), help="folder with dev and test.jsonl")
    parser.add_argument("--limits", type=float, nargs="+", default=[10, 7, 5, 3, 1], help="false alarms / 100 on dev")
    options = parser.parse_args()
    section: PruningSection = load_params().pruning
    folders = (options.models / part for part in ("base", "pruner", "recogniser"))
    recogniser = Recogniser.load(*folders, device=best_device(), **section.options() | {"threshold": None})
    print(HEAD)
    thresholds = {}
    for split in ("dev", "test"):
        manifest = options.lists / f"{split}.jsonl"
        rows = read_manifest(manifest)
        said = [spoken(row) for row in rows]
        speech = recogniser.encode([audio_path(row, manifest) for row in rows], label=f"encode {split}")
        scored = recogniser.select(speech, [row.keywords for row in rows], label=f"prune {split}")
        if split == "dev":
            points = curve(scored, said)
            thresholds = {None: None} | {limit: choose(points, limit) for limit in options.limits}
        for limit, threshold in thresholds.items():
            kept = [list(above(scores, threshold)) for scores in scored]
            texts = recogniser.transcribe(speech, kept, label=f"transcribe {split}")
            print(_row(split, limit, threshold, _scores(rows, texts, kept)), flush=True)


def _scores(rows, texts: list[str], kept: list[list[str]]) -> Scores:
    ids = [row.id for row in rows]
    references, lists = {row.id: row.text for row in rows}, {row.id: row.keywords for row in rows}
    written, selected = dict(zip(ids, texts, strict=True)), dict(zip(ids, kept, strict=True))
    return score(references, written, lists, predicted=selected, samples=0)


def _row(split: str, limit: float | None, threshold: float | None, scores: Scores) -> str:
    counts, figures = scores.selection.counts, scores.systems[0].figures
    alarms = 100 * counts.fp / len(scores.utterances)
    cells = [split, "any" if limit is None else f"{limit:g}", "–" if threshold is None else f"{threshold:.4f}"]
    cells += [f"{counts.recall:.3f}", f"{counts.precision:.3f}", f"{alarms:.1f}"]
    cells += [f"{figures[name].value:.1f}" for name in ("b_wer", "u_wer", "false_alarms_per_100")]
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
