"""A stage killed at any moment leaves outputs complete or absent, and `dvc repro` gives the same result."""

import pytest

QUICK = {"prepare": 2, "lists": 2, "base": 3, "evaluate": 3}
# By what a stage does besides loading, and how long it takes.
LONG = {
    "prepare": 20, "lists": 6, "base": 10, "train-pruner": 12, "prune": 10, "train-recogniser": 8, "decode": 10,
    "evaluate": 15, "register": 15,
}  # fmt: skip
IN_A_ROW = 5  # kills, each on what the one before left, before DVC repairs it


def test_ten_kills_are_mended_by_the_next_run(flow):
    for stage in reversed(QUICK):  # none after one that writes what it reads
        seconds = flow.seconds(stage)
        for _ in range(QUICK[stage]):
            flow.kill(stage, seconds)
    flow.reproduce(*QUICK)
    assert flow.remains() == []


@pytest.mark.long  # half an hour
@pytest.mark.parametrize("stage", LONG)
def test_over_a_hundred_kills_of_every_stage_are_mended(flow, stage):
    seconds = flow.seconds(stage)
    for number in range(1, LONG[stage] + 1):
        flow.kill(stage, seconds)
        if number % IN_A_ROW == 0 or number == LONG[stage]:
            flow.reproduce(stage)
    print(f"\n{stage}: {LONG[stage]} kills, of {seconds:.1f} s")
    assert flow.remains() == []
