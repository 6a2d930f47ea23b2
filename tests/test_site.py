"""Documentation site: `make docs` builds it without broken links, and its generated pages are complete."""

import html
import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import typer
import yaml

from sap2 import cli
from sap2.params import Params

ROOT = Path(__file__).parent.parent

pytestmark = pytest.mark.slow  # builds the site


def mkdocs(*arguments: str) -> subprocess.CompletedProcess:
    if find_spec("mkdocs") is None or find_spec("material") is None or find_spec("mkdocstrings") is None:
        pytest.skip("mkdocs-material and mkdocstrings are not installed; the extras dev and docs have them")
    return subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", *arguments],
        cwd=ROOT, capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), "NO_MKDOCS_2_WARNING": "1"},
    )  # fmt: skip


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    done = mkdocs("--site-dir", str(folder))
    assert done.returncode == 0, done.stderr + done.stdout
    return folder


def text(page: Path) -> str:
    return html.unescape(re.sub(r"<[^>]+>", "", page.read_text(encoding="utf-8")))


def test_every_page_is_in_the_navigation_and_loads_nothing_from_elsewhere(site):
    pages = [path for path in site.rglob("*.html") if path.name != "404.html"]
    assert len(pages) >= 30
    for page in pages:
        loaded = re.findall(r'<(?:script|link|img)[^>]*(?:src|href)="(https?:[^"]*)"', page.read_text(encoding="utf-8"))
        assert not loaded, f"{page.name} loads {loaded}"


def test_every_parameter_is_described_with_its_default(site):
    page = text(site / "reference" / "params.html")
    for section, field in Params.model_fields.items():
        for key in getattr(field.annotation, "model_fields", {}):
            assert re.search(rf"\n{key}\n", page), f"{section}.{key}"
    assert "heads of the pooling; must divide the hidden size" in page and "≥ 1, ≤ 128" in page


def test_every_command_has_its_help(site):
    page = text(site / "reference" / "commands.html")
    for name in typer.main.get_command(cli.app).commands:
        assert f"Usage: sap2 {name}" in page


def test_the_public_functions_are_in_the_reference(site):
    pages = "".join(text(page) for page in (site / "reference").glob("*.html"))
    for name in ("load_recogniser", "score_files", "compare", "read_manifest", "RecogniserSettings", "pool_context"):
        assert name in pages


def test_a_broken_link_fails_the_build(tmp_path):
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "index.md").write_text("# Home\n\n[Gone](gone.md), [Talks](#nowhere)\n", encoding="utf-8")
    config = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    config |= {"docs_dir": str(docs), "nav": [{"Home": "index.md"}], "hooks": [], "plugins": [], "extra_css": []}
    (tmp_path / "mkdocs.yml").write_text(yaml.safe_dump(config), encoding="utf-8")
    done = mkdocs("--config-file", str(tmp_path / "mkdocs.yml"), "--site-dir", str(tmp_path / "site"))
    assert done.returncode != 0 and "gone.md" in done.stderr and "#nowhere" in done.stderr
