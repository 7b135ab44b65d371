"""Joining a table of variants to a run: every row comes back, with scores or with a reason."""

from operator import itemgetter

import made_up_runs
import numpy as np
import polars as pl
import pyarrow as pa
import pytest
import store_runs
import store_variants as world
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from cisray.errors import FrameError, UnknownChromosome, WrongRun
from cisray.store.scan import Run, open_run
from cisray_schemas import VARIANTS

KEY = ["chrom", "pos", "ref", "alt"]
SCHEMA = {"chrom": pl.String, "pos": pl.Int64, "ref": pl.String, "alt": pl.String}
TRACKS = store_runs.make_tracks()
# variant, pos, ref, alt as scored, and pos, ref, alt as the input stated them.
MOVED = (
    (2, 20, "CA", "C", 20, "CA", "C"),
    (0, 20, "CA", "C", 26, "ACA", "AC"),
    (1, 90, "G", "T", 89, "tGa", "tTa"),
    (3, 300_000, "G", "T", 300_000, "G", "T"),
)
PLACE = itemgetter(1, 0)
REJECTED = ("chr1", 40, "T", "<DEL>", "symbolic_alt"), ("chrUn", 7, "A", "G", "unknown_chromosome")


def table(*rows: tuple[object, ...]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=SCHEMA, orient="row")


def moved_value(statistic: str, track: int, first: int, rows: int) -> made_up_runs.Values:
    return (pl.arange(first, first + rows, eager=True) + track / 100).to_numpy().astype("float32")


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Run:
    path = tmp_path_factory.mktemp("runs") / "run"
    world.finish(path)
    return open_run(path)


@pytest.fixture(scope="module")
def moved(tmp_path_factory) -> Run:
    """Alleles that were normalised: two statements of one deletion, a padded SNV. Mantissas of 23
    bits; the value of a row is its place in the plan and a hundredth of the track.
    """
    rows = [
        {
            "variant": number, "chrom": "chr1", "pos": pos, "ref": ref, "alt": alt, "id": "",
            "source_chrom": "1", "source_pos": stated, "source_ref": sref, "source_alt": salt,
            "missing_bp": 0, "record": number, "line": number, "alt_index": 0,
        }
        for number, pos, ref, alt, stated, sref, salt in sorted(MOVED, key=PLACE)
    ]  # fmt: skip
    rejects = [
        {
            "file": "a.vcf", "record": number, "line": number, "alt_index": 0, "chrom": chrom,
            "pos": pos, "id": "", "ref": ref, "alt": alt, "reason": reason, "detail": "told",
        }
        for number, (chrom, pos, ref, alt, reason) in enumerate(REJECTED, start=len(rows))
    ]  # fmt: skip
    folder = tmp_path_factory.mktemp("moved")
    table = pa.Table.from_pylist(rows, schema=VARIANTS.schema)
    plan = made_up_runs.plan_variants(folder, table, shard_rows=3, rejects=rejects)
    made_up_runs.write_variants(
        folder / "run", plan, TRACKS, moved_value, blocks=store_runs.TWO_BLOCKS, mantissa_bits=23
    )
    return open_run(folder / "run")


def test_rows_come_back_in_their_order_with_their_own_columns(run) -> None:
    asked = table(
        ("HLA-A*01:01", 9, "T", "A"),
        ("chr2", 101, "A", "C"),
        ("2", 600, "G", "T"),
        ("chr2", 130, world.LONG, "A"),
    ).with_columns(slope=pl.Series([0.5, 1.5, None, 2.5]))
    joined = run.join_variants(asked, tracks=[5, 3], stats="SAD").collect()
    assert_frame_equal(joined.select(asked.columns), asked)
    assert joined.columns == [*asked.columns, "status", "variant", "SAD_t0003", "SAD_t0005"]
    assert joined["status"].to_list() == ["scored", "not in run", "scored", "scored"]
    assert joined["variant"].to_list() == [4, None, 1, 0]
    owed = [world.value(4, "SAD", 5), None, world.value(1, "SAD", 5), world.value(0, "SAD", 5)]
    assert joined["SAD_t0005"].to_list() == owed


def test_a_variant_that_the_run_has_twice_comes_twice(run) -> None:
    asked = table(("chr2", 600, "G", "T"), ("chr2", 100, "A", "C"), ("chr2", 100, "A", "C"))
    joined = run.join_variants(asked, stats="logSAD", tracks=8).collect()
    assert joined["variant"].to_list() == [1, 3, 8, 3, 8]
    assert joined["logSAD_t0008"].to_list() == [
        world.value(n, "logSAD", 8) for n in (1, 3, 8, 3, 8)
    ]


def test_keys_may_be_those_that_the_input_stated(moved) -> None:
    asked = table(
        ("1", 20, "CA", "C"),  # as scored: both statements of it
        ("chr1", 26, "ACA", "AC"),  # as one of them was stated: both all the same
        ("chr1", 89, "TGA", "TTA"),  # padded, and in another case
        ("chr1", 90, "g", "t"),
        ("chr1", 26, "CA", "C"),  # stated by nobody
    )
    joined = moved.join_variants(asked, tracks=3).collect()
    assert joined["pos"].to_list() == [20, 20, 26, 26, 89, 90, 26]
    assert joined["variant"].to_list() == [0, 2, 0, 2, 1, 1, None]
    assert joined["status"].to_list() == ["scored"] * 6 + ["not in run"]
    owed = [0.03, 1.03, 0.03, 1.03, 2.03, 2.03, None]
    assert joined["SAD_t0003"].to_list() == pytest.approx(owed)


def test_what_was_rejected_says_why_under_any_name_of_its_chromosome(moved) -> None:
    asked = table(
        ("1", 40, "t", "<del>"), ("Un", 7, "A", "G"), ("chrUn", 7, "A", "T"), (None, 7, "A", "G")
    )
    joined = moved.join_variants(asked, tracks=3).collect()
    assert joined["status"].to_list() == [
        "rejected: symbolic_alt",
        "rejected: unknown_chromosome",
        "not in run",
        "not in run",
    ]
    assert joined["SAD_t0003"].null_count() == 4
    assert joined["variant"].null_count() == 4


VARIANTS_OF_RUN = [variant for shard in world.SHARDS for variant in shard]
ASKED = st.one_of(
    st.sampled_from(VARIANTS_OF_RUN).map(lambda variant: variant[1:]),
    st.tuples(
        st.sampled_from(["chr2", "2", "chr9", "9", "HLA-A*01:01"]),
        st.sampled_from([5, 7, 9, 99, 100, 101, 130, 600]),
        st.sampled_from(["A", "T", "AC", "G"]),
        st.sampled_from(["A", "C", "G", "*"]),
    ),
)


@settings(max_examples=40, deadline=None)
@given(st.lists(ASKED, max_size=8))
def test_every_row_comes_back_once_per_match(run, asked) -> None:
    frame = table(*asked).with_row_index("number")
    found = run.join_variants(frame, tracks=13, stats="SAD").collect()
    owed = []
    for number, (chrom, pos, ref, alt) in enumerate(asked):
        full = f"chr{chrom.removeprefix('chr')}" if chrom[0] in "c29" else chrom
        same = [row[0] for row in VARIANTS_OF_RUN if row[1:] == (full, pos, ref, alt)]
        rejected = (full, pos, ref, alt) == ("chr9", 5, "A", "*")
        status = "rejected: spanning_deletion" if rejected else "not in run"
        owed += [(number, "scored", n, float(world.value(n, "SAD", 13))) for n in same]
        owed += [] if same else [(number, status, None, None)]
    assert found.select("number", "status", "variant", "SAD_t0013").rows() == owed


def test_only_files_with_a_key_in_them_are_opened(tmp_path) -> None:
    path = tmp_path / "run"
    world.finish(path)
    run = open_run(path)
    for file in (path / "data").rglob("*.parquet"):
        if not file.name.startswith("chr2_000000139_"):
            file.write_bytes(b"garbage")
    joined = run.join_variants(table(("chr2", 600, "G", "T"), ("chr2", 999, "G", "T"))).collect()
    assert joined["variant"].to_list() == [1, None]
    assert joined["logSAD_t0013"].to_list() == [world.value(1, "logSAD", 13), None]


def test_names_and_types_of_the_frame(run) -> None:
    asked = pl.LazyFrame(
        {"CHR": [2], "BP": pl.Series([600], dtype=pl.UInt16), "A2": ["G"], "A1": ["T"]},
        schema_overrides={"A1": pl.Categorical},
    )
    joined = run.join_variants(asked, on=("CHR", "BP", "A2", "A1"), stats="SAD", tracks=3)
    assert joined.collect()["variant"].to_list() == [1]


def test_an_empty_frame_gives_an_empty_one(run) -> None:
    joined = run.join_variants(table(), tracks=3, stats="SAD").collect()
    assert joined.height == 0
    assert joined.columns == [*KEY, "status", "variant", "SAD_t0003"]


def test_what_is_committed_of_an_unsealed_run(tmp_path) -> None:
    with world.begin(tmp_path / "run") as sink:
        sink.write(2, world.pieces_of(2, sink.blocks))
        run = open_run(tmp_path / "run", allow_unsealed=True)
        asked = table(("chr2", 600, "G", "T"), ("HLA-A*01:01", 9, "T", "A"))
        joined = run.join_variants(asked, tracks=3, stats="SAD").collect()
    assert joined["status"].to_list() == ["not scored yet", "scored"]
    assert joined["variant"].to_list() == [None, 4]


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        (pl.DataFrame({"chrom": ["2"], "position": [1]}), "lacks the column 'pos'"),
        (table().with_columns(pl.col("pos").cast(pl.Float64)), "'pos' of the frame .* is Float64"),
        (table().with_columns(pl.lit(1.5).alias("ref")), "'ref' .* is Float64"),
        (table().with_columns(status=1), "already has the columns status"),
        (table().with_columns(SAD_t0003=1, variant=2), "already has the columns SAD_t0003, varian"),
        (table().with_columns(__cisray_row=1), "__cisray_row"),
    ],
)
def test_frames_that_cannot_be_joined(run, asked, told) -> None:
    with pytest.raises(FrameError, match=told):
        run.join_variants(asked)


def test_what_cannot_be_joined_at_all(run, tmp_path) -> None:
    with pytest.raises(FrameError, match="four columns"):
        run.join_variants(table(), on=("chrom", "pos"))
    with pytest.raises(TypeError, match="from_pandas"):
        run.join_variants({"chrom": []})
    store_runs.finish(tmp_path / "bins")
    with pytest.raises(WrongRun, match="no variants"):
        open_run(tmp_path / "bins").join_variants(table())


def test_a_name_that_fits_two_chromosomes_is_an_error(tmp_path) -> None:
    rows = made_up_runs.snvs({"1": np.array([5]), "chr1": np.array([5])})
    plan = made_up_runs.plan_variants(tmp_path, rows)
    made_up_runs.write_variants(tmp_path / "run", plan, TRACKS, moved_value)
    run = open_run(tmp_path / "run")
    joined = run.join_variants(table(("chr1", 5, "A", "C")), tracks=3).collect()
    assert joined["variant"].to_list() == [1]
    with pytest.raises(UnknownChromosome, match="could mean any of 1, chr1"):
        run.join_variants(table(("CHR1", 5, "A", "C")))
