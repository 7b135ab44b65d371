"""What of an evaluation people are shown: its means, every number, figures, and what it is made of.

Knows `metrics.parquet`, `evaluation.json` and their words, as values; knows no files, and of the
evaluations only what all of them write. New ones are shown without a line here.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from cisray.evaluation.page.interval_plot import IntervalPlot, Point, draw
from cisray.page.document import (
    Cell,
    Column,
    DataTable,
    Drawing,
    Picture,
    Section,
)

# Tasks that stand for all others: their numbers are means, or of all rows at once.
_OVER_ALL = "all "
MOST_ROWS_DRAWN = 60
MOST_SERIES_DRAWN = 14
_HEADLINE = 24
_NUMBER = re.compile(r"(\d+(?:\.\d+)?)")
_COLUMNS = (
    Column("task", meaning="what was evaluated: a tissue, an element, a track"),
    Column("scores", meaning="name of the model or of the external score"),
    Column("metric"),
    Column("value", numeric=True),
    Column("95 % interval", numeric=True, meaning="sorted by its width"),
    Column("n", numeric=True, meaning="rows that the number is of"),
    Column("positives", numeric=True),
    Column("stratum", meaning="part of the task's rows that count"),
    Column("folds", meaning="how rows were cross-validated"),
    Column("control", meaning="what was broken on purpose"),
    Column("interval by"),
    Column("note", wide=True, meaning="why a number or an interval is not there"),
)


@dataclass(frozen=True, slots=True, eq=False)
class Shown:
    """One evaluation as it is read from its folder; `problem` says why it has none.

    `metrics` are rows of `cisray_schemas.METRICS`, none where the evaluation has no such table.
    """

    name: str
    anchor: str
    kind: str
    metrics: pl.DataFrame
    record: Mapping[str, Any]
    pictures: Sequence[tuple[str, bytes]] = ()
    state: str = ""
    problem: str = ""

    @property
    def headline(self) -> pl.DataFrame:
        """The numbers over all tasks; without such, those of all rows of each task."""
        plain = self.metrics.filter(stratum="all", control="")
        over = plain.filter(pl.col("task").str.starts_with(_OVER_ALL))
        return over if over.height else plain


def section_of(shown: Shown) -> Section:
    """Lay an evaluation out as a section of a page."""
    if shown.problem:
        return Section(title=shown.name, anchor=shown.anchor, problem=shown.problem)
    drawings, dense = _figures(shown)
    lead = [f"An evaluation of the kind {shown.kind}. {rows_told(shown.record)}"]
    if dense:
        lead.append(f"Not drawn, as its rows or scores are too many to read: {', '.join(dense)}.")
    return Section(
        title=shown.name,
        anchor=shown.anchor,
        lead=lead,
        figures=drawings[:1],
        tables=[_headline(shown)] if shown.metrics.height else [],
        parts=list(_parts(shown, drawings[1:])),
    )


def overview_of(every: Sequence[Shown]) -> DataTable:
    """List the evaluations, with the strongest words that can be said of each in one line."""
    columns = (
        Column("evaluation"),
        Column("kind"),
        Column("state"),
        Column("rows used", numeric=True),
        Column("of", numeric=True, meaning="rows that were read"),
        Column("numbers", numeric=True),
        Column("in short", wide=True),
    )
    rows = []
    for one in every:
        counts = one.record.get("rows", {})
        read, used = (counts.get(name) for name in ("read", "used"))
        cells = [Cell(one.name, one.name, anchor=one.anchor), Cell(one.kind, one.kind)]
        cells += [Cell(one.state, one.state), _count(used), _count(read)]
        cells += [_count(one.metrics.height), Cell(_in_short(one), "")]
        rows.append(cells)
    return DataTable("The evaluations. A name leads to its numbers.", columns, rows)


def rows_told(record: Mapping[str, Any]) -> str:
    """Say what became of the rows that were read, reasons and all."""
    rows = record.get("rows", {})
    read, used = rows.get("read"), rows.get("used")
    if not isinstance(read, int) or not isinstance(used, int):
        return ""
    left = rows.get("left out")
    reasons = [f"{n:,} {reason}" for reason, n in left.items()] if isinstance(left, dict) else []
    told = f"Of {read:,} rows read, {used:,} are used"
    return f"{told}; left out: {', '.join(reasons)}." if reasons else f"{told}."


def _in_short(one: Shown) -> str:
    if one.problem:
        return one.problem
    told = [
        f"{_of(row)}: {row['metric']} {_number(row['value'])}"
        for row in one.headline.filter(pl.col("value").is_not_null()).iter_rows(named=True)
        if row["metric"] == _first_metric(one)
    ]
    more = f", and {len(told) - 4} more" if len(told) > 4 else ""
    return ", ".join(told[:4]) + more


def _of(row: Mapping[str, Any]) -> str:
    """Name what a number is of: its scores, their folds, and its task if it does not mean all."""
    task = "" if row["task"].startswith(_OVER_ALL) else row["task"]
    return " ".join(word for word in (task, row["scores"], row["folds"]) if word)


def _first_metric(one: Shown) -> str:
    names = one.headline["metric"].unique(maintain_order=True).to_list()
    read_first = ("auprc", "auroc", "mean_pearson_r", "gene_pearson_r", "z")
    known = [name for name in read_first if name in names]
    # Of areas alone the one over thresholds is read first; of pairs, of which few count, precision.
    if one.kind != "enhancers" and "auroc" in names:
        return "auroc"
    return str(known[0] if known else names[0])


def _headline(shown: Shown) -> DataTable:
    table = shown.headline
    told = "Numbers over all rows."
    if table.height > _HEADLINE:
        table, told = table.head(_HEADLINE), f"The first {_HEADLINE} of {table.height:,} numbers."
    return _table(table, f"{shown.name}: {told}", skip=("stratum", "control"))


def _parts(shown: Shown, drawings: Sequence[Drawing]) -> Iterator[Section]:
    if shown.metrics.height:
        told = f"{shown.name}: every number, with its interval of 95 %."
        everything = _table(shown.metrics, told, everything=f"metrics.parquet of {shown.name}")
        yield Section(
            title=f"All {shown.metrics.height:,} numbers",
            anchor=f"{shown.anchor}-numbers",
            tables=[everything],
            folded=True,
        )
    pictures = [
        Picture(png, f"{name} of {shown.name}; its numbers are in the table above.")
        for name, png in shown.pictures
    ]
    if drawings or pictures:
        yield Section(
            title="More figures",
            anchor=f"{shown.anchor}-figures",
            figures=[*drawings, *pictures],
            folded=True,
        )
    yield Section(
        title="What it is made of",
        anchor=f"{shown.anchor}-provenance",
        parts=list(_provenance(shown)),
        folded=True,
    )


def _provenance(shown: Shown) -> Iterator[Section]:
    record, anchor = shown.record, shown.anchor
    inputs = record.get("inputs", {})
    rows = [
        [Cell(name, name), Cell(place, place), Cell(digest, digest)]
        for name, facts in inputs.items()
        for place, digest in [_place(facts)]
    ]
    columns = (Column("input"), Column("path, as it was given"), Column("SHA-256"))
    files = DataTable(f"{shown.name}: inputs, by the digest of their bytes.", columns, rows)
    yield Section(title="Inputs", anchor=f"{anchor}-inputs", tables=[files] if rows else [])
    for title, key in (
        ("Settings", "settings"),
        ("Recalled, not published", "recalled"),
        ("Rows", "rows"),
        ("Versions", "versions"),
    ):
        told = record.get(key)
        if isinstance(told, dict) and told:
            facts = [(name, _value(value)) for name, value in told.items()]
            yield Section(title=title, anchor=f"{anchor}-{key}", facts=facts)
    stamps = [(name, str(record[name])) for name in ("created", "digest") if name in record]
    yield Section(title="Record", anchor=f"{anchor}-record", facts=stamps)


def _place(facts: object) -> tuple[str, str]:
    if not isinstance(facts, dict):
        return "", str(facts)
    return str(facts.get("path", "")), str(facts.get("sha256", ""))


def _value(value: object) -> str:
    if isinstance(value, str):
        return value or "(empty)"
    return json.dumps(value, ensure_ascii=False)


def _table(
    frame: pl.DataFrame, caption: str, *, skip: Sequence[str] = (), everything: str = ""
) -> DataTable:
    # Columns that say nothing take room on a phone.
    empty = {"folds": "folds", "control": "control", "note": "reason"}
    skipped = {*skip, *(name for name, column in empty.items() if not any(frame[column]))}
    if frame["n_positive"].null_count() == frame.height:
        skipped.add("positives")
    columns = [column for column in _COLUMNS if column.name not in skipped]
    rows = []
    for row in sorted(frame.iter_rows(named=True), key=_place_in_table):
        cells = _cells(row)
        rows.append([cells[column.name] for column in columns])
    return DataTable(caption, columns, rows, everything)


def _place_in_table(row: Mapping[str, Any]) -> tuple[Any, ...]:
    """Order rows as people do: what is over all first, then by task and stratum."""
    over = not row["task"].startswith(_OVER_ALL)
    whole = row["stratum"] != "all"
    return (row["control"], over, natural(row["task"]), whole, natural(row["stratum"]))


def natural(text: str) -> list[tuple[int, float, str]]:
    """Give what sorts a text by the numbers in it.

    >>> sorted(["131 kb and more", "12.5-34.5 kb", "3-12.5 kb"], key=natural)
    ['3-12.5 kb', '12.5-34.5 kb', '131 kb and more']
    """
    parts = _NUMBER.split(text.replace(",", ""))
    # Numbers and words take turns, beginning with words.
    return [
        (1, float(part), "") if place % 2 else (0, 0.0, part) for place, part in enumerate(parts)
    ]


def _cells(row: Mapping[str, Any]) -> dict[str, Cell]:
    low, high = row["ci_low"], row["ci_high"]
    there = low is not None and high is not None
    words = {
        name: Cell(row[column], row[column])
        for name, column in (
            ("task", "task"), ("scores", "scores"), ("metric", "metric"), ("stratum", "stratum"),
            ("folds", "folds"), ("control", "control"), ("interval by", "ci_method"),
            ("note", "reason"),
        )
    }  # fmt: skip
    return words | {
        "value": Cell(_number(row["value"]), row["value"], meaning=_exact(row["value"])),
        "95 % interval": Cell(_interval(low, high), high - low if there else None),
        "n": _count(row["n"]),
        "positives": _count(row["n_positive"]),
    }


def _number(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.3f}"


def _exact(value: float | None) -> str:
    return "" if value is None else repr(value)


def _interval(low: float | None, high: float | None) -> str:
    return "" if low is None or high is None else f"{low:.3f} to {high:.3f}"


def _count(value: object) -> Cell:
    return Cell(f"{value:,}", value) if isinstance(value, int) else Cell("", None)


def _figures(shown: Shown) -> tuple[list[Drawing], list[str]]:
    """Draw every metric of all rows by task, or of a single task by its strata.

    The first is the one that is told in short, if it is drawn. What would be too dense to read is
    left to the tables, and named.
    """
    rows, by = _drawn_rows(shown)
    drawings: list[Drawing] = []
    dense: list[str] = []
    names = rows["metric"].unique(maintain_order=True).to_list()
    for metric in sorted(names, key=lambda name: name != _first_metric(shown)):
        of_metric = sorted(
            rows.filter(metric=metric).iter_rows(named=True), key=lambda row: natural(row[by])
        )
        plot = IntervalPlot(
            f"{metric} by {by} of {shown.name}",
            f"{metric}, with its interval of 95 %",
            [_point(row, by) for row in of_metric],
            _chance(metric),
        )
        if len(plot.rows) > MOST_ROWS_DRAWN or len(plot.series) > MOST_SERIES_DRAWN:
            dense.append(metric)
            continue
        chance = "" if plot.chance is None else f" The dashed line is chance, {plot.chance:g}."
        caption = f"{shown.name}: {metric} by {by}, each point with its interval of 95 %.{chance}"
        drawing = draw(plot, f"{shown.anchor}-{len(drawings)}")
        drawings.append(Drawing(drawing, f"{caption} The numbers are in the tables."))
    return drawings, dense


def _drawn_rows(shown: Shown) -> tuple[pl.DataFrame, str]:
    """Choose the numbers that are drawn, and by what they stand in rows."""
    plain = shown.metrics.filter(pl.col("value").is_not_null(), control="")
    single = plain.filter(~pl.col("task").str.starts_with(_OVER_ALL))
    return (single.filter(stratum="all"), "task") if single.height else (plain, "stratum")


def _chance(metric: str) -> float | None:
    """Say what a score without meaning has: areas under ROC curves, and correlations."""
    if metric.startswith("auroc"):
        return 0.5
    return 0.0 if metric.endswith("_r") else None


def _point(row: Mapping[str, Any], by: str) -> Point:
    series = f"{row['scores']}, {row['folds']}" if row["folds"] else row["scores"]
    interval = _interval(row["ci_low"], row["ci_high"])
    told = f"{row[by]}, {series}: {row['metric']} {_number(row['value'])}"
    told += f" ({interval})" if interval else ""
    return Point(
        row[by], series, row["value"], row["ci_low"], row["ci_high"], f"{told}, n {row['n']:,}"
    )
