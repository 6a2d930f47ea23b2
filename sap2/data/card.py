"""What a prepared set is made of: a card for people (Markdown) and for programs (JSON)."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from sap2.data.entries import SPLITS
from sap2.data.quarantine import Quarantine
from sap2.params import PrepareSection

__all__ = ["Card", "card_markdown"]


@dataclass
class _SplitFigures:
    utterances: int = 0
    seconds: float = 0.0
    characters: int = 0
    words: Counter[str] = field(default_factory=Counter)
    speakers: set[str] = field(default_factory=set)
    talks: set[str] = field(default_factory=set)
    listed: int = 0  # keywords of all lists together
    longest: int = 0
    spoken: int = 0  # of them, those that are said
    with_spoken: int = 0  # utterances that say one of theirs

    def see(self, row: dict[str, Any]) -> None:
        keywords = row.get("keywords", ())
        text = f" {row['text'].casefold()} "
        said = sum(f" {keyword.casefold()} " in text for keyword in keywords)
        self.utterances += 1
        self.seconds += row["duration"]
        self.characters += len(row["text"])
        self.words.update(row["text"].split())
        self.speakers.update(filter(None, [row.get("speaker")]))
        self.talks.update(filter(None, [row.get("talk")]))
        self.listed += len(keywords)
        self.longest = max(self.longest, len(keywords))
        self.spoken += said
        self.with_spoken += said > 0

    def figures(self) -> dict[str, Any]:
        count = max(self.utterances, 1)
        return {
            "utterances": self.utterances,
            "hours": round(self.seconds / 3600, 4),
            "speakers": len(self.speakers),
            "talks": len(self.talks),
            "words": self.words.total(),
            "vocabulary": len(self.words),
            "characters_per_second": round(self.characters / max(self.seconds, 1e-9), 2),
            "mean_list_size": round(self.listed / count, 2),
            "longest_list": self.longest,
            "share_of_list_spoken": round(self.spoken / max(self.listed, 1), 4),
            "share_with_spoken_keyword": round(self.with_spoken / count, 4),
        }


class Card:
    """Collects a prepared set's figures row by row."""

    def __init__(self, source: str, section: PrepareSection, facts: dict[str, Any]):
        self.source, self.section, self.facts = source, section, facts
        self.splits = {split: _SplitFigures() for split in SPLITS}

    def see(self, split: str, row: dict[str, Any]) -> None:
        """Count one manifest row."""
        self.splits[split].see(row)

    def figures(self, read: int, quarantine: Quarantine, hashes: dict[str, str]) -> dict[str, Any]:
        """The card as JSON holds it. Hours in are those accepted and those rejected whose length was known."""
        hours = sum(one.seconds for one in self.splits.values()) / 3600
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
        }


def card_markdown(card: dict[str, Any]) -> str:
    """A card for people, from what `card.json` holds."""
    splits = card["splits"]
    names = list(dict.fromkeys(name for figures in splits.values() for name in figures))
    table = [f"| | {' | '.join(splits)} |", f"|---|{'---:|' * len(splits)}"]
    table += [f"| {name.replace('_', ' ')} | {' | '.join(_cell(one.get(name)) for one in splits.values())} |"
              for name in names]  # fmt: skip
    lines = [f"# {card.get('title') or card['source']}", ""]
    lines += [f"- {name}: {card[name]}" for name in ("kind", "source", "licence", "seed", "list_size") if name in card]
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
    lines += ["", "## Manifests (SHA-256)", ""]
    lines += [f"- {split}.jsonl: `{digest}`" for split, digest in card["manifests"].items()]
    return "\n".join(lines) + "\n"


def _cell(value: Any) -> str:
    return "" if value is None else f"{value:,}"


def _escaped(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
