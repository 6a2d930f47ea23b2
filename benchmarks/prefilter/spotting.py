"""Recall@K and time per utterance of the prefilter's methods: CTC word spotting, phonetic match, and their sum.

    python benchmarks/prefilter/spotting.py --split dev --nbest 5 --json benchmarks/prefilter/records/spotting_dev.json
    python benchmarks/prefilter/spotting.py --json benchmarks/prefilter/records/spotting.json
    python benchmarks/prefilter/spotting.py --speech DIR --words all_rare_words.txt --base BASE --utterances 150

By default the utterances, names and lists are those of recall.py. With `--speech`, utterances come from a folder with
utterances.tsv (id, audio, text), and the list holds their words that are in the file of words, and others of that file.
Phonemes are spotted if the base has a phoneme head, otherwise tokens.
"""

import argparse
import csv
import json
import platform
import re
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from recall import glossary
from transformers import GenerationConfig

from sap2.data.audio import load_audio
from sap2.files import sha256
from sap2.inference import load_recogniser
from sap2.inference.index import BONUS
from sap2.inference.prefilter import similarity
from sap2.inference.spotting import PrefixTree, spot, without_pauses
from sap2.manifest import audio_path, read_manifest, spoken
from sap2.progress import track
from sap2.prompts import recognition_prompt

KEEP = (50, 100, 200, 500)
UNHEARD = -1_000.0  # score of a keyword outside the beam, in sums of scores


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    options.add_argument("--data", type=Path, default=Path("data/lists"), help='folder written by "sap2 lists"')
    options.add_argument("--split", default="test", help="of --data")
    options.add_argument("--base", type=Path, default=Path("models/base"))
    options.add_argument(
        "--sizes", type=int, nargs="+", default=[2_000, 10_000, 100_000], help="N: keywords in the list"
    )
    options.add_argument("--utterances", type=int, help="drawn from --speech, or the first of --split; all by default")
    options.add_argument("--speech", type=Path, help="folder of recordings, with --words")
    options.add_argument("--words", type=Path, help="keywords, one per line")
    options.add_argument("--bonus", type=float, nargs="+", help="per token or phoneme; default: the package's")
    options.add_argument("--nbest", type=int, default=0, help="hypotheses for the phonetic match; 0 = no match")
    options.add_argument("--json", type=Path, help="file for the figures")
    arguments = options.parse_args()

    stage = load_recogniser(arguments.base).transcriber.stage
    if arguments.speech:
        audio, _, spoken_words = speech_with_words(arguments.speech, arguments.words, arguments.utterances)
    else:
        audio, spoken_words = _split(arguments)
    states = stage.encode([load_audio(path) for path in audio], 8, "encode")
    hypotheses = _hypotheses(stage, states, arguments.nbest) if arguments.nbest else None
    scores = [stage.frame_scores(frames) for frames in states]
    seconds = float(np.mean([len(frames) for frames in states])) * stage.frame_seconds
    rows = []
    total = sum(map(len, spoken_words))
    print(f"{len(spoken_words)} utterances of {seconds:.1f} s on average, {total} spoken keywords\n")
    print("| method | N | " + " | ".join(f"recall@{keep}" for keep in KEEP) + " | ms per utterance |")
    print("|---" * (len(KEEP) + 3) + "|")
    for size in arguments.sizes:
        words = listed_words(arguments.words, spoken_words, size) if arguments.words else glossary(spoken_words, size)
        tree = PrefixTree.of(stage.vocabulary.tokenise(words))
        started = time.perf_counter()
        spotted = [spot(without_pauses(frames, blank), blank, tree, token_bonus=0.0) for frames, blank in scores]
        taken = (time.perf_counter() - started) / len(spoken_words)
        methods = {
            f"ctc, {stage.vocabulary.unit}, bonus {bonus:g}": [
                np.maximum(row + bonus * tree.lengths, UNHEARD) for row in spotted
            ]
            for bonus in arguments.bonus or [BONUS[stage.vocabulary.unit]]
        }
        costs = dict.fromkeys(methods, taken)
        if hypotheses is not None:
            ctc = next(iter(methods.values()))
            for count in sorted({1, arguments.nbest}):
                started = time.perf_counter()
                alike = [np.maximum.reduce([similarity(text, words) for text in texts[:count]]) for texts in hypotheses]
                costs[f"phonetic, {count}-best"] = (time.perf_counter() - started) / len(spoken_words)
                methods[f"phonetic, {count}-best"] = alike
                for weight in (2.0, 4.0, 8.0):
                    methods[f"ctc + {weight:g} × phonetic, {count}-best"] = [
                        row + weight * similarities for row, similarities in zip(ctc, alike, strict=True)
                    ]
        for name, rankings in methods.items():
            shares = recall(rankings, words, spoken_words)
            cost = costs.get(name)
            rows.append({"method": name, "names": size, "recall": shares, "ms": cost and round(1000 * cost, 1)})
            shown = " | ".join(f"{share:.3f}" for share in shares.values())
            print(f"| {name} | {size:,} | {shown} | {'' if cost is None else f'{1000 * cost:.0f}'} |", flush=True)
    if arguments.json:
        content = {
            "command": " ".join(["python", *sys.argv]),
            "machine": f"cpu ({platform.machine()}), {torch.get_num_threads()} threads, torch {torch.__version__}",
            "weights": {"base": sha256(arguments.base / "model.safetensors")},
            "utterances": len(spoken_words), "names": total, "mean_seconds": round(seconds, 2), "rows": rows,
        }  # fmt: skip
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def recall(
    scores: Sequence[np.ndarray], words: Sequence[str], spoken: Sequence[Sequence[str]], keep: Sequence[int] = KEEP
) -> dict[int, float]:
    """Return the share of spoken keywords among the best K; ties keep the list's order."""
    position = {word: number for number, word in enumerate(words)}
    ranks = []
    for row, spoken_words in zip(scores, spoken, strict=True):
        order = np.empty(len(row), np.int64)
        order[np.argsort(-row, kind="stable")] = np.arange(len(row))
        ranks += [order[position[word]] for word in spoken_words]
    return {most: round(float(np.mean(np.array(ranks) < most)), 4) for most in keep}


def _split(arguments: argparse.Namespace) -> tuple[list[Path], list[list[str]]]:
    manifest = arguments.data / f"{arguments.split}.jsonl"
    rows = [row for row in read_manifest(manifest)[: arguments.utterances] if spoken(row)]
    return [audio_path(row, manifest) for row in rows], [spoken(row) for row in rows]


def speech_with_words(speech: Path, words: Path, count: int | None) -> tuple[list[Path], list[str], list[list[str]]]:
    """Return utterances with some of the words, in random order: recordings, texts, and the spoken words of each."""
    rare = set(words.read_text(encoding="utf-8").lower().split())
    with (speech / "utterances.tsv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    audio, texts, spoken_words = [], [], []
    for number in np.random.default_rng(0).permutation(len(rows)):
        text = re.sub(r"[^a-z' ]", " ", rows[number]["text"].lower()).split()
        if wanted := [word for word in dict.fromkeys(text) if word in rare]:
            audio.append(speech / rows[number]["audio"])
            texts.append(" ".join(text))
            spoken_words.append(wanted)
        if len(spoken_words) == count:
            break
    return audio, texts, spoken_words


def listed_words(path: Path, spoken: Sequence[Sequence[str]], size: int) -> list[str]:
    """Return all spoken words and others of the file, in random order."""
    rng = np.random.default_rng(0)
    words = dict.fromkeys(word for row in spoken for word in row)
    others = path.read_text(encoding="utf-8").lower().split()
    for number in rng.permutation(len(others)):
        if len(words) >= size:
            break
        words[others[number]] = None
    return list(np.array(list(words), dtype=object)[rng.permutation(len(words))])


@torch.no_grad()
def _hypotheses(stage, states: Sequence[torch.Tensor], count: int) -> list[list[str]]:
    """Return the most likely transcripts without context, by a beam search with `count` beams."""
    config = GenerationConfig(
        max_new_tokens=64, num_beams=count, num_return_sequences=count, do_sample=False,
        eos_token_id=[stage.processor.end_id], pad_token_id=stage.processor.tokenizer.pad_token_id,
    )  # fmt: skip
    hypotheses = []
    for frames in track(states, len(states), f"{count}-best"):
        inputs = dict(stage.processor([recognition_prompt(False)], [[]], frames=[len(frames)], padding_side="left"))
        inputs |= {"speech_states": frames[None], "speech_mask": torch.ones(1, len(frames), dtype=torch.bool)}
        answers = stage.model.generate(**inputs, generation_config=config)[:, inputs["input_ids"].shape[1] :]
        texts = stage.processor.tokenizer.batch_decode(answers, skip_special_tokens=True)
        hypotheses.append([text.strip() for text in texts])
    return hypotheses


if __name__ == "__main__":
    main()
