"""Whole splits: answers are matched to ids, every context has its list, and outputs are atomic."""

import json

import pytest

from sap2.errors import InputError
from sap2.inference import corpus, parts
from sap2.inference.transcriber import Written
from sap2.manifest import Utterance, read_manifest, write_manifest
from sap2.params import InferenceSection, ModelSection
from sap2.settings import DEFAULT_RUNTIME, PrunerSettings, TranscriberSettings
from sap2.training import leave_out


def make(number: int, **fields) -> Utterance:
    return Utterance(
        id=f"u{number:02d}", audio=f"audio/u{number:02d}.flac", duration=1.0, text=f"ask name{number}",
        keywords=[f"name{number}", f"other{number}"], **fields,
    )  # fmt: skip


class Echo:
    """Answers with what it was given, so that any mix-up of utterances shows."""

    method, least = "tpi", None
    asked = 0

    def __init__(self, settings):
        self.settings, self.threshold, self.stage = settings, getattr(settings, "threshold", None), self

    @property
    def transcriber(self):
        return self

    def encode(self, audio):
        return [str(path) for path in audio]

    def score_keywords(self, audio, keywords):
        """The spoken word, less surely from utterance to utterance; of u03 the other one, least surely but one."""
        numbers = [int(path.stem[1:]) for path in audio]
        return [
            {words[1]: -1.85} if number == 3 else {words[0]: -number / 10}
            for number, words in zip(numbers, keywords, strict=True)
        ]

    def integrate(self, speech, keywords):
        type(self).asked += 1
        return [
            Written(f"{path} heard {' '.join(words)}", words[:1]) for path, words in zip(speech, keywords, strict=True)
        ]


@pytest.fixture
def loaded(monkeypatch):
    """Settings of every model that was loaded."""
    calls = []

    def load_pruner(base, pruner, settings, **options):
        calls.append(settings)
        return Echo(settings)

    def load_recogniser(base, recogniser=None, settings=None, device=None):
        calls.append(settings.inference)
        return Echo(settings.inference)

    monkeypatch.setattr(parts, "load_pruner", load_pruner)
    monkeypatch.setattr(corpus, "load_recogniser", load_recogniser)
    return calls


PLAIN = PrunerSettings(batch_size=1, max_list=200, threshold=None, first_pass=None, prefilter=None)
CONTEXTS = InferenceSection().contexts


def prune(tmp_path, manifests, pruner="pruner", threshold=None, **limits):
    settings = PLAIN.model_copy(update={"threshold": threshold})
    return corpus.prune_splits(settings, manifests, "base", pruner, tmp_path / "pruned", **limits)


def decode(tmp_path, source, contexts=CONTEXTS, adapter="recogniser", **settings):
    result = TranscriberSettings(**settings)
    return corpus.decode_split(result, contexts, source, "base", adapter, tmp_path / "results")


def test_pruned_manifests_keep_utterances_and_audio_paths(tmp_path, loaded):
    source = tmp_path / "prepared" / "dev.jsonl"
    write_manifest(source, [make(number, talk="t") for number in range(20)])
    facts = prune(tmp_path, {"dev": source})
    pruned = read_manifest(tmp_path / "pruned" / "dev.jsonl")
    assert [utterance.id for utterance in pruned] == [f"u{number:02d}" for number in range(20)]
    for number, utterance in enumerate(pruned):
        assert utterance.predicted == [f"other{number}" if number == 3 else f"name{number}"]
        assert utterance.audio == f"../prepared/audio/{utterance.id}.flac"
        assert utterance.talk == "t"
    assert (facts["dev"]["utterances"], facts["dev"]["keyword_recall"]) == (20, 0.95)
    assert facts["dev"]["keyword_precision"] == 0.95
    assert facts["dev"]["false_alarms_per_100"] == 5.0
    assert json.loads((tmp_path / "pruned" / "summary.json").read_text()) == facts
    assert loaded == [PLAIN]


def test_train_is_pruned_only_for_predicted_lists(tmp_path, loaded):
    manifests = {split: tmp_path / "prepared" / f"{split}.jsonl" for split in ("train", "dev")}
    for manifest in manifests.values():
        write_manifest(manifest, [make(number) for number in range(20)])
    for train in (False, True):
        facts = prune(tmp_path, manifests, train=train)
        rows = read_manifest(tmp_path / "pruned" / "train.jsonl")
        assert [row.audio for row in rows] == [f"../prepared/audio/{row.id}.flac" for row in rows] and len(rows) == 20
        assert all((row.predicted is not None) == train for row in rows) and ("train" in facts) == train
        assert read_manifest(tmp_path / "pruned" / "dev.jsonl")[0].predicted == ["name0"]


@pytest.mark.parametrize(
    ("settings", "threshold", "left"),
    [
        ({}, None, 20),
        ({"threshold": -1.0}, -1.0, 10),
        ({"max_false_alarms": 4.9}, -1.8, 18),
        ({"max_false_alarms": 5.0}, None, 20),
    ],
)
def test_the_threshold_applies_to_all_splits(tmp_path, loaded, settings, threshold, left):
    manifests = {split: tmp_path / "prepared" / f"{split}.jsonl" for split in ("train", "dev", "test")}
    for split, path in manifests.items():
        # Of train every selection is wrong: the threshold found on it would be another.
        rows = [make(number) for number in range(20)]
        write_manifest(path, [row.model_copy(update={"text": "x"}) for row in rows] if split == "train" else rows)
    facts = prune(tmp_path, manifests, **settings)
    assert list(facts) == ["method", "threshold", "train", "dev", "test"] and facts["threshold"] == threshold
    noted = json.loads((tmp_path / "pruned" / "settings.json").read_text())
    runtime = DEFAULT_RUNTIME.model_dump()
    assert noted == {"pruning": PLAIN.model_dump() | {"threshold": threshold}, "runtime": runtime}
    for split in manifests:
        assert (
            sum(len(utterance.predicted) for utterance in read_manifest(tmp_path / "pruned" / f"{split}.jsonl")) == left
        )
    lines = (tmp_path / "pruned" / "threshold.csv").read_text().splitlines()
    assert lines[0] == "threshold,recall,precision,false_alarms_per_100"
    assert lines[1] == "-1.9,0.95,0.95,5.0" and lines[-1] == "0.0,0.05,1.0,0.0", "of all that are selected"


@pytest.mark.parametrize(("pruned", "contexts"), [(True, {"none", "predicted"}), (False, {"none"})])
def test_real_time_factors_include_both_stages_if_run(tmp_path, loaded, monkeypatch, pruned, contexts):
    clock = iter(range(100))
    monkeypatch.setattr(corpus.time, "monotonic", lambda: next(clock))  # encoding and each context take one second
    source = tmp_path / "pruned" / "test.jsonl"
    write_manifest(source, [make(number, predicted=[]) for number in range(4)])
    if pruned:
        (tmp_path / "pruned" / "summary.json").write_text('{"test": {"seconds": 6.0}}')
    decode(tmp_path, source, ["none", "predicted"])
    factors = json.loads((tmp_path / "results" / "timing.json").read_text())["real_time_factor"]
    assert set(factors) == contexts
    assert factors["none"] == 2 / 4 and factors.get("predicted", 8 / 4) == 8 / 4


@pytest.mark.parametrize("method", ["pc", "jpi"])
def test_a_method_without_stage_1_passes_whole_lists_on(tmp_path, loaded, method):
    source, folder = tmp_path / "prepared" / "dev.jsonl", tmp_path / "pruner"
    write_manifest(source, [make(number) for number in range(4)])
    leave_out(folder, ModelSection(method=method))
    facts = prune(tmp_path, {"dev": source}, folder, max_false_alarms=0.0)
    assert not loaded, "no model is asked"
    assert [utterance.predicted for utterance in read_manifest(tmp_path / "pruned" / "dev.jsonl")] == [
        [f"name{number}", f"other{number}"] for number in range(4)
    ]
    assert (facts["method"], facts["dev"]["keyword_recall"], facts["dev"]["keyword_precision"]) == (method, 1.0, 0.5)


def test_a_joint_answers_selection_is_scored_as_stage_1s(tmp_path, loaded, monkeypatch):
    source = tmp_path / "pruned" / "test.jsonl"
    rows = [make(number) for number in range(3)]
    write_manifest(source, [row.with_predicted(row.keywords) for row in rows])
    monkeypatch.setattr(Echo, "method", "jpi")
    monkeypatch.setattr(Echo, "asked", 0)
    decode(tmp_path, source)
    assert Echo.asked == 3, "full and predicted are one question"
    for context, selected in (("none", []), ("full", ["name1"]), ("predicted", ["name1"]), ("oracle", ["name1"])):
        lines = (tmp_path / "results" / f"{context}.jsonl").read_text().splitlines()
        row = json.loads(lines[1])
        assert (row["predicted"], row["context"]) == (selected, context)
        assert row["messages"][0]["content"].count("First select keywords") == 1
    from sap2.evaluation.testset import score_contexts

    paths = {context: tmp_path / "results" / f"{context}.jsonl" for context in ("none", "predicted")}
    assert score_contexts(paths, samples=0).selection.counts.tp == 3


def test_every_context_gets_its_own_list(tmp_path, loaded):
    source = tmp_path / "pruned" / "test.jsonl"
    write_manifest(source, [make(number, predicted=[f"other{number}"]) for number in range(3)])
    decode(tmp_path, source, num_beams=3, max_segment=2.0)
    given = {"none": [], "full": ["name1", "other1"], "predicted": ["other1"], "oracle": ["name1"]}
    for context in CONTEXTS:
        rows = [json.loads(line) for line in (tmp_path / "results" / f"{context}.jsonl").read_text().splitlines()]
        assert [row["id"] for row in rows] == ["u00", "u01", "u02"]
        row = rows[1]
        assert (row["context"], row["given"], row["reference"]) == (context, given[context], "ask name1")
        assert (
            row["hypothesis"] == row["response"] == f"{source.parent}/audio/u01.flac heard {' '.join(given[context])}"
        )
        assert (row["labels"], row["predicted"], row["keywords"]) == ("ask name1", ["other1"], ["name1", "other1"])
        assert f"<|startofcontext|>{', '.join(given[context])}<|endofcontext|>" in row["messages"][0]["content"]
        assert row["audio"] == "../pruned/audio/u01.flac"
    (settings,) = loaded
    assert (settings.num_beams, settings.max_segment) == (3, None), "utterances of a manifest are not cut"
    noted = json.loads((tmp_path / "results" / "settings.json").read_text())["inference"]
    assert (noted["num_beams"], noted["max_segment"]) == (3, 2.0), "what is noted is how long recordings are cut"


def test_an_unpruned_split_is_refused_before_loading(tmp_path, loaded):
    source = tmp_path / "test.jsonl"
    write_manifest(source, [make(0, predicted=[]), make(1)])
    with pytest.raises(InputError, match=r"test.jsonl \(u01\): 1 of 2 utterances have no `predicted`"):
        decode(tmp_path, source)
    assert not loaded and not (tmp_path / "results").exists()
    decode(tmp_path, source, ["oracle"])
    assert {path.name for path in (tmp_path / "results").iterdir()} == {"oracle.jsonl", "settings.json", "timing.json"}


@pytest.mark.parametrize("lists", ["oracle", None])
def test_results_name_the_lists_the_recogniser_was_trained_on(tmp_path, loaded, lists):
    source, adapter = tmp_path / "test.jsonl", tmp_path / "recogniser"
    write_manifest(source, [make(0, predicted=[])])
    adapter.mkdir()
    (adapter / "training.json").write_text(json.dumps({"steps": 3} | ({"lists": lists} if lists else {})))
    decode(tmp_path, source, ["oracle"], adapter)
    noted = tmp_path / "results" / "recogniser.json"
    assert noted.is_file() == bool(lists) and (not lists or json.loads(noted.read_text()) == {"lists": "oracle"})


def test_a_failure_leaves_the_old_results_alone(tmp_path, loaded, monkeypatch):
    source = tmp_path / "test.jsonl"
    write_manifest(source, [make(0, predicted=[])])
    decode(tmp_path, source)
    before = (tmp_path / "results" / "none.jsonl").read_bytes()
    monkeypatch.setattr(Echo, "integrate", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        decode(tmp_path, source)
    assert (tmp_path / "results" / "none.jsonl").read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["results", "test.jsonl"]
