"""Generation of a fixed number of tokens: a model with random weights would stop at random, or never."""

from dataclasses import dataclass, field

import torch
from material import Samples, encoded, features_of
from measuring import median_seconds
from torch import Tensor
from transformers import GenerationConfig


@dataclass
class Generation:
    """Generation of a batch with a fixed number of tokens.

    Args:
        model: A PEFT model, or a base.
        inputs: Inputs of `generate`: the prompt and the encoder states.
        options: Further fields of `GenerationConfig`.
    """

    model: object
    processor: object
    inputs: dict[str, Tensor]
    options: dict = field(default_factory=dict)

    @torch.no_grad()
    def generate(self, tokens: int) -> Tensor:
        processor = self.processor
        config = GenerationConfig(
            max_new_tokens=tokens, min_new_tokens=tokens, do_sample=False, num_beams=1, use_cache=True,
            eos_token_id=[processor.end_id, processor.tokenizer.eos_token_id], pad_token_id=processor.pad_id,
            **self.options,
        )  # fmt: skip
        return self.model.generate(**self.inputs, generation_config=config)

    def seconds(self, run, tokens: int, warm: int = 1) -> float:
        return median_seconds(run, lambda: self.generate(tokens), warm)


def prompt_of(model, processor, samples: Samples, device: torch.device) -> dict[str, Tensor]:
    """Encode recordings of equal length, and return the inputs of `generate`."""
    states, mask = encoded(model, features_of(processor, samples.waves, device))
    frames = mask.sum(-1).tolist()
    inputs = processor(samples.prompts, samples.keywords, frames=frames, padding_side="left")
    moved = {name: tensor.to(device) for name, tensor in inputs.items()}
    longest = max(frames)
    return moved | {"speech_states": states[:, :longest], "speech_mask": mask[:, :longest]}


def per_token(prefill: float, whole: float, tokens: int) -> float:
    """Return the milliseconds per token after the first."""
    return 1000 * (whole - prefill) / (tokens - 1)
