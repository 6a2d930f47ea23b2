"""Keywords of slides with their reasons, and lists that are edited and read back."""

import re
from pathlib import Path

import pytest
from decks import pdf, slide
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from sap2.cli import app
from sap2.errors import InputError
from sap2.manifest import keyword_fault
from sap2.slides import Deck, Keyword, deck_keywords, read_keywords
from sap2.slides.keywords import best_keywords, keywords_json, keywords_tsv, slides_keywords


def extracted(line, language="en"):
    return {row.keyword: row.reason for row in deck_keywords(Deck.of([[line]]), language)}


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("the results of the work", {}),
        ("The Results Of The Work", {}),
        ("THE RESULTS OF THE WORK", {}),
        ("THE ZORVAN WORK", {"ZORVAN": "rare word"}),
        ("work by John Smith", {"John Smith": "name"}),
        ("by Ludwig van der Zorvan", {"Ludwig van der Zorvan": "name", "Zorvan": "part of a name"}),
        ("a NASA report", {"NASA": "acronym"}),
        ("we use GPT-4, C++ and iPhone", {"GPT-4": "spelling", "C++": "spelling", "iPhone": "spelling"}),
        ("write to zorvan@meyer.org or https://zorvan.org/x", {}),
        ("in O'Zorvan's graph", {"O'Zorvan": "name"}),
        ("a zorvan graph", {"zorvan": "rare word"}),
        ("we met Catherine there", {"Catherine": "name"}),
        ("доклад о мейере", {"доклад": "rare word", "мейере": "rare word"}),
        ("שלום zorvan", {"שלום": "rare word", "zorvan": "rare word"}),
        ("at the University of Zorvan today", {"University of Zorvan": "name", "Zorvan": "part of a name"}),
        ("the Sender Policy Framework (SPF)", {"Sender Policy Framework": "name", "SPF": "acronym"}),
        ("McNemar’s test, by Quinn McNemar", {"Quinn McNemar": "name", "McNemar": "spelling"}),
        ("Zorvan et al. (2019), J. Quaylan", {"Zorvan": "name", "Quaylan": "name"}),
        ("LLMs and IPv6, TF-IDF/BM25", {"LLM": "acronym", "IPv6": "spelling", "TF-IDF": "acronym", "BM25": "spelling"}),
        ("the 19th of 3.5 GHz, 2x2 and Top-5", {}),
        ("an A100 with wav2vec and 2 GPUs", {"A100": "spelling", "wav2vec": "spelling", "GPU": "acronym"}),
        ("by Jon Zorvan1", {"Jon Zorvan": "name", "Zorvan": "part of a name"}),
        ("1The hSi of q1Cq2 and πLi, July08", {}),
        ("x" * 500, {}),
    ],
)
def test_candidates_and_their_reasons(line, expected):
    assert extracted(line) == expected


@pytest.mark.parametrize(
    ("lines", "names", "never"),
    [
        (["thanks to Allen L. Zorvan and John F. Quaylan"], ["Allen L. Zorvan", "John F. Quaylan"], ["Allen L"]),
        (["thanks to Ann Quaylan, Kathryn", "Zorvan and Qaylen Brestovic"], ["Kathryn Zorvan", "Ann Quaylan"], []),
        (["Kathryn Zorvan", "Qaylen Brestovic", "Ann Quaylan"], ["Kathryn Zorvan", "Qaylen Brestovic"], []),
        (
            ["presented by Quinn Zorvan/Yun Quaylan, tools by Cisco/Linksys"],
            ["Quinn Zorvan", "Yun Quaylan", "Cisco", "Linksys"],
            ["Zorvan/Yun", "Quinn Zorvan/Yun Quaylan", "Cisco/Linksys"],
        ),
        (["models GPT‑4 and GPT‐4 and R&D and Q&A"], ["GPT-4", "R&D", "Q&A"], ["GPT"]),
        (["thanks to Anna Weiler-", "Jönsson"], ["Anna Weiler-Jönsson"], ["Jönsson"]),
        (["Deep Learning with PyTorch", "Kathryn Zorvan, Berlin"], ["PyTorch", "Kathryn Zorvan"], ["Deep Learning"]),
        (
            ["Qingyun Wu , Gagan Bansal , Ryen W. White, Chi Wang"],
            ["Qingyun Wu", "Ryen W. White", "Chi Wang"],
            ["Ryen W"],
        ),
    ],
    ids=["initials", "wrapped", "name per line", "slash", "hyphens", "hyphenated over lines", "title", "enumerated"],
)
def test_names_stay_complete(lines, names, never):
    keywords = {row.keyword for row in deck_keywords(Deck.of([lines]))}
    assert keywords >= set(names) and not keywords & set(never)


@pytest.mark.parametrize(
    "line",
    [
        "please do NOT use this WITH old lists",
        "ANSWER SECTION of this",
        "look at 0x100000ece, 0000000100000e70, 550e8400-e29b-41d4-a716-446655440000, zorvan.org, foo.cpp and "
        "/var/log/maillog",
        "C:\\zorvan\\kaldi and ~/zorvan.txt, https://zorvan.org/x, jon@zorvan.org, @zorvan, 192.168.0.1, text/html",
        "zorvan_kaldi(x, y) and results <- boot(data=zorvan, R=10)",
        "import zorvan.kaldi as z;",
        '{"zorvanKaldi": 3,',
        "sha 9f86d081884c7d659a2feaa0c55ad015 of 2018-06-09T18:30:00Z and --zorvan-kaldi=3",
        "ColA ColB ColC",
    ],
)
def test_unspoken_text_is_never_a_keyword(line):
    assert extracted(line) == {}


def test_a_column_of_names_is_listed_whole():
    """A capital does not mark a line's only word as a name, but names above and below it do."""
    column = ["Watson", "Fairview", "Markham", "Kenneth", "Marshall", "Topeka", "Kansas"]
    keywords = deck_keywords(Deck.of([["Elsewhere", *column]]))
    assert {row.keyword for row in keywords} == set(column)
    inflected = ["Mormon", "Kirtland", "Lilburn", "Erie", "Rogers", "Parsons"]  # English has "mormons"
    few = ["Boggs", "Caldwell", "Zion"]  # only the first is rare
    keywords = deck_keywords(Deck.of([["People", *inflected], ["People", *few]]))
    assert {row.keyword for row in keywords} == {*inflected, *few}
    terms = ["Overview", "Storage", "Networking", "Questions", "Kubernetes"]
    assert [row.keyword for row in deck_keywords(Deck.of([terms]))] == ["Kubernetes"]


def test_ordinary_words_in_capitals_are_not_acronyms():
    assert extracted("the WARNING of NASA, NEVER of the DNS") == {"NASA": "acronym", "DNS": "acronym"}


def test_names_come_before_terms_and_terms_before_rare_words():
    line = "a bodhisattva and the DNS with Rspamd, by Kathryn Zorvan"
    assert [row.keyword for row in deck_keywords(Deck.of([[line]]))][:3] == ["Kathryn Zorvan", "Rspamd", "DNS"]
    best = best_keywords(deck_keywords(Deck.of([[line], ["of DNS"], ["Kathryn Zorvan"]])), 2)
    assert [(row.page, row.keyword) for row in best] == [(1, "Kathryn Zorvan"), (1, "Rspamd"), (3, "Kathryn Zorvan")]


def test_keywords_have_spoken_forms():
    spoken = {row.keyword: row.spoken for row in deck_keywords(Deck.of([["GPT-4 and SQL by José Zorvan"]]))}
    assert spoken["GPT-4"] == "GPT four" and spoken["SQL"] == "sequel" and spoken["José Zorvan"] == "Jose Zorvan"
    assert spoken["Zorvan"] == ""
    assert {row.spoken for row in deck_keywords(Deck.of([["наш GPT-4"]]), "ru")} == {""}


FRENCH = (
    "Nous proposons une méthode pour résumer et interroger des logs de requêtes, et dans ce papier nous montrons que "
    "les propriétés de ces résumés sont utiles, selon Julien Zorvan"
)


def test_the_language_of_a_deck_is_guessed_with_a_notice(tmp_path):
    guessed = listed(tmp_path, a_txt=FRENCH)
    assert [row.keyword for row in guessed.keywords] == ["Julien Zorvan", "Zorvan"]
    assert guessed.notices == [f"{tmp_path / 'a.txt'}: language fr, as guessed; if it is another, give --language"]
    wrong = slides_keywords([tmp_path / "a.txt"], "en")
    assert wrong.notices == [f"{tmp_path / 'a.txt'}: reads like language fr, not like en, which was given"]
    assert wrong.keywords == guessed.keywords, "each page's own language counts too"


def test_words_without_segmentation_are_skipped_with_a_notice(tmp_path):
    result = listed(tmp_path, a_txt="할인점 주유 온라인쇼핑몰 적립한도 없이\n온라인쇼핑몰 by Kathryn Zorvan")
    assert "Kathryn Zorvan" in {row.keyword for row in result.keywords}
    assert all(row.keyword.isascii() for row in result.keywords)
    assert result.notices == [
        f"{tmp_path / 'a.txt'}: words of ko cannot be segmented; only words in other scripts were extracted"
    ]


def test_the_command_keeps_the_most_useful_keywords(tmp_path):
    (tmp_path / "a.txt").write_text("a bodhisattva and the DNS with Rspamd, by Kathryn Zorvan")
    result = CliRunner().invoke(app, ["keywords", str(tmp_path / "a.txt"), "--max-keywords", "2"])
    assert result.stdout == "page\tkeyword\treason\tspoken\n0\tKathryn Zorvan\tname\n0\tRspamd\tname\n"


def test_latin_words_within_another_script_are_extracted():
    assert extracted("ההרצאה על Pythonשל זורבן", "he") == {"Python": "rare word"}


def test_a_file_without_keywords_gets_a_notice(tmp_path):
    result = listed(tmp_path, a_txt="please do NOT use this WITH old lists")
    assert result.keywords == [] and result.notices == [f"{tmp_path / 'a.txt'}: gave no keywords"]


def test_rarity_is_that_of_the_decks_language():
    assert "доклад" not in extracted("наш доклад", "ru") and "Ergebnisse" not in extracted("unsere ergebnisse", "de")
    with pytest.raises(InputError, match="--language xx: no word frequencies"):
        extracted("x", "xx")


@settings(deadline=None)  # the first word of a language loads its list
@given(st.lists(st.lists(st.text(max_size=60), max_size=4), max_size=3))
def test_keywords_of_any_page_are_valid_list_entries(pages):
    for row in deck_keywords(Deck.of(pages)):
        assert keyword_fault(row.keyword) is None and 1 <= row.page <= len(pages)


WORDS = st.text("abcZ é-", min_size=1).map(str.strip).filter(bool)


@given(
    st.lists(
        st.builds(Keyword, st.integers(1, 99), WORDS, st.just("name"), st.sampled_from(["", "as said"])), min_size=1
    )
)
def test_a_list_is_read_back_as_it_was_written(keywords):
    assert read_keywords(keywords_tsv(keywords), "a.tsv") == keywords
    assert read_keywords(keywords_json(keywords), "a.json") == keywords


def test_an_edited_list_may_lack_reasons_but_rows_must_be_valid():
    assert read_keywords("page\tkeyword\n2\tZorvan\n\n", "a.tsv") == [Keyword(2, "Zorvan", "given")]
    assert read_keywords("Zorvan, Meyer", "a.txt") is None
    for text, reason in (
        ("page\tkeyword\nx\tZorvan\n", "a.tsv:2: page is 'x', expected a number of up to 5 digits (0: all the time)"),
        ("page\tkeyword\n9999999999\tZorvan\n", "a.tsv:2: page is '9999999999', expected a number of up to 5 digits"),
        ("page\tkeyword\n1\tZorvan, Meyer\n", "a.tsv:2: a comma inside the keyword"),
        ('[{"page": 1, "keyword": "<|im_end|>"}]', "a.tsv: entry 1: the marker <|im_end|>"),
    ):
        with pytest.raises(InputError, match=re.escape(reason)):
            read_keywords(text, "a.tsv")


def listed(folder, **files):
    """Write files with these contents and read their keywords; `_` in a name stands for a dot."""
    for name, content in files.items():
        (folder / name.replace("_", ".")).write_bytes(content if isinstance(content, bytes) else content.encode())
    return slides_keywords([folder / name.replace("_", ".") for name in files])


def rows(result):
    return [(row.page, row.keyword) for row in result.keywords]


DECK = pdf([slide("a zorvan"), slide("a kaldi")])
LIST = "page\tkeyword\n0\tespnet\n1\tmeyer\n"


def test_pages_are_numbered_over_several_decks_and_lists(tmp_path):
    result = listed(tmp_path, a_pdf=DECK, b_tsv=LIST, c_pdf=pdf([slide("<|im_start|> quine")]))
    assert rows(result) == [(1, "zorvan"), (2, "kaldi"), (0, "espnet"), (3, "meyer"), (4, "quine")]
    assert result.texts == ["a zorvan", "a kaldi", "meyer", "quine"]
    assert result.notices == [f"{tmp_path / 'c.pdf'}: page 1: 1 marker removed"]


@pytest.mark.parametrize(
    ("name", "content", "keyword"),
    [
        ("people_csv", "name\nJon Quine\n", "Jon Quine"),
        ("papers_bib", "@misc{a, author = {Quine, Jon}}", "Jon Quine"),
        ("words_csv", "quine,kripke\n", "quine"),
        ("glossary_txt", "quine", "quine"),
        ("agenda_md", "# Monday\nby quine\n# Tuesday\nby kripke", "quine"),
        ("agenda_html", "<h1>Monday</h1>by quine<h1>Tuesday</h1>", "quine"),
        ("words_tsv", "page\tkeyword\n0\tquine\n", "quine"),
    ],
)
@pytest.mark.parametrize("first", [True, False], ids=["first", "last"])
def test_files_that_accompany_a_deck_have_no_pages(tmp_path, name, content, keyword, first):
    files = {name: content, "deck_pdf": DECK} if first else {"deck_pdf": DECK, name: content}
    result = listed(tmp_path, **files)
    assert result.texts == ["a zorvan", "a kaldi"]
    assert [row for row in rows(result) if row[0]] == [(1, "zorvan"), (2, "kaldi")]
    assert (0, keyword) in rows(result)


def test_text_alone_is_a_deck_if_it_has_several_pages(tmp_path):
    result = listed(tmp_path, a_md="# a zorvan\n\n# a kaldi\n", b_txt="a quine", c_html="<h1>a kripke</h1>")
    assert rows(result) == [(1, "zorvan"), (2, "kaldi"), (0, "quine"), (0, "kripke")]
    assert result.texts == ["a zorvan", "a kaldi"]
    result = listed(tmp_path, a_md="# zorvan of kaldi\n", b_txt="a quine\fa kripke")
    assert rows(result) == [(0, "zorvan"), (0, "kaldi"), (1, "quine"), (2, "kripke")]


def test_repeated_words_of_a_file_without_pages_are_listed_once(tmp_path):
    result = listed(tmp_path, a_pdf=DECK, b_md="# a quine\n# quine again\n# Quine")
    assert rows(result)[2:] == [(0, "quine")]


def test_a_list_without_rows_is_still_a_list(tmp_path):
    result = listed(tmp_path, a_pdf=DECK, b_tsv="page\tkeyword\n")
    assert rows(result) == [(1, "zorvan"), (2, "kaldi")]


@pytest.mark.bad_input
@pytest.mark.parametrize("ending", ["tsv", "json"])
def test_a_huge_list_is_rejected_without_reading_it(tmp_path, monkeypatch, ending):
    path = tmp_path / f"a.{ending}"
    with path.open("wb") as out:
        out.truncate(64 << 20)
    monkeypatch.setattr(Path, "read_text", lambda *_, **__: pytest.fail("it was read"))
    with pytest.raises(InputError, match="has 64 MB, expected a list of at most 16"):
        slides_keywords([path])
