"""Plans whose rows are known by keys: shards, spans and digests."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import store_variants

from cisray.errors import ResultsError, StorageError
from cisray.store.keyed_plan import KeyedPlan, KeyedPlanWriter
from cisray.store.local_folder import stored
from cisray.store.plan import ShardSpan
from cisray_schemas import SATURATION_SCORES, SUBSTITUTIONS, VARIANT_SCORES, VARIANTS


def rows(chrom: str, *positions: int, line: int | None = 7, ref: str = "A") -> pa.Table:
    entries = [
        {
            "variant": number,
            "chrom": chrom,
            "pos": pos,
            "ref": ref,
            "alt": "GT",
            "id": "",
            "source_chrom": chrom.removeprefix("chr"),
            "source_pos": pos + 1,
            "source_ref": "A",
            "source_alt": "GT",
            "missing_bp": 0,
            "record": number,
            "line": line,
            "alt_index": 0,
        }
        for number, pos in enumerate(positions)
    ]
    return pa.Table.from_pylist(entries, schema=VARIANTS.schema)


def plan_of(path: Path, *shards: pa.Table) -> KeyedPlan:
    with KeyedPlanWriter(path, VARIANTS, VARIANT_SCORES) as writer:
        for shard in shards:
            writer.add_shard(shard)
        return writer.close()


def test_shards_keep_their_rows_and_know_their_span(tmp_path: Path) -> None:
    first, second = rows("chr1", 5, 5, 9), rows("chr2", 1)
    plan = plan_of(tmp_path / "p.parquet", first, second)
    assert (plan.num_shards, plan.rows) == (2, 4)
    assert plan.spans == {0: ShardSpan(0, "chr1", 4, 9, 3), 1: ShardSpan(1, "chr2", 0, 1, 1)}
    assert plan.entries(0).equals(first)
    assert plan.keys(1).equals(second.select(VARIANT_SCORES.schema.names))


def test_spans_reach_to_the_end_of_the_longest_ref(tmp_path: Path) -> None:
    # Position 5 is base 4 (0-based), and five bases from there end before base 9; from 7, 11.
    for ref, end in (("A", 7), ("ACGTA", 11)):
        plan = plan_of(tmp_path / ref, rows("chr1", 5, 7, ref=ref))
        assert plan.spans[0] == ShardSpan(0, "chr1", 4, end, 2)
    within = pa.concat_tables([rows("chr1", 5, ref="ACGTA"), rows("chr1", 7)])
    assert plan_of(tmp_path / "within", within).spans[0].end == 9


def test_chromosomes_are_in_the_order_of_the_plan(tmp_path: Path) -> None:
    chroms = ("chr2", "chr10", "chr1")
    plan = plan_of(tmp_path / "p", *(rows(chrom, 1) for chrom in chroms))
    assert plan.chromosomes == list(chroms)


def test_opening_a_plan_reads_no_rows(tmp_path: Path) -> None:
    plan = plan_of(tmp_path / "p", rows("chr1", 5, 9), rows("chr2", 1))
    path = Path(str(plan.file))
    data = bytearray(path.read_bytes())
    first = pq.read_metadata(path).row_group(0).column(0)
    data[first.dictionary_page_offset or first.data_page_offset] ^= 0xFF
    path.write_bytes(data)
    again = KeyedPlan(plan.file, VARIANTS, VARIANT_SCORES)
    assert (again.spans, again.sha256, again.rows) == (plan.spans, plan.sha256, 3)
    with pytest.raises(StorageError, match="its shard 0"):
        again.keys(0)
    assert again.keys(1).num_rows == 1


@pytest.mark.parametrize(
    "shards",
    [
        (rows("chr1", 5, 4),),
        (rows("chr1", 5, 9), rows("chr1", 8)),
        (rows("chr1", 5, 9), rows("chr1", 5, 9)),
        (rows("chr1", 5), rows("chr2", 5), rows("chr1", 9)),
        (rows("chr1", 5, ref="C"), rows("chr1", 5, ref="A")),
    ],
)
def test_rows_out_of_order_are_refused(tmp_path: Path, shards: tuple[pa.Table, ...]) -> None:
    with pytest.raises(ResultsError, match=f"shard {len(shards) - 1} .* out of order"):
        plan_of(tmp_path / "p", *shards)
    with pytest.raises(pa.ArrowInvalid, match="did not finish"):
        KeyedPlan(stored(tmp_path / "p"), VARIANTS, VARIANT_SCORES)


def test_a_plan_of_other_columns_is_refused(tmp_path: Path) -> None:
    plan = plan_of(tmp_path / "p", rows("chr1", 5))
    with pytest.raises(pa.ArrowInvalid, match="a plan of substitutions has"):
        KeyedPlan(plan.file, SUBSTITUTIONS, SATURATION_SCORES)


def test_rejects_are_digested_by_value(tmp_path: Path) -> None:
    rejects = store_variants.rejects_of(5)
    pq.write_table(rejects, tmp_path / "one")
    pq.write_table(rejects, tmp_path / "cut", row_group_size=2, compression="none")
    pq.write_table(rejects.slice(1), tmp_path / "fewer")
    plan = plan_of(tmp_path / "p")
    one, cut, fewer = (
        plan.with_rejects(tmp_path / name).rejects_sha256 for name in ("one", "cut", "fewer")
    )
    assert one == cut != fewer
    with pytest.raises(ValueError, match="with_rejects"):
        _ = plan.rejects_sha256
    with pytest.raises(StorageError, match="a table of rejects has"):
        _ = plan.with_rejects(Path(str(plan.file))).rejects_sha256


def test_nothing_to_score_is_a_plan(tmp_path: Path) -> None:
    plan = plan_of(tmp_path / "p.parquet")
    assert (plan.num_shards, plan.rows, dict(plan.spans)) == (0, 0, {})
    assert len(plan.sha256) == 64


def test_the_digest_sees_every_value_and_every_cut(tmp_path: Path) -> None:
    plans = [
        (rows("chr1", 5, 9),),
        (rows("chr1", 5), rows("chr1", 9)),
        (rows("chr1", 5, 8),),
        (rows("chr10", 5, 9),),
        (rows("chr1", 5, 9, line=None),),
        (rows("chr1", 5, 9, line=0),),
        (),
    ]
    digests = {plan_of(tmp_path / f"{n}.parquet", *plan).sha256 for n, plan in enumerate(plans)}
    assert len(digests) == len(plans)
    again = plan_of(tmp_path / "again.parquet", *plans[0])
    assert again.sha256 == plan_of(tmp_path / "0.parquet", *plans[0]).sha256


def test_a_shard_has_rows_of_one_chromosome(tmp_path: Path) -> None:
    with KeyedPlanWriter(tmp_path / "p.parquet", VARIANTS, VARIANT_SCORES) as writer:
        for wrong in (rows("chr1"), pa.concat_tables([rows("chr1", 1), rows("chr2", 1)])):
            with pytest.raises(ResultsError, match="shard 0"):
                writer.add_shard(wrong)
