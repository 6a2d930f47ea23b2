"""Whole splits through the two stages: manifests in, manifests with answers or results files out.

Results are one JSON line an utterance; `messages`, `response` and `labels` are what ms-swift's tools read.
"""

import json
import shutil
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from sap2.errors import InputError
from sap2.files import atomic_dir, json_file, write_csv, write_jsonl
from sap2.inference.loading import best_device, load_recogniser
from sap2.inference.parts import BATCHES_AHEAD, Scoring, SplitScores, score_splits
from sap2.inference.pruner import thresholds
from sap2.inference.threshold import above, choose, curve
from sap2.inference.transcriber import JPI, TPI, Written
from sap2.manifest import (
    Utterance,
    audio_path,
    read_manifest,
    relocated,
    spoken,
    stream_manifest,
    to_swift,
    write_manifest,
)
from sap2.model import sap_settings
from sap2.progress import track
from sap2.settings import SETTINGS_FILE, PrunerSettings, RecogniserSettings, TranscriberSettings, save_part

__all__ = ["decode_split", "given_list", "prune_splits"]


def prune_splits(
    settings: PrunerSettings,
    manifests: dict[str, Path],
    base: Path,
    pruner: Path,
    output: Path,
    *,
    train: bool = True,
    max_false_alarms: float | None = None,
    scored: Path | None = None,
    processes: int | None = None,
) -> dict[str, Any]:
    """Ask the pruner about every utterance: the manifests again, with `predicted`, summary.json and threshold.csv.

    settings.json holds what it ran with, the tuned threshold among it. With the methods PC and JPI, which have no
    pruner, whole lists go on. An interrupted run goes on with what is not scored yet; the train split is never held in
    memory.

    Args:
        manifests: By split name, among them dev; the same names are written in `output`.
        train: Whether to prune the split `train`; else it is written as it was.
        max_false_alarms: Keywords selected and not said in 100 dev utterances, at most: the threshold is tuned on dev,
            instead of the one in the settings.
        scored: Where scores are kept until all are there; None = beside `output`.
        processes: Processes that share the utterances; None = one a GPU.
    Returns: What summary.json holds: the method; the threshold that was applied, set or tuned on dev; recall, precision
        and false alarms of the answers, by split. threshold.csv has these of dev for every threshold.
    """
    saved = sap_settings(pruner)
    method = saved.get("method", TPI)
    threshold, least = thresholds(settings, saved.get("tagging", 0.0) > 0)
    if method != TPI:
        threshold, least = settings.threshold, None
    processes = processes or max(1, torch.cuda.device_count())
    kept = Path(scored or output.with_name(f".{output.name}-scores"))
    scores: dict[str, SplitScores] = {}
    if method == TPI:
        scoring = Scoring(settings, base, pruner)
        pruned = [split for split in manifests if split != "train" or train]
        scores = {split: SplitScores(kept, manifests[split], scoring) for split in pruned}
        score_splits(scoring, list(scores.values()), processes)
    by_split: dict[str, Any] = {}
    with atomic_dir(output) as partial:
        for split in sorted(manifests, key=lambda split: split != "dev"):  # dev first: the threshold is tuned on it
            manifest, place = manifests[split], output / f"{split}.jsonl"
            if split == "train" and not train:
                write_manifest(
                    partial / place.name, (relocated(one, manifest, place) for one in stream_manifest(manifest))
                )
                continue
            started = time.monotonic()
            if split == "dev":
                utterances = read_manifest(manifest)
                points = curve(_scores(utterances, scores.get(split)), [spoken(one) for one in utterances])
                write_csv(partial / "threshold.csv", points)
                if max_false_alarms is not None:
                    tuned = choose(points, max_false_alarms)
                    threshold = least if tuned is None else tuned
            agreement = _Agreement()
            write_manifest(
                partial / place.name,
                (
                    relocated(agreement.counted(one.with_predicted(list(above(own, threshold)))), manifest, place)
                    for one, own in _scored(manifest, scores.get(split))
                ),
            )
            seconds = scores[split].seconds() / processes if method == TPI else time.monotonic() - started
            by_split[split] = agreement.figures() | {"seconds": round(seconds, 1)}
        facts = {
            "method": method,
            "threshold": threshold,
            **{split: by_split[split] for split in manifests if split in by_split},
        }
        save_part(partial / SETTINGS_FILE, settings.model_copy(update={"threshold": threshold}))
        (partial / "summary.json").write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    for split in scores.values():
        shutil.rmtree(split.folder, ignore_errors=True)
    if kept.is_dir() and not any(kept.iterdir()):
        kept.rmdir()
    return facts


def decode_split(
    settings: TranscriberSettings,
    contexts: Sequence[str],
    manifest: Path,
    base: Path,
    recogniser: Path,
    output: Path,
) -> dict[str, Any]:
    """Transcribe a split once a context into `output/CONTEXT.jsonl`; timing.json says how fast.

    Utterances are decoded whole, whatever `max_segment` says. settings.json holds what it ran with; recogniser.json
    names the `lists` that the adapter was trained on, if its training.json does. A result's `predicted` is stage 1's
    answer; with JPI it is the selection in the model's own answer.

    Args:
        contexts: Which lists are given: see `given_list`.
    Raises: InputError: the context "predicted" is wanted and an utterance has not been pruned.
    """
    utterances = read_manifest(manifest)
    missing = [one.id for one in utterances if one.predicted is None]
    if missing and "predicted" in contexts:
        raise InputError(
            f"{manifest} ({missing[0]}): {len(missing)} of {len(utterances)} utterances have no `predicted`; "
            'run "sap2 prune", or leave predicted out of inference.contexts'
        )
    trained = _training(recogniser)
    whole = RecogniserSettings(inference=settings.model_copy(update={"max_segment": None}))
    model = load_recogniser(base, recogniser=recogniser, settings=whole, device=best_device()).transcriber
    joint = model.stage.method == JPI
    rows: dict[str, list[dict[str, Any]]] = {context: [] for context in contexts}
    seconds = dict.fromkeys(["encode", *contexts], 0.0)
    for batch in _batches(utterances, settings.batch_size, f"decode {manifest.stem}"):
        # An utterance is encoded once, whatever the number of contexts.
        started = time.monotonic()
        speech = model.encode([audio_path(one, manifest) for one in batch])
        seconds["encode"] += time.monotonic() - started
        placed = [relocated(one, manifest, output / "results.jsonl") for one in batch]
        known: list[tuple[list[list[str]], list[Written], float]] = []
        for context in contexts:
            given = [given_list(one, context) for one in batch]
            same = next((one for one in known if one[0] == given), None)  # of PC and JPI "full" is "predicted"
            if same is None:
                started = time.monotonic()
                same = (given, model.integrate(speech, given), time.monotonic() - started)
                known.append(same)
            _, answers, taken = same
            seconds[context] += taken
            rows[context] += [
                _result(one, context, words, text, selected if joint else None)
                for one, words, (text, selected, _) in zip(placed, given, answers, strict=True)
            ]
    with atomic_dir(output) as partial:
        for context, results in rows.items():
            write_jsonl(partial / f"{context}.jsonl", results)
        heard = sum(one.duration for one in utterances)
        factors = _real_time_factors(seconds, _pruning_seconds(manifest), heard)
        timing = {"device": best_device() or "cpu", "batch_size": settings.batch_size, "real_time_factor": factors}
        save_part(partial / SETTINGS_FILE, settings)
        (partial / "timing.json").write_text(json.dumps(timing, indent=2) + "\n", encoding="utf-8")
        if trained:
            (partial / "recogniser.json").write_text(json.dumps(trained, indent=2) + "\n", encoding="utf-8")
    rounded = {name: round(value, 1) for name, value in seconds.items()}
    return {"utterances": len(utterances), "hours": round(heard / 3600, 3), "seconds": rounded}


def given_list(utterance: Utterance, context: str) -> list[str]:
    """The keywords that go into the prompt in a context."""
    if context == "none":
        return []
    if context == "full":
        return utterance.keywords
    return spoken(utterance) if context == "oracle" else utterance.predicted or []


def _training(recogniser: Path) -> dict[str, str]:
    """What results must say of the adapter's training; empty for an adapter from elsewhere."""
    path = Path(recogniser) / "training.json"
    lists = json_file(path, "train the stage again").get("lists") if path.is_file() else None
    return {"lists": lists} if lists else {}


def _pruning_seconds(manifest: Path) -> float | None:
    """What stage 1 took for the split, as `prune_splits` noted it beside the manifest."""
    summary = manifest.with_name("summary.json")
    if not summary.is_file():
        return None
    seconds: float | None = json.loads(summary.read_text(encoding="utf-8")).get(manifest.stem, {}).get("seconds")
    return seconds


def _real_time_factors(seconds: dict[str, float], pruning: float | None, heard: float) -> dict[str, float]:
    """Seconds of computing for one of speech, by context, encoder included; of both stages where stage 1 took part."""
    factors = {}
    for context in seconds.keys() - {"encode"}:
        stage_1 = pruning if context == "predicted" else 0.0
        if stage_1 is not None:
            factors[context] = round((seconds["encode"] + stage_1 + seconds[context]) / heard, 4)
    return factors


def _result(
    utterance: Utterance, context: str, given: Sequence[str], text: str, selected: list[str] | None
) -> dict[str, Any]:
    """A line of results; `selected` = what a joint answer selected, None without one."""
    swift = to_swift(utterance, "recogniser" if selected is None else "joint", given)
    return {
        "id": utterance.id,
        "context": context,
        "hypothesis": text,
        "reference": utterance.text,
        "keywords": utterance.keywords,
        "given": list(given),
        "predicted": utterance.predicted if selected is None else selected,
        "audio": utterance.audio,
        "duration": utterance.duration,
        "talk": utterance.talk,
        "speaker": utterance.speaker,
        "messages": swift["messages"],
        "audios": swift["audios"],
        "response": text,
        "labels": utterance.text,
    }


def _scored(manifest: Path, scores: SplitScores | None) -> Iterator[tuple[Utterance, dict[str, float]]]:
    """Each utterance with its keywords' scores, one after the other; without a pruner all are certain.

    Ids used twice are an error of the stages before: of a long manifest they are not compared again.
    """
    utterances = stream_manifest(manifest)
    return scores.read(utterances) if scores else ((one, dict.fromkeys(one.keywords, 0.0)) for one in utterances)


def _scores(utterances: Sequence[Utterance], scores: SplitScores | None) -> list[dict[str, float]]:
    if scores is None:
        return [dict.fromkeys(one.keywords, 0.0) for one in utterances]
    return [own for _, own in scores.read(iter(utterances))]


class _Agreement:
    """How well answers agree with what was spoken, over all utterances together."""

    def __init__(self):
        self.utterances = self.right = self.said = self.selected = 0

    def counted(self, answered: Utterance) -> Utterance:
        """The same utterance, once it is counted."""
        said, selected = spoken(answered), answered.predicted or ()
        self.utterances += 1
        self.right += len(set(selected) & set(said))
        self.said += len(said)
        self.selected += len(selected)
        return answered

    def figures(self) -> dict[str, Any]:
        return {
            "utterances": self.utterances,
            "keyword_recall": round(self.right / self.said, 4) if self.said else None,
            "keyword_precision": round(self.right / self.selected, 4) if self.selected else None,
            "false_alarms_per_100": round(100 * (self.selected - self.right) / self.utterances, 4),
        }


def _batches(utterances: Sequence[Utterance], batch_size: int, label: str) -> Iterator[Sequence[Utterance]]:
    """Parts small enough to hold their encoded speech in memory, with progress by part."""
    size = batch_size * BATCHES_AHEAD
    parts = [utterances[start : start + size] for start in range(0, len(utterances), size)]
    yield from track(parts, len(parts), f"{label} ({size} utterances each)")
