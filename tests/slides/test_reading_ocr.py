"""OCR of pictures and scanned pages in any orientation, within limits, and without a download."""

import io
import socket

import numpy as np
import pytest
from decks import pdf, slide, written

from sap2.errors import InputError
from sap2.slides import ocr

GARBLED = b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding /ToUnicode %d 0 R >>"
CODES = b"""/CIDInit /ProcSet findresource begin 12 dict begin begincmap
1 begincodespacerange <00> <FF> endcodespacerange
1 beginbfrange <20> <7E> <E020> endbfrange endcmap end end"""


def picture(png):
    """Convert a PNG to a picture object of a PDF."""
    from PIL import Image

    with Image.open(io.BytesIO(png)) as image:
        raw, size = image.convert("RGB").tobytes(), image.size
    head = b"<< /Type /XObject /Subtype /Image /Width %d /Height %d /ColorSpace /DeviceRGB /BitsPerComponent 8 " % size
    return head + b"/Length %d >>\nstream\n%s\nendstream" % (len(raw), raw)


def test_pictures_and_scanned_pages_are_read_without_a_download(read, monkeypatch):
    monkeypatch.setattr(socket.socket, "connect", lambda *_: pytest.fail("something was fetched"))
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: pytest.fail("something was looked up"))
    assert read("a.png", written("Kathryn Zorvan")).pages[0].lines == ("Kathryn Zorvan",)
    scan = pdf([[]], [picture(written("Kathryn Zorvan"))])
    assert read("a.pdf", scan).pages[0].lines == ("Kathryn Zorvan",)
    with pytest.raises(InputError, match="holds no text: page 1: has no text layer; --ocr auto reads it"):
        read("a.pdf", scan, ocr="never")
    with pytest.raises(InputError, match="is a picture, which --ocr never does not read"):
        read("a.png", written("Kathryn Zorvan"), ocr="never")


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_a_rotated_scan_is_turned_upright(read, turns):
    from PIL import Image

    with Image.open(io.BytesIO(written("Kathryn Zorvan", size=60))) as image:
        Image.fromarray(np.rot90(np.asarray(image), turns)).save(out := io.BytesIO(), "PNG")
    assert read("a.png", out.getvalue()).pages[0].lines == ("Kathryn Zorvan",)


def test_ocr_replaces_a_text_layer_of_a_fonts_own_codes(read):
    page = b"BT /G 60 Tf 60 300 Td (Kathryn Zorvan) Tj ET"
    font = GARBLED % 9
    stream = b"<< /Length %d >>\nstream\n%s\nendstream" % (len(CODES), CODES)
    content = pdf([page], [picture(written("x")), font, stream])
    deck = read("a.pdf", content)
    assert deck.pages[0].lines == ("Kathryn Zorvan",)
    assert deck.notices == ("page 1: its text layer is garbage; OCR read the page instead",)


def test_a_text_layer_without_words_gets_a_notice(read):
    words = (
        "we show that speech models learn names when lists prompt them with their slides during every talk given here"
    )
    moved = "".join(chr((ord(letter) - 97 + 3) % 26 + 97) if letter.isalpha() else letter for letter in words)
    page = slide(*(f"{moved} {chr(97 + n)}zzzx{chr(97 + n)} uuuq{chr(97 + n)}" for n in range(6)))
    deck = read("a.pdf", pdf([page]), ocr="never")
    assert deck.notices == ("page 1: its text layer seems to be garbage; --ocr auto reads the page instead",)
    assert read("b.pdf", pdf([slide(words)] * 2), ocr="never").notices == ()


def test_ocr_can_be_forced_over_a_text_layer(read):
    hidden = b"BT /F 40 Tf 3 Tr 60 300 Td (words nobody sees) Tj ET BT /F 40 Tf 0 Tr 60 200 Td (Kathryn Zorvan) Tj ET"
    assert read("a.pdf", pdf([hidden])).pages[0].lines == ("words nobody sees", "Kathryn Zorvan")
    assert read("a.pdf", pdf([hidden]), ocr="always").pages[0].lines == ("Kathryn Zorvan",)


def test_pictures_beside_a_pdfs_text_get_a_notice_by_page(read):
    page = b"q 400 0 0 300 100 50 cm /X Do Q BT /F 20 Tf 60 480 Td (Our team) Tj ET"
    deck = read("a.pdf", pdf([page, page], [picture(written("Kathryn Zorvan"))]))
    assert deck.notices == ("pages 1-2: pictures beside text were not read; --ocr always reads the entire page",)
    forced = read("a.pdf", pdf([page], [picture(written("Kathryn Zorvan"))]), ocr="always")
    assert forced.pages[0].lines == ("Our team", "Kathryn Zorvan")


def test_bands_are_cut_between_lines_and_cover_all_lines():
    page = np.full((1400, 1440, 3), 255, np.uint8)
    lines = [*range(40, 1360, 60)]
    for top in lines:
        page[top : top + 30, 100:1300:7] = 0
    bands = list(ocr._bands(page))
    assert len(bands) > 3 and max(band.shape[0] * 1152 for _, band in bands) * 0.8 <= 1.05 * ocr.BAND
    for top, band in bands:
        assert not any(line < edge < line + 30 for line in lines for edge in (top, top + len(band)))
    held = [line for line in lines if any(top <= line and line + 30 <= top + len(band) for top, band in bands)]
    assert held == lines
    assert list(ocr._bands(np.full((900, 1440, 3), 255, np.uint8))) == [], "an empty page has no bands"
