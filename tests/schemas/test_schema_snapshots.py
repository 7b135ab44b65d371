"""The schemas are frozen: a change of a table is a new version and a new snapshot."""

from pathlib import Path

import pytest

from cisray_schemas import TABLES, Table
from cisray_schemas.table import describe

SNAPSHOTS = Path(__file__).parent / "snapshots"


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES.keys())
def test_table_equals_its_snapshot(table: Table) -> None:
    path = SNAPSHOTS / f"{table.name}_{table.version}.txt"
    assert describe(table) == path.read_text(), f"raise the version of {table.name}, keep {path}"


def test_there_is_a_snapshot_for_every_table_and_no_other() -> None:
    current = {f"{table.name}_{table.version}.txt" for table in TABLES.values()}
    assert current <= {path.name for path in SNAPSHOTS.iterdir()}
    assert {path.name.rpartition("_")[0] for path in SNAPSHOTS.iterdir()} == set(TABLES)


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES.keys())
def test_coordinates_state_their_base_and_unit(table: Table) -> None:
    for field in table.schema:
        notes = field.metadata
        assert notes[b"meaning"]
        if field.name.endswith(("start", "end")):
            assert (notes[b"base"], notes[b"unit"]) == (b"0-based", b"bp"), field.name


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES.keys())
def test_tables_are_sorted_by_columns_they_have(table: Table) -> None:
    assert set(table.sort_by) <= set(table.schema.names)
