"""What the code never does, whoever edits it: unpickle what it was given, run foreign code, start a shell."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCES = [path for room in ("sap2", "components", "pipelines", "experiments") for path in (ROOT / room).rglob("*.py")]
PICKLES = {"pickle", "_pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}


def tree(path: Path) -> ast.AST:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def imports(path: Path) -> set[str]:
    names = [node.names for node in ast.walk(tree(path)) if isinstance(node, ast.Import)]
    modules = [alias.name for aliases in names for alias in aliases]
    modules += [node.module or "" for node in ast.walk(tree(path)) if isinstance(node, ast.ImportFrom)]
    return {module.partition(".")[0] for module in modules}


def calls(path: Path) -> list[tuple[str, dict[str, ast.expr]]]:
    """Every call as its name, with dots, and its keyword arguments."""
    return [
        (ast.unparse(node.func), {one.arg: one.value for one in node.keywords if one.arg})
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Call)
    ]


def is_true(value: ast.expr | None) -> bool:
    return isinstance(value, ast.Constant) and value.value is True


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_given_is_unpickled_trusted_or_passed_to_a_shell(path):
    assert not imports(path) & PICKLES
    for name, options in calls(path):
        if name == "torch.load":
            assert is_true(options.get("weights_only")), f"{name} without weights_only=True"
        assert not is_true(options.get("allow_pickle")), f"{name} with allow_pickle"
        assert not is_true(options.get("trust_remote_code")), f"{name} with trust_remote_code"
        assert not is_true(options.get("shell")), f"{name} with shell=True"
        assert name not in ("eval", "exec", "os.system", "os.popen"), name
        assert not name.endswith(".extractall"), f"{name}: members of archives are to be checked one by one"
        assert name not in ("yaml.load", "yaml.unsafe_load"), f"{name}: yaml.safe_load"
