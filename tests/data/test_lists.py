"""Keyword lists of a prepared set: the corpus's own, those of Le et al. (2021), and published ones."""

import json
from pathlib import Path

import pytest

from sap2 import stages
from sap2.errors import InputError
from sap2.manifest import Utterance, audio_path, read_manifest, spoken, write_manifest
from sap2.params import ListsSection

SPLITS = ("train", "dev", "test")
DEEP_BIAS = Path(__file__).parents[3] / "shared" / "data" / "is21_deep_bias"
TEXTS = {
    "train": {"19-198-0000": "the cat saw the zorvan", "19-198-0001": "the dog's meyer ran to the cat"},
    "dev": {"84-121-0000": "the cat and the quilt"},
    "test": {"1089-134-0000": "'tis the zorvan", "1089-134-0001": "the cat ran to kathryn"},
}
RARE = ListsSection(source="rare-words", distractors=2, common_words=2)


@pytest.fixture
def prepared(tmp_path) -> Path:
    return prepare(tmp_path / "prepared")


def prepare(folder: Path, keywords: tuple[str, ...] = ()) -> Path:
    for split, texts in TEXTS.items():
        rows = [
            Utterance(id=id, audio=f"audio/{id}.flac", duration=2.0, text=text, keywords=list(keywords), slide=7)
            for id, text in texts.items()
        ]
        write_manifest(folder / f"{split}.jsonl", rows)
    card = {
        "source": "x", "kind": "librispeech", "read": 5, "rejected": 0, "hours": 0.1, "hours_in": 0.1, "reasons": {},
        "hours_rejected": {}, "warnings": ["test-clean holds 2 utterances"], "manifests": dict.fromkeys(SPLITS, "old"),
        "splits": {split: {"utterances": len(texts), "mean_list_size": -1} for split, texts in TEXTS.items()},
    }  # fmt: skip
    (folder / "card.json").write_text(json.dumps(card))
    return folder


def lists(prepared: Path, section: ListsSection, name: str = "lists") -> dict[str, Utterance]:
    output = prepared.with_name(name)
    stages.lists(section, prepared, output)
    return {utterance.id: utterance for split in SPLITS for utterance in read_manifest(output / f"{split}.jsonl")}


def test_a_corpus_keeps_its_keywords_and_everything_else(tmp_path):
    prepared = prepare(tmp_path / "prepared", ("Meyer", "deep zorvan", "cat"))
    result = lists(prepared, ListsSection())
    assert [utterance.keywords for utterance in result.values()] == [["Meyer", "deep zorvan", "cat"]] * 5
    utterance = result["1089-134-0000"]
    assert (utterance.text, utterance.model_extra) == ("'tis the zorvan", {"slide": 7})
    assert audio_path(utterance, prepared.with_name("lists") / "test.jsonl").resolve() == (
        prepared / "audio" / "1089-134-0000.flac"
    )


def test_a_corpus_without_any_keyword_gets_rare_words(tmp_path):
    prepared = prepare(tmp_path / "prepared")
    auto = RARE.model_copy(update={"source": "auto"})
    assert lists(prepared, auto) == lists(prepared, RARE)
    rows = (prepared / "test.jsonl").read_text().replace('"keywords": []', '"keywords": ["quine"]', 1)
    (prepared / "test.jsonl").write_text(rows)
    assert lists(prepared, auto) == lists(prepared, RARE.model_copy(update={"source": "corpus"})), "one is enough"


def test_unlistable_words_are_omitted_in_any_case(tmp_path):
    prepared = prepare(tmp_path / "prepared")
    row = '{"id": "a", "audio": "a.flac", "duration": 1, "text": "The Meyer, said: Quine"}\n'
    (prepared / "test.jsonl").write_text(row)
    assert spoken(lists(prepared, RARE)["a"]) == ["quine", "said:"]


def test_a_list_of_the_corpus_is_cut_to_its_first_keywords(tmp_path):
    prepared = prepare(tmp_path / "prepared", ("meyer", "zorvan", "cat"))
    assert lists(prepared, ListsSection(max_size=2))["84-121-0000"].keywords == ["meyer", "zorvan"]


def test_rare_words_are_outside_the_most_frequent_words(prepared):
    result = lists(prepared, RARE)
    assert spoken(result["1089-134-0001"]) == ["kathryn", "ran", "to"]  # the common words are "the" and "cat"
    assert "'tis" in result["1089-134-0000"].keywords, "the apostrophe belongs to the word"
    drawn = set(result["84-121-0000"].keywords) - {"and", "quilt"}
    assert len(drawn) == 2 and drawn <= {"dog's", "meyer", "ran", "saw", "to", "zorvan"}


def test_distractors_differ_by_seed_and_the_spoken_words_do_not(prepared):
    first, again = lists(prepared, RARE), lists(prepared, RARE)
    second = lists(prepared, RARE.model_copy(update={"seed": 2}))
    assert first == again
    assert {id: utterance.keywords for id, utterance in first.items()} != {
        id: utterance.keywords for id, utterance in second.items()
    }
    assert {id: spoken(item) for id, item in first.items()} == {id: spoken(item) for id, item in second.items()}


def test_words_come_from_files_where_they_are_given(prepared, tmp_path):
    (tmp_path / "common.txt").write_text("the\nto\nran\nkathryn\n")
    (tmp_path / "rare.txt").write_text("quine 3\nvarga 2\n")
    files = {"common_words_file": str(tmp_path / "common.txt"), "rare_words_file": str(tmp_path / "rare.txt")}
    result = lists(prepared, RARE.model_copy(update=files))
    assert result["1089-134-0001"].keywords == ["cat", "quine", "varga"]
    with pytest.raises(InputError, match=r"none.txt: cannot be read \(No such file"):
        lists(prepared, RARE.model_copy(update={"common_words_file": str(tmp_path / "none.txt")}))
    assert lists(prepared, RARE), "what failed left the lists before it"


def test_published_lists_are_used_and_others_drawn(prepared, tmp_path, capsys):
    rows = [("1089-134-0000", "'tis the zorvan"), ("1089-134-0001", "another text"), ("7-7-0000", "of another set")]
    table = tmp_path / "published.tsv"
    words = json.dumps(["'tis"]), json.dumps(["zz", "'tis", "aa"])
    table.write_text("".join(f"{id}\t{text}\t{words[0]}\t{words[1]}\n" for id, text in rows))
    result = lists(prepared, RARE.model_copy(update={"published": [str(table)]}))
    assert result["1089-134-0000"].keywords == ["zz", "'tis", "aa"]
    assert spoken(result["1089-134-0001"]) == ["kathryn", "ran", "to"], "nobody is lost"
    card = json.loads((prepared.with_name("lists") / "card.json").read_text())
    assert card["warnings"] == [
        "test-clean holds 2 utterances",
        "1 published lists are for another text, first for 1089-134-0001; their lists are drawn instead",
        "1 of 3 published lists are for utterances outside the corpus",
    ]  # fmt: skip
    assert "lists: 1 of 3 published lists" in capsys.readouterr().err


def test_the_card_says_what_the_lists_are_like(prepared):
    from sap2.files import sha256

    lists(prepared, RARE)
    output = prepared.with_name("lists")
    card = json.loads((output / "card.json").read_text())
    assert card["lists"]["source"] == "rare-words" and card["lists"]["rare_words"] == 6
    assert card["splits"]["dev"] == {
        "utterances": 1, "mean_list_size": 4.0, "longest_list": 4, "share_of_list_spoken": 0.5,
        "share_with_spoken_keyword": 1.0,
    }  # fmt: skip
    assert card["manifests"]["test"] == sha256(output / "test.jsonl")
    page = (output / "card.md").read_text()
    assert "- lists: source rare-words, seed 1, distractors 2" in page and "| mean list size | " in page


def test_lists_that_cannot_help_are_a_warning(prepared, capsys):
    lists(prepared, ListsSection(source="corpus"))
    assert "lists: no utterance of train, dev, test has a keyword; check lists.source\n" in capsys.readouterr().err
    lists(prepared, RARE.model_copy(update={"common_words": 5000}))
    assert "no distractors: the training text has no rare words" in capsys.readouterr().err


def test_what_is_missing_or_broken_is_named_and_leaves_nothing(prepared):
    card = (prepared / "card.json").read_text()
    (prepared / "card.json").write_text('{"splits": {"train": {}}}')
    with pytest.raises(InputError, match=r'card.json: not the card of a prepared set; run "sap2 prepare" first'):
        lists(prepared, RARE)
    (prepared / "card.json").write_text(card)
    with pytest.raises(InputError, match=r'nothing/card.json: no such file; run "sap2 prepare" first'):
        lists(prepared.with_name("nothing"), RARE)
    with (prepared / "test.jsonl").open("a") as file:
        file.write('{"id": "x", "audio": "x.flac", "duration": -1, "text": "hello"}\n')
    with pytest.raises(InputError, match=r"test.jsonl:3 \(x\): duration is -1, must be greater than 0"):
        lists(prepared, RARE, "broken")
    assert not prepared.with_name("broken").exists()


@pytest.mark.parametrize(
    ("listed", "fault"),
    [
        ('["a, b"]', r"published.tsv:1: a comma inside the keyword 'a, b'"),
        ('["<|im_end|>"]', "published.tsv:1: the marker"),
        ('["a"]\nx\ttext\t[]\t["b"]', "published.tsv:2: x already has a list"),
    ],
)
def test_published_lists_that_cannot_be_used_are_named(prepared, tmp_path, listed, fault):
    table = tmp_path / "published.tsv"
    table.write_text(f"x\ttext\t[]\t{listed}\n")
    with pytest.raises(InputError, match=fault):
        lists(prepared, RARE.model_copy(update={"published": [str(table)]}))


def test_two_published_lists_for_an_utterance_are_an_error(prepared, tmp_path):
    for name in ("a.tsv", "b.tsv"):
        (tmp_path / name).write_text('x\ttext\t[]\t["b"]\n')
    published = [str(tmp_path / name) for name in ("a.tsv", "b.tsv")]
    with pytest.raises(InputError, match="b.tsv: x already has a list in another file of lists.published"):
        lists(prepared, RARE.model_copy(update={"published": published}))


@pytest.mark.skipif(not DEEP_BIAS.is_dir(), reason="the published lists are no part of the project")
def test_published_lists_match_drawn_rare_words(prepared):
    """All 2,620 utterances of test-clean through the stage."""
    published, words = DEEP_BIAS / "ref" / "test-clean.biasing_100.tsv", DEEP_BIAS / "words"
    rows = [line.split("\t") for line in published.read_text().splitlines()]
    given = [Utterance(id=id, audio=f"{id}.flac", duration=2.0, text=text) for id, text, *_ in rows]
    write_manifest(prepared / "test.jsonl", given)
    files = {
        "common_words_file": str(words / "common_words_5k.txt"),
        "rare_words_file": str(words / "all_rare_words.txt"),
    }
    section = ListsSection(source="rare-words", **files)
    theirs, ours = lists(prepared, section.model_copy(update={"published": [str(published)]})), lists(prepared, section)
    for id, _, rare, listed in rows:
        assert theirs[id].keywords == json.loads(listed)
        assert set(json.loads(rare)) <= set(ours[id].keywords)
        # A distractor can be one of the utterance's own words, there as here.
        assert abs(len(ours[id].keywords) - len(theirs[id].keywords)) <= 3
