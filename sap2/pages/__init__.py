"""What our HTML pages share: the look, and how text and scripts come into a page without doing harm there.

The evaluation's report, the page of `sap2 talk` and the demo are made with it. Knows no other room.
"""

import base64
import hashlib
import json
from importlib.resources import files
from typing import Any

__all__ = ["filled", "json_in_html", "look", "page_file"]


def look() -> str:
    """The CSS of all pages: type, spacing, cards, controls, and the colours of both schemes."""
    return page_file("sap2.pages", "look.css")


def page_file(package: str, name: str) -> str:
    """A text file that is part of a package."""
    return files(package).joinpath(name).read_text(encoding="utf-8")


def filled(package: str, template: str, style: str, script: str, data: Any, **values: Any) -> str:
    """A self-contained page: the template with everything that it needs in it. Every value is escaped.

    The template gets `style`, `script`, its hash for the page's Content Security Policy (`script_hash`), and `data`.

    Args:
        package, template: A Jinja file, and the package that it lies in.
        style: CSS beside that of `look`.
        data: For the script; becomes JSON that no text in it can end.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined  # only a page needs it
    from markupsafe import Markup

    environment = Environment(
        loader=PackageLoader(package, "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    html = environment.get_template(template).render(
        style=Markup(look() + style),
        script=Markup(script),
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        data=Markup(json_in_html(data)),
        **values,
    )
    # JSON can carry half a surrogate pair, which no file of UTF-8 can.
    return html.encode("utf-8", "replace").decode("utf-8")


def json_in_html(value: Any) -> str:
    """JSON that no text in it can end, or turn into markup, inside a `<script>` element.

    >>> print(json_in_html(["</script>", "a & b"]))
    ["\\u003c/script\\u003e","a \\u0026 b"]
    """
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")
