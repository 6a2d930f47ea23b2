"""The model card of the english base, written from what its run has noted."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sap2.base.corpus import LECTURES, READ_ALOUD
from sap2.files import read_jsonl

if TYPE_CHECKING:
    from sap2.base.recipe import BaseParams

__all__ = ["model_card"]

_CARD = """---
license: apache-2.0
language: en
library_name: transformers
tags: [automatic-speech-recognition, contextual-biasing]
---

# The base "english"

A small speech language model of exactly the Qwen2-Audio architecture (`Qwen2AudioForConditionalGeneration` loads it),
so that the pipeline works on people's English on a CPU without downloads: the encoder of OpenAI's Whisper {encoder}
(MIT), {frozen}, its matrices in 8 bits (float8 e4m3); an average pool; a linear
projector; a Qwen2 decoder of 6 layers and 256 dimensions; a byte-level BPE tokenizer of 1,500 tokens with Qwen2-Audio's
special tokens and the context markers. It writes lower-case words without punctuation. Its configuration says that it
tags keywords without an adapter (`tagging`) and pools windows by their mean (`weighting`), as it was trained.

One part is not Qwen2-Audio's: `ctc.safetensors`, a head of {blocks} convolution blocks on the encoder's states that
gives CTC scores of tokens and phonemes. Transcripts are decoded by decoder and CTC jointly (`inference.ctc_weight`;
0 = by the decoder alone), and keywords of long lists are spotted in its phonemes. A folder without it works, too.

- **Can**: transcribe English speech, use a list of keywords in its prompt, tag each of them as spoken or not, and name
  those that are spoken.
- **Cannot**: other languages, digits, punctuation. It was trained on {hours:.1f} hours of people's speech, which is
  little for a recogniser; it is meant to be biased by lists and adapted.
- **Made by**: `make base` (`sap2/base/recipe.py`), which wrote this card. Seed {seed}.
{phases}
- **Weights**: `model.safetensors`, sha256 `{digest}`.

## Training data

| source | utterances | hours |
| --- | ---: | ---: |
{sources}

One speaker in twenty is held out. `lectures` are sentences of the embedded corpus's train split, spoken by eSpeak NG,
whose names are spelt anew each time; `read-aloud` are excerpts of the texts, each with a rare word, read by eSpeak NG.
No invented name (by sound) and no sentence of the embedded corpus's dev and test splits is among them. The decoder also
read {sentences:,} sentences of text:
{files}.

## Held-out recordings

By the decoder alone, which in use is joined by CTC. Lists have up to 50 keywords, some of them spoken. The recordings
are people's, the lectures synthetic. "Keywords" is the share of the spoken keywords that are written.

| training | step | WER, no list | keywords | WER, list | keywords | lectures: WER, no list | WER, list | keywords |
| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |
{figures}

By the CTC head alone, the likeliest token of each frame: WER {ctc}.
"""
_PHASES = {"log.jsonl": "pretraining", "ctc.jsonl": "CTC head", "settled.jsonl": "settling"}
_FIGURES = (
    "recordings_wer_none", "recordings_keywords_none", "recordings_wer_list", "recordings_keywords_list",
    "lectures_wer_none", "lectures_wer_list", "lectures_keywords_list",
)  # fmt: skip


def model_card(work: Path, params: "BaseParams", digest: str) -> str:
    """What the base is, what it has heard, and how it scored on its way.

    Args:
        work: The run's folder, with corpus.json and the trainings' logs.
        digest: Of the weights.
    """
    facts = json.loads((work / "corpus.json").read_text(encoding="utf-8"))
    text = facts.pop("text")
    logs = {name: [row for _, row in read_jsonl(work / name)] for name in _PHASES}
    probed = [(_PHASES[name], row) for name, rows in logs.items() for row in rows if _FIGURES[0] in row]
    tuned = params.recipe.tuned_layers
    people = [made for name, made in facts.items() if name not in (LECTURES, READ_ALOUD)]
    return _CARD.format(
        encoder=params.recipe.encoder,
        seed=params.recipe.seed,
        blocks=params.hearing.blocks,
        digest=digest,
        phases="\n".join(_phase(_PHASES[name], rows) for name, rows in logs.items()),
        ctc=", ".join(
            f"{value:.1%} ({name.partition('_')[0]})"
            for name, value in logs["ctc.jsonl"][-1].items()
            if name.endswith("_wer_ctc")
        )
        or "not measured, as no recording is held out",
        frozen=f"its last {tuned} layers trained further" if tuned else "unchanged",
        hours=sum(made["hours"] for made in people),
        sources="\n".join(f"| {name} | {made['utterances']:,} | {made['hours']:.2f} |" for name, made in facts.items()),
        sentences=text["sentences"],
        files=", ".join(text["files"]),
        figures="\n".join(
            f"| {phase} | {row['step']} | " + " | ".join(str(row.get(figure, "")) for figure in _FIGURES) + " |"
            for phase, row in probed
        ),
    )


def _phase(name: str, rows: list[dict[str, Any]]) -> str:
    last = rows[-1]
    return f"  - {name}: {last['step']:,} steps, {last['seconds'] / 60:.0f} minutes on {last.get('device', 'a CPU')}"
