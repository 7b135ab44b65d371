"""Rounding and the Parquet settings, read back from the files' own metadata."""

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from cisray.errors import ResultsError
from cisray.store.encode import (
    EFFECT_PAGES,
    TRACK_PAGES,
    Pages,
    encode_data,
    encode_pieces,
    encode_small,
    max_relative_error,
    round_mantissa,
)
from cisray_schemas.genome_tracks import GENOME_TRACKS
from cisray_schemas.windows import WINDOWS

Floats = npt.NDArray[np.float32]
BITS = st.integers(1, 22)
# 2^126 is a quarter of the largest float32: nothing here can round to infinity.
NUMBERS = arrays(
    np.float32, st.integers(1, 50), elements=st.floats(-(2.0**126), 2.0**126, width=32)
)


@given(NUMBERS, BITS)
def test_relative_error_is_bounded_for_normal_numbers(values: Floats, bits: int) -> None:
    rounded = round_mantissa(values, bits).astype(np.float64)
    exact = values.astype(np.float64)
    # 1.1754944e-38 is the smallest normal float32; below it the error is absolute.
    allowed = np.maximum(np.abs(exact), 1.1754944e-38) * 2.0 ** -(bits + 1)
    assert (np.abs(rounded - exact) <= allowed).all()


@given(BITS)
def test_the_error_that_is_told_is_reached_and_not_passed(bits: int) -> None:
    # Halfway between 1 and the next number with so many bits, and just beside it.
    tie = np.array([1 + 2.0 ** -(bits + 1), 1 + 2.0 ** -(bits + 1) + 2.0**-23], np.float32)
    error = np.abs(round_mantissa(tie, bits).astype(np.float64) - tie) / tie
    assert error.max() <= max_relative_error(bits) < 2 * error.max() + 2.0**-22
    assert max_relative_error(23) == 0


@given(NUMBERS, BITS)
def test_rounded_values_have_no_lower_bits(values: Floats, bits: int) -> None:
    low = np.uint32((1 << (23 - bits)) - 1)
    assert not (round_mantissa(values, bits).view(np.uint32) & low).any()


@given(NUMBERS, BITS)
def test_rounding_twice_changes_nothing(values: Floats, bits: int) -> None:
    once = round_mantissa(values, bits)
    assert round_mantissa(once, bits).tobytes() == once.tobytes()


@given(NUMBERS, BITS)
def test_rounding_is_symmetric_in_sign(values: Floats, bits: int) -> None:
    assert round_mantissa(-values, bits).tobytes() == (-round_mantissa(values, bits)).tobytes()


@given(NUMBERS, BITS)
def test_rounding_keeps_order(values: Floats, bits: int) -> None:
    assert (np.diff(round_mantissa(np.sort(values), bits)) >= 0).all()


@given(NUMBERS)
def test_23_bits_are_the_identity(values: Floats) -> None:
    assert round_mantissa(values, 23).tobytes() == values.tobytes()


def test_ties_go_to_even() -> None:
    # With 2 bits kept the values between 1 and 2 are 1, 1.25, 1.5, 1.75. 1.125 lies between 1
    # (mantissa 00, even) and 1.25 (01); 1.375 between 1.25 (01) and 1.5 (10); 1.875 carries to 2.
    values = np.array([1.125, 1.375, 1.13, 1.875, -1.125], np.float32)
    assert round_mantissa(values, 2).tolist() == [1.0, 1.5, 1.25, 2.0, -1.0]


def test_nan_and_infinity_pass_untouched() -> None:
    # The second NaN has all mantissa bits set: adding to it would carry into the sign.
    patterns = np.array([0x7FC00001, 0xFFFFFFFF, 0x7F800000, 0xFF800000], np.uint32)
    assert (
        round_mantissa(patterns.view(np.float32), 10).view(np.uint32).tolist() == patterns.tolist()
    )


def test_a_value_that_would_become_infinite_is_refused() -> None:
    largest = np.array([1.0, np.finfo(np.float32).max], np.float32)
    with pytest.raises(ResultsError, match="rounds to infinity at 10 mantissa bits"):
        round_mantissa(largest, 10)


@pytest.mark.parametrize("bits", [0, 24, -1])
def test_impossible_bits_are_refused(bits: int) -> None:
    with pytest.raises(ValueError, match="1 to 23"):
        round_mantissa(np.ones(1, np.float32), bits)


def shard_of(rows: int, columns: int) -> pa.Table:
    rng = np.random.default_rng(7)
    names = [f"t{i:04d}" for i in range(columns)]
    starts = np.arange(1280, 1280 + rows * 128, 128, dtype=np.int32)
    values = [rng.gamma(0.5, size=rows).astype(np.float32) for _ in names]
    return pa.Table.from_arrays(
        [pa.array(starts), *map(pa.array, values)], schema=GENOME_TRACKS.with_values(names)
    )


def test_a_full_shard_is_one_row_group_of_one_page_per_column(tmp_path) -> None:
    # 64 tiles of 896 bins = 57,344 rows: more than the 20,000 at which pages are cut by default.
    table = shard_of(57_344, 2)
    path = tmp_path / "x.parquet"
    path.write_bytes(encode_data(table, TRACK_PAGES, {"cisray.chrom": "chr2"}))
    footer = pq.read_metadata(path)
    assert footer.num_row_groups == 1
    start, value = footer.row_group(0).column(0), footer.row_group(0).column(1)
    assert set(start.encodings) <= {"DELTA_BINARY_PACKED", "RLE"}
    assert "DELTA_BINARY_PACKED" in start.encodings
    assert set(value.encodings) <= {"BYTE_STREAM_SPLIT", "RLE"}
    assert "BYTE_STREAM_SPLIT" in value.encodings
    assert (start.compression, value.compression) == ("ZSTD", "ZSTD")
    assert (start.has_dictionary_page, value.has_dictionary_page) == (False, False)
    assert (start.statistics.min, start.statistics.max) == (1280, 1280 + 57_343 * 128)
    assert value.statistics is None
    assert not value.has_offset_index
    assert not value.has_column_index
    assert footer.metadata == {b"cisray.chrom": b"chr2"}
    # One data page: a page of 57,344 x 4 = 229,376 bytes plus its header (32 bytes or so), where
    # two pages would have two headers.
    assert 229_376 < value.total_uncompressed_size < 229_376 + 60
    assert pl.read_parquet(path).equals(pl.DataFrame(table))


def test_effects_lie_in_small_pages_of_large_groups(tmp_path) -> None:
    rows = 70_000
    numbers = np.arange(rows)
    keys = {
        "variant": pa.array(numbers), "chrom": pa.array(["chr2"] * rows),
        "pos": pa.array(numbers + 1, pa.int32()), "ref": pa.array(["A", "CG"] * (rows // 2)),
        "SAD_t0003": pa.array(np.random.default_rng(7).normal(size=rows).astype(np.float32)),
    }  # fmt: skip
    table = pa.table(keys)
    path = tmp_path / "x.parquet"
    path.write_bytes(encode_data(table, EFFECT_PAGES, {"cisray.block": "sel"}))
    footer = pq.read_metadata(path)
    groups = [footer.row_group(number) for number in range(footer.num_row_groups)]
    assert [group.num_rows for group in groups] == [65_536, 4_464]
    columns = {name: groups[0].column(place) for place, name in enumerate(table.column_names)}
    for name in ("variant", "pos"):
        assert "DELTA_BINARY_PACKED" in columns[name].encodings
    for name in ("chrom", "ref"):
        assert columns[name].has_dictionary_page
    value = columns["SAD_t0003"]
    assert "BYTE_STREAM_SPLIT" in value.encodings
    assert {c.compression for c in columns.values()} == {"ZSTD"}
    told = {n: (c.statistics.min, c.statistics.max) for n, c in columns.items() if c.statistics}
    assert told == {"chrom": ("chr2", "chr2"), "pos": (1, 65_536)}
    assert not any(c.has_offset_index or c.has_column_index for c in columns.values())
    assert footer.metadata == {b"cisray.block": b"sel"}
    # 16 pages of 4,096 rows have 16 headers of much the same size, where one page has one.
    whole = Pages(65_536, 65_536, file_rows=65_536, statistics=("pos",))
    one = pq.read_metadata(pa.BufferReader(encode_data(table, whole, {}))).row_group(0).column(4)
    headers, header = (c.total_uncompressed_size - 65_536 * 4 for c in (value, one))
    assert round(headers / header) == 16
    assert pl.read_parquet(path).equals(pl.DataFrame(table))


def test_a_damaged_page_is_noticed(tmp_path) -> None:
    data = bytearray(encode_data(shard_of(2_000, 1), TRACK_PAGES, {}))
    footer = pq.read_metadata(pa.BufferReader(bytes(data)))
    column = footer.row_group(0).column(1)
    middle = column.data_page_offset + column.total_compressed_size // 2
    data[middle] ^= 0xFF
    with pytest.raises(OSError, match=r"CRC|checksum"):
        pq.ParquetFile(pa.BufferReader(bytes(data)), page_checksum_verification=True).read()


def test_rounding_makes_files_smaller() -> None:
    table = shard_of(57_344, 1)
    rounded = pa.array(round_mantissa(table["t0000"].to_numpy(), 10))
    smaller = table.set_column(1, table.schema.field(1), rounded)
    # Measured on like data: 3.2 bytes per value exact, 1.7 with 10 bits.
    assert (
        encode_data(smaller, TRACK_PAGES, {}).size < 0.65 * encode_data(table, TRACK_PAGES, {}).size
    )


def test_small_tables_keep_the_notes_of_their_fields() -> None:
    data = encode_small(WINDOWS.schema.empty_table(), {"cisray.run_id": "r"})
    back = pq.ParquetFile(pa.BufferReader(data)).read()
    assert back.schema.equals(WINDOWS.schema)
    assert back.schema.field("start").metadata[b"base"] == b"0-based"
    assert back.schema.metadata[b"cisray.run_id"] == b"r"


SMALL_PAGES = Pages(group_rows=7, page_rows=3, file_rows=7, statistics=("start",))


@given(
    st.lists(st.integers(0, 9), min_size=1, max_size=6), st.sampled_from([SMALL_PAGES, TRACK_PAGES])
)
def test_pieces_give_the_bytes_of_the_whole(cuts: list[int], pages: Pages) -> None:
    rows = sum(cuts)
    whole = pa.table(
        {
            "start": pa.array(np.arange(rows, dtype=np.int32)),
            "name": pa.array([f"rs{row % 4}" for row in range(rows)]),
            "t0003": pa.array(np.linspace(1, 2, rows, dtype=np.float32)),
        }
    )
    ends = np.cumsum(cuts)
    pieces = [whole.slice(end - cut, cut) for cut, end in zip(cuts, ends, strict=True)]
    got = encode_pieces(iter(pieces), whole.schema, rows, pages, {"note": "x"})
    assert got.equals(encode_data(whole, pages, {"note": "x"}))
    assert pq.read_table(pa.BufferReader(got)).equals(whole)
