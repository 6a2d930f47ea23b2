"""Tags: whether each listed keyword is spoken, read where it ends, the same whatever stands beside it in the batch."""

import pytest
import torch
from tiny import tone

from sap2.model import load_model, load_processor, processor_fields
from sap2.prompts import pruning_prompt, pruning_target, recognition_prompt

LISTS = [["Kathryn", "Maier", "Zbigniew"], [], ["a"], ["Myer", "New York", "Maier", "b"]]
SPOKEN = [{"Maier"}, set(), {"a"}, {"Myer", "New York"}]
WAVES = [tone(0.6, 1), tone(0.3, 2), tone(1.1, 3), tone(0.8, 4)]


@pytest.fixture(scope="module")
def model(base):
    return load_model(base, tagging=1.0)


def labels(lists, spoken_words) -> torch.Tensor:
    width = max(map(len, lists))
    rows = [[int(word in spoken) for word in words] for words, spoken in zip(lists, spoken_words, strict=True)]
    return torch.tensor([row + [-100] * (width - len(row)) for row in rows])


def inputs(processor, lists=LISTS, waves=WAVES, targets=None, side=None):
    return processor(
        [pruning_prompt()] * len(lists), keywords=lists, audio=waves, targets=targets, padding_side=side
    )  # fmt: skip


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("settings", [{"window": 1}, {"window": 2}, {"window": 3, "windows": "fixed"}])
def test_places_are_those_of_each_keywords_last_window(base, settings, side):
    """A list cut after a keyword has its last placeholder at the keyword's position."""
    processor = load_processor(base, **settings)
    batch = inputs(processor, side=side)
    positions = processor.keyword_positions(batch["input_ids"], LISTS)
    assert positions.shape == (4, 4)
    for row, words in enumerate(LISTS):
        holders = (batch["input_ids"][row] == processor.tokenizer.convert_tokens_to_ids("<|context|>")).nonzero()[:, 0]
        assert (positions[row, len(words) :] == -1).all()
        if words:
            assert positions[row, len(words) - 1] == holders[-1]
        for count in range(1, len(words) + 1):
            tokens = sum(
                len(processor.tokenise_word(word, first=not number, separated=number < len(words) - 1))
                for number, word in enumerate(words[:count])
            )
            assert positions[row, count - 1] == holders[processor.tokenise_context(words)[1][tokens - 1]]


def test_tags_do_not_depend_on_the_batch_or_its_padding(model, base):
    processor = load_processor(base, **processor_fields(model.config))
    with torch.no_grad():
        batch = inputs(processor, side="right")
        together = model.tag_keywords(processor.keyword_positions(batch["input_ids"], LISTS), **batch)
        for row, words in enumerate(LISTS):
            single = inputs(processor, [words], [WAVES[row]])
            alone = model.tag_keywords(processor.keyword_positions(single["input_ids"], [words]), **single)
            torch.testing.assert_close(alone[0], together[row, : len(words)], atol=1e-4, rtol=0)


def test_the_loss_adds_the_tags_by_their_weight(base):
    """By hand: the answer's cross-entropy, and a mean of binary ones in which a spoken keyword counts four times."""
    processor = load_processor(base)
    targets = [pruning_target(sorted(words)) for words in SPOKEN]
    batch = inputs(processor, targets=targets)
    tags = {"keyword_positions": processor.keyword_positions(batch["input_ids"], LISTS)}
    tags["keyword_labels"] = labels(LISTS, SPOKEN)
    losses = {}
    for weight in (0.0, 0.5, 2.0):
        model = load_model(base, tagging=weight)
        with torch.no_grad():
            losses[weight] = model(**batch, **tags).loss.item()
            plain = model(**batch).loss.item()
            odds = model.tag_keywords(tags["keyword_positions"], **{k: v for k, v in batch.items() if k != "labels"})
    known = tags["keyword_labels"] >= 0
    target = tags["keyword_labels"][known].float()
    chance = odds[known].sigmoid()
    each = -(4 * target * chance.log() + (1 - target) * (1 - chance).log())
    assert losses[0.0] == pytest.approx(plain)
    assert losses[0.5] == pytest.approx(plain + 0.5 * each.mean().item(), rel=1e-4)
    assert losses[2.0] == pytest.approx(plain + 2.0 * each.mean().item(), rel=1e-4)


def test_accumulated_gradients_equal_those_of_the_full_batch(base):
    """Two halves that know the whole's number of answer tokens give its answer loss; tags are weighed by each half's
    share of them."""
    processor, model = load_processor(base), load_model(base, tagging=1.0)
    targets = [pruning_target(sorted(words)) for words in SPOKEN]
    full = inputs(processor, targets=targets)
    count = int((full["labels"][:, 1:] != -100).sum())
    parts = []
    for rows in (slice(0, 2), slice(2, 4)):
        batch = inputs(processor, LISTS[rows], WAVES[rows], targets[rows])
        positions = processor.keyword_positions(batch["input_ids"], LISTS[rows])
        own = int((batch["labels"][:, 1:] != -100).sum())
        with torch.no_grad():
            answer = model(**batch, num_items_in_batch=count).loss.item()
            both = model(
                **batch, num_items_in_batch=count, keyword_positions=positions,
                keyword_labels=labels(LISTS[rows], SPOKEN[rows]),
            ).loss.item()  # fmt: skip
            tags = {"keyword_positions": positions, "keyword_labels": labels(LISTS[rows], SPOKEN[rows])}
            alone = model(**batch, **tags).loss.item()
            plain = model(**batch).loss.item()
        assert both - answer == pytest.approx((alone - plain) * own / count, rel=1e-3)
        parts.append(answer)
    with torch.no_grad():
        assert sum(parts) == pytest.approx(model(**full).loss.item(), rel=1e-4)


def test_a_batch_without_lists_has_a_loss_and_gradients(base):
    processor, model = load_processor(base), load_model(base, tagging=1.0).train()
    batch = processor([recognition_prompt(False)] * 2, keywords=[[], []], audio=WAVES[:2], targets=["a", "b"])
    positions = processor.keyword_positions(batch["input_ids"], [[], []])
    loss = model(**batch, keyword_positions=positions, keyword_labels=torch.full_like(positions, -100)).loss
    loss.backward()
    assert torch.isfinite(loss) and all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)


def test_tags_can_be_learnt(base):
    torch.manual_seed(0)
    processor, model = load_processor(base), load_model(base, tagging=1.0).train()
    batch = inputs(processor, targets=["none"] * 4)
    tags = {"keyword_positions": processor.keyword_positions(batch["input_ids"], LISTS)}
    tags["keyword_labels"] = labels(LISTS, SPOKEN)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(200):
        optimizer.zero_grad()
        model(**batch, **tags).loss.backward()
        optimizer.step()
    with torch.no_grad():
        odds = model.eval().tag_keywords(tags["keyword_positions"], **{k: v for k, v in batch.items() if k != "labels"})
    known = tags["keyword_labels"] >= 0
    assert ((odds > 0) == (tags["keyword_labels"] == 1))[known].all()


def test_a_negative_weight_is_refused(base):
    with pytest.raises(Exception, match="tagging is -1.0, must be at least 0"):
        load_model(base, tagging=-1.0)


def test_the_tags_are_the_first_tokens_that_differ(base):
    """Where a tokenizer cuts a blank off, both tags begin with it."""
    processor = load_processor(base)
    unspoken, spoken = processor.tag_ids
    assert unspoken != spoken
    assert (load_model(base).config.unspoken_id, load_model(base).config.spoken_id) == (unspoken, spoken)
