"""`sap2 talk` writes a folder with text, SubRip, JSON and a page, and never overwrites other files."""

import json
import re

import pytest
from decks import pdf, slide
from hearing import WAVE, Hearing
from typer.testing import CliRunner

from sap2 import cli
from sap2.data.audio import save_audio
from sap2.slides import talk_output
from sap2.tracking import packaging

FILES = ["talk.html", "transcript.json", "transcript.srt", "transcript.txt"]


@pytest.fixture
def files(tmp_path, monkeypatch):
    """A folder with a recording and a deck; the recogniser is a fake for the recording's three segments."""
    monkeypatch.setattr(packaging, "load_recogniser", lambda *_: Hearing())
    save_audio(tmp_path / "my talk.wav", WAVE)
    deck = [slide("Zorvan's graphs"), slide("A proof by Kathryn Meyer", "<|im_start|>"), slide("thanks")]
    (tmp_path / "deck.pdf").write_bytes(pdf(deck))
    return tmp_path


def run(files, *options):
    return CliRunner().invoke(cli.app, ["talk", str(files / "my talk.wav"), str(files / "deck.pdf"), *options])


def error(files, *options):
    """Run the command and return its error message."""
    done = run(files, *options)
    assert done.exit_code and done.exception
    return str(done.exception)


def data(page):
    return json.loads(re.search(r'id="data">(.*?)</script>', page, re.DOTALL)[1])


def test_the_command_writes_text_subtitles_json_and_a_page(files):
    done = run(files)
    assert done.exit_code == 0, done.output
    folder = files / "my talk.talk"
    assert sorted(path.name for path in folder.iterdir()) == FILES
    assert (folder / "transcript.txt").read_text() == "of Zorvan by Kathryn Meyer and kwine\n"
    assert (folder / "transcript.srt").read_text().startswith("1\n00:00:00,000 --> 00:00:02,000\nof Zorvan\n")
    output = json.loads((folder / "transcript.json").read_text())
    assert output["file"] == "my talk.wav" and output["written"] == {"Zorvan": 1, "Kathryn Meyer": 2}
    page = (folder / "talk.html").read_text()
    assert 'src="./../my%20talk.wav"' in page
    view = data(page)
    assert [segment["pages"] for segment in view["segments"]] == [[1], [2], [2]]
    assert all(shown["picture"].startswith("data:image/webp;base64,") for shown in view["slides"])
    assert view["segments"][1]["diff"][1] == ["without", [{"text": "catherine "}, {"text": "maier"}]]


def test_used_dropped_and_guessed_content_is_reported(files):
    (files / "people.csv").write_text("name\nKathryn Meyer\nWillard Quine\n")
    done = run(files, str(files / "people.csv"), "--keywords", "everywhere, everything")
    assert "deck.pdf: page 2: 1 marker removed" in done.stderr
    used = next(line for line in done.stdout.splitlines() if line.strip().startswith("used:"))
    assert "my talk.wav: 6.0 s" in used and "deck.pdf: 3 pages, " in used and "people.csv: " in used
    assert used.endswith("2 more keywords, all the time") and ", language en" in used
    assert "slides: estimated from the speech" in done.stdout
    assert "segments: 3, 0 doubtful, 0 without speech left out" in done.stdout
    page = (files / "my talk.talk" / "talk.html").read_text()
    assert "deck.pdf: page 2: 1 marker removed" in page and "people.csv: " in page
    assert str(files) not in page, "a page that is passed on must not name folders"


def test_known_times_need_no_first_pass_unless_explained(files):
    (files / "times.tsv").write_text("0:00 3\n0:04 1\n")
    known = ["--slide-times", str(files / "times.tsv")]
    assert f"slides: at the times of {files / 'times.tsv'}" in run(files, *known).stdout
    page = (files / "my talk.talk" / "talk.html").read_text()
    assert [segment["pages"] for segment in data(page)["segments"]] == [[3], [3], [1]]
    assert "Show what changed" not in page and data(page)["segments"][0]["diff"] is None
    assert run(files, *known, "--explain").exit_code == 0
    assert "Show what changed" in (files / "my talk.talk" / "talk.html").read_text()


def test_its_own_folder_is_replaced(files):
    assert run(files, "--out", str(files / "out")).exit_code == 0
    (files / "out" / "transcript.txt").write_text("old")
    assert run(files, "--out", str(files / "out")).exit_code == 0
    assert (files / "out" / "transcript.txt").read_text().startswith("of Zorvan")


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("held", "reason"),
    [
        ({"diary.txt": "mine"}, "holds diary.txt, which sap2 talk did not write"),
        ({"transcript.txt": "mine"}, "holds no talk.html written by sap2 talk, so its files are not replaced"),
        ({"talk.html": "<title>mine</title>"}, "holds no talk.html written by sap2 talk, so its files are not rep"),
    ],
    ids=["other", "same name", "page"],
)
def test_a_folder_with_other_files_is_never_replaced(files, held, reason):
    (files / "out").mkdir()
    for name, content in held.items():
        (files / "out" / name).write_text(content)
    assert reason in error(files, "--out", str(files / "out"))
    assert {path.name: path.read_text() for path in (files / "out").iterdir()} == held


@pytest.mark.bad_input
def test_a_file_instead_of_the_folder_is_an_error(files):
    (files / "out").write_text("mine")
    assert "out: is a file, expected a folder to write" in error(files, "--out", str(files / "out"))
    assert (files / "out").read_text() == "mine"


def test_the_folder_is_written_atomically(files, monkeypatch):
    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(talk_output, "rendered", killed)
    assert run(files).exit_code != 0
    assert sorted(path.name for path in files.iterdir()) == ["deck.pdf", "my talk.wav"]
