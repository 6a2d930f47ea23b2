"""Figures of a run: throughput without evaluation, a loss that is not finite ends it."""

from types import SimpleNamespace

import pytest

from sap2.errors import ModelError
from sap2.training.progress import Progress

START = SimpleNamespace(global_step=0, log_history=[])
STATE = SimpleNamespace(
    global_step=10, max_steps=20, is_world_process_zero=True, log_history=[], best_global_step=None, best_metric=None
)
SEEN = list(range(0, 8 * 21, 8))  # utterances by the end of each step


def started(tmp_path, **options):
    seen = []
    progress = Progress("pruner", lambda m, s: seen.append((s, m)), tmp_path, SEEN, 40, before=5.0, keep=2, **options)
    progress.on_train_begin(None, START, None)
    return progress, seen


def test_curves_and_lines(tmp_path, capsys):
    progress, seen = started(tmp_path)
    progress.on_step_end(None, STATE, None)
    progress.on_log(None, STATE, None, logs={"loss": 0.5, "learning_rate": 1e-4, "grad_norm": 1.0, "epoch": 0.1})
    progress.on_log(None, STATE, None, logs={"eval_loss": 0.25})
    assert [step for step, _ in seen] == [10, 10] and seen[1][1] == {"dev_loss": 0.25}
    assert seen[0][1]["epoch"] == 2.0 and seen[0][1]["samples_per_second"] > 0
    assert "pruner: step 10/20  loss 0.5  learning_rate 0.0001" in capsys.readouterr().err
    summary = progress.summary(STATE)
    assert summary["final_loss"] == 0.5 and summary["dev_loss"] == 0.25 and summary["seconds"] >= 5.0


def test_steps_of_any_size_are_counted_by_their_utterances(tmp_path):
    progress, seen = started(tmp_path)
    progress.seen = [0, *[20] * 9, 30]
    progress.on_step_end(None, STATE, None)
    progress.on_log(None, STATE, None, logs={"loss": 0.5})
    assert seen[0][1]["epoch"] == 30 / 40 and progress.summary(STATE)["epochs"] == 0.75


def test_the_dev_loss_of_the_best_step_is_the_results(tmp_path, capsys):
    progress, seen = started(tmp_path)
    progress.on_log(None, STATE, None, logs={"eval_loss": 0.25, "eval_keyword_f1": 0.5})
    assert seen[0][1] == {"dev_loss": 0.25, "dev_keyword_f1": 0.5}
    rows = [{"step": 4, "loss": 3.0}, {"step": 4, "eval_loss": 0.125}, {"step": 10, "eval_loss": 0.25}]
    best = SimpleNamespace(**vars(STATE) | {"best_global_step": 4, "best_metric": 0.75, "log_history": rows})
    progress.on_train_end(None, best, None)
    assert "ended at step 10/20; dev_keyword_f1 was best at step 4, 0.75" in capsys.readouterr().err
    summary = progress.summary(best)
    assert (summary["best_step"], summary["best_score"], summary["dev_loss"]) == (4, 0.75, 0.125)


def test_a_loss_that_is_not_finite_ends_the_run(tmp_path):
    progress, _ = started(tmp_path)
    with pytest.raises(ModelError, match="the loss is nan at step 10, .* lower learning_rate"):
        progress.on_log(None, STATE, None, logs={"loss": float("nan")})


def test_a_run_ends_when_its_launcher_has_ended(tmp_path):
    progress, _ = started(tmp_path, launcher=2**22 + 1)
    with pytest.raises(ModelError, match="launching process .* has ended"):
        progress.on_step_end(None, STATE, None)
