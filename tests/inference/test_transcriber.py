"""Stage 2: prompts, rescoring, and the joint answers of JPI."""

import pytest
from fake_stage import FakeStage
from tiny import spoken

from sap2.errors import ModelError
from sap2.inference import make_transcriber
from sap2.prompts import joint_prompt, recognition_prompt
from sap2.settings import TranscriberSettings


def test_the_prompt_says_whether_there_are_keywords():
    stage = FakeStage(lambda frames, words: "ask " + " ".join(words))
    stage_2 = make_transcriber(stage, TranscriberSettings(num_beams=2))
    assert stage_2.transcribe([spoken(0.5)] * 2, [["Maier"], []]) == ["ask Maier", "ask "]
    assert stage.prompts == [recognition_prompt(True), recognition_prompt(False)]
    assert stage.options[0]["search"].num_beams == 2 and not stage.options[0].get("selecting")
    assert stage_2.transcribe([spoken(0.5)]) == ["ask "]


def test_transcripts_are_rescored_with_their_own_lists():
    """With the list each was given; what costs more than it may is left as it was."""
    texts = ["ask mayer", "thank zorban", "ask mayer", "ask mayer"]
    lists = [["Maier", "Dorst"], ["Zorvan"], [], ["Zosnurham"]]
    known = {"ask mayer": -1.0, "ask Maier": -2.5, "thank zorban": -1.0, "thank Zorvan": -4.0}

    def transcribed(rescoring):
        replies = iter(texts)
        stage = FakeStage(lambda *_: next(replies), logprob=lambda text, words: known.get(text, -50.0))
        result = make_transcriber(stage, TranscriberSettings(rescoring=rescoring)).transcribe([spoken(0.5)] * 4, lists)
        return result, stage

    result, stage = transcribed(2.0)
    assert result == ["ask Maier", "thank zorban", "ask mayer", "ask mayer"]
    assert {tuple(words) for _, words in stage.weighed} == {("Maier", "Dorst"), ("Zorvan",)}
    assert transcribed(3.5)[0][1] == "thank Zorvan"
    result, stage = transcribed(None)
    assert result == texts and not stage.weighed


def test_jpi_answers_with_selection_and_transcript():
    said = "Selected keywords are: MAIER, Smith.\nTranscription: ask maier"
    stage = FakeStage(lambda *_: said, method="jpi")
    stage_2 = make_transcriber(stage, TranscriberSettings(rescoring=2.0))
    assert stage_2.integrate([spoken(0.5)], [["Kathryn", "Maier"]])[0][:2] == ("ask maier", ["Maier"])
    assert stage_2.integrate([spoken(0.5)], [["Kathryn"]])[0][:2] == ("ask maier", [])
    assert set(stage.prompts) == {joint_prompt()} and not stage.weighed


def test_a_joint_answer_that_does_not_parse_is_a_transcript():
    stage_2 = make_transcriber(FakeStage(lambda *_: "ask kathryn", method="jpi"), TranscriberSettings())
    assert stage_2.integrate([spoken(0.5)], [["Kathryn"]])[0][:2] == ("ask kathryn", [])


def test_jpi_joins_the_selections_of_segments_in_list_order():
    selecting = "Selected keywords are: {}.\nTranscription: {}".format
    said = iter([selecting("b", "one"), "two", selecting("a", "three")])
    stage_2 = make_transcriber(FakeStage(lambda *_: next(said, ""), method="jpi"), TranscriberSettings())
    assert stage_2.integrate([spoken(5)], [["a", "b", "c"]])[0][:2] == ("one two three", ["a", "b"])


def test_what_another_encoder_made_is_refused():
    speech = make_transcriber(FakeStage(), TranscriberSettings()).encode([spoken(0.5)])
    other = make_transcriber(FakeStage(encoder="recogniser"), TranscriberSettings())
    with pytest.raises(ModelError, match="encoded by base, expected recogniser"):
        other.transcribe(speech)
