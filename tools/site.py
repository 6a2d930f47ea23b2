"""Pages of the documentation site that lie outside docs/ or are generated, and links between all of them.

mkdocs runs the `on_…` functions. A page's links are those of its file in the repository, as a forge shows it: here they
are checked against the repository, and then lead to the page of that file on the site, to the source where mkdocs.yml
names a repository, or become plain text.
"""

import ast
import inspect
import io
import json
import posixpath
import re
import textwrap
import tokenize
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import griffe
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parent.parent
PAGES = {  # file of the repository: page
    "CHANGELOG.md": "changelog.md",
    "CODE_OF_CONDUCT.md": "code-of-conduct.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
    "sap2/assets/base/README.md": "base.md",
    **{f"benchmarks/{path.name}/README.md": f"measurements/{path.name}.md" for path in (ROOT / "benchmarks").iterdir()},
}
PICTURES = [str(path.relative_to(ROOT)) for path in (ROOT / "benchmarks").glob("*/*.png")]
LINK = re.compile(r"(?P<mark>!?)\[(?P<label>(?:[^\[\]]|\[[^\]]*\])*)\]\((?P<target>[^()\s]+)\)")
BOUNDS = {"ge": "≥ {}", "gt": "> {}", "le": "≤ {}", "lt": "< {}", "min_length": "at least {} long"}


class Doctests(griffe.Extension):
    """Show the examples of docstrings as code; Markdown would quote the lines that begin with >>>."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Put a fence around every example of an object's docstring."""
        if obj.docstring is not None:
            example = r"^>>> .*(?:\n.+)*"
            obj.docstring.value = re.sub(example, r"```python\n\g<0>\n```", obj.docstring.value, flags=re.MULTILINE)


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Add the pages outside docs/ and their pictures."""
    for source, page in PAGES.items():
        if (ROOT / source).is_file():
            files.append(File.generated(config, page, content=(ROOT / source).read_text(encoding="utf-8")))
    for picture in PICTURES:
        files.append(File.generated(config, f"images/{picture}", abs_src_path=str(ROOT / picture)))
    return files


def on_page_markdown(markdown: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Fill in what is generated, and lead links to other pages of the site; code blocks stay as they are."""
    uri = page.file.src_uri
    source = next((name for name, at in PAGES.items() if at == uri), f"docs/{uri}")
    for mark, content in GENERATED.items():
        markdown = re.sub(rf"<!-- {mark}: .*? -->", lambda _, make=content: make(), markdown)
    blocks = re.split(r"(^```.*?^```$)", markdown, flags=re.DOTALL | re.MULTILINE)
    repository = config.extra.get("repository", "")
    return "".join(
        block if block.startswith("```") else LINK.sub(lambda link: _led(link, source, uri, repository), block)
        for block in blocks
    )


def _led(link: re.Match[str], source: str, uri: str, repository: str) -> str:
    target, hash_, anchor = link["target"].partition("#")
    if not target or re.match(r"[a-z]+:", target):
        return link.group()
    wanted = (ROOT / source).parent.joinpath(target).resolve()
    if not wanted.exists() or not wanted.is_relative_to(ROOT):
        raise PluginError(f"{source}: links to {link['target']}, which is not in the repository")
    path = wanted.relative_to(ROOT).as_posix()
    page = PAGES.get(path) or (path.removeprefix("docs/") if path.startswith("docs/") else None)
    if path in PICTURES:
        page = f"images/{path}"
    if page is not None and wanted.is_file():
        relative = posixpath.relpath(page, posixpath.dirname(uri) or ".")
        return f"{link['mark']}[{link['label']}]({relative}{hash_}{anchor})"
    if link["mark"]:
        raise PluginError(f"{source}: shows {link['target']}, which is not a picture of the site")
    return f"[{link['label']}]({repository}/blob/main/{path})" if repository else link["label"]


def commands() -> str:
    """Every command's help, as `sap2 COMMAND --help` prints it."""
    import typer

    from sap2 import cli

    def sections(command: Any, name: str) -> Iterator[str]:
        context = command.make_context(name, [], resilient_parsing=True, terminal_width=100)
        yield f"## {name}\n\n```text\n{command.get_help(context).rstrip()}\n```\n"
        for word, inner in getattr(command, "commands", {}).items():
            if not inner.hidden:
                yield from sections(inner, f"{name} {word}")

    return "\n".join(sections(typer.main.get_command(cli.app), "sap2"))


def parameters() -> str:
    """Every key of params.yaml with type, default, bounds and meaning, from sap2/params.py."""
    from sap2.params import Params

    parts = []
    for name, field in Params.model_fields.items():
        section = field.annotation
        if isinstance(section, type) and hasattr(section, "model_fields"):
            default = Params.model_fields[name].get_default(call_default_factory=True)
            parts.append(f"## {name}\n\n{inspect.getdoc(section)}\n\n{_table(section, default)}")
    return "\n".join(parts)


GENERATED = {"commands": commands, "params": parameters}  # by the mark in a page


def _table(section: Any, values: Any) -> str:
    rows = ["| key | default | type and bounds | meaning |", "| --- | --- | --- | --- |"]
    described = {name: row for kind in reversed(section.__mro__) for name, row in _described(kind).items()}
    for name in section.model_fields:
        kind, bounds, meaning = described.get(name, ("", "", ""))
        value = getattr(values, name)
        shown = json.dumps(value.model_dump(mode="json") if hasattr(value, "model_dump") else value, default=str)
        cells = (f"`{name}`", f"`{shown}`", f"`{kind}`{', ' + bounds if bounds else ''}", meaning)
        rows.append(f"| {' | '.join(cell.replace('|', '&#124;') for cell in cells)} |")
    return "\n".join(rows) + "\n"


def _described(kind: type) -> dict[str, tuple[str, str, str]]:
    """A class's own fields: type, bounds, and the comments above and beside them."""
    if not kind.__module__.startswith("sap2."):
        return {}
    text = textwrap.dedent(inspect.getsource(kind))
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    comments = {token.start[0]: token.string.lstrip("# ") for token in tokens if token.type == tokenize.COMMENT}
    beside = {line for line, part in enumerate(text.splitlines(), 1) if not part.lstrip().startswith("#")}
    [definition] = ast.parse(text).body
    assert isinstance(definition, ast.ClassDef)
    found = {}
    for node in definition.body:
        if not isinstance(node, ast.AnnAssign) or not isinstance(node.target, ast.Name):
            continue
        above, line = [], node.lineno - 1
        while line in comments and line not in beside:
            above.insert(0, comments[line])
            line -= 1
        own = [comments[at] for at in range(node.lineno, (node.end_lineno or node.lineno) + 1) if at in comments]
        options = node.value.keywords if isinstance(node.value, ast.Call) else []
        bounds = [BOUNDS[one.arg].format(ast.unparse(one.value)) for one in options if one.arg in BOUNDS]
        meaning = " ".join([*above, *own])
        found[node.target.id] = (_kind(node.annotation), ", ".join(bounds), meaning)
    return found


def _kind(annotation: ast.expr) -> str:
    """A type for people: choices by name, `or` between alternatives."""
    text = ast.unparse(annotation).strip("'")
    text = re.sub(r"Literal\[([^\]]*)\]", lambda choices: choices[1].replace("'", "").replace(", ", " or "), text)
    return text.replace(" | ", " or ").replace("None", "null")
