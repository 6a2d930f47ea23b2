"""What the model benchmarks share: a corpus, a timer, and the baseline re-stated from the method's description.

The baseline is our own writing of what the public code does (never its code): speech padded to 30 s, each sample's
embeddings merged in a Python loop with a loop over its windows inside, the head over every position, and decoding one
utterance at a time. Its weights and its pooling (the plain mean) are ours, so that both sides compute the same loss.
"""

import platform
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from sap2.data.audio import load_audio
from sap2.data.names import draw_sound
from sap2.manifest import Utterance, audio_path, read_manifest

FULL = 30 * 16_000  # samples the public code pads every recording to


def utterances(folder: Path, count: int, split: str = "train") -> tuple[list[Utterance], list[np.ndarray]]:
    """Utterances of the embedded corpus and their waveforms; spoken once, then kept in `folder`."""
    from sap2.data.lectures import prepare_lectures
    from sap2.params import PrepareSection

    target = folder / f"lectures-{count}"
    if not target.is_dir():
        prepare_lectures(PrepareSection(**{f"{name}_utterances": count for name in ("train", "dev", "test")}), target)
    manifest = target / f"{split}.jsonl"
    rows = read_manifest(manifest)
    return rows, [load_audio(audio_path(row, manifest)) for row in rows]


def names(count: int, seed: int = 0) -> list[str]:
    """Names of the test split, each once."""
    rng, drawn = np.random.default_rng(seed), {}
    while len(drawn) < count:
        drawn[draw_sound("test", rng).spell(rng)] = None
    return list(drawn)


def alternately(sides: dict[str, Callable[[], object]], repeats: int, device: torch.device) -> dict[str, list[float]]:
    """Seconds of each side, taken in turns so that a busy machine slows both alike; one unmeasured turn first."""
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for turn in range(repeats + 1):
        for name, side in sides.items():
            synchronise(device)
            started = time.perf_counter()
            side()
            synchronise(device)
            if turn:
                seconds[name].append(time.perf_counter() - started)
    return seconds


def synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def summary(seconds: dict[str, list[float]]) -> str:
    """A Markdown table: median and range of each side, and how many times the first side's median it is."""
    first = statistics.median(next(iter(seconds.values())))
    lines = ["| side | median s | fastest | slowest | × |", "|---|---|---|---|---|"]
    for name, taken in seconds.items():
        median = statistics.median(taken)
        lines.append(f"| {name} | {median:.3f} | {min(taken):.3f} | {max(taken):.3f} | {median / first:.2f} |")
    return "\n".join(lines)


def machine(device: torch.device) -> str:
    """What the figures were taken on."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or platform.machine()
    return f"{device.type} ({name}), {torch.get_num_threads()} threads, torch {torch.__version__}"


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
