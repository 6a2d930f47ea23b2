"""What the model benchmarks share: a corpus, a timer, and the baseline re-stated from the method's description.

The baseline is our own writing of what the public code does (never its code): speech padded to 30 s, each sample's
embeddings merged in a Python loop with a loop over its windows inside, the head over every position, and decoding one
utterance at a time. Its weights and its pooling (the plain mean) are ours, so that both sides compute the same loss.
"""

import argparse
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from sap2.data.audio import load_audio
from sap2.data.names import draw_sound
from sap2.files import sha256
from sap2.inference import Recogniser, load_recogniser
from sap2.manifest import Utterance, audio_path, read_manifest
from sap2.params import load_params
from sap2.settings import RecogniserSettings
from sap2.tracking.provenance import code_state
from sap2.training.shapes import EMBEDDED

FULL = 30 * 16_000  # samples the public code pads every recording to


def parser(description: str) -> argparse.ArgumentParser:
    """The options every script has."""
    made = argparse.ArgumentParser(description=description.split("\n")[0])
    made.add_argument("--data", type=Path, default=Path("data/lists"), help='what "sap2 lists" wrote')
    made.add_argument("--join", type=float, metavar="SECONDS", help="join recordings until they are so long")
    made.add_argument("--json", type=Path, help="write the figures there, too")
    return made


def utterances(arguments, count: int, split: str = "train") -> tuple[list[Utterance], list[np.ndarray]]:
    """The split's first utterances and their waveforms, joined to longer ones where `--join` asks for it."""
    manifest = arguments.data / f"{split}.jsonl"
    rows, waves = [], []
    for row in read_manifest(manifest):
        wave = load_audio(audio_path(row, manifest))
        if arguments.join and rows and len(waves[-1]) / 16_000 < arguments.join:
            waves[-1] = np.concatenate((waves[-1], wave))
            keywords = list(dict.fromkeys(rows[-1].keywords + row.keywords))
            rows[-1] = rows[-1].model_copy(update={"text": f"{rows[-1].text} {row.text}", "keywords": keywords})
            continue
        if len(rows) == count:
            break
        rows.append(row)
        waves.append(wave)
    if len(rows) < count:
        raise SystemExit(f"{manifest}: {len(rows)} utterances, {count} are asked for; take fewer, or prepare more")
    return rows, waves


def names(count: int, seed: int = 0) -> list[str]:
    """Names of the test split, each once."""
    rng, drawn = np.random.default_rng(seed), {}
    while len(drawn) < count:
        drawn[draw_sound("test", rng).spell(rng)] = None
    return list(drawn)


def default_recogniser(models: Path | None, device: torch.device) -> Recogniser:
    """The recogniser as params.yaml sets it up, of the folders a training left or of the embedded base alone."""
    folders = [EMBEDDED] if models is None else [models / name for name in ("base", "pruner", "recogniser")]
    adapters = dict(zip(("pruner", "recogniser"), folders[1:], strict=False))
    settings = RecogniserSettings.from_params(load_params())
    return load_recogniser(folders[0], **adapters, settings=settings, device=device.type)


def alternately(sides: dict[str, Callable[[], object]], repeats: int, device: torch.device) -> dict[str, list[float]]:
    """Seconds of each side, taken in turns so that a busy machine slows both alike; one unmeasured turn first.

    On a CPU they are seconds of the processor, all threads together: what other programs do then counts little.
    """
    clock = time.process_time if device.type == "cpu" else time.perf_counter
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for turn in range(repeats + 1):
        for name, side in sides.items():
            synchronise(device)
            started = clock()
            side()
            synchronise(device)
            if turn:
                seconds[name].append(clock() - started)
    return seconds


def synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def times(seconds: dict[str, list[float]], side: str) -> float:
    """How many times the first side's seconds a side takes: the median of the turns' ratios."""
    first = next(iter(seconds.values()))
    return statistics.median(mine / its for mine, its in zip(seconds[side], first, strict=True))


def summary(seconds: dict[str, list[float]]) -> str:
    """A Markdown table: median and range of each side, and how many times the first side's it is."""
    lines = ["| side | median s | fastest | slowest | × |", "|---|---|---|---|---|"]
    for name, taken in seconds.items():
        median = statistics.median(taken)
        lines.append(f"| {name} | {median:.3f} | {min(taken):.3f} | {max(taken):.3f} | {times(seconds, name):.2f} |")
    return "\n".join(lines)


def report(arguments, device: torch.device, seconds: dict[str, list[float]], **figures) -> None:
    """Print what was measured, and write it to `--json`."""
    print(machine(device))
    print(summary(seconds))
    for name, value in figures.items():
        print(f"{name.replace('_', ' ')}: {value}")
    record(arguments, device, seconds={name: [round(one, 4) for one in taken] for name, taken in seconds.items()},
           times={name: round(times(seconds, name), 3) for name in seconds}, **figures)  # fmt: skip


def record(arguments, device: torch.device, **figures) -> None:
    """Write figures to `--json`, with the command, the code and weights they are of, and what they were taken on."""
    if arguments.json is None:
        return
    arguments.json.parent.mkdir(parents=True, exist_ok=True)
    content = {
        "command": " ".join(["python", *sys.argv]),
        **code_state(),
        "date": datetime.now(UTC).date().isoformat(),
        "base": base_weights(arguments),
        "machine": machine(device),
        **figures,
    }
    arguments.json.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def base_weights(arguments) -> dict[str, str]:
    """Hex SHA-256 of each file of the base's weights, wherever the script's options have it from."""
    models = getattr(arguments, "models", None)
    folder = models / "base" if models is not None else getattr(arguments, "base", EMBEDDED)
    return {file.name: sha256(file) for file in sorted(folder.glob("*.safetensors"))}


def machine(device: torch.device) -> str:
    """What the figures were taken on."""
    cuda = device.type == "cuda"
    name = torch.cuda.get_device_name(device) if cuda else f"{os.cpu_count()} cores {platform.machine()}"
    kind = "seconds" if cuda else "processor seconds"
    return f"{name}, {torch.get_num_threads()} threads, torch {torch.__version__}, {kind}"


def best_device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


@torch.no_grad()
def padded_states(model, processor, waves: Sequence[np.ndarray]) -> list[Tensor]:
    """Encoder states of recordings padded to 30 s, `(frames, encoder_hidden)` each, cut to their valid frames."""
    # The longest row decides a batch's length: one of 30 s beside them pads all.
    features = processor.features([*waves, np.zeros(FULL, np.float32)])
    features = {name: tensor[:-1].to(model.device) for name, tensor in features.items()}
    states, mask = model.encode_speech(**features)
    return [row[: int(valid.sum())] for row, valid in zip(states, mask, strict=True)]


def baseline_loss(model, processor, prompts, keywords, waves, targets) -> Tensor:
    """The loss of a batch, computed as the public code does: sample by sample, from 30 s of audio each.

    Args:
        model: Base or PEFT model whose pooling is the mean of fixed windows (`weighting` "mean").
        prompts, keywords, waves, targets: As the processor takes them.
    """
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    core, config = inner.model, inner.config
    states = padded_states(inner, processor, waves)
    rows, labels = [], []
    for prompt, words, wave, target, heard in zip(prompts, keywords, waves, targets, states, strict=True):
        batch = processor([prompt], [words], frames=[processor.frames(len(wave))], targets=[target])
        ids = batch["input_ids"][0].to(inner.device)
        speech = core.multi_modal_projector(heard.to(core.multi_modal_projector.linear.weight.dtype))
        context = core.get_input_embeddings()(batch["context_ids"][0].to(inner.device))
        pooled = [context[start : start + config.window].mean(0) for start in range(0, len(context), config.window)]
        embeddings = core.get_input_embeddings()(ids)
        pieces, spoken, listed = [], 0, 0
        for place, token in enumerate(ids.tolist()):
            if token == config.audio_token_index:
                pieces.append(speech[spoken])
                spoken += 1
            elif token == config.context_token_id:
                pieces.append(pooled[listed])
                listed += 1
            else:
                pieces.append(embeddings[place])
        rows.append(torch.stack(pieces))
        labels.append(batch["labels"][0].to(inner.device))
    mask = nn.utils.rnn.pad_sequence([torch.ones(len(row), device=inner.device) for row in rows], batch_first=True)
    hidden = core.language_model(
        inputs_embeds=nn.utils.rnn.pad_sequence(rows, batch_first=True), attention_mask=mask.long(), use_cache=False
    ).last_hidden_state
    logits = inner.lm_head(hidden).float()  # every position, as the stock class does
    targets = nn.utils.rnn.pad_sequence(labels, batch_first=True, padding_value=-100)
    return nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), targets[:, 1:].flatten(), ignore_index=-100)
