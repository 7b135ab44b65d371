"""The tracks of one output head: what each one measures, and how people choose among them.

Knows the T axis, the tables of targets that Basenji and Enformer publish, and the query language.
Knows nothing of torch, of models, or of where predictions are stored.
"""

import gzip
import hashlib
import json
import re
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa

from cisray.errors import TrackError, near_matches
from cisray_schemas.tracks import TRACKS

Query = str | int
# The order of the published tracks (targets_human.txt and targets_mouse.txt of Basenji2's data):
# each assay and how many tracks in a row measure it.
_ENFORMER_ASSAYS = {
    ("human", 5313): (("DNASE", 674), ("ATAC", 10), ("CHIP", 3991), ("CAGE", 638)),
    ("mouse", 1643): (("DNASE", 101), ("ATAC", 127), ("CHIP", 1058), ("CAGE", 357)),
}
_ASSAY = re.compile(r"([A-Za-z][\w-]*):")
_INDEX = re.compile(r"\d+", re.ASCII)
_RANGE = re.compile(r"(\d+)-(\d+)", re.ASCII)
_REQUIRED = ("index", "identifier", "description")
_ABSENT = {"", "na", "nan"}


def column_name(track: int) -> str:
    """Name the value column of a track, given its index on the T axis of its head.

    >>> column_name(42), column_name(12_345)
    ('t0042', 't12345')
    """
    return f"t{track:04d}"


def assay_of(description: str) -> str:
    """Read the assay off a description: the word before the first colon, upper case, or "".

    >>> assay_of("CAGE:chronic myelogenous leukemia cell line:K562"), assay_of("liver, adult")
    ('CAGE', '')
    """
    match = _ASSAY.match(description)
    return match.group(1).upper() if match else ""


@dataclass(frozen=True, slots=True)
class TrackSet:
    """The T axis of one head, in head order: all of it, or a selection that keeps its indices.

    `table` has the columns of `cisray_schemas.tracks.TRACKS`; `track` is the 0-based index on the
    T axis of the head's full output, strictly increasing. Two runs are comparable column by
    column only if `sha256` agrees. Raises TrackError if the table breaks these rules.
    """

    head: str
    table: pa.Table

    def __post_init__(self) -> None:
        if not self.head:
            raise TrackError("A set of tracks needs the name of its head, such as human.")
        got, need = (
            dict(zip(s.names, s.types, strict=True)) for s in (self.table.schema, TRACKS.schema)
        )
        if list(got.items()) != list(need.items()):
            raise TrackError(
                f"The tracks of head {self.head} have the columns {_spell(got)}; the format "
                f"{TRACKS.format} needs {_spell(need)}."
            )
        for field in TRACKS.schema:
            if not field.nullable and self.table[field.name].null_count:
                raise TrackError(
                    f"Column {field.name} of the tracks of head {self.head} has "
                    f"{self.table[field.name].null_count} empty values; it needs one per track."
                )
        self._check_order()

    def _check_order(self) -> None:
        tracks = self.indices
        if not len(tracks):
            raise TrackError(f"The set of tracks of head {self.head} is empty.")
        if tracks[0] < 0 or np.any(np.diff(tracks) <= 0):
            raise TrackError(
                f"The track indices of head {self.head} must start at 0 or above and increase "
                f"strictly, got {_some(tracks.tolist())}."
            )
        for track, column in zip(tracks.tolist(), self.columns, strict=True):
            if column != column_name(track):
                raise TrackError(
                    f"Track {track} of head {self.head} has the column name {column!r}; "
                    f"it must be {column_name(track)!r}."
                )

    def __len__(self) -> int:
        """Count the tracks, T."""
        return int(self.table.num_rows)

    @property
    def indices(self) -> np.ndarray[Any, np.dtype[np.int32]]:
        """Indices on the T axis of the head's full output, int32 [T], 0-based, increasing."""
        return np.asarray(self.table["track"].to_numpy(), dtype=np.int32)

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the value columns in data files, such as t0042, in head order."""
        return tuple(self.table["column"].to_pylist())

    @property
    def sha256(self) -> str:
        """Digest of the head's name and of every row; independent of Arrow's memory layout."""
        content = {"head": self.head, "tracks": self.to_rows()}
        text = json.dumps(content, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    def by_assay(self) -> dict[str, int]:
        """Count the tracks of each assay, in order of first appearance."""
        return dict(Counter(self.table["assay"].to_pylist()))

    @classmethod
    def unnamed(cls, head: str, n: int) -> Self:
        """Build the `n` tracks of a head for which no table is at hand.

        Identifiers are `human_17`. For the published sizes (human 5,313, mouse 1,643) the assay
        is known from the index alone, because every release keeps the order of the targets table;
        it is filled in and leads the description (`CAGE:track 4828`), so that `CAGE` and `CAGE:*`
        select the same tracks with and without the table. Other sizes get no assay.
        """
        runs = _ENFORMER_ASSAYS.get((head, n), (("", n),))
        assays = [assay for assay, count in runs for _ in range(count)]
        texts = [f"{a}:track {i}" if a else f"track {i}" for i, a in enumerate(assays)]
        return cls(
            head,
            _table(
                {
                    "track": list(range(n)),
                    "assay": assays,
                    "identifier": [f"{head}_{i}" for i in range(n)],
                    "description": texts,
                    **{name: [None] * n for name in ("clip", "scale", "sum_stat")},
                }
            ),
        )

    @classmethod
    def read_table(cls, path: Path | str, head: str, expect: int | None = None) -> Self:
        """Read a Basenji table of targets (TSV, plain or .gz), one row per track in head order.

        Columns are found by the header: `index` (or a blank first header), `identifier` and
        `description` must exist; `clip`, `scale` and `sum_stat` may (blank, NA or nan is null);
        others are ignored. A track is its row number: `index` must only run without a gap, since
        the mouse table starts at 5313. Raises TrackError with file and line, also when the number
        of rows is not `expect`.
        """
        source = Path(path)
        lines = _read_lines(source)
        columns = _header(lines, source)
        rows = [
            _parse_row(line, columns, f"{source}:{number}")
            for number, line in enumerate(lines[1:], start=2)
        ]
        _check_rows(rows, source)
        if expect is not None and len(rows) != expect:
            raise TrackError(
                f"{source} lists {len(rows)} tracks, but the head {head} has {expect}; "
                f"give the table that the weights were trained with."
            )
        names = ("assay", "identifier", "description", "clip", "scale", "sum_stat")
        content: dict[str, list[Any]] = {name: [row[name] for row in rows] for name in names}
        return cls(head, _table({"track": list(range(len(rows))), **content}))

    def to_rows(self) -> dict[str, list[Any]]:
        """Give the content as plain lists by column, for JSON; value column names are left out."""
        return {name: self.table[name].to_pylist() for name in _STORED}

    @classmethod
    def from_rows(cls, head: str, rows: Mapping[str, Sequence[Any]]) -> Self:
        """Rebuild what `to_rows` gave. Raises TrackError if columns are missing or ragged."""
        if set(rows) != set(_STORED) or len({len(rows[name]) for name in rows}) != 1:
            shape = {name: len(values) for name, values in rows.items()}
            raise TrackError(
                f"The stored tracks of head {head} need the columns {list(_STORED)} of one "
                f"length, got {shape}."
            )
        return cls(head, _table(rows))

    def select(self, query: Query | Sequence[Query]) -> Self:
        """Choose tracks by one query or by the union of several; head order, no duplicates.

        A query is an index (`4828`), a value column (`t4828`), a range with both ends included
        (`0-673`), or a comma list of these; an assay (`CAGE`, `assay:CAGE`); an identifier
        (`CNhs11250`); a whole description; a glob over whole descriptions in which only `*` and
        `?` are special (`CAGE:*K562*`); or a regular expression that is searched for in the
        descriptions (`re:^CAGE.*K562`). Case matters in regular expressions alone. Raises
        TrackError, with near matches, if a query chooses nothing or names an absent index.
        """
        queries: Sequence[Query] = [query] if isinstance(query, str | int | np.integer) else query
        if not queries:
            raise TrackError(f"No query was given to select tracks of head {self.head}.")
        row_of = {track: row for row, track in enumerate(self.indices.tolist())}
        rows = {row for one in queries for row in self._rows_of(one, row_of)}
        return type(self)(self.head, self.table.take(pa.array(sorted(rows), type=pa.int64())))

    def _rows_of(self, query: Query, row_of: Mapping[int, int]) -> list[int]:
        spans = _index_spans(query)
        if spans is not None:
            return self._rows_of_spans(spans, query, row_of)
        text = str(query).strip()
        matches = self._matcher(text)
        rows = [row for row, track in enumerate(self._names()) if matches(*track)]
        if not rows:
            raise TrackError(self._nothing_found(text))
        return rows

    def _rows_of_spans(
        self, spans: Sequence[range], query: Query, row_of: Mapping[int, int]
    ) -> list[int]:
        first, last = int(self.indices[0]), int(self.indices[-1])
        absent = [span[-1] for span in spans if span[-1] > last] or [
            track for span in spans for track in span if track not in row_of
        ]
        if absent:
            raise TrackError(
                f"Query {str(query)!r}: head {self.head} has no track {_some(absent)} here; "
                f"there are {len(self)} tracks, with indices from {first} to {last}."
            )
        return [row_of[track] for span in spans for track in span]

    def _names(self) -> Iterable[tuple[str, str, str]]:
        names = ("assay", "identifier", "description")
        return zip(*(self.table[name].to_pylist() for name in names), strict=True)

    def _matcher(self, text: str) -> Callable[[str, str, str], bool]:
        """Decide what a text query means; the first meaning that matches any track holds."""
        if text.startswith("re:"):
            try:
                pattern = re.compile(text.removeprefix("re:"))
            except re.error as error:
                raise TrackError(
                    f"Query {text!r} is not a regular expression: {error}. Write '*text*' to look "
                    f"for plain text in the descriptions."
                ) from error
            return lambda assay, identifier, description: bool(pattern.search(description))
        low = text.casefold()
        if low.startswith("assay:"):
            named = low.removeprefix("assay:").strip()
            return lambda assay, identifier, description: bool(assay) and assay.casefold() == named
        names = [tuple(name.casefold() for name in track) for track in self._names()]
        for place in range(3):
            if low and any(track[place] == low for track in names):
                return lambda *track, at=place: track[at].casefold() == low
        glob = _glob(text) if "*" in text or "?" in text else None
        return lambda assay, identifier, description: bool(glob and glob.fullmatch(description))

    def _nothing_found(self, text: str) -> str:
        names = list(self._names())
        low = text.casefold().strip("*?")
        found = sum(low in line.casefold() for _, _, line in names) if low else 0
        glob = f"*{text.strip('*?')}*"
        hints = f" {found} descriptions contain that text: try '{glob}'." if found else ""
        assays = {assay for assay, _, _ in names if assay}
        close = near_matches(
            text, [*assays, *self.columns, *(c for track in names for c in track[1:] if c)]
        )
        if "," in text:
            hints += " Commas join indices, ranges and columns only; give other queries one by one."
        known = f" Assays here: {', '.join(sorted(assays))}." if assays else ""
        return f"Query {text!r} chooses no track of head {self.head}.{close}{hints}{known}"


_STORED = tuple(name for name in TRACKS.schema.names if name != "column")


def _table(columns: Mapping[str, Sequence[Any]]) -> pa.Table:
    """Build the Arrow table from plain columns, adding the names of the value columns."""
    try:
        full = {**columns, "column": [column_name(track) for track in columns["track"]]}
        return pa.table({name: full[name] for name in TRACKS.schema.names}, schema=TRACKS.schema)
    except (pa.ArrowException, TypeError, ValueError) as error:
        raise TrackError(f"The columns of a tracks table cannot be read: {error}.") from error


def _read_lines(source: Path) -> list[str]:
    try:
        content = source.read_bytes()
        if content[:2] == b"\x1f\x8b":
            content = gzip.decompress(content)
        text = content.decode("utf-8")
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise TrackError(f"{source} cannot be read as a table of tracks: {error}.") from error
    lines = [line.removesuffix("\r") for line in text.split("\n")]
    return lines[:-1] if lines[-1] == "" else lines


def _header(lines: Sequence[str], source: Path) -> dict[str, int]:
    names = lines[0].split("\t") if lines else []
    if names and names[0] == "":
        # pandas leaves the name of the index blank, and Basenji's older tables kept it so.
        names[0] = "index"
    missing = [name for name in _REQUIRED if name not in names]
    if missing:
        raise TrackError(
            f"{source}:1 has no column {', '.join(missing)}; a table of targets is separated by "
            f"tabs and its header names {', '.join(_REQUIRED)}, got {names}."
        )
    if len(lines) == 1:
        raise TrackError(f"{source} has a header but no tracks.")
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise TrackError(f"{source}:1 names the column {', '.join(twice)} twice.")
    return {name: place for place, name in enumerate(names)}


def _parse_row(line: str, columns: Mapping[str, int], place: str) -> dict[str, Any]:
    cells = line.split("\t")
    if len(cells) != len(columns):
        raise TrackError(f"{place} has {len(cells)} columns, but the header has {len(columns)}.")
    row: dict[str, Any] = {name: cells[at].strip() for name, at in columns.items()}
    if not _INDEX.fullmatch(row["index"]):
        raise TrackError(f"{place}: index {row['index']!r} is not a whole number.")
    for name in ("clip", "scale"):
        row[name] = _number(row.get(name, ""), f"{place}: {name}")
    return {
        **row,
        "place": place,
        "index": int(row["index"]),
        "assay": assay_of(row["description"]),
        "sum_stat": None if row.get("sum_stat", "").casefold() in _ABSENT else row["sum_stat"],
    }


def _number(text: str, place: str) -> float | None:
    if text.casefold() in _ABSENT:
        return None
    try:
        value = float(text)
    except ValueError as error:
        raise TrackError(f"{place} {text!r} is not a number.") from error
    if not np.isfinite(value):
        raise TrackError(f"{place} {text!r} is not finite; leave it blank if it is unknown.")
    return value


def _check_rows(rows: Sequence[Mapping[str, Any]], source: Path) -> None:
    for before, row in pairwise(rows):
        if row["index"] != before["index"] + 1:
            raise TrackError(
                f"{row['place']}: index {row['index']} follows {before['index']}; tracks are rows "
                f"in head order, so the index must grow by 1. Was the table sorted or filtered?"
            )
        if row.get("genome") != before.get("genome"):
            raise TrackError(
                f"{row['place']}: genome {row['genome']} follows genome {before['genome']}; split "
                f"the table, because each head needs its own."
            )


def _index_spans(query: Query) -> list[range] | None:
    """Read `4828`, `t4828`, `0-673` or a comma list of these; None if any item is another thing."""
    if not isinstance(query, str):
        return [range(int(query), int(query) + 1)]
    spans: list[range] = []
    for item in (part.strip() for part in query.split(",")):
        span = _RANGE.fullmatch(item)
        digits = item.removeprefix("t")
        if span:
            spans.append(range(int(span.group(1)), int(span.group(2)) + 1))
        elif _INDEX.fullmatch(digits) and item in (digits, column_name(int(digits))):
            spans.append(range(int(digits), int(digits) + 1))
        else:
            return None
        if not spans[-1]:
            raise TrackError(f"Query {query!r}: the range {item} ends before it starts.")
    return spans


def _glob(text: str) -> re.Pattern[str]:
    """Compile a glob where brackets are literal, since descriptions are full of them."""
    special = {"*": ".*", "?": "."}
    pattern = "".join(special.get(letter) or re.escape(letter) for letter in text)
    return re.compile(pattern, re.IGNORECASE | re.DOTALL)


def _some(items: Sequence[int]) -> str:
    shown = ", ".join(str(item) for item in items[:5])
    return shown if len(items) <= 5 else f"{shown} and {len(items) - 5} more"


def _spell(types: Mapping[str, pa.DataType]) -> str:
    return ", ".join(f"{name} {kind}" for name, kind in types.items())
