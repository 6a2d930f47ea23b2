"""The report: marks on aligned lines, the whole printed table, and a page that is valid and escapes what it shows."""

import json
from html.parser import HTMLParser

import pytest

from sap2.evaluation.alignment import align
from sap2.evaluation.keywords import Occurrences, distinct
from sap2.evaluation.report import Segment, markdown_table, render_report, segments
from sap2.evaluation.scores import score_contexts

FIGURES = ("wer", "u_wer", "b_wer", "keyword_recall", "keyword_precision", "false_alarms_per_100")
NO_FIGURES = {name + bound: None for name in FIGURES for bound in ("", "_low", "_high")}
METRICS = {
    "none": {**NO_FIGURES, "wer": 12.345, "wer_low": 10.0, "wer_high": 14.5, "keyword_recall": 0.5},
    "predicted": {
        **NO_FIGURES, "b_wer": 9.0, "b_wer_vs_none": 0.25, "b_wer_vs_none_low": 0.1, "b_wer_vs_none_high": 0.4,
    },
    "pruning": {
        "precision": 0.75, "precision_low": 0.7, "precision_high": 0.8, "recall": None, "f1": 0.5,
        "tp": 3, "fp": 1, "fn": 0, "listed_per_utterance": 20.0, "selected_per_utterance": 1.25,
    },
    "definition": "deep-bias", "normaliser": "none", "utterances": 2, "bootstrap_samples": 100, "seed": 7,
}  # fmt: skip


def marked(reference, hypothesis, keywords):
    reference, hypothesis, listed = reference.split(), hypothesis.split(), distinct(keywords)
    return segments(align(reference, hypothesis), Occurrences(listed, reference), Occurrences(listed, hypothesis))


def test_plain_words_are_joined_and_keywords_marked_found_missed_or_false():
    assert marked("today jon met meyer here", "today jon met maier here kathryn", ["Jon", "Meyer", "Kathryn"]) == [
        Segment("equal", "today", "today"),
        Segment("equal", "jon", "jon", "found"),
        Segment("equal", "met", "met"),
        Segment("substitution", "meyer", "maier", "missed"),
        Segment("equal", "here", "here"),
        Segment("insertion", None, "kathryn", "", "false"),
    ]
    assert marked("a b c", "a b c", []) == [Segment("equal", "a b c", "a b c")]


def test_one_keyword_written_for_another_is_marked_on_both_sides():
    assert marked("jon spoke", "john spoke", ["Jon", "John"])[0] == Segment(
        "substitution", "jon", "john", "missed", "false"
    )


def test_all_words_of_a_phrase_nobody_said_are_marked():
    assert marked("a hidden second layer", "a hidden layer", ["hidden layer"]) == [
        Segment("equal", "a", "a"),
        Segment("equal", "hidden", "hidden", "", "false"),
        Segment("deletion", "second", None),
        Segment("equal", "layer", "layer", "", "false"),
    ]


def test_a_keyword_written_in_another_place_is_missed_there_and_no_false_alarm():
    marks = [(piece.spoken_mark, piece.written_mark) for piece in marked("jon saw it", "saw it jon", ["Jon"])]
    assert marks == [("missed", ""), ("", ""), ("", "")]


def test_markdown_table_in_full():
    assert markdown_table(METRICS) == (
        "| context | WER % | U-WER % | B-WER % | B-WER ÷ none | keyword recall | keyword precision "
        "| false alarms / 100 utt. |\n"
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n"
        "| none (no keywords) | 12.35 [10.00, 14.50] | – | – | – | 0.500 | – | – |\n"
        "| predicted (stage 1's answer) | – | – | 9.00 | 0.25 [0.10, 0.40] | – | – | – |\n"
        "\n"
        "Stage 1 against the spoken keywords: precision 0.750 [0.700, 0.800], recall –, f1 0.500 "
        "(tp 3, fp 1, fn 0; 1.2 of 20.0 keywords kept an utterance).\n"
        "\n"
        "2 utterances; definition: deep-bias (Le et al., Interspeech 2021, results of is21_deep_bias); "
        "normaliser: none (text and list as they are); "
        "95 % intervals: bootstrap over utterances, 100 samples, seed 7.\n"
    )


class Page(HTMLParser):
    """Sees that every element is closed in order, and keeps what the tests ask about."""

    EMPTY = {"meta", "input", "line", "rect", "path"}

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.links, self.articles, self.text = [], [], [], [], ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        self.tags.append(tag)
        self.links += [values[name] for name in ("src", "href") if name in values]
        if tag == "article":
            self.articles.append(values)
        if tag not in self.EMPTY:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in self.EMPTY:
            assert self.open.pop() == tag, f"</{tag}> closes another element, line {self.getpos()[0]}"

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)

    def handle_data(self, data):
        self.text += data


@pytest.fixture
def scores(tmp_path):
    hostile = '"><script>alert("1")</script>'
    rows = [
        {"id": hostile, "reference": f"hi meyer {hostile}", "keywords": ["Meyer", hostile], "predicted": [hostile],
         "talk": hostile, "speaker": None, "duration": 1.25},
        {"id": "b", "reference": "good bye", "keywords": [], "predicted": []},
    ]  # fmt: skip
    paths = {}
    for context, answers in {"none": ["hi maier", ""], "predicted": [f"hi meyer {hostile}", "good bye"]}.items():
        paths[context] = tmp_path / f"{context}.jsonl"
        lines = [
            json.dumps({**row, "context": context, "hypothesis": text}) for row, text in zip(rows, answers, strict=True)
        ]
        paths[context].write_text("\n".join(lines), encoding="utf-8")
    return score_contexts(paths)


BY_SIZE = [{"list_size": size, "recall": 0.5, "recall_low": 0.25, "recall_high": 0.75} for size in ("10", "20")]


def test_page_is_well_formed_and_needs_no_other_file(scores):
    page = Page(render_report(METRICS, scores, BY_SIZE))
    assert page.open == []
    assert page.links == ["#utterances"]
    assert page.tags.count("figure") == 4  # B-WER, U-WER, WER, recall by list size
    assert page.tags.count("article") == 2


def test_page_shows_text_of_the_data_as_text(scores):
    html = render_report(METRICS, scores, [])
    assert html.count("<script>") == 1
    assert '"><script>alert("1")</script>' in Page(html).text


def test_page_gives_the_numbers_each_utterance_is_sorted_and_filtered_by(scores):
    first, second = Page(render_report(METRICS, scores, [])).articles
    # errors, errors on keywords, keywords missed, keywords written and not said
    assert json.loads(first["data-numbers"]) == {"none": [2, 2, 2, 0], "predicted": [0, 0, 0, 0]}
    assert json.loads(second["data-numbers"]) == {"none": [2, 0, 0, 0], "predicted": [0, 0, 0, 0]}
    assert json.loads(first["data-pruned"]) == [1, 0]


def test_page_says_how_the_scores_were_made(scores):
    text = Page(render_report(METRICS, scores, [])).text
    assert "definition: deep-bias" in text
    assert "normaliser: none" in text
    assert "bootstrap over utterances, 100 samples, seed 7" in text


def test_page_without_stage_1_leaves_its_part_out(tmp_path):
    path = tmp_path / "oracle.jsonl"
    path.write_text(json.dumps({"id": "u", "hypothesis": "a", "reference": "a", "keywords": []}), encoding="utf-8")
    metrics = {
        **{name: METRICS[name] for name in METRICS if name not in ("none", "predicted", "pruning")},
        "oracle": NO_FIGURES,
    }
    page = Page(render_report(metrics, score_contexts({"oracle": path}), []))
    assert page.open == []
    assert "Stage 1" not in page.text and "stage 1 dropped" not in page.text
