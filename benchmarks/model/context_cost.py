"""What a long list costs: time and memory for N keywords pooled in windows of W, as a table and a plot.

    python benchmarks/model/context_cost.py --sizes 100 500 1000 2000 --windows 1 2 4 8

Time is that of a training step (forward and backward) and of the list's way through the model before the first token
of an answer. Memory is what autograd keeps for the backward pass, counted tensor by tensor, so that it means the same
on any device.
"""

import statistics
from pathlib import Path

import torch
from common import alternately, best_device, machine, names, parser, record, utterances

from sap2.constants import EMBEDDED
from sap2.model import load_model, load_processor, processor_fields
from sap2.params import LoraSection, TrainSection
from sap2.prompts import pruning_prompt
from sap2.training.adapters import attach


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--base", type=Path, default=EMBEDDED)
    options.add_argument("--sizes", type=int, nargs="+", default=[100, 500, 1000, 2000], help="N")
    options.add_argument("--windows", type=int, nargs="+", default=[1, 2, 4, 8], help="W")
    options.add_argument("--batch-size", type=int, default=1)
    options.add_argument("--repeats", type=int, default=3)
    options.add_argument("--plot", type=Path, default=Path("reports/context_cost.png"))
    arguments = options.parse_args()

    device = best_device()
    rows, waves = utterances(arguments, arguments.batch_size)
    pool = names(max(arguments.sizes))
    print(f"{machine(device)}; batch {arguments.batch_size}\n")
    print("| W | N | list tokens | pooled | step s | prefill s | kept MB |\n|---|---|---|---|---|---|---|")
    cells = {}
    for window in arguments.windows:
        for size in arguments.sizes:
            cells[window, size] = cost(arguments, window, [pool[:size]] * len(rows), waves, device)
            print(
                f"| {window} | {size} | {'{} | {} | {:.3f} | {:.3f} | {:.1f}'.format(*cells[window, size])} |",
                flush=True,
            )
    names_of = ("list_tokens", "pooled", "step_seconds", "prefill_seconds", "kept_megabytes")
    rows = [{"window": w, "keywords": n} | dict(zip(names_of, cell, strict=True)) for (w, n), cell in cells.items()]
    record(arguments, device, batch_size=arguments.batch_size, cells=rows)
    plot(cells, arguments)
    print(f"\nplot: {arguments.plot}")


def cost(arguments, window: int, lists, waves, device) -> tuple[int, int, float, float, float]:
    """List tokens, pooled vectors, seconds of a step, seconds of a prefill, and megabytes kept, of one batch."""
    base = load_model(arguments.base, dtype=torch.float32, window=window)
    base.config.use_cache = False
    processor = load_processor(arguments.base, **processor_fields(base.config))
    model = attach(base, processor, TrainSection(), LoraSection(rank=8, alpha=32, dropout=0.05)).to(device)
    prompts = [pruning_prompt()] * len(waves)
    batch = processor(prompts, lists, waves, targets=[", ".join(words[:2]) for words in lists])
    batch = {name: tensor.to(device) for name, tensor in batch.items()}
    prompt = {name: tensor.to(device) for name, tensor in processor(prompts, lists, waves).items()}

    def step():
        model.train().zero_grad(set_to_none=True)
        model(**batch).loss.backward()

    @torch.no_grad()
    def prefill():
        model.eval()(**prompt, logits_to_keep=1)

    seconds = alternately({"step": step, "prefill": prefill}, arguments.repeats, device)
    step_seconds, prefill_seconds = (statistics.median(taken) for taken in seconds.values())
    pooled = int(batch["context_windows"].max()) + 1
    return batch["context_ids"].shape[1], pooled, step_seconds, prefill_seconds, kept_bytes(model.train(), batch) / 1e6


def kept_bytes(model, batch) -> int:
    """Return the bytes autograd keeps of a forward pass, each storage once, without the weights."""
    weights = {weight.untyped_storage().data_ptr() for weight in model.parameters()}
    kept = {}

    def keep(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        model(**batch)
    return sum(storage.nbytes() for storage in kept.values())


def plot(cells: dict, arguments) -> None:
    """Three panels over N, a line a window."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(1, 3, figsize=(12, 4), layout="constrained")
    titles = ("training step (s)", "before the first token (s)", "kept for the backward pass (MB)")
    for panel, title, column in zip(panels, titles, (2, 3, 4), strict=True):
        for window in arguments.windows:
            values = [cells[window, size][column] for size in arguments.sizes]
            panel.plot(arguments.sizes, values, marker="o", label=f"W = {window}")
        panel.set(title=title, xlabel="keywords in the list (N)", ylim=(0, None))
        panel.grid(alpha=0.3)
    panels[0].legend()
    arguments.plot.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(arguments.plot, dpi=120)


if __name__ == "__main__":
    main()
