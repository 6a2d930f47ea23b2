"""Internals of other libraries that we depend on are unchanged since they were last checked."""

import hashlib
import importlib
import inspect
from importlib.metadata import version

import pytest

# By object: the version in which it was checked, and the digest of its source. The modules *_internals.py use them. If
# an entry fails, read the object's source, correct the code that depends on it, and enter the new version and digest.
READ = {
    "transformers.trainer:Trainer._maybe_log_save_evaluate": ("5.24.0", "af101534f0f7b2d7"),
    "transformers.trainer:Trainer._save_checkpoint": ("5.24.0", "a9111e30faa99339"),
    "transformers.trainer:Trainer._get_train_sampler": ("5.24.0", "1580d7493244e637"),
    "transformers.trainer:Trainer.get_eval_dataloader": ("5.24.0", "dd1c9287ad46f5ae"),
    "transformers.trainer:Trainer.evaluation_loop": ("5.24.0", "a0fe4d6536f8a84a"),
    "transformers.integrations.deepspeed:unset_hf_deepspeed_config": ("5.24.0", "088d722afab96382"),
    "accelerate.state:AcceleratorState._reset_state": ("1.15.0", "ba8df8354c8a072d"),
    "accelerate.state:PartialState._reset_state": ("1.15.0", "7ba36c47986e0eaa"),
    "deepspeed.ops:": ("0.19.8", "1009dc47650541a1"),
    "deepspeed.comm.torch:build_shm_op": ("0.19.8", "2bf3cff9e3d1f058"),
    "deepspeed.runtime.zero.partition_parameters:Init._convert_to_deepspeed_param": ("0.19.8", "77281d2526a148fb"),
    "mlflow.system_metrics.system_metrics_monitor:SystemMetricsMonitor.__init__": ("3.17.2", "4add667276c76b41"),
    "mlflow.system_metrics.system_metrics_monitor:SystemMetricsMonitor.collect_metrics": ("3.17.2", "d0dccacb8093d982"),
    "mlflow.system_metrics.system_metrics_monitor:SystemMetricsMonitor.aggregate_metrics": (
        "3.17.2",
        "eb6b50f6b5245eb0",
    ),
    "mlflow.system_metrics.metrics.base_metrics_monitor:BaseMetricsMonitor": ("3.17.2", "c50de462f40ffc10"),
}


def source(path: str) -> str:
    module, _, name = path.partition(":")
    result = importlib.import_module(module)
    for part in filter(None, name.split(".")):
        result = getattr(result, part)
    return inspect.getsource(result)


def digest(path: str) -> str:
    return hashlib.sha256(source(path).encode()).hexdigest()[:16]


@pytest.mark.parametrize("path", READ)
def test_internals_are_unchanged_since_they_were_checked(path):
    library = path.partition(".")[0]
    at, expected = READ[path]
    assert digest(path) == expected, f"{path} differs in {library} {version(library)} from {at}: check it again"


def test_the_trainer_overrides_only_checked_methods():
    from transformers import Trainer

    from sap2.training.transformers_internals import PlannedTrainer

    overridden = {name for name in vars(PlannedTrainer) if hasattr(Trainer, name) and not name.startswith("__")}
    assert overridden == {path.rpartition(".")[2] for path in READ if path.startswith("transformers.trainer:")}
