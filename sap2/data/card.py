"""The card of a prepared data set, in Markdown for people and JSON for programs."""

import hashlib
import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sap2.data.entries import SPLITS
from sap2.data.quarantine import Quarantine
from sap2.files import sha256
from sap2.manifest import spoken_of
from sap2.params import PrepareSection

__all__ = ["Card", "ListFigures", "card_markdown", "write_card"]


@dataclass
class ListFigures:
    """Statistics of a split's keyword lists; call `see` with each manifest row."""

    utterances: int = 0
    listed: int = 0  # keywords of all lists together
    longest: int = 0
    spoken: int = 0  # listed keywords that occur in the text
    with_spoken: int = 0  # utterances whose text has at least one of their keywords

    def see(self, row: dict[str, Any]) -> None:
        keywords = row.get("keywords", ())
        said = len(spoken_of(keywords, row["text"]))
        self.utterances += 1
        self.listed += len(keywords)
        self.longest = max(self.longest, len(keywords))
        self.spoken += said
        self.with_spoken += said > 0

    def figures(self) -> dict[str, Any]:
        count = max(self.utterances, 1)
        return {
            "mean_list_size": round(self.listed / count, 2),
            "longest_list": self.longest,
            "share_of_list_spoken": round(self.spoken / max(self.listed, 1), 4),
            "share_with_spoken_keyword": round(self.with_spoken / count, 4),
        }


@dataclass
class _SplitFigures:
    utterances: int = 0
    seconds: float = 0.0
    characters: int = 0
    words: Counter[str] = field(default_factory=Counter)
    speakers: set[str] = field(default_factory=set)
    talks: set[str] = field(default_factory=set)
    lists: ListFigures = field(default_factory=ListFigures)
    audio: Any = field(default_factory=hashlib.sha256)  # over each id and the digest of its samples

    def see(self, row: dict[str, Any], recording: Path | None) -> None:
        self.utterances += 1
        self.seconds += row["duration"]
        self.characters += len(row["text"])
        self.words.update(row["text"].split())
        self.speakers.update(filter(None, [row.get("speaker")]))
        self.talks.update(filter(None, [row.get("talk")]))
        self.lists.see(row)
        if recording is not None:
            self.audio.update(f"{row['id']} {_recording_digest(recording)}\n".encode())

    def figures(self) -> dict[str, Any]:
        return {
            "utterances": self.utterances,
            "hours": round(self.seconds / 3600, 4),
            "speakers": len(self.speakers),
            "talks": len(self.talks),
            "words": self.words.total(),
            "vocabulary": len(self.words),
            "characters_per_second": round(self.characters / max(self.seconds, 1e-9), 2),
            **self.lists.figures(),
        }


class Card:
    """Collect a prepared set's figures row by row.

    Args:
        facts: What the corpus's reader adds: title, licence, warnings, lists. `section.licence` wins.
    """

    def __init__(self, source: str, section: PrepareSection, facts: dict[str, Any]):
        licence = section.licence or facts.get("licence", "not stated; set prepare.licence")
        self.source, self.section, self.facts = source, section, facts | {"licence": licence}
        self.splits = {split: _SplitFigures() for split in SPLITS}

    def see(self, split: str, row: dict[str, Any], recording: Path | None) -> None:
        """Count a manifest row; `recording` is None if recordings are not copied."""
        self.splits[split].see(row, recording)

    def write(self, folder: Path, read: int, quarantine: Quarantine) -> dict[str, Any]:
        """Write card.json and card.md beside the finished manifests; return their content."""
        hashes = {split: sha256(folder / f"{split}.jsonl") for split in SPLITS}
        figures = self._figures(read, quarantine, hashes)
        write_card(folder, figures)
        return figures

    def _figures(self, read: int, quarantine: Quarantine, hashes: dict[str, str]) -> dict[str, Any]:
        """Return the content of card.json. `hours_in` counts rejected recordings only if their length is known."""
        hours = sum(figures.seconds for figures in self.splits.values()) / 3600
        audio = {split: figures.audio.hexdigest() for split, figures in self.splits.items()}
        rejected = sum(record.duration for record in quarantine.records) / 3600
        return {
            "source": self.source,
            "kind": self.section.source,
            **self.facts,
            "read": read,
            "accepted": read - len(quarantine),
            "rejected": len(quarantine),
            "reasons": quarantine.reasons(),
            "hours_in": round(hours + rejected, 4),
            "hours": round(hours, 4),
            "hours_rejected": quarantine.hours(),
            "splits": {split: counted.figures() for split, counted in self.splits.items()},
            "seed": self.section.seed,
            "manifests": hashes,
            **({"audio": audio} if self.section.audio == "convert" else {}),
        }


def write_card(folder: Path, card: dict[str, Any]) -> None:
    """Write a card's figures as card.json and card.md."""
    (folder / "card.json").write_text(json.dumps(card, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    (folder / "card.md").write_text(card_markdown(card), encoding="utf-8")


def card_markdown(card: dict[str, Any]) -> str:
    """Format the content of `card.json` as Markdown."""
    splits = card["splits"]
    names = list(dict.fromkeys(name for figures in splits.values() for name in figures))
    table = [f"| | {' | '.join(splits)} |", f"|---|{'---:|' * len(splits)}"]
    table += [f"| {name.replace('_', ' ')} | {' | '.join(_cell(figures.get(name)) for figures in splits.values())} |"
              for name in names]  # fmt: skip
    lines = [f"# {card.get('title') or card['source']}", ""]
    lines += [f"- {name}: {card[name]}" for name in ("kind", "source", "licence", "seed", "list_size") if name in card]
    if isinstance(lists := card.get("lists"), dict):
        lines.append(f"- lists: {', '.join(f'{name} {value}' for name, value in lists.items())}")
    lines += [f"- warning: {warning}" for warning in card.get("warnings", ())]
    lines += ["", "## Splits", "", *table]
    if "read" in card:
        lines += ["", "## Rejected", ""]
        lines += [
            f"{card['rejected']} of {card['read']} records; {card['hours']:g} of {card['hours_in']:g} hours kept."
        ]
        hours = card["hours_rejected"]
        if card["reasons"]:
            lines += ["", "| reason | records | hours known |", "|---|---:|---:|"]
            lines += [f"| {_escaped(reason)} | {count} | {hours[reason]:g} |"
                      for reason, count in card["reasons"].items()]  # fmt: skip
    lines += ["", "## Content (SHA-256)", ""]
    lines += [f"- {split}.jsonl: `{digest}`" for split, digest in card["manifests"].items()]
    lines += [f"- recordings of {split}: `{digest}`" for split, digest in card.get("audio", {}).items()]
    return "\n".join(lines) + "\n"


def _recording_digest(recording: Path) -> str:
    """Return a digest that identifies a recording: for FLAC the digest of its samples, from the header."""
    with recording.open("rb") as file:
        header = file.read(42)
    samples = header[26:42]  # of the block STREAMINFO, the first behind "fLaC"
    return samples.hex() if header[:4] == b"fLaC" and any(samples) else sha256(recording)


def _cell(value: Any) -> str:
    return "" if value is None else f"{value:,}"


def _escaped(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
