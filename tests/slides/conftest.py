"""A deck written and read."""

import pytest

from sap2.slides import Options, read_deck


@pytest.fixture
def read(tmp_path):
    """Write a file of a name with a content, text or bytes, and read it as a deck."""

    def read(name: str, content: bytes | str, **options):
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return read_deck(path, Options(**options))

    return read
