"""dvc.yaml, the command line and sap2.stages agree, changes re-run only dependent stages, and the DVC commands of
docs/usage.md work."""

import ast
import inspect
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from ruamel.yaml import YAML

from sap2 import cli, stages
from sap2.params import Params

ROOT = Path(__file__).parent.parent
STAGES = YAML(typ="safe").load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
# Code without effect on the content of outputs: parsing, paths, writing of files, tracking.
SHELLS = {
    f"sap2.{name}" for name in "accelerators constants errors files heartbeat hub params progress settings".split()
}
SHELLS.add("sap2")
# Trainings send their loss to the first, and early stopping, if enabled, gets dev's score from the second: a change of
# the scoring code must not trigger trainings.
WATCHING = ("sap2.tracking", "sap2.evaluation", "sap2.deep_bias")  # the last is imported by the scoring code


def paths(stage: dict, kind: str) -> set[str]:
    """Return the entries of a stage under a key, without options of outs."""
    return {entry if isinstance(entry, str) else next(iter(entry)) for entry in stage.get(kind, [])}


def made(stage: dict) -> set[str]:
    return paths(stage, "outs") | paths(stage, "metrics") | paths(stage, "plots")


def function_of(name: str):
    return getattr(stages, name.replace("-", "_"))


def within(path: str, folders: set[str]) -> bool:
    return any(Path(path).is_relative_to(folder) for folder in folders)


def test_dvc_yaml_has_the_stages_in_order():
    assert list(STAGES) == [
        "prepare", "lists", "base", "train-pruner", "prune", "train-recogniser", "decode", "settings", "evaluate",
        "register",
    ]  # fmt: skip


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_runs_its_command_with_the_tracked_profile(name):
    profile = "" if name == "settings" else " --profile ${profile}"  # it combines the settings of other stages
    assert STAGES[name]["cmd"] == f"sap2 {name}{profile}"
    assert name in typer.main.get_command(cli.app).commands
    assert callable(function_of(name))


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_names_every_path_its_function_reads_and_writes(name):
    stage = STAGES[name]
    named = paths(stage, "deps") | made(stage)
    for parameter in inspect.signature(function_of(name), eval_str=True).parameters.values():
        if parameter.annotation is not Path or parameter.default.is_relative_to(stages.CHECKPOINTS):
            continue
        if parameter.default == stages.INGESTED:
            continue
        default = str(parameter.default)
        # The folder itself, or a part of it.
        assert any(Path(path).is_relative_to(default) for path in named), f"{name}: {default} is not in dvc.yaml"


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_tracks_exactly_the_sections_its_function_takes(name):
    kinds = [p.annotation for p in inspect.signature(function_of(name), eval_str=True).parameters.values()]
    taken = {
        section
        for section, field in Params.model_fields.items()
        if field.annotation in kinds and section_of(name, field.annotation) in (None, section)
    }
    if name != "register":
        taken.discard("tracking")  # the location of runs does not change outputs
    if Params in kinds:
        taken = {"tracking"}  # register logs all sections, from the files of their stages
    if name == "settings":
        assert not taken and "params" not in STAGES[name]
        return
    assert set(STAGES[name]["params"]) == {"profile"} | taken | {f"profiles.${{profile}}.{item}" for item in taken}


def section_of(stage: str, kind: type) -> str | None:
    """Return the section of a parameter; for equal types the stage decides."""
    own = {"train-pruner": "pruner", "train-recogniser": "recogniser"}
    return own.get(stage) if kind in (Params.model_fields["pruner"].annotation,) else None


def test_dependencies_are_repository_files_or_outputs():
    outs = {out for stage in STAGES.values() for out in made(stage)}
    for name, stage in STAGES.items():
        for dep in paths(stage, "deps"):
            assert within(dep, outs) or (ROOT / dep).exists(), f"{name}: {dep}"


def modules_of(name: str) -> set[str]:
    """Return every module of sap2 that a stage imports, according to the source."""
    tree = ast.parse((ROOT / "sap2" / "stages.py").read_text(encoding="utf-8"))
    functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
    entry = functions[name.replace("-", "_")]
    called = {
        node.func.id for node in ast.walk(entry) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }
    bodies = [entry, *(functions[helper] for helper in called if helper in functions)]
    result: set[str] = set()
    waiting = [module for body in bodies for module in imported(body)]
    while waiting:
        module = waiting.pop()
        if module in result or module in SHELLS:
            continue
        result.add(module)
        waiting += imported(ast.parse(file_of(module).read_text(encoding="utf-8")))
    return result


def imported(tree: ast.AST) -> list[str]:
    names: list[str] = []
    typing_only = [
        node for block in ast.walk(tree) if isinstance(block, ast.If) and ast.unparse(block.test) == "TYPE_CHECKING"
        for statement in block.body for node in ast.walk(statement)
    ]  # fmt: skip
    for node in ast.walk(tree):
        if node in typing_only:
            continue
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "sap2":
            inner = [f"{node.module}.{alias.name}" for alias in node.names]
            names += [node.module, *(name for name in inner if file_of(name).exists())]
        elif isinstance(node, ast.Import):
            names += [alias.name for alias in node.names if alias.name.split(".")[0] == "sap2"]
    return names


def file_of(module: str) -> Path:
    path = ROOT.joinpath(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_depends_on_the_code_that_shapes_its_output(name):
    deps = paths(STAGES[name], "deps")
    for module in modules_of(name):
        if module.startswith(WATCHING) and name.startswith("train-"):
            continue
        file = str(file_of(module).relative_to(ROOT))
        if name in ("prepare", "lists", "evaluate") and module == "sap2.prompts":
            continue  # for rows of ms-swift, which these stages do not use
        if name == "evaluate" and module == "sap2.spelling":
            continue  # only through sap2.prompts
        if file in ("sap2/data/__init__.py", "sap2/transcripts/__init__.py"):
            continue  # contain only a docstring
        assert within(file, deps), f"{name} runs {file}, which dvc.yaml does not name"


def downstream(changed: set[str]) -> list[str]:
    """Return the stages that run again after the given stages."""
    hit = set(changed)
    for name, stage in STAGES.items():
        outs = {out for other in hit for out in made(STAGES[other])}
        if any(within(dep, outs) or within(out, {dep}) for dep in paths(stage, "deps") for out in outs):
            hit.add(name)
    return [name for name in STAGES if name in hit]


def users_of(section: str) -> set[str]:
    return {name for name, stage in STAGES.items() if section in stage.get("params", ())}


def test_an_inference_parameter_triggers_no_training():
    assert downstream(users_of("inference")) == ["decode", "settings", "evaluate", "register"]


def test_scoring_code_re_runs_only_the_evaluation():
    scoring = {name for name, stage in STAGES.items() if within("sap2/evaluation/rates.py", paths(stage, "deps"))}
    assert downstream(scoring) == ["evaluate", "register"]


def test_pruning_parameters_do_not_retrain_the_pruner():
    assert "train-pruner" not in downstream(users_of("pruning"))


def test_another_corpus_runs_everything_but_the_base_again():
    assert downstream(users_of("prepare")) == [name for name in STAGES if name != "base"]
    assert downstream(users_of("lists")) == [name for name in STAGES if name not in ("prepare", "base")]


FAKE = """
import sys
from pathlib import Path
from ruamel.yaml import YAML
stages = YAML(typ="safe").load(Path("dvc.yaml").read_text())["stages"]
paths = lambda entries: [e if isinstance(e, str) else next(iter(e)) for e in entries]
deps = {dep for stage in stages.values() for dep in paths(stage["deps"])}
stage = stages[sys.argv[1]]
for out in paths(stage["outs"] + stage.get("metrics", [])):
    inner = [dep for dep in deps if dep.startswith(out + "/")] or [out]
    for path in map(Path, inner):
        path = path if path.suffix else path / "file"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}")
print("ran", sys.argv[1])
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    """The pipeline with a fake command that only writes the outputs."""
    folder = tmp_path_factory.mktemp("dvc")
    for name in ("dvc.yaml", "params.yaml", ".dvcignore", ".gitignore"):
        shutil.copy(ROOT / name, folder)
    shutil.copytree(ROOT / "sap2", folder / "sap2", ignore=shutil.ignore_patterns("__pycache__", "assets"))
    for dep in {dep for stage in STAGES.values() for dep in paths(stage, "deps") if dep.startswith("sap2/assets")}:
        (folder / dep).mkdir(parents=True)
        (folder / dep / "file").touch()
    (folder / "corpora").mkdir()
    (folder / "corpora" / "README.md").touch()
    (folder / "bin").mkdir()
    (folder / "bin" / "sap2").write_text(f"#!{sys.executable}\n{FAKE}")
    (folder / "bin" / "dvc").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m dvc "$@"\n')
    for command in ("sap2", "dvc"):
        (folder / "bin" / command).chmod(0o755)
    run(folder, "git init -q")
    dvc(folder, "init", "--quiet")
    dvc(folder, "config", "core.analytics", "false")
    assert ran(dvc(folder, "repro")) == list(STAGES)
    return folder


def dvc(folder: Path, *arguments: str) -> str:
    return run(folder, shlex.join(["dvc", *arguments]))


def run(folder: Path, line: str) -> str:
    """Run a shell line with the project's commands first in the PATH, and return its output."""
    path = os.pathsep.join([str(folder / "bin"), os.environ["PATH"]])
    done = subprocess.run(
        line, shell=True, cwd=folder, env={**os.environ, "PATH": path}, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    return done.stdout


def commit(folder: Path) -> None:
    run(folder, "git add -A && git -c user.name=test -c user.email=test@example.org commit -qm state")


def documented(start: str) -> str:
    """Return the only command of docs/usage.md with this beginning, without its comment."""
    page = (ROOT / "docs" / "usage.md").read_text(encoding="utf-8")
    [line] = re.findall(rf"^{re.escape(start)}[^#\n]*", page, re.MULTILINE)
    return line.strip()


def ran(output: str) -> list[str]:
    return [line.split()[1] for line in output.splitlines() if line.startswith("ran ")]


def test_a_second_run_does_nothing(project):
    assert ran(dvc(project, "repro")) == []


def test_dvc_re_runs_the_stages_that_a_change_affects(project):
    def replaced(old: str, new: str) -> list[str]:
        params = project / "params.yaml"
        text = params.read_text(encoding="utf-8")
        assert old in text
        params.write_text(text.replace(old, new, 1), encoding="utf-8")
        return ran(dvc(project, "repro"))

    # Fake runs write equal outputs, so later stages are cached: only the changed stage runs.
    assert replaced("  contexts: [none, full", "  contexts: [full, none") == ["decode"]
    assert replaced("  source: lectures", "  source: kaldi") == ["prepare"]
    assert replaced("  distractors: 100", "  distractors: 500") == ["lists"]
    (project / "corpora" / "one.wav").write_bytes(b"RIFF")
    assert ran(dvc(project, "repro")) == ["prepare", "lists"], "list files may lie there, too"
    with (project / "sap2" / "evaluation" / "rates.py").open("a") as file:
        file.write("# a comment\n")
    assert ran(dvc(project, "repro")) == ["evaluate"]
    assert replaced("    inference: {max_new_tokens: 32}", "    inference: {max_new_tokens: 33}") == []
    assert replaced("profile: default", "profile: test") == [name for name in STAGES if name != "settings"]
    assert replaced("    inference: {max_new_tokens: 33}", "    inference: {max_new_tokens: 34}") == ["decode"]


def test_an_experiment_with_other_decoding_decodes_alone(project):
    dvc(project, "repro")
    commit(project)
    line = documented("dvc exp run -S inference.")
    assert line.endswith(" -S inference.num_beams=4")
    before = sections(project)
    assert ran(run(project, line)) == ["decode"]
    after = sections(project)
    assert after["inference"] == before["inference"] | {"num_beams": 4}
    assert after | {"inference": before["inference"]} == before
    assert "num_beams" in dvc(project, "params", "diff", "HEAD")


def sections(folder: Path) -> dict:
    return YAML(typ="safe").load((folder / "params.yaml").read_text(encoding="utf-8"))


def test_data_pushed_to_the_documented_remote_is_pulled_back(project):
    commit(project)
    assert "pushed" in run(project, documented("dvc remote add"))
    store = project.parent / "sap2-store"
    assert list(store.rglob("*.dir")) and not run(project, "git status --porcelain"), "the remote is this machine's own"
    for folder in ("data", "models", "results", ".dvc/cache"):
        shutil.rmtree(project / folder)
    dvc(project, "pull")
    assert (project / "models" / "recogniser" / "file").is_file()
    assert ran(dvc(project, "repro")) == []


def test_a_changed_dvc_tracked_corpus_is_prepared_again(project):
    corpus = project / "corpora" / "talks"
    corpus.mkdir()
    (corpus / "list.tsv").write_text("id\ttext\tkeywords\n")
    dvc(project, "add", "corpora/talks")
    assert (project / "corpora" / "talks.dvc").is_file()
    assert ran(dvc(project, "repro")) == ["prepare", "lists"]
    assert ran(dvc(project, "repro")) == []
    (corpus / "list.tsv").write_text("id\ttext\tkeywords\na\thello\tzorvan\n")
    dvc(project, "add", "corpora/talks")
    assert ran(dvc(project, "repro")) == ["prepare", "lists"]
