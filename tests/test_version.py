"""The versions of package, image, changelog and citation agree."""

import re
from pathlib import Path

import yaml

from sap2 import __version__
from sap2.params import Params

ROOT = Path(__file__).parent.parent
IMAGE = re.compile(r"sap2-asr-python(?::|, newTag: )(\d+\.\d+\.\d+)")
NAMING = ["Dockerfile", "compose.yaml", "params.yaml", "components", "deploy", "docs"]


def test_every_file_names_the_image_of_this_version():
    files = [file for name in NAMING for file in [ROOT / name, *(ROOT / name).rglob("*")] if file.is_file()]
    text = {file: file.read_text("utf-8") for file in files if file.suffix in (".yaml", ".py", ".md", "")}
    named = {str(file.relative_to(ROOT)): set(IMAGE.findall(content)) for file, content in text.items()}
    named = {file: versions for file, versions in named.items() if versions}
    assert len(named) >= 9 and set.union(*named.values()) == {__version__}, named
    assert Params().resources.image == f"sap2-asr-python:{__version__}"
    assert f"ARG VERSION={__version__}\n" in (ROOT / "Dockerfile").read_text("utf-8")


def test_the_changelog_begins_with_this_version():
    headings = re.findall(r"^## \[(.*?)\]", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE)
    assert [heading for heading in headings if heading != "Unreleased"][0] == __version__


def test_the_citation_is_of_this_version():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    assert (citation["cff-version"], citation["version"], citation["license"]) == ("1.2.0", __version__, "Apache-2.0")
    assert {"message", "title", "authors", "preferred-citation"} <= citation.keys()
