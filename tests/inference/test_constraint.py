"""Stage 1 answers only with listed keywords, and every training target remains possible."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import build_tiny_base, tone

from sap2.constants import EMBEDDED
from sap2.inference import generate
from sap2.inference.constraint import Selection
from sap2.model import load_model, load_processor
from sap2.prompts import parse_selection, pruning_prompt, pruning_target

LISTS = [
    ["Kathryn", "Maier", "Mai", "New York"],
    [],
    ["a"],
    ["Inc.", "O'Neil", "x-ray"],
    ["none", "nonesuch", "Jo", "Jon"],
]
WAVES = [tone(0.4, seed) for seed in range(len(LISTS))]
words = st.lists(
    st.text("abno. '-é", min_size=1, max_size=6).map(lambda text: " ".join(text.split())).filter(bool),
    unique=True,
    max_size=6,
)


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    base = build_tiny_base(tmp_path_factory.mktemp("base"))
    return load_model(base), load_processor(base)


def select(loaded, rows=slice(None), **options):
    return generate(*loaded, WAVES[rows], pruning_prompt(), LISTS[rows], selecting=True, max_new_tokens=60, **options)


@pytest.mark.parametrize("beams", [1, 3])
@pytest.mark.parametrize("stop_bias", [0.0, -2.0])
def test_answers_name_only_listed_keywords_once(loaded, beams, stop_bias):
    answers = select(loaded, num_beams=beams, stop_bias=stop_bias)
    assert any(answer != "none" for answer in answers) and answers[1] == "none"
    for answer, listed in zip(answers, LISTS, strict=True):
        selected, unknown = parse_selection(answer, listed)
        assert not unknown and len(selected) == (0 if answer == "none" else answer.count(",") + 1)
    assert answers == [
        select(loaded, slice(row, row + 1), num_beams=beams, stop_bias=stop_bias)[0] for row in range(len(LISTS))
    ]


def test_the_bias_goes_from_nothing_to_everything(loaded):
    assert select(loaded, stop_bias=1e4) == ["none"] * len(LISTS)
    for answer, listed in zip(select(loaded, stop_bias=-1e4), LISTS, strict=True):
        assert sorted(parse_selection(answer, listed)[0]) == sorted(listed)


@pytest.mark.parametrize("leading_blank", [False, True])
@settings(max_examples=60, deadline=None)
@given(listed=words, data=st.data())
def test_every_target_can_be_answered(loaded, leading_blank, listed, data):
    processor = load_processor(EMBEDDED) if leading_blank else loaded[1]
    assert processor.leading_blank == leading_blank
    chosen = data.draw(st.permutations(listed))[: data.draw(st.integers(0, len(listed)))]
    inputs = processor([pruning_prompt()], [listed], targets=[pruning_target(chosen)])
    answer = inputs["labels"][inputs["labels"] != -100].tolist()
    selection = Selection(processor, listed, [processor.end_id])
    for index, token in enumerate(answer):
        assert token in selection.following(answer[:index])[0]


def test_a_word_that_is_said_cannot_be_said_again(loaded):
    processor = loaded[1]
    selection = Selection(processor, ["Jo", "Jon"], [0])
    before = processor.tokenise_word("Jo", first=True, separated=True)
    first, _ = selection.following(before)
    path = list(before)
    while (following := selection.following(path)[0]) != {0}:
        assert len(following) == 1 or 0 in following
        path.append(next(token for token in following if token != 0))
    assert first and path == before + processor.tokenise_word("Jon", first=False)
    with pytest.raises(ValueError, match="not part of the list"):
        selection.following([processor.end_id])
