"""PDFs in the forms that real programs write: their words are read as a reader sees them."""

from pathlib import Path

import pytest
from decks import pdf, slide

from sap2.slides import Options, read_deck, reading
from sap2.slides.keywords import deck_keywords

REAL = Path(__file__).parents[3] / "shared" / "data"


@pytest.fixture
def lines(tmp_path):
    def lines(*pages, options=Options()):  # noqa: B008
        (tmp_path / "a.pdf").write_bytes(
            pdf([page.encode("cp1252") if isinstance(page, str) else page for page in pages])
        )
        deck = read_deck(tmp_path / "a.pdf", options)
        return [line for page in deck.pages for line in page.lines]

    return lines


def keywords(text):
    return {row.keyword for row in deck_keywords(reading.Deck.of([text]))}


@pytest.mark.parametrize(
    ("content", "text", "expected"),
    [
        (
            "BT /F 28 Tf 60 440 Td (We compare GPT) Tj (-) Tj (4 with X) Tj (-) Tj (vectors by Anna Weiler) Tj (-) Tj"
            " (Jönsson) Tj ET",
            "We compare GPT-4 with X-vectors by Anna Weiler-Jönsson",
            {"GPT-4", "Anna Weiler-Jönsson"},
        ),
        (
            "BT /F 28 Tf 60 440 Td (Kathryn Ho) Tj (ff) Tj (mann of P) Tj (fi) Tj (zer met Gri) Tj (ffi) Tj"
            " (ths) Tj ET",
            "Kathryn Hoffmann of Pfizer met Griffiths",
            {"Kathryn Hoffmann"},
        ),
        (
            "BT /F 28 Tf 60 440 Td 1 0 0 rg (F) Tj 0 g (astly and ) Tj 1 0 0 rg (Z) Tj 0 g (orvan) Tj ET",
            "Fastly and Zorvan",
            {"Zorvan"},
        ),
        (
            "BT /F 28 Tf 60 440 Td (with Jonas Hillbr¨om, Jos´e Vald´es and Fran¸cois Zorvan) Tj ET",
            "with Jonas Hillbröm, José Valdés and François Zorvan",
            {"Jonas Hillbröm", "José Valdés", "François Zorvan"},
        ),
        (
            "BT /F 28 Tf 60 440 Td (with Kathryn Zorvan) Tj ET BT /F 28 Tf 61 439 Td (with Kathryn Zorvan) Tj ET",
            "with Kathryn Zorvan",
            {"Kathryn Zorvan"},
        ),
        (
            "BT /F 18 Tf 60 440 Td (write to k.zorvan) Tj (@) Tj (example.org) Tj ET",
            "write to k.zorvan@example.org",
            set(),
        ),
        (
            "BT /F 18 Tf 60 440 Td (it´s what Zorvan´s team doesn´t do) Tj ET",
            "it’s what Zorvan’s team doesn’t do",
            {"Zorvan"},
        ),
    ],
    ids=["hyphens", "ligatures", "first letters", "accents", "shadow", "address", "acute as apostrophe"],
)
def test_words_in_pieces_are_joined(lines, content, text, expected):
    assert lines(content) == [text]
    assert expected <= keywords([text])


def test_an_accent_drawn_over_a_letter_is_composed_with_it(lines):
    # LaTeX's OT1 fonts: the accent first, then a step back to the letter below it.
    content = "BT /F 28 Tf 60 440 Td [(with Barlas O) -278 (guz) 1340 (¨) -1007 ( and Jos) 0 (´) 333 (e Zorvan)] TJ ET"
    assert "José Zorvan" in lines(content)[0]


def test_overlapping_boxes_are_separate_lines(lines):
    content = (
        "BT /T 28 Tf 60 440 Td (The program of Kathryn Zorvan is fine) Tj ET "
        "BT /F 28 Tf 90 448 Td (Somebody asked Qaylen Brestovic about it) Tj ET"
    )
    assert lines(content) == ["The program of Kathryn Zorvan is fine", "Somebody asked Qaylen Brestovic about it"]


def test_columns_on_the_same_baseline_are_separate_lines(lines):
    page = [(60, 480, "Kathryn"), (400, 480, "Qaylen"), (60, 458, "Zorvan"), (400, 458, "Brestovic")]
    assert lines(page) == ["Kathryn", "Zorvan", "Qaylen", "Brestovic"]


@pytest.mark.parametrize(
    ("first", "second", "text"),
    [
        ("thanks to Ann Quaylan, Kathryn", "Zorvan and others", "thanks to Ann Quaylan, Kathryn Zorvan and others"),
        (
            "the toolkit was written by Allen L.",
            "Zorvan last year",
            "the toolkit was written by Allen L. Zorvan last year",
        ),
    ],
)
def test_a_name_wrapped_at_the_end_of_a_full_line_is_joined(lines, first, second, text):
    assert lines(slide(first, second)) == [text]


@pytest.mark.parametrize(
    "text",
    [
        ("Our Team", "Kathryn Zorvan", "Qaylen Brestovic"),
        ("Results of Speech Recognition", "Kathryn Zorvan, Tübingen"),
        ("a talk by Kathryn", "Zorvan is not on the line above, which ends early: there was room for it"),
        ("what we found in Wikipedia", "The results of all runs"),
        ("we met in Paris:", "Zorvan came first"),
    ],
)
def test_complete_lines_are_never_joined(lines, text):
    assert lines(slide(*text)) == list(text)


def test_a_hyphenated_word_keeps_hyphens_of_its_spelling(lines):
    page = slide(
        "we prune long lists by listen-", "ing to Anna Weiler-", "Jönsson on GPT-", "4 tasks of state-of-", "the-art"
    )
    text = " ".join(lines(page))
    assert "listening to" in text and "Weiler-Jönsson" in text and "GPT-4" in text and "state-of-the-art" in text


def test_a_rotated_page_is_read_in_its_displayed_order(tmp_path):
    content = pdf([[(60, 480, "Title"), (60, 300, "left"), (400, 300, "right"), (60, 278, "below"), (400, 278, "end")]])
    upright, upside_down = ["Title", "left", "below", "right", "end"], ["end", "right", "below", "left", "Title"]
    lying = ["below left", "Title", "end right"]
    for turn, shown in {0: upright, 180: upside_down, 90: lying}.items():
        (tmp_path / "a.pdf").write_bytes(content.replace(b"/MediaBox", b"/Rotate %d /MediaBox" % turn))
        read = read_deck(tmp_path / "a.pdf").pages[0].lines
        assert list(read) == shown


# ---- real decks --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["bsdcan-spam", "stat451-l11", "webxr-words", "fr-olap", "multi-column"])
def test_words_of_real_decks_stay_complete(name):
    """Every word also occurs in PDFium's plain text of the page, except for hyphenation and accents."""
    path = REAL / "decks" / f"{name}.pdf"
    if not path.is_file():
        pytest.skip(f"{path} is not on this machine")
    import pypdfium2

    with pypdfium2.PdfDocument(path) as document:
        plain = [page.get_textpage().get_text_range() for page in document]
    torn = []
    for page, text in zip(read_deck(path).pages, plain, strict=True):
        known = set(text.replace("\ufffe", "").replace("\x02", "").split()) | set(text.replace("\ufffe", "-").split())
        torn += [
            word
            for line in page.lines
            for word in line.split()
            if word not in known and word.isalpha() and word.isascii()
        ]
    assert torn == []


def test_real_cases_give_the_text_a_reader_sees():
    folder = REAL / "cases"
    if not folder.is_dir():
        pytest.skip(f"{folder} is not on this machine")
    for name, text in {
        "hyphen-runs": "We compare GPT-4 with X-vectors by Anna Weiler-Jönsson",
        "ligature-runs": "Kathryn Hoffmann of Pfizer met Griffiths",
        "first-letter-run": "Fastly and Zorvan",
        "latex-accents": "with Jonas Hillbröm, José Valdés and François Zorvan",
    }.items():
        assert list(read_deck(folder / f"{name}.pdf").pages[0].lines) == [text]
