"""Recall@K of the prefilter: the share of spoken names among the K names kept of N.

    python benchmarks/prefilter/recall.py --json benchmarks/prefilter/records/recall.json

The prefilter's first pass is by the bare base, both in `sap2 prune` and in a served model; the recogniser's is measured
for comparison. The kept names are those of `sap2.inference.prefilter.shortlist`. All utterances share a list, like a
glossary: every name spoken in any utterance, and other names of the test split, in random order.
"""

import argparse
import json
import platform
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from sap2.data.names import draw_sound
from sap2.files import sha256
from sap2.inference import best_device, load_recogniser
from sap2.inference.prefilter import shortlist
from sap2.manifest import audio_path, read_manifest, spoken
from sap2.params import load_params
from sap2.settings import RecogniserSettings

SIZES = [1_000, 2_000, 10_000, 100_000]
WEIGHTS = {
    "base": "model.safetensors",
    "pruner": "adapter_model.safetensors",
    "recogniser": "adapter_model.safetensors",
}


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="N: names in the list")
    options.add_argument("--keep", type=int, nargs="+", default=[50, 100, 200, 500], help="K: names kept")
    arguments = options.parse_args()

    spoken_names, transcripts = first_passes(arguments.models, arguments.data, arguments.utterances)
    # Both first passes together: the stretches of each transcript, and a few that cross from the first to the second.
    first, second = transcripts
    transcripts["both"] = [" ".join(texts) for texts in zip(transcripts[first], transcripts[second], strict=True)]
    names = sum(map(len, spoken_names))
    right = {
        name: sum(word in text.split() for words, text in zip(spoken_names, texts, strict=True) for word in words)
        for name, texts in transcripts.items()
    }
    print(f"{len(spoken_names)} utterances with {names} names; right in the first pass: {right}\n")
    print("| first pass | N | " + " | ".join(f"recall@{keep}" for keep in arguments.keep) + " |")
    print("|---" * (len(arguments.keep) + 2) + "|")
    rows = []
    for name, texts in transcripts.items():
        for size in arguments.sizes:
            by_keep = recalls(texts, spoken_names, glossary(spoken_names, size), arguments.keep)
            rows.append({"first_pass": name, "names": size, "recall": by_keep})
            print(
                f"| {name} | {size:,} | " + " | ".join(f"{by_keep[keep]:.3f}" for keep in arguments.keep) + " |",
                flush=True,
            )
    record(arguments, utterances=len(spoken_names), names=names, right_in_first_pass=right, rows=rows)


def parser(description: str) -> argparse.ArgumentParser:
    """Create a parser with the options common to both scripts."""
    made = argparse.ArgumentParser(description=description.split("\n")[0])
    made.add_argument("--models", type=Path, default=Path("models"), help="folder with base, pruner and recogniser")
    made.add_argument("--data", type=Path, default=Path("data/lists"), help='folder written by "sap2 lists"')
    made.add_argument("--utterances", type=int, help="utterances of the test split; default: all")
    made.add_argument("--json", type=Path, help="file for the figures")
    return made


def first_passes(models: Path, data: Path, count: int | None) -> tuple[list[list[str]], dict[str, list[str]]]:
    """Return the spoken names of each utterance with names, and its transcripts without context by model."""
    manifest = data / "test.jsonl"
    rows = [row for row in read_manifest(manifest)[:count] if spoken(row)]
    audio = [audio_path(row, manifest) for row in rows]
    base, *adapters = (models / part for part in WEIGHTS)
    settings, device = RecogniserSettings.from_params(load_params()), best_device()
    loaded = {
        "bare base": load_recogniser(base, adapters[0], settings=settings, device=device),
        "recogniser": load_recogniser(base, *adapters, settings, device=device),
    }
    transcripts = {name: model.transcribe(audio, label=name) for name, model in loaded.items()}
    return [spoken(row) for row in rows], transcripts


def glossary(spoken_names: Sequence[Sequence[str]], size: int, seed: int = 0) -> list[str]:
    """Return a list of `size` distinct names: all spoken names, and names of the test split.

    The order is random: of equally similar names the first is kept, and many are equally similar.
    """
    rng = np.random.default_rng(seed)
    words = dict.fromkeys(word for names in spoken_names for word in names)
    if len(words) > size:
        raise SystemExit(
            f"{len(words)} names are spoken, but the list has {size}; increase --sizes, or reduce --utterances"
        )
    while len(words) < size:
        words[draw_sound("test", rng).spell(rng)] = None
    listed = list(words)
    return [listed[index] for index in rng.permutation(size)]


def recalls(
    texts: Sequence[str], spoken_names: Sequence[Sequence[str]], words: list[str], keep: Sequence[int]
) -> dict[int, float]:
    """Return the share of spoken names that are kept, by the number of names kept."""
    shares, lists = {}, [words] * len(texts)
    for most in sorted(keep, reverse=True):
        lists = shortlist(texts, lists, most)  # the best of the best are the best of all
        hits = [word in kept for names, kept in zip(spoken_names, map(set, lists), strict=True) for word in names]
        shares[most] = round(float(np.mean(hits)), 4)
    return {most: shares[most] for most in keep}


def record(arguments: argparse.Namespace, **figures) -> None:
    """Write figures to `--json`, with their command and the hashes of the weights."""
    if arguments.json is None:
        return
    content = {
        "command": " ".join(["python", *sys.argv]),
        "machine": f"{best_device() or 'cpu'} ({platform.machine()}), torch {torch.__version__}",
        "weights": {part: sha256(arguments.models / part / name) for part, name in WEIGHTS.items()},
        "test_manifest": sha256(arguments.data / "test.jsonl"),
        **figures,
    }
    arguments.json.parent.mkdir(parents=True, exist_ok=True)
    arguments.json.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
