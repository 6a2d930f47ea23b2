"""Stage 1: chunks, segments and first passes of a list are merged into a scored selection."""

import numpy as np
import pytest
import torch
from fake_stage import FakeStage
from tiny import tone

from sap2.inference import AudioEncoder, Pruner
from sap2.inference.prefilter import closeness
from sap2.inference.pruner import LEAST_TAG_SCORE
from sap2.prompts import pruning_prompt, recognition_prompt
from sap2.settings import PrunerSettings


def pruner(stage: FakeStage, base: FakeStage | None = None, **settings) -> Pruner:
    plain = {"max_list": 200, "threshold": None, "first_pass": None, "prefilter": None, "speech_only": False}
    return Pruner(stage, base or FakeStage(), PrunerSettings(**plain | settings))


def test_longer_lists_are_merged_in_list_order():
    stage = FakeStage(lambda frames, chunk: f"{chunk[-1]}, word0")
    words = [f"word{n}" for n in range(10)]
    selected = pruner(stage, max_list=4).select([tone(0.5), tone(0.6)], [words, words[:3]])
    assert [list(scores) for scores in selected] == [["word0", "word2", "word5", "word9"], ["word0", "word2"]]
    assert [len(chunk) for chunk in stage.lists] == [3, 3, 4, 3]


def test_answers_are_held_to_the_list_and_searched_for_as_set():
    stage = FakeStage()
    pruner(stage, stop_bias=-2.0, num_beams=3).select([tone(0.5)], [["Maier"]])
    (options,) = stage.options
    assert (options["selecting"], options["stop_bias"], options["search"].num_beams) == (True, -2.0, 3)
    assert stage.prompts == [pruning_prompt()]


def test_scores_are_the_log_probability_of_a_keywords_tokens():
    stage = FakeStage(lambda frames, words: "maier, ab9")
    assert pruner(stage).select([tone(0.5)], [["ab9", "Kathryn", "Maier"]]) == [{"ab9": -9.0, "Maier": 0.0}]


def test_threshold_drops_what_stage_1_is_unsure_of():
    stage, words = FakeStage(lambda frames, words: "ab3, ab6, ab9"), ["ab9", "ab3", "ab6"]
    assert list(pruner(stage).select([tone(0.5)], [words])[0]) == words
    assert list(pruner(stage, threshold=-7.0).select([tone(0.5)], [words])[0]) == ["ab3", "ab6"]
    assert list(pruner(stage, threshold=-7.0).score_keywords([tone(0.5)], [words])[0]) == words


def test_chunks_and_segments_are_merged_by_the_best_score():
    """Each chunk of four selects two; four of the ten survive, the surest, in list order."""
    words = [f"word{n}" for n in range(9, -1, -1)]
    stage = FakeStage(lambda frames, chunk: f"{chunk[0]}, {chunk[-1]}")
    assert list(pruner(stage, max_list=4).select([tone(0.5)], [words])[0]) == ["word6", "word4", "word3", "word0"]
    replies = iter(["ab9", "ab9, ab1"] + ["none"] * 9)
    stage = FakeStage(lambda frames, chunk: next(replies))
    assert pruner(stage).select([tone(5)], [["ab1", "ab9"]]) == [{"ab1": -1.0, "ab9": -9.0}]


def test_an_empty_list_is_no_question():
    stage = FakeStage()
    assert pruner(stage).select([tone(0.5)], [[]]) == [{}] and not stage.lists


@pytest.mark.parametrize("tags", [False, True])
def test_prefilter_cuts_longer_lists_by_the_bases_first_pass(tags):
    long = [f"zorv{letter}k" for letter in "abcdefgh"] + ["Kathryn", "Maier"]
    odds = dict.fromkeys([*long, "a", "b"], 0.5) if tags else None
    stage = FakeStage(lambda frames, words: ", ".join(words), odds)
    base = FakeStage(lambda frames, words: "ask cathrin and mayer")
    selected = pruner(stage, base, prefilter=3).select([tone(0.5), tone(0.6)], [["b", "a"], long])
    assert list(selected[0]) == ["b", "a"]
    assert len(selected[1]) == 3 and list(selected[1])[-2:] == ["Kathryn", "Maier"]
    assert base.lists == [[]] and [len(words) for words in stage.lists] == [2, 3]
    assert base.prompts == [recognition_prompt(False)]


def test_ctc_prefilter_keeps_what_the_frames_of_any_segment_say():
    long = [f"zorv{letter}k" for letter in "abcdefgh"] + ["kathryn", "maier"]
    stage = FakeStage(lambda frames, words: ", ".join(words), segment_limit=1.0)
    heard = iter([" ask mayer", " kathryn", ""])
    base = FakeStage(lambda *_: pytest.fail("a transcript was asked for"), heard=lambda frames: next(heard))
    selected = pruner(stage, base, prefilter={"keep": 2}).select([tone(2.4), tone(0.6)], [long, ["b", "a"]])
    assert [list(scores) for scores in selected] == [["kathryn", "maier"], ["b", "a"]]
    assert all(set(words) <= {"kathryn", "maier", "a", "b"} for words in stage.lists)


def test_tags_prune_without_an_answer():
    stage = FakeStage(lambda *_: pytest.fail("an answer was asked for"), {"Maier": 0.5, "Dorst": -0.5, "q": -9.0})
    scored = pruner(stage).score_keywords([tone(0.5)], [["q", "Dorst", "Maier"]])
    assert list(scored[0]) == ["Dorst", "Maier"], "q is hopeless"
    assert list(pruner(stage).select([tone(0.5)], [["q", "Dorst", "Maier"]])[0]) == ["Maier"], "likelier than not"
    assert pruner(stage, threshold=0.0).select([tone(0.5)], [["Maier"]]) == [{}]


@pytest.mark.parametrize("odds", [-4.0, 0.0, 3.0, 800.0])
def test_a_tags_score_is_the_log_of_its_chance(odds):
    expected = torch.nn.functional.logsigmoid(torch.tensor(odds, dtype=torch.float64)).item()
    (scores,) = pruner(FakeStage(odds={"Maier": odds})).score_keywords([tone(0.5)], [["Maier"]])
    assert scores == {"Maier": pytest.approx(expected)}


def test_first_pass_evidence_favours_recognised_keywords():
    """Each segment has its own first pass, by the base; chunks of the list compete, the best segment counts."""
    weights = {"tag": 1.0, "likeness": 2.0, "likelihood": 0.5, "prior": 1.0}
    tagged = {"Zorvan": 0.0, "Maier": 0.0, "Meyr": 0.5, "q": 0.0}
    texts = ["ask maier", "and zorvan too", "", "", ""]
    replies = iter(texts)
    base = FakeStage(
        lambda frames, words: next(replies),
        logprob=lambda text, words: -2.0 * ("Meyr" in text) - 10.0 * (text not in texts),
    )
    stage = FakeStage(lambda *_: pytest.fail("an answer was asked for"), tagged, segment_limit=1.0)
    speech = AudioEncoder([stage, base], 16, segment_overlap=0.1)([tone(1.6)])
    (scores,) = pruner(stage, base, max_list=3, first_pass=weights).score_keywords(speech, [list(tagged)])
    tried = [text for text, words in base.weighed]
    assert not any(base.lists) and "ask Maier" in tried and not any("q" in text.split() for text in tried)
    assert "q" not in scores
    alike = closeness(["maier"], ["Maier", "Meyr"])[0]
    odds = dict(zip(["Maier", "Meyr"], 2.0 * alike + np.array([0.0, 0.5]) + [-5.0, -6.0] + 1.0, strict=True))
    for word, own in odds.items():
        expected = own - np.logaddexp(0.0, np.logaddexp(*odds.values()))
        assert scores.get(word, LEAST_TAG_SCORE) == pytest.approx(max(expected, LEAST_TAG_SCORE), abs=1e-5)
    alone = 2.0 * 2.0 - 5.0 + 1.0
    assert scores["Zorvan"] == pytest.approx(alone - np.logaddexp(0.0, alone), abs=0.01), "hardly any rival there"


@pytest.mark.parametrize("prefilter", [None, 5])
def test_a_keyword_of_a_long_list_is_less_likely_spoken(prefilter):
    """By the length of the list as given, not of what the prefilter leaves."""

    def score(count: int, **weights) -> float:
        words = ["Maier", *(f"q{number}" for number in range(count - 1))]
        stage = FakeStage(odds=dict.fromkeys(words, 0.0))
        base = FakeStage(lambda frames, words: "ask maier")
        weights |= {"likeness": 0.0, "likelihood": 0.0, "prior": 2.0, "promising": -100.0, "candidates": 1}
        own = pruner(stage, base, prefilter=prefilter, first_pass=weights)
        ((score,),) = ([*scores.values()] for scores in own.score_keywords([tone(0.5)], [words]))
        return score

    assert score(100, length=0.7) == score(1000) == pytest.approx(2.0 - np.logaddexp(0.0, 2.0))
    odds = 2.0 - 0.7 * np.log(10)
    assert score(1000, length=0.7) == pytest.approx(odds - np.logaddexp(0.0, odds))


def test_the_base_listens_only_where_a_first_pass_needs_it():
    stage, base = FakeStage(odds={"Maier": 1.0}), FakeStage(encoder="own")
    pruner(stage, base).select([tone(0.5)], [["Maier"]])
    assert (stage.encoded, base.encoded) == (1, 0)
    pruner(stage, base, first_pass={}).select([tone(0.5)], [["Maier"]])
    assert (stage.encoded, base.encoded) == (2, 1)
