"""The pooling's share of a training step's time.

    python benchmarks/model/pooling_share.py --batch-size 16 --list-size 20 --aggregate mean

The pooling's forward and backward pass alone, on a batch's own embeddings and speech, against a whole step of it: with
the encoder, and without it as when its states are kept (`cache_encoder`).
"""

from pathlib import Path

import torch
from common import alternately, best_device, parser, report, times, utterances

from sap2.constants import EMBEDDED
from sap2.model import load_model, load_processor, processor_fields
from sap2.params import LoraSection, TrainSection
from sap2.prompts import pruning_prompt
from sap2.training.adapters import attach


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--base", type=Path, default=EMBEDDED)
    options.add_argument("--batch-size", type=int, default=16)
    options.add_argument("--list-size", type=int, default=20, help="keywords an utterance, at most")
    options.add_argument("--aggregate", choices=("mean", "logsumexp", "max"), default="mean")
    options.add_argument("--projection-rank", type=int, default=0)
    options.add_argument("--window", type=int, default=2)
    options.add_argument("--repeats", type=int, default=10)
    arguments = options.parse_args()

    device = best_device()
    base = load_model(
        arguments.base, dtype=torch.float32, window=arguments.window, aggregate=arguments.aggregate,
        projection_rank=arguments.projection_rank,
    )  # fmt: skip
    processor = load_processor(arguments.base, **processor_fields(base.config))
    model = attach(base, processor, TrainSection(), LoraSection(rank=8, alpha=32, dropout=0.05)).to(device).train()
    rows, waves = utterances(arguments, arguments.batch_size)
    lists = [row.keywords[: arguments.list_size] for row in rows]
    batch = processor([pruning_prompt()] * len(rows), lists, waves, targets=[", ".join(words[:2]) for words in lists])
    batch = {name: tensor.to(device) for name, tensor in batch.items()}
    core = base.model
    with torch.no_grad():
        states, mask = base.encode_speech(batch["input_features"], batch["feature_attention_mask"])
        speech = core.multi_modal_projector(states)
    kept = {name: tensor for name, tensor in batch.items() if "feature" not in name}
    kept |= {"speech_states": states, "speech_mask": mask}

    def step(batch):
        model.zero_grad(set_to_none=True)
        model(**batch).loss.backward()

    def pooling():
        heard = speech.detach().requires_grad_()
        pooled, _ = core.pool(batch["context_ids"], batch["context_windows"], heard, mask)
        pooled.sum().backward()

    sides = {"step, encoder kept": lambda: step(kept), "step": lambda: step(batch), "pooling": pooling}
    seconds = alternately(sides, arguments.repeats, device)
    share = times(seconds, "pooling")
    report(
        arguments, device, seconds, list_tokens=batch["context_ids"].shape[1], frames=speech.shape[1],
        share_of_step=round(share / times(seconds, "step"), 5), share_of_step_encoder_kept=round(share, 5),
    )  # fmt: skip


if __name__ == "__main__":
    main()
