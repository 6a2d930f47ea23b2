"""Decks made on the spot: PDFs written by hand, so that each holds exactly what its test is about."""

import io
import zipfile
from collections.abc import Callable, Sequence
from typing import Any

Placed = tuple[float, float, str]  # left and baseline in points from the lower left corner of 720 × 540, text


def pdf(pages: Sequence[Sequence[Placed] | bytes], objects: Sequence[bytes] = (), trailer: bytes = b"") -> bytes:
    """A PDF of pages of text in Helvetica, or of content streams (fonts /F, and /T of Times).

    `objects` are numbered on from 5 + 2 × pages, the first is /X's picture, the second, if any, a font /G.
    """
    first_extra = 5 + 2 * len(pages)
    garbled = b" /G %d 0 R" % (first_extra + 1) if len(objects) > 1 else b""
    resources = b"/Font << /F 3 0 R /T 4 0 R%s >>" % garbled + (
        b" /XObject << /X %d 0 R >>" % first_extra if objects else b""
    )
    kids = b" ".join(b"%d 0 R" % (5 + 2 * number) for number in range(len(pages)))
    bodies = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [%s] /Count %d >>" % (kids, len(pages)),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>",
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Times-Roman /Encoding /WinAnsiEncoding >>",
    ]
    for number, page in enumerate(pages):
        content = b"" if page or not objects else b"q 720 0 0 540 0 0 cm /X Do Q"
        if isinstance(page, bytes):
            content, page = page, []
        for left, base, text in page:
            shown = text.encode("cp1252").replace(b"\\", rb"\\").replace(b"(", rb"\(").replace(b")", rb"\)")
            content += b"BT /F 18 Tf %g %g Td (%s) Tj ET\n" % (left, base, shown)
        bodies.append(
            b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 720 540] /Resources << %s >> /Contents %d 0 R >>"
            % (resources, 6 + 2 * number)
        )
        bodies.append(b"<< /Length %d >>\nstream\n%s\nendstream" % (len(content), content))
    out, places = b"%PDF-1.7\n", []
    for number, body in enumerate([*bodies, *objects], start=1):
        places.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    size = len(places) + 1
    head = b"xref\n0 %d\n0000000000 65535 f \n%s" % (size, table)
    return out + head + b"trailer << /Size %d /Root 1 0 R %s >>\nstartxref\n%d\n%%%%EOF\n" % (size, trailer, len(out))


def slide(*lines: str) -> list[Placed]:
    """A page of lines from the top."""
    return [(60.0, 480.0 - 26 * row, line) for row, line in enumerate(lines)]


def written(text: str, size: int = 80) -> bytes:
    """A PNG of 800 × 600 with a line of text."""
    from PIL import Image, ImageDraw, ImageFont

    image = Image.new("RGB", (800, 600), "white")
    ImageDraw.Draw(image).text((40, 100), text, fill="black", font=ImageFont.load_default(size))
    image.save(out := io.BytesIO(), "PNG")
    return out.getvalue()


def pptx(fill: Callable[[Any], Any]) -> bytes:
    """A PPTX as python-pptx writes it, with what `fill` does to the presentation."""
    from pptx import Presentation

    presentation = Presentation()
    fill(presentation)
    presentation.save(out := io.BytesIO())
    return out.getvalue()


def rezipped(
    content: bytes, change: Callable[[str, bytes], bytes | None], more: dict[str, bytes] | None = None
) -> bytes:
    """An archive whose parts `change` has seen (None = left out), and more parts."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as archive, zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as new:
        for name in archive.namelist():
            if (changed := change(name, archive.read(name))) is not None:
                new.writestr(name, changed)
        for name, part in (more or {}).items():
            new.writestr(name, part)
    return out.getvalue()


OFFICE = "urn:oasis:names:tc:opendocument:xmlns:"
NAMESPACES = " ".join(
    f'xmlns:{name}="{OFFICE}{name}:1.0"' for name in ("office", "draw", "text", "table", "presentation", "chart")
)
NAMESPACES += (
    f' xmlns:svg="{OFFICE}svg-compatible:1.0" xmlns:xlink="http://www.w3.org/1999/xlink"'
    f' xmlns:manifest="{OFFICE}manifest:1.0"'
)


def odp(*slides: str, parts: dict[str, bytes] | None = None, kind: str = "presentation") -> bytes:
    """An ODP of slides in ODF's own XML."""
    pages = "".join(f"<draw:page>{slide}</draw:page>" for slide in slides)
    content = (
        f"<office:document-content {NAMESPACES}><office:body><office:{kind}>{pages}</office:{kind}></office:body>"
        "</office:document-content>"
    )
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("mimetype", f"application/vnd.oasis.opendocument.{kind}")
        archive.writestr("content.xml", content)
        for name, part in (parts or {}).items():
            archive.writestr(name, part)
    return out.getvalue()


def frame(content: str, top: float = 1.0, left: str = "1cm", size: tuple[int, int] = (20, 2)) -> str:
    """A frame of an ODP's slide, `top` in cm."""
    return (
        f'<draw:frame svg:x="{left}" svg:y="{top}cm" svg:width="{size[0]}cm" svg:height="{size[1]}cm">'
        f"{content}</draw:frame>"
    )
