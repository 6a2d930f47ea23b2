"""The two-stage recogniser: which adapter runs when, chunked lists, long audio, and what is found in the text."""

import doctest
import shutil

import numpy as np
import peft
import pytest
import torch
from peft.tuners.tuners_utils import BaseTunerLayer
from tiny import build_tiny_base, tone

import sap2.inference.recogniser as module
from sap2.errors import ModelError
from sap2.inference import Answer, Decoding, Recogniser, encode, generate
from sap2.inference.prefilter import closeness
from sap2.model import LORA_TARGETS, load_model, load_processor, save_adapter
from sap2.params import ModelSection
from sap2.prompts import joint_prompt, pruning_prompt, recognition_prompt
from sap2.training import leave_out

DECODING = Decoding(batch_size=4, max_new_tokens=5)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A base that takes 2 s at most, and both adapters; the pruner also with another window."""
    root = tmp_path_factory.mktemp("models")
    build_tiny_base(root / "base", positions=100)
    kinds = {"pruner": {}, "recogniser": {}, "other": {"window": 4}, "pc": {"method": "pc"}, "jpi": {"method": "jpi"}}
    kinds |= {"tagger": {"tagging": 1.0}, "tagged": {"tagging": 1.0}}
    hearing = {f"{stage}-hearing": {} for stage in ("pruner", "recogniser")}  # trained with freeze_vit: false
    for seed, (name, sap) in enumerate((kinds | hearing).items()):
        encoder = r"|.*audio_tower\..*\.(q_proj|fc1)" if name in hearing else ""
        config = peft.LoraConfig(r=2, target_modules=f"({LORA_TARGETS}){encoder}")
        model = peft.get_peft_model(load_model(root / "base", **sap), config)
        torch.manual_seed(seed)
        for key, weight in model.named_parameters():
            if "lora_" in key:
                torch.nn.init.normal_(weight, std=0.5)
        save_adapter(model, load_processor(root / "base", window=sap.get("window", 2)), root / name)
    return root


@pytest.fixture(scope="module")
def recogniser(folders):
    return Recogniser.load(folders / "base", folders / "pruner", folders / "recogniser", decoding=DECODING)


@pytest.fixture
def heard(recogniser, monkeypatch):
    """Replace the model's answers: `heard.answers` maps a stage to a function of (row's frames, keywords)."""

    class Heard:
        rows: list = []
        answers = {"pruner": lambda frames, words: "none", "recogniser": lambda frames, words: "text"}

    def answer(model, processor, states, prompts, keywords, **options):
        stage = model.active_adapter
        Heard.rows += [(stage, len(frames), list(words)) for frames, words in zip(states, keywords, strict=True)]
        texts = [Heard.answers[stage](len(f), w) for f, w in zip(states, keywords, strict=True)]
        # Pieces of one letter; a digit in a keyword says how unsure the answer is of it.
        return [Answer(text, tuple(text), tuple(-float(c) if c.isdigit() else 0.0 for c in text)) for text in texts]

    Heard.rows = []
    monkeypatch.setattr(module, "answers", answer)
    return Heard


def test_examples_in_docstrings_run():
    assert doctest.testmod(module).failed == 0


def test_each_stage_runs_with_its_own_adapter(folders, recogniser):
    wave, words = tone(0.8), ["Kathryn", "Maier"]
    processor = load_processor(folders / "base")
    text = {}
    for name in ("pruner", "recogniser"):
        model = load_model(folders / "base", folders / name)
        prompt = pruning_prompt() if name == "pruner" else recognition_prompt(True)
        selecting = name == "pruner"
        text[name] = generate(model, processor, [wave], prompt, [words], max_new_tokens=5, selecting=selecting)[0]
    assert recogniser.transcribe([wave], [words]) == [text["recogniser"]]
    seen = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "keyword_scores", lambda answer, listed: seen.append(answer.text) or {listed[1]: -1.0})
        assert recogniser.prune([wave], [words]) == [["Maier"]]
    assert seen == [text["pruner"]] and text["pruner"] != text["recogniser"]
    assert recogniser.transcribe([wave], [words]) == [text["recogniser"]]


def test_a_stage_one_that_tags_prunes_by_its_tags_without_an_answer(folders, monkeypatch):
    """Scores are the tags' own, chunk by chunk; half a chance is the default threshold."""
    both = Recogniser.load(folders / "base", folders / "tagger", folders / "tagged", decoding=DECODING, max_list=3)
    assert both.tagging and both.threshold == pytest.approx(np.log(0.5))
    monkeypatch.setattr(module, "answers", lambda *args, **options: pytest.fail("an answer was asked for"))
    monkeypatch.setattr(module, "DOUBTFUL", -100.0)
    waves, lists = [tone(0.8), tone(0.5, 2)], [["Kathryn", "Maier", "Zbigniew", "Dorst", "Myer"], ["Maier"]]
    model, processor = load_model(folders / "base", folders / "tagger"), load_processor(folders / "base")
    weighed = both.weigh(waves, lists)
    for wave, chunks, scores in zip(waves, ([lists[0][:2], lists[0][2:]], [lists[1]]), weighed, strict=True):
        expected = {}
        for chunk in chunks:
            batch = processor([pruning_prompt()], keywords=[chunk], audio=[wave])
            places = processor.keyword_places(batch["input_ids"], [chunk])
            with torch.no_grad():
                odds = model.get_base_model().tag_keywords(places, **batch)[0]
            expected |= zip(chunk, torch.nn.functional.logsigmoid(odds).tolist(), strict=True)
        surest = sorted(expected, key=lambda word: -expected[word])[:3]
        assert scores == pytest.approx({word: expected[word] for word in expected if word in surest}, abs=1e-4)
        assert list(scores) == [word for word in expected if word in surest]
    even = [{word: score for word, score in scores.items() if score >= np.log(0.5)} for scores in weighed]
    assert both.select(waves, lists) == even
    both.threshold = 0.0
    assert both.prune(waves, lists) == [[], []]
    assert not Recogniser.load(folders / "base", folders / "pruner", decoding=DECODING).tagging


def test_a_first_pass_speaks_for_what_it_heard_and_against_what_it_did_not(folders, monkeypatch):
    """Each segment has its own first pass, by the base alone; chunks of the list compete, the best segment counts."""
    weights = {"tag": 1.0, "likeness": 2.0, "likelihood": 0.5, "prior": 1.0}
    both = Recogniser.load(
        folders / "base", folders / "tagger", folders / "tagged", max_list=3, first_pass=weights,
        max_segment=1.0, segment_overlap=0.1,
    )  # fmt: skip
    tagged = {"Zorvan": 0.0, "Maier": 0.0, "Meyr": 0.5, "q": 0.0}
    monkeypatch.setattr(module, "tags", lambda model, processor, states, prompt, lists, **options: [
        {word: tagged[word] for word in words} for words in lists
    ])  # fmt: skip
    texts, asked = ["ask maier", "and zorvan too", "", ""], []

    def bare(model):
        return all(not tuner.active_adapters or tuner.disable_adapters for tuner in model.modules()
                   if isinstance(tuner, BaseTunerLayer))  # fmt: skip

    def answer(model, processor, states, prompts, keywords, **options):
        assert bare(model) and not any(keywords)
        return [Answer(text) for text, _ in zip(texts, states, strict=False)]

    def likely(model, processor, states, prompts, lists, answers, **options):
        assert bare(model) and len(states) == len(answers) and not any(lists)
        asked.extend(sum(answers, []))
        return [[-2.0 * ("Meyr" in text) - 10.0 * (text not in texts) for text in several] for several in answers]

    monkeypatch.setattr(module, "answers", answer)
    monkeypatch.setattr(module, "likelihoods", likely)
    (scores,) = both.weigh([tone(1.6)], [list(tagged)])
    assert "q" not in scores and "ask Maier" in asked and not any("q" in text.split() for text in asked)
    alike = closeness(["maier"], ["Maier", "Meyr"])[0]
    odds = dict(zip(["Maier", "Meyr"], 2.0 * alike + np.array([0.0, 0.5]) + [-5.0, -6.0] + 1.0, strict=True))
    for word, own in odds.items():
        expected = own - np.logaddexp(0.0, np.logaddexp(*odds.values()))
        assert scores.get(word, module.DOUBTFUL) == pytest.approx(max(expected, module.DOUBTFUL), abs=1e-5)
    alone = 2.0 * 2.0 - 5.0 + 1.0
    assert scores["Zorvan"] == pytest.approx(alone - np.logaddexp(0.0, alone), abs=0.01), "hardly any rival there"


def test_pruning_is_the_same_with_stage_2_beside_it_and_without(folders):
    """The first pass is the base's own, so that `sap2 prune` decides as the two stages together do."""
    waves, lists = [tone(0.8), tone(0.5)], [["Maier", "Kathryn", "Zorvan"], ["Myer"]]
    options = {"decoding": DECODING, "first_pass": {"prior": 3.0, "likelihood": 0.01}}
    alone = Recogniser.load(folders / "base", folders / "tagger", **options).weigh(waves, lists)
    both = Recogniser.load(folders / "base", folders / "tagger", folders / "tagged", **options).weigh(waves, lists)
    assert alone == both and any(alone)


def test_transcripts_are_rescored_with_their_own_lists(folders, monkeypatch):
    """By stage 2, with the list it was given; what costs more than it may is left as it was."""
    texts = ["ask mayer", "thank zorban", "ask mayer", "ask mayer"]
    lists = [["Maier", "Dorst"], ["Zorvan"], [], ["Zosnurham"]]
    monkeypatch.setattr(module, "answers", lambda *args, **options: list(map(Answer, texts)))
    asked = []

    def likely(model, processor, states, prompts, keywords, answers, **options):
        assert model.active_adapter == "recogniser" and prompts == [recognition_prompt(True)] * len(states)
        asked.extend(zip(keywords, answers, strict=True))
        known = {"ask mayer": -1.0, "ask Maier": -2.5, "thank zorban": -1.0, "thank Zorvan": -4.0}
        return [[known.get(text, -50.0) for text in several] for several in answers]

    monkeypatch.setattr(module, "likelihoods", likely)
    both = Recogniser.load(
        folders / "base", folders / "pruner", folders / "recogniser", decoding=Decoding(rescoring=2.0)
    )
    heard = both.encode([tone(0.5)] * 4)
    assert both.transcribe(heard, lists) == ["ask Maier", "thank zorban", "ask mayer", "ask mayer"]
    assert {tuple(words) for words, _ in asked} == {("Maier", "Dorst"), ("Zorvan",)}
    both.decoding = Decoding(rescoring=3.5)
    assert both.transcribe(heard, lists)[1] == "thank Zorvan"
    both.decoding, asked[:] = DECODING, []
    assert both.transcribe(heard, lists) == texts and not asked


@pytest.mark.parametrize("odds", [-800.0, -3.0, 0.0, 3.0, 800.0])
def test_log_odds_become_the_log_of_a_chance(odds):
    expected = torch.nn.functional.logsigmoid(torch.tensor(odds, dtype=torch.float64)).item()
    assert module._log_chances({"Maier": odds}) == {"Maier": pytest.approx(expected)}


def test_stages_without_adapters_run_on_the_bare_base(folders):
    wave = tone(0.8)
    bare = generate(
        load_model(folders / "base"), load_processor(folders / "base"), [wave], recognition_prompt(False),
        max_new_tokens=5,
    )  # fmt: skip
    for adapters in ({}, {"pruner": folders / "pruner"}):
        loaded = Recogniser.load(folders / "base", **adapters, decoding=DECODING)
        assert loaded.transcribe([wave]) == bare


def test_adapters_trained_with_other_pooling_are_refused(folders):
    with pytest.raises(ModelError, match="'window': 4.*'window': 2.*train both stages with the same model section"):
        Recogniser.load(folders / "base", folders / "other", folders / "recogniser")


@pytest.mark.parametrize(
    ("pruner", "recogniser"), [("pruner-hearing", "recogniser-hearing"), ("pruner-hearing", "recogniser"),
                               ("pruner", "recogniser-hearing"), ("pruner-hearing", None)],
)  # fmt: skip
def test_adapters_of_the_encoder_each_hear_for_their_own_stage(folders, pruner, recogniser):
    wave, words = tone(0.8), ["Kathryn", "Maier", "Myer"]
    names = {"pruner": pruner, "recogniser": recogniser}
    paths = {stage: None if name is None else folders / name for stage, name in names.items()}
    loaded = Recogniser.load(folders / "base", **paths, decoding=DECODING)
    alone = {stage: load_model(folders / "base", path) for stage, path in paths.items()}
    processor = load_processor(folders / "base")
    expected = {stage: encode(model, processor, [wave])[0] for stage, model in alone.items()}
    assert (expected["pruner"] - expected["recogniser"]).abs().max() > 0.1

    asked, ask = {}, module.answers

    def answers(model, processor, states, *rest, selecting, **options):
        asked["pruner" if selecting else "recogniser"] = states[0]
        return ask(model, processor, states, *rest, selecting=selecting, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "answers", answers)
        first, second = loaded(wave, words), loaded(wave, words)
    assert first == second and first.scores == second.scores
    for stage, states in expected.items():
        torch.testing.assert_close(asked[stage], states, msg=stage)
    text = generate(
        alone["recogniser"], processor, [wave], recognition_prompt(bool(first.predicted)), [first.predicted],
        max_new_tokens=5,
    )  # fmt: skip
    assert [first.text] == text


@pytest.mark.parametrize(("kind", "passes"), [("", 1), ("-hearing", 2)])
def test_the_encoder_runs_once_for_both_stages_unless_an_adapter_changes_it(folders, monkeypatch, kind, passes):
    loaded = Recogniser.load(folders / "base", folders / f"pruner{kind}", folders / f"recogniser{kind}")
    core, batches = loaded.model.get_base_model(), []
    monkeypatch.setattr(
        core, "encode_speech", lambda _run=core.encode_speech, **inputs: batches.append(inputs) or _run(**inputs)
    )
    loaded(tone(0.8), ["Kathryn", "Maier"])
    assert len(batches) == passes
    loaded.prefilter = 1  # a first pass without context hears nothing anew
    loaded(tone(0.8), ["Kathryn", "Maier"])
    assert len(batches) == 2 * passes


def test_call_prunes_then_transcribes_with_what_is_left(recogniser, heard):
    heard.answers["pruner"] = lambda frames, words: "MAIER, Smith"
    heard.answers["recogniser"] = lambda frames, words: "ask kathryn about maier"
    result = recogniser(tone(0.8), ["Kathryn", "Maier", "Myer", "Maier"])
    assert result.predicted == ["Maier"] and result.found == ["Kathryn", "Maier"]
    assert [(stage, words) for stage, _, words in heard.rows] == [
        ("pruner", ["Kathryn", "Maier", "Myer"]),
        ("recogniser", ["Maier"]),
    ]
    assert set(result.timings) == {"encode", "prune", "transcribe", "audio"}
    assert result.timings["audio"] == pytest.approx(0.8, abs=0.05)


@pytest.fixture
def one_model(folders, monkeypatch):
    """Load the one model of a method, with the folder that says there is no pruner; its answers are `answer`s."""

    def load(method, answer):
        leave_out(folders / f"no-{method}", ModelSection(method=method, tagging=0.0))
        loaded = Recogniser.load(folders / "base", folders / f"no-{method}", folders / method, decoding=DECODING)
        asked = []

        def answers(model, processor, states, prompts, keywords, **options):
            assert not options["selecting"] and model.active_adapter == "recogniser"
            asked.extend(zip(prompts, keywords, strict=True))
            return [Answer(answer(words)) for words in keywords]

        monkeypatch.setattr(module, "answers", answers)
        return loaded, asked

    return load


def test_pc_transcribes_with_the_whole_list(one_model):
    recogniser, asked = one_model("pc", lambda words: "ask maier")
    result = recogniser(tone(0.8), ["Kathryn", "Maier"])
    assert (result.text, result.predicted, result.found, result.scores) == (
        "ask maier", ["Kathryn", "Maier"], ["Maier"], {},
    )  # fmt: skip
    assert asked == [(recognition_prompt(True), ["Kathryn", "Maier"])]


def test_jpi_answers_with_selection_and_transcript(one_model):
    recogniser, asked = one_model("jpi", lambda words: "Selected keywords are: MAIER, Smith.\nTranscription: ask maier")
    result = recogniser(tone(0.8), ["Kathryn", "Maier"])
    assert (result.text, result.predicted, result.found) == ("ask maier", ["Maier"], ["Maier"])
    assert asked == [(joint_prompt(), ["Kathryn", "Maier"])]
    assert recogniser.integrate([tone(0.5)], [["Kathryn"]]) == [("ask maier", [])]
    with pytest.raises(ModelError, match="method is jpi, which has no stage 1"):
        recogniser.prune([tone(0.5)], [["Kathryn"]])


def test_a_joint_answer_that_does_not_parse_is_a_transcript(one_model):
    recogniser, _ = one_model("jpi", lambda words: "ask kathryn")
    result = recogniser(tone(0.8), ["Kathryn"])
    assert (result.text, result.predicted, result.found) == ("ask kathryn", [], ["Kathryn"])


def test_jpi_joins_the_selections_of_segments_in_list_order(one_model):
    selecting = "Selected keywords are: {}.\nTranscription: {}".format
    said = iter([selecting("b", "one"), "two", selecting("a", "three")])
    recogniser, _ = one_model("jpi", lambda words: next(said, ""))
    result = recogniser(tone(5), ["a", "b", "c"])
    assert (result.text, result.predicted) == ("one two three", ["a", "b"])


def test_the_pruner_of_another_method_is_refused(folders):
    with pytest.raises(ModelError, match="'method': 'tpi'.*'method': 'jpi'.*train both stages with the same"):
        Recogniser.load(folders / "base", folders / "pruner", folders / "jpi")


def test_an_empty_list_is_not_pruned(recogniser, heard):
    result = recogniser(tone(0.5))
    assert (result.text, result.predicted, result.found) == ("text", [], [])
    assert [stage for stage, _, _ in heard.rows] == ["recogniser"]


def test_longer_lists_are_pruned_in_chunks_and_merged_in_list_order(recogniser, heard, monkeypatch):
    monkeypatch.setattr(recogniser, "max_list", 4)
    words = [f"word{n}" for n in range(10)]
    heard.answers["pruner"] = lambda frames, chunk: f"{chunk[-1]}, word0"
    assert recogniser.prune([tone(0.5), tone(0.6)], [words, words[:3]]) == [
        ["word0", "word2", "word5", "word9"],
        ["word0", "word2"],
    ]
    assert [len(chunk) for _, _, chunk in heard.rows] == [3, 3, 4, 3]


def test_scores_are_the_log_probability_of_a_keywords_tokens(recogniser, heard):
    heard.answers["pruner"] = lambda frames, words: "maier, ab9"
    result = recogniser(tone(0.5), ["ab9", "Kathryn", "Maier"])
    assert result.predicted == ["ab9", "Maier"] == list(result.scores)
    assert result.scores == {"ab9": -9.0, "Maier": 0.0}


def test_real_scores_are_log_probabilities(recogniser):
    """Whatever the random model answers: every answer token is scored, at most 0."""
    seen = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "keyword_scores", lambda answer, listed: seen.append(answer) or {})
        recogniser.prune([tone(0.5), tone(0.8)], [["Kathryn"], ["Maier", "Myer"]])
    for answer in seen:
        assert len(answer.pieces) == len(answer.logprobs) > 0 and all(score <= 0 for score in answer.logprobs)


def test_threshold_drops_what_the_pruner_is_unsure_of(recogniser, heard, monkeypatch):
    heard.answers["pruner"] = lambda frames, words: "ab3, ab6, ab9"
    words = ["ab9", "ab3", "ab6"]
    assert recogniser.prune([tone(0.5)], [words]) == [words]
    monkeypatch.setattr(recogniser, "threshold", -7.0)
    assert recogniser.prune([tone(0.5)], [words]) == [["ab3", "ab6"]]


def test_chunks_and_segments_are_merged_by_the_best_score(recogniser, heard, monkeypatch):
    """Each chunk of four selects two; four of the ten survive, the surest, in list order."""
    monkeypatch.setattr(recogniser, "max_list", 4)
    words = [f"word{n}" for n in range(9, -1, -1)]
    heard.answers["pruner"] = lambda frames, chunk: f"{chunk[0]}, {chunk[-1]}"
    assert recogniser.prune([tone(0.5)], [words]) == [["word6", "word4", "word3", "word0"]]
    heard.rows.clear()
    once = iter(["ab9", "ab9, ab1"] + ["none"] * 9)
    heard.answers["pruner"] = lambda frames, chunk: next(once)
    assert recogniser.select([tone(5)], [["ab1", "ab9"]]) == [{"ab1": -1.0, "ab9": -9.0}]


def test_prefilter_cuts_longer_lists_by_a_first_pass_without_context(recogniser, heard, monkeypatch):
    monkeypatch.setattr(recogniser, "prefilter", 3)
    heard.answers["recogniser"] = lambda frames, words: "ask cathrin and mayer"
    heard.answers["pruner"] = lambda frames, words: ", ".join(words)
    long = [f"zorv{letter}k" for letter in "abcdefgh"] + ["Kathryn", "Maier"]
    found = recogniser.prune([tone(0.5), tone(0.6)], [["b", "a"], long])
    assert found[0] == ["b", "a"] and len(found[1]) == 3 and found[1][-2:] == ["Kathryn", "Maier"]
    first, *rest = heard.rows
    assert (first[0], first[2]) == ("recogniser", []) and [len(words) for _, _, words in rest] == [2, 3]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"threshold": 0.5}, "threshold is 0.5, must be a log-probability"),
        ({"prefilter": 0}, "prefilter is 0, must be"),
        ({"max_segment": 0.5}, "max_segment is 0.5, segment_overlap 1.0; expected at least 1 s"),
        ({"segment_overlap": -1.0}, "segment_overlap -1.0; expected"),
    ],
)
def test_settings_out_of_range_are_refused(recogniser, options, message):
    with pytest.raises(ModelError, match=message):
        Recogniser(recogniser.model, recogniser.processor, **options)


def test_long_recordings_are_cut_and_their_texts_and_keywords_joined(recogniser, heard):
    """The tiny base takes 2 s: 5 s are three or more pieces, each asked about the whole list."""
    heard.answers["pruner"] = lambda frames, words: f"word{sum(stage == 'pruner' for stage, _, _ in heard.rows) - 1}"
    count = iter(range(100))
    heard.answers["recogniser"] = lambda frames, words: ["one", "", "three", "four", "five"][next(count)]
    speech = recogniser.encode([tone(5), tone(1)])
    pieces = len(speech[0].states)
    assert pieces >= 3 and len(speech[1].states) == 1
    words = [f"word{n}" for n in range(9)]
    predicted = recogniser.prune(speech[:1], [words])[0]
    assert predicted == [f"word{pieces - 1}"]
    text = recogniser.transcribe(speech[:1], [predicted])[0]
    assert text.split() == [word for word in ["one", "", "three", "four", "five"][:pieces] if word]


def test_segments_have_the_exact_times_of_the_cuts(recogniser, heard):
    audio = np.concatenate([tone(1.5), np.zeros(4000, np.float32), tone(2.2)])
    transcript = recogniser(audio)
    assert len(transcript.segments) > 1 and transcript.segments[0].start == 0
    assert transcript.segments[-1].end == transcript.timings["audio"] == len(audio) / 16_000
    for one, following in zip(transcript.segments, transcript.segments[1:], strict=False):
        assert one.start < following.start <= one.end and one.end - one.start <= recogniser.segment_limit
    assert " ".join(one.text for one in transcript.segments if one.text) == transcript.text


def test_words_heard_in_two_segments_are_written_once(recogniser, heard):
    texts = iter(["so we turn to", "to Meyer", "then on to Zorvan"])
    heard.answers["recogniser"] = lambda frames, words: next(texts)
    speech = recogniser.encode([tone(3.5)])
    [[first, second, third]] = [one.spans for one in speech]
    assert first[1] > second[0] and second[1] > third[0]
    transcript = recogniser.recognise(speech, [["Meyer"]])[0]
    assert transcript.text == "so we turn to Meyer then on to Zorvan" and transcript.found == ["Meyer"]
    assert [one.text for one in transcript.segments] == ["so we turn to", "Meyer", "then on to Zorvan"]
    texts = iter(["so we turn to", "to Meyer", "then on to Zorvan"])
    assert recogniser.transcribe(speech) == [transcript.text]


def test_a_list_follows_its_segments_time(recogniser, heard):
    """Each segment is asked about, and written with, what was shown while it was said, and nothing else."""
    heard.answers["pruner"] = lambda frames, words: ", ".join(words)
    heard.answers["recogniser"] = lambda frames, words: words[0]
    names, asked = ["Meyer", "Zorvan", "Kathryn", "Quine"], []

    def shown(start, end):
        asked.append((start, end))
        return [names[len(asked) - 1], "always"]

    transcript = recogniser.recognise([tone(3.5), tone(1)], [shown, ["other"]])[0]
    assert asked == [(one.start, one.end) for one in transcript.segments] and len(asked) >= 2
    names = names[: len(asked)]
    for stage in ("pruner", "recogniser"):
        lists = [words for which, _, words in heard.rows if which == stage]
        assert lists == [*([name, "always"] for name in names), ["other"]]
    assert transcript.predicted == ["Meyer", "always", *names[1:]] and transcript.found == names
    assert list(transcript.scores) == transcript.predicted


def test_segments_may_be_shorter_than_the_encoder_takes(folders):
    options = {"max_segment": 1.2, "segment_overlap": 0.0}
    loaded = Recogniser.load(folders / "base", folders / "pruner", folders / "recogniser", **options)
    spans = loaded.encode([tone(4)])[0].spans
    assert all(end - start <= 1.2 for start, end in spans) and spans[0][1] == spans[1][0]


def test_several_recordings_at_once_get_what_each_gets_alone(recogniser):
    waves, lists = [tone(1.0, 1), tone(3.5, 2), tone(0.5, 3)], [["Kathryn", "Maier"], [], ["graphs"]]
    together = recogniser.recognise(waves, lists)
    assert together == [recogniser(wave, words) for wave, words in zip(waves, lists, strict=True)]
    assert [len(one.segments) for one in together] == [1, 3, 1]


def test_real_model_takes_audio_of_any_length(recogniser):
    result = recogniser(tone(4.5), ["Kathryn"])
    assert isinstance(result.text, str) and result.timings["audio"] == pytest.approx(4.5, abs=0.2)


def test_audio_comes_from_a_path_too(recogniser, tmp_path):
    soundfile = pytest.importorskip("soundfile")
    wave = tone(0.9)
    soundfile.write(tmp_path / "a.wav", wave, 16_000, subtype="FLOAT")
    first, second = recogniser.encode([tmp_path / "a.wav", wave])
    np.testing.assert_allclose(first.states[0], second.states[0], atol=1e-3)


@pytest.fixture(scope="module")
def checkpoints(folders):
    """Each adapter merged into a base of its own: `pruner-whole`, `recogniser-whole`."""
    for name in ("pruner", "recogniser", "jpi"):
        merged = load_model(folders / "base", folders / name).merge_and_unload()
        merged.save_pretrained(folders / f"{name}-whole")
        load_processor(folders / "base").save_pretrained(folders / f"{name}-whole")
    return folders


def test_two_checkpoints_answer_as_one_base_with_two_adapters(checkpoints, recogniser):
    folders = [checkpoints / f"{name}-whole" for name in ("pruner", "recogniser")]
    two = Recogniser.from_checkpoints(*folders, decoding=DECODING)
    assert two.pruner[0].model.audio_tower is two.model.model.audio_tower, "the same weights are kept once"
    waves, lists = [tone(1.0, 1), tone(3.5, 2), tone(0.5, 3)], [["Kathryn", "Maier", "Myer"], [], ["graphs", "Maier"]]
    ours, expected = two.recognise(waves, lists), recogniser.recognise(waves, lists)
    assert ours == expected and any(one.predicted for one in expected)
    for one, other in zip(ours, expected, strict=True):
        assert one.scores == pytest.approx(other.scores, abs=1e-4)
    speech = two.encode(waves)
    assert speech[0].states[0].shape == recogniser.encode(waves[:1])[0].states[0].shape
    assert two.prune(speech, lists) == [one.predicted for one in expected]


def test_checkpoints_with_encoders_of_their_own_each_hear_with_theirs(checkpoints, recogniser, tmp_path):
    other = load_model(checkpoints / "pruner-whole")
    with torch.no_grad():
        for weight in other.model.audio_tower.parameters():
            weight += 0.05 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(1))
    other.save_pretrained(tmp_path / "pruner")
    load_processor(checkpoints / "base").save_pretrained(tmp_path / "pruner")
    two = Recogniser.from_checkpoints(tmp_path / "pruner", checkpoints / "recogniser-whole", decoding=DECODING)
    alone = Recogniser.load(tmp_path / "pruner", decoding=DECODING)
    waves, lists = [tone(1.0, 1), tone(3.5, 2)], [["Kathryn", "Maier"], ["Myer", "graphs", "Maier"]]
    speech = two.encode(waves)
    assert speech[0].states[0].shape[1] == 2 * recogniser.encode(waves[:1])[0].states[0].shape[1]
    scores = two.select(speech, lists)
    assert [list(one) for one in scores] == alone.prune(waves, lists)
    for one, other in zip(scores, alone.select(waves, lists), strict=True):
        assert one == pytest.approx(other, abs=1e-4)
    assert two.transcribe(speech, lists) == recogniser.transcribe(waves, lists)
    assert [one.text for one in two.recognise(waves, lists)] == recogniser.transcribe(waves, two.prune(waves, lists))


def test_a_checkpoint_of_one_stage_is_no_part_of_two(checkpoints):
    with pytest.raises(ModelError, match="jpi-whole: its method is jpi, a model of one stage; load it alone"):
        Recogniser.from_checkpoints(checkpoints / "pruner-whole", checkpoints / "jpi-whole")


def test_whole_words_alone_are_found():
    text = "Ask JON-PAUL about New\nYork, the o'neill prize and c++ (Maier)."
    listed = ["Jon", "jon-paul", "new york", "York", "O'Neill", "Neill", "C++", "maier", "Mai", "", "prize"]
    found = module.standing_in(text, listed)
    assert found == ["jon-paul", "new york", "York", "O'Neill", "C++", "maier", "prize"]


def test_half_precision_bases_are_run_in_float32_on_a_cpu(folders, tmp_path):
    half = tmp_path / "half"
    shutil.copytree(folders / "base", half)
    load_model(folders / "base", dtype=torch.float16).save_pretrained(half)
    assert Recogniser.load(half).model.dtype == torch.float32
    assert Recogniser.load(half, dtype="auto").model.dtype == torch.float16
