"""Transformers' own tests of a model class pass on ours as they pass on the stock class.

Its wheel holds no tests. The source package of the installed version holds those of models and is fetched with pip;
those of generation are only in its repository: with TRANSFORMERS_TESTS set to the folder `tests` of a checkout of the
same version they run, too.
"""

import os
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
import transformers

SUITE = Path(__file__).parents[1] / "stock_suite" / "modeling_suite.py"
# What the source package lacks; a checkout has them.
ABSENT = {
    "exporters/test_export.py": ("ExportTesterMixin", "ExportGenerateTesterMixin"),
    "generation/test_utils.py": ("GenerationTesterMixin",),
}
# Tests that ours fail and stock's don't, and why that is right; all three are of GenerationTesterMixin.
REFUSED = "inputs_embeds with unfilled placeholders are refused: those of the list may share an embedding"
OURS_ALONE = {
    "test_inherits_generation_mixin": "GenerationMixin is a base of our classes' stock base, not one of their own",
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


@pytest.fixture(scope="module")
def suite(tmp_path_factory) -> Path:
    """A folder whose package `tests` holds transformers' test files and ours."""
    folder = tmp_path_factory.mktemp("suite")
    given = os.environ.get("TRANSFORMERS_TESTS")
    if given:
        shutil.copytree(given, folder / "tests", ignore=shutil.ignore_patterns("models", "fixtures", "trainer"))
    else:
        version = f"transformers=={transformers.__version__}"
        pip("download", "-q", "--no-deps", "--no-binary", "transformers", version, into=folder)
        with tarfile.open(next(folder.glob("transformers-*.tar.gz"))) as package:
            members = [one for one in package.getmembers() if re.fullmatch(r"[^/]+/tests/test_\w+\.py", one.name)]
            for member in members:
                member.name = "/".join(member.name.split("/")[1:])
            package.extractall(folder, members, filter="data")
    pip("install", "-q", "--no-deps", "--target", "packages", "parameterized", into=folder)
    for name, mixins in ABSENT.items():
        file = folder / "tests" / name
        file.parent.mkdir(exist_ok=True)
        if not file.is_file():
            file.write_text("\n\n".join(f"class {mixin}:\n    pass" for mixin in mixins) + "\n")
        (file.parent / "__init__.py").touch()
    (folder / "tests" / "__init__.py").touch()
    (folder / "tests" / "sap").mkdir()
    (folder / "tests" / "sap" / "__init__.py").touch()
    shutil.copy(SUITE, folder / "tests" / "sap" / "test_modeling_sap.py")
    return folder


def failures(suite: Path, family: str, side: str) -> tuple[set[str], str]:
    """Names of the tests that fail, and pytest's line of counts."""
    paths = [str(Path(__file__).parents[2]), str(suite / "packages")]
    environment = {**os.environ, "SUITE_FAMILY": family, "SUITE_SIDE": side, "PYTHONPATH": os.pathsep.join(paths)}
    command = [sys.executable, "-m", "pytest", "tests/sap/test_modeling_sap.py", "-q", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [*command, "--disable-warnings", "-rs"], cwd=suite, env={**environment, "HF_HUB_OFFLINE": "1"}, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    assert done.returncode in (0, 1), done.stdout[-3000:]
    return set(re.findall(r"^(?:SUB)?FAILED.*::(test_\w+)", done.stdout, re.MULTILINE)), done.stdout.splitlines()[-1]


@pytest.mark.parametrize("family", ["qwen2_audio", "qwen3_asr"])
def test_ours_fail_no_test_that_the_stock_class_passes(suite, family):
    ours, our_counts = failures(suite, family, "ours")
    stock, stock_counts = failures(suite, family, "stock")
    print(f"{family}, ours: {our_counts}\n{family}, stock: {stock_counts}")
    assert int(re.search(r"(\d+) passed", our_counts)[1]) >= 100
    assert ours - stock <= set(OURS_ALONE)
