"""Only a complete checkpoint of the same training is resumed."""

import subprocess
import sys

import pytest

from sap2.errors import ModelError
from sap2.training import checkpoints


def write(folder, step, sealed=True):
    checkpoint = folder / f"checkpoint-{step}"
    (checkpoint / "state").mkdir(parents=True)
    (checkpoint / "state" / "weights").write_bytes(b"x" * 100)
    if sealed:
        checkpoints.seal(checkpoint, seconds=float(step))
    return checkpoint


def test_the_newest_complete_checkpoint_is_taken_by_number(tmp_path):
    write(tmp_path, 9)
    newest = write(tmp_path, 10)
    assert checkpoints.latest(tmp_path) == (newest, 10.0)
    assert checkpoints.latest(tmp_path / "none") is None


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: (path / "state" / "weights").write_bytes(b"x" * 40), "weights is truncated (40 of 100 bytes)"),
        (lambda path: (path / "state" / "weights").unlink(), "weights is missing"),
        (lambda path: (path / checkpoints.SEAL).unlink(), "is incomplete"),
        (lambda path: (path / checkpoints.SEAL).write_text("{"), "complete.json cannot be read"),
    ],
)
def test_a_broken_checkpoint_is_skipped_and_reported(tmp_path, capsys, damage, message):
    complete = write(tmp_path, 5)
    damage(write(tmp_path, 6))
    assert checkpoints.latest(tmp_path) == (complete, 5.0)
    assert f"checkpoint-6: {'state/' if 'weights' in message else ''}{message}; skipped" in capsys.readouterr().err


def test_pruning_keeps_the_newest_complete_checkpoints(tmp_path):
    for step in (1, 2, 3, 4):
        write(tmp_path, step, sealed=step != 2)
    checkpoints.prune(tmp_path, keep=2)
    assert [path.name for path in checkpoints.listed(tmp_path)] == ["checkpoint-3", "checkpoint-4"]


def scored(folder, step, best):
    checkpoint = folder / f"checkpoint-{step}"
    checkpoint.mkdir(exist_ok=True)
    (checkpoint / "trainer_state.json").write_text(f'{{"best_global_step": {best}}}')
    return write(folder, step)


def test_pruning_keeps_the_best_one_too(tmp_path):
    for step in (1, 2, 3, 4):
        write(tmp_path, step)
    checkpoints.prune(tmp_path, keep=1, best=2)
    assert [path.name for path in checkpoints.listed(tmp_path)] == ["checkpoint-2", "checkpoint-4"]


def test_one_whose_best_forerunner_is_broken_is_passed_over(tmp_path, capsys):
    first, second = scored(tmp_path, 1, 1), scored(tmp_path, 2, 2)
    scored(tmp_path, 3, 2)
    assert checkpoints.latest(tmp_path)[0].name == "checkpoint-3"
    (second / "state" / "weights").unlink()
    assert checkpoints.latest(tmp_path)[0] == first
    assert "checkpoint-3: the best checkpoint before it, checkpoint-2, cannot be used" in capsys.readouterr().err


def test_fingerprint_changes_with_base_data_and_settings(tmp_path):
    base, manifest = tmp_path / "base", tmp_path / "train.jsonl"
    base.mkdir()
    (base / "model.safetensors").write_bytes(b"weights")
    manifest.write_text("{}")
    first = checkpoints.fingerprint(base, [manifest], {"seed": 1})
    assert first == checkpoints.fingerprint(base, [manifest], {"seed": 1})
    assert first != checkpoints.fingerprint(base, [manifest], {"seed": 2})
    (base / "model.safetensors").write_bytes(b"Weights")
    second = checkpoints.fingerprint(base, [manifest], {"seed": 1})
    manifest.write_text("{ }")
    assert len({first, second, checkpoints.fingerprint(base, [manifest], {"seed": 1})}) == 3


def test_foreign_checkpoints_are_reported_with_what_differs(tmp_path):
    mine, other, elsewhere = (tmp_path / name for name in ("mine", "other", "elsewhere"))
    for folder, rank in ((mine, 4), (other, 8), (elsewhere, 4)):
        folder.mkdir()
        checkpoints.note(folder, {"stage": "pruner", "lora": {"rank": rank}, "section": {"seed": 1}})
    assert checkpoints.foreign(mine) == [], "a training that wrote no checkpoint is nothing to go on from"
    write(other, 4), write(elsewhere, 4), write(tmp_path / "older", 4)
    what = "has checkpoints of another training"
    way_out = "which are not resumed; restore its settings to resume it, or delete the folder"
    assert checkpoints.foreign(mine) == [
        f"{elsewhere} {what} (another base or other data), {way_out}",
        f"{tmp_path / 'older'} {what} (its settings are unknown), {way_out}",
        f"{other} {what} (lora.rank is 4, was 8), {way_out}",
    ]
    write(mine, 2)
    assert checkpoints.foreign(mine) == [], "it has its own"


def test_two_processes_never_train_in_one_folder(tmp_path):
    script = "import sys, time; from sap2.training import checkpoints; from pathlib import Path\n"
    script = "from pathlib import Path; import importlib.util, sys\n"
    script += f"spec = importlib.util.spec_from_file_location('c', {checkpoints.__file__!r})\n"
    script += "c = importlib.util.module_from_spec(spec); spec.loader.exec_module(c)\n"
    script += f"with c.locked(Path({str(tmp_path)!r})): print('held', flush=True); sys.stdin.read()\n"
    root = str(__import__("pathlib").Path(checkpoints.__file__).parents[2])
    holder = subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={"PYTHONPATH": root}
    )
    try:
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(ModelError, match="another process runs this training"), checkpoints.locked(tmp_path):
            pass
    finally:
        holder.kill()
        holder.wait()
    with checkpoints.locked(tmp_path):
        pass
