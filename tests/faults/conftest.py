"""The pipeline for the fault tests."""

import pytest
from kills import Flow


@pytest.fixture
def flow(repository, environment, reproduced, tmp_path):
    flow = Flow(repository, tmp_path / "flow", environment, seed=12)
    yield flow
    flow.end()
