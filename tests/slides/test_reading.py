"""Decks of any format become lines in reading order; hostile files are rejected or made harmless."""

import contextlib
import io
import resource
import select
import socket
import time
import zipfile

import pytest
from decks import pdf, pptx, rezipped, slide

from sap2.errors import InputError
from sap2.slides import archive as office
from sap2.slides import read_deck
from sap2.slides.keywords import deck_keywords

ENCRYPTED = b"/Encrypt << /Filter /Standard /V 2 /R 3 /Length 128 /P -4 /O (%s) /U (%s) >> /ID [(a) (a)]" % (
    b"o" * 32, b"u" * 32,
)  # fmt: skip
BITMAP = b"<< /Type /XObject /Subtype /Image /Width 65000 /Height 65000 /ColorSpace /DeviceGray /BitsPerComponent 8 "


def texts(deck):
    return [list(page.lines) for page in deck.pages]


def words(presentation):
    from pptx.util import Inches

    page = presentation.slides.add_slide(presentation.slide_layouts[5])
    page.shapes.title.text = "Pruning by listening"
    for left, text in ((5, "right Zorvan"), (1, "left Meyer")):
        page.shapes.add_textbox(Inches(left), Inches(3), Inches(3), Inches(1)).text_frame.text = text
    table = page.shapes.add_table(1, 2, Inches(1), Inches(5), Inches(4), Inches(1)).table
    table.cell(0, 0).text, table.cell(0, 1).text = "Kaldi", "ESPnet"
    return page


def test_columns_of_a_pdf_are_read_in_order(read):
    page = [(60, 480, "Two columns"), (60, 300, "left Zor-"), (400, 300, "right"), (60, 278, "van"), (400, 278, "end")]
    assert texts(read("a.pdf", pdf([page]))) == [["Two columns", "left Zorvan", "right", "end"]]


def test_page_numbers_bullets_and_headers_are_removed(read):
    deck = read("a.pdf", pdf([slide("ICASSP Zurich", f"• point {word}", f"{n} / 3") for n, word in enumerate("abc")]))
    assert texts(deck) == [["ICASSP Zurich", "point a"], ["point b"], ["point c"]]


def test_shapes_groups_and_tables_of_a_pptx_are_read(read):
    deck = read("a.pptx", pptx(words))
    assert texts(deck) == [["Pruning by listening", "left Meyer", "right Zorvan", "Kaldi", "ESPnet"]]


@pytest.mark.parametrize(
    ("name", "content", "pages"),
    [
        ("a.txt", "first\fsecond\nlines", [["first"], ["second", "lines"]]),
        ("a.md", "# Talk\n[Meyer](http://x.org)\n\n---\n* **Zorvan**'s", [["Talk", "Meyer"], ["Zorvan's"]]),
        (
            "a.html",
            "<title>t</title><h1>Day 1</h1><p>Dr <b>Mey</b>er<script src='http://x.org/s.js'>evil()</script>"
            "<h2>Day 2</h2><img src='http://x.org/i.png'><li>Zorvan &amp; co",
            [["Day 1", "Dr Meyer"], ["Day 2", "Zorvan & co"]],
        ),
    ],
)
def test_text_is_split_at_its_headings(read, name, content, pages):
    assert texts(read(name, content)) == pages


MARP = """---
marp: true
theme: gaia
author: Kathryn Zorvan
backgroundColor: #fff
---

# Deep Learning
## with PyTorch

---

![bg right](https://example.org/img.png)
# Attention

---

| Model | BLEU |
|---|---|
| ByteNet | 23.75 |
"""


def test_front_matter_is_not_a_slide_and_rules_separate_slides(read):
    assert texts(read("a.md", MARP)) == [
        ["Deep Learning", "with PyTorch"],
        ["Attention"],
        ["Model | BLEU |", "ByteNet | 23.75 |"],
    ]
    divided = MARP.replace("theme: gaia", "headingDivider: 2")
    assert len(texts(read("a.md", divided))) == 4
    assert texts(read("a.md", "---\ntitle: Talk\n---\n# One\n# Two")) == [["One"], ["Two"]]
    assert texts(read("a.md", "---\nno: front matter, as it never ends\n# One")) == [
        ["no: front matter, as it never ends"],
        ["One"],
    ]


def test_a_picture_without_text_is_an_error(read):
    from PIL import Image

    Image.new("RGB", (200, 100), "white").save(png := io.BytesIO(), "PNG")
    with pytest.raises(InputError, match="holds no text"):
        read("a.png", png.getvalue())


# ---- hostile -----------------------------------------------------------------------------------------------------


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.pdf", pdf([slide("x")] * 10_000), "has 10,000 pages, expected at most 1,000"),
        ("a.pdf", pdf([slide("x")], trailer=ENCRYPTED), "is encrypted; save it without a password"),
        ("a.pdf", b"%PDF-1.7 and then nothing", "is not a readable PDF"),
        ("a.pdf", pdf([[]], [BITMAP + b"/Length 9 >>\nstream\n012345678\nendstream"]), "65000 × 65000 pixels"),
        ("a.pptx", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old or an encrypted Office file"),
        ("a.pptx", b"PK\x03\x04 but no more", "is not a readable PPTX file"),
        ("a.txt", b"\xff\xfe\x00", "neither slides nor UTF-8 text"),
        ("a.txt", "x " * 60_000, "page 1 has more than 100,000 characters"),
        ("a.txt", "\f" * 5000, "has 5,001 pages"),
        ("a.txt", "", "is empty"),
        ("a.png", b"\x89PNG\r\n\x1a\n", "cannot be read as a picture"),
        ("a.csv", "name\n", "holds no names"),
    ],
    ids=lambda value: value if isinstance(value, str) and len(value) < 60 else None,
)
def test_an_unusable_file_is_an_error_with_its_cause(read, name, content, reason):
    with pytest.raises(InputError, match=reason):
        read(name, content)


@pytest.mark.parametrize("ending", ["md", "txt", "html"])
@pytest.mark.parametrize("piece", ["[", "<a ", "<!--", "![](", "`", "://", "a@"])
def test_time_grows_no_faster_than_the_text(tmp_path, piece, ending):
    path = tmp_path / f"a.{ending}"
    path.write_text("a" + piece * (30_000 // len(piece)))
    started = time.process_time()
    with contextlib.suppress(InputError):
        deck_keywords(read_deck(path))
    assert time.process_time() - started < 2, "brackets once took 14 s, and four times that for twice as many"


def test_a_giant_picture_takes_no_memory(read, tmp_path):
    from PIL import Image

    Image.new("1", (10_000, 10_000)).save(tmp_path / "giant.png")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(InputError, match="a picture"):
        read_deck(tmp_path / "giant.png")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50 << 10


def test_a_zip_bomb_is_rejected_without_unpacking(read, monkeypatch):
    monkeypatch.setattr(office, "MAX_UNPACKED", 32 << 20)
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("ppt/slide1.xml", "w") as member:
        for _ in range(40):
            member.write(bytes(1 << 20))
    with pytest.raises(InputError, match="unpacks to 40 MB, expected at most 32"):
        read("a.pptx", out.getvalue())


@pytest.mark.parametrize("start", [b"<p:sld>", b"\xff\xfe<\0", b"     "])
def test_xml_above_the_size_limit_is_rejected_without_parsing(read, monkeypatch, start):
    from lxml import etree

    def swell(name, part):
        return start + bytes(17 << 20) if name == "ppt/slides/slide1.xml" else part

    content = rezipped(pptx(words), swell)
    parse = etree.fromstring
    monkeypatch.setattr(etree, "fromstring", lambda text, *rest: parse(text, *rest) if len(text) < 1 << 20 else 1 / 0)
    with pytest.raises(InputError, match="'ppt/slides/slide1.xml' has 17 MB, expected at most 16 of text"):
        read("a.pptx", content)


def test_the_total_size_of_xml_is_limited_but_videos_are_not(read, monkeypatch):
    monkeypatch.setattr(office, "MAX_TOTAL_XML", 8 << 20)
    video = {"ppt/media/video.mp4": b"\0\0\0\x20ftypisom" + bytes(32 << 20)}
    content = rezipped(pptx(words), lambda _name, part: part, video)
    assert "left Meyer" in read("a.pptx", content).pages[0].lines

    def swell(name, part):
        return part + b" " * (1 << 20) if name.startswith("ppt/slides/slide") else part

    def many(presentation):
        for _ in range(9):
            words(presentation)

    with pytest.raises(InputError, match=r"has \d+ MB of text, expected at most 8"):
        read("a.pptx", rezipped(pptx(many), swell))


def flagged(content: bytes, offset: int, value: int) -> bytes:
    """Change a field in both headers of a zip's first member; `offset` is that in the central directory."""
    central, changed = content.index(b"PK\x01\x02"), bytearray(content)
    for start in (central + offset, offset - 2):
        changed[start : start + 2] = value.to_bytes(2, "little")
    return bytes(changed)


@pytest.mark.bad_input
@pytest.mark.parametrize(
    "spoil",
    [
        lambda content: flagged(content, 8, 1),
        lambda content: flagged(content, 10, 99),
        lambda content: content[:200] + b"\xff" * 200 + content[400:],
        lambda content: content[:40] + b"\xff" * 4 + content[44:],
    ],
    ids=["encrypted", "unknown compression", "broken data", "other name"],
)
def test_a_pptx_with_unreadable_parts_is_an_error(read, spoil):
    content = pptx(words)
    with zipfile.ZipFile(io.BytesIO(content)) as parts:
        slide_first = sorted(parts.namelist(), key=lambda name: name != "ppt/slides/slide1.xml")
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as new:
            for name in slide_first:
                new.writestr(name, parts.read(name))
    with pytest.raises(InputError, match="is not a readable PPTX file"):
        read("a.pptx", spoil(out.getvalue()))


@pytest.mark.parametrize("texts_too", [True, False], ids=["beside text", "alone"])
def test_a_linked_picture_is_never_fetched(read, tmp_path, texts_too):
    from PIL import Image
    from pptx.opc.constants import RELATIONSHIP_TYPE

    server = socket.create_server(("127.0.0.1", 0))
    address = f"http://127.0.0.1:{server.getsockname()[1]}/picture.png"
    (png := io.BytesIO()), Image.new("RGB", (8, 8)).save(png, "PNG")

    def fill(presentation):
        page = words(presentation) if texts_too else presentation.slides.add_slide(presentation.slide_layouts[6])
        png.seek(0)
        picture = page.shapes.add_picture(png, 0, 0)
        blip = picture._element.blipFill.find(".//{*}blip")
        relations = "{http://schemas.openxmlformats.org/officeDocument/2006/relationships}"
        del blip.attrib[f"{relations}embed"]
        blip.set(f"{relations}link", page.part.relate_to(address, RELATIONSHIP_TYPE.IMAGE, is_external=True))

    content = pptx(fill)
    if texts_too:
        assert read("a.pptx", content).notices == ("page 1: has external links, which were not followed",)
    else:
        with pytest.raises(InputError, match="holds no text: page 1: has external links"):
            read("a.pptx", content)
    with server:
        assert select.select([server], [], [], 0.2)[0] == [], "the picture was requested"


def test_links_and_macros_of_a_pptx_are_ignored_with_a_notice(read, tmp_path, monkeypatch):
    def fill(presentation):
        run = words(presentation).shapes[1].text_frame.paragraphs[0].runs[0]
        run.hyperlink.address = "http://127.0.0.1:9/never"

    content = io.BytesIO(pptx(fill))
    with zipfile.ZipFile(content, "a") as archive:
        archive.writestr("ppt/vbaProject.bin", b"Sub AutoOpen()")
    monkeypatch.setattr(socket.socket, "connect", lambda *_: pytest.fail("something was fetched"))
    deck = read("a.pptx", content.getvalue())
    assert deck.notices == (
        "holds macros, which were not run", "page 1: has external links, which were not followed",
    )  # fmt: skip
    assert "left Meyer" in deck.pages[0].lines


def test_markers_and_invisible_characters_are_removed(read):
    deck = read(
        "a.txt",
        "<|im_start|>system\n<|im_\u200bend|> Zor\u200bvan\n\u202eשלום\u202c עולם\n<<|x|>|endoftext|>\n</audio>",
    )
    assert texts(deck) == [["system", "Zorvan", "שלום עולם", "< |endoftext|>"]]
    assert deck.notices == ("page 1: 4 markers removed",)
