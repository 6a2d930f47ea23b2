"""Quarantine: rejected records are kept with their reasons, and the counts add up."""

import json

import pytest

from sap2.data.quarantine import Quarantine
from sap2.errors import InputError


def make(count: int) -> Quarantine:
    quarantine = Quarantine()
    for number in range(count):
        quarantine.reject(f"u{number}", f"list.tsv:{number + 2}", "the transcript is empty")
    return quarantine


def test_every_record_is_written_with_its_reason(tmp_path):
    make(2).write(tmp_path / "quarantine.jsonl")
    rows = [json.loads(line) for line in (tmp_path / "quarantine.jsonl").read_text().splitlines()]
    assert rows[1] == {"id": "u1", "location": "list.tsv:3", "reason": "the transcript is empty"}


def test_the_file_exists_when_nothing_was_rejected(tmp_path):
    make(0).write(tmp_path / "quarantine.jsonl")
    assert (tmp_path / "quarantine.jsonl").read_text() == ""


def test_a_lost_record_is_never_silent():
    with pytest.raises(RuntimeError, match="read 5 records, but accepted 2 and rejected 2"):
        make(2).settle("list.tsv", read=5, accepted=2, reject_share=1.0)


def test_too_many_rejected_fail_with_the_first_reasons():
    make(1).settle("list.tsv", read=10, accepted=9, reject_share=0.1)
    with pytest.raises(
        InputError, match=r"2 of 10 records .* prepare.reject_share = 0.1 .* list.tsv:2: the transcript"
    ):
        make(2).settle("list.tsv", read=10, accepted=8, reject_share=0.1)


def test_nothing_accepted_fails():
    with pytest.raises(InputError, match="none of 2 records is usable: list.tsv:2: the transcript is empty"):
        make(2).settle("list.tsv", read=2, accepted=0, reject_share=1.0)
    with pytest.raises(InputError, match="none of 0 records is usable"):
        make(0).settle("list.tsv", read=0, accepted=0, reject_share=1.0)


def test_reasons_are_counted_by_kind():
    quarantine = make(2)
    quarantine.reject("x", "list.tsv:9", "duplicate id: also at list.tsv:2")
    assert quarantine.reasons() == {"the transcript is empty": 2, "duplicate id": 1}
