"""Whole trainings of a tiny base: the loss falls, what is saved was trained, an interruption changes nothing."""

import json
import math
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import huggingface_hub
import psutil
import pytest
import torch
from emissary import Pod
from safetensors.torch import load_file
from tiny import build_tiny_base
from transformers.integrations import is_deepspeed_zero3_enabled

import sap2
from sap2.errors import Abandoned, InputError, ModelError, Stopped
from sap2.heartbeat import beat
from sap2.manifest import read_manifest
from sap2.model import load_model, load_processor, sap_settings
from sap2.params import LoraSection, ModelSection, RecogniserSection, SpecAugment
from sap2.training import adapters, checkpoints, schedule, train, worker
from sap2.training.collator import Collator, Examples
from sap2.training.lists import ListDrawer


class Curves:
    """A tracker that keeps what it gets, and can stop a run as a crash or Kubernetes would."""

    def __init__(self, crash_at: int | None = None, terminate_at: int | None = None):
        self.rows: list[tuple[int, dict]] = []
        self.crash_at, self.terminate_at = crash_at, terminate_at

    def log(self, metrics, step):
        self.rows.append((step, metrics))
        if step == self.crash_at:
            raise KeyboardInterrupt
        if step == self.terminate_at:
            os.kill(os.getpid(), signal.SIGTERM)

    def of(self, name):
        return [metrics[name] for _, metrics in self.rows if name in metrics]


def weights(folder: Path):
    return load_file(folder / "adapter_model.safetensors")


def assert_same_weights(first: Path, second: Path, tolerance: float = 1e-6):
    for name, tensor in weights(first).items():
        torch.testing.assert_close(weights(second)[name], tensor, rtol=tolerance, atol=tolerance)


def test_the_loss_falls_and_the_saved_adapter_gives_the_dev_loss(job, corpus, tmp_path):
    curves = Curves()
    summary = job(max_steps=30, batch_size=6, tracker=curves, cache_encoder=True)
    losses = curves.of("loss")
    assert losses[-1] < 0.7 * losses[0]
    kept = json.loads((tmp_path / "adapter" / "training.json").read_text())
    assert summary == summary | kept and "samples_per_second" not in kept
    assert summary["steps"] == 30 and summary["final_loss"] == losses[-1] and summary["lists"] == "oracle"

    adapter = tmp_path / "adapter"
    model, processor = load_model(corpus / "base", adapter), load_processor(adapter)
    rows = read_manifest(corpus / "dev.jsonl")
    examples = Examples(rows, ListDrawer("recogniser", rows, seed=1, no_context_share=0.15))
    with torch.no_grad():
        batch = Collator(processor, corpus / "dev.jsonl")([examples[index] for index in range(len(rows))])
        assert float(model(**batch).loss) == pytest.approx(summary["dev_loss"], abs=0.02)


def test_output_is_an_adapter_folder_and_no_checkpoint_stays(job, tmp_path):
    job(stage="pruner", cache_encoder=True)
    names = {path.name for path in (tmp_path / "adapter").iterdir()}
    expected = ["adapter_model.safetensors", "adapter_config.json", "sap_config.json", "tokenizer.json"]
    assert {*expected, "training.json"} <= names
    assert not any(name.endswith((".bin", ".pt", ".pth")) or name == "README.md" for name in names)
    assert not [path for path in (tmp_path / "checkpoints" / "pruner").rglob("*")]
    assert list((tmp_path / "checkpoints" / "encoder").glob("speech-*.safetensors"))


def test_an_adapter_says_the_method_it_was_trained_for(job, tmp_path):
    """PC and JPI learn other answers from other lists; the recogniser takes the method from the folder."""
    losses = {}
    for method in ("tpi", "pc", "jpi"):
        model = ModelSection(method=method)
        summary = job(name=method, model=model, max_steps=2)
        assert summary["lists"] == ("oracle" if method == "tpi" else "drawn")
        assert sap_settings(tmp_path / method)["method"] == method
        losses[method] = summary["dev_loss"]
    assert len(set(losses.values())) == 3


def test_equal_seeds_give_equal_adapters_and_others_differ(job, tmp_path):
    job(name="first", stage="pruner", max_steps=2)
    job(name="second", stage="pruner", max_steps=2)
    job(name="third", stage="pruner", max_steps=2, seed=2)
    first, second, third = (weights(tmp_path / name) for name in ("first", "second", "third"))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert (tmp_path / "first" / "training.json").read_bytes() == (tmp_path / "second" / "training.json").read_bytes()
    assert not all(torch.equal(first[name], third[name]) for name in first)


AUGMENTED = {"speed": [0.9, 1.0, 1.1], "spec_augment": SpecAugment(), "batch_tokens": 400}


@pytest.mark.parametrize("settings", [{}, AUGMENTED])
def test_an_interrupted_run_resumes_exactly(job, tmp_path, capsys, settings):
    settings = {"max_steps": 12, "save_steps": 4, "model": ModelSection(projection_rank=2), **settings}
    job(name="unbroken", resume=False, **settings)
    with pytest.raises(KeyboardInterrupt):
        job(name="resumed", tracker=Curves(crash_at=10), **settings)
    assert not (tmp_path / "resumed").exists()
    kept = checkpoints.listed(next((tmp_path / "checkpoints" / "recogniser").iterdir()))
    assert [path.name for path in kept] == ["checkpoint-4", "checkpoint-8"]
    state = next(kept[1].rglob("*optim_states.pt"))
    state.write_bytes(state.read_bytes()[:100])

    changed = job(name="changed", **settings | {"max_steps": 4, "save_steps": 5})
    assert changed["resumed_from_step"] is None
    assert "another training (section.max_steps is 4, was 12), which are not resumed" in capsys.readouterr().err

    summary = job(name="resumed", **settings)
    assert summary["resumed_from_step"] == 4
    assert f"{state.name} is truncated" in capsys.readouterr().err
    assert_same_weights(tmp_path / "unbroken", tmp_path / "resumed")


def test_sigterm_saves_a_checkpoint_that_resumes_exactly(job, tmp_path):
    settings = {"max_steps": 20, "save_steps": 50, "model": ModelSection(projection_rank=2)}
    job(name="unbroken", **settings)
    with pytest.raises(Stopped, match="stopped at step 11 by SIGTERM; run the stage again"):
        job(name="stopped", tracker=Curves(terminate_at=10), **settings)
    assert not (tmp_path / "stopped").exists()
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    curves = Curves()
    summary = job(name="stopped", tracker=curves, **settings)
    assert summary["resumed_from_step"] == 11
    unbroken, stopped = tmp_path / "unbroken", tmp_path / "stopped"
    assert_same_weights(unbroken, stopped)
    kept, wanted = (json.loads((folder / "training.json").read_text()) for folder in (stopped, unbroken))
    assert kept == wanted  # the loss of steps 11 to 20, too


@pytest.mark.parametrize("settings", [{}, {"stage": "pruner", "early_stopping": 9}])
def test_time_saves_checkpoints_that_change_nothing(job, tmp_path, settings):
    """One at each step, so short is the time; with early stopping they are not chosen from."""
    settings = {"max_steps": 12, "save_steps": 6, "model": ModelSection(projection_rank=2)} | settings
    unbroken = job(name="unbroken", resume=False, save_minutes=None, **settings)
    with pytest.raises(KeyboardInterrupt):
        job(name="saved", save_minutes=1e-6, tracker=Curves(crash_at=10), **settings)
    folder = next((tmp_path / "checkpoints" / settings.get("stage", "recogniser")).iterdir())
    assert [path.name for path in checkpoints.listed(folder)][-2:] == ["checkpoint-8", "checkpoint-9"]
    resumed = job(name="saved", save_minutes=1e-6, **settings)
    assert resumed["resumed_from_step"] == 9, "but for the interruption at step 10 it would have been saved, too"
    assert resumed.get("best_step") == unbroken.get("best_step")
    assert_same_weights(tmp_path / "unbroken", tmp_path / "saved")


def test_a_pod_that_argo_ends_loses_no_more_than_the_time_between_checkpoints(job, corpus, tmp_path):
    """No step of `save_steps` has been reached, and SIGTERM leaves no time for one more checkpoint."""
    settings = {"max_steps": 3000, "batch_size": 2, "save_steps": 3000, "save_minutes": 0.005}
    kept = tmp_path / "checkpoints" / "recogniser"
    script = training_script(corpus, tmp_path / "ended", kept, {"lists": "oracle", **settings})
    root = str(Path(sap2.__file__).parents[1])
    pod = Pod([sys.executable, "-c", script], tmp_path / "log", os.environ | {"PYTHONPATH": root})
    try:
        until = time.monotonic() + 120
        while len(list(kept.glob("*/checkpoint-*/complete.json"))) < 2:
            assert time.monotonic() < until and pod.ended() is None, pod.said()
            time.sleep(0.05)
        pod.terminate()
    finally:
        pod.kill()
    step = int(checkpoints.latest(next(kept.iterdir()))[0].name.split("-")[1])
    assert step > 0 and not (tmp_path / "ended").exists()


class Waiting:
    """A tracker that gives signs of life until the first line of the curve."""

    def __init__(self, file: Path):
        self.gone = threading.Event()
        self._file = file
        threading.Thread(target=self._beat, daemon=True).start()

    def _beat(self):
        beat(self._file)
        while not self.gone.wait(0.2):
            beat(self._file)

    def log(self, metrics, step):
        self.gone.set()


@pytest.mark.parametrize("phase", ["stepping", "encoding"])
def test_a_training_nobody_waits_for_saves_a_checkpoint_and_ends(job, tmp_path, monkeypatch, phase):
    monkeypatch.setenv("SAP2_HEARTBEAT", str(tmp_path / "heartbeat"))
    monkeypatch.setenv("SAP2_HEARTBEAT_SECONDS", "2")
    waiting = Waiting(tmp_path / "heartbeat")
    if phase == "encoding":
        monkeypatch.setattr(worker, "_encode", lambda *_: waiting.gone.set() or time.sleep(30))
    with pytest.raises(Abandoned, match="no heartbeat of the pipeline's step for 2 s in .*heartbeat"):
        job(max_steps=3000, save_steps=3000, save_minutes=None, tracker=waiting)
    assert not (tmp_path / "adapter").exists()
    saved = list((tmp_path / "checkpoints" / "recogniser").glob("*/checkpoint-*/complete.json"))
    assert len(saved) == (1 if phase == "stepping" else 0)


@pytest.mark.parametrize("room, name, step", [(worker, "_encode", None), (adapters, "name_base", 4)])
def test_sigterm_outside_the_steps_ends_a_training_at_once(job, tmp_path, monkeypatch, room, name, step):
    with monkeypatch.context() as patch:
        patch.setattr(room, name, lambda *_: os.kill(os.getpid(), signal.SIGTERM))
        with pytest.raises(Stopped, match="stopped before its first or after its last step"):
            job()
    assert not (tmp_path / "adapter").exists()
    assert job()["resumed_from_step"] == step


@pytest.mark.parametrize("zero", ["zero2", "zero3", "zero2-offload", "zero3-offload"])
def test_deepspeed_and_plain_training_agree(job, tmp_path, zero):
    for name in ("none", zero):
        job(name=name, deepspeed=name, max_steps=2, model=ModelSection(projection_rank=2))
    learned = [weight for name, weight in weights(tmp_path / "none").items() if name.endswith("up")]
    assert len(learned) == 2 and all(weight.abs().max() > 0 for weight in learned)  # 0 before training
    # Their gradients are summed in another order, and Adam enlarges what differs where a gradient is near 0.
    assert_same_weights(tmp_path / "none", tmp_path / zero, tolerance=1e-4)
    assert "LOCAL_RANK" not in os.environ


ONE_STEP = {"epochs": 1, "max_steps": None, "lora": LoraSection(rank=4, dropout=0.0), "no_context_share": 0.0}


@pytest.mark.parametrize("deepspeed", ["none", "zero2"])
@pytest.mark.parametrize("batches", [{"batch_size": 7, "grad_accum": 4}, {"batch_tokens": 700, "grad_accum": 24}])
def test_an_accumulated_step_is_that_of_one_large_batch(job, tmp_path, monkeypatch, deepspeed, batches):
    """Each token counts alike, whatever the batch it is in: batches of 7, 7, 7 and 3, or as many as a budget allows."""
    planned = []
    monkeypatch.setattr(
        schedule, "plan", lambda *args, _plan=schedule.plan, **kw: planned.append(_plan(*args, **kw)) or planned[-1]
    )
    undivided = job(name="undivided", deepspeed=deepspeed, batch_size=24, **ONE_STEP)
    parts = job(name="parts", deepspeed=deepspeed, **{"batch_size": 24, **batches}, **ONE_STEP)
    assert [len(planned[0])] == [1] and len(set(map(len, planned[1]))) > 1
    assert undivided["steps"] == parts["steps"] == 1 and undivided["epochs"] == parts["epochs"] == 1.0
    assert parts["dev_loss"] == pytest.approx(undivided["dev_loss"], rel=1e-5)
    assert_same_weights(tmp_path / "undivided", tmp_path / "parts", tolerance=1e-4)


def test_bfloat16_training_comes_to_the_loss_of_float32(job):
    losses = {}
    for bf16 in (False, True):
        curves = Curves()
        settings = {"max_steps": 20, "learning_rate": 2e-3, "lora": LoraSection(rank=4, dropout=0.0)}
        job(name=f"bf16-{bf16}", batch_size=6, bf16=bf16, tracker=curves, **settings)
        losses[bf16] = curves.of("loss")
    assert losses[False][-1] < 0.9 * losses[False][0]
    assert losses[True] == pytest.approx(losses[False], rel=0.02) and losses[True] != losses[False]


@pytest.mark.parametrize(
    ("frozen", "parts_moved"),
    [
        ({"freeze_llm": True}, {"multi_modal_projector"}),
        ({"freeze_aligner": True}, {"language_model"}),
        ({"freeze_vit": False, "cache_encoder": False}, {"multi_modal_projector", "language_model", "audio_tower"}),
    ],
)
def test_what_is_frozen_stays_and_the_rest_moves(job, tmp_path, frozen, parts_moved):
    job(max_steps=2, **frozen)
    moved = {
        next(part for part in ("multi_modal_projector", "language_model", "audio_tower") if part in name)
        for name, weight in weights(tmp_path / "adapter").items()
        if "lora_B" in name and weight.abs().max() > 0
    }
    assert moved == parts_moved


def test_the_learning_rate_rises_to_its_peak_then_follows_the_cosine(job, monkeypatch):
    monkeypatch.setattr(worker, "LOG_STEPS", 1)
    curves = Curves()
    job(max_steps=20, warmup=0.2, learning_rate=1e-2, scheduler="cosine", tracker=curves)
    rates, peak = curves.of("learning_rate"), 4
    assert rates[: peak + 1] == pytest.approx([0, 2.5e-3, 5e-3, 7.5e-3, 1e-2])
    falling = [1e-2 * (1 + math.cos(math.pi * (step - peak) / (20 - peak))) / 2 for step in range(peak, 20)]
    assert rates[peak:] == pytest.approx(falling)


# Stage 2 learns enough within its patience to spell some of the names.
LEARNING = {"lora": LoraSection(rank=16, dropout=0.0), "learning_rate": 2e-2, "batch_size": 24, "no_context_share": 0.0}


@pytest.mark.parametrize(
    ("stage", "zero"), [("pruner", "none"), ("pruner", "zero2"), ("pruner", "zero3"), ("recogniser", "zero2")]
)
def test_early_stopping_ends_with_the_best_checkpoint(job, tmp_path, monkeypatch, stage, zero):
    """All of it: the adapter's layers, the new markers' embeddings and the pooling's projections. Of stage 1 the best
    is the highest F1, of stage 2 the lowest B-WER."""
    saved = {}

    def seal(checkpoint, seconds, seal=checkpoints.seal):
        saved[int(checkpoint.name.split("-")[1])] = weights(checkpoint)
        seal(checkpoint, seconds)

    monkeypatch.setattr(checkpoints, "seal", seal)
    base = build_tiny_base(tmp_path / "plain-base", with_context_tokens=False, positions=100)
    curves, every, patience = Curves(), 3, 2
    settings = {}
    if stage == "recogniser":
        every, patience, settings = 6, 3, LEARNING
    summary = job(
        stage=stage, base=base, model=ModelSection(projection_rank=2), deepspeed=zero, max_steps=200, save_steps=every,
        early_stopping=patience, save_total_limit=1, scheduler="constant", tracker=curves, **settings,
    )  # fmt: skip
    name, better = {"pruner": ("dev_keyword_f1", max), "recogniser": ("dev_b_wer", min)}[stage]
    scores = curves.of(name)
    best = scores.index(better(scores))
    assert stage == "pruner" or scores[best] < scores[0]
    assert len(scores) == best + 1 + patience and summary["steps"] == every * len(scores) < 200
    assert (summary["best_step"], summary["best_score"]) == (every * (best + 1), scores[best])
    assert summary["dev_loss"] == curves.of("dev_loss")[best]
    kept = json.loads((tmp_path / "adapter" / "training.json").read_text())
    assert kept["best_step"] == summary["best_step"] and kept["section"]["save_steps"] == every
    result = weights(tmp_path / "adapter")
    assert any("context_markers" in name for name in result) and any(name.endswith("up") for name in result)
    for name, tensor in saved[summary["best_step"]].items():
        assert torch.equal(result[name], tensor), name


def test_early_stopping_resumes_after_an_interruption(job, tmp_path):
    settings = {"stage": "pruner", "max_steps": 60, "save_steps": 3, "early_stopping": 3}
    unbroken = job(name="unbroken", resume=False, **settings)
    crash = unbroken["steps"] - 1  # when patience has nearly run out
    with pytest.raises(KeyboardInterrupt):
        job(name="resumed", tracker=Curves(crash_at=crash - crash % 3), **settings)
    resumed = job(name="resumed", **settings)
    assert resumed["resumed_from_step"]
    assert {name: resumed[name] for name in ("steps", "best_step", "best_score")} == {
        name: unbroken[name] for name in ("steps", "best_step", "best_score")
    }
    assert_same_weights(tmp_path / "unbroken", tmp_path / "resumed")


def test_gradient_checkpointing_trains_the_same_adapter(job, tmp_path):
    for name, checkpointing in (("plain", False), ("checkpointed", True)):
        summary = job(name=name, max_steps=2, gradient_checkpointing=checkpointing)
        assert "gradient_checkpointing" not in summary["section"]
    assert_same_weights(tmp_path / "plain", tmp_path / "checkpointed")


def test_a_base_without_the_markers_gets_them_trained_and_saved(job, tmp_path):
    base = build_tiny_base(tmp_path / "plain-base", with_context_tokens=False, positions=100)
    job(base=base, lora=LoraSection(rank=2), max_steps=2)
    (offsets,) = (weight for name, weight in weights(tmp_path / "adapter").items() if "context_markers" in name)
    assert offsets.shape == (2, 32) and (offsets.abs().sum(-1) > 0).all()


def test_a_base_of_the_hub_is_trained_on_by_its_reference(job, corpus, tmp_path, monkeypatch):
    """A pipeline passes on its id and commit; the adapter names the folder that holds them."""
    reference = tmp_path / "base_model"
    reference.mkdir()
    (reference / "hub.json").write_text('{"id": "some/base", "revision": "0123abc"}')
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda name, **_: str(corpus / "base"))
    job(name="full", max_steps=1)
    job(name="named", base=reference, max_steps=1)
    assert_same_weights(tmp_path / "full", tmp_path / "named")
    config = json.loads((tmp_path / "named" / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == "../base_model"


def test_what_cannot_be_trained_on_is_an_error_before_the_first_step(job, corpus, tmp_path):
    with pytest.raises(InputError, match="tokens for .* s of speech .* max_length allows 16"):
        job(max_length=16)
    with pytest.raises(ModelError, match="no-such-base"):
        job(base=tmp_path / "no-such-base")
    section = RecogniserSection(lists="oracle")
    with pytest.raises(InputError, match='no such train manifest; run "sap2 prepare"'):
        train(
            "recogniser", corpus / "base", tmp_path / "none.jsonl", corpus / "dev.jsonl",
            tmp_path / "a", tmp_path / "c", section, ModelSection(), LoraSection(),
        )  # fmt: skip


def test_a_failed_training_leaves_no_setting_behind(job, tmp_path):
    with pytest.raises(InputError, match="max_length allows 16"):
        job(max_length=16, deepspeed="zero3")
    assert not is_deepspeed_zero3_enabled()


@pytest.mark.slow
def test_without_deepspeed_one_process_needs_no_process_group(corpus, tmp_path):
    """In a process of its own: a group that an earlier training has left open would hide it."""
    script = f"""
from pathlib import Path
from sap2.params import *
from sap2.training import train
section = RecogniserSection(lists="oracle", max_steps=1, deepspeed="none")
corpus, folder = Path({str(corpus)!r}), Path({str(tmp_path)!r})
train("recogniser", corpus / "base", corpus / "train.jsonl", corpus / "dev.jsonl", folder / "adapter",
      folder / "checkpoints", section, ModelSection(), LoraSection(rank=2))
"""
    root = str(Path(sap2.__file__).parents[1])
    subprocess.run([sys.executable, "-c", script], env=os.environ | {"PYTHONPATH": root}, check=True)
    assert (tmp_path / "adapter" / "adapter_model.safetensors").is_file()


@pytest.mark.slow
def test_an_error_in_several_processes_reaches_the_caller(job):
    with pytest.raises(InputError, match="max_length allows 16"):
        job(nproc=2, max_length=16)


@pytest.mark.slow
@pytest.mark.parametrize("zero", ["zero2", pytest.param("zero3", marks=pytest.mark.long)])
def test_two_processes_train_and_choose_what_one_does(job, tmp_path, zero):
    """The same utterances a step, and the same dev scores, though ZeRO-2's processes share dev's decoding."""
    settings = {"stage": "pruner", "max_steps": 6, "save_steps": 2, "early_stopping": 9, "deepspeed": zero}
    # The tags' loss is a mean over each process's own keywords, so it is the same only without them.
    settings |= {"lora": LoraSection(rank=4, dropout=0.0), "model": ModelSection(projection_rank=2, tagging=0.0)}
    settings["base"] = build_tiny_base(tmp_path / "plain-base", with_context_tokens=False, positions=100)
    curves = {1: Curves(), 2: Curves()}
    first, second = (
        job(name=f"{nproc}", nproc=nproc, batch_size=4 // nproc, tracker=curves[nproc], **settings) for nproc in (1, 2)
    )
    assert curves[2].of("dev_keyword_f1") == pytest.approx(curves[1].of("dev_keyword_f1"))
    assert second["best_step"] == first["best_step"]
    assert_same_weights(tmp_path / "1", tmp_path / "2", tolerance=1e-4)


def test_processes_that_the_nodes_cannot_share_are_refused(job, monkeypatch):
    monkeypatch.setenv("PET_NNODES", "2")
    with pytest.raises(ModelError, match="nproc is 3, which 2 nodes cannot share equally; make it a multiple of 2"):
        job(nproc=3)


@pytest.mark.slow
def test_two_processes_weigh_each_token_alike_under_a_token_budget(job, tmp_path):
    undivided = job(name="undivided", batch_size=24, **ONE_STEP)
    parts = job(name="parts", nproc=2, batch_size=24, batch_tokens=500, grad_accum=24, **ONE_STEP)
    assert undivided["steps"] == parts["steps"] == 1 and parts["epochs"] == 1.0
    assert_same_weights(tmp_path / "undivided", tmp_path / "parts", tolerance=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "ends"),
    [
        ({"cache_encoder": True}, [("worker", signal.SIGKILL)]),
        pytest.param({"cache_encoder": True}, [("launcher", signal.SIGKILL)], marks=pytest.mark.long),
        pytest.param(
            {"speed": [0.9, 1.0, 1.1], "batch_tokens": 200}, [("launcher", signal.SIGTERM)], marks=pytest.mark.long
        ),
    ],
)
def test_two_processes_ended_and_started_again_give_the_unbroken_result(job, corpus, tmp_path, kind, ends):
    settings = {"nproc": 2, "max_steps": 40, "batch_size": 2, "save_steps": 10, **kind}
    curves = Curves()
    job(name="unbroken", tracker=curves, **settings)
    assert len(curves.of("loss")) == 4 and curves.of("loss")[-1] < curves.of("loss")[0]

    given = {"cache_encoder": False, "list_sizes": (2, 6), "warmup": 0.0, "lists": "oracle", "learning_rate": 1e-2}
    given |= settings
    for who, number in ends:
        output = tmp_path / f"resumed-{who}"
        launcher = started(corpus, output, tmp_path / "checkpoints" / "recogniser", given)
        processes = workers(launcher.pid)
        for process in processes:  # or they might finish before the signal is handled
            process.suspend()
        os.kill(launcher.pid if who == "launcher" else processes[-1].pid, number)
        time.sleep(1)
        for process in processes:
            if process.is_running():
                process.resume()
        launcher.wait(60)
        for _ in range(300):  # the launcher's workers see it gone at their next step
            try:
                with checkpoints.locked(next((tmp_path / "checkpoints" / "recogniser").iterdir())):
                    break
            except ModelError:
                time.sleep(0.1)
        assert not output.exists()
        if who == "worker":
            log = output.with_suffix(".log").read_text()
            assert "training in 2 processes ended early" in log and "run the stage again" in log
        summary = job(name=output.name, **settings)
        assert summary["resumed_from_step"] >= 10
        assert_same_weights(tmp_path / "unbroken", output)


def training_script(corpus: Path, output: Path, kept: Path, given: dict) -> str:
    return f"""
from pathlib import Path
from sap2.params import *
from sap2.training import train
section = RecogniserSection(**{given})
corpus, output, kept = Path({str(corpus)!r}), Path({str(output)!r}), Path({str(kept)!r})
train("recogniser", corpus / "base", corpus / "train.jsonl", corpus / "dev.jsonl", output, kept, section,
      ModelSection(), LoraSection(rank=4, dropout=0.1))
"""


def started(corpus: Path, output: Path, kept: Path, given: dict) -> subprocess.Popen:
    """A process that trains in workers of its own, with its first checkpoint written; what it says, in a .log."""
    script = training_script(corpus, output, kept, given)
    root = str(Path(sap2.__file__).parents[1])
    with output.with_suffix(".log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-c", script], env=os.environ | {"PYTHONPATH": root}, start_new_session=True, stderr=log
        )
    deadline = time.monotonic() + 120
    while not list(kept.glob("*/checkpoint-*/complete.json")):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.05)
    return process


def workers(launcher: int) -> list[psutil.Process]:
    """A training's workers, torchrun between them and the launcher left out."""
    torchrun = psutil.Process(launcher).children()
    return [
        child for launcher in torchrun for child in launcher.children() if "sap2.training.worker" in child.cmdline()
    ]
