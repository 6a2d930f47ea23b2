"""Stages that run splits through the recogniser: manifests in, manifests with selections or results files out.

Results have one JSON line per utterance; `messages`, `response` and `labels` are for ms-swift's tools.
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
from sap2.settings import (
    DEFAULT_RUNTIME,
    SETTINGS_FILE,
    PrunerSettings,
    RecogniserSettings,
    RuntimeSettings,
    TranscriberSettings,
    save_part,
)

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
    runtime: RuntimeSettings = DEFAULT_RUNTIME,
) -> dict[str, Any]:
    """Prune every utterance's list; write manifests with `predicted`, summary.json and threshold.csv.

    settings.json has the effective settings, including the tuned threshold. The methods PC and JPI have no pruner;
    their lists are passed on whole. An interrupted run resumes with the utterances that have no scores yet; the train
    split is never held in memory.

    Args:
        manifests: Manifests by split, including dev; `output` gets the same names.
        train: Whether to prune the split `train`; else it is copied.
        max_false_alarms: Tune the threshold on dev to at most this many keywords per 100 utterances that were selected
            but not spoken; None = use the settings' threshold.
        scored: Folder that keeps scores until all splits are scored; None = beside `output`.
        processes: Processes that share the utterances; None = one per GPU.
        runtime: How each of them runs the model.
    Returns: The content of summary.json: the method; the threshold, set or tuned; recall, precision and false alarms of
        the selections, by split. threshold.csv has these figures on dev for every threshold.
    """
    for manifest in manifests.values():
        next(stream_manifest(manifest), None)  # a missing manifest is reported before models are loaded
    saved = sap_settings(pruner)
    method = saved.get("method", TPI)
    threshold, least = thresholds(settings, saved.get("tagging", 0.0) > 0)
    if method != TPI:
        threshold, least = settings.threshold, None
    processes = processes or max(1, torch.cuda.device_count())
    kept = Path(scored or output.with_name(f".{output.name}-scores"))
    scores: dict[str, SplitScores] = {}
    if method == TPI:
        scoring = Scoring(settings, base, pruner, runtime)
        pruned = [split for split in manifests if split != "train" or train]
        scores = {split: SplitScores(kept, manifests[split], scoring) for split in pruned}
        score_splits(scoring, list(scores.values()), processes)
    by_split: dict[str, Any] = {}
    with atomic_dir(output) as partial:
        for split in sorted(manifests, key=lambda split: split != "dev"):  # dev first: the threshold is tuned on it
            manifest, target = manifests[split], output / f"{split}.jsonl"
            if split == "train" and not train:
                write_manifest(
                    partial / target.name,
                    (relocated(utterance, manifest, target) for utterance in stream_manifest(manifest)),
                )
                continue
            started = time.monotonic()
            if split == "dev":
                utterances = read_manifest(manifest)
                points = curve(_scores(utterances, scores.get(split)), [spoken(utterance) for utterance in utterances])
                write_csv(partial / "threshold.csv", points)
                if max_false_alarms is not None:
                    tuned = choose(points, max_false_alarms)
                    threshold = least if tuned is None else tuned
            agreement = _Agreement()
            write_manifest(
                partial / target.name,
                (
                    relocated(
                        agreement.counted(utterance.with_predicted(list(above(own, threshold)))), manifest, target
                    )
                    for utterance, own in _scored(manifest, scores.get(split))
                ),
            )
            seconds = scores[split].seconds() / processes if method == TPI else time.monotonic() - started
            by_split[split] = agreement.figures() | {"seconds": round(seconds, 1)}
        facts = {
            "method": method,
            "threshold": threshold,
            **{split: by_split[split] for split in manifests if split in by_split},
        }
        save_part(partial / SETTINGS_FILE, settings.model_copy(update={"threshold": threshold}), runtime)
        (partial / "summary.json").write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    for finished in scores.values():
        shutil.rmtree(finished.folder, ignore_errors=True)
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
    *,
    runtime: RuntimeSettings = DEFAULT_RUNTIME,
) -> dict[str, Any]:
    """Transcribe a split once per context into `output/CONTEXT.jsonl`, with real-time factors in timing.json.

    Utterances are decoded whole, regardless of `max_segment`. settings.json has the effective settings; recogniser.json
    names the `lists` that the adapter was trained on, if its training.json does. A result's `predicted` is stage 1's
    selection; with JPI it is the selection in the model's own answer.

    Args:
        contexts: Contexts to decode with: see `given_list`.
        runtime: How the model is run.
    Raises: InputError: the contexts include "predicted" and an utterance has not been pruned.
    """
    utterances = read_manifest(manifest)
    missing = [utterance.id for utterance in utterances if utterance.predicted is None]
    if missing and "predicted" in contexts:
        raise InputError(
            f"{manifest} ({missing[0]}): {len(missing)} of {len(utterances)} utterances have no `predicted`; "
            'run "sap2 prune", or remove predicted from inference.contexts'
        )
    trained = _training(recogniser)
    whole = RecogniserSettings(inference=settings.model_copy(update={"max_segment": None}), runtime=runtime)
    model = load_recogniser(base, recogniser=recogniser, settings=whole, device=best_device()).transcriber
    joint = model.stage.method == JPI
    rows: dict[str, list[dict[str, Any]]] = {context: [] for context in contexts}
    seconds = dict.fromkeys(["encode", *contexts], 0.0)
    for batch in _batches(utterances, settings.batch_size, f"decode {manifest.stem}"):
        # An utterance is encoded once for all contexts.
        started = time.monotonic()
        speech = model.encode([audio_path(utterance, manifest) for utterance in batch])
        seconds["encode"] += time.monotonic() - started
        placed = [relocated(utterance, manifest, output / "results.jsonl") for utterance in batch]
        decoded: list[tuple[list[list[str]], list[Written], float]] = []
        for context in contexts:
            given = [given_list(utterance, context) for utterance in batch]
            same = next((entry for entry in decoded if entry[0] == given), None)  # PC, JPI: "full" is "predicted"
            if same is None:
                started = time.monotonic()
                same = (given, model.integrate(speech, given), time.monotonic() - started)
                decoded.append(same)
            _, answers, taken = same
            seconds[context] += taken
            rows[context] += [
                _result(utterance, context, words, text, selected if joint else None)
                for utterance, words, (text, selected, _) in zip(placed, given, answers, strict=True)
            ]
    with atomic_dir(output) as partial:
        for context, results in rows.items():
            write_jsonl(partial / f"{context}.jsonl", results)
        audio_seconds = sum(utterance.duration for utterance in utterances)
        factors = _real_time_factors(seconds, _pruning_seconds(manifest), audio_seconds)
        timing = {"device": best_device() or "cpu", "batch_size": settings.batch_size, "real_time_factor": factors}
        save_part(partial / SETTINGS_FILE, settings, runtime)
        (partial / "timing.json").write_text(json.dumps(timing, indent=2) + "\n", encoding="utf-8")
        if trained:
            (partial / "recogniser.json").write_text(json.dumps(trained, indent=2) + "\n", encoding="utf-8")
    rounded = {name: round(value, 1) for name, value in seconds.items()}
    return {"utterances": len(utterances), "hours": round(audio_seconds / 3600, 3), "seconds": rounded}


def given_list(utterance: Utterance, context: str) -> list[str]:
    """Return an utterance's keywords for the prompt in a context."""
    if context == "none":
        return []
    if context == "full":
        return utterance.keywords
    return spoken(utterance) if context == "oracle" else utterance.predicted or []


def _training(recogniser: Path) -> dict[str, str]:
    """Return the training facts that results state; empty for adapters without training.json."""
    path = Path(recogniser) / "training.json"
    lists = json_file(path, "train the stage again").get("lists") if path.is_file() else None
    return {"lists": lists} if lists else {}


def _pruning_seconds(manifest: Path) -> float | None:
    """Return stage 1's seconds for the split, from the summary.json that `prune_splits` wrote beside the manifest."""
    summary = manifest.with_name("summary.json")
    if not summary.is_file():
        return None
    seconds: float | None = json.loads(summary.read_text(encoding="utf-8")).get(manifest.stem, {}).get("seconds")
    return seconds


def _real_time_factors(seconds: dict[str, float], pruning: float | None, audio_seconds: float) -> dict[str, float]:
    """Compute real-time factors by context, including encoding, and pruning where the context needs it."""
    factors = {}
    for context in seconds.keys() - {"encode"}:
        stage_1 = pruning if context == "predicted" else 0.0
        if stage_1 is not None:
            factors[context] = round((seconds["encode"] + stage_1 + seconds[context]) / audio_seconds, 4)
    return factors


def _result(
    utterance: Utterance, context: str, given: Sequence[str], text: str, selected: list[str] | None
) -> dict[str, Any]:
    """Build a results row; `selected`: the selection of a joint answer, None for other methods."""
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
    """Yield each utterance with its keywords' scores; without a pruner all keywords are certain.

    Earlier stages reject duplicate ids: in a long manifest ids are not compared again.
    """
    utterances = stream_manifest(manifest)
    if scores:
        return scores.read(utterances)
    return ((utterance, dict.fromkeys(utterance.keywords, 0.0)) for utterance in utterances)


def _scores(utterances: Sequence[Utterance], scores: SplitScores | None) -> list[dict[str, float]]:
    if scores is None:
        return [dict.fromkeys(utterance.keywords, 0.0) for utterance in utterances]
    return [own for _, own in scores.read(iter(utterances))]


class _Agreement:
    """Agreement of selected and spoken keywords over all utterances."""

    def __init__(self) -> None:
        self.utterances = self.right = self.said = self.selected = 0

    def counted(self, pruned: Utterance) -> Utterance:
        """Count an utterance and return it unchanged."""
        said, selected = spoken(pruned), pruned.predicted or ()
        self.utterances += 1
        self.right += len(set(selected) & set(said))
        self.said += len(said)
        self.selected += len(selected)
        return pruned

    def figures(self) -> dict[str, Any]:
        """Compute recall, precision and false alarms of the selections counted so far."""
        return {
            "utterances": self.utterances,
            "keyword_recall": round(self.right / self.said, 4) if self.said else None,
            "keyword_precision": round(self.right / self.selected, 4) if self.selected else None,
            "false_alarms_per_100": round(100 * (self.selected - self.right) / self.utterances, 4),
        }


def _batches(utterances: Sequence[Utterance], batch_size: int, label: str) -> Iterator[Sequence[Utterance]]:
    """Yield parts small enough to hold their encoded speech in memory, showing progress."""
    size = batch_size * BATCHES_AHEAD
    parts = [utterances[start : start + size] for start in range(0, len(utterances), size)]
    yield from track(parts, len(parts), f"{label} ({size} utterances each)")
