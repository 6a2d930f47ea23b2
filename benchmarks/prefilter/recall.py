"""Recall@K of the prefilter: is what was said among the K names that are kept of N?

    python benchmarks/prefilter/recall.py --json benchmarks/prefilter/records/recall.json

The prefilter's first pass is the bare base's, in `sap2 prune` and in a served model alike; the recogniser's stands
beside it for comparison. What they leave is what `sap2.inference.prefilter.shortlist` returns. One list serves all
utterances, as a glossary does: every name said in any of them and others of the test split, in random order.
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
    options.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="N: names of the list")
    options.add_argument("--keep", type=int, nargs="+", default=[50, 100, 200, 500], help="K: names kept of it")
    arguments = options.parse_args()

    said, heard = first_passes(arguments.models, arguments.data, arguments.utterances)
    # What a first pass of both would leave: each transcript's stretches, and the few that run from one into the other.
    first, second = heard
    heard["both"] = [" ".join(texts) for texts in zip(heard[first], heard[second], strict=True)]
    names = sum(map(len, said))
    right = {
        name: sum(word in text.split() for words, text in zip(said, texts, strict=True) for word in words)
        for name, texts in heard.items()
    }
    print(f"{len(said)} utterances with {names} names; right in the first pass: {right}\n")
    print("| first pass | N | " + " | ".join(f"recall@{keep}" for keep in arguments.keep) + " |")
    print("|---" * (len(arguments.keep) + 2) + "|")
    rows = []
    for name, texts in heard.items():
        for size in arguments.sizes:
            found = recalls(texts, said, glossary(said, size), arguments.keep)
            rows.append({"first_pass": name, "names": size, "recall": found})
            print(
                f"| {name} | {size:,} | " + " | ".join(f"{found[keep]:.3f}" for keep in arguments.keep) + " |",
                flush=True,
            )
    record(arguments, utterances=len(said), names=names, right_in_first_pass=right, rows=rows)


def parser(description: str) -> argparse.ArgumentParser:
    """The options both scripts have."""
    made = argparse.ArgumentParser(description=description.split("\n")[0])
    made.add_argument("--models", type=Path, default=Path("models"), help="folder with base, pruner and recogniser")
    made.add_argument("--data", type=Path, default=Path("data/lists"), help='what "sap2 lists" wrote')
    made.add_argument("--utterances", type=int, help="of the test split; all when left out")
    made.add_argument("--json", type=Path, help="write the figures there, too")
    return made


def first_passes(models: Path, data: Path, count: int | None) -> tuple[list[list[str]], dict[str, list[str]]]:
    """The names said in each utterance that has some, and its transcripts without context, by what made them."""
    manifest = data / "test.jsonl"
    rows = [row for row in read_manifest(manifest)[:count] if spoken(row)]
    audio = [audio_path(row, manifest) for row in rows]
    base, *adapters = (models / part for part in WEIGHTS)
    settings, device = RecogniserSettings.from_params(load_params()), best_device()
    loaded = {
        "bare base": load_recogniser(base, adapters[0], settings=settings, device=device),
        "recogniser": load_recogniser(base, *adapters, settings, device=device),
    }
    heard = {name: model.transcribe(audio, label=name) for name, model in loaded.items()}
    return [spoken(row) for row in rows], heard


def glossary(said: Sequence[Sequence[str]], size: int, seed: int = 0) -> list[str]:
    """All that is said and names of the test split, `size` in all, each once.

    In random order: of equally similar names the first in the list stays, and many are equally similar.
    """
    rng = np.random.default_rng(seed)
    words = dict.fromkeys(word for one in said for word in one)
    if len(words) > size:
        raise SystemExit(
            f"{len(words)} names are said, the list has {size}; give --sizes more, or take --utterances fewer"
        )
    while len(words) < size:
        words[draw_sound("test", rng).spell(rng)] = None
    listed = list(words)
    return [listed[place] for place in rng.permutation(size)]


def recalls(
    texts: Sequence[str], said: Sequence[Sequence[str]], words: list[str], keep: Sequence[int]
) -> dict[int, float]:
    """The share of the names said that stays, by how many are kept."""
    found, lists = {}, [words] * len(texts)
    for most in sorted(keep, reverse=True):
        lists = shortlist(texts, lists, most)  # the best of the best are the best of all
        stays = [word in kept for one, kept in zip(said, map(set, lists), strict=True) for word in one]
        found[most] = round(float(np.mean(stays)), 4)
    return {most: found[most] for most in keep}


def record(arguments: argparse.Namespace, **figures) -> None:
    """Write figures to `--json`, with the command and the weights they are of."""
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
