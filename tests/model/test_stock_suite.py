"""The tests that transformers and PEFT have for models pass on our classes as they pass on the stock classes.

Their wheels hold no tests. The source packages of the installed versions do and are fetched with pip; transformers'
tests of generation are only in its repository: with TRANSFORMERS_TESTS set to the folder `tests` of a checkout of the
same version they run, too.
"""

import os
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from types import ModuleType

import peft
import pytest
import transformers

OWN = Path(__file__).parents[1] / "stock_suite"
# What the source package lacks; a checkout has them.
ABSENT = {
    "exporters/test_export.py": ("ExportTesterMixin", "ExportGenerateTesterMixin"),
    "generation/test_utils.py": ("GenerationTesterMixin",),
}
# What PEFT's test files import and the tests taken from them do not use.
UNUSED = {"datasets": "load_dataset = None", "diffusers": "class StableDiffusionPipeline:\n    pass"}
# Tests that ours fail and stock's don't, and why that is right.
REFUSED = "inputs_embeds with unfilled placeholders are refused: those of the list may share an embedding"
OURS_ALONE = {
    "test_inherits_generation_mixin": "GenerationMixin is a base of our classes' stock base, not one of their own",
    "test_inputs_embeds": REFUSED,
    "test_generate_from_inputs_embeds_0_greedy": REFUSED,
    "test_generate_from_inputs_embeds_1_beam_search": REFUSED,
}

pytestmark = pytest.mark.slow


def pip(*arguments: str, into: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pip", *arguments], cwd=into, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    if done.returncode:
        pytest.skip(f"pip {' '.join(arguments)} failed: {done.stdout.strip().splitlines()[-1:]}")


def fetch(module: ModuleType, members: str, folder: Path) -> None:
    """Extract the files of the package's source that match, without its first folder."""
    name, version = module.__name__, module.__version__
    pip("download", "-q", "--no-deps", "--no-binary", name, f"{name}=={version}", into=folder)
    with tarfile.open(next(folder.glob(f"{name}-*.tar.gz"))) as package:
        chosen = [member for member in package.getmembers() if re.fullmatch(rf"[^/]+/{members}", member.name)]
        for member in chosen:
            member.name = "/".join(member.name.split("/")[1:])
        package.extractall(folder, chosen, filter="data")


def place(folder: Path, suite: str) -> None:
    """Place a suite of ours into the packages `tests` and `tests.sap`, beside the test files that it builds on."""
    sap = folder / "tests" / "sap"
    sap.mkdir()
    for package in (sap, sap.parent):
        (package / "__init__.py").touch()
    shutil.copy(OWN / "family.py", sap)
    shutil.copy(OWN / suite, sap / f"test_{suite}")
    (folder / "packages").mkdir(exist_ok=True)


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> Path:
    """A folder with transformers' tests of models, and ours."""
    folder = tmp_path_factory.mktemp("models")
    given = os.environ.get("TRANSFORMERS_TESTS")
    if given:
        shutil.copytree(given, folder / "tests", ignore=shutil.ignore_patterns("models", "fixtures", "trainer"))
    else:
        fetch(transformers, r"tests/test_\w+\.py", folder)
    pip("install", "-q", "--no-deps", "--target", "packages", "parameterized", into=folder)
    for name, mixins in ABSENT.items():
        file = folder / "tests" / name
        file.parent.mkdir(exist_ok=True)
        if not file.is_file():
            file.write_text("\n\n".join(f"class {mixin}:\n    pass" for mixin in mixins) + "\n")
        (file.parent / "__init__.py").touch()
    place(folder, "modeling_suite.py")
    return folder


@pytest.fixture(scope="module")
def adapters(tmp_path_factory) -> Path:
    """A folder with PEFT's tests of adapted models, and ours."""
    folder = tmp_path_factory.mktemp("adapters")
    fetch(peft, r"tests/testing_\w+\.py", folder)
    place(folder, "peft_suite.py")
    for name, text in UNUSED.items():
        (folder / "packages" / f"{name}.py").write_text(text + "\n")
    return folder


def failures(folder: Path, family: str, side: str) -> tuple[set[str], int]:
    """Names of the tests that fail, and the number that pass."""
    paths = [str(Path(__file__).parents[2]), str(folder / "packages")]
    environment = {**os.environ, "SUITE_FAMILY": family, "SUITE_SIDE": side, "PYTHONPATH": os.pathsep.join(paths)}
    command = [sys.executable, "-m", "pytest", "tests/sap", "-q", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [*command, "--disable-warnings", "-rsf"], cwd=folder, env={**environment, "HF_HUB_OFFLINE": "1"}, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    assert done.returncode in (0, 1), done.stdout[-3000:]
    counts = done.stdout.splitlines()[-1]
    print(f"{family}, {side}: {counts}")
    failed = re.findall(r"^(?:SUB)?FAILED.*::(test\w*(?:\[[^]]+\])?)", done.stdout, re.MULTILINE)
    return set(failed), int(re.search(r"(\d+) passed", counts)[1])


@pytest.mark.parametrize("family", ["qwen2_audio", "qwen3_asr"])
def test_ours_fail_no_test_that_the_stock_class_passes(models, family):
    (ours, passed), (stock, _) = (failures(models, family, side) for side in ("ours", "stock"))
    assert passed >= 100
    assert ours - stock <= set(OURS_ALONE)


def test_ours_with_adapters_fail_no_test_that_the_stock_class_passes(adapters):
    (ours, passed), (stock, _) = (failures(adapters, "qwen2_audio", side) for side in ("ours", "stock"))
    assert passed >= 100
    assert ours <= stock
