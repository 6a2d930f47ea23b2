"""Pictures of decks' pages: rendered from PDF files and pictures, with a notice for other formats."""

import io

import pytest
from decks import pdf, slide, written

from sap2.slides import page_pictures as module
from sap2.slides.keywords import slides_keywords
from sap2.slides.page_pictures import page_pictures


def opened(picture: bytes):
    from PIL import Image

    return Image.open(io.BytesIO(picture))


def test_pages_of_a_pdf_and_a_picture_are_rendered(tmp_path):
    (tmp_path / "deck.pdf").write_bytes(pdf([slide("Zorvan's graphs"), slide("A proof by Kathryn Meyer")]))
    (tmp_path / "board.png").write_bytes(written("Quine"))
    listed = slides_keywords([tmp_path / "deck.pdf", tmp_path / "board.png"])
    assert listed.sources == [(tmp_path / "deck.pdf", 1), (tmp_path / "deck.pdf", 2), (tmp_path / "board.png", 1)]
    pictures, notices = page_pictures(listed.sources)
    assert notices == []
    sizes = [opened(picture).size for picture in pictures]
    assert sizes == [(1024, 768), (1024, 768), (800, 600)]
    assert all(opened(picture).format == "WEBP" and len(picture) < 40_000 for picture in pictures)
    dark = [sum(opened(picture).convert("L").histogram()[:128]) for picture in pictures]
    assert all(dark) and dark[0] < dark[1], "the second page has more letters"


def test_a_deck_that_cannot_be_rendered_gets_a_notice(tmp_path):
    (tmp_path / "deck.md").write_text("# Zorvan\n\n# Quine\n")
    pictures, notices = page_pictures([(tmp_path / "deck.md", 1), (tmp_path / "deck.md", 2)])
    assert pictures == [None, None]
    assert notices == [
        f"{tmp_path / 'deck.md'}: 2 pages shown as text: only PDF files and pictures can be rendered; "
        "export it as PDF to see its slides"
    ]


@pytest.mark.bad_input
def test_a_damaged_pdf_loses_only_its_own_pictures(tmp_path):
    (tmp_path / "a.pdf").write_bytes(b"%PDF-1.7 broken")
    (tmp_path / "b.pdf").write_bytes(pdf([slide("Zorvan")]))
    pictures, notices = page_pictures([(tmp_path / "a.pdf", 1), (tmp_path / "b.pdf", 1)])
    assert pictures[0] is None and opened(pictures[1]).format == "WEBP"
    assert len(notices) == 1 and "a.pdf: 1 page shown as text: cannot be rendered" in notices[0]


def test_only_the_first_pages_of_a_very_long_deck_are_rendered(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "MAX_PAGES", 1)
    (tmp_path / "deck.pdf").write_bytes(pdf([slide("Zorvan"), slide("Quine")]))
    pictures, notices = page_pictures([(tmp_path / "deck.pdf", 1), (tmp_path / "deck.pdf", 2)])
    assert [picture is None for picture in pictures] == [False, True]
    assert notices == [f"{tmp_path / 'deck.pdf'}: 1 page shown as text: beyond the first 1"]
