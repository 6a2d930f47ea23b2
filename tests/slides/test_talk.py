"""A talk with its deck: keyword lists by segment, marks and explanations, and a journal to resume from."""

import json

import pytest
from decks import pdf, slide
from hearing import WAVE, Hearing
from tiny import build_tiny_base, spoken
from typer.testing import CliRunner
from videos import video

from sap2 import cli
from sap2.data.audio import save_audio
from sap2.errors import InputError
from sap2.inference import load_recogniser
from sap2.inference.index import KeywordIndex
from sap2.slides import Keyword, talk
from sap2.slides.talk import transcribe_talk
from sap2.slides.talk_input import read_talk
from sap2.tracking import packaging
from sap2.transcripts.talk_formats import explained, markdown, marked, rendered, talk_json

TIMES = [(0.0, 1), (2.0, 2), (4.0, 3)]
DECK = [Keyword(1, "Zorvan"), Keyword(2, "Kathryn Meyer"), Keyword(3, "Quine"), Keyword(0, "everywhere")]


@pytest.fixture
def wave(monkeypatch):
    monkeypatch.setattr(talk, "identity", lambda hearing: hearing.name)
    return WAVE


def test_each_segment_gets_the_list_of_its_slides(wave):
    hearing = Hearing()
    result = transcribe_talk(hearing, wave, DECK, times=TIMES, around=0)
    assert [words for _, words in hearing.asked] == [
        ["Zorvan", "everywhere"], ["Kathryn Meyer", "everywhere"], ["Quine", "everywhere"],
    ]  # fmt: skip
    assert [segment.pages for segment in result.segments] == [(1,), (2,), (3,)]
    assert result.transcript.text == "of Zorvan by Kathryn Meyer and Quine"
    assert result.written == {"Zorvan": 1, "Kathryn Meyer": 2, "Quine": 3}
    assert all(segment.plain is None for segment in result.segments)


def test_neighbouring_slides_are_also_listed_nearest_first(wave):
    hearing = Hearing()
    transcribe_talk(hearing, wave, DECK, times=TIMES, around=1)
    assert hearing.asked[1] == (1, ["Kathryn Meyer", "Zorvan", "Quine", "everywhere"])


def test_without_times_slides_are_estimated_from_the_speech(wave):
    texts = ["graphs of zorvan", "a proof by kathryn meyer", "quine and more"]
    result = transcribe_talk(Hearing(), wave, DECK, texts, around=0)
    assert [segment.pages for segment in result.segments] == [(1,), (2,), (3,)]


def test_a_list_alone_needs_no_slides(wave):
    result = transcribe_talk(Hearing(), wave, [Keyword(0, "Quine")])
    assert result.written == {"Quine": 0} and result.segments[0].pages == ()


def test_a_segment_lists_the_selected_keywords_of_an_index(wave):
    hearing = Hearing()
    index = hearing.index(["Quine", "Dorst", "Zorvan"])
    result = transcribe_talk(hearing, wave, DECK[:2], times=TIMES, around=0, glossary=index)
    assert [words for _, words in hearing.asked] == [
        ["Zorvan", "Quine", "Dorst"], ["Kathryn Meyer", "Quine", "Dorst", "Zorvan"], ["Quine", "Dorst", "Zorvan"],
    ]  # fmt: skip
    assert [segment.listed for segment in result.segments] == [{"Zorvan": 1}, {"Kathryn Meyer": 2}, {"Quine": 0}]
    assert result.transcript.text == "of Zorvan by Kathryn Meyer and Quine"


def test_a_journal_of_another_index_is_rejected(wave, tmp_path):
    hearing, given = Hearing(), {"times": TIMES, "journal": tmp_path / "journal"}
    transcribe_talk(hearing, wave, DECK, glossary=hearing.index(["Dorst"]), **given)
    transcribe_talk(hearing, wave, DECK, glossary=["Dorst"], **given)
    with pytest.raises(InputError, match="not the journal of this recording, list"):
        transcribe_talk(hearing, wave, DECK, glossary=["Zorvan"], **given)


def test_an_index_is_read_among_the_slides_or_as_the_list(tmp_path):
    save_audio(tmp_path / "talk.wav", WAVE)
    for name in ("names", "terms"):
        Hearing().index([name, "Dorst"]).save(tmp_path / f"{name}.index")
    (tmp_path / "people.csv").write_text("name\nKathryn Meyer\n")
    slides = [tmp_path / "people.csv", tmp_path / "names.index"]
    given = read_talk(tmp_path / "talk.wav", slides, ["Quine"])
    assert list(given.glossary) == ["names", "Dorst"] and "2 keywords of a long list, all the time" in given.used
    assert {row.keyword for row in given.keywords} >= {"Kathryn Meyer", "Quine"}
    index = KeywordIndex.load(tmp_path / "terms.index")
    alone = read_talk(tmp_path / "talk.wav", [], index)
    assert alone.glossary is index and alone.keywords == []
    with pytest.raises(InputError, match="2 indexes or lists of 500 keywords or more, expected at most one"):
        read_talk(tmp_path / "talk.wav", slides, index)


def test_a_run_resumes_from_its_journal(wave, tmp_path, monkeypatch):
    monkeypatch.setattr(talk, "GROUP", 1)
    journal = tmp_path / "talk.journal"
    expected = transcribe_talk(Hearing(), wave, DECK, times=TIMES, around=0, explain=True, journal=tmp_path / "full")

    class Killed(Hearing):
        def recognise(self, audio, keywords):
            if self.place(audio[0]) == 2:
                raise KeyboardInterrupt
            return super().recognise(audio, keywords)

    with pytest.raises(KeyboardInterrupt):
        transcribe_talk(Killed(), wave, DECK, times=TIMES, around=0, explain=True, journal=journal)
    with journal.open("a") as out:
        out.write('{"step": "heard", "segm')  # cut by the kill
    again = Hearing()
    assert transcribe_talk(again, wave, DECK, times=TIMES, around=0, explain=True, journal=journal) == expected
    assert [index for index, _ in again.asked] == [2]
    assert again.asked and not transcribe_talk(again, wave, DECK, times=TIMES, around=0, journal=journal).notices


class OtherModel(Hearing):
    name = "another model"


@pytest.mark.parametrize(
    ("hearing", "change"),
    [(Hearing(), {"keywords": DECK[:1]}), (Hearing(), {"around": 1}), (OtherModel(), {})],
    ids=["list", "setting", "model"],
)
def test_the_journal_of_another_talk_or_model_is_rejected(wave, tmp_path, hearing, change):
    journal = tmp_path / "talk.journal"
    given = {"keywords": DECK, "times": TIMES, "around": 0, "journal": journal}
    transcribe_talk(Hearing(), wave, **given)
    kept = journal.read_bytes()
    with pytest.raises(InputError, match="is not the journal of this recording, list, timing, model and settings"):
        transcribe_talk(hearing, wave, **given | change)
    assert hearing.asked == [] and journal.read_bytes() == kept


@pytest.mark.bad_input
@pytest.mark.parametrize("content", [b"my diary\n", b"\xff\xfe\0", b"%PDF-1.7"])
def test_a_file_that_is_not_a_journal_is_never_changed(wave, tmp_path, content):
    (tmp_path / "a").write_bytes(content)
    with pytest.raises(InputError, match="settings; name another file, or remove it"):
        transcribe_talk(Hearing(), wave, DECK, times=TIMES, journal=tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == content
    with pytest.raises(InputError, match="cannot be read"):
        transcribe_talk(Hearing(), wave, DECK, times=TIMES, journal=tmp_path)


@pytest.mark.bad_input
@pytest.mark.parametrize(
    "damage",
    [
        lambda line: line[:20] + b"#" + line[21:],
        lambda line: bytes(len(line)),
        lambda line: b"[1, 2]",
        lambda line: b"",
        lambda line: b"\xff" + line,
        lambda line: line.replace(b'"heard"', b'"keep"'),
        lambda line: line.replace(b'"segments": [1]', b'"segments": [7]'),
        lambda line: line.replace(b'"segments": [1]', b'"segments": [1, 2]'),
        lambda line: line.replace(b"-0.25", b'"x"'),
        lambda line: line.replace(b'"answers": [["by', b'"answers": [[["by"], "').replace(b"{", b"{", 1),
    ],
    ids=["not JSON", "zeros", "not a row", "empty", "not text", "step", "index", "count", "score", "type"],
)
def test_segments_of_a_damaged_line_are_recognised_again(wave, tmp_path, monkeypatch, damage):
    monkeypatch.setattr(talk, "GROUP", 1)
    journal = tmp_path / "talk.journal"
    given = {"times": TIMES, "around": 0, "journal": journal}
    expected = transcribe_talk(Hearing(), wave, DECK, **given)
    lines = journal.read_bytes().splitlines()
    assert b'"segments": [1]' in lines[2]
    journal.write_bytes(b"\n".join([*lines[:2], damage(lines[2]), *lines[3:]]) + b"\n")
    again = Hearing()
    result = transcribe_talk(again, wave, DECK, **given)
    assert result.segments == expected.segments and [index for index, _ in again.asked] == [1]
    assert result.notices == (f"{journal}: damaged lines: 1; their segments were recognised again",)
    assert not transcribe_talk(again, wave, DECK, **given).notices, "the damage is gone from the file"


def test_keywords_are_marked_with_their_slides_and_explained(wave):
    result = transcribe_talk(Hearing(), wave, DECK, times=TIMES, around=0, explain=True)
    assert markdown(result, "a_b.wav") == (
        "# a\\_b.wav\n\n*0:00:00 · slide 1*  \nof **Zorvan** (slide 1)\n\n"
        "*0:00:02 · slide 2*  \nby **Kathryn Meyer** (slide 2)\n\n*0:00:04 · slide 3*  \nand **Quine** (slide 3)\n"
    )
    assert explained(result).split("\n\n")[1] == (
        "0:00:02 – 0:00:04\n  slides  2\n  list    Kathryn Meyer (slide 2), everywhere (list)\n"
        "  kept    Kathryn Meyer (-0.25)\n  written Kathryn Meyer\n  text    by Kathryn Meyer\n"
        "  without by catherine maier"
    )
    row = talk_json(result)["segments"][1]
    assert row["listed"] == [{"keyword": "Kathryn Meyer", "slide": 2}, {"keyword": "everywhere", "slide": 0}]
    assert (row["slides"], row["kept"], row["written"]) == ([2], {"Kathryn Meyer": -0.25}, {"Kathryn Meyer": 2})
    assert row["without_context"] == "by catherine maier"
    shown = rendered(result, "a.wav", "text", show_keywords=True).splitlines()[1]
    assert shown == "  keywords found: Zorvan (slide 1), Kathryn Meyer (slide 2), Quine (slide 3)"
    assert rendered(result, "a.wav", "vtt").startswith("WEBVTT\n\n1\n00:00:00.000 --> 00:00:02.000\nof Zorvan\n")


def test_marking_prefers_the_longest_words_and_escapes_the_rest():
    words = {"York": 1, "New York": 2, "c*": 3}
    assert marked("new york's New York, york c*", words, lambda word, page: f"[{word}:{page}]", str.upper) == (
        "[new york:2]'S [New York:2], [york:1] [c*:3]"
    )


def test_the_command_uses_a_real_recogniser_and_a_real_deck(tmp_path, monkeypatch):
    build_tiny_base(tmp_path / "base", positions=100)
    recogniser = load_recogniser(tmp_path / "base")
    monkeypatch.setattr(packaging, "load_recogniser", lambda *_: recogniser)
    save_audio(tmp_path / "a.wav", spoken(5.0))
    (tmp_path / "deck.pdf").write_bytes(pdf([slide("Zorvan's graphs"), slide("<|im_start|>", "Kathryn Meyer")]))
    (tmp_path / "times.tsv").write_text("0 1\n3 2\n")
    video(tmp_path / "a.mp4", spoken(5.0), chapters=[(0.0, ""), (3.0, "")])
    run = ["--slides", str(tmp_path / "deck.pdf"), "--explain", "--format", "json", "--keywords", "everywhere"]
    timed = ["--slide-times", str(tmp_path / "times.tsv"), "--slide-context", "0"]
    for name, times in (("a.wav", []), ("a.mp4", ["--slide-context", "0"]), ("a.wav", timed)):
        shown = CliRunner().invoke(cli.app, ["transcribe", str(tmp_path / name), *run, *times])
        assert shown.exit_code == 0, shown.output
        assert "page 2: 1 marker removed" in shown.stderr
        output = json.loads(shown.stdout)
        segments = output["segments"]
        assert len(segments) >= 3 and all("without_context" in segment for segment in segments)
        assert ("its 2 chapter marks serve as the times of the slides" in shown.stderr) == (name == "a.mp4")
        listed = [[word["keyword"] for word in segment["listed"]] for segment in segments]
        if times:
            assert listed[0] == ["Zorvan", "everywhere"]
            assert listed[-1] == ["Kathryn Meyer", "Meyer", "everywhere"]
    assert CliRunner().invoke(cli.app, ["transcribe", "a.wav", "--explain"]).exit_code == 2
