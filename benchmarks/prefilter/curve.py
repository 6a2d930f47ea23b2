"""B-WER, U-WER and false alarms of both stages by list size, 100 to 100,000 keywords; and a server with such a list.

    python benchmarks/prefilter/curve.py --json benchmarks/prefilter/records/curve.json            # after `make repro`
    python benchmarks/prefilter/curve.py --server --json benchmarks/prefilter/records/server.json
    python benchmarks/prefilter/curve.py --speech DIR --words all_rare_words.txt --models MODELS

Up to 2,000 keywords, each utterance has its own list of its spoken keywords and random others, as in Le et al.'s lists.
Longer lists are a glossary that all utterances share. Stage 1 reads each list in full (up to --full keywords), and
reduced to --keep keywords by the prefilter. With `--server` the longest list becomes an index of `sap2 serve`; each
client sends requests with it, without a pause.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from recall import WEIGHTS, glossary
from spotting import listed_words, speech_with_words

from sap2.data.audio import load_audio
from sap2.evaluation import score
from sap2.files import atomic_file, sha256
from sap2.inference import Recogniser, load_recogniser
from sap2.inference.index import KeywordIndex
from sap2.manifest import audio_path, read_manifest, spoken
from sap2.progress import track
from sap2.settings import Prefilter, read_settings

sys.path.append(str(Path(__file__).parents[1] / "serving"))
from run import Server, body, load, origin  # noqa: E402  benchmarks/serving

SHARED = 10_000  # length of the shortest list that all utterances share
GROUP = 16  # utterances that are recognised together
FIGURES = ("b_wer", "u_wer", "wer", "false_alarms_per_100", "keyword_recall")


@dataclass(frozen=True)
class Utterances:
    """Recordings, reference texts, and the spoken keywords of each utterance."""

    audio: list[Path]
    texts: list[str]
    spoken: list[list[str]]


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    options.add_argument("--models", type=Path, default=Path("models"), help="base, pruner, recogniser, settings.json")
    options.add_argument("--data", type=Path, default=Path("data/lists"), help='folder written by "sap2 lists"')
    options.add_argument("--speech", type=Path, help="folder with utterances.tsv (id, audio, text), with --words")
    options.add_argument("--words", type=Path, help="keywords, one per line")
    options.add_argument("--utterances", type=int, default=60)
    options.add_argument(
        "--sizes", type=int, nargs="+", default=[100, 500, 1_000, 2_000, 10_000, 100_000], help="N: keywords in a list"
    )
    options.add_argument("--full", type=int, default=2_000, help="longest list that stage 1 reads in full")
    options.add_argument("--keep", type=int, default=200, help="keywords that the prefilter keeps")
    options.add_argument("--server", action="store_true", help="measure a server with the longest list instead")
    options.add_argument("--clients", type=int, nargs="+", default=[1, 16], help="of --server")
    options.add_argument("--requests", type=int, default=96, help="of --server, per number of clients")
    options.add_argument("--json", type=Path, help="file for the figures")
    arguments = options.parse_args()

    utterances = _speech(arguments) if arguments.speech else _split(arguments)
    print(f"{len(utterances.spoken)} utterances, {sum(map(len, utterances.spoken))} spoken keywords\n")
    figures = (served if arguments.server else curve)(arguments, utterances)
    if arguments.json:
        weights = {part: sha256(arguments.models / part / name) for part, name in WEIGHTS.items()}
        facts = {"utterances": len(utterances.spoken), "keywords_spoken": sum(map(len, utterances.spoken))}
        with atomic_file(arguments.json) as partial:
            record = {**origin(), "weights": weights, **facts, "keep": arguments.keep, **figures}
            partial.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def curve(arguments: argparse.Namespace, rows: Utterances) -> dict:
    """Return the figures by list size, for full and reduced lists."""
    loaded, figures = _recogniser(arguments.models), []
    waves = [load_audio(path) for path in rows.audio]
    print("| N | stage 1 reads | B-WER | U-WER | WER | false alarms / 100 | keyword recall | ms per utterance |")
    print("|---" * 8 + "|", flush=True)
    for size in arguments.sizes:
        lists = lists_of(arguments, rows, size)
        indexes = [loaded.index(words) for words in lists]
        for reduced in [False] * (size <= arguments.full) + [True] * (size > arguments.keep):
            prefilter = Prefilter(method="ctc", keep=arguments.keep) if reduced else None
            pruning = loaded.settings.pruning.model_copy(update={"prefilter": prefilter})
            recogniser = loaded.with_settings(loaded.settings.model_copy(update={"pruning": pruning}))
            started, texts = time.perf_counter(), []
            for first in track(range(0, len(waves), GROUP), -(-len(waves) // GROUP), f"{size:,}"):
                group = slice(first, first + GROUP)
                texts += [transcript.text for transcript in recogniser.recognise(waves[group], indexes[group])]
            taken = 1000 * (time.perf_counter() - started) / len(waves)
            row = {
                "names": size,
                "read": min(size, arguments.keep) if reduced else size,
                **scored(rows, texts, indexes),
            }
            figures.append(row | {"ms": round(taken)})
            shown = " | ".join(f"{row[name]:.2f}" for name in FIGURES)
            print(f"| {size:,} | {row['read']:,} | {shown} | {taken:.0f} |", flush=True)
    return {"rows": figures}


def scored(rows: Utterances, texts: Sequence[str], indexes: Sequence[KeywordIndex]) -> dict[str, float]:
    """Return the figures. Keywords in neither the reference nor the transcript do not count, and are dropped."""
    ids = list(map(str, range(len(texts))))
    lists = {
        id: index.finder.within(f"{reference} | {text}")
        for id, index, reference, text in zip(ids, indexes, rows.texts, texts, strict=True)
    }
    references, hypotheses = dict(zip(ids, rows.texts, strict=True)), dict(zip(ids, texts, strict=True))
    scores = score(references, hypotheses, lists, samples=0).systems[0].figures
    return {name: round(scores[name].value or 0.0, 4) for name in FIGURES}


def lists_of(arguments: argparse.Namespace, rows: Utterances, size: int) -> list[list[str]]:
    """Return a list per utterance: its spoken keywords among random others, or a glossary that all share."""
    total = max(size, SHARED)
    words = listed_words(arguments.words, rows.spoken, total) if arguments.words else glossary(rows.spoken, total)
    if size >= SHARED:
        return [words] * len(rows.spoken)
    rng, lists = np.random.default_rng(size), []
    for own in rows.spoken:
        others = [words[index] for index in rng.permutation(total)[: size + len(own)] if words[index] not in own]
        drawn = [*own, *others[: size - len(own)]]
        lists.append([drawn[index] for index in rng.permutation(len(drawn))])
    return lists


def served(arguments: argparse.Namespace, rows: Utterances) -> dict:
    """Return latency and memory of `sap2 serve` with the longest list as an index."""
    size = max(arguments.sizes)
    settings = [f"pruning.prefilter.{key}" for key in ("method=ctc", f"keep={arguments.keep}")]
    with tempfile.TemporaryDirectory() as folder:
        index = Path(folder) / "glossary.index"
        started = time.perf_counter()
        facts = _recogniser(arguments.models).index(lists_of(arguments, rows, size)[0]).save(index)
        print(f"{size:,} keywords indexed in {time.perf_counter() - started:.0f} s, {facts['bytes'] >> 20} MB\n")
        requests = [body(path.read_bytes(), {"index": "glossary"}, f"a{path.suffix}") for path in rows.audio]
        server = Server(
            str(arguments.models), 16, "--indexes", folder, *(part for setting in settings for part in ("-S", setting))
        )
        try:
            memory = {"before": round(server.memory())}
            load(server, requests, 1, 2)  # loads the index
            memory["with_index"] = round(server.memory())
            figures = []
            print("| clients | recordings / s | p50, ms | p95, ms | memory, MB |\n" + "| ---: " * 5 + "|", flush=True)
            for clients in arguments.clients:
                taken, latencies = load(server, requests, clients, arguments.requests)
                p50, p95 = (statistics.quantiles(latencies, n=100)[at - 1] * 1000 for at in (50, 95))
                row = {"clients": clients, "rate": arguments.requests / taken, "p50": p50, "p95": p95}
                figures.append({name: round(value, 1) for name, value in row.items()} | {"mb": round(server.memory())})
                shown = f"{row['rate']:.1f} | {p50:.0f} | {p95:.0f} | {figures[-1]['mb']}"
                print(f"| {clients} | {shown} |", flush=True)
        finally:
            server.stop()
    print(f"\nmemory before the index: {memory['before']} MB, with it: {memory['with_index']} MB")
    return {"names": size, "index_bytes": facts["bytes"], "requests": arguments.requests, "mb": memory, "rows": figures}


def _recogniser(models: Path) -> Recogniser:
    base, *adapters = (models / part for part in WEIGHTS)
    return load_recogniser(base, *adapters, read_settings(models / "settings.json"))


def _split(arguments: argparse.Namespace) -> Utterances:
    manifest = arguments.data / "test.jsonl"
    rows = read_manifest(manifest)[: arguments.utterances]
    return Utterances([audio_path(row, manifest) for row in rows], [row.text for row in rows], list(map(spoken, rows)))


def _speech(arguments: argparse.Namespace) -> Utterances:
    audio, texts, spoken_words = speech_with_words(arguments.speech, arguments.words, arguments.utterances)
    return Utterances(audio, texts, spoken_words)


if __name__ == "__main__":
    main()
