"""Commands in the documentation are valid, and its figures agree with the project."""

import re
import shlex
from itertools import dropwhile, groupby
from pathlib import Path

import pytest
import typer
import yaml

from sap2 import cli
from sap2.params import load_params
from sap2.training.plan import plan_training

ROOT = Path(__file__).parent.parent
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
PAPER = ROOT / "docs" / "reproduce-paper.md"


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


def commands(page: Path) -> list[list[str]]:
    lines = "".join(blocks(page, "sh")).replace("\\\n", " ").splitlines()
    return [shlex.split(line, comments=True) for line in lines if line.startswith("sap2 ")]


def words(command: list[str]) -> list[str]:
    """Return the arguments, without redirections and commands after `|` or `&&`."""
    for mark in ("|", "&&", ">", ">>"):
        command = command[: command.index(mark)] if mark in command else command
    return command[1:]


TARGETS = set(re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
# Programs in the pages that no test runs, with the reason.
NOT_RUN = {
    ".venv/bin/pre-commit": "installs git hooks; tests/test_habits.py checks their configuration",
    "aws": "needs an account of an object store",
    "cat": "prints a file",
    "curl": "needs a running server; tests/serving sends the same requests",
    "docker": "needs Docker's engine; tests/deploy runs the image's steps without it",
    "export": "sets a shell variable",
    "git": "changes the reader's clone",
    "helm": "needs a cluster",
    "kubectl": "needs a cluster; tests/deploy validates the manifests",
    "mv": "moves a file",
    "pip": "installs; tests/deploy builds and checks the wheel",
}


def programs(page: Path) -> list[list[str]]:
    """Return the commands in a page's shell blocks, by line and pipe, without bodies of here-documents and loops."""
    text = re.sub(r"<<'?(\w+)'?(.*)\n.*?^\1$", r"\2", "".join(blocks(page, "sh")), flags=re.DOTALL | re.MULTILINE)
    commands = []
    for line in text.replace("\\\n", " ").splitlines():
        tokens = shlex.shlex(line, posix=True, punctuation_chars=True)
        tokens.whitespace_split = True
        try:
            pieces = list(tokens)
        except ValueError:  # a quoted text of several lines
            continue
        for separates, run in groupby(pieces, key=lambda token: token in (";", "|", "&&", "||", "&")):
            command = list(dropwhile(lambda token: re.match(r"\w+=", token), run))
            if command and not separates:
                commands.append(command)
    return commands


EVERY = [(page, command) for page in PAGES for command in commands(page)]


def test_the_documents_contain_commands():
    assert len(EVERY) > 20
    assert len(commands(PAPER)) >= 8


@pytest.mark.parametrize(
    ("page", "command"), EVERY, ids=lambda value: value.stem if isinstance(value, Path) else value[1]
)
def test_a_command_of_the_documents_can_be_parsed(page, command):
    group, rest = typer.main.get_command(cli.app), words(command)
    while hasattr(group, "commands") and rest and rest[0] in group.commands:
        group, rest = group.commands[rest[0]], rest[1:]
    if rest in (["--help"], ["--version"]):
        return
    context = group.make_context(group.name, list(rest))
    changes = context.params.get("set_") or []
    profile = context.params.get("profile")
    assert load_params(ROOT / "params.yaml", profile, changes)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_command_is_checked_or_has_a_reason_not_to_be(page):
    """`sap2` is parsed above, other tests run some programs; for the rest, the target or file must exist."""
    if page.name in ("tutorial.md", "operations.md"):
        return  # run as written in tests/test_tutorial.py and tests/test_operations.py
    unknown = []
    for program, *rest in programs(page):
        if program == "make":
            assert {word for word in rest if re.fullmatch("[a-z-]+", word)} <= TARGETS, rest
        elif program.endswith("python") and rest[:1] == ["-m"]:
            path = ROOT.joinpath(*rest[1].split("."))
            assert path.with_suffix(".py").exists() or (path / "__init__.py").exists() or rest[1] == "pytest", rest
        elif program.endswith("python") and not rest[0].startswith("-"):
            assert (ROOT / rest[0]).exists(), rest
        elif program not in {"sap2", "dvc", *NOT_RUN}:
            unknown.append(program)
    assert not unknown, "check the command here, or say in NOT_RUN why not"


def test_every_dvc_command_of_the_documents_can_be_parsed():
    from dvc.cli import parse_args

    lines = [words(["", *rest]) for page in PAGES for program, *rest in programs(page) if program == "dvc"]
    assert len(lines) > 8
    for line in lines:
        assert parse_args(line).func


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_in_documents_lead_to_existing_files(page):
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
    assert not [link for link in links if not (page.parent / link).exists()]


@pytest.mark.parametrize("text", blocks(PAPER, "yaml"), ids=["slidespeech", "librispeech"])
def test_the_papers_params_are_params(tmp_path, text):
    params = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    for profile, sections in yaml.safe_load(text).items():
        params["profiles"][profile] |= sections
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump(params, sort_keys=False), encoding="utf-8")
    result = load_params(path, "qwen2-audio-7b")
    assert result.prepare.source in ("slidespeech", "librispeech")
    assert getattr(result.prepare, result.prepare.source).root.startswith("/data/")


def test_figures_of_the_papers_page_equal_the_plans(tmp_path):
    page = PAPER.read_text(encoding="utf-8")
    rows = re.findall(r"^\| .* \| ([\d,]+)(?:, assumed)? \| (.*) \| (.*) \| ([\d.]+) \|$", page, re.MULTILINE)
    assert len(rows) == 2
    params = load_params(ROOT / "params.yaml", "qwen2-audio-7b")
    for utterances, first, second, memory in rows:
        plan = str(plan_training(params, 8, tmp_path / "none.jsonl", 312.0, int(utterances.replace(",", ""))))
        assert re.findall(r"time: (.* to .*)", plan)[:2] == [first, second]
        totals = [float(line.split()[-1]) for line in plan.splitlines() if line.lstrip().startswith("* zero2")]
        assert round(max(totals), 1) == float(memory)


def test_figures_of_the_families_page_equal_the_plans(tmp_path):
    page = (ROOT / "docs" / "families.md").read_text(encoding="utf-8")
    rows = re.findall(
        r"^\| `(qwen3-asr-.*)`, (\d) GPUs? \| ([\d,]+) \| ([\d.]+) \| (.*) \| (.*) \|$", page, re.MULTILINE
    )
    assert len(rows) == 2
    for profile, gpus, trained, memory, first, second in rows:
        params = load_params(ROOT / "params.yaml", profile)
        plan = str(plan_training(params, manifest=tmp_path / "none.jsonl", utterances=170_000))
        assert f"{trained} trainable" in plan and f"pruner: {gpus} GPUs" in plan
        assert re.findall(r"time: (.* to .*)", plan)[:2] == [first, second]
        totals = [float(line.split()[-1]) for line in plan.splitlines() if line.lstrip().startswith("* ")]
        assert round(max(totals), 1) == float(memory)
