"""Reading pages of reports: the figures that are in them, and the words of their tables.

Knows HTML; knows nothing of runs.
"""

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

Figures = dict[tuple[str, ...], dict[str, Any]]
_JSON = re.compile(r'<script type="application/json">(.*?)</script>', re.DOTALL)


class ReportPage(HTMLParser):
    """Figures in order; tables as rows of words (the head first) under their captions; facts.

    `keys` are what cells are sorted by, of cells that are numbers.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.text = path.read_text(encoding="utf-8")
        self.charts: list[Figures] = [
            {tuple(key): figure for key, figure in json.loads(told)}
            for told in _JSON.findall(self.text)
        ]
        self.words: dict[str, list[str]] = {}
        self.tables: dict[str, list[list[str]]] = {}
        self.keys: dict[str, list[list[float | None]]] = {}
        self._in: list[str] = []
        self._key: str | None = None
        self._caption = ""
        self.feed(self.text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.words.setdefault(tag, []).append("")
        self._in.append(tag)
        self._key = dict(attrs).get("data-key")
        if tag == "tr":
            self.tables[self._caption].append([])
            self.keys[self._caption].append([])

    def handle_data(self, data: str) -> None:
        if self._in:
            self.words[self._in[-1]][-1] += data

    def handle_endtag(self, tag: str) -> None:
        while self._in.pop() != tag:
            pass  # elements without an end, such as <meta>
        told = " ".join(self.words[tag][-1].split())
        self.words[tag][-1] = told
        if tag == "span":
            self._caption = told
            self.tables[told], self.keys[told] = [], []
        elif tag in ("td", "th"):
            self.tables[self._caption][-1].append(told)
            self.keys[self._caption][-1].append(float(self._key) if self._key else None)

    def table(self, words: str) -> tuple[list[list[str]], list[list[float | None]]]:
        """The rows below the head of the only table with these words in its caption, and keys."""
        (name,) = [name for name in self.tables if words in name]
        return self.tables[name][1:], self.keys[name][1:]

    @property
    def facts(self) -> dict[str, str]:
        """What is told by name; the first of a name counts."""
        told: dict[str, str] = {}
        for name, value in zip(self.words["dt"], self.words["dd"], strict=True):
            told.setdefault(name, value)
        return told
