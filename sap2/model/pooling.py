"""Speech-driven attention-based pooling: a window of context tokens becomes one vector, weighted by what is heard."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from transformers import initialization as init

Projection = Callable[[Tensor], Tensor]


class ContextPooling(nn.Module):
    """`pool_context` as a configuration sets it, with its learned projections where `projection_rank` asks for them.

    One module, so that an adapter carries the projections by naming it in PEFT's `modules_to_save`.
    """

    def __init__(self, config):
        super().__init__()
        self.config = config
        rank, hidden = config.projection_rank, config.text_config.hidden_size
        self.query = LowRankProjection(hidden, rank) if rank else None
        self.key = LowRankProjection(hidden, rank) if rank else None

    def forward(self, context: Tensor, windows: Tensor, speech: Tensor | None, speech_mask: Tensor | None):
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

    U (hidden × rank) is 0 and V (rank × hidden) random at the start, so that P is the identity and U's gradient is not
    0. It works on the whole hidden size, before the heads are split, as attention's projections do: a head may then
    compare what lies elsewhere in the embeddings.
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
        """Project `(…, hidden)`, given and returned in float32."""
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
    softmax of r over a window's tokens, and the pooled vector is that share of the tokens themselves, unprojected.

    Args:
        context: Token embeddings, `(batch, tokens, hidden)`.
        windows: Window of each token inside its row, `(batch, tokens)`: 0, 0, 1, 1, 1, 2, … without gaps; -1 = padding.
        speech: Projected speech, `(batch, frames, hidden)`; None or no valid frame in a row = equal shares.
        speech_mask: True = valid, `(batch, frames)`.
        heads, aggregate, weighting, similarity: See `SapFields`.
        query, key: Applied to speech and tokens, in float32, before they are compared; None = the identity.
    Returns: Pooled embeddings, `(batch, windows, hidden)`, and their mask, `(batch, windows)`, True = the row has it.
    Raises: ValueError: `hidden` is not a multiple of `heads`, or a row's windows have gaps or run backwards.
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
        with torch.autocast(context.device.type, enabled=False):  # scores in float32, whatever the trainer's precision
            relevance = _relevance(context, speech, speech_mask, heads, aggregate, similarity, query, key)
    # Tokens move into a grid of windows and places, so that an ordinary softmax over the places never crosses a border.
    valid = torch.arange(size, device=context.device) < sizes[..., None]  # (batch, windows, size)
    scores = _to_grid(relevance.transpose(1, 2), slots, count, size)  # (batch, windows, size, heads)
    weights = scores.masked_fill(~valid[..., None], float("-inf"))
    weights = weights.masked_fill(~valid.any(-1)[..., None, None], 0).softmax(dim=2)
    grid = _to_grid(context, slots, count, size).unflatten(-1, (heads, hidden // heads))
    pooled = (weights[..., None] * grid).sum(dim=2).flatten(-2)  # (batch, windows, hidden)
    return pooled.to(dtype), sizes > 0


def _relevance(context, speech, speech_mask, heads: int, aggregate: str, similarity: str, query, key) -> Tensor:
    """How much the speech calls for each token, `(batch, heads, tokens)` in float32; 0 where a row has no speech."""
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
    """Each token's window and place in it, `(batch, tokens, 2)` with window -1 for padding, and the windows' sizes."""
    valid = windows >= 0
    # Left or inner padding takes no place: places count valid tokens only.
    order = valid.long().cumsum(-1) - 1
    count = int(windows.max()) + 1 if windows.numel() else 0
    index = windows.clamp(min=0)
    sizes = torch.zeros(*windows.shape[:-1], count, dtype=torch.long, device=windows.device)
    if count:
        sizes.scatter_add_(-1, index, valid.long())
    first = sizes.cumsum(-1) - sizes  # the window's first valid token
    place = order - (first.gather(-1, index) if count else 0)
    gaps = valid & ((place < 0) | (place >= sizes.gather(-1, index) if count else place < 0))
    gaps = bool(gaps.any()) or bool(((sizes == 0) & (sizes.flip(-1).cumsum(-1).flip(-1) > 0)).any())
    if gaps:
        raise ValueError("a row's context windows must count 0, 0, 1, 1, 2, … without gaps and in order")
    return torch.stack((windows, place), dim=-1), sizes


def _to_grid(tokens: Tensor, slots: Tensor, count: int, size: int) -> Tensor:
    """Move `(batch, tokens, …)` to `(batch, windows, size, …)`; places without a token are 0."""
    batch, _, width = tokens.shape
    window, place = slots.unbind(-1)
    # Every valid token has a place of its own, so scatter is deterministic; padding shares one spare place, cut off
    # below.
    target = torch.where(window >= 0, window * size + place, count * size)
    grid = tokens.new_zeros(batch, count * size + 1, width)
    grid = grid.scatter(1, target[..., None].expand(-1, -1, width), tokens)
    return grid[:, :-1].view(batch, count, size, width)
