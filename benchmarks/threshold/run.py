"""What a limit on stage 1's false alarms costs: thresholds found on dev, applied to dev and test, through both stages.

python benchmarks/threshold/run.py --json benchmarks/threshold/records/threshold.json
"""

import argparse
import json
import platform
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from sap2.evaluation import Scores, score
from sap2.files import sha256
from sap2.inference import best_device, load_recogniser
from sap2.inference.threshold import above, choose, curve
from sap2.manifest import audio_path, read_manifest, spoken
from sap2.params import load_params
from sap2.settings import RecogniserSettings
from sap2.tracking.provenance import code_state

HEAD = (
    "| split | false alarms allowed | threshold | stage 1: recall | precision | false alarms / 100 "
    "| transcripts: B-WER % | U-WER % | false alarms / 100 |\n"
    "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"
)
WEIGHTS = {
    "base": "model.safetensors",
    "pruner": "adapter_model.safetensors",
    "recogniser": "adapter_model.safetensors",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=Path, default=Path("models"), help="folder with base, pruner and recogniser")
    parser.add_argument("--lists", type=Path, default=Path("data/lists"), help="folder with dev and test.jsonl")
    parser.add_argument("--limits", type=float, nargs="+", default=[10, 7, 5, 3, 1], help="false alarms / 100 on dev")
    parser.add_argument("--json", type=Path, help="write the figures there, too")
    options = parser.parse_args()
    folders = (options.models / part for part in WEIGHTS)
    settings = RecogniserSettings.from_params(load_params())
    recogniser = load_recogniser(*folders, settings, device=best_device())
    print(HEAD)
    thresholds, rows = {}, []
    for split in ("dev", "test"):
        manifest = options.lists / f"{split}.jsonl"
        utterances = read_manifest(manifest)
        said = [spoken(one) for one in utterances]
        speech = recogniser.encode([audio_path(one, manifest) for one in utterances], label=f"encode {split}")
        scored = recogniser.score_keywords(speech, [one.keywords for one in utterances], label=f"prune {split}")
        if split == "dev":
            points = curve(scored, said)
            thresholds = {None: recogniser.pruner.threshold} | {
                limit: choose(points, limit) for limit in options.limits
            }
        for limit, threshold in thresholds.items():
            kept = [list(above(scores, threshold)) for scores in scored]
            texts = recogniser.transcribe(speech, kept, label=f"transcribe {split}")
            figures = _figures(_scores(utterances, texts, kept))
            rows.append({"split": split, "allowed": limit, "threshold": threshold, **figures})
            print(line(rows[-1]), flush=True)
    if options.json is not None:
        _record(options, rows)


def line(row: Mapping[str, Any]) -> str:
    """A row as Markdown: what the script prints, and what docs/method.md holds."""
    allowed, threshold = row["allowed"], row["threshold"]
    cells = [row["split"], "any" if allowed is None else f"{allowed:g}"]
    cells.append("–" if threshold is None else f"{threshold:.3f}".replace("-", "−"))
    cells += [f"{row[name]:.3f}" for name in ("recall", "precision")] + [f"{row['false_alarms_per_100']:.1f}"]
    cells += [f"{row['transcripts'][name]:.1f}" for name in ("b_wer", "u_wer", "false_alarms_per_100")]
    return f"| {' | '.join(cells)} |"


def _scores(utterances, texts: list[str], kept: list[list[str]]) -> Scores:
    ids = [one.id for one in utterances]
    references, lists = {one.id: one.text for one in utterances}, {one.id: one.keywords for one in utterances}
    written, selected = dict(zip(ids, texts, strict=True)), dict(zip(ids, kept, strict=True))
    return score(references, written, lists, predicted=selected, samples=0)


def _figures(scores: Scores) -> dict[str, Any]:
    """Stage 1's, and the transcripts' under their own key."""
    counts, figures = scores.selection.counts, scores.systems[0].figures
    return {
        "recall": round(counts.recall, 4),
        "precision": round(counts.precision, 4),
        "false_alarms_per_100": round(100 * counts.fp / len(scores.utterances), 4),
        "transcripts": {name: round(figures[name].value, 4) for name in ("b_wer", "u_wer", "false_alarms_per_100")},
    }


def _record(options: argparse.Namespace, rows: list[dict[str, Any]]) -> None:
    """Write the rows with the command, the code, the weights and the data they are of."""
    content = {
        "command": " ".join(["python", *sys.argv]),
        **code_state(),
        "date": datetime.now(UTC).date().isoformat(),
        "machine": f"{best_device() or 'cpu'} ({platform.machine()}), torch {torch.__version__}",
        "weights": {part: sha256(options.models / part / name) for part, name in WEIGHTS.items()},
        "manifests": {split: sha256(options.lists / f"{split}.jsonl") for split in ("dev", "test")},
        "rows": rows,
    }
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
