"""The bytes that a plan foretells, held against files of values spread as real ones are."""

from pathlib import Path

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import stored_size
from numpy.typing import NDArray
from store_runs import make_manifest
from store_variants import make_config, rejects_of

from cisray.store.directory import data_metadata
from cisray.store.encode import encode_data, round_mantissa
from cisray.store.keyed_plan import KeyedPlanWriter
from cisray.store.kinds import kind_of
from cisray.store.layout import value_columns
from cisray.store.manifest import RunManifest
from cisray.store.plan import Plan
from cisray.store.sizes import estimate_bytes
from cisray.store.tile_plan import TilePlan
from cisray_schemas import (
    GENOME_TRACKS,
    SATURATION_SCORES,
    SUBSTITUTIONS,
    VARIANT_SCORES,
    VARIANT_SITE_SCORES,
    VARIANT_SITES,
    VARIANTS,
    WINDOWS,
)

Values = NDArray[np.float32]
BITS = [7, 10, 23]
MOST = 0.2
# A variant every so many bases: of dense and of sparse files.
SPARSE, DENSE = 1_000, 3


@pytest.fixture(scope="module")
def signals() -> Values:
    return stored_size.coverage_like(12)


@pytest.fixture(scope="module")
def effects() -> Values:
    return stored_size.effect_like(12, 20_000)


def drawn(values: Values, columns: int, rows: int) -> list[Values]:
    """Columns of so many rows, each from another stretch."""
    width = values.shape[1] - rows + 1
    return [values[c % len(values)][(977 * c) % width :][:rows] for c in range(columns)]


def size_of_files(
    plan: Plan, manifest: RunManifest, blocks: dict[str, list[int]], values: Values
) -> int:
    """Encode every shard of every block as the store does, and add up the bytes."""
    kind, total = kind_of(manifest), 0
    for span in plan.spans.values():
        keys = plan.keys(span.shard)
        for block, members in blocks.items():
            names = value_columns(kind.statistics(manifest), [f"t{t:04d}" for t in members])
            columns = drawn(values, len(names), span.rows)
            rounded = [pa.array(round_mantissa(c, manifest.mantissa_bits)) for c in columns]
            schema = kind.data.with_values(names)
            file = pa.Table.from_arrays([*keys.columns, *rounded], schema=schema)
            total += len(encode_data(file, kind.pages, data_metadata(manifest, block, span)))
    return total


def check(plan: Plan, manifest: RunManifest, blocks: dict[str, list[int]], values: Values) -> None:
    told = estimate_bytes(manifest, plan, blocks, [span.rows for span in plan.spans.values()])
    size = size_of_files(plan, manifest, blocks, values)
    assert told == pytest.approx(size, rel=MOST), told / size


def tiles(bins: list[int]) -> TilePlan:
    """A shard of one tile for each number of bins."""
    rows, start = [], 0
    for shard, count in enumerate(bins):
        end = start + 128 * count
        rows.append({
            "shard": shard, "tile": shard, "chrom": "chr21", "start": start, "end": end,
            "input_start": start - 40_960, "input_end": end + 40_960, "missing_bp": 0,
            "acgt_bp": end - start, "bins": count, "scored": True,
        })  # fmt: skip
        start = end
    return TilePlan(pa.Table.from_pylist(rows, schema=WINDOWS.schema), 128)


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize(
    ("bins", "blocks"),
    [
        ([57_344], {"sel": [*range(24)]}),
        ([40_000], {"sel": [7]}),
        ([7_168, 3_584], {"sel": [*range(100)]}),
        ([896] * 3, {"sel": [*range(12)]}),
        ([896], {"cage": [*range(300)], "chip_0": [*range(300, 700)]}),
        ([71, 24], {"sel": [*range(8)]}),
        ([3, 3, 2], {"sel": [0]}),
    ],
)
def test_bins(signals, bits: int, bins: list[int], blocks: dict[str, list[int]]) -> None:
    plan = tiles(bins)
    manifest = make_manifest(
        table=GENOME_TRACKS.format, plan_sha256=plan.sha256, num_shards=plan.num_shards,
        mantissa_bits=bits, genome="hg38.fa.gz",
    )  # fmt: skip
    check(plan, manifest, blocks, signals)


def variant_rows(count: int, apart: int, dice: np.random.Generator) -> dict[str, object]:
    """Keys of variants, sorted by place, numbered as the file had them; one in twelve an indel."""
    letters = list("ACGT")
    pos = np.sort(dice.integers(1, count * apart, count))
    longer = ["".join(dice.choice(letters, dice.integers(1, 9))) for _ in range(count)]
    ref = [f"{a}{more * (dice.random() < 1 / 12)}" for a, more in
           zip(dice.choice(letters, count), longer, strict=True)]  # fmt: skip
    alt = dice.choice(letters, count)
    genes = [f"ENSG{number:011d}" for number in dice.integers(10**5, 3 * 10**5, count)]
    return {
        "variant": np.arange(count), "chrom": ["chr21"] * count, "pos": pos, "ref": ref,
        "alt": alt, "id": [f"rs{n}" for n in dice.integers(10**4, 10**9, count)],
        "source_chrom": ["21"] * count, "source_pos": pos, "source_ref": ref, "source_alt": alt,
        "missing_bp": np.zeros(count), "record": np.arange(count), "line": np.arange(count) + 20,
        "alt_index": np.zeros(count), "site": dice.integers(0, 9_999, count), "site_name": genes,
        "site_start": pos + 99, "site_end": pos + 999, "first_bin": dice.integers(0, 896, count),
        "bins": dice.integers(1, 5, count),
    }  # fmt: skip


def substitution_rows(count: int, apart: int, dice: np.random.Generator) -> dict[str, object]:
    ref = np.repeat(dice.choice(list("ACGT"), -(-count // 3)), 3)
    alts = {base: [other for other in "ACGT" if other != base] for base in "ACGT"}
    return {
        "variant": np.arange(count), "region": np.zeros(count), "chrom": ["chr21"] * count,
        "pos": 1_000 + np.arange(count) // 3, "ref": ref[:count],
        "alt": [alts[base][row % 3] for row, base in enumerate(ref[:count])],
        "missing_bp": np.zeros(count),
    }  # fmt: skip


KINDS = {
    "variants": (VARIANTS, VARIANT_SCORES, variant_rows),
    "sites": (VARIANT_SITES, VARIANT_SITE_SCORES, variant_rows),
    "saturation": (SUBSTITUTIONS, SATURATION_SCORES, substitution_rows),
}


def keyed(folder: Path, kind: str, rows: list[int], apart: int, statistics: tuple[str, ...]):
    """A plan of shards with so many rows each, and its manifest, at 10 bits."""
    planned, data, make = KINDS[kind]
    dice = np.random.default_rng(3)
    whole = make(sum(rows), apart, dice)
    whole["site"] = np.arange(sum(rows)) if kind == "sites" else 0
    columns = {field.name: pa.array(whole[field.name]).cast(field.type) for field in planned.schema}
    order = [(name, "ascending") for name in planned.sort_by]
    table = pa.table(columns).cast(planned.schema).sort_by(order)
    first = 0
    with KeyedPlanWriter(folder / "plan", planned, data) as writer:
        for count in rows:
            writer.add_shard(table.slice(first, count))
            first += count
    plan = writer.close()
    pq.write_table(rejects_of(0), folder / "rejects")
    plan = plan.with_rejects(folder / "rejects")
    manifest = make_manifest(
        job="score-variants", table=data.format, plan_sha256=plan.sha256,
        num_shards=plan.num_shards, mantissa_bits=10, config=make_config(plan, statistics),
    )  # fmt: skip
    return plan, manifest


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("rows", "apart", "statistics", "tracks"),
    [
        ([10_000], SPARSE, ("SAD", "SADR"), 20),
        ([6_000, 3_000], DENSE, ("SAD",), 1),
        ([1_000, 1_000], SPARSE, ("REF", "SAD", "logSAD"), 60),
        ([40] * 5, SPARSE, ("SAD", "SADR"), 50),
        ([40] * 5, DENSE, ("SAD",), 3),
        ([4], SPARSE, ("SAD",), 1),
    ],
)
def test_effects(effects, tmp_path, kind, rows, apart, statistics, tracks: int) -> None:
    plan, manifest = keyed(tmp_path, kind, rows, apart, statistics)
    for bits in BITS:
        changed = manifest.model_copy(update={"mantissa_bits": bits})
        check(plan, changed, {"sel": [*range(tracks)]}, effects)


@pytest.mark.realdata
def test_effects_spread_as_those_of_a_published_run(shared, tmp_path) -> None:
    """Draw from the percentiles that Basenji's own run over many variants has of every target."""
    with h5py.File(shared / "data/sad_h5/basenji_tests_sad.h5") as file:
        levels, percentiles = file["percentiles"][:], file["SAD_pct"][:40].astype(np.float32)
    dice = np.random.default_rng(5)
    drawn = [np.interp(dice.random(20_000), levels, track) for track in percentiles]
    plan, manifest = keyed(tmp_path, "variants", [10_000, 2_000], SPARSE, ("SAD",))
    for bits in BITS:
        changed = manifest.model_copy(update={"mantissa_bits": bits})
        check(plan, changed, {"sel": [*range(40)]}, np.array(drawn, np.float32))


def test_no_files_take_nothing(tmp_path) -> None:
    plan, manifest = keyed(tmp_path, "variants", [4], SPARSE, ("SAD",))
    assert estimate_bytes(manifest, plan, {"sel": [3]}, []) == 0
