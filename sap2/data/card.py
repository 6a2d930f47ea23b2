"""What a prepared set is made of: a card for people (Markdown) and for programs (JSON)."""

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
    """What the keyword lists of a split are like; `see` each manifest row."""

    utterances: int = 0
    listed: int = 0  # keywords of all lists together
    longest: int = 0
    spoken: int = 0  # of them, those that are said
    with_spoken: int = 0  # utterances that say one of theirs

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
    audio: Any = field(default_factory=hashlib.sha256)  # of each id and what its recording sounds like

    def see(self, row: dict[str, Any], recording: Path | None) -> None:
        self.utterances += 1
        self.seconds += row["duration"]
        self.characters += len(row["text"])
        self.words.update(row["text"].split())
        self.speakers.update(filter(None, [row.get("speaker")]))
        self.talks.update(filter(None, [row.get("talk")]))
        self.lists.see(row)
        if recording is not None:
            self.audio.update(f"{row['id']} {_sound(recording)}\n".encode())

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
    """Collects a prepared set's figures row by row.

    Args:
        facts: What the corpus's reader knows: title, licence, warnings, lists. `section.licence` wins.
    """

    def __init__(self, source: str, section: PrepareSection, facts: dict[str, Any]):
        licence = section.licence or facts.get("licence", "not stated; set prepare.licence")
        self.source, self.section, self.facts = source, section, facts | {"licence": licence}
        self.splits = {split: _SplitFigures() for split in SPLITS}

    def see(self, split: str, row: dict[str, Any], recording: Path | None) -> None:
        """Count one manifest row; of a recording that is kept in place nothing is known."""
        self.splits[split].see(row, recording)

    def write(self, folder: Path, read: int, quarantine: Quarantine) -> dict[str, Any]:
        """Write card.json and card.md beside the finished manifests; return what they hold."""
        hashes = {split: sha256(folder / f"{split}.jsonl") for split in SPLITS}
        figures = self._figures(read, quarantine, hashes)
        write_card(folder, figures)
        return figures

    def _figures(self, read: int, quarantine: Quarantine, hashes: dict[str, str]) -> dict[str, Any]:
        """The card as JSON holds it. Hours in are those accepted and those rejected whose length was known."""
        hours = sum(one.seconds for one in self.splits.values()) / 3600
        audio = {split: one.audio.hexdigest() for split, one in self.splits.items()}
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
            "splits": {split: one.figures() for split, one in self.splits.items()},
            "seed": self.section.seed,
            "manifests": hashes,
            **({"audio": audio} if self.section.audio == "convert" else {}),
        }


def write_card(folder: Path, card: dict[str, Any]) -> None:
    """Write a card's figures as card.json and card.md."""
    (folder / "card.json").write_text(json.dumps(card, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    (folder / "card.md").write_text(card_markdown(card), encoding="utf-8")


def card_markdown(card: dict[str, Any]) -> str:
    """A card for people, from what `card.json` holds."""
    splits = card["splits"]
    names = list(dict.fromkeys(name for figures in splits.values() for name in figures))
    table = [f"| | {' | '.join(splits)} |", f"|---|{'---:|' * len(splits)}"]
    table += [f"| {name.replace('_', ' ')} | {' | '.join(_cell(one.get(name)) for one in splits.values())} |"
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


def _sound(recording: Path) -> str:
    """What tells a recording from another: of FLAC the digest of its samples, which stands in its header."""
    with recording.open("rb") as file:
        header = file.read(42)
    samples = header[26:42]  # of the block STREAMINFO, the first behind "fLaC"
    return samples.hex() if header[:4] == b"fLaC" and any(samples) else sha256(recording)


def _cell(value: Any) -> str:
    return "" if value is None else f"{value:,}"


def _escaped(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
