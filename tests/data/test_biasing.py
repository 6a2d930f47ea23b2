"""Lists that people type or keep in files are read whole, and refused with the place of the fault."""

import pytest

from sap2.data.biasing import read_list
from sap2.errors import InputError


def test_a_typed_list_and_a_file_are_read_together(tmp_path):
    file = tmp_path / "words.txt"
    file.write_text("\ufeffKathryn\n\ndeep zorvan, Meyer\n", encoding="utf-8")
    assert read_list("meyer, Maier", file) == ["meyer", "Maier", "Kathryn", "deep zorvan"]
    assert read_list() == []


def test_a_list_that_cannot_be_used_says_where(tmp_path):
    file = tmp_path / "words.txt"
    with pytest.raises(InputError, match="words.txt: no such file"):
        read_list(file=file)
    file.write_text("fine\nbad <|endofcontext|>\n")
    with pytest.raises(InputError, match=r"words.txt:2: the marker <\|endofcontext\|>"):
        read_list(file=file)
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="words.txt: not UTF-8"):
        read_list(file=file)
    with pytest.raises(InputError, match="--keywords: the marker <audio>"):
        read_list("<audio>")
