"""Recall@K of the prefilter's methods, and what an utterance costs: CTC word spotting, phonetic match, and their sum.

    python benchmarks/prefilter/spotting.py --split dev --nbest 5 --json benchmarks/prefilter/records/spotting_dev.json
    python benchmarks/prefilter/spotting.py --json benchmarks/prefilter/records/spotting.json
    python benchmarks/prefilter/spotting.py --speech DIR --words all_rare_words.txt --base BASE --utterances 150

By default the utterances, names and lists are those of recall.py. With `--speech` they are those of a folder with
utterances.tsv (id, audio, text): what is said of the file of words, in a list with others of them. Phonemes are spotted
where the base has a phoneme head, else tokens.
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
UNHEARD = -1_000.0  # score of a keyword that the beam has lost, where scores are added


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    options.add_argument("--data", type=Path, default=Path("data/lists"), help='what "sap2 lists" wrote')
    options.add_argument("--split", default="test", help="of --data")
    options.add_argument("--base", type=Path, default=Path("models/base"))
    options.add_argument(
        "--sizes", type=int, nargs="+", default=[2_000, 10_000, 100_000], help="N: keywords of the list"
    )
    options.add_argument("--utterances", type=int, help="drawn from --speech, or the first of --split; all by default")
    options.add_argument("--speech", type=Path, help="folder of recordings, with --words")
    options.add_argument("--words", type=Path, help="keywords, one a line")
    options.add_argument("--bonus", type=float, nargs="+", help="per token or phoneme; that of the package by default")
    options.add_argument("--nbest", type=int, default=0, help="hypotheses for the phonetic match; 0 = none is made")
    options.add_argument("--json", type=Path, help="write the figures there, too")
    arguments = options.parse_args()

    stage = load_recogniser(arguments.base).transcriber.stage
    if arguments.speech:
        audio, _, said = said_in_speech(arguments.speech, arguments.words, arguments.utterances)
    else:
        audio, said = _split(arguments)
    states = stage.encode([load_audio(path) for path in audio], 8, "encode")
    hypotheses = _hypotheses(stage, states, arguments.nbest) if arguments.nbest else None
    scores = [stage.frame_scores(one) for one in states]
    seconds = float(np.mean([len(one) for one in states])) * stage.frame_seconds
    rows = []
    print(f"{len(said)} utterances of {seconds:.1f} s on average, {sum(map(len, said))} keywords said\n")
    print("| method | N | " + " | ".join(f"recall@{keep}" for keep in KEEP) + " | ms an utterance |")
    print("|---" * (len(KEEP) + 3) + "|")
    for size in arguments.sizes:
        words = listed_words(arguments.words, said, size) if arguments.words else glossary(said, size)
        tree = PrefixTree.of(stage.vocabulary.tokenise(words))
        started = time.perf_counter()
        spotted = [spot(without_pauses(frames, blank), blank, tree, token_bonus=0.0) for frames, blank in scores]
        taken = (time.perf_counter() - started) / len(said)
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
                costs[f"phonetic, {count}-best"] = (time.perf_counter() - started) / len(said)
                methods[f"phonetic, {count}-best"] = alike
                for weight in (2.0, 4.0, 8.0):
                    methods[f"ctc + {weight:g} × phonetic, {count}-best"] = [
                        one + weight * other for one, other in zip(ctc, alike, strict=True)
                    ]
        for name, rankings in methods.items():
            found = recall(rankings, words, said)
            cost = costs.get(name)
            rows.append({"method": name, "names": size, "recall": found, "ms": cost and round(1000 * cost, 1)})
            shown = " | ".join(f"{share:.3f}" for share in found.values())
            print(f"| {name} | {size:,} | {shown} | {'' if cost is None else f'{1000 * cost:.0f}'} |", flush=True)
    if arguments.json:
        content = {
            "command": " ".join(["python", *sys.argv]),
            "machine": f"cpu ({platform.machine()}), {torch.get_num_threads()} threads, torch {torch.__version__}",
            "weights": {"base": sha256(arguments.base / "model.safetensors")},
            "utterances": len(said), "names": sum(map(len, said)), "mean_seconds": round(seconds, 2), "rows": rows,
        }  # fmt: skip
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def recall(
    scores: Sequence[np.ndarray], words: Sequence[str], said: Sequence[Sequence[str]], keep: Sequence[int] = KEEP
) -> dict[int, float]:
    """The share of the keywords said that are among the best K, of equals the first in the list first."""
    place = {word: number for number, word in enumerate(words)}
    ranks = []
    for row, spoken_words in zip(scores, said, strict=True):
        order = np.empty(len(row), np.int64)
        order[np.argsort(-row, kind="stable")] = np.arange(len(row))
        ranks += [order[place[word]] for word in spoken_words]
    return {most: round(float(np.mean(np.array(ranks) < most)), 4) for most in keep}


def _split(arguments: argparse.Namespace) -> tuple[list[Path], list[list[str]]]:
    manifest = arguments.data / f"{arguments.split}.jsonl"
    rows = [row for row in read_manifest(manifest)[: arguments.utterances] if spoken(row)]
    return [audio_path(row, manifest) for row in rows], [spoken(row) for row in rows]


def said_in_speech(speech: Path, words: Path, count: int | None) -> tuple[list[Path], list[str], list[list[str]]]:
    """Utterances in random order in which some of the words are said: recordings, texts, and these words."""
    rare = set(words.read_text(encoding="utf-8").lower().split())
    with (speech / "utterances.tsv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    audio, texts, said = [], [], []
    for number in np.random.default_rng(0).permutation(len(rows)):
        text = re.sub(r"[^a-z' ]", " ", rows[number]["text"].lower()).split()
        if wanted := [word for word in dict.fromkeys(text) if word in rare]:
            audio.append(speech / rows[number]["audio"])
            texts.append(" ".join(text))
            said.append(wanted)
        if len(said) == count:
            break
    return audio, texts, said


def listed_words(path: Path, said: Sequence[Sequence[str]], size: int) -> list[str]:
    """All that is said and others of the file, in random order."""
    rng = np.random.default_rng(0)
    words = dict.fromkeys(word for one in said for word in one)
    others = path.read_text(encoding="utf-8").lower().split()
    for number in rng.permutation(len(others)):
        if len(words) >= size:
            break
        words[others[number]] = None
    return list(np.array(list(words), dtype=object)[rng.permutation(len(words))])


@torch.no_grad()
def _hypotheses(stage, states: Sequence[torch.Tensor], count: int) -> list[list[str]]:
    """The likeliest transcripts without context, of a beam search with as many beams."""
    config = GenerationConfig(
        max_new_tokens=64, num_beams=count, num_return_sequences=count, do_sample=False,
        eos_token_id=[stage.processor.end_id], pad_token_id=stage.processor.tokenizer.pad_token_id,
    )  # fmt: skip
    found = []
    for one in track(states, len(states), f"{count}-best"):
        inputs = dict(stage.processor([recognition_prompt(False)], [[]], frames=[len(one)], padding_side="left"))
        inputs |= {"speech_states": one[None], "speech_mask": torch.ones(1, len(one), dtype=torch.bool)}
        answers = stage.model.generate(**inputs, generation_config=config)[:, inputs["input_ids"].shape[1] :]
        texts = stage.processor.tokenizer.batch_decode(answers, skip_special_tokens=True)
        found.append([text.strip() for text in texts])
    return found


if __name__ == "__main__":
    main()
