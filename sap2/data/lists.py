"""Keyword lists: prepared manifests in, the same utterances with the lists that later stages use out.

    prepare --keywords of the corpus--> lists --cut to size, or rare words and distractors--> pruner, prune, register

Recordings are not copied; changing size, seed or list files only reruns this stage.
"""

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from sap2.data.biasing import RareWords, common_words, read_published, read_words, words_of
from sap2.data.card import ListFigures, write_card
from sap2.data.entries import SPLITS
from sap2.errors import InputError
from sap2.files import atomic_dir, json_file, sha256
from sap2.manifest import Utterance, relocated, stream_manifest
from sap2.params import ListsSection

__all__ = ["draw_lists"]

ListOf = Callable[[Utterance], list[str]]


def draw_lists(section: ListsSection, prepared: Path, output: Path) -> dict[str, Any]:
    """Write `train.jsonl`, `dev.jsonl`, `test.jsonl` and the card; return the lists' source and statistics.

    Args:
        prepared: The output folder of `prepare`.
        output: Folder, replaced atomically. Its manifests refer to the recordings in `prepared`.
    Raises: InputError: a manifest, the card or a list file is missing or broken.
    """
    card = _read_card(prepared / "card.json")
    source = section.source if section.source != "auto" else _source_of(prepared)
    facts: dict[str, Any] = {"max_size": section.max_size}
    rare = None
    if source == "rare-words":
        rare, facts = _rare_words(section, prepared)
    published = _Published(section.published)

    def list_of(utterance: Utterance) -> list[str]:
        listed = published.get(utterance)
        if listed is not None:
            return listed
        if rare is None:
            return utterance.keywords[: section.max_size]
        return rare.biasing_list(utterance.text, section.distractors, f"{section.seed}/{utterance.id}")

    with atomic_dir(output) as partial:
        figures = {split: _write_split(prepared, partial, output, split, list_of) for split in SPLITS}
        warnings = [*_empty(figures), *facts.pop("warnings", []), *published.warnings()]
        for warning in warnings:
            print(f"lists: {warning}", file=sys.stderr)
        card["lists"] = card.get("lists", {}) | {"source": source, **facts, "published": section.published}
        card["warnings"] = [*card.get("warnings", ()), *warnings]
        card["manifests"] = {split: sha256(partial / f"{split}.jsonl") for split in SPLITS}
        for split, counted in figures.items():
            card["splits"][split] |= counted.figures()
        write_card(partial, card)
    return {**card["lists"], "splits": {split: counted.figures() for split, counted in figures.items()}}


def _read_card(path: Path) -> dict[str, Any]:
    way_out = 'run "sap2 prepare" first'
    card = json_file(path, way_out)
    if not all(isinstance(card.get("splits", {}).get(split), dict) for split in SPLITS):
        raise InputError(f"{path}: not the card of a prepared set; {way_out}")
    return card


def _source_of(prepared: Path) -> str:
    """Return "corpus" if any utterance has a keyword from its corpus, else "rare-words"."""
    given = any(row.keywords for split in SPLITS for row in stream_manifest(prepared / f"{split}.jsonl"))
    return "corpus" if given else "rare-words"


def _write_split(prepared: Path, partial: Path, output: Path, split: str, list_of: ListOf) -> ListFigures:
    source, figures = prepared / f"{split}.jsonl", ListFigures()
    with (partial / f"{split}.jsonl").open("w", encoding="utf-8") as out:
        for utterance in stream_manifest(source):
            listed = relocated(utterance.with_keywords(list_of(utterance)), source, output / source.name)
            row = listed.model_dump(exclude_none=True)
            figures.see(row)
            out.write(json.dumps(row, ensure_ascii=False) + "\n")
    return figures


def _rare_words(section: ListsSection, prepared: Path) -> tuple[RareWords, dict[str, Any]]:
    """Return the words to draw from, and their description for the card."""

    def texts() -> Iterator[str]:
        return (utterance.text for utterance in stream_manifest(prepared / "train.jsonl"))

    if section.common_words_file:
        common = frozenset(read_words(section.common_words_file))
    else:
        common = common_words(texts(), section.common_words)
    if section.rare_words_file:
        rare = read_words(section.rare_words_file)
    else:
        rare = sorted({word for text in texts() for word in words_of(text)} - common)
    facts = {
        "seed": section.seed,
        "distractors": section.distractors,
        "common_words": section.common_words_file or f"the {len(common)} most frequent of the training text",
        "rare_words": len(rare),
    }
    none = "no distractors: the training text has no rare words; give rare_words_file, or lower common_words"
    return RareWords(common, rare), facts | ({} if rare else {"warnings": [none]})


class _Published:
    """Published lists by id, with counts of those that fit this corpus."""

    def __init__(self, files: list[str]):
        self.rows: dict[str, tuple[str, tuple[str, ...]]] = {}
        for file in files:
            lists = read_published(file)
            if twice := self.rows.keys() & lists.keys():
                raise InputError(f"{file}: {min(twice)} already has a list in another file of lists.published")
            self.rows |= lists
        self.used = 0
        self.others: list[str] = []  # ids whose published list is for another text

    def get(self, utterance: Utterance) -> list[str] | None:
        """Return the published list of an utterance if its text is the same, else None."""
        text, listed = self.rows.get(utterance.id, (None, ()))
        if text == utterance.text:
            self.used += 1
            return list(listed)
        if text is not None:
            self.others.append(utterance.id)
        return None

    def warnings(self) -> list[str]:
        warnings = []
        if self.others:
            warnings.append(
                f"{len(self.others)} published lists are for another text, first for {self.others[0]}; "
                "their lists are drawn instead"
            )
        if absent := len(self.rows) - self.used - len(self.others):
            warnings.append(f"{absent} of {len(self.rows)} published lists are for utterances outside the corpus")
        return warnings


def _empty(figures: dict[str, ListFigures]) -> list[str]:
    empty = [split for split, counted in figures.items() if not counted.listed]
    return [f"no utterance of {', '.join(empty)} has a keyword; check lists.source"] if empty else []
