"""Decks made on the spot: PDFs written by hand, so that each holds exactly what its test is about."""

from collections.abc import Sequence

Placed = tuple[float, float, str]  # left and baseline in points from the lower left corner of 720 × 540, text


def pdf(pages: Sequence[Sequence[Placed]], objects: Sequence[bytes] = (), trailer: bytes = b"") -> bytes:
    """A PDF of pages of text in Helvetica; `objects` are numbered on from 4 + 2 × pages, the first is /X's picture."""
    first_extra = 4 + 2 * len(pages)
    resources = b"/Font << /F 3 0 R >>" + (b" /XObject << /X %d 0 R >>" % first_extra if objects else b"")
    kids = b" ".join(b"%d 0 R" % (4 + 2 * number) for number in range(len(pages)))
    bodies = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [%s] /Count %d >>" % (kids, len(pages)),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>",
    ]
    for number, page in enumerate(pages):
        content = b"" if page or not objects else b"q 720 0 0 540 0 0 cm /X Do Q"
        for left, base, text in page:
            shown = text.encode("cp1252").replace(b"\\", rb"\\").replace(b"(", rb"\(").replace(b")", rb"\)")
            content += b"BT /F 18 Tf %g %g Td (%s) Tj ET\n" % (left, base, shown)
        bodies.append(
            b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 720 540] /Resources << %s >> /Contents %d 0 R >>"
            % (resources, 5 + 2 * number)
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
