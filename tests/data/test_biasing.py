"""Lists typed or in files are read completely, or refused with the location of the fault."""

import pytest

from sap2.data.biasing import read_list
from sap2.errors import InputError


def test_a_typed_list_and_a_file_are_read_together(tmp_path):
    file = tmp_path / "words.txt"
    file.write_text("\ufeffKathryn\n\ndeep zorvan, Meyer\n", encoding="utf-8")
    assert read_list("meyer, Maier", file) == ["meyer", "Maier", "Kathryn", "deep zorvan"]
    assert read_list() == []


def test_comments_are_no_keywords_and_quotes_no_spelling(tmp_path):
    file = tmp_path / "words.txt"
    file.write_text('# names of today\npymtrus\ngotram # speaker\n#conrad\nC#, Track #1\n"Meyer", "Dr. ""X"" Ho" #\n')
    assert read_list('"Zorvan", Maier # host', file) == [
        "Zorvan", "Maier", "pymtrus", "gotram", "C#", "Track #1", "Meyer", 'Dr. "X" Ho',
    ]  # fmt: skip
    file.write_text('fine\n"smith, john", x\n')
    with pytest.raises(InputError, match=r"words.txt:2: a comma inside the keyword 'smith, john'"):
        read_list(file=file)


def test_decomposed_accents_are_composed_once():
    assert read_list("Mu\u0308ller, müller, Zoe\u0308") == ["Müller", "Zoë"]


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
