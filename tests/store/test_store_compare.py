"""Two runs compared: what is told of them against differences that were put there by hand."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import store_runs as bins
import store_variants as variants
from hypothesis import given, settings
from hypothesis import strategies as st

from cisray.errors import TrackError, WrongRun
from cisray.store import compare
from cisray.store.compare import compare_runs
from cisray.store.differences import Tally, cut_at
from cisray.store.rows import Piece
from cisray.store.scan import open_run


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let even these runs be read in several pieces and parts."""
    monkeypatch.setattr(compare, "ROWS_AT_ONCE", 2)
    monkeypatch.setattr(compare, "VALUES_AT_ONCE", 3)


def finish(world, path: Path, change: Callable[[str, np.ndarray], None] | None = None, **facts):
    """Write a run of the world, its columns changed in place before they are stored."""
    with world.begin(path, **facts) as sink:
        for shard in sink.pending():
            sink.write(shard, changed(world.pieces_of(shard, sink.blocks), change))
        sink.seal()
    return open_run(path)


def changed(pieces: Iterator[Piece], change) -> Iterator[Piece]:
    for piece in pieces:
        columns = dict(piece.columns)
        for name, values in columns.items():
            if change is not None and "t0" in name:
                change((piece.chrom, piece.start, name), values)
        yield piece._replace(columns=columns)


def test_equal_runs(world, tmp_path) -> None:
    a, b = finish(world, tmp_path / "a"), finish(world, tmp_path / "b")
    found = compare_runs(a, b)
    assert found.is_equal
    assert (found.rows.common, found.rows.is_same) == (sum(world.ROWS), True)
    per_row = 8 if world is variants else 4
    assert sum(group.values for group in found.groups) == sum(world.ROWS) * per_row
    for group in found.groups:
        assert (group.differing, group.missing, group.largest) == (0, 0, ())
        assert (group.largest_absolute, group.largest_relative) == (0, 0)
        assert group.lowest_correlation == pytest.approx(1)


def test_one_bin_is_found_and_named(tmp_path) -> None:
    def change(where, values) -> None:
        if where == ("chr2", 512, "t0008"):
            values[3] += 2

    a, b = finish(bins, tmp_path / "a"), finish(bins, tmp_path / "b", change)
    found = compare_runs(a, b)
    assert (found.is_equal, found.same_values, found.identity) == (False, False, ())
    cage, chip, dnase = found.groups
    assert (cage.group, cage.columns, cage.values, cage.differing) == ("CAGE", 2, 30, 1)
    assert (chip.differing, dnase.differing) == (0, 0)
    (told,) = cage.largest
    # The fourth bin begins at 512 + 3 * 128 = 896, base 897 of a locus.
    assert (told.place, told.column) == ("chr2:897-1,024", "t0008")
    old = float(bins.value("chr2", 896, 8))
    assert (told.a, told.b) == (old, pytest.approx(old + 2))
    assert cage.largest_absolute == pytest.approx(2)
    assert cage.largest_relative == pytest.approx(2 / (old + 2))
    assert cage.lowest_in == "t0008"
    x = np.array([bins.value(c, s, 8) for n, c in bins.CHROMS.items() for s in bins.STARTS[n]])
    y = x.copy()
    y[3] += 2
    assert cage.lowest_correlation == pytest.approx(np.corrcoef(x, y)[0, 1], abs=1e-9)
    assert not compare_runs(b, a).is_equal
    assert compare_runs(a, b, tolerance=0.5).is_equal
    assert compare_runs(a, b, tracks="CHIP").is_equal


def test_one_score_of_a_duplicate_is_found_and_named(tmp_path) -> None:
    """The second of two equal variants differs: it must not be taken for the first."""

    def change(where, values) -> None:
        if where[1:] == (99, "logSAD_t0005"):
            values[1] = -values[1]

    a, b = finish(variants, tmp_path / "a"), finish(variants, tmp_path / "b", change)
    found = compare_runs(a, b)
    sad, log_sad = found.groups
    assert (sad.group, sad.differing) == ("SAD", 0)
    assert (log_sad.group, log_sad.differing, log_sad.columns) == ("logSAD", 1, 4)
    (told,) = log_sad.largest
    assert (told.place, told.column) == ("chr2:100:A:C", "logSAD_t0005")
    # Entry 8 is the second of them.
    assert told.a == float(variants.value(8, "logSAD", 5)) == -told.b
    assert log_sad.largest_relative == pytest.approx(2)


def test_rows_of_one_run_only(tmp_path) -> None:
    """Entries are numbered anew: rows are known by alleles, and one of two equal ones is alone."""
    first, second, _ = variants.SHARDS
    numbers = iter((4, 1, 2, 0, 3))
    fewer = tuple(tuple((next(numbers), *v) for _, *v in s) for s in (first[1:], second))
    plan_folder = tmp_path / "plan"
    plan_folder.mkdir()
    plan = variants.write_plan(plan_folder, fewer, rejected=0)
    with variants.begin(tmp_path / "b", plan=plan) as sink:
        for shard in sink.pending():
            for_shard = [
                Piece(block, *span(plan, shard), variants.columns_of(fewer[shard], tracks))
                for block, tracks in sink.blocks.items()
            ]
            sink.write(shard, for_shard)
        sink.seal()
    a, b = finish(variants, tmp_path / "a"), open_run(tmp_path / "b")
    found = compare_runs(a, b)
    assert (found.rows.common, found.rows.only_a, found.rows.only_b) == (5, 4, 0)
    assert found.rows.first_only_a == (
        "chr2:100:A:C",
        *("HLA-A*01:01:7:AC:A", "HLA-A*01:01:7:T:A", "HLA-A*01:01:9:T:A"),
    )
    back = compare_runs(b, a)
    assert (back.rows.only_a, back.rows.only_b) == (0, 4)
    assert {field.field for field in found.identity} >= {"plan_sha256", "config.rows"}


def span(plan, shard: int) -> tuple[str, int, int]:
    here = plan.spans[shard]
    return here.chrom, here.start, here.end


def test_tracks_of_one_run_only(tmp_path, monkeypatch) -> None:
    a = finish(bins, tmp_path / "a")
    fewer = bins.make_tracks((3, 5, 8))
    monkeypatch.setattr(bins, "make_tracks", lambda: fewer)
    blocks = {"cage": [3, 8], "other": [5]}
    b = finish(bins, tmp_path / "b", blocks=blocks, tracks_sha256=fewer.sha256)
    found = compare_runs(a, b)
    assert (found.columns.common, found.columns.only_a, found.columns.only_b) == (3, 1, 0)
    assert found.columns.first_only_a == ("t0013",)
    assert not found.same_values
    assert {group.group for group in found.groups} == {"CAGE", "CHIP"}
    assert compare_runs(a, b, tracks="CAGE").same_values
    with pytest.raises(TrackError):
        compare_runs(a, b, tracks="ATAC")


def test_missing_values_are_counted_apart(tmp_path) -> None:
    def gap(at: int):
        def change(where, values) -> None:
            if where[1:] == (99, "logSAD_t0003"):
                values[:2] = np.nan
                if at:
                    values[at] = np.nan

        return change

    partial = {"config": {"partial": ["logSAD"]}}
    a = finish(variants, tmp_path / "a", gap(0), **partial)
    b = finish(variants, tmp_path / "b", gap(3), **partial)
    found = compare_runs(a, b)
    log_sad = found.groups[1]
    # Nine rows of four tracks; two are missing in both, one in b only.
    assert (log_sad.values, log_sad.differing, log_sad.missing) == (34, 1, 1)
    (told,) = log_sad.largest
    assert (told.a, told.b) == (float(variants.value(0, "logSAD", 3)), None)
    assert told.place.startswith("chr2:130:ACGTCGT")


def test_identity_alone(world, tmp_path) -> None:
    a = finish(world, tmp_path / "a")
    b = finish(world, tmp_path / "b", code_version="0.2.0", config={"precision": "bfloat16"})
    found = compare_runs(a, b)
    fields = {field.field: (field.a, field.b) for field in found.identity}
    assert fields["code_version"] == ('"0.1.0"', '"0.2.0"')
    assert fields["config.precision"] == ('"float32"', '"bfloat16"')
    assert (found.same_values, found.is_equal) == (True, False)


def test_a_moved_copy_is_equal(world, tmp_path) -> None:
    a = finish(world, tmp_path / "a")
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    assert compare_runs(a, open_run(tmp_path / "b")).is_equal


def test_kinds_are_not_mixed(tmp_path) -> None:
    a, b = finish(bins, tmp_path / "a"), finish(variants, tmp_path / "b")
    with pytest.raises(WrongRun, match="runs of one kind"):
        compare_runs(a, b)


numbers = st.one_of(st.just(float("nan")), st.floats(-1e6, 1e6, width=32))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(numbers, numbers), min_size=1, max_size=30), st.integers(1, 7))
def test_sums_do_not_depend_on_the_pieces(rows: list[tuple[float, float]], step: int) -> None:
    """Against NumPy, on all rows at once."""
    x, y = np.array(rows, np.float32).T[:, :, None]
    tally = Tally("g", ["c"], 0.0)
    for first in range(0, len(rows), step):
        part = slice(first, first + step)
        tally.add(0, x[part], y[part], lambda row, first=first: str(first + row))
    found = tally.result()
    both = ~np.isnan(x) & ~np.isnan(y)
    a, b = (side[both].astype(float) for side in (x, y))
    assert found.missing == int((np.isnan(x) != np.isnan(y)).sum())
    assert found.values == int((~np.isnan(x) | ~np.isnan(y)).sum())
    assert found.differing == found.missing + int((a != b).sum())
    assert found.largest_absolute == np.abs(a - b).max(initial=0.0)
    if len(a) > 1 and a.std() > 1e-3 * np.abs(a).max() and b.std() > 1e-3 * np.abs(b).max():
        assert found.lowest_correlation == pytest.approx(np.corrcoef(a, b)[0, 1], abs=1e-6)
    for told in found.largest:
        x_there, y_there = rows[int(told.place)]
        assert told.a == (None if np.isnan(x_there) else x_there)
        assert told.b == (None if np.isnan(y_there) else y_there)


@given(st.lists(st.integers(0, 30), max_size=30), st.integers(1, 8))
def test_cuts_cover_every_position_once(positions: list[int], rows: int) -> None:
    cuts = cut_at(np.array(sorted(positions), np.int64), rows)
    for position in positions:
        assert sum(low <= position < high for low, high in cuts) == 1
