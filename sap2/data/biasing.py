"""Biasing lists as people give them: on the command line, or in a file."""

from pathlib import Path

from sap2.errors import InputError
from sap2.manifest import keyword_fault, unique_keywords

__all__ = ["read_list"]


def read_list(text: str | None = None, file: Path | str | None = None) -> list[str]:
    """Keywords that a person typed or keeps in a file: one a line, or separated by commas; each once, in order.

    >>> read_list("Meyer, deep zorvan,, meyer")
    ['Meyer', 'deep zorvan']

    Raises: InputError: the file is missing or not UTF-8, or a keyword holds a marker; the message says where.
    """
    sources = [("--keywords", 0, text or "")]
    if file is not None:
        try:
            lines = Path(file).read_text(encoding="utf-8-sig").splitlines()
        except (FileNotFoundError, IsADirectoryError) as error:
            raise InputError(f"{file}: no such file, expected keywords, one a line") from error
        except UnicodeDecodeError as error:
            raise InputError(f"{file}: not UTF-8 ({error.reason} at byte {error.start}); save it as UTF-8") from error
        sources += [(str(file), number, line) for number, line in enumerate(lines, start=1)]
    found: list[str] = []
    for where, number, line in sources:
        for keyword in filter(str.strip, line.split(",")):
            if fault := keyword_fault(keyword.strip()):
                raise InputError(f"{where}{f':{number}' if number else ''}: {fault}")
            found.append(keyword)
    return unique_keywords(found)
