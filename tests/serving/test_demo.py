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
def test_it_fits_a_phone_and_can_be_read_in_both_schemes(page, scheme):
    page.look(360, 740, scheme)
    assert page.value("document.documentElement.scrollWidth <= 360")
    ratio = page.value(
        """[...document.querySelectorAll('.keyword')].map(one => {
          const light = (colour) => { const c = colour.match(/[\\d.]+/g).slice(0, 3).map(v => v / 255)
            .map(v => v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4);
            return .2126 * c[0] + .7152 * c[1] + .0722 * c[2]; };
          const style = getComputedStyle(one);
          const [dim, bright] = [light(style.color), light(style.backgroundColor)].sort((a, b) => a - b);
          return (bright + .05) / (dim + .05); })"""
    )
    assert min(ratio) >= 4.5  # WCAG AA
    page.look(1100, 800, "light")


def test_an_edited_list_is_run_again(page):
    page.value("document.getElementById('keywords').value = '1\\tZorvan\\n3\\tQuine\\n'")
    page.value("document.querySelector('#again button').click()")
    page.wait_for("document.getElementById('status').textContent.startsWith('Done')")
    page.wait_for("document.getElementById('segments').innerText.includes('Quine')")
    assert keywords(page) == ["Zorvan, slide 1, play", "Quine, slide 3, play"]
    page.value("document.getElementById('keywords').value = 'x\\tZorvan'")
    page.value("document.querySelector('#again button').click()")
    page.wait_for("document.getElementById('status').className === 'error'")
    assert text(page, "#status") == "keywords:2: page is 'x', expected a number (0: all the time)"


def test_what_cannot_be_read_is_said(page, address, uploads):
    page.open(address)
    page.choose("#file", uploads / "talk.wav")
    page.choose("#slides", uploads / "broken.pdf")
    page.value("document.querySelector('#talk button').click()")
    page.wait_for("document.getElementById('status').className === 'error'")
    assert text(page, "#status").startswith("slides-1.pdf: is no PDF that can be read")


def test_other_sites_are_not_answered(address):
    text, headers = fetched(address)
    assert "default-src 'self'" in headers["content-security-policy"] and "http://" not in text
    assert status(address, headers={"Host": "evil.example"}) == 400
    assert status(address + "talks", headers={"Origin": "http://evil.example"}, data=b"", method="POST") == 403
    assert status(address + "talks/none") == 404 and status(address + "..%2fdemo.py") == 404
