"""Complete printed text, and JSON with the same content."""

import json

from sap2.evaluation import compare, score
from sap2.evaluation.output import comparison_json, comparison_text, scores_json, scores_text
from sap2.evaluation.scoring import Given, Options, score_systems

REFERENCES = {"a": "ask jon meyer", "b": "good bye"}
HYPOTHESES = {"a": "ask john meyer", "b": "good bye jon"}
LISTS = dict.fromkeys(REFERENCES, ["Jon", "Meyer"])
MADE_HOW = (
    "2 utterances; definition: deep-bias (Le et al., Interspeech 2021, results of is21_deep_bias); normaliser: none "
    "(text and list as they are); words by white space, each Chinese character and Japanese kana a word of its own; "
    "Unicode NFC; no intervals."
)


def test_scores_are_printed_in_full():
    assert (
        scores_text(score(REFERENCES, HYPOTHESES, LISTS, samples=0))
        == f"""system
           %  95 % interval  words  subs  ins  dels
WER    40.00                     5     1    1     0
U-WER  33.33                     3     0    1     0
B-WER  50.00                     2     1    0     0

          precision  recall     F1  right  false alarms  missed
keywords      0.500   0.500  0.500      1             1       1
false alarms per 100 utterances: 50.0

most confused keywords  said  missed  false alarms  written instead
Jon                        1       1             1  john ×1

{MADE_HOW}"""
    )


def test_output_states_units_and_missing_utterances():
    scores = score(REFERENCES, {"a": "ask"}, LISTS, samples=50, missing_as_deletions=True, predicted=LISTS)
    text = scores_text(scores)
    assert "1 missing utterances counted as deletions: b" in text
    assert "95 % bootstrap intervals over 2 utterances, 50 samples, seed 1; missing hypotheses counted as" in text
    assert "stage 1 kept 2.0 of 2.0 keywords per utterance" in text


def test_phrases_are_printed_where_there_are_some():
    text = scores_text(score({"a": "a hidden layer"}, {"a": "a hidden"}, {"a": ["hidden layer"]}, samples=0))
    assert "of several words          –   0.000  0.000      0             0       1\n" in text
    assert "their words                   0.500             1             0       1\n" in text


def test_long_lists_are_cut_and_say_so():
    references = {f"t{talk}-1": "a" for talk in range(12)}
    assert "… and 2 more by talk" in scores_text(score(references, references, samples=0))


def test_scores_as_json_hold_settings_counts_and_utterances():
    result = json.loads(json.dumps(scores_json(score(REFERENCES, HYPOTHESES, LISTS, samples=0))))
    assert result["settings"]["normaliser"] == "none"
    system = result["systems"][0]
    assert system["figures"]["wer"] == {"value": 40.0, "low": None, "high": None}
    assert system["counts"]["biased"] == {"words": 2, "substitutions": 1, "insertions": 0, "deletions": 0}
    assert system["utterances"][1] == {
        "id": "b", "all_words": 2, "all_errors": 1, "biased_words": 0, "biased_errors": 0,
        "keyword_tp": 0, "keyword_fp": 1, "keyword_fn": 0,
    }  # fmt: skip


def compared():
    systems = {"one": ("", "", HYPOTHESES), "two": ("", "", {"a": "ask jon maier", "b": "good bye"})}
    return compare(score_systems(Given(REFERENCES, LISTS), systems, Options(samples=0)))


def test_comparisons_are_printed_in_full():
    assert (
        comparison_text(compared())
        == """two compared with one
                           one    two  difference  95 % interval  p
WER %                    40.00  20.00      -20.00                 –
U-WER %                  33.33   0.00      -33.33                 –
B-WER %                  50.00  50.00       +0.00                 –
keyword precision        0.500  1.000      +0.500                 –
keyword recall           0.500  0.500      +0.000                 –
keyword F1               0.500  0.667      +0.167                 –
false alarms / 100 utt.  50.00   0.00      -50.00                 –

1 utterances with fewer errors
  b: 1 to 0 errors

0 utterances with more errors

2 changed keywords
  Jon: now found in a; false alarm gone in b
  Meyer: now missed in a"""
    )


def test_comparisons_as_json_hold_everything():
    result = json.loads(json.dumps(comparison_json(compared())))
    assert result["figures"]["wer"]["difference"]["value"] == -20.0
    assert result["keywords"][0]["won"] == ["a"]
