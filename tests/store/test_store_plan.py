"""The shard plan: rows owed, and plans that cannot be."""

import pytest
import store_runs as world
from hypothesis import given

from cisray.errors import CoordinateError
from cisray.store.manifest import RunManifest, manifest_differences


def test_rows_owed_by_the_small_run() -> None:
    plan = world.make_plan()
    assert plan.num_shards == 3
    assert plan.rows == 15
    assert (plan.tiles_scored, plan.tiles_skipped) == (4, 1)
    assert plan.chromosomes == ["chr2", "HLA-A*01:01"]
    assert {shard: plan.starts(shard).tolist() for shard in range(3)} == world.STARTS
    # The tile at 1536 is not scored: shard 1 begins at 2048 and ends after 3 bins of 128.
    span = plan.spans[1]
    assert (span.chrom, span.start, span.end, span.rows) == ("chr2", 2048, 2432, 3)


def test_a_shard_without_scored_tiles_owes_nothing() -> None:
    plan = world.make_plan(
        (
            (0, 0, "chr2", 512, 4, True),
            (1, 1, "chr2", 1024, 4, False),
            (2, 2, "chr2", 1536, 4, True),
        )
    )
    assert list(plan.spans) == [0, 2]
    assert plan.num_shards == 3
    assert plan.starts(1).tolist() == []


WRONG = {
    "a gap in the shards": (((0, 0, "a", 0, 4, True), (2, 1, "a", 512, 4, True)), "without gaps"),
    "shards from one": (((1, 0, "a", 0, 4, True),), "numbered 0"),
    "two chromosomes": (((0, 0, "a", 0, 4, True), (0, 0, "b", 0, 4, True)), "two chromosomes"),
    "a chromosome twice": (
        ((0, 0, "a", 0, 4, True), (1, 0, "b", 0, 4, True), (2, 1, "a", 512, 4, True)),
        "stand together",
    ),
    "overlap": (((0, 0, "a", 128, 4, True), (1, 1, "a", 512, 4, True)), "up to 640 .* from 512"),
    "descending": (((0, 1, "a", 512, 4, True), (0, 0, "a", 0, 4, True)), "out of order"),
    "too many bins": (((0, 3, "a", 128, 5, True),), "128 to 640 .* with 5 bins"),
    "no bins": (((0, 3, "a", 128, 0, True),), "with 0 bins"),
    "before the start": (((0, 0, "a", -128, 4, True),), "target -128"),
    "beyond int32": (((0, 0, "a", 2**31 - 512, 4, True),), "2,147,483,647"),
    "nothing": ((), "no tiles"),
}


@pytest.mark.parametrize(("tiles", "message"), WRONG.values(), ids=WRONG.keys())
def test_impossible_plans_are_refused(tiles, message) -> None:
    with pytest.raises(CoordinateError, match=message):
        world.make_plan(tiles)


@given(world.tilings())
def test_the_shards_together_owe_every_scored_bin_once(tiles) -> None:
    plan = world.make_plan(tiles)
    owed = [
        (chrom, start + 128 * bin_)
        for _, _, chrom, start, bins, scored in tiles
        if scored
        for bin_ in range(bins)
    ]
    listed = [
        (span.chrom, int(start))
        for shard, span in plan.spans.items()
        for start in plan.starts(shard)
    ]
    assert listed == owed
    assert plan.rows == len(owed)
    for shard, span in plan.spans.items():
        starts = plan.starts(shard)
        assert (span.start, span.end) == (starts[0], starts[-1] + 128)


def test_digest_of_the_plan_sees_every_column() -> None:
    digests = {world.make_plan().sha256}
    for column, other in (("bins", 3), ("start", 4096), ("scored", False)):
        tiles = [list(tile) for tile in world.TILES]
        tiles[-1][{"start": 3, "bins": 4, "scored": 5}[column]] = other
        digests.add(world.make_plan(tuple(map(tuple, tiles))).sha256)
    assert len(digests) == 4


def test_identities_of_earlier_versions_still_hold() -> None:
    # Written down when there were no runs of variants: a run begun then must be found again.
    manifest = world.make_manifest()
    assert manifest.plan_sha256.startswith("475779efa5c6be70ff7f")
    assert manifest.digest.startswith("fde19d8b34c59f4d9aef")


def test_history_is_not_identity() -> None:
    manifest = world.make_manifest()
    for change in ({"created": "now"}, {"provenance": {"gpu": "H200"}}, {"genome": "moved.fa"}):
        assert world.make_manifest(**change).digest == manifest.digest


IDENTITY = {
    "job": "other", "table": "cisray.genome_tracks/2", "config": {}, "model_sha256": "0",
    "genome_sha256": "0", "tracks_sha256": "0", "plan_sha256": "0", "num_shards": 9, "bin_bp": 64,
    "mantissa_bits": 7, "code_version": "9",
}  # fmt: skip


@pytest.mark.parametrize("field", IDENTITY)
def test_each_identity_field_changes_the_digest_and_is_told(field) -> None:
    old, new = world.make_manifest(), world.make_manifest(**{field: IDENTITY[field]})
    assert new.digest != old.digest
    assert all(text.startswith(field) for text in manifest_differences(old, new))
    assert manifest_differences(old, new)


def test_identity_fields_are_all_in_the_test_above() -> None:
    history = {"format", "begun", "created", "provenance", "genome"}
    assert set(IDENTITY) == set(RunManifest.model_fields) - history


def test_manifests_survive_json() -> None:
    manifest = world.make_manifest(created="2026-01-01")
    assert RunManifest.model_validate_json(manifest.model_dump_json()) == manifest
    with pytest.raises(ValueError, match="surplus"):
        world.make_manifest(surplus=1)
