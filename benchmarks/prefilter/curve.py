"""Both stages on lists of 100 to 100,000 keywords: B-WER, U-WER and false alarms by list size; and such a list served.

    python benchmarks/prefilter/curve.py --json benchmarks/prefilter/records/curve.json            # after `make repro`
    python benchmarks/prefilter/curve.py --server --json benchmarks/prefilter/records/server.json
    python benchmarks/prefilter/curve.py --speech DIR --words all_rare_words.txt --models MODELS

Up to 2,000 keywords each utterance has its own list: what is said in it and random others, as in Le et al.'s lists.
Longer lists are one glossary for all. Each list is read whole by stage 1 (up to --whole keywords), and cut to --keep by
the prefilter. With `--server` the longest list becomes an index that `sap2 serve` offers, and clients ask for the same
utterances with it, one after another without a pause.
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
from spotting import listed_words, said_in_speech

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

SHARED = 10_000  # keywords of the shortest list that all utterances share
GROUP = 16  # utterances recognised together
FIGURES = ("b_wer", "u_wer", "wer", "false_alarms_per_100", "keyword_recall")


@dataclass(frozen=True)
class Spoken:
    """Utterances: recordings, reference texts, and the keywords said in each."""

    audio: list[Path]
    texts: list[str]
    said: list[list[str]]


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    options.add_argument("--models", type=Path, default=Path("models"), help="base, pruner, recogniser, settings.json")
    options.add_argument("--data", type=Path, default=Path("data/lists"), help='what "sap2 lists" wrote')
    options.add_argument("--speech", type=Path, help="folder with utterances.tsv (id, audio, text), with --words")
    options.add_argument("--words", type=Path, help="keywords, one a line")
    options.add_argument("--utterances", type=int, default=60)
    options.add_argument(
        "--sizes", type=int, nargs="+", default=[100, 500, 1_000, 2_000, 10_000, 100_000], help="N: keywords of a list"
    )
    options.add_argument("--whole", type=int, default=2_000, help="longest list that stage 1 reads whole")
    options.add_argument("--keep", type=int, default=200, help="of the prefilter")
    options.add_argument("--server", action="store_true", help="serve the longest list instead")
    options.add_argument("--clients", type=int, nargs="+", default=[1, 16], help="of --server")
    options.add_argument("--requests", type=int, default=96, help="of --server, for each number of clients")
    options.add_argument("--json", type=Path, help="write the figures there, too")
    arguments = options.parse_args()

    spoken_rows = _speech(arguments) if arguments.speech else _split(arguments)
    print(f"{len(spoken_rows.said)} utterances, {sum(map(len, spoken_rows.said))} keywords said\n")
    figures = (served if arguments.server else curve)(arguments, spoken_rows)
    if arguments.json:
        weights = {part: sha256(arguments.models / part / name) for part, name in WEIGHTS.items()}
        facts = {"utterances": len(spoken_rows.said), "keywords_said": sum(map(len, spoken_rows.said))}
        with atomic_file(arguments.json) as partial:
            record = {**origin(), "weights": weights, **facts, "keep": arguments.keep, **figures}
            partial.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def curve(arguments: argparse.Namespace, rows: Spoken) -> dict:
    """The figures of each list size, whole and cut."""
    made, figures = _recogniser(arguments.models), []
    waves = [load_audio(path) for path in rows.audio]
    print("| N | stage 1 reads | B-WER | U-WER | WER | false alarms / 100 | keyword recall | ms an utterance |")
    print("|---" * 8 + "|", flush=True)
    for size in arguments.sizes:
        lists = lists_of(arguments, rows, size)
        indexes = [made.index(words) for words in lists]
        for cut in [False] * (size <= arguments.whole) + [True] * (size > arguments.keep):
            prefilter = Prefilter(method="ctc", keep=arguments.keep) if cut else None
            pruning = made.settings.pruning.model_copy(update={"prefilter": prefilter})
            recogniser = made.with_settings(made.settings.model_copy(update={"pruning": pruning}))
            started, texts = time.perf_counter(), []
            for first in track(range(0, len(waves), GROUP), -(-len(waves) // GROUP), f"{size:,}"):
                group = slice(first, first + GROUP)
                texts += [one.text for one in recogniser.recognise(waves[group], indexes[group])]
            taken = 1000 * (time.perf_counter() - started) / len(waves)
            row = {"names": size, "read": min(size, arguments.keep) if cut else size, **scored(rows, texts, indexes)}
            figures.append(row | {"ms": round(taken)})
            shown = " | ".join(f"{row[name]:.2f}" for name in FIGURES)
            print(f"| {size:,} | {row['read']:,} | {shown} | {taken:.0f} |", flush=True)
    return {"rows": figures}


def scored(rows: Spoken, texts: Sequence[str], indexes: Sequence[KeywordIndex]) -> dict[str, float]:
    """The figures. Of a list only what stands in the reference or the transcript can count: the rest is left out."""
    ids = list(map(str, range(len(texts))))
    lists = {
        id: index.finder.within(f"{reference} | {text}")
        for id, index, reference, text in zip(ids, indexes, rows.texts, texts, strict=True)
    }
    references, hypotheses = dict(zip(ids, rows.texts, strict=True)), dict(zip(ids, texts, strict=True))
    found = score(references, hypotheses, lists, samples=0).systems[0].figures
    return {name: round(found[name].value or 0.0, 4) for name in FIGURES}


def lists_of(arguments: argparse.Namespace, rows: Spoken, size: int) -> list[list[str]]:
    """Each utterance's list: its own keywords among random others, or one glossary for all."""
    whole = max(size, SHARED)
    words = listed_words(arguments.words, rows.said, whole) if arguments.words else glossary(rows.said, whole)
    if size >= SHARED:
        return [words] * len(rows.said)
    rng, lists = np.random.default_rng(size), []
    for own in rows.said:
        others = [words[place] for place in rng.permutation(whole)[: size + len(own)] if words[place] not in own]
        drawn = [*own, *others[: size - len(own)]]
        lists.append([drawn[place] for place in rng.permutation(len(drawn))])
    return lists


def served(arguments: argparse.Namespace, rows: Spoken) -> dict:
    """Latency and memory of `sap2 serve` with the longest list as an index."""
    size = max(arguments.sizes)
    settings = [f"pruning.prefilter.{key}" for key in ("method=ctc", f"keep={arguments.keep}")]
    with tempfile.TemporaryDirectory() as folder:
        index = Path(folder) / "glossary.index"
        started = time.perf_counter()
        facts = _recogniser(arguments.models).index(lists_of(arguments, rows, size)[0]).save(index)
        print(f"{size:,} keywords indexed in {time.perf_counter() - started:.0f} s, {facts['bytes'] >> 20} MB\n")
        requests = [body(path.read_bytes(), {"index": "glossary"}, f"a{path.suffix}") for path in rows.audio]
        server = Server(
            str(arguments.models), 16, "--indexes", folder, *(part for one in settings for part in ("-S", one))
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


def _split(arguments: argparse.Namespace) -> Spoken:
    manifest = arguments.data / "test.jsonl"
    rows = read_manifest(manifest)[: arguments.utterances]
    return Spoken([audio_path(row, manifest) for row in rows], [row.text for row in rows], list(map(spoken, rows)))


def _speech(arguments: argparse.Namespace) -> Spoken:
    audio, texts, said = said_in_speech(arguments.speech, arguments.words, arguments.utterances)
    return Spoken(audio, texts, said)


if __name__ == "__main__":
    main()
