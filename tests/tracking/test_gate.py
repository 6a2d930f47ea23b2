"""The gate's rules: each can refuse on its own, and states its figure."""

import json

import pytest

from sap2.params import EvaluationSection, GateSection
from sap2.tracking.gate import judge

EVALUATION = EvaluationSection(bootstrap_samples=200)
WORDS = ("ask", "meyer", "about", "the", "plan")


def results(path, names=0, others=0, alarms=0, utterances=60, keywords=("meyer", "maier")):
    """Results of sixty utterances; in the first ones, the name or another word is wrong or a list word is added."""
    rows = []
    for number in range(utterances):
        said = list(WORDS)
        if number < names:
            said[1] = "mayor"
        if number < others:
            said[3] = "a"
        if number < alarms:
            said.append("maier")
        row = {"id": f"u{number}", "reference": " ".join(WORDS), "hypothesis": " ".join(said)}
        rows.append(json.dumps({**row, "keywords": list(keywords), "duration": 1.0}))
    path.write_text("\n".join(rows) + "\n")
    return path


@pytest.fixture
def champion(tmp_path):
    return results(tmp_path / "champion.jsonl", names=30)


def broken(rules):
    return [rule.rule for rule in rules if not rule.holds]


def test_clearly_better_names_pass_every_rule(tmp_path, champion):
    rules = judge(GateSection(), EVALUATION, results(tmp_path / "new.jsonl", names=10), champion, 0.5)
    assert broken(rules) == []
    assert rules[0].figure.startswith("50.00 → 16.67 (-33.33 [") and rules[0].figure.endswith("p = 0.00498")
    assert [rule.rule for rule in rules] == [
        "B-WER % below the champion's, p at most 0.05",
        "WER % at most 0.5 above the champion's",
        "U-WER % at most 0.5 above the champion's",
        "false alarms / 100 utterances at most 10",
        "real-time factor at most 1",
    ]


@pytest.mark.parametrize(
    ("new", "speed", "rule"),
    [
        ({"names": 28}, 0.5, "B-WER % below the champion's, p at most 0.05"),  # better, by less than the noise
        ({"names": 45}, 0.5, "B-WER % below the champion's, p at most 0.05"),  # surely other, and worse
        ({"names": 10, "others": 30}, 0.5, "U-WER % at most 0.5 above the champion's"),
        ({"names": 10, "alarms": 20}, 0.5, "false alarms / 100 utterances at most 10"),
        ({"names": 10}, 1.01, "real-time factor at most 1"),
    ],
)
def test_each_rule_refuses(tmp_path, champion, new, speed, rule):
    assert rule in broken(judge(GateSection(), EVALUATION, results(tmp_path / "new.jsonl", **new), champion, speed))


def test_a_rise_within_the_margin_is_allowed(tmp_path, champion):
    worse = results(tmp_path / "new.jsonl", names=10, others=1)
    assert broken(judge(GateSection(), EVALUATION, worse, champion, 0.5)) == []
    assert broken(judge(GateSection(u_wer_margin=0.1), EVALUATION, worse, champion, 0.5)) == [
        "U-WER % at most 0.1 above the champion's"
    ]


def test_an_unknown_speed_is_refused_with_the_way_out(tmp_path, champion):
    rules = judge(GateSection(), EVALUATION, results(tmp_path / "new.jsonl"), champion)
    assert broken(rules) == ["real-time factor at most 1"]
    assert rules[-1].figure.startswith("unknown: ") and '"sap2 decode" and "sap2 register" again' in rules[-1].figure


def test_without_draws_nothing_is_beyond_noise(tmp_path, champion):
    new = results(tmp_path / "new.jsonl")
    rules = judge(GateSection(), EvaluationSection(bootstrap_samples=0), new, champion, 0.5)
    assert broken(rules) == ["B-WER % below the champion's, p at most 0.05"]
    assert "bootstrap_samples is 0" in rules[0].figure


@pytest.mark.parametrize(
    ("changed", "figure"),
    [
        ({"utterances": 61}, "61 utterances, 1 of them not among the champion's 60"),
        ({"keywords": ("meyer",)}, "60 of 60 utterances with other texts or lists, first u0"),
    ],
)
def test_another_test_set_is_not_compared(tmp_path, champion, changed, figure):
    rules = judge(GateSection(), EVALUATION, results(tmp_path / "new.jsonl", **changed), champion)
    assert (rules[0].rule, rules[0].figure, rules[0].holds) == ("same test set as the champion", figure, False)


def test_a_first_version_must_meet_the_floors(tmp_path):
    good, bad = results(tmp_path / "good.jsonl", names=30), results(tmp_path / "bad.jsonl", names=31, others=60)
    assert broken(judge(GateSection(), EVALUATION, good, None, 0.5)) == []
    assert broken(judge(GateSection(), EVALUATION, bad, None, 0.5)) == [
        "B-WER % at most 50",
        "WER % at most 20",
    ]


def test_a_test_set_without_list_words_fails_the_gate(tmp_path):
    old, new = (results(tmp_path / f"{name}.jsonl", others=bad, keywords=()) for name, bad in (("old", 9), ("new", 0)))
    rules = judge(GateSection(), EVALUATION, new, old)
    assert (rules[0].figure, rules[0].holds) == ("no list word was spoken in the test set", False)
    assert "B-WER % at most 50" in broken(judge(GateSection(), EVALUATION, new))
