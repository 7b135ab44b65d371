"""A page as a value: sections of facts, tables and figures, and the HTML that they become.

Knows HTML, by a template beside it; knows nothing of what is shown. The file needs no network and
loads nothing: style, script and pictures are in it, and its content security policy forbids the
rest. All text is escaped; a `Drawing` alone is taken as it is, and must come from our own figures.
A page with a `Chart` has Plotly's script in it, once.
"""

import base64
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from itertools import product

from jinja2 import Environment, FunctionLoader, StrictUndefined, Template
from markupsafe import Markup
from plotly.offline import get_plotlyjs
from pydantic import JsonValue

# Rows of a table that a browser on a phone sorts without a pause.
MOST_ROWS = 5_000
# What would end a script element, or begin a comment in it, and what JSON may write in its place.
_IN_SCRIPTS = str.maketrans({"<": r"\u003c", ">": r"\u003e", "&": r"\u0026"})


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


@dataclass(frozen=True, slots=True, eq=False)
class Chart:
    """Figures that answer to the pointer, one of which is shown: what `cisray.page.charts` makes.

    `choices` name what is chosen by, such as region and track, and `figures` has one for every
    combination, the first shown first. `pans` adds buttons that move along the horizontal axis.
    Raises ValueError for a combination without a figure.
    """

    caption: str
    figures: Mapping[tuple[str, ...], Mapping[str, JsonValue]]
    choices: Sequence[str] = ()
    pans: bool = False

    def __post_init__(self) -> None:
        """Check that no choice leads nowhere."""
        wanted = set(product(*(told for _, told in self.options)))
        if wanted != set(self.figures):
            raise ValueError(f"{self.caption}: figures for {wanted ^ set(self.figures)} do not fit")

    @property
    def options(self) -> list[tuple[str, list[str]]]:
        """What can be chosen, by the name of the choice, in order of first appearance."""
        return [
            (name, list(dict.fromkeys(key[place] for key in self.figures)))
            for place, name in enumerate(self.choices)
        ]

    @property
    def json(self) -> Markup:
        """The figures for the script of the page: pairs of what is chosen, and a figure."""
        pairs: list[JsonValue] = [[list(key), dict(one)] for key, one in self.figures.items()]
        text = json.dumps(pairs, separators=(",", ":"), allow_nan=False)
        return Markup(text.translate(_IN_SCRIPTS))


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A part of a page. `folded` parts are closed until they are asked for.

    `code` is shown as it is typed. A `problem` is told before all else.
    """

    title: str
    anchor: str
    lead: Sequence[str] = ()
    problem: str = ""
    facts: Sequence[tuple[str, str]] = ()
    code: str = ""
    charts: Sequence[Chart] = ()
    figures: Sequence[Drawing | Picture] = ()
    tables: Sequence[DataTable] = ()
    parts: Sequence["Section"] = ()
    folded: bool = False

    @property
    def has_charts(self) -> bool:
        """Tell whether a script must draw something here, or in a part."""
        return bool(self.charts) or any(part.has_charts for part in self.parts)


@dataclass(frozen=True, slots=True)
class Page:
    """A whole page: a title, what it says in short, and its sections.

    A `warning` stands before everything: the page tells of something that is not whole.
    """

    title: str
    summary: Sequence[str]
    sections: Sequence[Section]
    footer: str = ""
    warning: str = ""


def joined(title: str, pages: Sequence[Page]) -> Page:
    """Make one page of several: each is a section, whose anchors get a prefix of its own.

    Warnings say of which page they are; a footer that several have stands once.
    """
    return Page(
        title=title,
        summary=[],
        sections=[
            Section(
                title=page.title,
                anchor=f"page-{number}",
                lead=page.summary,
                parts=[_moved(section, f"page-{number}-") for section in page.sections],
            )
            for number, page in enumerate(pages, start=1)
        ],
        footer=" ".join(dict.fromkeys(page.footer for page in pages if page.footer)),
        warning=" ".join(f"{page.title}: {page.warning}" for page in pages if page.warning),
    )


def _moved(section: Section, prefix: str) -> Section:
    """Give a section with its parts other anchors, and links to them."""
    return replace(
        section,
        anchor=prefix + section.anchor,
        tables=[
            replace(table, rows=[[_linked(cell, prefix) for cell in row] for row in table.rows])
            for table in section.tables
        ],
        parts=[_moved(part, prefix) for part in section.parts],
    )


def _linked(cell: Cell, prefix: str) -> Cell:
    return replace(cell, anchor=prefix + cell.anchor) if cell.anchor else cell


def render(page: Page) -> str:
    """Give a page as one HTML file. The same page gives the same bytes."""
    has_charts = any(section.has_charts for section in page.sections)
    text = _template().render(
        page=page,
        style=_own("page.css"),
        scripts=list(_scripts(has_charts=has_charts)),
    )
    return text + "\n"


def _scripts(*, has_charts: bool) -> Iterator[Markup]:
    if has_charts:
        yield Markup(get_plotlyjs())
        yield _own("charts.js")
    yield _own("page.js")


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
