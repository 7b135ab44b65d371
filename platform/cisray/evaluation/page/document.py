"""A page as a value: sections of facts, tables and figures, and the HTML that they become.

Knows HTML, by a template beside it; knows nothing of what is shown. The file needs no network and
loads nothing: style, script and pictures are in it, and its content security policy forbids the
rest. All text is escaped; a `Drawing` alone is taken as it is, and must come from our own figures.
"""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from jinja2 import Environment, FunctionLoader, StrictUndefined, Template
from markupsafe import Markup

# Rows of a table that a browser on a phone sorts without a pause.
MOST_ROWS = 5_000


@dataclass(frozen=True, slots=True)
class Cell:
    """What stands in a table; `key` is what it is sorted by, None for a number that is not there.

    `anchor` makes it a link to a section of the page; `meaning` is shown with the pointer on it.
    """

    text: str
    key: float | str | None
    anchor: str = ""
    meaning: str = ""


@dataclass(frozen=True, slots=True)
class Column:
    """The head of a column; `numeric` ones are set right and sorted as numbers.

    `wide` ones hold sentences, and keep a width to read them in.
    """

    name: str
    numeric: bool = False
    wide: bool = False
    meaning: str = ""


@dataclass(frozen=True, slots=True)
class DataTable:
    """A table that is sorted by its heads and filtered by words; the first cell names the row."""

    caption: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]
    everything: str = ""

    @property
    def shown(self) -> Sequence[Sequence[Cell]]:
        """The rows that are on the page: all of them, unless they are too many for one."""
        return self.rows[:MOST_ROWS]

    @property
    def told(self) -> str:
        """Say what is missing, if anything: `everything` names the file that has all rows."""
        if len(self.rows) <= MOST_ROWS:
            return ""
        told = f"The first {MOST_ROWS:,} of {len(self.rows):,} rows are here."
        return f"{told} All are in {self.everything}." if self.everything else told


@dataclass(frozen=True, slots=True)
class Drawing:
    """A figure as SVG, with a caption that says what is to be seen."""

    svg: str
    caption: str

    @property
    def markup(self) -> Markup:
        """The drawing as it goes into the page."""
        return Markup(self.svg)


@dataclass(frozen=True, slots=True)
class Picture:
    """A figure as a PNG, with a caption that also stands in its place where it is not seen."""

    png: bytes
    caption: str

    @property
    def address(self) -> str:
        """The picture as a data URI."""
        return "data:image/png;base64," + base64.b64encode(self.png).decode()


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A part of a page. `folded` parts are closed until they are asked for."""

    title: str
    anchor: str
    lead: Sequence[str] = ()
    problem: str = ""
    facts: Sequence[tuple[str, str]] = ()
    figures: Sequence[Drawing | Picture] = ()
    tables: Sequence[DataTable] = ()
    parts: Sequence["Section"] = ()
    folded: bool = False


@dataclass(frozen=True, slots=True)
class Page:
    """A whole page: a title, what it says in short, and its sections."""

    title: str
    summary: Sequence[str]
    sections: Sequence[Section]
    footer: str = ""


def render(page: Page) -> str:
    """Give a page as one HTML file. The same page gives the same bytes."""
    return _template().render(page=page, style=_own("page.css"), script=_own("page.js")) + "\n"


@cache
def _template() -> Template:
    environment = Environment(
        loader=FunctionLoader(_text),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.tests["picture"] = lambda figure: isinstance(figure, Picture)
    return environment.get_template("page.html")


def _own(name: str) -> Markup:
    return Markup(_text(name))


def _text(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8")
