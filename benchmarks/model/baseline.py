"""The baseline of the model's benchmarks: how the public code works, in our own writing from the method's description.

Speech padded to 30 s, each sample's embeddings merged in a Python loop with a loop over its windows inside, the head
over every position, and decoding one utterance at a time. Its weights and its pooling (the plain mean) are ours, so
that both sides compute the same loss. Needs nothing but PyTorch: benchmarks/gpu uses it, too.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn

FULL = 30 * 16_000  # samples the public code pads every recording to


def padded_features(processor, waves: Sequence[np.ndarray]) -> dict[str, Tensor]:
    """The encoder's input of recordings padded to 30 s."""
    # The longest row decides a batch's length: a row of 30 s pads all of them.
    features = processor.features([*waves, np.zeros(FULL, np.float32)])
    return {name: tensor[:-1] for name, tensor in features.items()}


@torch.no_grad()
def padded_states(model, features: Mapping[str, Tensor]) -> list[Tensor]:
    """Encoder states of `padded_features`, `(frames, encoder_hidden)` each, cut to their valid frames."""
    states, mask = model.encode_speech(**{name: tensor.to(model.device) for name, tensor in features.items()})
    return [row[: int(valid.sum())] for row, valid in zip(states, mask, strict=True)]


def baseline_rows(processor, prompts, keywords, waves, targets) -> list[Mapping[str, Tensor]]:
    """Each sample's tokens, as `baseline_loss` takes them; arguments as the processor's."""
    samples = zip(prompts, keywords, waves, targets, strict=True)
    return [
        processor([prompt], [words], frames=[processor.frames(len(wave))], targets=[target])
        for prompt, words, wave, target in samples
    ]


def baseline_loss(model, samples: Sequence[Mapping[str, Tensor]], features: Mapping[str, Tensor]) -> Tensor:
    """The loss of a batch, computed as the public code does: sample by sample, from 30 s of audio each.

    Args:
        model: Base or PEFT model whose pooling is the mean of fixed windows (`weighting` "mean").
        samples: From `baseline_rows`.
        features: From `padded_features`.
    """
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    core, config = inner.model, inner.config
    rows, labels = [], []
    for sample, heard in zip(samples, padded_states(inner, features), strict=True):
        ids = sample["input_ids"][0].to(inner.device)
        speech = core.multi_modal_projector(heard.to(core.multi_modal_projector.linear.weight.dtype))
        context = core.get_input_embeddings()(sample["context_ids"][0].to(inner.device))
        pooled = [context[start : start + config.window].mean(0) for start in range(0, len(context), config.window)]
        embeddings = core.get_input_embeddings()(ids)
        pieces, spoken, listed = [], 0, 0
        for position, token in enumerate(ids.tolist()):
            if token == config.audio_token_index:
                pieces.append(speech[spoken])
                spoken += 1
            elif token == config.context_token_id:
                pieces.append(pooled[listed])
                listed += 1
            else:
                pieces.append(embeddings[position])
        rows.append(torch.stack(pieces))
        labels.append(sample["labels"][0].to(inner.device))
    mask = nn.utils.rnn.pad_sequence([torch.ones(len(row), device=inner.device) for row in rows], batch_first=True)
    hidden = core.language_model(
        inputs_embeds=nn.utils.rnn.pad_sequence(rows, batch_first=True), attention_mask=mask.long(), use_cache=False
    ).last_hidden_state
    logits = inner.lm_head(hidden).float()  # every position, as the stock class does
    targets = nn.utils.rnn.pad_sequence(labels, batch_first=True, padding_value=-100)
    return nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), targets[:, 1:].flatten(), ignore_index=-100)
