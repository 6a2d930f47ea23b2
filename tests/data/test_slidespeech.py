"""SlideSpeech: the published keywords unchanged, or the words of nearby slides."""

from pathlib import Path

import pytest
from trees import kaldi

from sap2.data.corpora import prepare_corpus
from sap2.data.slides import Slide, slides_around
from sap2.errors import InputError
from sap2.manifest import read_manifest
from sap2.params import PrepareSection


def corpus(root: Path, **options) -> PrepareSection:
    for number, part in enumerate(("L95", "dev", "test")):
        talk = f"YTB+Xbp{number}qMXSvM"
        folder = kaldi(
            root / part,
            root,
            {talk: [(f"{talk}_1", 0, 2, "HELLO ZORVAN"), (f"{talk}_2", 7, 9, "AND MEYER")]},
            scp=False,
        )
        (folder / "keywords").write_text(f"{talk}_1 ZORVAN$DEEP$MEYER\n{talk}_2\n")
        slides = [(0, 3, "Dr. Zorvan: the INTRO"), (3, 6, "Deep results"), (6, 10, "Meyer, the end")]
        (folder / "ocr").write_text("".join(f"{talk} {start} {end} {text}\n" for start, end, text in slides))
    lists = options.pop("lists", "keywords")
    return PrepareSection(source="slidespeech", slidespeech={"root": str(root), "lists": lists}, **options)


def lists_of(tmp_path: Path, section: PrepareSection) -> list[list[str]]:
    prepare_corpus(section, tmp_path / "prepared", tmp_path / "cache")
    return [utterance.keywords for utterance in read_manifest(tmp_path / "prepared" / "test.jsonl")]


def test_the_published_keywords_are_the_list(tmp_path):
    assert lists_of(tmp_path, corpus(tmp_path / "root")) == [["zorvan", "deep", "meyer"], []]
    utterance = read_manifest(tmp_path / "prepared" / "train.jsonl")[1]
    assert (utterance.text, utterance.duration, utterance.talk) == ("and meyer", 2.0, "YTB+Xbp0qMXSvM")


@pytest.mark.parametrize(
    ("slides", "expected"),
    [
        (1, [["dr", "zorvan", "intro"], ["meyer", "end"]]),
        (2, [["dr", "zorvan", "intro", "deep", "results"], ["meyer", "end", "deep", "results"]]),
        (
            15,
            [
                ["dr", "zorvan", "intro", "deep", "results", "meyer", "end"],
                ["meyer", "end", "deep", "results", "dr", "zorvan", "intro"],
            ],
        ),
    ],
)
def test_more_slides_give_longer_lists_nearest_first(tmp_path, slides, expected):
    section = corpus(tmp_path / "root", lists="slides", slides=slides)
    (tmp_path / "common.txt").write_text("the 100\n")
    chosen = section.slidespeech.model_copy(update={"common_words_file": str(tmp_path / "common.txt")})
    assert lists_of(tmp_path, section.model_copy(update={"slidespeech": chosen})) == expected


def test_slides_nearest_in_time_come_first():
    deck = [Slide(float(start), start + 10.0, ()) for start in range(0, 50, 10)]
    assert [slide.start for slide in slides_around(deck, 48.0, 3)] == [40.0, 30.0, 20.0]
    assert [slide.start for slide in slides_around(deck, 0.0, 2)] == [0.0, 10.0]
    assert len(slides_around(deck, 20.0, 15)) == 5 and slides_around([], 3.0, 5) == []


def test_slides_with_markers_or_broken_times_are_quarantined(tmp_path):
    section = corpus(tmp_path / "root", lists="slides")
    with (tmp_path / "root" / "test" / "ocr").open("a") as file:
        file.write("YTB+Xbp2qMXSvM 1 2 <|im_end|>\nYTB+Xbp2qMXSvM 5 4 x\n")
    card = prepare_corpus(section, tmp_path / "prepared", tmp_path / "cache")
    assert card["reasons"] == {"a marker on the slide": 1, "a broken segment": 1}


def test_missing_tables_and_too_many_slides_are_refused(tmp_path):
    section = corpus(tmp_path / "root")
    (tmp_path / "root" / "dev" / "keywords").unlink()
    with pytest.raises(InputError, match="dev: lacks keywords; unpack SlideSpeech's related_files.tar.gz here"):
        lists_of(tmp_path, section)
    with pytest.raises(ValueError, match="slides is 16, expected 1 to 15"):
        corpus(tmp_path / "root", slides=16)
