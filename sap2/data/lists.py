"""Keyword lists: prepared manifests in, the same utterances with the lists that the stages after it read out.

    prepare --keywords of the corpus--> lists --cut to size, or rare words and distractors--> pruner, prune, register

Recordings stay where they are; another size, seed or list file changes nothing but this.
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
    """Write `train.jsonl`, `dev.jsonl`, `test.jsonl` and the card; return how the lists were made and their figures.

    Args:
        prepared: What `prepare` wrote.
        output: Folder, replaced as a whole. Its manifests name the recordings in `prepared`.
    Raises: InputError: a manifest, the card or a list file is missing or broken.
    """
    card = _read_card(prepared / "card.json")
    source = section.source if section.source != "auto" else _source_of(prepared)
    facts: dict[str, Any] = {"max_size": section.max_size}
    rare = None
    if source == "rare-words":
        rare, facts = _rare_words(section, prepared)
    published = _Published(section.published)

    def list_of(one: Utterance) -> list[str]:
        listed = published.get(one)
        if listed is not None:
            return listed
        if rare is None:
            return one.keywords[: section.max_size]
        return rare.biasing_list(one.text, section.distractors, f"{section.seed}/{one.id}")

    with atomic_dir(output) as partial:
        figures = {split: _write_split(prepared, partial, output, split, list_of) for split in SPLITS}
        warnings = [*_empty(figures), *facts.pop("warnings", []), *published.warnings()]
        for warning in warnings:
            print(f"lists: {warning}", file=sys.stderr)
        card["lists"] = card.get("lists", {}) | {"source": source, **facts, "published": section.published}
        card["warnings"] = [*card.get("warnings", ()), *warnings]
        card["manifests"] = {split: sha256(partial / f"{split}.jsonl") for split in SPLITS}
        for split, one in figures.items():
            card["splits"][split] |= one.figures()
        write_card(partial, card)
    return {**card["lists"], "splits": {split: one.figures() for split, one in figures.items()}}


def _read_card(path: Path) -> dict[str, Any]:
    way_out = 'run "sap2 prepare" first'
    card = json_file(path, way_out)
    if not all(isinstance(card.get("splits", {}).get(split), dict) for split in SPLITS):
        raise InputError(f"{path}: no card of a prepared set; {way_out}")
    return card


def _source_of(prepared: Path) -> str:
    """The corpus, if it gives any utterance a keyword."""
    given = any(one.keywords for split in SPLITS for one in stream_manifest(prepared / f"{split}.jsonl"))
    return "corpus" if given else "rare-words"


def _write_split(prepared: Path, partial: Path, output: Path, split: str, list_of: ListOf) -> ListFigures:
    source, figures = prepared / f"{split}.jsonl", ListFigures()
    with (partial / f"{split}.jsonl").open("w", encoding="utf-8") as out:
        for one in stream_manifest(source):
            row = relocated(one.with_keywords(list_of(one)), source, output / source.name).model_dump(exclude_none=True)
            figures.see(row)
            out.write(json.dumps(row, ensure_ascii=False) + "\n")
    return figures


def _rare_words(section: ListsSection, prepared: Path) -> tuple[RareWords, dict[str, Any]]:
    """The words to draw from, and what the card says of them."""

    def texts() -> Iterator[str]:
        return (one.text for one in stream_manifest(prepared / "train.jsonl"))

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
    """Published lists by id, and how far they are of this corpus."""

    def __init__(self, files: list[str]):
        self.rows: dict[str, tuple[str, tuple[str, ...]]] = {}
        for file in files:
            found = read_published(file)
            if twice := self.rows.keys() & found.keys():
                raise InputError(f"{file}: {min(twice)} has a list in another of lists.published already; give one")
            self.rows |= found
        self.used = 0
        self.others: list[str] = []  # ids whose published list is for another text

    def get(self, one: Utterance) -> list[str] | None:
        """The list published for an utterance, if it is for the same text."""
        text, listed = self.rows.get(one.id, (None, ()))
        if text == one.text:
            self.used += 1
            return list(listed)
        if text is not None:
            self.others.append(one.id)
        return None

    def warnings(self) -> list[str]:
        found = []
        if self.others:
            found.append(
                f"the published lists of {len(self.others)} utterances are for another text, {self.others[0]} the "
                "first; they are drawn like the others"
            )
        if absent := len(self.rows) - self.used - len(self.others):
            found.append(f"{absent} of {len(self.rows)} published lists are for utterances that the corpus lacks")
        return found


def _empty(figures: dict[str, ListFigures]) -> list[str]:
    empty = [split for split, one in figures.items() if not one.listed]
    return [f"no utterance of {', '.join(empty)} has a keyword"] if empty else []
