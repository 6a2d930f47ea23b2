"""The page of a talk in a real browser: slides beside the words, words that play, and text that does no harm."""

import pytest
from browser import browser_or_skip
from decks import written

from sap2.data.audio import save_audio
from sap2.transcripts.talk import Talk, TalkSegment
from sap2.transcripts.talk_page import Slide, render_talk, talk_view

PICTURE = "data:image/png;base64,"
HOSTILE = "<img src=x onerror=document.title=1></script><script>document.title=1</script>"


def segment(start, text, pages, **more):
    listed = {"Zorvan": 1, "Kathryn Meyer": 2, "Quine": 3}
    kept = {word: -0.25 for word in listed if word in text}
    return TalkSegment(start, start + 2.0, text, pages, listed, kept, **more)


TALK = Talk(
    [
        segment(0.0, "of Zorvan", (1,), plain="of zorvin"),
        segment(2.0, "by Kathryn Meyer", (2,), plain="by Kathryn Meyer", confidence=0.345, doubtful=True),
        segment(6.0, "and Kathryn Meyer again", (2, 3), plain="and Kathryn Meyer again"),
    ],
    8.0,
    left_out=((4.0, 6.0),),
)


@pytest.fixture(scope="module")
def browser():
    with browser_or_skip(at_hand=True) as browser:
        yield browser


@pytest.fixture(scope="module")
def slides():
    import base64

    picture = PICTURE + base64.b64encode(written("Zorvan's graphs")).decode()
    return [Slide("Zorvan's graphs", picture), Slide("A proof\nby Kathryn Meyer"), Slide("thanks"), Slide("more")]


@pytest.fixture
def page(browser, slides, tmp_path):
    """The page beside its recording."""
    import numpy as np

    save_audio(tmp_path / "a talk.wav", np.zeros(8 * 16_000, np.float32))
    html = render_talk(TALK, "a talk.wav", slides, "./a%20talk.wav", ["deck.pdf: 4 pages"], ["page 2: left out"])
    (tmp_path / "talk.html").write_text(html, encoding="utf-8")
    browser.look(1100, 800, "light")
    browser.open(tmp_path / "talk.html")
    return browser


def texts(page, selector):
    shown = page.value(f"[...document.querySelectorAll({selector!r})].map(one => one.innerText)")
    return [" ".join(one.split()) for one in shown]


def test_each_slide_stands_beside_its_words(page):
    assert texts(page, ".shown > h3") == ["Slide 1 0:00–0:02", "Slide 2 0:02–0:08"]
    assert texts(page, ".shown:nth-child(1) .line") == ["0:00 of Zorvan1"]
    assert page.value("document.querySelector('.shown img').alt") == "Slide 1: Zorvan's graphs"
    page.wait_for("document.querySelector('.shown img').naturalWidth === 800")
    box = "document.querySelector('.shown {}').getBoundingClientRect().{}"
    assert page.value(box.format(".slide", "right")) <= page.value(box.format("ol", "left"))
    assert texts(page, ".as-text") == ["A proof by Kathryn Meyer"], "a slide without a picture is its text"
    assert texts(page, "#unshown summary") == ["1 slide without words"]


def test_doubtful_segments_and_what_was_left_out_are_marked(page):
    assert texts(page, ".shown:nth-child(2) li") == [
        "0:02 by Kathryn Meyer2 doubtful, 35 % sure", "0:04–0:06: no speech, left out",
        "0:06 and Kathryn Meyer2 again slides 2, 3",
    ]  # fmt: skip
    assert texts(page, ".tile") == [
        "keywords written 2 of 3 listed", "segments 3 1 doubtful", "length 0:08 1 segment without speech left out",
        "slides with words 3 of 4",
    ]  # fmt: skip
    assert texts(page, ".chips li") == ["Zorvan slide 1", "Kathryn Meyer slide 2, 2 times"]
    assert texts(page, ".notices li") == [
        "page 2: left out",
        "1 of 4 segments (2.0 s) was left out: it holds no speech",
    ]


def test_a_click_on_a_word_plays_it_from_its_recording(page):
    page.wait_for("document.getElementById('audio').readyState > 0")
    page.click(".line:nth-child(3) .keyword")
    assert 6.1 <= page.value("document.getElementById('audio').currentTime") < 8
    page.wait_for("document.querySelector('[aria-current]')?.innerText.includes('again')")
    page.value("document.getElementById('audio').pause()")
    page.value("document.getElementById('diff').click()")
    assert texts(page, ".line")[0] == "0:00 of zorvin Zorvan1"


def test_nothing_is_asked_of_any_network(page, tmp_path):
    asked = {one.partition(":")[0] for one in page.requests}
    assert asked <= {"file", "data"} and page.errors == []
    assert {one for one in page.requests if one.startswith("file")} == {
        (tmp_path / name).resolve().as_uri() for name in ("talk.html", "a talk.wav")
    }


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_fits_a_phone_and_suits_everybody(page, scheme):
    page.look(390, 844, scheme)
    assert page.value("document.documentElement.scrollWidth <= 390")
    page.value("document.getElementById('unshown').open = true")
    page.value("document.getElementById('diff').click()")
    wrong, unsure = page.accessibility()
    assert wrong == [] and [one for one in unsure if not one.startswith("audio-caption")] == []
    page.look(1100, 800, "light")


def test_without_the_recording_the_page_says_so(page, tmp_path):
    (tmp_path / "a talk.wav").unlink()
    page.open(tmp_path / "talk.html")
    page.wait_for("document.getElementById('audio').hidden")
    assert texts(page, "#keys")[0].startswith("The recording cannot be played here")
    page.value("document.querySelector('.keyword').click()")
    assert [one for one in page.errors if "ERR_FILE_NOT_FOUND" not in one] == []


def test_hostile_text_of_every_kind_is_shown_and_does_nothing(browser, tmp_path):
    listed = {HOSTILE: 1}
    talk = Talk([TalkSegment(0.0, 2.0, f"of {HOSTILE}", (1,), listed, {HOSTILE: 0.0}, plain=HOSTILE)], 2.0)
    quoted = 'x" onerror="document.title=1'
    html = render_talk(talk, HOSTILE, [Slide(HOSTILE), Slide(HOSTILE, quoted)], quoted, [HOSTILE], [HOSTILE])
    (tmp_path / "talk.html").write_text(html, encoding="utf-8")
    browser.look(1100, 800, "light")
    browser.open(tmp_path / "talk.html")
    browser.value("document.getElementById('diff').click()")
    browser.value("document.getElementById('unshown').open = true")
    browser.wait_for("document.querySelectorAll('#unshown .slide').length === 1")
    assert texts(browser, "h1") == [HOSTILE] and HOSTILE in texts(browser, ".as-text")[0]
    assert browser.value("document.querySelectorAll('script').length") == 2
    assert browser.value("document.querySelectorAll('img').length") == 1, "the slide's, and none of the text"
    assert browser.value("document.title") == f"{HOSTILE}: transcript"


def test_without_its_script_the_page_still_holds_the_text(slides):
    html = render_talk(TALK, "a.wav", slides, "a.wav", [], [])
    start = html.index("<noscript>")
    text = html[start : html.index("</noscript>")]
    assert "<p>of Zorvan</p>" in text and "<p>by Kathryn Meyer (doubtful)</p>" in text


def test_half_a_character_does_not_keep_a_page_unwritten():
    talk = Talk([TalkSegment(0.0, 1.0, "a \ud800 b", (), {}, {})], 1.0)
    assert "a ? b" in render_talk(talk, "a.wav", [], "a.wav", [], [])


def test_a_talk_without_slides_has_one_card_of_words():
    talk = Talk([TalkSegment(0.0, 1.0, "a Quine", (), {"Quine": 0, "Zorvan": 0}, {"Quine": 0.0})], 1.0)
    view = talk_view(talk, [])
    assert view["slides"] == [] and view["segments"][0]["pages"] == [] and view["segments"][0]["diff"] is None
    assert (view["written"], view["unwritten"]) == ([["Quine", 0, 1]], [["Zorvan", 0]])
