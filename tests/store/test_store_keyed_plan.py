"""Plans whose rows are known by keys: shards, spans and digests."""

from pathlib import Path

import pyarrow as pa
import pytest

from cisray.errors import ResultsError
from cisray.store.keyed_plan import KeyedPlan, KeyedPlanWriter
from cisray.store.plan import ShardSpan
from cisray_schemas import VARIANT_SCORES, VARIANTS


def rows(chrom: str, *positions: int, line: int | None = 7) -> pa.Table:
    entries = [
        {
            "variant": number,
            "chrom": chrom,
            "pos": pos,
            "ref": "A",
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
