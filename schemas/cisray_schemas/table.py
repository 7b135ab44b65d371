"""How a table is described: an Arrow schema whose every field says what it means.

Knows Arrow; knows nothing of genomes, models or files.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Literal

import pyarrow as pa

Base = Literal["", "0-based", "1-based"]


@dataclass(frozen=True, slots=True)
class Table:
    """One kind of table: its name, its version, its fixed columns and the columns that order it.

    A table may be followed by value columns that only a run knows, one per track, or per statistic
    and track; those are float32 and named by `value_pattern`, empty where there are none. Where
    they may be `partial`, a run says of which statistics values may be missing.
    """

    name: str
    version: int
    schema: pa.Schema
    sort_by: tuple[str, ...]
    value_pattern: str = ""
    partial: bool = False

    @property
    def format(self) -> str:
        """The identity written into every file of this kind, such as `cisray.genome_tracks/1`."""
        return f"cisray.{self.name}/{self.version}"

    def with_values(self, columns: Iterable[str], nullable: Collection[str] = ()) -> pa.Schema:
        """Lay out a data file: the fixed columns, then one float32 column per name.

        Those that are `nullable` may have rows without a value.
        """
        values = [pa.field(name, pa.float32(), nullable=name in nullable) for name in columns]
        return pa.schema([*self.schema, *values])


def column(
    name: str,
    dtype: pa.DataType,
    meaning: str,
    *,
    unit: str = "",
    base: Base = "",
    nullable: bool = False,
) -> pa.Field:
    """Describe a column. `base` is the coordinate base, for columns that hold a coordinate."""
    notes = {"meaning": meaning, "unit": unit, "base": base}
    return pa.field(name, dtype, nullable=nullable, metadata={k: v for k, v in notes.items() if v})


def describe(table: Table) -> str:
    """Print a table as text, one line per field: what the frozen snapshots hold.

    A change of this text is a change of the schema and needs a new version.
    """
    order = ", ".join(table.sort_by)
    lines = [table.format, f"sorted by {order}"]
    for field in table.schema:
        notes = {k.decode(): v.decode() for k, v in (field.metadata or {}).items()}
        details = ", ".join(notes[key] for key in ("unit", "base") if key in notes)
        null = "null" if field.nullable else "not null"
        lines.append(f"{field.name}: {field.type} {null} [{details}] {notes['meaning']}")
    if table.value_pattern:
        null = "null where the statistic is partial" if table.partial else "not null"
        each = "statistic and track" if "{statistic}" in table.value_pattern else "track"
        lines.append(f"{table.value_pattern}: float {null} [] one column per {each}")
    return "\n".join(lines) + "\n"
