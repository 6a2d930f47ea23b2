"""Estimate of what the pods of a run download from the object store, before it starts.

KFP's launcher copies each input artifact into the pod, one file at a time, in each step that uses it
(backend/src/v2/component/launcher_v2.go, `downloadArtifacts`; objectstore/object_store.go, `DownloadBlob`). This counts
towards the step's time limit.
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

MANY = 10_000  # files of a corpus: at about 20 ms each, minutes in every step that uses them


@dataclass(frozen=True)
class Downloads:
    """The downloads of a run.

    Attributes:
        corpus_steps, base_steps: Numbers of steps that download the corpus, and the base model.
        files: Files of the corpus; None if its number of utterances is unknown.
        corpus, base: Descriptions of both.
    """

    corpus_steps: int
    base_steps: int
    files: int | None
    corpus: str
    base: str

    @property
    def many(self) -> bool:
        """Whether the corpus should be read from a volume or from shards."""
        return self.files is not None and self.files > MANY

    def __str__(self) -> str:
        lines = []
        if self.corpus_steps:
            total = "" if self.files is None else f", {self.corpus_steps * self.files:,} files in total"
            lines.append(f"downloads: {self.corpus_steps} steps download the corpus ({self.corpus}){total}")
        if self.base_steps:
            lines.append(f"downloads: {self.base_steps} steps download the base model ({self.base})")
        if self.many:
            lines.append(
                f"downloads: more than {MANY:,} files are slow to download; set prepare.shard_size to 1000, or "
                "prepare.audio to keep with the recordings on the volume resources.data"
            )
        return "\n".join(lines)


def count_downloads(spec: Mapping[str, Any], params: Params, utterances: int | None = None) -> Downloads:
    """Count the downloads of a compiled pipeline.

    Args:
        spec: The compiled pipeline's specification.
        utterances: Utterances of the corpus; None = from the params, if known.
    """
    parts = (spec["root"], *spec["components"].values())
    dags = [part["dag"]["tasks"] for part in parts if "dag" in part]
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
        return 3, "3 manifests; recordings are read in place"
    splits = (prepare.train_utterances, prepare.dev_utterances, prepare.test_utterances)
    if utterances is None and prepare.source == "lectures":
        utterances = sum(splits)
    if utterances is None:
        return None, "one file per utterance; give --utterances N to count them"
    if prepare.shard_size is None:
        return utterances, f"{utterances:,} recordings"
    # The split sizes are only known for the lectures; otherwise they are estimated.
    train = splits[0] if prepare.source == "lectures" else utterances * (1 - prepare.dev_share - prepare.test_share)
    shards, rest = math.ceil(train / prepare.shard_size), math.ceil(utterances - train)
    return shards + rest, f"{shards:,} shards of the train split, {rest:,} recordings of the others"


def _base(params: Params) -> str:
    path, resources = params.base.path, params.resources
    if path == "embedded":
        return "the embedded base, some MB"
    if is_hub_id(path) and not resources.copy_base:
        source = f"once, to {HUB_CACHE} on {resources.checkpoints}" if resources.checkpoints else "in each of them"
        return f"its id; {path} comes from the hub, {source}"
    folder = Path(path)
    return f"all files of {path}" if not folder.is_dir() else f"{path}, {len(list(folder.iterdir()))} files"
