"""A process of a training: it loads, trains, reports and saves.

Run by `sap2.training.train`, in its own process or as `python -m torch.distributed.run … -m sap2.training.worker`.
"""

import argparse
import json
import os
import socket
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from importlib import resources
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from sap2.errors import InputError, SapError
from sap2.files import atomic_dir, atomic_file
from sap2.hub import is_hub_id, present
from sap2.params import RecogniserSection, TrainSection
from sap2.training.job import Job
from sap2.training.launch import FAILURE, JOB, LOG, RESULT, Report

if TYPE_CHECKING:
    from transformers import TrainingArguments

    from sap2.data.shards import Shards
    from sap2.manifest import Utterance
    from sap2.model import SapProcessor
    from sap2.model.modeling import SapForConditionalGeneration
    from sap2.training.collator import Collator, Examples
    from sap2.training.dev_score import DevScore
    from sap2.training.encoder_cache import EncodedSpeech
    from sap2.training.lists import ListDrawer
    from sap2.training.schedule import Entry
    from sap2.training.streaming import StreamPlan
    from sap2.training.termination import Termination

LOG_STEPS = 10
CLIP = 1.0  # gradient norm
LOADERS = 4  # processes that read and tokenise for a GPU; on a CPU they would compete with the trainer
OF_THIS_RUN = ("seconds", "samples_per_second", "resumed_from_step")  # of the summary; they differ between equal runs


def run(job: Job, report: Report, launcher: int | None = None) -> dict[str, Any]:
    """Train as a process of the job.

    Args:
        report: Called as `report(metrics, step)` in the first process.
        launcher: Process id of the launching process; training ends if that process has ended.
    Returns: The summary, in every process.
    """
    from sap2.training.messages import library_messages

    with library_messages(job.log), _distributed(job.section.deepspeed != "none"):
        return _locked(job, report, launcher)


def _locked(job: Job, report: Report, launcher: int | None) -> dict[str, Any]:
    """Train with a lock, held by the first process, so that no other run trains the same."""
    from sap2.training.transformers_internals import without_traces

    with without_traces():
        from sap2.training import checkpoints
        from sap2.training.termination import Termination

        termination = Termination(job.stage, job.section.save_minutes)
        folder = job.checkpoints / checkpoints.fingerprint(job.base, [job.train, job.dev], job.settings())
        with closing(termination), termination.handle_sigterm():
            if _rank() > 0:
                return _train(job, folder, report, launcher, termination)
            with checkpoints.locked(folder):
                if not job.resume:
                    checkpoints.clear(folder)
                checkpoints.note(folder, job.settings())
                for other in checkpoints.foreign(folder):
                    print(f"{job.stage}: {other}", file=sys.stderr)
                summary = _train(job, folder, report, launcher, termination)
        checkpoints.clear(folder, all_of_it=True)
        return summary


def _train(job: Job, folder: Path, report: Report, launcher: int | None, termination: "Termination") -> dict[str, Any]:
    import torch
    from transformers import EarlyStoppingCallback, PrinterCallback, set_seed

    from sap2.manifest import read_manifest
    from sap2.model import SAMPLE_RATE, load_model, load_processor, processor_fields, quantization, save_adapter
    from sap2.model.configuration import SapFields
    from sap2.model.modeling import SapForConditionalGeneration
    from sap2.training import adapters, checkpoints
    from sap2.training.augment import Augmenter
    from sap2.training.collator import Batches, Collator, Examples, only
    from sap2.training.progress import Progress
    from sap2.training.streaming import ShardedBatches
    from sap2.training.transformers_internals import PlannedTrainer

    section = job.section
    set_seed(section.seed)
    shards = _shards(job)
    splits = {"train": [] if shards else read_manifest(job.train), "dev": read_manifest(job.dev)}
    source = job.base if is_hub_id(job.base) else present(job.base)
    dtype = torch.bfloat16 if section.bf16 else torch.float32
    base = load_model(
        source, dtype=dtype, attn_implementation=section.attention,
        quantization_config=quantization(section.quantization, dtype), **job.model.sap_fields(),
    )  # fmt: skip
    base = cast(SapForConditionalGeneration, base)  # without an adapter
    base.config.use_cache = base.config.text_config.use_cache = False
    processor = load_processor(source, **processor_fields(cast(SapFields, base.config)))

    encoded = _encode(job, base, processor, splits)
    model = adapters.attach(base, processor, section, job.lora)  # before ZeRO-3, in which PEFT would gather weights
    args = _arguments(job, folder)
    _barrier()  # all processes have encoded their share
    augmenter = Augmenter(section, processor.feature_extractor.n_samples / SAMPLE_RATE)
    drawers = {
        "train": _drawer(job, splits["train"], shards.keywords if shards else None),
        "dev": _drawer(job, splits["dev"]),
    }
    tagging = job.stage == "pruner" and job.model.tagging > 0
    collator = Collator(processor, job.train, encoded["train"], augmenter=augmenter, tagging=tagging)
    dev_collator = Collator(processor, job.dev, encoded["dev"], full_logits=False, tagging=tagging)
    batches: ShardedBatches | Batches
    if shards:
        utterances, stream = shards.utterances, _stream_plan(job, shards, args.dataloader_num_workers)
        batches = ShardedBatches(shards, stream, drawers["train"], augmenter, collator, section.max_length)
        sizes = stream.sizes()
    else:
        utterances, examples = len(splits["train"]), Examples(splits["train"], drawers["train"], augmenter=augmenter)
        plan = _plan(job, examples, collator, folder)
        batches, sizes = Batches(examples, plan, collator), [len(entries) for entries in plan]
    score = _dev_score(job, splits["dev"], processor, encoded["dev"])
    resumed = checkpoints.latest(folder) if job.resume else None
    if resumed and _rank() == 0:
        print(f"{job.stage}: resuming from {resumed[0]}", file=sys.stderr)
    unlogged = checkpoints.kept_loss(resumed[0]) if resumed else {}
    progress = Progress(
        job.stage, report, folder, _utterances_seen(sizes, section), utterances,
        resumed[1] if resumed else 0.0, keep=section.save_total_limit, launcher=launcher,
    )  # fmt: skip

    patience = [EarlyStoppingCallback(section.early_stopping)] if section.early_stopping else []
    trainer = PlannedTrainer(
        model=model,
        args=args,
        data_collator=only,
        train_dataset=batches,
        eval_dataset=Examples(splits["dev"], drawers["dev"], _by_length(splits["dev"], drawers["dev"], dev_collator)),
        callbacks=[progress, termination, *patience],
        folder=folder,
        dev_collator=dev_collator,
        dev_score=score,
        unlogged=unlogged,
    )
    trainer.remove_callback(PrinterCallback)
    try:
        trainer.train(resume_from_checkpoint=str(resumed[0]) if resumed else None)
        termination.check(f"at step {trainer.state.global_step}")
        if progress.dev_step != trainer.state.global_step:
            trainer.evaluate()
        summary = progress.summary(trainer.state) | {
            "utterances": utterances,
            "trainable_parameters": adapters.trainable_count(model),
            "lists": section.lists if isinstance(section, RecogniserSection) and job.model.method == "tpi" else "drawn",
            "device": args.device.type,
            **job.settings(),
        }
        adapters.name_base(model, job.base, job.output)
        with adapters.gathered(model, section.deepspeed.startswith("zero3")):
            if _rank() == 0:
                with atomic_dir(job.output) as partial:
                    save_adapter(model, processor, partial)
                    kept = {name: value for name, value in summary.items() if name not in OF_THIS_RUN}
                    (partial / "training.json").write_text(json.dumps(kept, indent=2) + "\n", encoding="utf-8")
        _barrier()
        return summary
    finally:
        if trainer.is_deepspeed_enabled and trainer.deepspeed is not None:
            trainer.deepspeed.destroy()  # its hooks keep the model in memory


def _encode(
    job: Job, model: "SapForConditionalGeneration", processor: "SapProcessor", splits: "Mapping[str, list[Utterance]]"
) -> "dict[str, EncodedSpeech | None]":
    """Return the encoder states of both splits, and compute missing ones; None without `cache_encoder`."""
    if not job.section.cache_encoder:
        return dict.fromkeys(splits)
    import torch

    from sap2.manifest import audio_path
    from sap2.training.encoder_cache import EncodedSpeech

    device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0))) if torch.cuda.is_available() else "cpu"
    states: dict[str, EncodedSpeech | None] = {}
    for name, utterances in splits.items():
        manifest = getattr(job, name)
        recordings = [audio_path(utterance, manifest) for utterance in utterances]
        cache = EncodedSpeech(job.checkpoints.parent / "encoder", model, processor, recordings)
        cache.fill(torch.device(device), _rank(), job.section.nproc)
        states[name] = cache
    return states


def _shards(job: Job) -> "Shards | None":
    """Return the training's shards; None if its recordings are single files.

    Raises: InputError: a setting needs all utterances before training.
    """
    from sap2.data.shards import Shards, is_sharded

    if not is_sharded(job.train):
        return None
    if job.section.cache_encoder or job.section.batch_tokens is not None:
        wanted = "cache_encoder" if job.section.cache_encoder else "batch_tokens"
        off = "false" if wanted == "cache_encoder" else "null"
        raise InputError(
            f"{job.train}: its recordings are in shards, which are read in training, but {wanted} needs all before it; "
            f"set {job.stage}.{wanted} to {off}, or prepare.shard_size to null"
        )
    return Shards(job.train)


def _drawer(job: Job, utterances: "list[Utterance]", pool: Sequence[str] | None = None) -> "ListDrawer":
    from sap2.training.lists import ListDrawer

    settings = job.section.model_dump(include=set(ListDrawer.SETTINGS))
    return ListDrawer(job.stage, utterances, method=job.model.method, pool=pool, **settings)


def _wanted(section: TrainSection, utterances: int) -> tuple[int, int | None]:
    """Return the number of utterances to train, in all epochs, and the maximum number of batches, on all processes."""
    if section.max_steps is None:
        return max(1, round(section.epochs * utterances)), None
    most = section.max_steps * section.grad_accum * section.nproc
    return most * section.batch_size, most


def _stream_plan(job: Job, shards: "Shards", workers: int) -> "StreamPlan":
    from sap2.training.streaming import StreamPlan

    section = job.section
    total, most = _wanted(section, shards.utterances)
    durations = [shard.durations for shard in shards.shards]
    return StreamPlan(
        durations, total, section.batch_size, section.seed, ranks=section.nproc, workers=max(1, workers), most=most
    )


def _plan(job: Job, examples: "Examples", collator: "Collator", folder: Path) -> "list[list[Entry]]":
    """Return the batches of all epochs; every example's length is checked before the first step."""
    from sap2.training.lengths import Lengths
    from sap2.training.schedule import plan

    section, utterances = job.section, len(examples.utterances)

    def length(epoch: int, index: int) -> int:
        example = examples.example(epoch, index)
        tokens = collator.length(example)
        collator.check(example, tokens, section.max_length)
        return tokens

    total, most = _wanted(section, utterances)
    return plan(
        utterances, total, section.batch_size, Lengths(folder, length, _rank(), section.nproc, _barrier), section.seed,
        ranks=section.nproc, budget=section.batch_tokens, most=most,
    )  # fmt: skip


def _utterances_seen(sizes: list[int], section: TrainSection) -> list[int]:
    """Return the utterances trained by the end of each optimizer step, on all processes; 0 before the first."""
    batches = section.grad_accum * section.nproc
    steps = (sum(sizes[start : start + batches]) for start in range(0, len(sizes), batches))
    return list(accumulate(steps, initial=0))


def _dev_score(
    job: Job, utterances: "list[Utterance]", processor: "SapProcessor", encoded: "EncodedSpeech | None"
) -> "DevScore | None":
    """Return the score that early stopping monitors; None without it."""
    if job.section.early_stopping is None:
        return None
    from sap2.training.dev_score import DevScore

    return DevScore(job.stage, job.section, utterances, job.dev, processor, encoded)


def _by_length(utterances: "list[Utterance]", drawer: "ListDrawer", collator: "Collator") -> "list[Entry]":
    """Return every utterance as an entry of epoch 0, the shortest first."""
    from sap2.training.collator import Examples

    examples = Examples(utterances, drawer)
    return [(0, index) for index in sorted(range(len(examples)), key=lambda index: collator.length(examples[index]))]


def _arguments(job: Job, folder: Path) -> "TrainingArguments":
    import torch
    from transformers import TrainingArguments

    from sap2.training.transformers_internals import checkpointing_name

    section, cpu = job.section, not torch.cuda.is_available()
    options: dict[str, Any] = {}
    if section.gradient_checkpointing:  # not re-entrant, which needs an input with gradients
        name = checkpointing_name(TrainingArguments)
        options |= {name: True, f"{name}_kwargs": {"use_reentrant": False}}
    if section.early_stopping:
        from sap2.training.dev_score import METRICS

        name, more_is_better = METRICS[job.stage]
        options |= {"load_best_model_at_end": True, "metric_for_best_model": name, "greater_is_better": more_is_better}
        options |= {"restore_callback_states_from_checkpoint": True}  # a resumed run keeps its patience
    return TrainingArguments(
        output_dir=str(folder),
        num_train_epochs=1,  # the plan has all epochs
        per_device_train_batch_size=1,  # an item is a planned batch
        per_device_eval_batch_size=section.batch_size,
        gradient_accumulation_steps=section.grad_accum,
        learning_rate=section.learning_rate,
        weight_decay=section.weight_decay,
        warmup_steps=section.warmup,  # below 1: share of the steps
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
        ddp_backend="gloo" if cpu and "RANK" in os.environ else None,
        ddp_find_unused_parameters=False,
        dataloader_num_workers=0 if cpu else LOADERS,
        dataloader_pin_memory=not cpu,
        deepspeed=_deepspeed(section.deepspeed, cpu),
        report_to=[],
        disable_tqdm=True,
        log_level="error",
        **options,
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
    """Set torchrun's variables, which DeepSpeed needs even in a single process; restore the environment afterwards."""
    import torch

    if not deepspeed:
        yield
        return
    if not torch.cuda.is_available():
        os.environ.setdefault("DS_ACCELERATOR", "cpu")
        from sap2.training.deepspeed_internals import compile_no_operation

        compile_no_operation()
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
        os.environ.update(before)  # accelerate leaves its own variables, too


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


def main() -> int:
    """Entry of a process started by torchrun."""
    parser = argparse.ArgumentParser(description="Run a process of a training, started by torchrun.")
    parser.add_argument("--folder", type=Path, required=True, help="folder in which sap2.training.launch wrote the job")
    parser.add_argument(
        "--launcher", type=int, required=True, help="process id of the launching process, with which this one ends"
    )
    options = parser.parse_args()
    job = Job.from_json((options.folder / JOB).read_text(encoding="utf-8"))

    def report(metrics: dict[str, float], step: int) -> None:
        with (options.folder / LOG).open("a", encoding="utf-8") as log:
            log.write(json.dumps({"step": step, "metrics": metrics}) + "\n")

    try:
        summary = run(job, report, options.launcher)
    except SapError as error:
        with atomic_file(options.folder / FAILURE) as partial:
            partial.write_text(json.dumps({"type": type(error).__name__, "message": str(error)}), encoding="utf-8")
        return 1
    if _rank() == 0:
        with atomic_file(options.folder / RESULT) as partial:
            partial.write_text(json.dumps(summary), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
