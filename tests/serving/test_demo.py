"""The page of `sap2 demo` in a real browser: upload, see names by slide, compare, edit, run again, download."""

import asyncio
import http.client
import json
import threading
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from types import SimpleNamespace

import pytest
import uvicorn
from browser import browser_or_skip
from decks import pdf, pptx, slide
from hearing import SPANS, WAVE, Hearing
from transcription_server import multipart
from videos import video

from sap2.data.audio import save_audio
from sap2.inference import AudioCut
from sap2.inference.index import KeywordIndex, Vocabulary
from sap2.serving.demo import create_demo
from sap2.serving.upload import RequestError, read_body
from sap2.slides import talk
from sap2.slides.keywords import languages
from sap2.transcripts.transcript import Segment


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
    with running(Hearing()) as address:
        yield address


@pytest.fixture(scope="module")
def browser():
    with browser_or_skip(at_hand=True) as browser:
        yield browser


@pytest.fixture(scope="module")
def uploads(tmp_path_factory):
    folder = tmp_path_factory.mktemp("talk")
    save_audio(folder / "talk.wav", WAVE)
    deck = [slide("Zorvan's graphs"), slide("A proof by Kathryn Meyer", "<|im_start|>"), slide("<b>thanks</b>")]
    (folder / "deck.pdf").write_bytes(pdf(deck))
    video(folder / "talk.mp4", WAVE, "alac")
    video(folder / "chapters.mp4", WAVE, "alac", [(0.0, "Slide 3"), (2.0, "Slide 2"), (4.0, "Slide 1")])
    (folder / "german.pdf").write_bytes(pdf([slide("die eigenschaften von zorvan")]))
    (folder / "times.tsv").write_text("0:00 3\n0:04 1\n")
    (folder / "broken.tsv").write_text("0:00 3\nlater 1\n")
    (folder / "broken.pdf").write_bytes(b"%PDF-1.7 broken")
    return folder


@pytest.fixture(scope="module")
def page(browser, address, uploads):
    """The page after a talk with its deck was submitted by keyboard."""
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


def lines(browser):
    """Return each line of the transcript."""
    shown = browser.value("[...document.querySelectorAll('.line')].map(element => element.innerText)")
    return [" ".join(line.split()) for line in shown]


def keywords(browser):
    return browser.value("[...document.querySelectorAll('.keyword')].map(word => word.getAttribute('aria-label'))")


def fetched(address, **headers):
    with urllib.request.urlopen(urllib.request.Request(address, headers=headers), timeout=30) as answer:
        return answer.read().decode(), answer.headers


def posted(address, path, body, headers=()):
    """Return status and message of a response; a chunked body is sent without its length."""
    connection = http.client.HTTPConnection(address.split("/")[2], timeout=60)
    connection.request("POST", f"/{path}", body, dict(headers))
    with connection.getresponse() as answer:
        return answer.status, json.load(answer)["error"]["message"]


def status(address, **more):
    try:
        with urllib.request.urlopen(urllib.request.Request(address, **more), timeout=30) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


def test_names_are_correct_and_show_their_slide(page):
    assert lines(page) == ["0:00 of Zorvan1", "0:02 by Kathryn Meyer2", "0:04 and kwine"]
    assert keywords(page) == ["Zorvan, slide 1, play", "Kathryn Meyer, slide 2, play"]
    assert "Zorvan's graphs" in page.value("document.querySelector('.keyword').title")
    colours = page.value("[...document.querySelectorAll('.keyword')].map(o => getComputedStyle(o).backgroundColor)")
    assert colours[0] != colours[1]
    assert text(page, "#status") == "Done: 2 keywords written."
    assert "deck.pdf: page 2: 1 marker removed" in text(page, "#notices").splitlines()


def test_slides_are_shown_with_the_origin_of_their_times(page):
    cards = page.value("[...document.querySelectorAll('.shown')].map(element => element.querySelector('img').alt)")
    assert cards == ["Slide 1: Zorvan's graphs", "Slide 2: A proof by Kathryn Meyer"]
    page.wait_for("[...document.querySelectorAll('.shown img')].every(element => element.naturalWidth === 1024)")
    used, timed = text(page, "#about").splitlines()
    assert used.startswith("deck.pdf: 3 pages, ") and timed == "slides: estimated from the speech"
    assert text(page, "#unshown summary") == "1 slide without words"


def test_a_click_plays_a_word_at_its_time(page):
    page.wait_for("document.getElementById('audio').readyState > 0")
    page.value("document.querySelectorAll('.keyword')[1].click()")
    assert 1.8 <= page.value("document.getElementById('audio').currentTime") < 4


def test_every_word_can_be_played_by_keyboard(page):
    here = "document.activeElement.firstChild.textContent"
    page.value("document.getElementById('audio').focus()")
    for _ in range(12):  # the player has stops of its own
        page.press("Tab")
        if page.value("document.activeElement.closest('#segments') !== null"):
            break
    page.press("Home")
    assert page.value(here) == "0:02", "the position of the word that was clicked last"
    seen = []
    page.press("ArrowUp")
    for key in ["ArrowRight"] * 4 + ["ArrowDown", "End", "ArrowLeft", "ArrowUp", "ArrowUp", "ArrowLeft"]:
        page.press(key)
        seen.append(page.value(here).strip())
    assert seen == ["of", "Zorvan", "0:02", "by", "0:04", "kwine", "and", "0:02", "0:00", "0:00"]
    for key in ("ArrowDown", "ArrowDown", "ArrowRight"):
        page.press(key)
    page.value("document.getElementById('audio').currentTime = 0")
    page.press("Enter")
    assert 3.7 <= page.value("document.getElementById('audio').currentTime") < 6
    assert page.value("document.querySelectorAll('#segments [tabindex=\"0\"]').length") == 1
    page.press("Tab")
    assert not page.value("document.activeElement.closest('#segments')"), "the transcript is a single tab stop"


def test_with_a_mouse_the_slides_text_is_a_title_only(page):
    page.click(".keyword")
    assert page.value("document.activeElement === document.querySelector('.keyword')")
    assert page.value("getComputedStyle(document.activeElement, '::after').content") == "none"


def test_changes_by_the_context_are_shown_as_a_diff(page):
    page.value("document.getElementById('diff').click()")
    assert lines(page)[1] == "0:02 by catherine maier Kathryn Meyer2"
    assert page.value("document.querySelectorAll('.line')[1].querySelector('del').innerText") == "catherine maier"
    # Text with the context is coloured, shows its slide and plays as in the transcript.
    assert keywords(page) == ["Zorvan, slide 1, play", "Kathryn Meyer, slide 2, play"]
    assert page.value("document.querySelectorAll('ins .keyword').length") == 2
    page.value("document.querySelectorAll('.line')[2].querySelector('.said').click()")
    assert 3.5 <= page.value("document.getElementById('audio').currentTime") < 6
    page.value("document.getElementById('diff').click()")
    assert page.value("document.querySelectorAll('del').length") == 0


def test_downloads_hold_the_transcript(page, address):
    links = page.value("[...document.querySelectorAll('#downloads a')].map(element => element.href)")
    srt, markdown, transcript, html = (fetched(link)[0] for link in links)
    assert srt.startswith("1\n00:00:00,000 --> 00:00:02,000\nof Zorvan\n")
    assert "by **Kathryn Meyer** (slide 2)" in markdown
    assert json.loads(transcript)["written"] == {"Zorvan": 1, "Kathryn Meyer": 2}
    assert "<h1>talk.wav</h1>" in html and 'src="./talk.wav"' in html and html.count("data:image/webp") == 3


def test_all_controls_have_names_and_no_other_site_is_contacted(page, address):
    assert page.names("textbox") == ["Keywords for the entire talk, separated by lines or commas",
                                     "Page, tab, keyword; page 0 applies to the entire talk"]  # fmt: skip
    assert all(page.names("button")) and all(page.names("link")) and all(page.names("checkbox"))
    assert page.value("new Set([...document.querySelectorAll('[id]')].map(o => o.id)).size") == page.value(
        "document.querySelectorAll('[id]').length"
    )
    assert {url.split("/", 3)[2] for url in page.requests if url.startswith("http")} == {address.split("/")[2]}
    assert page.errors == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_fits_a_phone_and_is_accessible_in_both_schemes(page, scheme):
    page.look(360, 740, scheme)
    assert page.value("document.documentElement.scrollWidth <= 360")
    page.value("scrollTo(0, 0)")  # further down, the player covers text
    for _ in ("the transcript", "the diff"):
        wrong, unsure = page.accessibility()
        # The recording's text is below it.
        assert wrong == [] and [rule for rule in unsure if not rule.startswith("audio-caption")] == []
        page.value("document.getElementById('diff').click()")
    page.look(1100, 800, "light")


def test_by_keyboard_and_by_touch_a_keywords_slide_is_shown(page):
    page.value("document.querySelectorAll('.keyword')[1].focus()")
    shown = page.value("getComputedStyle(document.querySelectorAll('.keyword')[1], '::after').content")
    assert "slide 2" in shown and "A proof by Kathryn Meyer" in shown
    other = "getComputedStyle(document.querySelector('.keyword'), '::after').content"
    assert page.value(other) == "none"
    page.press("Escape")
    assert page.value("document.querySelector('#segments :focus')") is None
    page.look(360, 740)
    page.click(".keyword")
    assert "slide 1" in page.value(other), "a touch screen has no hover"
    page.look(1100, 800)


def test_an_edited_list_can_be_run_again(page):
    page.value("document.getElementById('keywords').value = '1\\tZorvan\\n3\\tQuine\\n'")
    page.value("document.querySelector('#again button').click()")
    page.wait_for("document.getElementById('status').textContent.startsWith('Done')")
    page.wait_for("document.getElementById('segments').innerText.includes('Quine')")
    assert keywords(page) == ["Zorvan, slide 1, play", "Quine, slide 3, play"]
    page.value("document.getElementById('keywords').value = 'x\\tZorvan'")
    page.value("document.querySelector('#again button').click()")
    page.wait_for("document.getElementById('status').className === 'error'")
    assert text(page, "#status") == "keywords:1: page is 'x', expected a number of up to 5 digits (0: all the time)"


def test_a_video_with_the_times_of_its_slides(page, address, uploads):
    send(page, address, file=uploads / "talk.mp4", slides=uploads / "deck.pdf", times=uploads / "times.tsv")
    page.wait_for("!document.getElementById('result').hidden")
    assert keywords(page) == ["Zorvan, slide 1, play", "Kathryn Meyer, slide 2, play"]
    link = "document.querySelectorAll('#downloads a')[2].href"
    first = page.value(link)
    transcript = json.loads(fetched(first)[0])
    assert [segment["slides"] for segment in transcript["segments"]] == [[3], [3], [1]]
    page.value("document.querySelector('#again button').click()")
    page.wait_for(f"{link} !== '{first}'")
    assert json.loads(fetched(page.value(link))[0]) == transcript


def test_a_video_with_a_chapter_per_slide(page, address, uploads):
    send(page, address, file=uploads / "chapters.mp4", slides=uploads / "deck.pdf")
    page.wait_for("!document.getElementById('result').hidden")
    assert "chapters.mp4: its 3 chapter marks serve as the times of the slides" in text(page, "#notices")
    transcript = json.loads(fetched(page.value("document.querySelectorAll('#downloads a')[2].href"))[0])
    assert [segment["slides"] for segment in transcript["segments"]] == [[3], [2], [1]]


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ({"file": "talk.wav", "slides": "broken.pdf"}, "broken.pdf: is not a readable PDF"),
        ({"file": "talk.wav", "slides": "deck.pdf", "times": "broken.tsv"}, "broken.tsv:2: 'later 1', expected a time"),
        ({"file": "talk.wav", "times": "times.tsv"}, "times of slides need slides, expected both"),
        ({"file": "broken.pdf"}, "broken.pdf: cannot be read as audio"),
    ],
)
def test_an_unreadable_file_is_reported(page, address, uploads, files, reason):
    send(page, address, **{field: uploads / name for field, name in files.items()})
    page.wait_for("document.getElementById('status').className === 'error'")
    assert text(page, "#status").startswith(reason)


def test_a_list_alone_is_enough(page, address, uploads):
    page.open(address)
    page.choose("#file", uploads / "talk.wav")
    page.value("document.getElementById('words').focus()")
    page.write("Quine\nZorvan, Hilbert")
    page.value("document.querySelector('#talk button').click()")
    page.wait_for("!document.getElementById('result').hidden")
    assert keywords(page) == ["Zorvan, list, play", "Quine, list, play"]
    assert (
        page.value("document.getElementById('keywords').value")
        == "0\tQuine\tgiven\n0\tZorvan\tgiven\n0\tHilbert\tgiven"
    )


def test_files_may_be_dropped_on_a_field_or_anywhere(page, address, uploads):
    chosen = "[...document.getElementById('{}').files].map(element => element.name).join()"
    page.open(address)
    assert "drop it" in text(page, "label[for=file]") and "drop them" in text(page, "label[for=slides]")
    page.drop("#slides", uploads / "deck.pdf")
    page.wait_for(f"{chosen.format('slides')} === 'deck.pdf'")
    page.drop("h1", uploads / "talk.wav", uploads / "broken.tsv", uploads / "deck.pdf")
    page.wait_for(f"{chosen.format('file')} === 'talk.wav'")
    assert page.value(chosen.format("slides")) == "broken.tsv,deck.pdf"
    assert page.value("location.href") == address, "the browser must not open the file instead of the page"


def test_the_language_of_the_slides_determines_rare_words(page, address, uploads):
    offered = page.value("[...document.querySelectorAll('#language option')].map(element => element.value)")
    assert offered[0] == "" == page.value("document.getElementById('language').value"), "it is guessed"
    assert sorted(offered[1:]) == languages()
    listed = {}
    for language in ("en", "de"):
        page.open(address)
        page.choose("#file", uploads / "talk.wav")
        page.choose("#slides", uploads / "german.pdf")
        page.value(f"document.getElementById('language').value = '{language}'")
        page.value("document.querySelector('#talk button').click()")
        page.wait_for("!document.getElementById('result').hidden")
        rows = page.value("document.getElementById('keywords').value").splitlines()
        listed[language] = {row.split("\t")[1] for row in rows}
    assert listed == {"en": {"eigenschaften", "zorvan"}, "de": {"zorvan"}}


def test_a_guessed_language_is_announced(page, address, uploads):
    lines = ["Die Methode von Zorvan ist nicht neu", "und sie wird in der Arbeit mit dem Verfahren verglichen"]
    (uploads / "deutsch.pdf").write_bytes(pdf([slide(*lines)]))
    send(page, address, file=uploads / "talk.wav", slides=uploads / "deutsch.pdf")
    page.wait_for("!document.getElementById('result').hidden")
    assert "deutsch.pdf: language de, as guessed" in text(page, "#notices")
    assert text(page, "#about").splitlines()[0].endswith("language de, as guessed")


def test_the_speakers_notes_are_read_on_request(page, address, uploads):
    def fill(presentation):
        added = presentation.slides.add_slide(presentation.slide_layouts[5])
        added.shapes.title.text = "Zorvan's graphs"
        added.notes_slide.notes_text_frame.text = "Thank Kathryn Meyer"

    (uploads / "noted.pptx").write_bytes(pptx(fill))
    written = {}
    for wanted in (False, True):
        page.open(address)
        page.choose("#file", uploads / "talk.wav")
        page.choose("#slides", uploads / "noted.pptx")
        page.value(f"document.querySelector('[name=notes]').checked = {json.dumps(wanted)}")
        page.value("document.querySelector('#talk button').click()")
        page.wait_for("!document.getElementById('result').hidden")
        written[wanted] = keywords(page)
    assert written[False] == ["Zorvan, slide 1, play"]
    assert written[True] == ["Zorvan, slide 1, play", "Kathryn Meyer, slide 1, play"]


def test_a_deck_without_pictures_is_shown_as_text(page, address, uploads):
    (uploads / "deck.md").write_text("# Zorvan's graphs\n\n# A proof by Kathryn Meyer\n")
    send(page, address, file=uploads / "talk.wav", slides=uploads / "deck.md")
    page.wait_for("!document.getElementById('result').hidden")
    assert text(page, ".as-text") == "Zorvan's graphs"
    assert "deck.md: 2 pages shown as text: only PDF files and pictures can be rendered" in text(page, "#notices")


def test_doubtful_and_left_out_segments_are_shown(browser, uploads):
    class Unsure(Hearing):
        @staticmethod
        def cut(wave):
            return AudioCut(SPANS[:2], SPANS[2:])

        @staticmethod
        def answer(text, words):
            segments = [Segment(0.0, 2.0, text, 0.25)]
            return SimpleNamespace(text=text, scores={}, predicted=[], segments=segments)

    with running(Unsure()) as address:
        send(browser, address, file=uploads / "talk.wav", slides=uploads / "deck.pdf")
        browser.wait_for("!document.getElementById('result').hidden")
        assert lines(browser)[0] == "0:00 of zorvin doubtful, 25 % sure"
        assert text(browser, ".gap") == "0:04–0:06: no speech, left out"
        shown = text(browser, "#notices")
        assert "talk.wav: 1 of 3 segments (2.0 s) was left out: it holds no speech" in shown
        assert "talk.wav: 2 of 2 segments are doubtful" in shown


def test_progress_is_shown_by_segment(browser, uploads, monkeypatch):
    monkeypatch.setattr(talk, "GROUP", 1)
    go = threading.Semaphore(0)

    class Slow(Hearing):
        def recognise(self, audio, keywords):
            assert go.acquire(timeout=60)
            return super().recognise(audio, keywords)

    with running(Slow()) as address:
        send(browser, address, file=uploads / "talk.wav", slides=uploads / "deck.pdf")
        for step in ("Without keywords", "With keywords"):
            for done in range(3):
                shown = f"{step}: {done} of 3 segments"
                browser.wait_for(f"document.getElementById('status').textContent === '{shown}'")
                bar = browser.value(
                    "(({hidden, value, max}) => [hidden, value, max])(document.getElementById('progress'))"
                )
                assert bar == [False, done, 3]
                go.release()
        browser.wait_for("document.getElementById('status').textContent.startsWith('Done')")
        assert browser.value("document.getElementById('progress').hidden")


def test_a_hostile_file_name_is_shown_but_never_executed(page, address, uploads):
    name = "<img src=x onerror=document.title=1>\u202efdp.pdf"
    (uploads / name).write_bytes(b"%PDF-1.7 broken")
    send(page, address, file=uploads / "talk.wav", slides=uploads / name)
    page.wait_for("document.getElementById('status').className === 'error'")
    assert text(page, "#status").startswith("<img src=x onerror=document.title=1>\ufffdfdp.pdf: is not a readable PDF")
    assert page.value("document.querySelectorAll('img').length") == 0 and page.value("document.title") != "1"


@pytest.mark.parametrize("name", ["../../deck.pdf", "/etc/passwd.pdf", "slides-2.pdf", "x" * 1000 + ".pdf", "a\nb.pdf"])
def test_file_names_cannot_escape_the_folder_or_confuse_messages(address, uploads, name):
    sent = [("file", "talk.wav", (uploads / "talk.wav").read_bytes()), ("slides", name, b"%PDF-1.7 broken")]
    sent.append(("slides", "second.pdf", b"%PDF-1.7 broken"))
    parts = [f'--b\r\nContent-Disposition: form-data; name="{field}"; filename="{file}"\r\n\r\n'.encode() + content
             for field, file, content in sent]  # fmt: skip
    body = b"\r\n".join(parts) + b"\r\n--b--\r\n"
    code, message = posted(address, "talks", body, {"content-type": "multipart/form-data; boundary=b"})
    assert code == 400
    assert len(message) < 300 and "sap2-demo" not in message and "\n" not in message
    if "\n" not in name:  # a line break ends the header
        assert message.startswith(f"{name[:80]}{'…' if len(name) > 80 else ''}: is not a readable PDF")


def test_a_list_of_unknown_length_is_bounded(page, address, uploads):
    send(page, address, file=uploads / "talk.wav")
    page.wait_for("!document.getElementById('result').hidden")
    talk = page.value("talk")

    def chunks(count):
        for _ in range(count):
            yield b"1\tZorvan\n" * 100_000

    for count, expected in ((9, 413), (3, 400)):  # of 10 bytes each: more than 4 MB, and too many keywords
        assert posted(address, f"talks/{talk}/again", chunks(count))[0] == expected


def test_an_endless_body_is_not_read_to_its_end():
    class Endless:
        read = 0

        async def stream(self):
            while True:
                self.read += 1
                yield bytes(1 << 20)

    with pytest.raises(RequestError, match="more than 4 MB"):
        asyncio.run(read_body(endless := Endless(), 4 << 20))
    assert endless.read == 17


def test_requests_from_other_sites_are_rejected(address):
    text, headers = fetched(address)
    assert "default-src 'self'" in headers["content-security-policy"] and "http://" not in text
    assert status(address, headers={"Host": "evil.example"}) == 400
    assert status(address + "talks", headers={"Origin": "http://evil.example"}, data=b"", method="POST") == 403
    assert status(address + "talks/none") == 404 and status(address + "..%2fdemo.py") == 404


def sent(address, uploads, *slides):
    """Send a talk without a browser; return status and answer."""
    body, kind = multipart(
        [
            ("file", (uploads / "talk.wav").read_bytes(), "talk.wav"),
            *(("slides", path.read_bytes(), path.name) for path in slides),
        ]
    )
    connection = http.client.HTTPConnection(address.split("/")[2], timeout=60)
    connection.request("POST", "/talks", body, {"Content-Type": kind})
    with connection.getresponse() as answer:
        return answer.status, json.load(answer)


def test_an_uploaded_index_replaces_a_list(address, uploads):
    path = uploads / "glossary.index"
    Hearing().index(["Dorst", "Quine"]).save(path, "glossary.txt")
    code, answer = sent(address, uploads, uploads / "deck.pdf", path)
    assert code == 200
    for _ in range(600):
        state = json.loads(fetched(f"{address}talks/{answer['id']}")[0])
        if state["done"] or state["error_text"]:
            break
        time.sleep(0.05)
    assert state["error_text"] is None and "2 keywords of a long list, all the time" in state["about"]
    assert "Dorst" not in state["keywords"], "the glossary is not editable"
    text = json.loads(fetched(f"{address}talks/{answer['id']}/talk.json")[0])["text"]
    assert text == "of Zorvan by Kathryn Meyer and Quine"


def test_an_index_of_another_base_is_rejected_at_upload(address, uploads):
    path = uploads / "other.index"
    KeywordIndex(["Quine"], Vocabulary(None, "folded", ["k", "w", "a", "I", "n"])).save(path, "other.txt")
    code, answer = sent(address, uploads, path)
    assert code == 400 and answer["error"]["message"].startswith("other.index: was built for another base; run ")
