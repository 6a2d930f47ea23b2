"""Pictures of decks' pages: drawn of PDF files and pictures, and said where there is none."""

import io

import pytest
from decks import pdf, slide, written

from sap2.slides import page_pictures as module
from sap2.slides.keywords import slides_keywords
from sap2.slides.page_pictures import page_pictures


def opened(picture: bytes):
    from PIL import Image

    return Image.open(io.BytesIO(picture))


def test_pages_of_a_pdf_and_a_picture_are_drawn(tmp_path):
    (tmp_path / "deck.pdf").write_bytes(pdf([slide("Zorvan's graphs"), slide("A proof by Kathryn Meyer")]))
    (tmp_path / "board.png").write_bytes(written("Quine"))
    listed = slides_keywords([tmp_path / "deck.pdf", tmp_path / "board.png"])
    assert listed.sources == [(tmp_path / "deck.pdf", 1), (tmp_path / "deck.pdf", 2), (tmp_path / "board.png", 1)]
    pictures, notices = page_pictures(listed.sources)
    assert notices == []
    sizes = [opened(one).size for one in pictures]
    assert sizes == [(1024, 768), (1024, 768), (800, 600)]
    assert all(opened(one).format == "WEBP" and len(one) < 40_000 for one in pictures)
    dark = [sum(opened(one).convert("L").histogram()[:128]) for one in pictures]
    assert all(dark) and dark[0] < dark[1], "the second page has more letters"


def test_a_deck_that_cannot_be_drawn_is_said_with_a_way_out(tmp_path):
    (tmp_path / "deck.md").write_text("# Zorvan\n\n# Quine\n")
    pictures, notices = page_pictures([(tmp_path / "deck.md", 1), (tmp_path / "deck.md", 2)])
    assert pictures == [None, None]
    assert notices == [
        f"{tmp_path / 'deck.md'}: 2 pages shown as text: only PDF files and pictures can be drawn; "
        "export it as PDF to see its slides"
    ]


@pytest.mark.bad_input
def test_a_damaged_pdf_costs_its_pictures_only(tmp_path):
    (tmp_path / "a.pdf").write_bytes(b"%PDF-1.7 broken")
    (tmp_path / "b.pdf").write_bytes(pdf([slide("Zorvan")]))
    pictures, notices = page_pictures([(tmp_path / "a.pdf", 1), (tmp_path / "b.pdf", 1)])
    assert pictures[0] is None and opened(pictures[1]).format == "WEBP"
    assert len(notices) == 1 and "a.pdf: 1 page shown as text: cannot be drawn" in notices[0]


def test_of_a_very_long_deck_the_first_pages_are_drawn(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "MOST", 1)
    (tmp_path / "deck.pdf").write_bytes(pdf([slide("Zorvan"), slide("Quine")]))
    pictures, notices = page_pictures([(tmp_path / "deck.pdf", 1), (tmp_path / "deck.pdf", 2)])
    assert [one is None for one in pictures] == [False, True]
    assert notices == [f"{tmp_path / 'deck.pdf'}: 1 page shown as text: beyond the first 1"]
