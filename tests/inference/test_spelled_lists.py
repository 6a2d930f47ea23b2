"""Lists as people write them, through both stages of a base that reads lower-case words."""

import functools
import unicodedata

import lecture
import numpy as np
import pytest
from fake_stage import FakeStage
from tiny import spoken

from sap2.constants import SPLITS
from sap2.data.lectures import prepare_lectures
from sap2.inference import Pruner, Recogniser, load_recogniser, make_transcriber
from sap2.manifest import read_manifest
from sap2.params import PrepareSection
from sap2.settings import PrunerSettings, RecogniserSettings, TranscriberSettings
from sap2.spelling import FOLDED, ReadList

PLAIN = RecogniserSettings.model_validate(
    {"pruning": {"threshold": None, "first_pass": None}, "inference": {"max_segment": None}}
)
LIST = ["Kathryn Meyer", "Dr. Zorvan", "GPT-4", "gpt 4"]
READ = ["kathryn meyer", "zorvan", "gpt four"]

Folded = functools.partial(FakeStage, spelling=FOLDED)


def test_stages_read_the_folded_list_and_the_transcript_is_spelt():
    stages = [
        Folded(lambda *_: "ask kathryn meyer's group about gpt four"),
        Folded(lambda *_: "kathryn meyer, gpt four"),
        Folded(),
    ]
    result = Recogniser(PLAIN, *stages)(spoken(0.8), LIST)
    assert stages[1].lists == [READ] and stages[0].lists == [["kathryn meyer", "gpt four"]]
    assert result.text == "ask Kathryn Meyer's group about GPT-4" == result.segments[0].text
    assert result.predicted == ["Kathryn Meyer", "GPT-4", "gpt 4"] == list(result.scores)
    assert result.found == ["Kathryn Meyer", "GPT-4", "gpt 4"]


def test_a_base_that_reads_as_given_is_given_the_list_itself():
    stages = [FakeStage(lambda *_: "ask kathryn meyer"), FakeStage(lambda *_: "Kathryn Meyer"), FakeStage()]
    result = Recogniser(PLAIN, *stages)(spoken(0.8), LIST)
    assert stages[1].lists == [LIST] and stages[0].lists == [["Kathryn Meyer"]]
    assert result.text == "ask kathryn meyer" and result.found == ["Kathryn Meyer"]


def test_tags_and_first_pass_work_on_the_folded_list():
    base = Folded(lambda *_: "ask catherine maier", logprob=lambda text, _: 5.0 * ("kathryn meyer" in text))
    stage = Folded(odds={"kathryn meyer": 2.0, "zorvan": -9.0, "gpt four": -9.0})
    pruner = Pruner(stage, base, PrunerSettings(threshold=-0.7, prefilter=2))
    assert [list(scores) for scores in pruner.select([spoken(0.8)], [LIST])] == [["Kathryn Meyer"]]
    assert len(stage.lists[0]) == 2 and "kathryn meyer" in stage.lists[0]
    assert any(text == "ask kathryn meyer" for text, _ in base.weighed)


def test_rescoring_replaces_by_the_folded_keyword_and_spells_it():
    stage = Folded(lambda *_: "ask kathrin maier", logprob=lambda text, _: float(text == "ask kathryn meyer"))
    transcriber = make_transcriber(stage, TranscriberSettings(rescoring=0.5, max_segment=None))
    assert transcriber.transcribe([spoken(0.8)], [["Kathryn Meyer"]]) == ["ask Kathryn Meyer"]
    assert {tuple(words) for _, words in stage.weighed} == {("kathryn meyer",)}


@pytest.mark.parametrize("method", ["pc", "jpi"])
def test_single_stage_methods_spell_as_listed(method):
    answer = {"pc": "ask zorvan", "jpi": "Selected keywords are: zorvan.\nTranscription: ask zorvan"}[method]
    stage = Folded(lambda *_: answer, method=method)
    result = Recogniser(PLAIN.with_changes({"pruning": {"prefilter": 3}}, "test"), stage)(spoken(0.8), LIST)
    assert stage.lists == [READ] and result.text == "ask Zorvan"
    assert result.predicted == (LIST if method == "pc" else ["Dr. Zorvan"]) and result.found == ["Dr. Zorvan"]


def test_the_single_stage_prefilter_keeps_whole_entries():
    stage = Folded(lambda *_: "ask sorvan", method="pc")
    settings = PLAIN.with_changes({"pruning": {"prefilter": 1}}, "test")
    assert Recogniser(settings, stage)(spoken(0.8), LIST).predicted == ["Dr. Zorvan"]
    assert stage.lists == [[], ["zorvan"]]


def test_the_default_corpus_is_read_as_it_is(tmp_path):
    prepare_lectures(
        PrepareSection(train_utterances=400, dev_utterances=100, test_utterances=100, workers=1), tmp_path / "lectures"
    )
    for split in SPLITS:
        for utterance in read_manifest(tmp_path / "lectures" / f"{split}.jsonl"):
            listed = ReadList(utterance.keywords, FOLDED)
            assert listed.read == utterance.keywords == listed.given(listed.read)
            assert listed.restored(utterance.text, listed.read) == utterance.text


# Ways to write a name, and how it is then written in a transcript.
WAYS = {
    "Capitalised": (str.title, str.title),
    "UPPER": (str.upper, str.upper),
    "accents": (lambda word: word.title().replace("e", "é"), lambda word: word.title().replace("e", "é")),
    "decomposed": (
        lambda word: unicodedata.normalize("NFD", word.replace("e", "é")),
        lambda word: word.replace("e", "é"),
    ),
    "possessive": ("{}'s".format, str),
    "quotes": ('"{}"'.format, str),
    "title": (lambda word: f"Dr. {word.title()}", str.title),
}


@pytest.fixture(scope="module")
def heard():
    """What the embedded base hears of the spoken lecture with a list, its names written one way or another."""
    from sap2.data.speech import Synthesiser

    synthesiser = Synthesiser()
    waves = [0.6 * synthesiser.speak(item.replace("NAME", sound), "en-us", 185) for item, sound, _ in lecture.SAID]
    recogniser = load_recogniser(lecture.BASE, settings=PLAIN)
    speech = recogniser.encode([np.asarray(wave, np.float32) for wave in waves])
    names = [*lecture.NAMES, *lecture.UNSAID]

    def heard(way):
        return recogniser.recognise(speech, [[way(name) for name in names]] * len(speech))

    return heard


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
def test_spoken_names_are_written_however_the_list_spells_them(heard, way):
    written, in_text = WAYS[way]
    plain, results = heard(str), heard(written)
    names = [name for *_, name in lecture.SAID]
    assert [transcript.found for transcript in plain] == [[name] for name in names]
    assert [transcript.text for transcript in results] == [
        transcript.text.replace(name, in_text(name)) for transcript, name in zip(plain, names, strict=True)
    ]
    assert [transcript.found for transcript in results] == [[written(name)] for name in names]
    assert [list(map(round, transcript.scores.values())) for transcript in results] == [
        list(map(round, transcript.scores.values())) for transcript in plain
    ]
