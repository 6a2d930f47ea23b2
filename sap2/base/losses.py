"""Losses of the base's pretraining.

The answer's cross-entropy alone teaches a small decoder to read lists only slowly. Auxiliary losses help and are
dropped afterwards: CTC over phonemes on the projector's output, and over the utterance's tokens by the dot products
with their embeddings, which places speech where the embeddings of its words are; at the last window of each listed
keyword its phonemes, its tokens and whether it is spoken (in the middle of the decoder and, as the tags, at its end);
and attention to that window where the keyword is written.
"""

import torch
from torch import Tensor, nn

from sap2.base.batches import PIECES, SLOTS, Labels
from sap2.model.modeling import SPOKEN_WEIGHT

__all__ = ["PRETRAINING_WEIGHTS", "SETTLING_WEIGHTS", "Heads", "losses"]

SOUND_LAYER = 2  # decoder layer whose output predicts a keyword's phonemes
MATCH_LAYER = 4  # decoder layer whose output predicts its tokens and whether it is spoken
PRETRAINING_WEIGHTS = {
    "answer": 1.0, "ctc": 0.3, "tokens": 0.2, "slots": 0.2, "pieces": 0.3, "match": 0.5, "tags": 0.5, "pointer": 0.2,
}  # fmt: skip
SETTLING_WEIGHTS = {"answer": 1.0, "pieces": 0.1, "match": 0.2, "tags": 0.5, "pointer": 0.2}


class Heads(nn.Module):
    """The auxiliary heads."""

    def __init__(self, hidden: int, phonemes: int) -> None:
        super().__init__()
        self.phoneme = nn.Linear(hidden, phonemes)
        self.match = nn.Linear(hidden, 1)
        self.slots = nn.Linear(hidden, SLOTS * phonemes)
        self.pieces = nn.Linear(hidden, PIECES * hidden)


def losses(
    model, heads: Heads, inputs: dict[str, Tensor], labels: Labels, frames: Tensor | None, hearing: bool = True
) -> dict[str, Tensor]:
    """The losses of a batch, by name, and how well keywords are tagged.

    Args:
        inputs: The model's; speech as `speech_states` and `speech_mask`; `labels` if there are answers.
        frames: Frames of each recording, `(batch,)`; None without speech.
        hearing: Whether to compute the losses of CTC.
    """
    projected: list[Tensor] = []
    hook = model.model.multi_modal_projector.register_forward_hook(
        lambda _module, _inputs, output: projected.append(output)
    )
    answered = "labels" in inputs
    try:
        output = (model if answered else model.model)(**inputs, output_hidden_states=True)
    finally:
        hook.remove()
    result: dict[str, Tensor] = {}
    if answered:
        result["answer"] = output.loss
    if frames is not None and hearing:
        result |= _hearing(model, heads, projected[0], labels, frames)
    if len(labels.pointers):
        result["pointer"] = _pointing(model.model.language_model, output.hidden_states, labels.pointers)
    return result | _reading(model, heads, output.hidden_states, labels, frames is not None)


def _hearing(model, heads: Heads, speech: Tensor, labels: Labels, frames: Tensor) -> dict[str, Tensor]:
    """CTC on the projector's output, `(batch, frames, hidden)`. Blank among the tokens is the audio placeholder, whose
    embedding has no other use."""
    phonemes = heads.phoneme(speech).float().log_softmax(-1).transpose(0, 1)
    tokens = model.lm_head(speech).float().log_softmax(-1).transpose(0, 1)
    ctc = nn.functional.ctc_loss
    return {
        "ctc": ctc(phonemes, labels.phonemes, frames, labels.phoneme_counts, zero_infinity=True),
        "tokens": ctc(
            tokens, labels.tokens, frames, labels.token_counts, blank=model.config.audio_token_index, zero_infinity=True
        ),
    }


def _reading(model, heads: Heads, hidden: tuple[Tensor, ...], labels: Labels, heard: bool) -> dict[str, Tensor]:
    """Losses at the last window of each keyword."""
    if not len(labels.rows):
        return {}
    at = (labels.rows, labels.columns)
    sounds = heads.slots(hidden[SOUND_LAYER][at]).view(labels.slots.numel(), -1).float()
    middle = hidden[MATCH_LAYER][at]
    pieces = model.lm_head(heads.pieces(middle).unflatten(-1, (PIECES, -1))).flatten(0, 1).float()
    result = {
        "slots": _cross_entropy(sounds, labels.slots.flatten()),
        "pieces": _cross_entropy(pieces, labels.pieces.flatten()),
    }
    if not heard:
        return result
    spoken = labels.spoken.float()
    weight = torch.where(labels.spoken, SPOKEN_WEIGHT, 1.0)
    loss = nn.functional.binary_cross_entropy_with_logits
    tags = model.tag_logits(hidden[-1][at])
    result["match"] = loss(heads.match(middle)[:, 0].float(), spoken, weight)
    result["tags"] = loss(tags, spoken, weight)
    right = (tags > 0) == labels.spoken
    result["tag_recall"] = ((right * spoken).sum() / spoken.sum().clamp(min=1)).detach()
    result["tag_false"] = ((~right * (1 - spoken)).sum() / (1 - spoken).sum().clamp(min=1)).detach()
    return result


def _pointing(text_model, hidden: tuple[Tensor, ...], pointers: Tensor) -> Tensor:
    """Attention where a keyword is copied: of the heads 0 … PIECES - 1 of the upper layers, head i shall attend to the
    keyword's last window where its token i is written, and to the first token of the row elsewhere in the keyword.

    The attention of these positions is computed again here, so that the model may use any implementation.

    Args:
        hidden: Input of each layer, `(batch, sequence, hidden)`; rows are padded on the right.
    """
    rows, columns, pieces, keys = pointers.T
    positions = torch.arange(hidden[0].shape[1], device=rows.device)
    cos, sin = text_model.rotary_emb(hidden[0], positions[None])
    looked_at = torch.where(torch.arange(PIECES, device=rows.device) == pieces[:, None], keys[:, None], 0)
    later = positions > columns[:, None]
    parts = []
    for number in range(MATCH_LAYER, len(text_model.layers)):
        attention, into = text_model.layers[number].self_attn, text_model.layers[number].input_layernorm(hidden[number])
        split = (-1, attention.head_dim)
        # (batch, sequence, PIECES, head_dim); a key head may serve several query heads.
        keys_of = attention.k_proj(into).unflatten(-1, split)
        keys_of = keys_of.repeat_interleave(attention.num_key_value_groups, dim=2)[:, :, :PIECES]
        key = _rotated(keys_of, cos[0][:, None], sin[0][:, None])
        query = attention.q_proj(into[rows, columns]).unflatten(-1, split)[:, :PIECES]
        query = _rotated(query, cos[0][columns][:, None], sin[0][columns][:, None])
        scores = torch.einsum("phd,plhd->phl", query, key[rows]).float() * attention.head_dim**-0.5
        shares = scores.masked_fill(later[:, None], float("-inf")).log_softmax(-1)
        parts.append(-shares.gather(-1, looked_at[..., None]).clamp(min=-14.0).mean())
    return torch.stack(parts).mean()


def _rotated(vectors: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Apply rotary position embeddings, as Qwen2 does."""
    first, second = vectors.chunk(2, -1)
    return vectors * cos + torch.cat((-second, first), -1) * sin


def _cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """The mean over the known targets (not -100); 0 if there are none."""
    return nn.functional.cross_entropy(logits, targets, reduction="sum") / (targets >= 0).sum().clamp(min=1)
