"""The README and the pages of docs/: their snippets and their commands."""

import pathlib
import re
import textwrap
from typing import NamedTuple

ROOT = pathlib.Path(__file__).parent.parent
README = ROOT / "README.md"
PAGES = [README, *sorted((ROOT / "docs").glob("*.md"))]
SHELL = ("shell", "bash")
# A fence, at any depth of a list; or a comment, which readers do not see.
_BLOCK = re.compile(
    r"^(?P<indent> *)```(?P<language>\w+)\n(?P<code>.*?)^(?P=indent)```$"
    r"|^ *<!-- (?P<comment>.*?)\s*-->$",
    re.M | re.S,
)


class Snippet(NamedTuple):
    """A piece of code of a page.

    Attributes:
        language: str, of the fence; "python" for what prepares a snippet.
        code: str.
        line: int, where it stands.
        not_run: str, why it cannot be run; empty where it can.
    """

    language: str
    code: str
    line: int
    not_run: str


def snippets(page, *languages):
    """The snippets of a page in some languages, in order, a list of `Snippet`.

    A comment that begins with `python` is code that prepares the following snippet. One
    that begins with `not run:` says why the next snippet cannot be run.
    """
    text, found, not_run = page.read_text(), [], ""
    for match in _BLOCK.finditer(text):
        line = text.count("\n", 0, match.start()) + 2
        comment = match["comment"] or ""
        if match["language"]:
            code = textwrap.dedent(match["code"])
            found.append(Snippet(match["language"], code, line, not_run))
            not_run = ""
        elif comment.startswith("python\n"):
            found.append(Snippet("python", comment.partition("\n")[2], line, ""))
        elif comment.startswith("not run: "):
            not_run = comment.partition(": ")[2]
    return [snippet for snippet in found if snippet.language in languages]


def commands(page):
    """The lines of a page's shell snippets, continued ones joined, as `Snippet`."""
    for snippet in snippets(page, *SHELL):
        for line in snippet.code.replace("\\\n", " ").splitlines():
            yield snippet._replace(code=line.strip())


def script_of(command):
    """The script that a command line runs, such as "scripts/train.py", or `None`."""
    match = re.match(
        r"(?:\.venv/bin/)?python (scripts/[\w/]+\.py)(?: |$)", command
    ) or re.match(r"(scripts/[\w/]+\.py)(?: |$)", command)
    return match[1] if match else None
