"""The model card of the embedded base, written from what its run has noted."""

import json
from pathlib import Path
from typing import Any

from sap2.base.corpus import LECTURES, READ_ALOUD

__all__ = ["model_card"]

_CARD = """---
license: apache-2.0
language: en
library_name: transformers
tags: [automatic-speech-recognition, contextual-biasing]
---

# The embedded base

A small speech language model of exactly the Qwen2-Audio architecture (`Qwen2AudioForConditionalGeneration` loads it),
so that the pipeline works on real English on a CPU without downloads: the encoder of OpenAI's Whisper {encoder} (MIT),
its matrices kept in 8 bits (float8 e4m3) and {frozen}; an average pool; a linear projector; a Qwen2 decoder of 6 layers
and 256 dimensions; a byte-level BPE tokenizer of 1,500 tokens with Qwen2-Audio's special tokens and the context
markers. It writes lower-case words without punctuation.

- **Can**: transcribe English speech, use a list of keywords in its prompt, tag each of them as spoken or not, and name
  those that are spoken.
- **Cannot**: other languages, digits, punctuation. It was trained on {hours:.1f} hours of people's speech, which is
  little for a recogniser; it is meant to be biased by lists and adapted.
- **Made by**: `make base` (`sap2/base/recipe.py`), which wrote this card: {steps:,} steps of up to {seconds:g} s of
  speech, seed {seed}, {minutes:.0f} minutes on {device}.
- **Weights**: `model.safetensors`, sha256 `{digest}`.

## Training data

| source | utterances | hours |
| --- | ---: | ---: |
{sources}

One speaker in twenty is held out. `lectures` are sentences of the embedded corpus's train split, spoken by eSpeak NG,
whose names are spelt anew each time; `read-aloud` are excerpts of the texts, each with a rare word, read by eSpeak NG.
No invented name (by sound) and no sentence of the embedded corpus's dev and test splits is among them. The decoder also
read {sentences:,} sentences of text ({files}).

## Held-out recordings

Lists have up to 50 keywords, some of them spoken. `recordings` are people, `lectures` are synthetic. Share of the
spoken keywords that are written: "keywords".

| step | WER, no list | keywords | WER, list | keywords | lectures: WER, no list | WER, list | keywords |
| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |
{figures}
"""
_FIGURES = (
    "recordings_wer_none", "recordings_keywords_none", "recordings_wer_list", "recordings_keywords_list",
    "lectures_wer_none", "lectures_wer_list", "lectures_keywords_list",
)  # fmt: skip


def model_card(work: Path, recipe: dict[str, Any], digest: str) -> str:
    """What the base is, what it has heard, and how it scored on its way.

    Args:
        work: The run's folder, with corpus.json and log.jsonl.
        recipe: Fields of `sap2.base.pretraining.Recipe`.
        digest: Of the weights.
    """
    facts = json.loads((work / "corpus.json").read_text(encoding="utf-8"))
    text = facts.pop("text")
    rows = [json.loads(line) for line in (work / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    probed = [row for row in rows if _FIGURES[0] in row]
    tuned = recipe["tuned_layers"]
    people = [made for name, made in facts.items() if name not in (LECTURES, READ_ALOUD)]
    return _CARD.format(
        **recipe | {"digest": digest},
        frozen=f"frozen but for its last {tuned} layers" if tuned else "frozen",
        hours=sum(made["hours"] for made in people),
        minutes=rows[-1]["seconds"] / 60,
        device=rows[-1].get("device", "a CPU"),
        sources="\n".join(f"| {name} | {made['utterances']:,} | {made['hours']:.2f} |" for name, made in facts.items()),
        sentences=text["sentences"],
        files=", ".join(text["files"]),
        figures="\n".join(
            f"| {row['step']} | " + " | ".join(str(row.get(figure, "")) for figure in _FIGURES) + " |" for row in probed
        ),
    )
