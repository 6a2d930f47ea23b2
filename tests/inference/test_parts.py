"""Stage 1 over whole splits: in parts that an interruption does not lose, by several processes, in flat memory."""

import gc
import json

import peft
import pytest
import soundfile
from tiny import build_tiny_base, tone

from sap2.errors import ModelError
from sap2.inference import corpus, parts
from sap2.manifest import Utterance, read_manifest, write_manifest
from sap2.model import LORA_TARGETS, load_model, load_processor, save_adapter
from sap2.settings import PrunerSettings

SETTINGS = PrunerSettings(batch_size=1, threshold=None, first_pass=None, max_new_tokens=6)
PART = 1 * parts.BATCHES_AHEAD * parts.PART_BATCHES  # utterances


def make(number: int) -> Utterance:
    return Utterance(
        id=f"u{number:05d}", audio=f"audio/{number % 7}.wav", duration=0.3, text=f"ask name{number}",
        keywords=[f"name{number}", f"other{number}"],
    )  # fmt: skip


class Marking:
    """Selects each list's first keyword, and notes what it was asked about; fails at one utterance."""

    asked: list[str] = []
    fails_at = ""

    def score_keywords(self, audio, keywords):
        if self.fails_at in {words[0] for words in keywords}:
            raise KeyboardInterrupt
        self.asked.extend(words[0] for words in keywords)
        return [{words[0]: -0.5} for words in keywords]


@pytest.fixture
def marking(monkeypatch):
    monkeypatch.setattr(Marking, "asked", [])
    monkeypatch.setattr(parts, "load_pruner", lambda *_, **__: Marking())
    return Marking


def prune(folder, **options):
    manifests = {"train": folder / "lists" / "train.jsonl"}
    return corpus.prune_splits(SETTINGS, manifests, folder / "base", folder / "pruner", folder / "pruned", **options)


def test_an_interrupted_run_keeps_the_parts_it_has_scored(tmp_path, marking, monkeypatch):
    write_manifest(tmp_path / "lists" / "train.jsonl", [make(number) for number in range(3 * PART - 9)])
    monkeypatch.setattr(Marking, "fails_at", f"name{2 * PART + 1}")
    with pytest.raises(KeyboardInterrupt):
        prune(tmp_path)
    assert not (tmp_path / "pruned").exists() and len(marking.asked) == 2 * PART
    monkeypatch.setattr(Marking, "fails_at", "")
    marking.asked.clear()
    facts = prune(tmp_path)
    assert sorted(marking.asked) == sorted(f"name{number}" for number in range(2 * PART, 3 * PART - 9))
    rows = read_manifest(tmp_path / "pruned" / "train.jsonl")
    assert [row.predicted for row in rows] == [[f"name{number}"] for number in range(3 * PART - 9)]
    assert (facts["train"]["keyword_recall"], facts["train"]["keyword_precision"]) == (1.0, 1.0)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["lists", "pruned"], "nothing stays of the parts"


def test_other_settings_and_other_lists_are_scored_anew(tmp_path, marking, monkeypatch):
    def interrupted(count: int, **settings) -> int:
        write_manifest(tmp_path / "lists" / "train.jsonl", [make(number) for number in range(count)])
        monkeypatch.setattr(Marking, "fails_at", f"name{PART + 1}")
        marking.asked.clear()
        changed = SETTINGS.model_copy(update=settings)
        with pytest.raises(KeyboardInterrupt):
            corpus.prune_splits(
                changed, {"train": tmp_path / "lists" / "train.jsonl"}, tmp_path, tmp_path, tmp_path / "pruned"
            )
        return len(marking.asked)

    assert interrupted(2 * PART) == PART
    assert interrupted(2 * PART) == 0
    assert interrupted(2 * PART, threshold=-1.0) == 0, "a threshold is applied later"
    assert interrupted(2 * PART, stop_bias=-1.0) == PART
    assert interrupted(2 * PART + 1) == PART


def test_no_more_than_a_part_is_held_in_memory(tmp_path, marking, monkeypatch):
    alive = []

    def count(*_):
        if len(alive) % 64 == 0:
            gc.collect()
        alive.append(sum(type(one) is Utterance for one in gc.get_objects()) if len(alive) % 64 == 0 else 0)

    def scored(self, audio, keywords, score=Marking.score_keywords):
        count()
        return score(self, audio, keywords)

    def written(*arguments, relocated=corpus.relocated):
        count()
        return relocated(*arguments)

    monkeypatch.setattr(Marking, "score_keywords", scored)
    monkeypatch.setattr(corpus, "relocated", written)
    write_manifest(tmp_path / "lists" / "train.jsonl", (make(number) for number in range(6 * PART)))
    prune(tmp_path)
    assert len(alive) == 6 * PART / parts.BATCHES_AHEAD + 6 * PART
    assert PART <= max(alive) < 2 * PART and max(alive[-6 * PART :]) < 16


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A base, a pruner and a corpus of two parts."""
    folder = tmp_path_factory.mktemp("trained")
    base = build_tiny_base(folder / "base", positions=100)
    model = peft.get_peft_model(load_model(base), peft.LoraConfig(r=2, target_modules=LORA_TARGETS))
    save_adapter(model, load_processor(base), folder / "pruner")
    (folder / "lists" / "audio").mkdir(parents=True)
    for number in range(7):
        soundfile.write(folder / "lists" / "audio" / f"{number}.wav", tone(0.3, number), 16_000)
    write_manifest(folder / "lists" / "train.jsonl", [make(number) for number in range(PART + 6)])
    return folder


@pytest.mark.slow
def test_several_processes_select_what_one_selects(trained):
    settings = SETTINGS.model_copy(update={"speech_only": False})
    manifests = {"train": trained / "lists" / "train.jsonl"}
    written = []
    for processes in (1, 2):
        output = trained / f"pruned-{processes}"
        corpus.prune_splits(settings, manifests, trained / "base", trained / "pruner", output, processes=processes)
        written.append((output / "train.jsonl").read_text())
        summary = json.loads((output / "summary.json").read_text())
        assert summary["train"]["utterances"] == PART + 6
    assert written[0] == written[1]
    assert any(one.predicted for one in read_manifest(trained / "pruned-1" / "train.jsonl"))


@pytest.mark.slow
def test_an_error_in_a_process_reaches_the_caller(trained, tmp_path):
    manifests = {"train": trained / "lists" / "train.jsonl"}
    (tmp_path / "pruner").mkdir()
    with pytest.raises(ModelError, match="pruner: no adapter_config.json"):
        corpus.prune_splits(
            SETTINGS, manifests, trained / "base", tmp_path / "pruner", tmp_path / "pruned", processes=2
        )
