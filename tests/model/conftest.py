"""A tiny random base, recreated for each file of this room's tests."""

import pytest
from tiny import build_tiny_base


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return build_tiny_base(tmp_path_factory.mktemp("base"))
