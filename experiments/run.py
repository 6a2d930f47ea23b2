"""Steps of the ablation, called by experiments/dvc.yaml; `make ablation` runs all of the main table.

    python -m experiments.run corpus
    python -m experiments.run train tpi 1
    python -m experiments.run --grid experiments/people/grid.yaml test tpi 1

corpus → train → test, each through the pipeline's stages, so that the measured code is that of `dvc repro` and
Kubeflow.
"""

import argparse
import json
import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from experiments.grid import Grid, load_grid
from sap2 import stages
from sap2.constants import EMBEDDED_BASES
from sap2.data.lectures import COMMON_WORDS
from sap2.data.names import Split, draw_sound
from sap2.files import atomic_dir, sha256
from sap2.inference.corpus import decode_split, prune_splits
from sap2.manifest import Utterance, read_manifest, relocated, spoken, write_manifest
from sap2.tracking.provenance import code_state

GRID = Path("experiments/grid.yaml")
HERE = GRID.parent
EXPERIMENT = "tracking.experiment=sap2-asr-ablation"
SIZED = "n{}"  # name of the test set with lists of that many keywords


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--grid", type=Path, default=GRID, help=f"results lie beside it (default: {GRID})")
    steps = parser.add_subparsers(dest="step", required=True)
    steps.add_parser("corpus", help="synthesise the corpora and make the lists")
    for step, help in (("train", "train both stages"), ("test", "prune and transcribe every test set")):
        command = steps.add_parser(step, help=help)
        command.add_argument("training", help="a name of grid.yaml")
        command.add_argument("seed", type=int)
    options = parser.parse_args()
    grid, work = load_grid(options.grid), options.grid.parent
    if options.step == "corpus":
        corpus(grid, work)
        return
    base = EMBEDDED_BASES.get(grid.params().base.path, stages.BASE)
    if options.step == "train":
        train(grid, options.training, options.seed, work, base)
    else:
        test(grid, options.training, options.seed, work, base)


def corpus(grid: Grid, work: Path = HERE) -> None:
    """Prepare the corpora under `work/corpora`, and manifests of the first test split with lists of other sizes."""
    with atomic_dir(work / "corpora") as partial:
        for name, changes in grid.corpora.items():
            params = grid.params(*changes)
            if params.prepare.source == "lectures":
                print(stages.prepare(params.prepare, partial / name))
            else:
                print(stages.prepare(params.prepare, partial / f"{name}-prepared"))
                print(stages.lists(params.lists, partial / f"{name}-prepared", partial / name))
            if grid.every > 1:
                test_split = partial / name / "test.jsonl"
                write_manifest(test_split, read_manifest(test_split)[:: grid.every])
        manifest = partial / grid.first / "test.jsonl"
        utterances = read_manifest(manifest)[: grid.sizes.of]
        for size in grid.sizes.lists:
            target = partial / f"{SIZED.format(size)}.jsonl"
            write_manifest(
                target, (relocated(utterance, manifest, target) for utterance in with_lists(utterances, size))
            )


def with_lists(utterances: list[Utterance], size: int, seed: int = 1, split: Split = "test") -> Iterator[Utterance]:
    """Yield utterances with lists of `size`: spoken keywords, then listed ones, then other names of their split.

    The other names are the same for all utterances, like a glossary's. Some of very many names sound like a spoken
    name, and the two cannot be told apart; the scores include this.
    """
    most = max((len(utterance.keywords) for utterance in utterances), default=0)
    known = {word for utterance in utterances for word in utterance.keywords} | COMMON_WORDS
    others = _names(known, max(0, size - most), seed, split)
    for utterance in utterances:
        said = spoken(utterance)
        listed = [*said, *(word for word in utterance.keywords if word not in said), *others][: max(size, len(said))]
        random.Random(f"{seed}/{utterance.id}").shuffle(listed)
        yield utterance.model_copy(update={"keywords": listed})


def _names(known: set[str] | frozenset[str], count: int, seed: int, split: Split) -> list[str]:
    rng, names = np.random.default_rng((seed, count)), {}
    while len(names) < count:
        name = draw_sound(split, rng).spell(rng)
        if name not in known:
            names[name] = None
    return list(names)


def train(grid: Grid, name: str, seed: int, work: Path = HERE, base: Path = stages.BASE) -> None:
    """Train both stages' adapters under `work/models/NAME-SEED`; an interrupted training resumes."""
    params = _params(grid, name, seed)
    lists, models = work / "corpora" / grid.first, work / "models" / f"{name}-{seed}"
    # In a common folder, so that all trainings share the frozen encoder's cached output.
    pruner, recogniser = (work / ".checkpoints" / f"{name}-{seed}-{stage}" for stage in ("pruner", "recogniser"))
    print(
        stages.train_pruner(
            params.pruner, params.model, params.lora, params.tracking, lists, base, models / "pruner",
            pruner,
        )
    )  # fmt: skip
    if params.recogniser.lists == "predicted":
        print(stages.prune(params.pruning, lists, base, models / "pruner", models / "pruned"))
        lists = models / "pruned"
    print(
        stages.train_recogniser(
            params.recogniser, params.model, params.lora, params.tracking, lists, base, models / "recogniser",
            recogniser,
        )
    )  # fmt: skip


def test(grid: Grid, name: str, seed: int, work: Path = HERE, base: Path = stages.BASE) -> None:
    """Write results under `work/results/NAME-SEED/SET/CONTEXT.jsonl`, and their provenance.

    Only what the page shows is decoded: all contexts of `grid.main` on the first test set, else "predicted".
    """
    params = _params(grid, name, seed)
    corpora, models = work / "corpora", work / "models" / grid.models(name, seed)
    shown = grid.corpora if name in grid.main else [grid.first]
    sets = {corpus: corpora / corpus / "test.jsonl" for corpus in shown}
    if seed == grid.seeds[0]:
        sets |= {SIZED.format(size): corpora / f"{SIZED.format(size)}.jsonl" for size in grid.trainings[name].sizes}
    dev = corpora / grid.first / "dev.jsonl"
    limits = {"max_false_alarms": params.pruning.max_false_alarms}
    with atomic_dir(work / "results" / f"{name}-{seed}") as partial:
        prune_splits(params.pruning, {"dev": dev, **sets}, base, models / "pruner", partial / "pruned", **limits)
        for test_set in sets:
            contexts = params.inference.contexts if name in grid.main and test_set == grid.first else ["predicted"]
            decode_split(
                params.inference,
                contexts,
                partial / "pruned" / f"{test_set}.jsonl",
                base,
                models / "recogniser",
                partial / test_set,
            )
        made = code_state() | {"grid": sha256(work / GRID.name), "params": sha256("params.yaml")}
        (partial / "made.json").write_text(json.dumps(made, indent=2) + "\n", encoding="utf-8")


def _params(grid: Grid, name: str, seed: int):
    changes = grid.trainings[name].params
    return grid.params(EXPERIMENT, f"pruner.seed={seed}", f"recogniser.seed={seed}", *changes)


if __name__ == "__main__":
    main()
