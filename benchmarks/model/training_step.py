"""A training step, ours against the baseline, side by side: same base, adapter, utterances and loss.

    python benchmarks/model/training_step.py --batch-size 16 --steps 5

Ours reads the speech at its own length, pools and merges without a loop over samples, and scores the answer's positions
alone; a third side has the frozen encoder's states kept from before, as the default trains (`cache_encoder`). All sides
pool by the plain mean here, the one pooling the baseline has; `--weighting speech` shows what the speech-driven one
costs ours (the losses then differ).
"""

from pathlib import Path

import torch
from baseline import baseline_loss, baseline_rows, padded_features
from common import alternately, best_device, parser, report, utterances
from torch.nn.utils.rnn import pad_sequence

from sap2.constants import EMBEDDED
from sap2.model import load_model, load_processor, processor_fields
from sap2.params import LoraSection, TrainSection
from sap2.training.adapters import attach
from sap2.training.lists import ListDrawer


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--base", type=Path, default=EMBEDDED)
    options.add_argument("--batch-size", type=int, default=16)
    options.add_argument("--steps", type=int, default=5, help="measured steps of each side, over different batches")
    options.add_argument("--list-sizes", type=int, nargs=2, default=(5, 25))
    options.add_argument("--weighting", choices=("mean", "speech"), default="mean")
    options.add_argument("--bf16", action="store_true")
    arguments = options.parse_args()

    device, dtype = best_device(), torch.bfloat16 if arguments.bf16 else torch.float32
    base = load_model(arguments.base, dtype=dtype, weighting=arguments.weighting, windows="fixed")
    processor = load_processor(arguments.base, **processor_fields(base.config))
    # No dropout: the two sides must come to the same loss.
    model = attach(base, processor, TrainSection(), LoraSection(rank=8, alpha=32, dropout=0.0)).to(device).train()
    rows, waves = utterances(arguments, arguments.batch_size * (arguments.steps + 1))
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

    def theirs(prompts, keywords, audio, targets):
        samples = baseline_rows(processor, prompts, keywords, audio, targets)
        return baseline_loss(model, samples, padded_features(processor, audio))

    with torch.no_grad():
        kept = {id(wave): base.encode_speech(**processor.features([wave]))[0][0].cpu() for wave in waves}

    def from_kept(prompts, keywords, audio, targets):
        states = [kept[id(wave)][: processor.frames(len(wave))] for wave in audio]
        batch = processor(prompts, keywords, frames=[len(rows) for rows in states], targets=targets)
        mask = pad_sequence([torch.ones(len(rows)) for rows in states], batch_first=True).bool()
        batch |= {"speech_states": pad_sequence(states, batch_first=True), "speech_mask": mask}
        return model(**{name: tensor.to(device) for name, tensor in batch.items()}).loss

    losses: dict[str, list[float]] = {"ours": [], "ours, encoder kept": [], "baseline": []}

    def stepper(name, side):
        order = iter(batches)

        def step():
            model.zero_grad(set_to_none=True)
            loss = side(*next(order))
            loss.backward()
            losses[name].append(loss.item())

        return step

    sides = {name: stepper(name, side) for name, side in zip(losses, (ours, from_kept, theirs), strict=True)}
    seconds = alternately(sides, arguments.steps, device)
    apart = max(max(together) - min(together) for together in zip(*losses.values(), strict=True))
    last = {name: round(values[-1], 5) for name, values in losses.items()}
    report(
        arguments, device, seconds, seconds_of_speech=round(sum(map(len, waves)) / 16_000 / len(waves), 2),
        last_losses=last, losses_apart_at_most=float(f"{apart:.1e}"),
    )  # fmt: skip
    if arguments.weighting == "mean" and apart > (5e-2 if arguments.bf16 else 1e-3):
        raise SystemExit("the two sides do not compute the same loss: their times are no comparison")


if __name__ == "__main__":
    main()
