"""How Sphinx builds the pages: `nox -s docs`. Nothing is loaded from other hosts, neither here nor by the pages."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import ccactivity

if TYPE_CHECKING:
    from docutils.nodes import Element
    from sphinx.addnodes import pending_xref
    from sphinx.application import Sphinx
    from sphinx.environment import BuildEnvironment

project = "ccactivity"
author = "The ccactivity authors"
copyright = author  # noqa: A001 -- the name that Sphinx reads
version = release = ccactivity.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "cyclopts.sphinx_ext"]
exclude_patterns = ["_build", "examples"]
html_theme = "furo"
html_title = "ccactivity"
html_extra_path = ["llms.txt"]
html_show_sphinx = False
html_copy_source = False

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
default_role = "code"  # as docstrings write names
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_default_options = {"show-inheritance": True}
autodoc_preserve_defaults = True
python_maximum_signature_line_length = 100

# References to what other projects document are not checked: there is no network in a build.
nitpick_ignore_regex = [
    (r"py:.*", r"(?!ccactivity\b).*"),
    (r"py:class", r"ccactivity\.(testing\.T|membership\.Fleet|imports\.linemap\.SentRow)"),
]

_PARAMETER: Final = re.compile(r"`\w+`(?:, `\w+`)*: ")


def _mark_up(_app: Sphinx, _what: str, _name: str, _of: object, _options: object, lines: list[str]) -> None:
    """Show each "`name`: meaning" of a docstring as an item of a list, and an indented paragraph as code.

    A paragraph of names begins with one, and each further name begins a sentence.
    """
    paragraphs = "\n".join(lines).split("\n\n")
    in_code = False
    for index, paragraph in enumerate(paragraphs):
        indented = paragraph.startswith("    ")
        if indented and not in_code:
            paragraphs[index] = f".. code-block:: python\n\n{paragraph}"
        in_code = indented
        if _PARAMETER.match(paragraph):
            text = " ".join(paragraph.split())
            items = re.split(rf"(?<=[.;]) (?={_PARAMETER.pattern})", text)
            paragraphs[index] = "\n".join(f"- {item}" for item in items)
    lines[:] = "\n\n".join(paragraphs).split("\n")


def _find_public(_app: Sphinx, env: BuildEnvironment, node: pending_xref, text: Element) -> Element | None:
    """Lead a reference to where a class is defined (`ccactivity.models.Activity`) to where users import it from."""
    *_, name = node.get("reftarget", "").split(".")
    if name not in ccactivity.__all__:
        return None
    domain = env.get_domain("py")
    return domain.resolve_xref(env, node["refdoc"], env.app.builder, "obj", f"ccactivity.{name}", node, text)


def setup(app: Sphinx) -> None:
    """Have Sphinx call us for each docstring, and each reference that it cannot resolve."""
    app.connect("autodoc-process-docstring", _mark_up)
    app.connect("missing-reference", _find_public)
