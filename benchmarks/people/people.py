"""WER, U-WER and B-WER on recordings of people, without a list and with lists of any length; after Le et al. (2021).

    python benchmarks/people/people.py --speech DIR --lists test-clean.biasing_100.tsv --json record.json
    python benchmarks/people/people.py ... --conditions none 100 100-capital 1000 --words all_rare_words.txt --every 4

DIR has utterances.tsv (id, audio, text, duration). A list of 100 is the file's; a longer one has random words of
--words besides. With N-shared all utterances share a list: the spoken words of all, and random ones up to N. The
transcripts are kept in --work, from which the next call resumes; parts run side by side with --part 0/2 and --part 1/2.
"""

import argparse
import csv
import json
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch

from sap2.data.audio import load_audio
from sap2.deep_bias import parse_rows
from sap2.evaluation import score
from sap2.files import atomic_file, read_jsonl
from sap2.params import TrackingSection
from sap2.progress import track
from sap2.settings import Prefilter
from sap2.tracking.packaging import load_recogniser

sys.path.append(str(Path(__file__).parents[1] / "serving"))
from run import origin  # noqa: E402  benchmarks/serving

GROUP = 16  # utterances that are recognised together
FULL = 200  # longest list that stage 1 reads in full
FIGURES = ("wer", "u_wer", "b_wer", "false_alarms_per_100", "keyword_recall")


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--speech", type=Path, required=True, help="folder with utterances.tsv")
    options.add_argument("--lists", type=Path, required=True, help="deep-bias TSV: id, text, spoken words, list of 100")
    options.add_argument("--words", type=Path, help="words of the longer lists, one per line")
    options.add_argument("--model", default="english", help="as `sap2 transcribe` takes it")
    options.add_argument("--conditions", nargs="+", default=["none", "100"], help="none, N, N-capital, N-shared")
    options.add_argument("--every", type=int, default=1, help="take every Nth utterance")
    options.add_argument("--part", default="0/1", help="index and number of the parts")
    options.add_argument("--work", type=Path, default=Path("build/people"), help="folder of the transcripts")
    options.add_argument("--json", type=Path, help="file for the figures")
    arguments = options.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    rows = utterances(arguments.speech, arguments.every)
    transcribe(arguments, rows)
    wanted = {row["id"] for row in rows}
    done = [row for row in results(arguments.work) if row["id"] in wanted]
    figures = scored(done, published(arguments.lists), arguments.conditions)
    if arguments.json:
        with atomic_file(arguments.json) as partial:
            record = {**origin(), "speech": arguments.speech.name, "model": arguments.model, **figures}
            partial.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def utterances(speech: Path, every: int) -> list[dict[str, str]]:
    """Return the rows of utterances.tsv."""
    with (speech / "utterances.tsv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file, delimiter="\t"))[::every]


def published(lists: Path) -> dict[str, list[str]]:
    """Return the list of each utterance."""
    lines = enumerate(lists.read_text(encoding="utf-8").splitlines(), 1)
    return {row.id: list(row.keywords or ()) for row in parse_rows(str(lists), lines)}


def results(work: Path) -> Iterator[dict]:
    """Yield what all parts have transcribed."""
    for path in sorted(work.glob("*.jsonl")):
        for _, row in read_jsonl(path):
            yield row


def transcribe(arguments: argparse.Namespace, rows: Sequence[dict[str, str]]) -> None:
    """Transcribe the part's utterances that are not there yet."""
    part, parts = map(int, arguments.part.split("/"))
    done = {row["id"] for row in results(arguments.work) if set(arguments.conditions) <= set(row["texts"])}
    left = [row for row in rows[part::parts] if row["id"] not in done]
    if not left:
        return
    torch.set_num_threads(1)
    lists = published(arguments.lists)
    words = arguments.words.read_text(encoding="utf-8").split() if arguments.words else []
    recogniser = load_recogniser(TrackingSection(), arguments.model)
    pruning = recogniser.settings.pruning.model_copy(update={"prefilter": Prefilter(keep=FULL)})
    reducing = recogniser.with_settings(recogniser.settings.model_copy(update={"pruning": pruning}))
    common = {name: shared(rows, lists, words, name) for name in arguments.conditions if name.endswith("-shared")}
    left.sort(key=lambda row: float(row["duration"]))
    name = f"{part}-of-{parts}.jsonl"
    with (arguments.work / name).open("a", encoding="utf-8") as file:
        for start in track(range(0, len(left), GROUP), -(-len(left) // GROUP), name):
            group = left[start : start + GROUP]
            waves = [load_audio(arguments.speech / row["audio"]) for row in group]
            seconds = sum(float(row["duration"]) for row in group)
            began = time.process_time()
            speech = recogniser.encode(waves)
            cpu = {"encode": (time.process_time() - began) / seconds}
            made: list[dict] = [
                {"id": row["id"], "text": row["text"].lower(), "seconds": float(row["duration"]), "texts": {},
                 "selected": {}, "lists": {}, "cpu": cpu}
                for row in group
            ]  # fmt: skip
            for condition in arguments.conditions:
                given = [
                    common.get(condition) or listed(condition, row["id"], row["text"].lower(), lists, words)
                    for row in group
                ]
                began = time.process_time()
                used = reducing if max(map(len, given)) > FULL else recogniser
                for row, own, transcript in zip(made, given, used.recognise(speech, given), strict=True):
                    row["texts"][condition] = transcript.text
                    row["selected"][condition] = list(transcript.scores)
                    # Keywords in neither text do not count.
                    there = set(f"{row['text']} {transcript.text.lower()}".split())
                    row["lists"][condition] = [word.lower() for word in own if word.lower() in there]
                cpu[condition] = (time.process_time() - began) / seconds
            file.writelines(json.dumps(row) + "\n" for row in made)
            file.flush()


def shared(
    rows: Sequence[dict[str, str]], lists: dict[str, list[str]], words: Sequence[str], condition: str
) -> list[str]:
    """Return a list for all utterances: the published lists' spoken words, and random words up to its size."""
    size = int(condition.partition("-")[0])
    said = {word: None for row in rows for word in lists[row["id"]] if word in row["text"].lower().split()}
    return enlarged(said, size, words, [size])


def listed(condition: str, id: str, text: str, lists: dict[str, list[str]], words: Sequence[str]) -> list[str]:
    """Return an utterance's list: the published one, enlarged by random words that are not spoken, or none."""
    if condition == "none":
        return []
    size, _, capital = condition.partition("-")
    own = lists[id]
    if len(own) < int(size):
        own = enlarged(own, int(size), words, [int(size), *id.encode()], frozenset(text.split()))
    return [word[:1].upper() + word[1:] for word in own] if capital else own


def enlarged(
    own: Iterable[str], size: int, words: Sequence[str], seed: list[int], left_out: frozenset[str] = frozenset()
) -> list[str]:
    """Return a list with random words added up to `size`, sorted."""
    drawn = dict.fromkeys(own)
    for index in np.random.default_rng(seed).permutation(len(words)):
        if len(drawn) >= size:
            break
        if words[index] not in left_out:
            drawn[words[index]] = None
    return sorted(drawn)


def scored(rows: Sequence[dict], lists: dict[str, list[str]], conditions: Sequence[str]) -> dict:
    """Print and return the figures of each condition, with 95 % intervals by speaker."""
    figures: dict = {"utterances": len(rows), "hours": round(sum(row["seconds"] for row in rows) / 3600, 3)}
    print(f"{figures['utterances']} utterances, {figures['hours']} h\n")
    print(
        "| list | WER | U-WER | B-WER | false alarms / 100 | keyword recall | stage 1: recall | precision | CPU s / s |"
    )
    print("|---" * 9 + "|")
    for condition in conditions:
        own = [row for row in rows if condition in row["texts"]]
        if not own:
            continue
        full = condition in ("none", "100", "100-capital")
        by_id = {row["id"]: lists[row["id"]] if full else row["lists"][condition] for row in own}
        references = {row["id"]: row["text"] for row in own}
        texts = {row["id"]: row["texts"][condition].lower() for row in own}
        system = score(references, texts, by_id).systems[0].figures
        shown = {name: [system[name].value, system[name].low, system[name].high] for name in FIGURES}
        hits = selected = spoken = 0
        for row in own:
            chosen = {word.lower() for word in row["selected"][condition]}
            said = set(by_id[row["id"]]) & set(row["text"].split())
            hits, selected, spoken = hits + len(chosen & said), selected + len(chosen), spoken + len(said)
        total = sum(row["seconds"] for row in own)
        cpu = sum((row["cpu"]["encode"] + row["cpu"][condition]) * row["seconds"] for row in own) / total
        figures[condition] = {
            **{name: [None if value is None else round(value, 4) for value in row] for name, row in shown.items()},
            "utterances": len(own), "cpu_seconds_per_second": round(cpu, 3),
            "stage_1": {"recall": round(hits / max(1, spoken), 4), "precision": round(hits / max(1, selected), 4)},
        }  # fmt: skip
        cells = [f"{value:.2f} [{low:.2f}, {high:.2f}]" for value, low, high in shown.values()]
        stage_1 = figures[condition]["stage_1"]
        cells += [f"{stage_1['recall']:.3f}", f"{stage_1['precision']:.3f}", f"{cpu:.3f}"]
        print(f"| {condition} | {' | '.join(cells)} |")
    return figures


if __name__ == "__main__":
    main()
