"""Office files: zip archives of XML, read within size limits. External references are never opened or fetched."""

import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sap2.errors import InputError

__all__ = ["Archive", "attribute", "opened", "texts"]

MAX_UNPACKED = 1 << 30  # bytes of an archive's parts, uncompressed
MAX_MEMBERS = 20_000
MAX_XML = 16 << 20  # bytes of an XML part, which takes five to ten times that in memory
MAX_TOTAL_XML = 128 << 20
MAX_PICTURE = 64 << 20  # bytes of a picture's file


class Archive:
    """The parts of an Office file, each read on demand and within a size limit."""

    def __init__(self, archive: zipfile.ZipFile, path: Path) -> None:
        self._archive, self.path, self._parsed = archive, path, 0
        self._members = {member.filename: member for member in archive.infolist()}

    @property
    def names(self) -> list[str]:
        return list(self._members)

    def __contains__(self, name: str) -> bool:
        return name in self._members

    def xml(self, name: str) -> Any:
        """Parse a part and return its root element.

        Raises: InputError: the part exceeds the size limit, or has a document type; KeyError: there is no such part.
        """
        from lxml import etree

        size = self._members[name].file_size
        if size > MAX_XML:
            raise InputError(
                f"{self.path}: {name[:80]!r} has {size >> 20} MB, expected at most {MAX_XML >> 20} of text"
            )
        self._parsed += size
        if self._parsed > MAX_TOTAL_XML:
            raise InputError(
                f"{self.path}: has {self._parsed >> 20} MB of text, expected at most {MAX_TOTAL_XML >> 20}"
            )
        content = _as_utf_8(self._archive.read(name))
        if b"<!DOCTYPE" in content:
            raise InputError(
                f"{self.path}: {name[:80]!r} has a document type declaration, which decks never have; export it again"
            )
        parser = etree.XMLParser(resolve_entities=False, load_dtd=False, no_network=True, huge_tree=False)
        return etree.fromstring(content, parser)

    def picture(self, name: str) -> bytes:
        """Return the bytes of a picture. Raises: KeyError: there is no such part; ValueError: it is too large."""
        if (size := self._members[name].file_size) > MAX_PICTURE:
            raise ValueError(f"{size >> 20} MB, expected at most {MAX_PICTURE >> 20}")
        return self._archive.read(name)


def _as_utf_8(content: bytes) -> bytes:
    """Convert XML to UTF-8 and drop its declaration, which could name another encoding.

    Raises: ValueError: it is in an encoding that Office files never use.
    """
    if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
        content = content.decode("utf-16").encode()
    content = content.removeprefix(b"\xef\xbb\xbf").lstrip()
    if content.startswith(b"<?xml"):
        _, _, content = content.partition(b"?>")
    content.decode()
    return content


@contextmanager
def opened(path: Path, kind: str, way_out: str) -> Iterator[Archive]:
    """Open an Office file's archive.

    Args:
        kind, way_out: For error messages: the expected kind of file, and what to do if the file is something else.
    Raises: InputError: the archive or a part of it is damaged, encrypted, or exceeds a size limit.
    """
    from lxml.etree import LxmlError

    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            if (unpacked := sum(member.file_size for member in members)) > MAX_UNPACKED:
                raise InputError(f"{path}: unpacks to {unpacked >> 20} MB, expected at most {MAX_UNPACKED >> 20}")
            if len(members) > MAX_MEMBERS:
                raise InputError(f"{path}: has {len(members):,} parts, expected at most {MAX_MEMBERS:,}")
            yield Archive(archive, path)
    except (zipfile.BadZipFile, zlib.error, LxmlError, RuntimeError, EOFError, KeyError, ValueError, OSError) as error:
        raise InputError(f"{path}: is not a readable {kind} ({error}); {way_out}") from error


def attribute(element: Any, name: str, default: str = "") -> str:
    """Return an attribute by its local name, in any namespace or none."""
    if name in element.attrib:
        return element.attrib[name]
    return next((value for key, value in element.attrib.items() if key.endswith("}" + name)), default)


def texts(element: Any, path: str) -> list[str]:
    """Return the text of all elements at a path, skipping empty ones."""
    return [text for match in element.iterfind(path) if (text := "".join(match.itertext()).strip())]
