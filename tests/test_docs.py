"""What the documents tell people to type is what the command line takes, and their figures are the project's."""

import re
import shlex
from pathlib import Path

import pytest
import typer
import yaml

from sap2 import cli
from sap2.params import load_params
from sap2.training.plan import plan_training

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "SECURITY.md", *sorted((ROOT / "docs").glob("*.md"))]
PAPER = ROOT / "docs" / "reproduce-paper.md"


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


def commands(page: Path) -> list[list[str]]:
    lines = "".join(blocks(page, "sh")).replace("\\\n", " ").splitlines()
    return [shlex.split(line, comments=True) for line in lines if line.startswith("sap2 ")]


def words(found: list[str]) -> list[str]:
    """Without what the shell takes: redirections, and what comes after a `|` or `&&`."""
    for mark in ("|", "&&", ">", ">>"):
        found = found[: found.index(mark)] if mark in found else found
    return found[1:]


EVERY = [(page, command) for page in PAGES for command in commands(page)]


def test_the_documents_hold_commands():
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
def test_what_a_document_links_to_is_there(page):
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


def test_the_papers_page_says_what_the_plan_says(tmp_path):
    page = PAPER.read_text(encoding="utf-8")
    rows = re.findall(r"^\| .* \| ([\d,]+)(?:, assumed)? \| (.*) \| (.*) \| ([\d.]+) \|$", page, re.MULTILINE)
    assert len(rows) == 2
    params = load_params(ROOT / "params.yaml", "qwen2-audio-7b")
    for utterances, first, second, memory in rows:
        plan = str(plan_training(params, 8, tmp_path / "none.jsonl", 312.0, int(utterances.replace(",", ""))))
        assert re.findall(r"time: (.* to .*)", plan)[:2] == [first, second]
        totals = [float(line.split()[-1]) for line in plan.splitlines() if line.lstrip().startswith("* zero2")]
        assert round(max(totals), 1) == float(memory)
