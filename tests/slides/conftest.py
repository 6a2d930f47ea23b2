"""A fixture that writes a deck and reads it."""

import pytest

from sap2.slides import Options, read_deck


@pytest.fixture
def read(tmp_path):
    """Write a file with the given name and content, text or bytes, and read it as a deck."""

    def read(name: str, content: bytes | str, **options):
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return read_deck(path, Options(**options))

    return read
