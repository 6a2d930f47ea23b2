"""Scores from files: ids are matched, published results are reproduced, and inconsistent files are refused."""

import json
from pathlib import Path

import pytest

from sap2.errors import InputError
from sap2.evaluation import score_files
from sap2.evaluation.keywords import KeywordCounts
from sap2.evaluation.rates import Errors

DEEP_BIAS = Path(__file__).parents[3] / "shared" / "data" / "is21_deep_bias"
PUBLISHED = sorted((DEEP_BIAS / "results").glob("*.result"))
REFERENCE = 'a\task meyer\t["meyer"]\t["jon", "meyer"]\nb\tgood bye\t[]\t["jon", "zorvan"]\n'


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return path


@pytest.fixture
def reference(tmp_path):
    return write(tmp_path / "ref.tsv", REFERENCE)


def refusal(*arguments, **options):
    with pytest.raises(InputError) as error:
        score_files(*arguments, **options)
    return str(error.value)


@pytest.fixture(scope="module")
def deep_bias():
    if not PUBLISHED:
        pytest.skip(f"{DEEP_BIAS} is absent: the published results are test material, not in the repository")
    paths = [DEEP_BIAS / "hyp" / path.name.removesuffix(".result") for path in PUBLISHED]
    return score_files(paths, DEEP_BIAS / "ref" / "test-clean.biasing_100.tsv", samples=0)


def test_all_22_published_results_are_reproduced_exactly(deep_bias):
    assert len(deep_bias.systems) == len(PUBLISHED) == 22
    for system, path in zip(deep_bias.systems, PUBLISHED, strict=True):
        printed = f"WER: {system.all}\nU-WER: {system.unbiased}\nB-WER: {system.biased}\n"
        assert printed == path.read_text(encoding="utf-8").rstrip("\n") + "\n", path.name
        for figure, errors in (("wer", system.all), ("u_wer", system.unbiased), ("b_wer", system.biased)):
            assert system.figures[figure].value == errors.rate


def test_published_list_columns_agree_with_the_references(deep_bias):
    assert all(set(utterance.said) == set(utterance.biasing) for utterance in deep_bias.utterances)


@pytest.mark.slow  # a whole test set, twice
def test_normalising_text_and_list_alike_moves_b_wer_as_known():
    """Whisper's normaliser on one system: 14.08 without, 13.63 with it on text and list alike."""
    pytest.importorskip("whisper_normalizer", reason="whisper-normalizer holds the rules and spellings")
    if not PUBLISHED:
        pytest.skip(f"{DEEP_BIAS} is absent: the published results are test material, not in the repository")
    files = [DEEP_BIAS / "hyp" / "test-clean.b1.rnnt_baseline.tsv"], DEEP_BIAS / "ref" / "test-clean.biasing_100.tsv"
    scores = [score_files(*files, normaliser=name, samples=0) for name in ("none", "whisper-en")]
    result = [item.systems[0].figures["b_wer"].value for item in scores]
    assert [round(value, 2) for value in result] == [14.08, 13.63]


def test_ids_are_matched_whatever_the_order_and_the_format(tmp_path, reference):
    for text in ("b good bye\na ask maier\n", "good bye (b)\nask maier (a)\n", "b\tgood bye\na\task maier\n"):
        scores = score_files([write(tmp_path / "hyp", text)], reference, samples=0)
        assert [utterance.id for utterance in scores.utterances] == ["a", "b"]
        assert scores.systems[0].biased == Errors(words=1, substitutions=1)
        assert (scores.systems[0].name, scores.reference_source) == ("hyp", str(reference))


def test_results_need_no_other_file(tmp_path):
    rows = [{"id": "a", "hypothesis": "x meyer", "reference": "x", "keywords": ["Meyer"], "predicted": ["meyer"]}]
    scores = score_files([write(tmp_path / "r.jsonl", json.dumps(rows[0]))], samples=0)
    assert scores.systems[0].keywords == scores.selection.counts == KeywordCounts(fp=1)


def test_details_and_answers_come_from_whichever_file_has_them(tmp_path):
    manifest = {"id": "a", "audio": "a.wav", "duration": 3.0, "text": "meyer", "keywords": ["Meyer"], "predicted": []}
    lists = write(tmp_path / "m.jsonl", json.dumps({**manifest, "talk": "t", "speaker": "s"}))
    scores = score_files([write(tmp_path / "h", "a meyer\n")], write(tmp_path / "r", "a meyer\n"), lists, samples=0)
    utterance = scores.utterances[0]
    assert (utterance.duration, utterance.talk, utterance.speaker, utterance.predicted) == (3.0, "t", "s", ())
    assert scores.selection.counts == KeywordCounts(fn=1)


def test_one_list_serves_all_and_replaces_the_rare_words(tmp_path, reference):
    lists = write(tmp_path / "glossary", "Good Bye\nask\n")
    scores = score_files([write(tmp_path / "h", "a ask meyer\nb good by\n")], reference, lists, samples=0)
    assert [utterance.said for utterance in scores.utterances] == [("ask",), ("Good Bye",)]
    assert scores.systems[0].biased == Errors(words=3, substitutions=1)
    assert scores.systems[0].phrases == KeywordCounts(fn=1)
    assert scores.lists_source == str(lists)


def test_without_lists_there_are_only_error_rates(tmp_path):
    scores = score_files([write(tmp_path / "h", "a one\n")], write(tmp_path / "r", "a two\n"), samples=0)
    assert scores.systems[0].figures["wer"].value == 100.0
    assert scores.systems[0].figures["b_wer"].value is None


def test_missing_and_extra_ids_are_named_with_file_and_line(tmp_path, reference):
    hyp = write(tmp_path / "hyp", "a ask meyer\nc hello\n")
    assert refusal([hyp], reference) == (
        f"{hyp}: b missing (line 2 of {reference}); c not in {reference} (line 2 of {hyp}); got 2 utterances, "
        f"expected the 2 of {reference}: a score must cover all utterances; "
        "--missing-as-deletions counts missing utterances as deletions"
    )
    assert "c not in" in refusal([hyp], reference, missing_as_deletions=True)


def test_missing_hypotheses_count_as_deletions_on_request(tmp_path, reference):
    scores = score_files([write(tmp_path / "h", "a ask meyer\n")], reference, missing_as_deletions=True, samples=0)
    assert (scores.systems[0].all, scores.systems[0].missing) == (Errors(words=4, deletions=2), ("b",))


def test_lists_must_be_there_for_every_utterance(tmp_path, reference):
    hyp = write(tmp_path / "h", "a ask meyer\nb good bye\n")
    lists = write(tmp_path / "lists", "a\tMeyer\n")
    assert f"{lists}: b missing (line 2 of {reference})" in refusal([hyp], reference, lists)
    rows = [{"id": "a", "text": "x", "audio": "x", "keywords": []}, {"id": "b", "text": "x", "audio": "x"}]
    partly = write(tmp_path / "partly", "".join(json.dumps(row) + "\n" for row in rows))
    assert f'{partly}:2 (b): no "keywords", which other lines have' in refusal([hyp], partly)


def test_files_without_required_fields_are_refused(tmp_path, reference):
    hyp = write(tmp_path / "h", "a ask meyer\nb good bye\n")
    assert refusal([hyp]) == f"{hyp}:1 (a): no reference; give a file of references with --ref"
    assert f"{reference}:1 (a): no hypothesis, expected text" in refusal([reference], reference)
    assert refusal([hyp, hyp], reference) == f"{hyp}: given twice; give each system's file only once"


def test_systems_must_hold_the_same_references(tmp_path):
    rows = [{"id": "a", "hypothesis": "x", "reference": text} for text in ("x", "y")]
    files = [write(tmp_path / name, json.dumps(row)) for name, row in zip("12", rows, strict=True)]
    assert refusal(files).startswith(f"{files[1]}:1 (a): its reference differs from that in {files[0]}:1")


def test_files_of_equal_name_are_named_by_their_folders(tmp_path, reference):
    files = []
    for folder in "xy":
        (tmp_path / folder).mkdir()
        files.append(write(tmp_path / folder / "hyp.txt", "a ask meyer\nb good bye\n"))
    assert [system.name for system in score_files(files, reference, samples=0).systems] == list(map(str, files))
