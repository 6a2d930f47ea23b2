"""Input that cannot be used: kept with its reason and counted, so that nothing is lost in silence."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from sap2.errors import InputError
from sap2.files import write_jsonl

__all__ = ["Quarantine", "Rejected"]


@dataclass(frozen=True)
class Rejected:
    """One record that stays out.

    >>> Rejected("talk3-0007", "talks/list.tsv:8", "the transcript is empty").location
    'talks/list.tsv:8'
    """

    id: str  # as the source names it; may be empty when that is the fault
    location: str  # file and line
    reason: str
    duration: float = 0.0  # seconds of audio, where it was known


class Quarantine:
    """Collects rejected records while a corpus is read."""

    def __init__(self, records: Iterable[Rejected] = ()) -> None:
        self.records = list(records)

    def __len__(self) -> int:
        return len(self.records)

    def reject(self, id: str, location: str, reason: str, duration: float = 0.0) -> None:
        """Keep one record out, with its reason."""
        self.records.append(Rejected(id, location, reason, duration))

    def write(self, path: Path | str) -> None:
        """Write `{id, location, reason}` (and `duration`, where known) a line; no line when nothing was rejected."""
        rows = (asdict(record) for record in self.records)
        write_jsonl(path, ({name: value for name, value in row.items() if name != "duration" or value} for row in rows))

    def settle(self, source: Path | str, read: int, accepted: int, reject_share: float) -> None:
        """Check that every record read was accepted or rejected, and that not too many were rejected.

        Args:
            source: What was read, for the message.
            read, accepted: Numbers of records.
            reject_share: Largest allowed share of rejected records.

        Raises:
            RuntimeError: the counts disagree: a record was lost (a fault of ours).
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
            raise InputError(f"{source}: none of {read} records can be used{': ' if reasons else ''}{reasons}")
        raise InputError(
            f"{source}: {len(self.records)} of {read} records are rejected, more than "
            f"prepare.reject_share = {reject_share:g} allows; correct them or raise it. The first: {reasons}"
        )

    def reasons(self) -> dict[str, int]:
        """How many records were rejected for each kind of reason (the part before a colon), most frequent first."""
        return dict(Counter(map(_kind, self.records)).most_common())

    def hours(self) -> dict[str, float]:
        """Hours of audio rejected for each kind of reason, as far as the lengths were known."""
        found: dict[str, float] = {}
        for record in self.records:
            found[_kind(record)] = found.get(_kind(record), 0.0) + record.duration
        longest_first = sorted(found.items(), key=lambda one: -one[1])
        return {kind: round(seconds / 3600, 4) for kind, seconds in longest_first}


def _kind(record: Rejected) -> str:
    return record.reason.split(":")[0]
