"""Speech-driven attention-based pooling: a window of tokens becomes a vector, weighted by relevance to the speech."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from transformers import initialization as init

Projection = Callable[[Tensor], Tensor]


class ContextPooling(nn.Module):
    """`pool_context` with a configuration's settings, and learned projections if `projection_rank` is above 0.

    A module of its own, so that an adapter includes the projections through PEFT's `modules_to_save`.
    """

    def __init__(self, config):
        super().__init__()
        self.config = config
        rank, hidden = config.projection_rank, config.text_config.hidden_size
        self.query = LowRankProjection(hidden, rank) if rank else None
        self.key = LowRankProjection(hidden, rank) if rank else None

    def forward(
        self, context: Tensor, windows: Tensor, speech: Tensor | None, speech_mask: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """See `pool_context`."""
        return pool_context(
            context,
            windows,
            speech,
            speech_mask,
            heads=self.config.pooling_heads,
            aggregate=self.config.aggregate,
            weighting=self.config.weighting,
            similarity=self.config.similarity,
            query=self.query,
            key=self.key,
        )


class LowRankProjection(nn.Module):
    """The identity plus a learned map of low rank, P x = x + U V x, in float32.

    U (hidden × rank) starts at 0 and V (rank × hidden) at random values, so that P starts as the identity and U's
    gradient is not 0. It applies to the full hidden size, before the split into heads, as attention's projections do,
    so that a head can compare any part of the embeddings.
    """

    def __init__(self, hidden: int, rank: int):
        super().__init__()
        self.down = nn.Parameter(torch.empty(rank, hidden, dtype=torch.float32))
        self.up = nn.Parameter(torch.empty(hidden, rank, dtype=torch.float32))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        init.normal_(self.down, std=self.down.shape[1] ** -0.5)
        init.zeros_(self.up)

    def forward(self, vectors: Tensor) -> Tensor:
        """Project float32 vectors `(…, hidden)`."""
        return vectors + vectors @ self.down.float().T @ self.up.float().T


def pool_context(
    context: Tensor,
    windows: Tensor,
    speech: Tensor | None,
    speech_mask: Tensor | None,
    heads: int = 4,
    aggregate: str = "mean",
    weighting: str = "speech",
    similarity: str = "dot",
    query: Projection | None = None,
    key: Projection | None = None,
) -> tuple[Tensor, Tensor]:
    """Pool each window of context tokens into one vector, weighted by relevance to the speech.

    With speech a, tokens c, projections Q and K (the identity unless given) and d = hidden / heads:
    s[h,t,i] = (Q a[t])[h] · (K c[i])[h] / √d, aggregated over the frames t to a relevance r[h,i]; the shares are the
    softmax of r over a window's tokens, and the pooled vector is the sum of the unprojected tokens by these shares.

    Args:
        context: Token embeddings, `(batch, tokens, hidden)`.
        windows: Window of each token inside its row, `(batch, tokens)`: 0, 0, 1, 1, 1, 2, … without gaps; -1 = padding.
        speech: Projected speech, `(batch, frames, hidden)`; None or no valid frame in a row = equal shares.
        speech_mask: True = valid, `(batch, frames)`.
        heads, aggregate, weighting, similarity: See `SapFields`.
        query, key: Applied to speech and tokens, in float32, before they are compared; None = the identity.
    Returns: Pooled embeddings, `(batch, windows, hidden)`, and their mask, `(batch, windows)`, True = the row has it.
    Raises: ValueError: `hidden` is not a multiple of `heads`, a row's windows have gaps or run backwards, or speech has
        no mask.
    Source: Rong et al., AAAI 2026, speech-driven attention-based pooling. Departs from it: windows may end at keyword
        borders, the softmax runs over the tokens of a window (the public code's runs over frames and cancels out), and
        projections may be learned."""
    batch, _, hidden = context.shape
    if hidden % heads:
        raise ValueError(f"hidden size {hidden} is not a multiple of {heads} heads")
    slots, sizes = _slots(windows)
    count, size = sizes.shape[1], int(sizes.max()) if sizes.numel() else 0
    if count == 0:
        return context.new_zeros(batch, 0, hidden), torch.zeros(batch, 0, dtype=torch.bool, device=context.device)
    dtype = context.dtype
    # Padding may hold anything, NaN included, so it is overwritten before it is multiplied.
    context = context.float().masked_fill((windows < 0)[..., None], 0)

    if weighting == "mean" or speech is None or speech.shape[1] == 0:
        relevance = context.new_zeros(batch, heads, context.shape[1])
    else:
        if speech_mask is None:
            raise ValueError("got speech without speech_mask; give both")
        with torch.autocast(context.device.type, enabled=False):  # scores in float32, whatever the trainer's precision
            relevance = _relevance(context, speech, speech_mask, heads, aggregate, similarity, query, key)
    # Tokens move into a grid of windows and slots, so that an ordinary softmax over the slots never crosses a border.
    valid = torch.arange(size, device=context.device) < sizes[..., None]  # (batch, windows, size)
    scores = _to_grid(relevance.transpose(1, 2), slots, count, size)  # (batch, windows, size, heads)
    weights = scores.masked_fill(~valid[..., None], float("-inf"))
    weights = weights.masked_fill(~valid.any(-1)[..., None, None], 0).softmax(dim=2)
    grid = _to_grid(context, slots, count, size).unflatten(-1, (heads, hidden // heads))
    pooled = (weights[..., None] * grid).sum(dim=2).flatten(-2)  # (batch, windows, hidden)
    return pooled.to(dtype), sizes > 0


def _relevance(
    context: Tensor,
    speech: Tensor,
    speech_mask: Tensor,
    heads: int,
    aggregate: str,
    similarity: str,
    query: Projection | None,
    key: Projection | None,
) -> Tensor:
    """Return each token's relevance to the speech, `(batch, heads, tokens)` in float32; 0 in a row without speech."""
    mask = speech_mask.bool()
    speech = speech.float().masked_fill(~mask[..., None], 0)
    speech = speech if query is None else query(speech)
    context = context if key is None else key(context)
    speech = speech.unflatten(-1, (heads, -1))  # (batch, frames, heads, size)
    context = context.unflatten(-1, (heads, -1))  # (batch, tokens, heads, size)
    if similarity == "cosine":
        context, speech = _unit_mean_square(context), _unit_mean_square(speech)
    frames = mask.sum(-1).clamp(min=1)
    scale = context.shape[-1] ** -0.5
    if aggregate == "mean":  # the mean of dot products is the dot product with the mean: no (frames, tokens) table
        mean = speech.sum(1) / frames[:, None, None]
        return torch.einsum("bhd,bchd->bhc", mean, context) * scale
    scores = torch.einsum("bthd,bchd->bhtc", speech, context) * scale  # (batch, heads, frames, tokens)
    scores = scores.masked_fill(~mask[:, None, :, None], float("-inf"))
    scores = scores.masked_fill(~mask.any(-1)[:, None, None, None], 0)
    if aggregate == "max":
        return scores.amax(dim=2)
    return scores.logsumexp(dim=2) - frames.float().log()[:, None, None]


def _unit_mean_square(vectors: Tensor) -> Tensor:
    return vectors * torch.rsqrt(vectors.square().mean(-1, keepdim=True) + 1e-12)


def _slots(windows: Tensor) -> tuple[Tensor, Tensor]:
    """Return each token's window and slot in it, `(batch, tokens, 2)` with window -1 for padding, and the sizes."""
    valid = windows >= 0
    # Slots count valid tokens only: left or inner padding occupies none.
    order = valid.long().cumsum(-1) - 1
    count = int(windows.max()) + 1 if windows.numel() else 0
    index = windows.clamp(min=0)
    sizes = torch.zeros(*windows.shape[:-1], count, dtype=torch.long, device=windows.device)
    if count:
        sizes.scatter_add_(-1, index, valid.long())
    first = sizes.cumsum(-1) - sizes  # the window's first valid token
    slot = order - (first.gather(-1, index) if count else 0)
    misplaced = valid & ((slot < 0) | (slot >= sizes.gather(-1, index) if count else slot < 0))
    empty = (sizes == 0) & (sizes.flip(-1).cumsum(-1).flip(-1) > 0)
    if bool(misplaced.any()) or bool(empty.any()):
        raise ValueError("a row's context windows must count 0, 0, 1, 1, 2, … without gaps and in order")
    return torch.stack((windows, slot), dim=-1), sizes


def _to_grid(tokens: Tensor, slots: Tensor, count: int, size: int) -> Tensor:
    """Move `(batch, tokens, …)` to `(batch, windows, size, …)`; slots without a token are 0."""
    batch, _, width = tokens.shape
    window, slot = slots.unbind(-1)
    # Every valid token has its own slot, so scatter is deterministic; padding shares a spare slot, removed below.
    target = torch.where(window >= 0, window * size + slot, count * size)
    grid = tokens.new_zeros(batch, count * size + 1, width)
    grid = grid.scatter(1, target[..., None].expand(-1, -1, width), tokens)
    return grid[:, :-1].view(batch, count, size, width)
