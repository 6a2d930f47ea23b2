"""PPTX and ODP are read completely, with notices of unread content; other programs' files are errors with a way out."""

import contextlib
import io
import random
import re
from pathlib import Path

import pytest
from decks import frame, odp, pptx, rezipped, written

from sap2.errors import InputError
from sap2.slides import Options, read_deck

DIAGRAM = "http://schemas.openxmlformats.org/drawingml/2006/diagram"
MAIN = "http://schemas.openxmlformats.org/drawingml/2006/main"
OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
SLIDE = "http://schemas.openxmlformats.org/presentationml/2006/main"

REAL = Path(__file__).parents[3] / "shared" / "data"


def lines(deck):
    return [list(page.lines) for page in deck.pages]


def titled(presentation, title="Our team"):
    page = presentation.slides.add_slide(presentation.slide_layouts[5])
    page.shapes.title.text = title
    return page


def smartart(page, names=("Kathryn Zorvan", "Qaylen Brestovic")):
    """Add a diagram as PowerPoint writes it: the slide refers to a part of nodes, whose first node is the root."""
    from pptx.opc.package import Part
    from pptx.opc.packuri import PackURI
    from pptx.oxml import parse_xml

    nodes = "".join(
        f'<dgm:pt modelId="{number}"><dgm:t><a:p><a:r><a:t>{name}</a:t></a:r></a:p></dgm:t></dgm:pt>'
        for number, name in enumerate(names, start=1)
    )
    order = "".join(
        f'<dgm:cxn modelId="c{number}" srcId="0" destId="{number}" srcOrd="{len(names) - number}"/>'
        for number in range(1, len(names) + 1)
    )
    data = (
        f'<dgm:dataModel xmlns:dgm="{DIAGRAM}" xmlns:a="{MAIN}"><dgm:ptLst><dgm:pt modelId="0" type="doc"/>{nodes}'
        f"</dgm:ptLst><dgm:cxnLst>{order}</dgm:cxnLst></dgm:dataModel>"
    )
    kind = "application/vnd.openxmlformats-officedocument.drawingml.diagramData+xml"
    part = Part(PackURI("/ppt/diagrams/data1.xml"), kind, page.part.package, data.encode())
    key = page.part.relate_to(part, f"{OFFICE}/diagramData")
    page.shapes._spTree.append(
        parse_xml(
            f'<p:graphicFrame xmlns:p="{SLIDE}" xmlns:a="{MAIN}" xmlns:dgm="{DIAGRAM}" xmlns:r="{OFFICE}">'
            '<p:nvGraphicFramePr><p:cNvPr id="9" name="Diagram"/><p:cNvGraphicFramePr/><p:nvPr/></p:nvGraphicFramePr>'
            '<p:xfrm><a:off x="914400" y="2743200"/><a:ext cx="5486400" cy="2743200"/></p:xfrm><a:graphic>'
            f'<a:graphicData uri="{DIAGRAM}"><dgm:relIds r:dm="{key}" r:lo="" r:qs="" r:cs=""/></a:graphicData>'
            "</a:graphic></p:graphicFrame>"
        )
    )


def chart(page):
    from pptx.chart.data import CategoryChartData
    from pptx.enum.chart import XL_CHART_TYPE
    from pptx.util import Inches

    data = CategoryChartData()
    data.categories = ["Wav2Vec2", "HuBERT"]
    data.add_series("LibriSpeech", (4.0, 3.0))
    shape = page.shapes.add_chart(XL_CHART_TYPE.BAR_CLUSTERED, Inches(1), Inches(2), Inches(6), Inches(4), data)
    shape.chart.has_title = True
    shape.chart.chart_title.text_frame.text = "WER of Conformer"


def test_the_nodes_of_a_smartart_are_read_in_its_order(read):
    deck = read("a.pptx", pptx(lambda presentation: smartart(titled(presentation))))
    assert lines(deck) == [["Our team", "Qaylen Brestovic", "Kathryn Zorvan"]] and deck.notices == ()


def test_a_charts_title_series_and_categories_are_read(read):
    deck = read("a.pptx", pptx(lambda presentation: chart(titled(presentation, "Results"))))
    assert lines(deck) == [["Results", "WER of Conformer", "LibriSpeech", "Wav2Vec2", "HuBERT"]]


def pictured(presentation, width=6):
    from pptx.util import Inches

    page = titled(presentation)
    page.shapes.add_picture(io.BytesIO(written("Kathryn Zorvan")), Inches(1), Inches(2), Inches(width))


def test_a_picture_beside_a_title_is_read_unless_ocr_is_off(read):
    assert lines(read("a.pptx", pptx(pictured))) == [["Our team", "Kathryn Zorvan"]]
    without = read("a.pptx", pptx(pictured), ocr="never")
    assert lines(without) == [["Our team"]]
    assert without.notices == ("page 1: a picture was not read (--ocr never)",)


def test_a_small_picture_is_read_only_if_ocr_is_forced(read):
    content = pptx(lambda presentation: pictured(presentation, width=0.8))
    assert lines(read("a.pptx", content)) == [["Our team"]]
    assert lines(read("a.pptx", content, ocr="always")) == [["Our team", "Kathryn Zorvan"]]


def test_a_picture_on_many_slides_is_recognised_once(read, monkeypatch):
    from sap2.slides import pictures

    seen = []
    monkeypatch.setattr(pictures, "read_picture", lambda file: seen.append(file) or [f"logo {len(seen)}"])
    deck = read("a.pptx", pptx(lambda presentation: [pictured(presentation) for _ in range(3)]))
    assert len(seen) == 1 and "logo 1" in deck.pages[0].lines


def test_pictures_above_the_limit_get_a_notice_by_slide(read, monkeypatch):
    from sap2.slides import pictures

    monkeypatch.setattr(pictures, "MAX_PICTURES", 0)
    assert read("a.pptx", pptx(pictured)).notices == (
        "page 1: left out a picture, image1.png (more than 0 in the deck; --ocr always reads all)",
    )


def test_a_picture_of_unknown_format_gets_a_notice_by_slide(read):
    def spoil(name, part):
        return b"\x01\0\0\0 EMF" if name.endswith("image1.png") else part

    deck = read("a.pptx", rezipped(pptx(pictured), spoil))
    assert deck.notices == ("page 1: left out a picture, image1.png (its format is not known)",)


def test_notes_are_read_only_on_request(read):
    def fill(presentation):
        page = titled(presentation)
        page.notes_slide.notes_text_frame.text = "Thank Kathryn Zorvan"

    assert lines(read("a.pptx", pptx(fill))) == [["Our team"]]
    assert lines(read("a.pptx", pptx(fill), notes=True)) == [["Our team", "Thank Kathryn Zorvan"]]


def test_the_command_has_options_for_ocr_and_notes(tmp_path):
    from typer.testing import CliRunner

    from sap2.cli import app

    def fill(presentation):
        pictured(presentation)
        presentation.slides[0].notes_slide.notes_text_frame.text = "Thank Qaylen Brestovic"

    (tmp_path / "a.pptx").write_bytes(pptx(fill))
    arguments = ["keywords", str(tmp_path / "a.pptx"), "--ocr", "never"]
    bare, noted = (CliRunner().invoke(app, [*arguments, *more]) for more in ([], ["--notes"]))
    assert "Brestovic" not in bare.stdout and "Zorvan" not in noted.stdout and "Brestovic" in noted.stdout
    assert "page 1: a picture was not read (--ocr never)" in bare.stderr


def test_shapes_in_alternatives_groups_and_formulas_are_read(read):
    from pptx.oxml import parse_xml
    from pptx.util import Inches

    def fill(presentation):
        page = titled(presentation)
        group = page.shapes.add_group_shape()
        group.shapes.add_textbox(Inches(1), Inches(4), Inches(3), Inches(1)).text_frame.text = "in a group"
        box = page.shapes.add_textbox(Inches(1), Inches(5), Inches(3), Inches(1))
        box.text_frame.text = "Zorvan number"
        compatible = "http://schemas.openxmlformats.org/markup-compatibility/2006"
        both = parse_xml(
            f'<mc:AlternateContent xmlns:mc="{compatible}"><mc:Choice Requires="a14"/></mc:AlternateContent>'
        )
        page.shapes._spTree.append(both)
        both[0].append(box._element)

    assert lines(read("a.pptx", pptx(fill))) == [["Our team", "in a group", "Zorvan number"]]


def test_both_dialects_of_office_xml_and_slide_shows_are_read(read):
    def strict(name, part):
        if not name.endswith((".xml", ".rels")):
            return part
        part = part.replace(
            b"http://schemas.openxmlformats.org/officeDocument/2006", b"http://purl.oclc.org/ooxml/officeDocument"
        )
        part = part.replace(
            b"http://schemas.openxmlformats.org/presentationml/2006", b"http://purl.oclc.org/ooxml/presentationml"
        )
        return part.replace(b"presentationml.presentation.main+xml", b"presentationml.slideshow.main+xml")

    content = rezipped(pptx(lambda presentation: chart(titled(presentation, "Results"))), strict)
    assert lines(read("a.ppsx", content)) == [["Results", "WER of Conformer", "LibriSpeech", "Wav2Vec2", "HuBERT"]]


# ---- ODP ---------------------------------------------------------------------------------------------------------


def box(*paragraphs, top=1.0, left="1cm"):
    inner = "".join(f"<text:p>{paragraph}</text:p>" for paragraph in paragraphs)
    return frame(f"<draw:text-box>{inner}</draw:text-box>", top, left)


def test_an_odps_text_tables_and_notes_are_read_in_order(read):
    table = "<table:table><table:table-row>" + "".join(
        f"<table:table-cell><text:p>{name}</text:p></table:table-cell>" for name in ("Kaldi", "ESPnet")
    )
    table += "</table:table-row></table:table>"
    notes = f"<presentation:notes>{box('Thank Zorvan')}</presentation:notes>"
    first = box("right", top=5, left="22cm") + box("Kathryn<text:s/><text:span>Zorvan</text:span>", "two", top=5)
    content = odp(box("Title") + first + frame(table, 9) + notes, box("last<text:line-break/>line"))
    assert lines(read("a.odp", content)) == [
        ["Title", "Kathryn Zorvan", "two", "right", "Kaldi", "ESPnet"], ["last", "line"],
    ]  # fmt: skip
    assert lines(read("a.odp", content, notes=True))[0][-1] == "Thank Zorvan"


def test_an_odps_charts_and_pictures_are_read(read):
    inner = (
        "<chart:chart><chart:title><text:p>WER</text:p></chart:title><table:table><table:table-row>"
        '<table:table-cell office:value-type="string"><text:p>HuBERT</text:p></table:table-cell>'
        '<table:table-cell office:value-type="float"><text:p>3.1</text:p></table:table-cell>'
        "</table:table-row></table:table></chart:chart>"
    )
    with_names = odp("", kind="chart").split(b"<office:document-content ")[1].split(b">")[0].decode()
    chart = f"<office:document-content {with_names}><office:body><office:chart>{inner}</office:chart></office:body>"
    shown = frame('<draw:object xlink:href="./Object 1"/><draw:image xlink:href="./ObjectReplacements/Object 1"/>', 3)
    picture = frame('<draw:image xlink:href="Pictures/a.png"/>', 6, size=(16, 9))
    parts = {"Object 1/content.xml": f"{chart}</office:document-content>".encode()}
    parts["Pictures/a.png"] = written("Kathryn Zorvan")
    deck = read("a.odp", odp(box("Results") + shown + picture, parts=parts))
    assert lines(deck) == [["Results", "WER", "HuBERT", "Kathryn Zorvan"]] and deck.notices == ()


# ---- refused -----------------------------------------------------------------------------------------------------


def archive_of(*names):
    return rezipped(odp(), lambda _name, _part: None, dict.fromkeys(names, b"x"))


ENTITIES = b"""<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "aaaaaaaa"><!ENTITY b "&a;&a;&a;&a;"><!ENTITY f SYSTEM
 "file:///etc/passwd">]><p:sld xmlns:p="x">&b;&f;</p:sld>"""
OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(512)


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.key", archive_of("Index/Document.iwa"), "is a Keynote deck.*File > Export To > PDF"),
        ("renamed.pptx", archive_of("Index/Document.iwa"), "is a Keynote deck.*File > Export To > PDF"),
        (
            "a.ppt",
            OLE + "PowerPoint Document".encode("utf-16-le"),
            r"PowerPoint file from before 2007 \(.ppt\); save it as",
        ),
        ("a.pptx", OLE + "EncryptedPackage".encode("utf-16-le"), "is an encrypted Office file; save it without"),
        ("a.docx", archive_of("word/document.xml"), "is a Word document, expected slides; save it as PDF"),
        ("a.xlsx", archive_of("xl/workbook.xml"), "is an Excel workbook, expected slides"),
        ("a.odt", odp(kind="text"), "is an OpenDocument file without slides"),
        ("a.fodp", b"<?xml version='1.0'?><office:document>", "is a flat OpenDocument file; save it as ODP"),
        (
            "a.odp",
            odp(parts={"META-INF/manifest.xml": b"<m:manifest xmlns:m='m'><m:encryption-data/></m:manifest>"}),
            "is encrypted; save it without a password",
        ),
        ("a.odp", odp(parts={}).replace(b"</office:body>", b"</office:bodY>"), "is not a readable ODP file"),
        ("a.zip", archive_of("readme.txt"), "is not a readable PPTX file"),
    ],
    ids=lambda value: value if isinstance(value, str) and len(value) < 20 else None,
)
def test_other_programs_files_are_errors_with_a_way_out(read, name, content, reason):
    with pytest.raises(InputError, match=reason):
        read(name, content)


def test_a_keynote_folder_is_an_error_with_a_way_out(tmp_path):
    (tmp_path / "a.key").mkdir()
    with pytest.raises(InputError, match="is a Keynote deck"):
        read_deck(tmp_path / "a.key")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_entities_are_never_expanded(read, encoding):
    def spoil(name, part):
        return ENTITIES.decode().encode(encoding) if name == "ppt/slides/slide1.xml" else part

    with pytest.raises(InputError, match="'ppt/slides/slide1.xml' has a document type declaration"):
        read("a.pptx", rezipped(pptx(titled), spoil))
    with pytest.raises(InputError, match="'content.xml' has a document type declaration"):
        read("a.odp", rezipped(odp(box("x")), lambda _name, _part: None, {"mimetype": b"", "content.xml": ENTITIES}))


def test_an_archive_with_too_many_parts_is_rejected(read, monkeypatch):
    from sap2.slides import archive

    monkeypatch.setattr(archive, "MAX_MEMBERS", 5)
    with pytest.raises(InputError, match=r"has \d+ parts, expected at most 5"):
        read("a.pptx", pptx(titled))


@pytest.mark.parametrize("lost", ["diagrams/data1.xml", "charts/chart", "media/image1.png"])
def test_a_missing_part_gets_a_notice_by_slide(read, lost):
    def fill(presentation):
        page = titled(presentation)
        smartart(page)
        chart(page)
        pictured(presentation)

    content = rezipped(pptx(fill), lambda name, part: None if lost in name and not name.endswith(".rels") else part)
    deck = read("a.pptx", content)
    assert [notice for notice in deck.notices if "is missing in the file" in notice]


@pytest.mark.parametrize("seed", range(40))
def test_a_damaged_deck_is_read_or_is_an_error(read, seed):
    """Random changes of numbers, references and elements in the XML never cause a traceback."""
    chance = random.Random(seed)
    junk = [b"", b"-1", b"nan", b"1e999", b"rId1", b"x", b"9" * 400, b"../../a"]

    def spoil(_name, part):
        part = re.sub(
            rb'="[^"]*"', lambda match: b'="%s"' % chance.choice(junk) if chance.random() < 0.02 else match[0], part
        )
        return re.sub(rb"<(p|a|draw|text):\w+/>", lambda match: b"" if chance.random() < 0.05 else match[0], part)

    def fill(presentation):
        page = titled(presentation)
        smartart(page)
        chart(page)
        page.shapes.add_group_shape().shapes.add_textbox(1, 2, 3, 4).text_frame.text = "in a group"

    with contextlib.suppress(InputError):
        read("a.pptx", rezipped(pptx(fill), spoil), ocr="never", notes=True)
    with contextlib.suppress(InputError):
        read("a.odp", rezipped(odp(box("Title"), box("a", "b", top=4)), spoil), ocr="never", notes=True)


# ---- real files --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("decks/docling.odp", "Test Table Slide"),
        ("decks/markitdown.pptx", "A chart to test parsing:"),
        ("decks/eng-spa.pptx", "Testing multiple languages"),
        ("cases/smartart.pptx", "Qaylen Brestovic"),
        ("cases/chart.pptx", "HuBERT"),
        ("cases/picture-with-title.pptx", "Kathryn Zorvan"),
    ],
)
def test_real_decks_are_read(name, text):
    if not (REAL / name).is_file():
        pytest.skip(f"{REAL / name} is not on this machine")
    assert any(
        text in page.lines for page in read_deck(REAL / name, Options("auto" if "cases" in name else "never")).pages
    )


def test_real_decks_never_cause_a_traceback():
    kinds = (".pdf", ".pptx", ".odp", ".md", ".html", ".txt")
    files = [path for folder in ("decks", "cases") for path in (REAL / folder).glob("*") if path.suffix in kinds]
    if not files:
        pytest.skip(f"{REAL} is not on this machine")
    for path in files:
        with contextlib.suppress(InputError):
            read_deck(path, Options("never", notes=True))
