"""Quarantine of unusable input: each rejected record is kept with its reason and counted."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from sap2.errors import InputError
from sap2.files import write_jsonl

__all__ = ["Quarantine", "Rejected"]


@dataclass(frozen=True)
class Rejected:
    """A rejected record.

    >>> Rejected("talk3-0007", "talks/list.tsv:8", "the transcript is empty").location
    'talks/list.tsv:8'
    """

    id: str  # as the source names it; may be empty if the id is the fault
    location: str  # file and line
    reason: str
    duration: float = 0.0  # seconds of audio, if known


class Quarantine:
    """Collect rejected records while a corpus is read."""

    def __init__(self, records: Iterable[Rejected] = ()) -> None:
        self.records = list(records)

    def __len__(self) -> int:
        return len(self.records)

    def reject(self, id: str, location: str, reason: str, duration: float = 0.0) -> None:
        """Add a rejected record with its reason."""
        self.records.append(Rejected(id, location, reason, duration))

    def write(self, path: Path | str) -> None:
        """Write `{id, location, reason}` (and `duration`, if known) per line; an empty file if nothing was rejected."""
        rows = (asdict(record) for record in self.records)
        write_jsonl(path, ({name: value for name, value in row.items() if name != "duration" or value} for row in rows))

    def settle(self, source: Path | str, read: int, accepted: int, reject_share: float) -> None:
        """Check that each record was either accepted or rejected, and that not too many were rejected.

        Args:
            source: Name of the source in messages.
            read, accepted: Numbers of records.
            reject_share: Largest allowed share of rejected records.

        Raises:
            RuntimeError: the counts disagree: a record was lost, which is a bug.
            InputError: more were rejected than allowed, or nothing was accepted.
        """
        if read != accepted + len(self.records):
            raise RuntimeError(
                f"{source}: read {read} records, but accepted {accepted} and rejected {len(self.records)}"
            )
        if accepted and len(self.records) <= reject_share * read:
            return
        reasons = "; ".join(f"{record.location}: {record.reason}" for record in self.records[:3])
        if not accepted:
            raise InputError(f"{source}: none of {read} records is usable{': ' if reasons else ''}{reasons}")
        raise InputError(
            f"{source}: {len(self.records)} of {read} records were rejected, more than "
            f"prepare.reject_share = {reject_share:g} allows; correct the records or raise it. First reasons: {reasons}"
        )

    def reasons(self) -> dict[str, int]:
        """Count rejected records by kind of reason (the part before a colon), most frequent first."""
        return dict(Counter(map(_kind, self.records)).most_common())

    def hours(self) -> dict[str, float]:
        """Sum the hours of rejected audio by kind of reason; unknown lengths count as 0."""
        seconds_of: dict[str, float] = {}
        for record in self.records:
            seconds_of[_kind(record)] = seconds_of.get(_kind(record), 0.0) + record.duration
        longest_first = sorted(seconds_of.items(), key=lambda item: -item[1])
        return {kind: round(seconds / 3600, 4) for kind, seconds in longest_first}


def _kind(record: Rejected) -> str:
    return record.reason.split(":")[0]
