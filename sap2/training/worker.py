"""One process of a training: loads, trains, reports, saves.

Run by `sap2.training.train`, in its own process or as `python -m torch.distributed.run … -m sap2.training.worker`.
"""

import argparse
import gc
import json
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from sap2.errors import SapError
from sap2.files import atomic_dir, atomic_file
from sap2.params import LoraSection, ModelSection, RecogniserSection, TrainSection

LOG_STEPS = 10
CLIP = 1.0  # gradient norm
LOADERS = 4  # processes that read and tokenise beside a GPU; on a CPU they would take the trainer's cores
OF_THIS_RUN = ("seconds", "samples_per_second", "resumed_from_step")  # of the summary; an equal run has others
SECTIONS = {"pruner": TrainSection, "recogniser": RecogniserSection}


@dataclass(frozen=True)
class Job:
    """What is trained from what, as `train` was asked."""

    stage: str
    base: str
    train: Path
    dev: Path
    output: Path
    checkpoints: Path
    section: TrainSection
    model: ModelSection
    lora: LoraSection
    resume: bool = True
    launcher: int | None = None  # process id that a worker must not outlive

    @classmethod
    def from_spec(cls, spec: dict[str, Any]) -> "Job":
        paths = {name: Path(spec[name]) for name in ("train", "dev", "output", "checkpoints")}
        return cls(
            stage=spec["stage"],
            base=spec["base"],
            section=SECTIONS[spec["stage"]](**spec["section"]),
            model=ModelSection(**spec["model"]),
            lora=LoraSection(**spec["lora"]),
            resume=spec["resume"],
            launcher=spec.get("launcher"),
            **paths,
        )

    def settings(self) -> dict[str, Any]:
        """What the result depends on, apart from base and data."""
        from sap2.training.checkpoints import WITHOUT_EFFECT

        section = self.section.model_dump(mode="json", exclude=WITHOUT_EFFECT)
        model, lora = self.model.model_dump(mode="json"), self.lora.model_dump(mode="json")
        return {"stage": self.stage, "section": section, "model": model, "lora": lora}


def run(spec: dict[str, Any], report) -> dict[str, Any]:
    """Train as this process's part of the whole; returns the summary (on every process)."""
    job = Job.from_spec(spec)
    with _distributed(job.section.deepspeed != "none"):
        from sap2.training import checkpoints

        folder = job.checkpoints / checkpoints.fingerprint(job.base, [job.train, job.dev], job.settings())
        if _rank() > 0:
            return _train(job, folder, report)
        with checkpoints.locked(folder):
            if not job.resume:
                checkpoints.clear(folder)
            summary = _train(job, folder, report)
        checkpoints.clear(folder, all_of_it=True)
        return summary


def _train(job: Job, folder: Path, report) -> dict[str, Any]:
    import torch
    from torch.utils.data import SequentialSampler
    from transformers import Trainer, set_seed

    from sap2.manifest import read_manifest
    from sap2.model import load_model, load_processor, processor_fields, save_adapter
    from sap2.training import adapters, checkpoints
    from sap2.training.collator import Collator, Examples
    from sap2.training.progress import Progress

    section = job.section
    set_seed(section.seed)
    splits = {"train": read_manifest(job.train), "dev": read_manifest(job.dev)}
    fields = job.model.model_dump(mode="json")
    fields["pooling_heads"] = fields.pop("heads")
    base = load_model(job.base, dtype=torch.bfloat16 if section.bf16 else torch.float32, **fields)
    base.config.use_cache = False
    processor = load_processor(job.base, **processor_fields(base.config))

    encoded = _encode(job, base, processor, splits)
    args = _arguments(job, folder)
    _barrier()  # every process has encoded its share
    drawers = {name: _drawer(job, splits[name]) for name in splits}
    collators = {
        "train": Collator(processor, job.train, encoded["train"]),
        "dev": Collator(processor, job.dev, encoded["dev"], whole_logits=False),
    }
    plan = _plan(job, splits["train"], drawers["train"], collators["train"])
    model = adapters.attach(base, processor, section, job.lora)
    resumed = checkpoints.latest(folder) if job.resume else None
    if resumed and _rank() == 0:
        print(f"{job.stage}: goes on from {resumed[0]}", file=sys.stderr)
    samples = section.batch_size * section.grad_accum * section.nproc
    progress = Progress(
        job.stage, report, folder, samples, len(splits["train"]), resumed[1] if resumed else 0.0,
        keep=section.save_total_limit, launcher=job.launcher,
    )  # fmt: skip

    class PlannedTrainer(Trainer):
        """Takes the plan as it stands; each split has its own collator, which knows where its audio lies."""

        def _get_train_sampler(self, train_dataset=None):
            return SequentialSampler(self.train_dataset)

        def get_eval_dataloader(self, eval_dataset=None):
            self.data_collator = collators["dev"]
            try:
                return super().get_eval_dataloader(eval_dataset)
            finally:
                self.data_collator = collators["train"]

    by_length = _by_length(splits["dev"], drawers["dev"], collators["dev"])
    trainer = PlannedTrainer(
        model=model,
        args=args,
        data_collator=collators["train"],
        train_dataset=Examples(splits["train"], drawers["train"], plan),
        eval_dataset=Examples(splits["dev"], drawers["dev"], by_length),
        callbacks=[progress],
    )
    _quieten(trainer)
    try:
        trainer.train(resume_from_checkpoint=str(resumed[0]) if resumed else None)
        if progress.dev_step != trainer.state.global_step:
            trainer.evaluate()
        summary = progress.summary(trainer.state) | {
            "utterances": len(splits["train"]),
            "trainable_parameters": adapters.trainable_count(model),
            "lists": getattr(section, "lists", None) if job.stage == "recogniser" else "drawn",
            "device": args.device.type,
            **job.settings(),
        }
        adapters.name_base(model, job.base, job.output)
        with adapters.gathered(model, section.deepspeed == "zero3"):
            if _rank() == 0:
                with atomic_dir(job.output) as partial:
                    save_adapter(model, processor, partial)
                    kept = {name: value for name, value in summary.items() if name not in OF_THIS_RUN}
                    (partial / "training.json").write_text(json.dumps(kept, indent=2) + "\n", encoding="utf-8")
        _barrier()
        return summary
    finally:
        _release(trainer)


def _encode(job: Job, model, processor, splits) -> dict[str, Any]:
    """Encoder states of both splits, computed where they are not kept yet; None without `cache_encoder`."""
    if not job.section.cache_encoder:
        return dict.fromkeys(splits)
    import torch

    from sap2.manifest import audio_path
    from sap2.training.encoder_cache import EncodedSpeech

    device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0))) if torch.cuda.is_available() else "cpu"
    encoded = {}
    for name, utterances in splits.items():
        manifest = getattr(job, name)
        recordings = [audio_path(utterance, manifest) for utterance in utterances]
        encoded[name] = EncodedSpeech(job.checkpoints.parent / "encoder", model, processor, recordings)
        encoded[name].fill(torch.device(device), _rank(), job.section.nproc)
    return encoded


def _drawer(job: Job, utterances):
    from sap2.training.lists import ListDrawer

    options = {"list_sizes": job.section.list_sizes}
    # Both belong to the recogniser's section alone.
    options |= {k: getattr(job.section, k) for k in ("lists", "no_context_share") if hasattr(job.section, k)}
    return ListDrawer(job.stage, utterances, seed=job.section.seed, **options)


def _plan(job: Job, utterances, drawer, collator) -> list[tuple[int, int]]:
    """All epochs' order; every example's length is checked before the first step."""
    from sap2.training.collator import Examples
    from sap2.training.schedule import plan

    section, examples = job.section, Examples(utterances, drawer, [])

    def length(epoch: int, index: int) -> int:
        example = examples.example(epoch, index)
        tokens = collator.length(example)
        collator.check(example, tokens, section.max_length)
        return tokens

    batch = section.batch_size * section.nproc
    total = max(1, round(section.epochs * len(utterances)))
    if section.max_steps is not None:
        total = section.max_steps * batch * section.grad_accum
    return plan(len(utterances), total, batch, length, section.seed)


def _by_length(utterances, drawer, collator) -> list[tuple[int, int]]:
    from sap2.training.collator import Examples

    examples = Examples(utterances, drawer)
    return [(0, index) for index in sorted(range(len(examples)), key=lambda index: collator.length(examples[index]))]


def _arguments(job: Job, folder: Path):
    import torch
    from transformers import TrainingArguments

    section, cpu = job.section, not torch.cuda.is_available()
    checkpointing = {}
    if section.gradient_checkpointing:  # not re-entrant: that kind needs an input that takes gradients
        checkpointing = {"gradient_checkpointing": True, "gradient_checkpointing_kwargs": {"use_reentrant": False}}
    return TrainingArguments(
        output_dir=str(folder),
        num_train_epochs=1,  # the plan holds all epochs
        per_device_train_batch_size=section.batch_size,
        per_device_eval_batch_size=section.batch_size,
        gradient_accumulation_steps=section.grad_accum,
        learning_rate=section.learning_rate,
        weight_decay=section.weight_decay,
        warmup_steps=section.warmup,  # below 1: a share of the steps
        lr_scheduler_type="constant_with_warmup" if section.scheduler == "constant" else section.scheduler,
        max_grad_norm=CLIP,
        bf16=section.bf16,
        seed=section.seed,
        save_strategy="steps",
        save_steps=section.save_steps,
        eval_strategy="steps",
        eval_steps=section.save_steps,
        logging_steps=LOG_STEPS,
        logging_nan_inf_filter=False,  # Progress ends a run whose loss is not finite
        prediction_loss_only=True,
        remove_unused_columns=False,
        label_names=["labels"],
        use_cpu=cpu,
        ddp_backend="gloo" if cpu else None,
        ddp_find_unused_parameters=False,
        dataloader_num_workers=0 if cpu else LOADERS,
        dataloader_pin_memory=not cpu,
        deepspeed=_deepspeed(section.deepspeed, cpu),
        report_to=[],
        disable_tqdm=True,
        log_level="error",
        **checkpointing,
    )


def _deepspeed(name: str, cpu: bool) -> dict[str, Any] | None:
    if name == "none":
        return None
    config = json.loads((resources.files("sap2.training") / "deepspeed" / f"{name}.json").read_text(encoding="utf-8"))
    if cpu:
        config["zero_optimization"]["overlap_comm"] = False  # there is no second stream to overlap with
    return config


@contextmanager
def _distributed(deepspeed: bool) -> Iterator[None]:
    """DeepSpeed speaks torchrun's variables even with one process; the environment is put back afterwards."""
    import torch

    if not deepspeed:
        yield
        return
    if not torch.cuda.is_available():
        os.environ.setdefault("DS_ACCELERATOR", "cpu")
        import deepspeed.ops

        # None of its compiled operations is used on a CPU. Left alone, it would try a compiler on each, then build its
        # shared-memory collectives: a C++ compiler and a minute at the first run, for what gloo does as well.
        deepspeed.ops.__compatible_ops__ = {}
    if "RANK" in os.environ:
        yield
        return
    before = dict(os.environ)
    os.environ.update({"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "LOCAL_WORLD_SIZE": "1"})
    os.environ.update({"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(_free_port())})
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)  # accelerate leaves variables of its own, too


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _rank() -> int:
    return int(os.environ.get("RANK", 0))


def _barrier() -> None:
    import torch.distributed

    if torch.distributed.is_initialized() and torch.distributed.get_world_size() > 1:
        torch.distributed.barrier()


def _quieten(trainer) -> None:
    from transformers import PrinterCallback

    trainer.remove_callback(PrinterCallback)


def _release(trainer) -> None:
    """Leave no trace in a process that goes on: hooks, the global DeepSpeed configuration, accelerate's state."""
    from accelerate.state import AcceleratorState
    from transformers.integrations.deepspeed import unset_hf_deepspeed_config

    if trainer.is_deepspeed_enabled and trainer.deepspeed is not None:
        trainer.deepspeed.destroy()
    unset_hf_deepspeed_config()
    AcceleratorState._reset_state(reset_partial_state=True)
    gc.collect()


def main() -> int:
    """Entry of a process started by torchrun."""
    parser = argparse.ArgumentParser(description="One process of a training, started by torchrun.")
    parser.add_argument("--spec", type=Path, required=True, help="JSON file written by sap2.training.train")
    spec = json.loads(parser.parse_args().spec.read_text(encoding="utf-8"))

    def report(metrics: dict[str, float], step: int) -> None:
        with open(spec["log"], "a", encoding="utf-8") as log:
            log.write(json.dumps({"step": step, "metrics": metrics}) + "\n")

    try:
        summary = run(spec, report)
    except SapError as error:
        with atomic_file(spec["failure"]) as partial:
            partial.write_text(json.dumps({"type": type(error).__name__, "message": str(error)}), encoding="utf-8")
        return 1
    if _rank() == 0:
        with atomic_file(spec["result"]) as partial:
            partial.write_text(json.dumps(summary), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
