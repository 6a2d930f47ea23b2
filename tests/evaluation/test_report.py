"""The report: the complete Markdown table, and a valid, self-contained page that escapes all text."""

import base64
import hashlib
import json
import re
from html.parser import HTMLParser

from scores_by_hand import HOSTILE, HOSTILE_WORD, SETTINGS, contexts, system, utterance

from sap2.evaluation.output import made_how
from sap2.evaluation.report import markdown_table, render_report
from sap2.evaluation.scores import Measure, Scores


def one_system(**more):
    spoken = utterance("u", "a b")
    return Scores(SETTINGS, (spoken,), (system("mine.tsv", (spoken,), ["a c"], **more),))


def test_markdown_table_in_full():
    named = contexts().systems[1]._replace(caption="stage 1's answer")
    scores = contexts()._replace(systems=(contexts().systems[0], named))
    assert markdown_table(scores) == (
        "| context | WER % | U-WER % | B-WER % | B-WER ÷ none | keyword recall |\n"
        "| --- | ---: | ---: | ---: | ---: | ---: |\n"
        "| none (no keywords) | 12.35 [10.00, 14.50] | 9.00 | 36.00 [30.00, 40.00] | – | 0.500 |\n"
        "| predicted (stage 1's answer) | – | 8.00 | 9.00 | 0.25 [0.10, 0.40] | – |\n"
        "\n"
        "Stage 1 against the spoken keywords: precision 0.750 [0.700, 0.800], recall –, f1 0.500 "
        "(tp 3, fp 1, fn 0; 1.2 of 20.0 keywords kept per utterance).\n"
        "\n"
        f"{made_how(SETTINGS, 2)}\n"
    )


def test_a_bar_in_a_name_does_not_end_its_cell():
    scores = one_system()
    assert "| a\\|b |" in markdown_table(scores._replace(systems=(scores.systems[0]._replace(name="a|b"),)))


class Page(HTMLParser):
    """Sees that every element is closed in order, and keeps what the tests ask about."""

    EMPTY = {"meta", "input"}

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.links, self.text = [], [], [], ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.links += [value for name, value in attributes if name in ("src", "href")]
        if tag not in self.EMPTY:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, f"</{tag}> closes another element, line {self.getpos()[0]}"

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        self.open.pop()

    def handle_data(self, data):
        self.text += data


def data_of(html):
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', html)[1])


def test_page_is_well_formed_and_needs_no_other_file():
    page = Page(render_report(contexts()))
    assert page.open == []
    assert page.links == ["#utterances"]
    assert "@import" not in page.text and "url(" not in page.text


def test_page_has_a_chart_of_each_figure_there_is():
    page = Page(render_report(contexts()))
    # B-WER, U-WER, WER, recall; B-WER against U-WER; kinds; utterances by errors; B-WER and stage 1 by list size
    assert page.tags.count("figure") == 9
    assert Page(render_report(one_system())).tags.count("figure") == 2  # error rates; kinds


def test_page_shows_text_of_the_data_as_text():
    html = render_report(contexts())
    page = Page(html)
    assert page.tags.count("script") == 2 and "b" not in page.tags[: page.tags.index("main")] and "img" not in page.tags
    assert HOSTILE in page.text  # a caption, a label, a word written instead


def test_only_the_pages_own_script_may_run():
    html = render_report(contexts())
    script = html[html.rindex("<script>") + len("<script>") : html.rindex("</script>")]
    expected = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{expected}'" in html


def test_page_joins_plain_words_and_marks_all_others():
    first, second = data_of(render_report(contexts()))["utterances"]
    assert first["id"] == HOSTILE and first["about"] == [HOSTILE] and first["seconds"] == 1.25
    assert first["lines"][0]["pieces"] == [
        "hi",
        ["D", "meyer", None, "missed", ""],
        ["S", HOSTILE_WORD, "maier", "missed", ""],
    ]
    assert first["lines"][0]["missed"] == ["Meyer", HOSTILE_WORD]
    assert first["dropped"] == ["Meyer"] and first["pruned"] == [1, 0]
    assert second["lines"][1]["pieces"] == ["good", ["I", None, "old", "", ""], "bye"]
    assert second["lines"][0]["false"] == ["Kathryn"]


def test_page_has_only_relevant_entries_of_a_long_list():
    spoken = utterance("u", "a b", ["a", *(f"distractor{number}" for number in range(1000))])
    html = render_report(Scores(SETTINGS, (spoken,), (system("s", (spoken,), ["a b"]),)))
    assert data_of(html)["utterances"][0]["listed"] == 1001
    assert "distractor7" not in html


def test_page_says_how_the_scores_were_made():
    assert made_how(SETTINGS, 2) in Page(render_report(contexts())).text


def test_page_names_utterances_without_hypothesis():
    text = Page(render_report(one_system(missing=("u1", "u2")))).text
    assert "mine.tsv has no hypothesis for 2 utterances; their words count as deletions: u1, u2" in text


def test_page_without_lists_or_stage_1_leaves_their_parts_out():
    page = Page(render_report(one_system(figures={"wer": Measure(50.0)})))
    assert page.open == []
    for words in ("Stage 1", "stage 1", "Where the errors are", "Keywords that go wrong"):
        assert words not in page.text.partition('"use strict"')[0]


def test_half_a_surrogate_pair_does_not_break_the_file():
    spoken = utterance("u", "a \ud800")
    render_report(Scores(SETTINGS, (spoken,), (system("s", (spoken,), ["a b"]),))).encode("utf-8")
