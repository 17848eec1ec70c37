"""What Markdown pages say that can be checked: links, headings, code spans, commands in code blocks."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

TOP = Path(__file__).parents[2]
#: Every document that people read.
DOCUMENTS = sorted(
    path
    for pattern in ("README.md", "docs/*.md", "deploy/**/README.md", ".github/*.md")
    for path in TOP.glob(pattern)
)
#: Where a command begins: a line, a substitution, or behind another program that runs it.
_BEFORE = r"(?:^|&& |\$\(|\buv run |\bexec api )"
_FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^\1```", flags=re.DOTALL | re.MULTILINE)


def without_code(text: str) -> str:
    """The text without its code blocks and code spans."""
    return re.sub(r"`[^`\n]*`", "", _FENCE.sub("", text))


def blocks(text: str) -> list[str]:
    """What stands in the code blocks, without their indentation."""
    return [re.sub(rf"(?m)^{match[1]}", "", match[3]) for match in _FENCE.finditer(text)]


def spans(text: str) -> list[str]:
    """What stands in the code spans."""
    return re.findall(r"`([^`\n]+)`", _FENCE.sub("", text))


def links(text: str) -> list[str]:
    """The targets of links and pictures."""
    return re.findall(r"\]\(([^)\s]+)\)", without_code(text))


def anchors(text: str) -> set[str]:
    """The anchors of the headings, as GitHub and the site make them."""
    headings = re.findall(r"(?m)^#+ (.+)$", _FENCE.sub("", text))
    plain = (re.sub(r"[`*\[\]]", "", heading).strip().lower() for heading in headings)
    return {re.sub(r"[^\w\- ]", "", heading).replace(" ", "-") for heading in plain}


def commands(text: str, program: str) -> list[list[str]]:
    """The words after ``program`` wherever a line of a code block, or a code span, runs it."""
    lines = [line for block in blocks(text) for line in block.replace("\\\n", " ").splitlines()] + spans(text)
    found = []
    for line in lines:
        command = line.partition("  #")[0].partition(" | ")[0]
        runs = re.finditer(rf"{_BEFORE}{program}((?: [^ &|)]+)*)(?= *(?:$|&&|\||\)))", command)
        found += [shlex.split(run[1].replace('"', "").replace("'", "")) for run in runs]
    return found
