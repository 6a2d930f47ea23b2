"""End to end without fakes: a spoken lecture and its PDF in `sap2 demo`, with correct names in a browser."""

import json
import urllib.request

import lecture
import pytest
from browser import browser_or_skip

from sap2.transcripts.transcript import keywords_in

pytestmark = pytest.mark.slow
WORDS = "[...document.querySelectorAll('{}')].map(word => word.firstChild.textContent.trim())"


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """The page after the lecture was recognised."""
    folder = tmp_path_factory.mktemp("lecture")
    with browser_or_skip(at_hand=True) as browser:
        lecture.speak(folder)
        lecture.write_models(folder / "models")
        with lecture.demo(folder, folder / "models") as address:
            browser.open(address)
            browser.choose("#file", folder / "talk.wav")
            browser.choose("#slides", folder / "deck.pdf")
            browser.value("document.querySelector('#talk button').click()")
            browser.wait_for("!document.getElementById('result').hidden", seconds=120)
            yield browser


def test_the_transcript_spells_names_as_the_deck_does(page):
    transcript = " ".join(page.value(WORDS.format(".said, #segments .keyword")))
    assert " ".join(transcript.split()) == " ".join(lecture.TEXT)
    assert keywords_in(transcript, lecture.UNSAID) == []


def test_each_name_has_the_colour_of_its_slide(page):
    marks = page.value(
        "[...document.querySelectorAll('.keyword')].map(word => [word.firstChild.textContent,"
        " word.getAttribute('aria-label'), getComputedStyle(word).backgroundColor])"
    )
    assert [(word, label) for word, label, _ in marks] == [
        (name, f"{name}, slide {lecture.NAMES[name]}, play") for _, _, name in lecture.SAID
    ]
    colours = {(lecture.NAMES[word], colour) for word, _, colour in marks}
    assert len(colours) == len(set(lecture.NAMES.values())) == len({colour for _, colour in colours})


def test_without_the_deck_names_are_misspelled_as_the_diff_shows(page):
    page.value("document.getElementById('diff').click()")
    assert page.value(WORDS.format("#segments ins .keyword")) == [name for _, _, name in lecture.SAID]
    misspelt = page.value(WORDS.format("#segments del"))
    assert len(misspelt) == len(lecture.SAID) and not set(misspelt) & set(lecture.NAMES)
    page.value("document.getElementById('diff').click()")


def test_the_download_lists_the_selected_keywords(page):
    link = page.value("document.querySelectorAll('#downloads a')[2].href")
    with urllib.request.urlopen(link, timeout=30) as answer:
        output = json.load(answer)
    assert output["written"] == lecture.NAMES
    for row in output["segments"]:
        assert set(row["written"]) <= set(row["kept"]) < {word["keyword"] for word in row["listed"]}
    assert page.errors == []
