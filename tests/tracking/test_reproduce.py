"""A run's recipe is a shell script that reproduces it; the tests run it with a pipeline of a single small stage."""

import os
import subprocess
import sys

import pytest

from sap2.errors import InputError, TrackingError
from sap2.params import TrackingSection
from sap2.tracking.reproduce import recipe
from sap2.tracking.reproduce import run as carry_out

RUN_ID_LENGTH = 32


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """A repository whose one stage copies a param into an output; a change to it is not committed."""
    folder = tmp_path / "repository"
    folder.mkdir()
    monkeypatch.chdir(folder)
    ours = os.environ | {"PATH": f"{os.path.dirname(sys.executable)}{os.pathsep}{os.environ['PATH']}"}
    (folder / "params.yaml").write_text("word: {text: hello}\n")
    (folder / "stage.py").write_text("print('committed')\n")
    (folder / "dvc.yaml").write_text(
        "stages:\n  word:\n    cmd: python stage.py > out.txt\n    deps: [stage.py]\n    params: [word]\n"
        "    outs: [out.txt]\n"
    )
    (folder / ".gitignore").write_text("out.txt\n")
    for command in (
        "git init -q -b main", "dvc init -q", "dvc config core.analytics false", "git add -A",
        "git -c user.name=t -c user.email=t@example.org commit -qm one",
    ):  # fmt: skip
        subprocess.run(command.split(), check=True, env=ours)
    (folder / "stage.py").write_text("print('changed', open('params.yaml').read().count('again'))\n")
    subprocess.run(["dvc", "repro", "-q"], check=True, env=ours)
    return folder


@pytest.mark.slow  # runs git, mlflow and dvc as a person would
def test_a_run_is_reproduced_with_changes_params_and_lock(repository, section, register_again, models, reports):
    answer = register_again(
        section, params={"profile": "default", "word": {"text": "again"}}, lock=repository / "dvc.lock"
    )
    result = recipe(section, str(answer["version"]))
    commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True).stdout.strip()
    assert (result.run, result.commit, result.dirty) == (answer["run"], commit, True)
    assert result.version == f"{section.model_name}/1" and result.stages == {"word": "python stage.py > out.txt"}
    assert list(result.data) == ["out.txt"] and any(name.endswith("test.jsonl") for name in result.digests)
    script = str(result)
    assert script.splitlines()[0] == f"# run {answer['run']}, version {section.model_name}/1"
    assert f"git worktree add --detach ../sap2-{answer['run'][:8]} {commit}" in script

    carry_out(result)
    place = repository.parent / f"sap2-{answer['run'][:8]}"
    assert (place / "out.txt").read_text() == "changed 1\n", "the change that was not committed, and the run's params"
    assert subprocess.run(["sh", "-n"], input=script, text=True).returncode == 0
    with pytest.raises(InputError, match="git worktree add .*: failed"):
        carry_out(result)


def test_stage_runs_aliases_and_versions_lead_to_the_pipeline(registered, shared_section):
    answer, _, trained = registered
    for which in (answer["run"], trained, "1", "models:/whole/1"):
        try:
            assert recipe(shared_section, which).run == answer["run"]
        except InputError as error:  # the tests' own folder may be no repository
            assert "its commit is 'unknown'" in str(error)


@pytest.mark.parametrize("which", ["f" * RUN_ID_LENGTH, "99", "models:/nothing/1", "models:/nothing@champion"])
def test_missing_files_are_named(registered, shared_section, which):
    with pytest.raises(TrackingError, match=which if "@" not in which else "no registered model 'nothing'"):
        recipe(shared_section, which)


def test_the_recipe_has_an_absolute_store_address(tmp_path, monkeypatch):
    from sap2.tracking.reproduce import _absolute

    monkeypatch.chdir(tmp_path)
    assert _absolute(TrackingSection().uri) == f"sqlite:///{os.path.abspath('mlruns.db')}"
    assert _absolute("http://mlflow:5000") == "http://mlflow:5000"
