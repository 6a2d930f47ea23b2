"""Keywords that a transcript contains."""

import pytest

from sap2.transcripts.transcript import keywords_in


@pytest.mark.parametrize(
    ("text", "keywords", "found"),
    [
        ("ask Jon, then NEW YORK", ["John", "jon", "New  York", "York"], ["jon", "New  York", "York"]),
        ("Meyer's talk on meyers", ["Meyer", "Meyers", "Mey"], ["Meyer", "Meyers"]),
        ("jon-boy and o'jon", ["jon"], []),
        ("by Dr. Meyer", ["Meyer", "Dr. Meyer", "Prof. Meyer"], ["Meyer", "Dr. Meyer", "Prof. Meyer"]),
        ("in C++, not in C#", ["C", "C++", "C#"], ["C++", "C#"]),
        ("Mu\u0308ller met müller", ["Müller"], ["Müller"]),
        ("gpt four", ["GPT-4", "GPT 4", "GPT"], ["GPT-4", "GPT 4", "GPT"]),
        ("a — b", ["", " "], []),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_keywords_stand_as_whole_words_in_any_spelling(text, keywords, found):
    assert keywords_in(text, keywords) == found
