"""`prepare` split into parts that run on a Ray cluster (the extra `ray`)."""

import shutil
from functools import partial
from pathlib import Path
from typing import Any

from sap2.data.corpora import join_corpus, prepare_part
from sap2.errors import InputError
from sap2.params import PrepareSection

__all__ = ["prepare_over_ray"]


def prepare_over_ray(
    section: PrepareSection, parts: int, output: Path, cache: Path, address: str | None = None
) -> dict[str, Any]:
    """Read the chosen source into `output`, split into `parts` tasks on a Ray cluster.

    Source, `output` and `cache` must be folders that all machines share.

    Args:
        address: Address of the cluster; None = RAY_ADDRESS, or else this machine alone.
    Returns, Raises: As `sap2.data.ingest.ingest`; InputError also if Ray is not installed.
    """
    try:
        import ray
    except ImportError as error:
        raise InputError("Ray is not installed; pip install 'sap2-asr[ray]'") from error
    single = section.model_copy(update={"workers": 1})  # the parts themselves run in parallel
    work: dict[str, Any] = {"section": single, "parts": parts, "folder": str(cache.absolute() / f"parts-of-{parts}")}
    started = not ray.is_initialized()
    if started:
        ray.init(address=address, include_dashboard=False, log_to_driver=False)
    try:
        items = ray.data.from_items(list(range(parts)), override_num_blocks=parts)
        done = items.map(partial(_part, **work)).take_all()
    finally:
        if started:
            ray.shutdown()
    card = join_corpus(section, [Path(row["folder"]) for row in done], output, cache)
    shutil.rmtree(work["folder"])
    return card


def _part(row: dict[str, Any], section: PrepareSection, parts: int, folder: str) -> dict[str, Any]:
    number, target = row["item"], Path(folder) / str(row["item"])
    prepare_part(section, number, parts, target, Path(folder).parent)
    return {"folder": str(target)}
