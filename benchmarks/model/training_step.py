"""A training step, ours against the baseline, side by side: same base, adapter, utterances and loss.

    python benchmarks/model/training_step.py --batch-size 16 --steps 5

Ours reads the speech at its own length, pools and merges without a loop over samples, and scores the answer's positions
alone. Both sides pool by the plain mean here, the one pooling the baseline has; `--weighting speech` shows what the
speech-driven one costs ours (the losses then differ).
"""

import argparse
from pathlib import Path

import torch
from common import alternately, baseline_loss, best_device, machine, summary, utterances

from sap2.model import load_model, load_processor, processor_fields
from sap2.params import LoraSection, TrainSection
from sap2.training.adapters import attach
from sap2.training.lists import ListDrawer
from sap2.training.shapes import EMBEDDED


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--base", type=Path, default=EMBEDDED)
    parser.add_argument("--folder", type=Path, default=Path("data/bench-model"))
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--steps", type=int, default=5, help="measured steps of each side, over different batches")
    parser.add_argument("--list-sizes", type=int, nargs=2, default=(5, 50))
    parser.add_argument("--weighting", choices=("mean", "speech"), default="mean")
    parser.add_argument("--bf16", action="store_true")
    arguments = parser.parse_args()

    device, dtype = best_device(), torch.bfloat16 if arguments.bf16 else torch.float32
    base = load_model(arguments.base, dtype=dtype, weighting=arguments.weighting, windows="fixed")
    processor = load_processor(arguments.base, **processor_fields(base.config))
    # No dropout: the two sides must come to the same loss.
    model = attach(base, processor, TrainSection(), LoraSection(dropout=0.0)).to(device).train()
    rows, waves = utterances(arguments.folder, arguments.batch_size * (arguments.steps + 1))
    section = TrainSection(list_sizes=tuple(arguments.list_sizes))
    drawer = ListDrawer("pruner", rows, **section.model_dump(include=ListDrawer.SETTINGS))
    batches = []
    for start in range(0, len(rows), arguments.batch_size):
        draws = [drawer.draw(row, 0) for row in rows[start : start + arguments.batch_size]]
        batches.append((
            [draw.prompt for draw in draws], [draw.keywords for draw in draws],
            waves[start : start + arguments.batch_size], [draw.target for draw in draws],
        ))  # fmt: skip

    def ours(prompts, keywords, audio, targets):
        batch = processor(prompts, keywords, audio, targets=targets)
        return model(**{name: tensor.to(device) for name, tensor in batch.items()}).loss

    def theirs(*batch):
        return baseline_loss(model, processor, *batch)

    losses: dict[str, list[float]] = {"ours": [], "baseline": []}

    def stepper(name, side):
        order = iter(batches)

        def step():
            model.zero_grad(set_to_none=True)
            loss = side(*next(order))
            loss.backward()
            losses[name].append(loss.item())

        return step

    sides = {"ours": stepper("ours", ours), "baseline": stepper("baseline", theirs)}
    seconds = alternately(sides, arguments.steps, device)
    seconds_of_speech = sum(map(len, waves)) / 16_000 / len(waves)
    print(
        f"{machine(device)}; batch {arguments.batch_size}, {seconds_of_speech:.1f} s of speech an utterance on average"
    )
    print(summary(seconds))
    apart = max(abs(a - b) for a, b in zip(*losses.values(), strict=True))
    print(
        f"losses: {losses['ours'][-1]:.5f} and {losses['baseline'][-1]:.5f} in the last step; {apart:.1e} apart at most"
    )
    if arguments.weighting == "mean" and apart > (5e-2 if arguments.bf16 else 1e-3):
        raise SystemExit("the two sides do not compute the same loss: their times are no comparison")


if __name__ == "__main__":
    main()
