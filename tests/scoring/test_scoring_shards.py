"""Cutting rows into shards: held to rules that are looked at row by row, window by window."""

from itertools import pairwise

import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cisray.errors import CoordinateError
from cisray.genome.variant import Variant
from cisray.genome.windows import Window, WindowSpec
from cisray.scoring.shards import REOPENINGS, Cutting, Shard, check_positions, cut

# Bins of 8 bp, 3 to a target of 24 bp: windows of 56 bp, cells of 8 bp.
SPEC = WindowSpec(input_bp=56, bin_bp=8, target_bins=3)
CHROMOSOMES = {"chr10": 150, "chr2": 90, "X": 60}  # the FASTA's order, which is not the alphabet's
LENGTHS = list(CHROMOSOMES.values())

Row = tuple[int, int, str, str]  # rank, pos, ref, alt
rows_of_chromosomes = st.lists(
    st.integers(0, 2).flatmap(
        lambda rank: st.tuples(
            st.just(rank),
            st.one_of(st.integers(1, LENGTHS[rank]), st.integers(20, 26)),
            st.sampled_from(["A", "AC"]),
            st.sampled_from(["C", "G"]),
        )
    ),
    max_size=60,
).map(sorted)


def seconds(windows: int, alternates: int, covered_bp: int) -> float:
    return 4.0 * windows + 1.0 * alternates + 0.05 * covered_bp


def cutting(placement: str = "grid", shard_seconds: float = 60.0, max_rows: int = 8) -> Cutting:
    return Cutting(CHROMOSOMES, SPEC, placement, seconds, shard_seconds, max_rows)


def cut_rows(rows: list[Row], how: Cutting, batch: int = 7) -> list[Shard]:
    columns = zip(*rows, strict=True) if rows else [[]] * 4
    table = pa.table(
        dict(zip(("rank", "pos", "ref", "alt"), map(list, columns), strict=True)),
        schema=pa.schema(
            {"rank": pa.int32(), "pos": pa.int32(), "ref": pa.string(), "alt": pa.string()}
        ),
    )
    batches = (table.slice(first, batch) for first in range(0, len(rows), batch))
    return list(cut(batches, how))


def window_of(row: dict, how: Cutting) -> Window:
    place = Variant(row["chrom"], row["pos"], row["ref"], row["alt"]).interval
    return Window.placed(place, SPEC, how.placement)


def work_of(rows: list[dict], how: Cutting) -> tuple[int, int, int]:
    """Windows, distinct alternates and covered bases, each counted as a set."""
    windows = {window_of(row, how).input for row in rows}
    alternates = {(row["pos"], row["ref"], row["alt"]) for row in rows}
    covered = {base for window in windows for base in range(window.start, window.end)}
    return len(windows), len(alternates), len(covered)


@settings(max_examples=150, deadline=None)
@given(
    rows_of_chromosomes,
    st.sampled_from(["grid", "centered"]),
    st.sampled_from([0.0, 12.0, 30.0, 1e9]),
    st.sampled_from([1, 3, 8, 1000]),
)
@example([(0, 24, "A", "C")] * 20 + [(0, 25, "A", "C")], "grid", 1e9, 8)
@example([(0, 24, "A", "C")] * 20 + [(0, 25, "A", "C")], "centered", 1e9, 8)
@example([(0, 24, "A", "C"), (1, 24, "A", "C")], "grid", 1e9, 1000)
@example([], "grid", 1e9, 8)
def test_shards_keep_their_rules(
    rows: list[Row], placement: str, shard_seconds: float, max_rows: int
) -> None:
    how = cutting(placement, shard_seconds, max_rows)
    shards = [(shard, shard.rows.to_pylist()) for shard in cut_rows(rows, how)]
    found = [row for _, members in shards for row in members]
    names = list(CHROMOSOMES)
    assert [(r["rank"], r["pos"], r["ref"], r["alt"]) for r in found] == rows
    for row in found:
        assert row["chrom"] == names[row["rank"]]
        missing = window_of(row, how).missing_bp(CHROMOSOMES[row["chrom"]])
        assert row["missing_bp"] == sum(missing)
    for shard, members in shards:
        work = work_of(members, how)
        assert (shard.windows, shard.alternates) == work[:2]
        assert 1 <= len(members) <= max_rows
        assert len({row["chrom"] for row in members}) == 1
        assert seconds(*work) <= shard_seconds or work[0] == 1
        if work[0] == 1 and work[1] > 1:
            opening = seconds(1, 1, SPEC.input_bp)
            assert seconds(*work) <= max(shard_seconds, REOPENINGS * opening)
    for (_, members), (_, after) in pairwise(shards):
        if members[0]["chrom"] != after[0]["chrom"]:
            continue
        if window_of(members[-1], how) == window_of(after[0], how):
            # Only a window that is too large for any shard is cut: by rows, or between alleles.
            assert work_of(members, how)[0] == 1
            alleles = [(row["pos"], row["ref"], row["alt"]) for row in (members[-1], after[0])]
            if len(members) < max_rows:
                assert alleles[0] != alleles[1]
                rest = [row for row in found if window_of(row, how) == window_of(after[0], how)]
                assert seconds(*work_of(rest, how)) > shard_seconds
                # As much as may be: the next allele would be too much for a part.
                more = [row for row in after if (row["pos"], row["ref"], row["alt"]) == alleles[1]]
                wider = seconds(*work_of(members + more, how))
                assert wider > max(shard_seconds, REOPENINGS * seconds(1, 1, SPEC.input_bp))
        else:
            # The shard is as large as may be: the next window would be one too many.
            first = window_of(after[0], how)
            wider = members + [row for row in found if window_of(row, how) == first]
            wider = [row for row in wider if row["chrom"] == members[0]["chrom"]]
            assert len(wider) > max_rows or seconds(*work_of(wider, how)) > shard_seconds


@settings(max_examples=60, deadline=None)
@given(rows_of_chromosomes, st.integers(1, 70), st.sampled_from([1, 3, 8]))
def test_shards_do_not_depend_on_batches(rows: list[Row], batch: int, max_rows: int) -> None:
    how = cutting(max_rows=max_rows)
    one, other = cut_rows(rows, how, batch), cut_rows(rows, how, 1)
    assert [s.rows.to_pylist() for s in one] == [s.rows.to_pylist() for s in other]


def test_a_window_of_much_work_is_cut_between_alleles() -> None:
    """A part is worth ten openings of its window, of 4 + 1 + 0.05 x 56 = 7.8 each."""
    rows = [(0, 24, "A", "C")] * 3 + [(0, 24, ref, "G") for ref in ("A" * n for n in range(1, 200))]
    shards = cut_rows(rows, cutting(shard_seconds=20.0, max_rows=1000))
    # 4 + n + 2.8 <= 78 for n = 71 alternates; the first stands in three rows.
    assert [shard.alternates for shard in shards] == [71, 71, 58]
    assert [shard.rows.num_rows for shard in shards] == [73, 71, 58]
    whole = cut_rows(rows, cutting(shard_seconds=1e9, max_rows=1000))
    assert [shard.alternates for shard in whole] == [200]


def test_duplicates_are_rows_and_count_once_as_work() -> None:
    asked: list[tuple[int, int, int]] = []

    def record(*work: int) -> float:
        asked.append(work)
        return 0.0

    how = Cutting(CHROMOSOMES, SPEC, "grid", record, max_rows=100)
    rows = [(0, 60, "A", "C")] * 5 + [(0, 60, "A", "G")] * 2 + [(0, 68, "A", "C")] * 3
    (shard,) = cut_rows(rows, how)
    assert (shard.rows.num_rows, shard.windows, shard.alternates) == (10, 2, 3)
    # Two windows of 56 bp, 8 bp apart.
    assert max(asked) == (2, 3, 64)


def test_a_million_rows_of_one_place_are_cut_by_rows_alone() -> None:
    how = Cutting(CHROMOSOMES, SPEC, "grid", seconds)
    table = pa.table(
        {
            "rank": pa.array([1] * 10_000, pa.int32()),
            "pos": pa.array([5] * 10_000, pa.int32()),
            "ref": ["A"] * 10_000,
            "alt": ["C"] * 10_000,
        }
    )
    sizes = [shard.rows.num_rows for shard in cut(iter([table] * 100), how)]
    assert sizes == [65_536] * 15 + [16_960]  # 15 x 65,536 + 16,960 = 1,000,000


def test_positions_that_no_column_holds_are_refused() -> None:
    long = Cutting({"chr1": 2**31 - 1, "chr2": 2**31}, SPEC, "grid", seconds)
    with pytest.raises(CoordinateError, match=r"chr2 has 2,147,483,648 bases"):
        check_positions(long)
    check_positions(cutting())
