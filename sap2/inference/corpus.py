"""Stages that run splits through the recogniser: manifests in, manifests with selections or results files out.

Results have one JSON line per utterance; `messages`, `response` and `labels` are for ms-swift's tools.
"""

import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from sap2.errors import InputError
from sap2.files import atomic_dir, json_file, write_csv, write_jsonl
from sap2.inference.loading import best_device, load_pruner, load_recogniser
from sap2.inference.threshold import above, choose, curve
from sap2.inference.transcriber import JPI, TPI, Written
from sap2.manifest import Utterance, audio_path, read_manifest, relocated, spoken, to_swift, write_manifest
from sap2.model import sap_settings
from sap2.progress import track
from sap2.settings import SETTINGS_FILE, PrunerSettings, RecogniserSettings, TranscriberSettings, save_part

__all__ = ["decode_split", "given_list", "prune_splits"]

BATCHES_AHEAD = 4  # batches of encoded speech held in memory


def prune_splits(
    settings: PrunerSettings,
    manifests: dict[str, Path],
    base: Path,
    pruner: Path,
    output: Path,
    *,
    train: bool = True,
    max_false_alarms: float | None = None,
) -> dict[str, Any]:
    """Prune every utterance's list; write manifests with `predicted`, summary.json and threshold.csv.

    settings.json has the effective settings, including the tuned threshold. The methods PC and JPI have no pruner;
    their lists are passed on whole.

    Args:
        manifests: Manifests by split, including dev; `output` gets the same names.
        train: Whether to prune the split `train`; else it is copied.
        max_false_alarms: Tune the threshold on dev to at most this many keywords per 100 utterances that were selected
            but
            not spoken; None = use the settings' threshold.
    Returns: The content of summary.json: the method; the threshold, set or tuned; recall, precision and false alarms of
        the selections, by split. threshold.csv has these figures on dev for every threshold.
    """
    read = {split: read_manifest(path) for split, path in manifests.items()}
    method = sap_settings(pruner).get("method", TPI)
    model = load_pruner(base, pruner, settings, device=best_device()) if method == TPI else None
    threshold, least = (model.threshold, model.least) if model else (settings.threshold, None)
    by_split: dict[str, Any] = {}
    with atomic_dir(output) as partial:
        for split in sorted(read, key=lambda split: split != "dev"):  # dev first: the threshold is tuned on it
            started, utterances, scored = time.monotonic(), read[split], []
            target = output / f"{split}.jsonl"
            if split == "train" and not train:
                write_manifest(
                    partial / target.name, (relocated(utterance, manifests[split], target) for utterance in utterances)
                )
                continue
            if model:
                for batch in _batches(utterances, settings.batch_size, f"prune {split}"):
                    audio = [audio_path(utterance, manifests[split]) for utterance in batch]
                    # The threshold is applied below, as the curve needs all scored keywords.
                    scored += model.score_keywords(audio, [utterance.keywords for utterance in batch])
            else:
                scored = [dict.fromkeys(utterance.keywords, 0.0) for utterance in utterances]
            if split == "dev":
                points = curve(scored, [spoken(utterance) for utterance in utterances])
                write_csv(partial / "threshold.csv", points)
                if max_false_alarms is not None:
                    tuned = choose(points, max_false_alarms)
                    threshold = least if tuned is None else tuned
            kept = [list(above(scores, threshold)) for scores in scored]
            pruned = [utterance.with_predicted(words) for utterance, words in zip(utterances, kept, strict=True)]
            rows = (relocated(utterance, manifests[split], target) for utterance in pruned)
            write_manifest(partial / target.name, rows)
            by_split[split] = _agreement(pruned) | {"seconds": round(time.monotonic() - started, 1)}
        facts = {
            "method": method,
            "threshold": threshold,
            **{split: by_split[split] for split in read if split in by_split},
        }
        save_part(partial / SETTINGS_FILE, settings.model_copy(update={"threshold": threshold}))
        (partial / "summary.json").write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    return facts


def decode_split(
    settings: TranscriberSettings,
    contexts: Sequence[str],
    manifest: Path,
    base: Path,
    recogniser: Path,
    output: Path,
) -> dict[str, Any]:
    """Transcribe a split once per context into `output/CONTEXT.jsonl`, with real-time factors in timing.json.

    Utterances are decoded whole, regardless of `max_segment`. settings.json has the effective settings; recogniser.json
    names the `lists` that the adapter was trained on, if its training.json does. A result's `predicted` is stage 1's
    selection; with JPI it is the selection in the model's own answer.

    Args:
        contexts: Contexts to decode with: see `given_list`.
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
    whole = RecogniserSettings(inference=settings.model_copy(update={"max_segment": None}))
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
        save_part(partial / SETTINGS_FILE, settings)
        (partial / "timing.json").write_text(json.dumps(timing, indent=2) + "\n", encoding="utf-8")
        if trained:
            (partial / "recogniser.json").write_text(json.dumps(trained, indent=2) + "\n", encoding="utf-8")
    taken = {name: round(value, 1) for name, value in seconds.items()}
    return {"utterances": len(utterances), "hours": round(audio_seconds / 3600, 3), "seconds": taken}


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
    return json.loads(summary.read_text(encoding="utf-8")).get(manifest.stem, {}).get("seconds")


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


def _agreement(pruned: Sequence[Utterance]) -> dict[str, Any]:
    """Compute recall, precision and false alarms of the selections over all utterances."""
    right = sum(len(set(utterance.predicted or ()) & set(spoken(utterance))) for utterance in pruned)
    said = sum(len(spoken(utterance)) for utterance in pruned)
    selected = sum(len(utterance.predicted or ()) for utterance in pruned)
    return {
        "utterances": len(pruned),
        "keyword_recall": round(right / said, 4) if said else None,
        "keyword_precision": round(right / selected, 4) if selected else None,
        "false_alarms_per_100": round(100 * (selected - right) / len(pruned), 4),
    }


def _batches(utterances: Sequence[Utterance], batch_size: int, label: str) -> Iterator[Sequence[Utterance]]:
    """Yield parts small enough to hold their encoded speech in memory, showing progress."""
    size = batch_size * BATCHES_AHEAD
    parts = [utterances[start : start + size] for start in range(0, len(utterances), size)]
    yield from track(parts, len(parts), f"{label} ({size} utterances each)")
