"""Security rules for the source: no unpickling of input, no remote code, no shells; and the audit of dependencies."""

import ast
import importlib.util
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCES = [
    path for folder in ("sap2", "components", "pipelines", "experiments") for path in (ROOT / folder).rglob("*.py")
]
PICKLES = {"pickle", "_pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}


def tree(path: Path) -> ast.AST:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def imports(path: Path) -> set[str]:
    names = [node.names for node in ast.walk(tree(path)) if isinstance(node, ast.Import)]
    modules = [alias.name for aliases in names for alias in aliases]
    modules += [node.module or "" for node in ast.walk(tree(path)) if isinstance(node, ast.ImportFrom)]
    return {module.partition(".")[0] for module in modules}


def calls(path: Path) -> list[tuple[str, dict[str, ast.expr]]]:
    """Return the dotted name and the keyword arguments of every call."""
    return [
        (ast.unparse(node.func), {word.arg: word.value for word in node.keywords if word.arg})
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Call)
    ]


def is_true(value: ast.expr | None) -> bool:
    return isinstance(value, ast.Constant) and value.value is True


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_input_is_never_unpickled_trusted_or_run_in_a_shell(path):
    assert not imports(path) & PICKLES
    for name, options in calls(path):
        if name == "torch.load":
            assert is_true(options.get("weights_only")), f"{name} without weights_only=True"
        assert not is_true(options.get("allow_pickle")), f"{name} with allow_pickle"
        assert not is_true(options.get("trust_remote_code")), f"{name} with trust_remote_code"
        assert not is_true(options.get("shell")), f"{name} with shell=True"
        assert name not in ("eval", "exec", "os.system", "os.popen"), name
        assert not name.endswith(".extractall"), f"{name}: check every member of an archive"
        assert name not in ("yaml.load", "yaml.unsafe_load"), f"{name}: yaml.safe_load"


@pytest.mark.parametrize(
    ("found", "said", "code", "expected"),
    [
        ("", "No known vulnerabilities found", 0, "No known vulnerabilities found"),
        ("requests 2.0.0 PYSEC-1\n", "Found 1 known vulnerability", 1, "PYSEC-1\naudit: the packages above"),
        ("", "Traceback\nProxyError: no way", 1, "audit: not done, which says nothing of any package: ProxyError"),
    ],
)
def test_an_audit_passes_only_if_every_package_was_checked(tmp_path, found, said, code, expected):
    """Run `make audit` with a fake pip-audit, which also records its arguments."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "found").write_text(found)
    (tmp_path / "said").write_text(said)
    tool = tmp_path / "bin" / "pip-audit"
    tool.write_text(
        f'#!/bin/sh\ncd {tmp_path}\necho "$@" >asked\ncat found\ncat said >&2\nexit {code}\n', encoding="utf-8"
    )
    tool.chmod(0o755)
    (tmp_path / ".ready").touch()
    done = subprocess.run(
        ["make", "audit", f"TOOLS={tmp_path}"], cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    assert (done.returncode == 0) == (code == 0)
    assert expected in done.stdout and "Traceback" not in done.stdout
    assert "--strict" in (tmp_path / "asked").read_text()


def test_every_locked_package_has_its_hashes():
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8").replace("\\\n", " ")
    packages = [line for line in lock.splitlines() if line and not line.startswith("#")]
    assert len(packages) > 200
    assert [line for line in packages if not re.match(r"\S+==\S+( ;.*?)?\s+--hash=sha256:[0-9a-f]{64}", line)] == []


def test_gpu_metrics_dependencies_are_installed():
    """Without nvidia-ml-py MLflow silently omits GPU metrics."""
    monitor = Path(importlib.util.find_spec("mlflow").origin).parent / "system_metrics" / "metrics" / "gpu_monitor.py"
    assert "`nvidia-ml-py` is not installed" in monitor.read_text(encoding="utf-8")
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    [pipeline] = re.findall(r"^pipeline = \[(.*?)^\]", text, re.MULTILINE | re.DOTALL)
    assert '"nvidia-ml-py' in pipeline
    assert re.search(r"^nvidia-ml-py==", (ROOT / "requirements.lock").read_text(encoding="utf-8"), re.MULTILINE)
