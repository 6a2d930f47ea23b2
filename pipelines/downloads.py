"""What the pods of a run download from the object store, counted before it starts.

KFP's launcher copies each input artifact whole into the pod, one file at a time, in each step that takes it
(backend/src/v2/component/launcher_v2.go, `downloadArtifacts`; objectstore/object_store.go, `DownloadBlob`); the step's
time limit counts it.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.resources import HUB_CACHE
from sap2.hub import is_hub_id
from sap2.params import Params, PrepareSection

__all__ = ["MANY", "Downloads", "count_downloads"]

MANY = 10_000  # files of a corpus: at some 20 ms each, minutes in every step that takes them


@dataclass(frozen=True)
class Downloads:
    """What is downloaded.

    Attributes:
        corpus_steps, base_steps: Steps that download the corpus, and the base model.
        files: Of the corpus; None where nobody has said how many utterances it has.
        corpus, base: What they consist of.
    """

    corpus_steps: int
    base_steps: int
    files: int | None
    corpus: str
    base: str

    @property
    def many(self) -> bool:
        """Whether the corpus is better read from a volume or from shards."""
        return self.files is not None and self.files > MANY

    def __str__(self) -> str:
        lines = []
        if self.corpus_steps:
            total = "" if self.files is None else f", {self.corpus_steps * self.files:,} files together"
            lines.append(f"downloads: {self.corpus_steps} steps each the corpus ({self.corpus}){total}")
        if self.base_steps:
            lines.append(f"downloads: {self.base_steps} steps each the base model ({self.base})")
        if self.many:
            lines.append(
                f"downloads: more than {MANY:,} files, one at a time, take long; set prepare.shard_size to 1000, or "
                "prepare.audio to keep with the recordings on the volume resources.data"
            )
        return "\n".join(lines)


def count_downloads(spec: Mapping[str, Any], params: Params, utterances: int | None = None) -> Downloads:
    """Count for a compiled pipeline.

    Args:
        spec: The pipeline's, as compiled.
        utterances: Of the corpus; None = as the params say, if they do.
    """
    dags = [one["dag"]["tasks"] for one in (spec["root"], *spec["components"].values()) if "dag" in one]
    taken = [task.get("inputs", {}).get("artifacts", {}) for tasks in dags for task in tasks.values()]
    files, corpus = _corpus(params.prepare, utterances)
    return Downloads(
        corpus_steps=sum("prepared" in artifacts for artifacts in taken),
        base_steps=sum("base_model" in artifacts for artifacts in taken),
        files=files,
        corpus=corpus,
        base=_base(params),
    )


def _corpus(prepare: PrepareSection, utterances: int | None) -> tuple[int | None, str]:
    if prepare.audio == "keep":
        return 3, "3 manifests; recordings are read where they lie"
    splits = (prepare.train_utterances, prepare.dev_utterances, prepare.test_utterances)
    if utterances is None and prepare.source == "lectures":
        utterances = sum(splits)
    if utterances is None:
        return None, "a file an utterance; give --utterances N to have them counted"
    if prepare.shard_size is None:
        return utterances, f"{utterances:,} recordings"
    # The other splits' shares are known of the lectures alone; elsewhere they are assumed.
    train = splits[0] if prepare.source == "lectures" else utterances * (1 - prepare.dev_share - prepare.test_share)
    shards, rest = math.ceil(train / prepare.shard_size), math.ceil(utterances - train)
    return shards + rest, f"{shards:,} shards of the train split, {rest:,} recordings of the others"


def _base(params: Params) -> str:
    path, resources = params.base.path, params.resources
    if path == "embedded":
        return "the embedded one, some MB"
    if is_hub_id(path) and not resources.copy_base:
        place = f"once, to {HUB_CACHE} on {resources.checkpoints}" if resources.checkpoints else "in each of them"
        return f"its id; {path} comes from the hub, {place}"
    folder = Path(path)
    return f"all files of {path}" if not folder.is_dir() else f"{path}, {len(list(folder.iterdir()))} files"
