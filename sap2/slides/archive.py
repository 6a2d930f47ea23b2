"""Office files: zip archives of XML, opened within bounds. Nothing they refer to outside is opened or fetched."""

import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sap2.errors import InputError

__all__ = ["Archive", "attribute", "opened", "texts"]

MOST_UNPACKED = 1 << 30  # bytes of an archive
MOST_MEMBERS = 20_000
MOST_XML = 16 << 20  # bytes of an XML part: in memory it is five to ten times that
MOST_XML_IN_ALL = 128 << 20
MOST_PICTURE = 64 << 20  # bytes of a picture's file


class Archive:
    """The parts of an Office file, read one at a time and each within a limit."""

    def __init__(self, archive: zipfile.ZipFile, path: Path) -> None:
        self._archive, self.path, self._parsed = archive, path, 0
        self._members = {member.filename: member for member in archive.infolist()}

    @property
    def names(self) -> list[str]:
        return list(self._members)

    def __contains__(self, name: str) -> bool:
        return name in self._members

    def xml(self, name: str) -> Any:
        """A part's root element.

        Raises: InputError: the part is larger than any deck's, or declares entities; KeyError: there is no such part.
        """
        from lxml import etree

        size = self._members[name].file_size
        if size > MOST_XML:
            raise InputError(
                f"{self.path}: {name[:80]!r} has {size >> 20} MB, expected at most {MOST_XML >> 20} of text"
            )
        self._parsed += size
        if self._parsed > MOST_XML_IN_ALL:
            raise InputError(
                f"{self.path}: has {self._parsed >> 20} MB of text, expected at most {MOST_XML_IN_ALL >> 20}"
            )
        content = _as_utf_8(self._archive.read(name))
        if b"<!DOCTYPE" in content:
            raise InputError(f"{self.path}: {name[:80]!r} declares a document type, as no deck does; export it again")
        parser = etree.XMLParser(resolve_entities=False, load_dtd=False, no_network=True, huge_tree=False)
        return etree.fromstring(content, parser)

    def picture(self, name: str) -> bytes:
        """Raises: KeyError: there is no such part; ValueError: it is too large."""
        if (size := self._members[name].file_size) > MOST_PICTURE:
            raise ValueError(f"{size >> 20} MB, expected at most {MOST_PICTURE >> 20}")
        return self._archive.read(name)


def _as_utf_8(content: bytes) -> bytes:
    """XML in UTF-8, whose declaration says no other encoding.

    Raises: ValueError: it is in an encoding that Office files do not have.
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
    """An Office file's archive.

    Args:
        kind, way_out: Of error messages: what the file should be, and what to do where it is not.
    Raises: InputError: the archive or one of its parts is damaged, encrypted, or larger than what is read.
    """
    from lxml.etree import LxmlError

    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            if (unpacked := sum(member.file_size for member in members)) > MOST_UNPACKED:
                raise InputError(f"{path}: unpacks to {unpacked >> 20} MB, expected at most {MOST_UNPACKED >> 20}")
            if len(members) > MOST_MEMBERS:
                raise InputError(f"{path}: has {len(members):,} parts, expected at most {MOST_MEMBERS:,}")
            yield Archive(archive, path)
    except (zipfile.BadZipFile, zlib.error, LxmlError, RuntimeError, EOFError, KeyError, ValueError, OSError) as error:
        raise InputError(f"{path}: is not {kind} that can be read ({error}); {way_out}") from error


def attribute(element: Any, name: str, default: str = "") -> str:
    """An attribute by its name, in any namespace or none."""
    if name in element.attrib:
        return element.attrib[name]
    return next((value for key, value in element.attrib.items() if key.endswith("}" + name)), default)


def texts(element: Any, path: str) -> list[str]:
    """The text of all elements at a path, without those that have none."""
    return [text for one in element.iterfind(path) if (text := "".join(one.itertext()).strip())]
