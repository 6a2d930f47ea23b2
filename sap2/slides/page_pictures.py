"""Pictures of decks' pages for display, from PDF files and pictures; other formats cannot be rendered."""

import io
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from sap2.slides.ocr import MAX_PIXELS, PictureError, shrunk_picture
from sap2.slides.reading import IMAGES

__all__ = ["MEDIA_TYPE", "page_pictures"]

MEDIA_TYPE = "image/webp"
LONG_SIDE = 1024  # pixels of a picture
QUALITY = 78  # of WebP: letters of 8 pixels stay clean, and a page of text takes 20 to 50 KB
MAX_PAGES = 300  # maximum number of rendered pages


def page_pictures(sources: Sequence[tuple[Path, int]]) -> tuple[list[bytes | None], list[str]]:
    """Render each page as WebP.

    Args:
        sources: The file of each page, and the page's number in that file: see `sap2.slides.keywords.Listed`.
    Returns: The pictures, None for pages that cannot be rendered, and notices of the latter.
    """
    pictures: list[bytes | None] = []
    missing: dict[tuple[Path, str], int] = {}
    with ExitStack() as opened:
        documents: dict[Path, Any] = {}
        for path, number in sources:
            try:
                if len(pictures) >= MAX_PAGES:
                    raise PictureError(f"beyond the first {MAX_PAGES}")
                pictures.append(_webp(_image(path, number, documents, opened)))
            except PictureError as error:
                pictures.append(None)
                missing[path, str(error)] = missing.get((path, str(error)), 0) + 1
    return pictures, [
        f"{path}: {count} page{'' if count == 1 else 's'} shown as text: {reason}"
        for (path, reason), count in missing.items()
    ]


def _image(path: Path, number: int, documents: dict[Path, Any], opened: ExitStack) -> Any:
    """Render a page as a PIL image. Raises: PictureError: it cannot be rendered."""
    with path.open("rb") as file:
        if not file.read(128).startswith(b"%PDF"):
            if path.suffix.lower() in IMAGES:
                return shrunk_picture(path, LONG_SIDE)
            raise PictureError("only PDF files and pictures can be rendered; export it as PDF to see its slides")
    import pypdfium2

    try:
        if path not in documents:
            documents[path] = opened.enter_context(pypdfium2.PdfDocument(path))
        return _pdf_page(documents[path][number - 1])
    except pypdfium2.PdfiumError as error:
        raise PictureError(f"cannot be rendered ({error})") from error


def _pdf_page(page: Any) -> Any:
    from pypdfium2.raw import FPDF_PAGEOBJ_IMAGE

    try:
        for picture in page.get_objects(filter=[FPDF_PAGEOBJ_IMAGE]):
            width, height = picture.get_px_size()
            if width * height > MAX_PIXELS:
                raise PictureError(f"it holds a picture of more than {MAX_PIXELS:,} pixels")
        bitmap = page.render(scale=LONG_SIDE / max(page.get_size()))
        image = bitmap.to_pil().convert("RGB")  # a copy
        bitmap.close()
        return image
    finally:
        page.close()


def _webp(image: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, "WEBP", quality=QUALITY)
    return out.getvalue()
