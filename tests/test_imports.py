"""Allowed imports between modules, checked in the source: no cycles of modules or packages, and layers.

Imports inside functions count: they are dependencies, too. Those for type checkers alone do not.
"""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sap2 import constants

ROOT = Path(__file__).parent.parent
OURS = ("sap2", "components", "pipelines")


def modules() -> dict[str, Path]:
    """Return our modules by dotted name."""
    named = {}
    for room in OURS:
        for path in sorted((ROOT / room).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            named[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return named


MODULES = modules()


def imported(node: ast.AST) -> Iterator[str]:
    """Return the names imported below a node, except for type checking; our modules by full name."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and ast.unparse(child.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
            for other in child.orelse:
                yield from imported(ast.Module([other], []))
        elif isinstance(child, ast.Import):
            yield from (alias.name for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            assert child.level == 0, "imports are absolute"
            for alias in child.names:
                name = f"{child.module}.{alias.name}"
                yield name if name in MODULES else child.module
        else:
            yield from imported(child)


IMPORTS = {name: set(imported(ast.parse(path.read_text(encoding="utf-8")))) - {name} for name, path in MODULES.items()}


def room(module: str) -> str:
    """Return the package or single module of sap2, such as `sap2.data`, or the other top-level package."""
    parts = module.split(".")
    return ".".join(parts[:2]) if parts[0] == "sap2" else parts[0]


def graph_of_modules() -> dict[str, set[str]]:
    return {name: result & MODULES.keys() for name, result in IMPORTS.items()}


def graph_of_rooms() -> dict[str, set[str]]:
    graph = {room(name): set() for name in MODULES}
    for name, result in graph_of_modules().items():
        graph[room(name)] |= {room(other) for other in result} - {room(name)}
    return graph


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """Return the import cycles, each as the sorted names of its members."""

    def reached(start: str) -> set[str]:
        seen, waiting = set(), [start]
        while waiting:
            new = graph[waiting.pop()] - seen
            seen |= new
            waiting += new
        return seen

    reach = {name: reached(name) for name in graph}
    return [
        list(circle)
        for circle in sorted({
            tuple(sorted(other for other in graph if other in reach[name] and name in reach[other]))
            for name in graph
            if name in reach[name]
        })
    ]  # fmt: skip


def outside(name: str) -> set[str]:
    """Return the top-level names of other projects that a module imports."""
    return {result.partition(".")[0] for result in IMPORTS[name]} - set(OURS)


def test_import_cycles_are_detected():
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": {"d"}}) == [["b", "c"], ["d"]]


def test_imports_in_functions_count_and_for_type_checkers_do_not():
    code = (
        "import a\nif TYPE_CHECKING:\n    import b\nelse:\n    import c\ndef f():\n    from sap2.errors import E\n"
        "    with x:\n        from sap2 import files\n"
    )
    assert set(imported(ast.parse(code))) == {"a", "c", "sap2.errors", "sap2.files"}


def test_modules_have_no_import_cycles():
    assert circles(graph_of_modules()) == []


def test_packages_have_no_import_cycles():
    assert circles(graph_of_rooms()) == []


ALLOWED = {  # our packages, by importing package; others may import every package below the stages
    "pipelines": {
        "components",
        "sap2.accelerators",
        "sap2.constants",
        "sap2.errors",
        "sap2.files",
        "sap2.heartbeat",
        "sap2.hub",
        "sap2.params",
    },
    "sap2.__main__": {"sap2.cli"},
    "sap2": set(),
    "sap2.errors": set(),
    "sap2.constants": set(),
    "sap2.progress": set(),
    "sap2.spelling": set(),
    "sap2.prompts": {"sap2.spelling"},
    "sap2.files": {"sap2.errors"},
    "sap2.hub": {"sap2.errors"},
    "sap2.accelerators": {"sap2.errors"},
    "sap2.heartbeat": {"sap2.constants", "sap2.files"},
    "sap2.settings": {"sap2.constants", "sap2.errors", "sap2.files"},
    "sap2.params": {"sap2.constants", "sap2.errors", "sap2.settings"},
    "sap2.pages": set(),
    "sap2.transcripts": {"sap2.constants", "sap2.pages", "sap2.spelling"},
    "sap2.model": {"sap2.constants", "sap2.errors", "sap2.files", "sap2.prompts", "sap2.spelling"},
    "sap2.messages": {"sap2.errors"},
    "sap2.deep_bias": {"sap2.errors"},
    "sap2.evaluation": {
        "sap2.constants",
        "sap2.deep_bias",
        "sap2.errors",
        "sap2.files",
        "sap2.messages",
        "sap2.pages",
        "sap2.prompts",
    },
}
DOORS = {"sap2.cli", "sap2.__main__", "sap2.stages", "components", "pipelines"}


@pytest.mark.parametrize("importing", ALLOWED)
def test_a_package_imports_only_what_its_layer_allows(importing):
    assert graph_of_rooms()[importing] <= ALLOWED[importing]


def test_only_the_entry_points_import_entry_points():
    graph = graph_of_rooms()
    assert {name: graph[name] & DOORS for name in graph if name not in DOORS and graph[name] & DOORS} == {}
    assert graph["sap2.stages"] & DOORS == set()
    assert graph["components"] & DOORS == {"sap2.stages"}


@pytest.mark.parametrize(
    ("library", "rooms"),
    [
        ("kfp", {"components", "pipelines"}),
        ("kubernetes", {"components"}),
        ("mlflow", {"sap2.tracking"}),
        ("fastapi", {"sap2.serving"}),
        ("uvicorn", {"sap2.serving"}),
        ("deepspeed", {"sap2.training"}),
    ],
)
def test_a_library_is_imported_only_by_its_package(library, rooms):
    assert {room(name) for name in MODULES if library in outside(name)} == rooms


def test_scoring_needs_no_gpu_stack_and_no_pydantic():
    reached = waiting = {name for name in MODULES if room(name) == "sap2.evaluation"}
    while waiting:
        waiting = {other for name in waiting for other in graph_of_modules()[name]} - reached
        reached = reached | waiting
    heavy = {"torch", "transformers", "peft", "accelerate", "deepspeed", "mlflow", "pydantic", "librosa", "soundfile"}
    assert {name: outside(name) & heavy for name in reached if outside(name) & heavy} == {}


def test_the_command_line_imports_no_library_but_typer():
    result = {library for name in MODULES if room(name) == "sap2.cli" for library in outside(name)}
    assert result - sys.stdlib_module_names == {"typer"}


@pytest.mark.parametrize("name", constants.__all__)
def test_a_shared_constant_is_defined_once(name):
    defining = set()
    for module, path in MODULES.items():
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
            if any(isinstance(target, ast.Name) and target.id == name for target in targets):
                defining.add(module)
    assert defining == {"sap2.constants"}
