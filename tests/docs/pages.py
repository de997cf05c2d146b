"""The documentation taken apart: its blocks of code, its commands, and what its prose points at."""

import itertools
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = ["README.md", *(f"docs/{path.name}" for path in sorted((ROOT / "docs").glob("*.md")))]

FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.M | re.S)
COMMENT = re.compile(r"(^|\s\s+)#.*$")
OPTIONAL = re.compile(r"\s\[([^]]+)\]")
LINK = re.compile(r"(?<!!)\[[^]]*\]\(([^)\s]+)\)")
IMAGE = re.compile(r"!\[[^]]*\]\(([^)\s]+)\)|<img [^>]*src=\"([^\"]+)\"")
CODE = re.compile(r"(?<!`)`([^`]+)`(?!`)")


@dataclass(frozen=True)
class Step:
    """Something that a reader of a page does: a command line, or a block of Python."""

    page: str
    line: int
    language: str
    text: str

    def __str__(self):
        first = self.text.partition("\n")[0] if self.language == "console" else f"python, line {self.line}"
        return f"{self.page}: {first}"

    def variants(self):
        """Return a command with its [optional parts] left away and given, in all combinations."""
        parts = OPTIONAL.split(self.text)
        given = itertools.product(*(("", f" {part}") for part in parts[1::2]))
        return ["".join([*itertools.chain(*zip(parts[::2], choice, strict=False)), parts[-1]]) for choice in given]


@lru_cache
def text_of(page):
    """Return a page as it is written."""
    return (ROOT / page).read_text(encoding="utf-8")


def prose_of(page):
    """Return a page without its blocks of code."""
    return FENCE.sub("", text_of(page))


def blocks(page, *languages):
    """Return (first line, language, text) of a page's blocks of code, of some languages or of all."""
    text = text_of(page)
    found = [(text[: match.start(2)].count("\n") + 1, *match.groups()) for match in FENCE.finditer(text)]
    return [block for block in found if not languages or block[1] in languages]


def steps(page):
    """Return what a page's reader does, from top to bottom."""
    found = []
    for line, language, text in blocks(page, "console", "python"):
        if language == "python":
            found.append(Step(page, line, language, text))
            continue
        for number, written in enumerate(text.splitlines(), line):
            if command := COMMENT.sub("", written).strip():
                found.append(Step(page, number, language, command))
    return found


def anchors(page):
    """Return the anchors of a page's headings, as GitHub makes them."""
    found, seen = set(), {}
    for heading in re.findall(r"^#+ +(.*?) *#*$", prose_of(page), re.M):
        words = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading)
        anchor = re.sub(r"[^\w\- ]", "", words.lower()).replace(" ", "-")
        found.add(f"{anchor}-{seen[anchor]}" if anchor in seen else anchor)
        seen[anchor] = seen.get(anchor, 0) + 1
    return found


def code_of(page):
    """Return what stands between backticks in a page's prose."""
    return [" ".join(code.split()) for code in CODE.findall(prose_of(page))]


def grid_of(page):
    """Return the text of a page's one block of YAML."""
    ((_, _, text),) = blocks(page, "yaml")
    return text


def changed(text, changes):
    """Return a text with replacements, each of which must find its place: a page that changes is seen."""
    for old, new in changes.items():
        assert old in text, f"{old!r} is not on the page any more"
        text = text.replace(old, new)
    return text


def each(found, slow=()):
    """Return steps as parameters of a test, those that hold one of some words marked as slow."""
    return [
        pytest.param(step, id=str(step), marks=[pytest.mark.slow] if any(word in step.text for word in slow) else [])
        for step in found
    ]
