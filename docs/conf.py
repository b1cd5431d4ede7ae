"""How Sphinx makes the pages of this folder, and the API reference, into a site."""

import inspect
import os
import pathlib
import re
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
# So that the reference is of the code beside these pages, whatever is installed.
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from keras_perceiver.version import __version__

project = "keras-perceiver"
copyright = "the authors of keras-perceiver, Apache License 2.0"
version = release = __version__
exclude_patterns = ["_build"]

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.mathjax",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
]
html_theme = "furo"
html_title = "keras-perceiver"

# === Pages ===

myst_enable_extensions = ["dollarmath", "amsmath"]
myst_heading_anchors = 3

# === Reference ===

# Docstrings are Markdown, as in Keras: what stands in single backticks is code.
default_role = "code"
# What is public says so itself; what Keras says of its own methods is in its pages.
autodoc_inherit_docstrings = False
autodoc_member_order = "bysource"
autodoc_typehints = "none"
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_attr_annotations = False
napoleon_use_rtype = False
napoleon_custom_sections = [("Call arguments", "params_style")]


def setup(app):
    # Before napoleon, which has 500.
    app.connect("autodoc-process-docstring", _as_restructured_text, priority=400)
    app.connect("autodoc-process-signature", _own_signature)
    app.connect("autodoc-skip-member", _skips)


def _own_signature(app, what, name, obj, options, signature, returns):
    """That of the constructor: Keras gives all layers a `__new__` that takes all."""
    if what != "class" or not inspect.isfunction(obj.__init__):
        return None
    first, *others = inspect.signature(obj.__init__).parameters.values()
    return str(inspect.Signature(others)), returns


def _skips(app, what, name, obj, skip, options):
    """Fields of named tuples, which the class itself explains."""
    is_field = (inspect.getdoc(obj) or "").startswith("Alias for field number")
    return True if is_field else None


def _as_restructured_text(app, what, name, obj, options, lines):
    """Docstrings as Sphinx reads them: links, lists of references, code, tables."""
    text = "\n".join(lines)
    text = re.sub(r"\[([^\[\]]+)\]\((https?:[^)]+)\)", r"`\1 <\2>`__", text)
    text = re.sub(r"^References:$", ".. rubric:: References\n", text, flags=re.M)
    text = re.sub(r"^```(\w+)\n(.*?)^```$", _code, text, flags=re.M | re.S)
    text = re.sub(r"(?:^\|.*\|\n?)+", _table, text, flags=re.M)
    prose = re.split(r"^(?=[A-Z][a-z ]*:$)", text, maxsplit=1, flags=re.M)
    # A block that is set in is code. In sections it is what a name means.
    prose[0] = re.sub(
        r"(?<=\n\n)((?: {4}.*\n|\n)* {4}.*)(?=\n|\Z)",
        lambda match: f"::\n\n{match[1]}" if _begins_code(match) else match[1],
        prose[0],
    )
    lines[:] = "".join(prose).split("\n")


def _begins_code(match):
    before = match.string[: match.start()].rstrip().rpartition("\n")[2]
    return not before.lstrip().startswith((":", ".. "))


def _code(match):
    body = "\n".join(f"    {line}".rstrip() for line in match[2].splitlines())
    return f".. code-block:: {match[1]}\n\n{body}\n"


def _table(match):
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in match[0].splitlines()
    ]
    found = [".. list-table::", "    :header-rows: 1", ""]
    for row in [rows[0], *rows[2:]]:
        found += [f"    {'* -' if i == 0 else '  -'} {c}" for i, c in enumerate(row)]
    return "\n".join([*found, "", ""])
