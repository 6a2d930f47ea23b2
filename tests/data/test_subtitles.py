"""Long recordings with subtitles and timed slides: utterances match their subtitles, and lists follow the slides."""

import doctest
from pathlib import Path

import numpy as np
import pytest

from sap2.data import slides
from sap2.data.audio import SAMPLE_RATE, save_audio
from sap2.data.corpora import prepare_corpus
from sap2.data.entries import SPLITS
from sap2.data.folder import read
from sap2.data.quarantine import Rejected
from sap2.data.speech import Synthesiser
from sap2.data.subtitles import Cue, read_cues, stretches
from sap2.params import PrepareSection

SENTENCES = [
    "we start with the method of meyer", "the next result follows from it", "here is the table of all values",
    "now we turn to zorvan", "his theorem is about graphs", "thanks for the question",
]  # fmt: skip


@pytest.fixture(scope="module")
def talk() -> tuple[np.ndarray, list[Cue]]:
    """Sentences with 0.6 s between them, and their subtitles; the third and fourth are spoken without a pause."""
    voice, rng, parts, cues, time = Synthesiser(), np.random.default_rng(1), [], [], 0.0
    for number, sentence in enumerate(SENTENCES):
        said = voice.speak(sentence, "en-us")
        said = said[: np.flatnonzero(np.abs(said) > 0.01)[-1]] if number == 2 else said
        quiet = 0.0 if number == 2 else 0.6
        cues.append(Cue(time, time + len(said) / SAMPLE_RATE, sentence))
        parts += [said, (0.001 * rng.standard_normal(int(quiet * SAMPLE_RATE))).astype(np.float32)]
        time += len(said) / SAMPLE_RATE + quiet
    return np.concatenate(parts), cues


def test_doctests():
    assert doctest.testmod(slides).failed == 0


def test_cuts_lie_in_pauses_between_subtitles(talk):
    samples, cues = talk
    made = list(stretches(samples, cues, 6.0))
    assert not any(item.fault for item in made)
    assert " ".join(utterance.text for utterance in made) == " ".join(SENTENCES), "every subtitle once, in order"
    assert f"{SENTENCES[2]} {SENTENCES[3]}" in " ".join(
        utterance.text for utterance in made if SENTENCES[2] in utterance.text
    )
    for item, after in zip(made, made[1:], strict=False):
        assert 0 < item.end <= after.start and item.end - item.start <= 6.0
        place = next(number for number, cue in enumerate(cues) if after.text.startswith(cue.text))
        assert cues[place - 1].end - 0.1 <= item.end and after.start <= cues[place].start + 0.1, "no word is cut"


def test_only_subtitles_without_a_pause_get_a_fault(talk):
    samples, cues = talk
    longest = max(cue.end - cue.start for cue in cues) + 0.7
    made = list(stretches(samples, cues, longest))
    [broken] = [item for item in made if item.fault]
    assert broken.text == f"{SENTENCES[2]} {SENTENCES[3]}" and broken.fault.startswith(
        "no pause between subtitles for "
    )
    assert [utterance.text for utterance in made if not utterance.fault] == [*SENTENCES[:2], *SENTENCES[4:]]


def test_a_long_silence_is_in_no_utterance(talk):
    samples, cues = talk
    first, second = cues[:2]
    gap = np.zeros(20 * SAMPLE_RATE, np.float32)
    split = int((first.end + 0.3) * SAMPLE_RATE)
    audio = np.concatenate([samples[:split], gap, samples[split : int((second.end + 0.3) * SAMPLE_RATE)]])
    made = list(stretches(audio, [first, Cue(second.start + 20, second.end + 20, second.text)], 15.0))
    assert [utterance.text for utterance in made] == SENTENCES[:2]
    assert sum(item.end - item.start for item in made) < second.end + 1.5


def write(folder: Path, talk, count: int = 3) -> PrepareSection:
    samples, cues = talk
    folder.mkdir()
    rows = []
    for number in range(count):
        name = f"talk{number}"
        save_audio(folder / f"{name}.flac", samples)
        blocks = [
            f"{n}\n{stamp(segment.start)} --> {stamp(segment.end)}\n<i>{segment.text.capitalize()}</i>.\n"
            for n, segment in enumerate(cues)
        ]
        (folder / f"{name}.srt").write_text("\n".join(blocks))
        shown = [(0.0, cues[3].start, "The Meyer method"), (cues[3].start, cues[5].end, "The Zorvan theorem")]
        (folder / f"{name}.slides").write_text("".join(f"{name} {a:.2f} {b:.2f} {words}\n" for a, b, words in shown))
        rows.append(f"{name}\t\tquine\t{SPLITS[number % 3]}\t{name}.srt\t{name}.slides")
    (folder / "list.tsv").write_text("\n".join(["id\ttext\tkeywords\tsplit\tsubtitles\tslides", *rows]))
    (folder / "common.txt").write_text("the\nmethod\n")
    settings = {"root": str(folder), "max_segment": 6.0, "common_words_file": str(folder / "common.txt")}
    return PrepareSection(source="folder", folder=settings, slides=1, workers=1)


def stamp(seconds: float) -> str:
    minutes, seconds = divmod(seconds, 60)
    return f"00:{int(minutes):02d}:{seconds:06.3f}".replace(".", ",")


def test_lists_of_a_subtitled_talk_follow_its_slides(talk, tmp_path):
    section = write(tmp_path / "talks", talk)
    result = [utterance for utterance in read(section)[0] if utterance.talk == "talk0"]
    assert " ".join(utterance.text for utterance in result) == " ".join(SENTENCES)
    assert [entry.id for entry in result] == [f"talk0-{number:04d}" for number in range(len(result))]
    assert result[0].keywords == ("quine", "meyer") and result[-1].keywords == ("quine", "zorvan", "theorem")
    card = prepare_corpus(section, tmp_path / "prepared", tmp_path / "cache")
    assert card["rejected"] == 0 and card["accepted"] == 3 * len(result) and card["splits"]["dev"]["talks"] == 1


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.srt", "hello", "unusable subtitles: a.srt cannot be read"),
        ("a.srt", b"1\n00:00:01,000 --> 00:00:02,000\ncaf\xe9\n", "unusable subtitles: a.srt is not UTF-8"),
        ("a.vtt", "WEBVTT\n\n", "unusable subtitles: a.vtt"),
        ("../b.srt", "1\n00:00:01,000 --> 00:00:02,000\nhello\n", "the path escapes the folder"),
        ("no.srt", None, "no subtitles: no.srt is not in the folder"),
    ],
)
def test_subtitles_that_cannot_be_used_are_quarantined(tmp_path, name, content, reason):
    folder = tmp_path / "talks"
    folder.mkdir()
    save_audio(folder / "a.wav", np.zeros(SAMPLE_RATE))
    if content is not None:
        (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    (folder / "list.tsv").write_text(f"id\ttext\tkeywords\tsubtitles\na\t\t\t{name}\nb\thello\t\t{name}\n")
    save_audio(folder / "b.wav", np.zeros(SAMPLE_RATE))
    first, second = read(PrepareSection(source="folder", folder={"root": str(folder)}))[0]
    assert isinstance(first, Rejected) and first.reason.startswith(reason)
    assert second.reason.startswith("a text and subtitles")


def test_subtitles_lose_their_markup(tmp_path):
    (tmp_path / "a.vtt").write_text(
        "WEBVTT\n\n00:03.000 --> 00:04.000 align:start\nnext\n\n"
        "00:01.000 --> 00:02.500\n<v Anna>Hello &amp; <b>welcome</b></v>\nto part one\n\nNOTE a comment\n"
    )
    assert read_cues(tmp_path / "a.vtt") == [Cue(1.0, 2.5, "Hello & welcome to part one"), Cue(3.0, 4.0, "next")]
