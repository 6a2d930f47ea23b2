"""The pooling's share of a training step's time.

    python benchmarks/model/pooling_share.py --batch-size 16 --list-size 50 --aggregate mean

The pooling's forward and backward pass alone, on a batch's own embeddings and speech, against a whole step of it.
"""

import argparse
import statistics
from pathlib import Path

import torch
from common import alternately, best_device, machine, summary, utterances

from sap2.model import load_model, load_processor, processor_fields
from sap2.params import LoraSection, TrainSection
from sap2.prompts import pruning_prompt
from sap2.training.adapters import attach
from sap2.training.shapes import EMBEDDED


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--base", type=Path, default=EMBEDDED)
    parser.add_argument("--folder", type=Path, default=Path("data/bench-model"))
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--list-size", type=int, default=50, help="keywords an utterance, at most")
    parser.add_argument("--aggregate", choices=("mean", "logsumexp", "max"), default="mean")
    parser.add_argument("--window", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=10)
    arguments = parser.parse_args()

    device = best_device()
    base = load_model(arguments.base, dtype=torch.float32, window=arguments.window, aggregate=arguments.aggregate)
    processor = load_processor(arguments.base, **processor_fields(base.config))
    model = attach(base, processor, TrainSection(), LoraSection()).to(device).train()
    rows, waves = utterances(arguments.folder, arguments.batch_size)
    lists = [row.keywords[: arguments.list_size] for row in rows]
    batch = processor([pruning_prompt()] * len(rows), lists, waves, targets=[", ".join(words[:2]) for words in lists])
    batch = {name: tensor.to(device) for name, tensor in batch.items()}
    core = base.model
    with torch.no_grad():
        states, mask = base.encode_speech(batch["input_features"], batch["feature_attention_mask"])
        speech = core.multi_modal_projector(states)

    def step():
        model.zero_grad(set_to_none=True)
        model(**batch).loss.backward()

    def pooling():
        heard = speech.detach().requires_grad_()
        pooled, _ = core.pool(batch["context_ids"], batch["context_windows"], heard, mask)
        pooled.sum().backward()

    seconds = alternately({"step": step, "pooling": pooling}, arguments.repeats, device)
    print(f"{machine(device)}; batch {arguments.batch_size}, {batch['context_ids'].shape[1]} list tokens, "
          f"{speech.shape[1]} frames, {arguments.aggregate}")  # fmt: skip
    print(summary(seconds))
    share = statistics.median(seconds["pooling"]) / statistics.median(seconds["step"])
    print(f"pooling: {share:.2%} of the step")


if __name__ == "__main__":
    main()
