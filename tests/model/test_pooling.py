"""The pooling's mathematics: what must hold for any context, speech and padding."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from sap2.model.pooling import LowRankProjection, pool_context

HIDDEN, HEADS = 32, 4
SETTINGS = [(a, s) for a in ("mean", "logsumexp", "max") for s in ("dot", "cosine")]


def draw(tokens: int, frames: int = 9, batch: int = 1, seed: int = 0, hidden: int = HIDDEN):
    generator = torch.Generator().manual_seed(seed)
    context = torch.randn(batch, tokens, hidden, generator=generator)
    speech = torch.randn(batch, frames, hidden, generator=generator)
    return context, speech, torch.ones(batch, frames, dtype=torch.bool)


def fixed(tokens: int, window: int) -> torch.Tensor:
    return (torch.arange(tokens) // window)[None]


def projections(trained: bool = True, rank: int = 3) -> dict[str, LowRankProjection]:
    """Query and key projections, as training would leave them or fresh."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        pair = {name: LowRankProjection(HIDDEN, rank) for name in ("query", "key")}
        for projection in pair.values() if trained else ():
            torch.nn.init.normal_(projection.up, std=0.5)
    return pair


def by_definition(context, windows, speech, aggregate, similarity, query=None, key=None):
    """One row, straight from the definition, with loops."""
    pooled = []
    queries = speech if query is None else speech + speech @ query.down.T @ query.up.T
    keys = context if key is None else context + context @ key.down.T @ key.up.T
    for window in range(int(windows.max()) + 1):
        tokens = context[windows == window].unflatten(-1, (HEADS, -1))  # (tokens, heads, size)
        heads = []
        for head in range(HEADS):
            c, left = tokens[:, head], queries.unflatten(-1, (HEADS, -1))[:, head]
            right = keys[windows == window].unflatten(-1, (HEADS, -1))[:, head]
            if similarity == "cosine":
                left, right = (v / v.square().mean(-1, keepdim=True).sqrt() for v in (left, right))
            scores = left @ right.T / c.shape[-1] ** 0.5  # (frames, tokens)
            relevance = {"mean": scores.mean(0), "max": scores.amax(0), "logsumexp": scores.exp().mean(0).log()}[
                aggregate
            ]
            heads.append(relevance.softmax(0) @ c)
        pooled.append(torch.cat(heads))
    return torch.stack(pooled)


@pytest.mark.parametrize("projected", [False, True])
@pytest.mark.parametrize(("aggregate", "similarity"), SETTINGS)
def test_pooled_vectors_are_those_of_the_definition(aggregate, similarity, projected):
    context, speech, mask = draw(8)
    windows = torch.tensor([[0, 0, 1, 2, 2, 2, 3, 3]])
    learned = projections() if projected else {}
    pooled, kept = pool_context(context, windows, speech, mask, HEADS, aggregate, similarity=similarity, **learned)
    assert kept.all() and kept.shape == (1, 4)
    expected = by_definition(context[0], windows[0], speech[0], aggregate, similarity, **learned)
    torch.testing.assert_close(pooled[0], expected)


@pytest.mark.parametrize(("aggregate", "similarity"), SETTINGS)
def test_projections_start_as_the_identity_and_take_gradients(aggregate, similarity):
    context, speech, mask = draw(8)
    plain, _ = pool_context(context, fixed(8, 2), speech, mask, HEADS, aggregate, similarity=similarity)
    fresh = projections(trained=False)
    pooled, _ = pool_context(context, fixed(8, 2), speech, mask, HEADS, aggregate, similarity=similarity, **fresh)
    assert torch.equal(pooled, plain)
    pooled.square().sum().backward()
    # As with LoRA: the half that is 0 moves first, then the other.
    assert all(projection.up.grad.abs().sum() > 1e-3 for projection in fresh.values())
    trained = projections()
    pooled, _ = pool_context(context, fixed(8, 2), speech, mask, HEADS, aggregate, similarity=similarity, **trained)
    pooled.square().sum().backward()
    assert (pooled - plain).abs().max() > 0.01
    assert all(
        weight.grad.abs().sum() > 1e-3 for projection in trained.values() for weight in (projection.up, projection.down)
    )


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000), choice=st.sampled_from(SETTINGS), projected=st.booleans())
def test_order_of_frames_and_of_a_windows_tokens_changes_nothing(seed, choice, projected):
    context, speech, mask = draw(9, seed=seed)
    aggregate, similarity = choice
    options = {"similarity": similarity} | (projections() if projected else {})
    expected, _ = pool_context(context, fixed(9, 3), speech, mask, HEADS, aggregate, **options)
    generator = torch.Generator().manual_seed(seed)
    frames = torch.randperm(speech.shape[1], generator=generator)
    tokens = torch.cat([3 * window + torch.randperm(3, generator=generator) for window in range(3)])
    pooled, _ = pool_context(context[:, tokens], fixed(9, 3), speech[:, frames], mask, HEADS, aggregate, **options)
    torch.testing.assert_close(pooled, expected)


@pytest.mark.parametrize(("aggregate", "similarity"), SETTINGS)
def test_window_of_one_is_the_identity(aggregate, similarity):
    context, speech, mask = draw(7)
    pooled, _ = pool_context(context, fixed(7, 1), speech, mask, HEADS, aggregate, similarity=similarity)
    assert torch.equal(pooled, context)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_odd_tail_of_one_token_is_returned_unchanged(dtype):
    context, speech, mask = draw(5)
    pooled, _ = pool_context(context.to(dtype), fixed(5, 2), speech.to(dtype), mask, HEADS)
    assert pooled.dtype == dtype
    assert torch.equal(pooled[0, 2], context[0, 4].to(dtype))


@settings(max_examples=30, deadline=None)
@given(
    tokens=st.integers(1, 9),
    window=st.integers(1, 4),
    context_padding=st.integers(0, 4),
    speech_padding=st.integers(0, 4),
    left=st.booleans(),
    choice=st.sampled_from(SETTINGS),
    projected=st.booleans(),
)
def test_padding_never_changes_pooled_vectors(tokens, window, context_padding, speech_padding, left, choice, projected):
    context, speech, mask = draw(tokens)
    aggregate, similarity = choice
    options = {"similarity": similarity} | (projections() if projected else {})
    expected, kept = pool_context(context, fixed(tokens, window), speech, mask, HEADS, aggregate, **options)
    sides = (context_padding, 0) if left else (0, context_padding)
    pad = torch.nn.functional.pad
    # What stands in the padding is not a number at all, so it would show anywhere.
    context = pad(context, (0, 0, *sides), value=float("nan"))
    windows = pad(fixed(tokens, window), sides, value=-1)
    speech = pad(speech, (0, 0, 0, speech_padding), value=float("nan"))
    mask = pad(mask, (0, speech_padding), value=False)
    pooled, got = pool_context(context, windows, speech, mask, HEADS, aggregate, **options)
    assert torch.equal(got, kept)
    torch.testing.assert_close(pooled, expected)
    if projected:
        pooled.sum().backward()
        assert all(torch.isfinite(options[name].down.grad).all() for name in ("query", "key"))


def test_rows_of_a_batch_do_not_touch_each_other():
    context, speech, _ = draw(6, batch=3)
    windows = torch.tensor([[0, 0, 1, 1, 2, 2], [0, 1, 1, -1, -1, -1], [-1] * 6])
    mask = torch.arange(9) < torch.tensor([[9], [4], [6]])
    pooled, kept = pool_context(context, windows, speech, mask, HEADS)
    assert kept.tolist() == [[True] * 3, [True, True, False], [False] * 3]
    for row, (tokens, frames) in enumerate([(6, 9), (3, 4)]):
        single = slice(row, row + 1)
        alone, mine = pool_context(
            context[single, :tokens], windows[single, :tokens], speech[single, :frames], mask[single, :frames], HEADS
        )
        torch.testing.assert_close(pooled[single][:, : alone.shape[1]][mine], alone[mine])


@pytest.mark.parametrize(("aggregate", "similarity"), SETTINGS)
def test_other_speech_gives_other_vectors(aggregate, similarity):
    context, speech, mask = draw(6)
    other = draw(6, seed=1)[1]
    first, _ = pool_context(context, fixed(6, 2), speech, mask, HEADS, aggregate, similarity=similarity)
    second, _ = pool_context(context, fixed(6, 2), other, mask, HEADS, aggregate, similarity=similarity)
    assert (first - second).abs().max() > 0.05


@pytest.mark.parametrize(("aggregate", "similarity"), SETTINGS)
def test_gradients_reach_speech_and_context(aggregate, similarity):
    context, speech, mask = draw(6)
    mask[0, 5:] = False
    context.requires_grad_(), speech.requires_grad_()
    pooled, _ = pool_context(context, fixed(6, 2), speech, mask, HEADS, aggregate, similarity=similarity)
    pooled.square().sum().backward()
    assert speech.grad[0, :5].abs().sum() > 1e-3 and speech.grad[0, 5:].abs().sum() == 0
    assert context.grad.abs().sum() > 0 and torch.isfinite(context.grad).all()


@pytest.mark.parametrize(("aggregate", "least"), [("mean", 0.85), ("logsumexp", 0.95), ("max", 0.95)])
def test_tokens_that_match_the_speech_get_larger_weights(aggregate, least):
    """A token said in 3 of 9 frames against one not said, at unit variance and the embedded base's hidden size."""
    context, speech, mask = draw(2, hidden=256)
    speech[0, 3:6] = context[0, 0]
    pooled, _ = pool_context(context, fixed(2, 2), speech, mask, HEADS, aggregate)
    # pooled = w·first + (1 − w)·second, so w follows by projection, per head
    first, second, got = (v.unflatten(-1, (HEADS, -1)) for v in (context[0, 0], context[0, 1], pooled[0, 0]))
    share = ((got - second) * (first - second)).sum(-1) / (first - second).square().sum(-1)
    assert share.mean() > least


def test_cosine_similarity_keeps_its_contrast_at_any_scale():
    """Fresh embeddings are some 0.02 wide: there plain dot products leave every share at a half."""
    context, speech, mask = draw(2)
    speech[0, :] = context[0, 0]
    shares = {}
    for similarity in ("dot", "cosine"):
        pooled, _ = pool_context(0.02 * context, fixed(2, 2), 0.02 * speech, mask, HEADS, similarity=similarity)
        difference = 0.02 * (context[0, 0] - context[0, 1])
        shares[similarity] = (pooled[0, 0] - 0.02 * context[0, 1]) @ difference / difference.square().sum()
    assert shares["dot"] == pytest.approx(0.5, abs=0.01) and shares["cosine"] > 0.9


def test_mean_weighting_is_the_window_mean():
    context, speech, mask = draw(5)
    pooled, _ = pool_context(context, fixed(5, 2), speech, mask, HEADS, weighting="mean")
    torch.testing.assert_close(pooled[0, :2], context[0, :4].unflatten(0, (2, 2)).mean(1))
    assert torch.equal(pooled[0, 2], context[0, 4])


@pytest.mark.parametrize("aggregate", ["mean", "logsumexp", "max"])
def test_a_row_without_speech_gets_equal_shares(aggregate):
    context, speech, mask = draw(4, batch=2)
    mask[1] = False
    windows = fixed(4, 2).expand(2, -1)
    pooled, _ = pool_context(context, windows, speech, mask, HEADS, aggregate)
    means = context[1].unflatten(0, (2, 2)).mean(1)
    torch.testing.assert_close(pooled[1], means)
    torch.testing.assert_close(pool_context(context, windows, None, None, HEADS, aggregate)[0][1], means)


@pytest.mark.parametrize("aggregate", ["mean", "logsumexp", "max"])
def test_bfloat16_stays_close_to_float32(aggregate):
    context, speech, mask = draw(12, frames=50)
    context, speech = context.bfloat16(), speech.bfloat16()
    exact, _ = pool_context(context.float(), fixed(12, 2), speech.float(), mask, HEADS, aggregate)
    half, _ = pool_context(context, fixed(12, 2), speech, mask, HEADS, aggregate)
    torch.testing.assert_close(half.float(), exact, atol=0.02, rtol=0.01)


@pytest.mark.parametrize("shape", [(2, 0), (2, 3)])
def test_no_context_gives_no_vectors(shape):
    windows = torch.full(shape, -1)
    pooled, kept = pool_context(torch.randn(*shape, HIDDEN), windows, None, None, HEADS)
    assert pooled.shape == (2, 0, HIDDEN) and kept.shape == (2, 0)


def test_indivisible_sizes_and_unordered_windows_are_refused():
    context, speech, mask = draw(4)
    with pytest.raises(ValueError, match="32 is not a multiple of 5"):
        pool_context(context, fixed(4, 2), speech, mask, heads=5)
    for windows in ([0, 0, 2, 2], [1, 1, 0, 0], [0, 1, 0, 1], [1, 1, 2, 2]):
        with pytest.raises(ValueError, match="without gaps"):
            pool_context(context, torch.tensor([windows]), speech, mask, HEADS)


class Operations(TorchDispatchMode):
    count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.count += 1
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize("aggregate", ["mean", "logsumexp", "max"])
def test_no_loop_over_samples(aggregate):
    """As many tensor operations for thirty-two rows as for two."""
    counts = []
    for batch in (2, 32):
        context, speech, mask = draw(8, batch=batch)
        with Operations() as operations:
            pool_context(context, fixed(8, 2).repeat(batch, 1), speech, mask, HEADS, aggregate)
        counts.append(operations.count)
    assert counts[0] == counts[1]
