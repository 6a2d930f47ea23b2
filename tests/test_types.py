"""Type annotations of the public API as a user's mypy sees them; `make types` checks the package itself."""

import subprocess
import sys
import tomllib
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
STRICT = ("params", "settings", "manifest", "evaluation", "inference", "transcripts")


def mypy(*arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess:
    if find_spec("mypy") is None:
        pytest.skip("mypy is not installed; the extra dev has it")
    return subprocess.run([sys.executable, "-m", "mypy", *arguments], cwd=cwd, capture_output=True, text=True)


@pytest.mark.slow  # half a minute without a cache
def test_a_wrong_call_of_the_public_api_is_a_type_error(tmp_path):
    (tmp_path / "user.py").write_text(
        "from sap2.evaluation import align\nfrom sap2.manifest import Utterance\n"
        "align('a b'.split(), 'a'.split())\nalign(1, 2)\nUtterance(id=1)\n"
    )
    done = mypy("--config-file", str(ROOT / "pyproject.toml"), str(tmp_path / "user.py"))
    lines = [line.partition("user.py:")[2].partition(":")[0] for line in done.stdout.splitlines() if "user.py:" in line]
    assert set(lines) == {"4", "5"}, done.stdout


def test_the_public_api_is_checked_strictly():
    overrides = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["mypy"]["overrides"]
    [strict] = [override for override in overrides if override.get("disallow_any_generics")]
    assert {module.removeprefix("sap2.").removesuffix(".*") for module in strict["module"]} == set(STRICT)
    unchecked = [module for override in overrides if override.get("ignore_errors") for module in override["module"]]
    assert not [module for module in unchecked if module.split(".")[1] in STRICT]
    assert (ROOT / "sap2" / "py.typed").is_file()
