"""The page of `sap2 demo` in a real browser: upload, see names by slide, compare, edit, run again, download."""

import json
import threading
import time
import urllib.error
import urllib.request
from contextlib import contextmanager

import pytest
import uvicorn
from browser import browser_or_skip
from decks import pdf, slide
from hearing import SPANS, WAVE, Hearing
from videos import video

from sap2.data.audio import save_audio
from sap2.serving.demo import create_demo
from sap2.slides import talk


@contextmanager
def running(recogniser):
    server = uvicorn.Server(uvicorn.Config(create_demo(recogniser), port=0, log_level="error"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.02)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}/"
    server.should_exit = True
    thread.join()


@pytest.fixture(scope="module")
def address():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(talk, "segments", lambda *_: SPANS)
        with running(Hearing()) as address:
            yield address


@pytest.fixture(scope="module")
def browser():
    with browser_or_skip() as browser:
        yield browser


@pytest.fixture(scope="module")
def uploads(tmp_path_factory):
    folder = tmp_path_factory.mktemp("talk")
    save_audio(folder / "talk.wav", WAVE)
    deck = [slide("Zorvan's graphs"), slide("A proof by Kathryn Meyer", "<|im_start|>"), slide("<b>thanks</b>")]
    (folder / "deck.pdf").write_bytes(pdf(deck))
    video(folder / "talk.mp4", WAVE, "alac")
    video(folder / "chapters.mp4", WAVE, "alac", [(0.0, "Slide 3"), (2.0, "Slide 2"), (4.0, "Slide 1")])
    (folder / "times.tsv").write_text("0:00 3\n0:04 1\n")
    (folder / "broken.tsv").write_text("0:00 3\nlater 1\n")
    (folder / "broken.pdf").write_bytes(b"%PDF-1.7 broken")
    return folder


@pytest.fixture(scope="module")
def page(browser, address, uploads):
    """The page after a talk with its deck was sent, by the keyboard alone but for choosing the files."""
    browser.look(1100, 800, "light")
    browser.open(address)
    browser.choose("#file", uploads / "talk.wav")
    browser.choose("#slides", uploads / "deck.pdf")
    browser.value("document.querySelector('#talk button').focus()")
    browser.press("Enter")
    browser.wait_for("!document.getElementById('result').hidden")
    return browser


def send(browser, address, **files):
    browser.open(address)
    for field, path in files.items():
        browser.choose(f"#{field}", path)
    browser.value("document.querySelector('#talk button').click()")


def text(browser, selector):
    return browser.value(f"document.querySelector({json.dumps(selector)}).innerText")


def keywords(browser):
    return browser.value("[...document.querySelectorAll('.keyword')].map(one => one.getAttribute('aria-label'))")


def fetched(address, **headers):
    with urllib.request.urlopen(urllib.request.Request(address, headers=headers), timeout=30) as answer:
        return answer.read().decode(), answer.headers


def status(address, **more):
    try:
        with urllib.request.urlopen(urllib.request.Request(address, **more), timeout=30) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


def test_names_are_right_and_say_their_slide(page):
    assert text(page, "#segments").split() == [
        "0:00", "of", "Zorvan1", "0:02", "by", "Kathryn", "Meyer2", "0:04", "and", "kwine",
    ]  # fmt: skip
    assert keywords(page) == ["Zorvan, slide 1, play", "Kathryn Meyer, slide 2, play"]
    assert "Zorvan's graphs" in page.value("document.querySelector('.keyword').title")
    colours = page.value("[...document.querySelectorAll('.keyword')].map(o => getComputedStyle(o).backgroundColor)")
    assert colours[0] != colours[1]
    assert text(page, "#status") == "Done: 2 keywords written. slides-1.pdf: page 2: 1 marker taken out"


def test_a_word_is_played_where_it_is_said(page):
    page.wait_for("document.getElementById('audio').readyState > 0")
    page.value("document.querySelectorAll('.keyword')[1].click()")
    assert 1.8 <= page.value("document.getElementById('audio').currentTime") < 4


def test_what_the_context_changed_is_shown_as_a_diff(page):
    page.value("document.getElementById('diff').click()")
    assert text(page, "#segments li:nth-child(2)").split(maxsplit=1)[1] == "by catherine maier Kathryn Meyer"
    assert (text(page, "li:nth-child(2) del"), text(page, "li:nth-child(2) ins")) == (
        "catherine maier",
        "Kathryn Meyer",
    )
    page.value("document.getElementById('diff').click()")
    assert page.value("document.querySelectorAll('del').length") == 0


def test_downloads_hold_the_transcript(page, address):
    links = page.value("[...document.querySelectorAll('#downloads a')].map(one => one.href)")
    srt, markdown, whole = (fetched(link)[0] for link in links)
    assert srt.startswith("1\n00:00:00,000 --> 00:00:02,000\nof Zorvan\n")
    assert "by **Kathryn Meyer** (slide 2)" in markdown
    assert json.loads(whole)["written"] == {"Zorvan": 1, "Kathryn Meyer": 2}


def test_everything_has_a_name_and_nothing_was_asked_elsewhere(page, address):
    assert page.names("textbox") == ["Words to expect all the time, a line or comma each",
                                     "Page, tab, keyword; page 0 is listed all the time"]  # fmt: skip
    assert all(page.names("button")) and all(page.names("link")) and all(page.names("checkbox"))
    assert page.value("new Set([...document.querySelectorAll('[id]')].map(o => o.id)).size") == page.value(
        "document.querySelectorAll('[id]').length"
    )
    assert {one.split("/", 3)[2] for one in page.requests if one.startswith("http")} == {address.split("/")[2]}
    assert page.errors == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_a_phone_and_axe_finds_nothing_wrong_in_both_schemes(page, scheme):
    page.look(360, 740, scheme)
    assert page.value("document.documentElement.scrollWidth <= 360")
    for _ in ("the transcript", "the diff"):
        wrong, unsure = page.accessibility()
        # The recording's text stands below it.
        assert wrong == [] and [one for one in unsure if not one.startswith("audio-caption")] == []
        page.value("document.getElementById('diff').click()")
    page.look(1100, 800, "light")


def test_by_keyboard_and_on_a_phone_a_keywords_slide_is_shown_below(page):
    page.value("document.querySelectorAll('.keyword')[1].focus()")
    shown = page.value("getComputedStyle(document.querySelectorAll('.keyword')[1], '::after').content")
    assert "slide 2" in shown and "A proof by Kathryn Meyer" in shown
    assert page.value("getComputedStyle(document.querySelector('.keyword'), '::after').content") == "none"


def test_an_edited_list_is_run_again(page):
    page.value("document.getElementById('keywords').value = '1\\tZorvan\\n3\\tQuine\\n'")
    page.value("document.querySelector('#again button').click()")
    page.wait_for("document.getElementById('status').textContent.startsWith('Done')")
    page.wait_for("document.getElementById('segments').innerText.includes('Quine')")
    assert keywords(page) == ["Zorvan, slide 1, play", "Quine, slide 3, play"]
    page.value("document.getElementById('keywords').value = 'x\\tZorvan'")
    page.value("document.querySelector('#again button').click()")
    page.wait_for("document.getElementById('status').className === 'error'")
    assert text(page, "#status") == "keywords:2: page is 'x', expected a number of up to 5 digits (0: all the time)"


def test_a_video_with_the_times_of_its_slides(page, address, uploads):
    send(page, address, file=uploads / "talk.mp4", slides=uploads / "deck.pdf", times=uploads / "times.tsv")
    page.wait_for("!document.getElementById('result').hidden")
    assert keywords(page) == ["Zorvan, slide 1, play", "Kathryn Meyer, slide 2, play"]
    link = "document.querySelectorAll('#downloads a')[2].href"
    first = page.value(link)
    whole = json.loads(fetched(first)[0])
    assert [one["slides"] for one in whole["segments"]] == [[3], [3], [1]]
    page.value("document.querySelector('#again button').click()")
    page.wait_for(f"{link} !== '{first}'")
    assert json.loads(fetched(page.value(link))[0]) == whole


def test_a_video_with_a_chapter_a_slide(page, address, uploads):
    send(page, address, file=uploads / "chapters.mp4", slides=uploads / "deck.pdf")
    page.wait_for("!document.getElementById('result').hidden")
    assert "recording.mp4: its 3 chapter marks are taken for the times of the slides" in text(page, "#status")
    whole = json.loads(fetched(page.value("document.querySelectorAll('#downloads a')[2].href"))[0])
    assert [one["slides"] for one in whole["segments"]] == [[3], [2], [1]]


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ({"file": "talk.wav", "slides": "broken.pdf"}, "slides-1.pdf: is no PDF that can be read"),
        ({"file": "talk.wav", "slides": "deck.pdf", "times": "broken.tsv"}, "times.tsv:2: 'later 1', expected a time"),
        ({"file": "talk.wav", "times": "times.tsv"}, "there are times of slides without slides, expected both"),
        ({"file": "broken.pdf"}, "recording.pdf: cannot be read as audio"),
    ],
)
def test_what_cannot_be_read_is_said(page, address, uploads, files, reason):
    send(page, address, **{field: uploads / name for field, name in files.items()})
    page.wait_for("document.getElementById('status').className === 'error'")
    assert text(page, "#status").startswith(reason)


def test_other_sites_are_not_answered(address):
    text, headers = fetched(address)
    assert "default-src 'self'" in headers["content-security-policy"] and "http://" not in text
    assert status(address, headers={"Host": "evil.example"}) == 400
    assert status(address + "talks", headers={"Origin": "http://evil.example"}, data=b"", method="POST") == 403
    assert status(address + "talks/none") == 404 and status(address + "..%2fdemo.py") == 404
