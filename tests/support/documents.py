"""The documents as tests see them: their blocks, links, headings, and the commands that they show.

Knows Markdown, by markdown-it, and how a shell line is written; knows no command and no page.
"""

import re
import shlex
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
SHELLS = {"", "bash", "console", "sh"}
# What ends a command within its line.
_AFTERWARDS = {"|", ">", "&&", ";", "2>"}


@dataclass(frozen=True, slots=True)
class Block:
    """A block of code: its language, the words behind it, where it begins, and its text.

    An indented block has no language. `line` counts from 1.
    """

    page: Path
    line: int
    language: str
    marks: frozenset[str]
    text: str

    @property
    def place(self) -> str:
        """Say where it stands, as file:line."""
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def pages() -> list[Path]:
    """List every document of the repository that a reader is led to."""
    return [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted(DOCS.rglob("*.md"))]


def tokens(page: Path) -> list[Token]:
    """Parse a page, with tables as code hosts have them."""
    return MarkdownIt("commonmark").enable("table").parse(page.read_text(encoding="utf-8"))


@cache
def blocks(page: Path) -> tuple[Block, ...]:
    """List the blocks of code of a page, also those within lists. It is read once a process."""
    found = []
    for token in tokens(page):
        if token.type in ("fence", "code_block"):
            language, *marks = token.info.split() or [""]
            line = (token.map or [0])[0] + 1
            found.append(Block(page, line, language, frozenset(marks), token.content))
    return tuple(found)


def links(page: Path) -> Iterator[tuple[int, str]]:
    """Give the line and the target of every link and picture of a page."""
    for token in tokens(page):
        for child in token.children or []:
            target = child.attrGet("href" if child.type == "link_open" else "src")
            if child.type in ("link_open", "image") and target is not None:
                yield (token.map or [0])[0] + 1, str(target)


def anchors(page: Path) -> set[str]:
    """List what a link into a page may name: its headings, as code hosts and MyST spell them."""
    found: set[str] = set()
    seen: Counter[str] = Counter()
    parsed = tokens(page)
    for opening, inline in pairwise(parsed):
        if opening.type == "heading_open":
            slug = slug_of(inline.children or [])
            found.add(f"{slug}-{seen[slug]}" if seen[slug] else slug)
            seen[slug] += 1
    return found


def slug_of(children: Sequence[Token]) -> str:
    """Spell a heading as the name of its anchor."""
    text = "".join(child.content for child in children).lower().strip()
    return re.sub(r"[^\w\- ]", "", text).replace(" ", "-")


def lines_of(text: str) -> Iterator[str]:
    """Give the lines of a shell, with those joined that a backslash continues."""
    yield from re.sub(r"\\\n\s*", " ", text).splitlines()


def commands(text: str) -> Iterator[list[str]]:
    """Find the commands of cisray in the text of a block, as words without the program.

    A line of an output is none: a command begins its line, perhaps behind a prompt.
    """
    for line in lines_of(text):
        found = re.match(r"\s*(?:\$ )?(?:[A-Z_]+=\S+ )*(?:\S+/)?cisray (.+)", line)
        if found is not None:
            yield up_to_the_end(shlex.split(found[1], comments=True))


def up_to_the_end(words: list[str]) -> list[str]:
    """Leave out what a command's output is led into."""
    ends = [place for place, word in enumerate(words) if word in _AFTERWARDS]
    return words[: min(ends, default=len(words))]


def find_command(group: Any, words: Sequence[str]) -> tuple[tuple[str, ...], Any, list[str]]:
    """Follow the names of a command; give them, the command, and the words that are left.

    Raises AssertionError for a name that is no command.
    """
    names: list[str] = []
    rest = list(words)
    while (known := getattr(group, "commands", None)) is not None:
        rest = without_options(group, rest)
        assert rest, f"cisray {' '.join(names)} is a group of commands"
        assert rest[0] in known, f"cisray {' '.join([*names, rest[0]])} is no command"
        names.append(rest.pop(0))
        group = known[names[-1]]
    return tuple(names), group, rest


def without_options(group: Any, words: list[str]) -> list[str]:
    """Leave out the options of a group of commands, which stand before the name of one."""
    switches = {name: one.is_flag for one in group.params for name in one.opts}
    while words and words[0] in switches:
        words = words[1:] if switches[words[0]] else words[2:]
    return words
