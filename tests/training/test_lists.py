"""Lists and targets: drawn anew each epoch, the same for the same seed, never a spoken word missing from the target."""

import pytest

from sap2.errors import InputError
from sap2.manifest import Utterance, spoken
from sap2.prompts import joint_prompt, joint_target, parse_joint, recognition_prompt
from sap2.training.lists import ListDrawer

WORDS = [f"word{number}" for number in range(60)]


def utterances(count=40, predicted=True):
    return [
        Utterance(
            id=f"u{number}", audio="a.wav", duration=1.0, text=f"we saw {WORDS[number]} and {WORDS[number + 1]} today",
            keywords=WORDS[number : number + 12][::-1], predicted=[WORDS[number], "word9"] if predicted else None,
        )
        for number in range(count)
    ]  # fmt: skip


def draws(stage="pruner", epochs=20, **options):
    rows = utterances()
    drawer = ListDrawer(stage, rows, seed=1, **({"list_sizes": (3, 20)} | options))
    return [(row, drawer.draw(row, epoch)) for row in rows for epoch in range(epochs)]


def test_same_seed_epoch_and_id_give_the_same_draw():
    assert [draw for _, draw in draws()] == [draw for _, draw in draws()]


def test_every_epoch_draws_another_list():
    row = utterances()[0]
    drawer = ListDrawer("pruner", utterances(), seed=1, list_sizes=(10, 20))
    assert len({drawer.draw(row, epoch).keywords for epoch in range(10)}) > 8


def test_pruning_target_is_what_is_spoken_of_the_list_in_its_order():
    for row, draw in draws():
        expected = spoken(row.with_keywords(draw.keywords))
        assert draw.target == (", ".join(expected) or "none")


def test_pruning_lists_have_the_sizes_asked_for_and_no_word_twice():
    sizes = [len(draw.keywords) for _, draw in draws() if draw.keywords]
    assert min(sizes) >= 3 and max(sizes) <= 20 and {3, 20} <= set(sizes)
    assert all(len(set(draw.keywords)) == len(draw.keywords) for _, draw in draws())


def test_some_pruning_lists_are_empty_and_some_hold_no_spoken_word():
    found = [draw for _, draw in draws(no_context_share=0.02, unspoken_share=0.13)]
    empty = sum(not draw.keywords for draw in found) / len(found)
    nothing = sum(bool(draw.keywords) and draw.target == "none" for draw in found) / len(found)
    assert 0.005 < empty < 0.05 and 0.08 < nothing < 0.2


def test_the_shares_of_pruning_lists_are_what_is_asked_for():
    assert all(draw.keywords and draw.target != "none" for _, draw in draws())
    assert all(draw.keywords and draw.target == "none" for _, draw in draws(unspoken_share=1.0))
    assert not any(draw.keywords for _, draw in draws(no_context_share=1.0))


def test_hard_distractors_are_spelt_like_what_is_said():
    """Of 60 numbered words, those that share a digit with a spoken one; what is spoken is never one."""

    def likeness(found):
        pairs = [(set(row.text.split()), word) for row, draw in found for word in draw.keywords if word not in row.text]
        return sum(any(set(word[4:]) & set(one[4:]) for one in said) for said, word in pairs) / len(pairs)

    hard, random = (draws(hard_share=share, unspoken_share=0.2) for share in (0.5, 0.0))
    assert likeness(hard) > likeness(random) + 0.1
    assert all(draw.target == (", ".join(spoken(row.with_keywords(draw.keywords))) or "none") or
               draw.target == "none" for row, draw in hard)  # fmt: skip
    assert [draw for _, draw in hard] == [draw for _, draw in draws(hard_share=0.5, unspoken_share=0.2)]


def test_a_draw_of_stage_one_says_which_keywords_are_spoken():
    for row, draw in draws(unspoken_share=0.2):
        said = set(spoken(row.with_keywords(draw.keywords)))
        assert draw.spoken == said or (draw.target == "none" and not draw.spoken)


@pytest.mark.parametrize("method", ["pc", "jpi"])
def test_one_model_instead_of_two_is_trained_with_whole_lists(method):
    shares = {"no_context_share": 0.1, "unspoken_share": 0.1}
    found = draws("recogniser", method=method, lists="predicted", **shares)
    sizes = [len(draw.keywords) for _, draw in found if draw.keywords]
    assert min(sizes) >= 3 and max(sizes) == 20 and any(not draw.keywords for _, draw in found)
    assert any(draw.keywords and not spoken(row.with_keywords(draw.keywords)) for row, draw in found)
    for row, draw in found:
        selected = spoken(row.with_keywords(draw.keywords))
        if method == "pc":
            assert (draw.prompt, draw.target) == (recognition_prompt(bool(draw.keywords)), row.text)
        else:
            assert (draw.prompt, draw.target) == (joint_prompt(), joint_target(selected, row.text))
            assert parse_joint(draw.target, draw.keywords) == (selected, [], row.text)


def test_distractors_come_from_other_utterances_too():
    assert any(set(draw.keywords) - set(row.keywords) for row, draw in draws())


def test_recogniser_draws_share_without_context_and_names_its_list_in_the_prompt():
    found = [draw for _, draw in draws("recogniser", no_context_share=0.3)]
    assert 0.25 < sum(not draw.keywords for draw in found) / len(found) < 0.35
    assert all(("Possible keywords" in draw.prompt) == bool(draw.keywords) for draw in found)


@pytest.mark.parametrize("lists", ["oracle", "predicted", "corrupted"])
def test_recogniser_lists(lists):
    for row, draw in draws("recogniser", lists=lists, no_context_share=0.0):
        assert draw.target == row.text
        if lists == "oracle":
            assert sorted(draw.keywords) == sorted(spoken(row))
        elif lists == "predicted":
            assert sorted(draw.keywords) == sorted(row.predicted)
        else:
            added = set(draw.keywords) - set(spoken(row))
            assert len(added) <= 10 and not added & set(row.text.split()) and added <= set(WORDS)


def test_corrupted_lists_both_miss_and_add_words():
    found = draws("recogniser", lists="corrupted", no_context_share=0.0)
    assert any(set(spoken(row)) - set(draw.keywords) for row, draw in found)
    added = [set(draw.keywords) - set(spoken(row)) for row, draw in found]
    assert {len(words) for words in added} >= {0, 1, 2, 3, 10}
    assert any(words - set(row.keywords) for words, (row, _) in zip(added, found, strict=True)), "from other slides"
    assert any(words & set(row.keywords) for words, (row, _) in zip(added, found, strict=True)), "from their own"


def test_predicted_lists_need_predictions():
    with pytest.raises(InputError, match='40 of 40 .* no `predicted` list, first u0; run "sap2 prune"'):
        ListDrawer("recogniser", utterances(predicted=False), seed=1, lists="predicted")
