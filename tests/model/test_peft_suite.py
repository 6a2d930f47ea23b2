"""PEFT's own tests of adapters pass on our class as they pass on the stock class.

They are in PEFT's source package, which is fetched with pip.
"""

import os
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import peft
import pytest
from tiny import build_tiny_base

SUITE = Path(__file__).parents[1] / "stock_suite" / "peft_suite.py"
FILES = ("testing_common.py", "testing_utils.py")
# What PEFT's files import for other tests than these.
STUBS = {"diffusers": "class StableDiffusionPipeline:\n    pass\n", "datasets": "load_dataset = None\n"}
# Tests that ours fail and stock's don't, and why that is right.
OURS_ALONE: dict[str, str] = {}

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def suite(tmp_path_factory) -> Path:
    """A folder whose package `tests` holds PEFT's files and ours, with a tiny base."""
    folder = tmp_path_factory.mktemp("peft")
    command = [
        "download",
        "-q",
        "--no-deps",
        "--no-build-isolation",
        "--no-binary",
        "peft",
        f"peft=={peft.__version__}",
    ]
    done = subprocess.run([sys.executable, "-m", "pip", *command], cwd=folder, text=True, capture_output=True)
    if done.returncode:
        pytest.skip(f"pip {' '.join(command)} failed: {(done.stderr or done.stdout).strip().splitlines()[-1:]}")
    tests = folder / "tests"
    tests.mkdir()
    with tarfile.open(next(folder.glob("peft-*.tar.gz"))) as package:
        for name in FILES:
            member = next(one for one in package.getmembers() if one.name.endswith(f"/tests/{name}"))
            (tests / name).write_bytes(package.extractfile(member).read())
    for name, content in STUBS.items():
        (folder / "stubs").mkdir(exist_ok=True)
        (folder / "stubs" / f"{name}.py").write_text(content)
    (tests / "__init__.py").touch()
    shutil.copy(SUITE, tests / "test_ours.py")
    build_tiny_base(folder / "base", positions=1500)
    return folder


def failures(suite: Path, side: str) -> tuple[set[str], str]:
    """Names of the tests that fail, and pytest's line of counts."""
    paths = os.pathsep.join([str(Path(__file__).parents[2]), str(suite / "stubs")])
    environment = {**os.environ, "SUITE_BASE": str(suite / "base"), "SUITE_SIDE": side, "PYTHONPATH": paths}
    command = [sys.executable, "-m", "pytest", "tests/test_ours.py", "-q", "-p", "no:cacheprovider", "-rs"]
    done = subprocess.run(
        [*command, "--disable-warnings"], cwd=suite, env={**environment, "HF_HUB_OFFLINE": "1"}, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    assert done.returncode in (0, 1), done.stdout[-3000:]
    return set(re.findall(r"^FAILED.*\[(\w+)\]", done.stdout, re.MULTILINE)), done.stdout.splitlines()[-1]


def test_ours_fail_no_peft_test_that_the_stock_class_passes(suite):
    ours, our_counts = failures(suite, "ours")
    stock, stock_counts = failures(suite, "stock")
    print(f"ours: {our_counts}\nstock: {stock_counts}")
    assert int(re.search(r"(\d+) passed", our_counts)[1]) >= 20
    assert ours - stock == set(OURS_ALONE)
