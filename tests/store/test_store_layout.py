"""Blocks of tracks and names of files."""

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cisray.store.layout import assign_blocks, track_path
from cisray.store.plan import ShardSpan
from cisray.tracks import TrackSet
from cisray_schemas.tracks import TRACKS


def tracks_of(assays: list[str], first: int = 0) -> TrackSet:
    rows = [
        {
            "track": first + i, "column": f"t{first + i:04d}", "assay": assay,
            "identifier": f"X{i}", "description": f"{assay}:{i}",
            "clip": None, "scale": None, "sum_stat": None,
        }
        for i, assay in enumerate(assays)
    ]  # fmt: skip
    return TrackSet("human", pa.Table.from_pylist(rows, schema=TRACKS.schema))


def test_the_human_head_has_ten_blocks() -> None:
    # 674 DNASE + 10 ATAC = 684; 3,991 CHIP in ceil(3991 / 512) = 8 parts of 498 or 499; 638 CAGE.
    head = tracks_of(["DNASE"] * 674 + ["ATAC"] * 10 + ["CHIP"] * 3991 + ["CAGE"] * 638)
    sizes = {name: len(members) for name, members in assign_blocks(head).items()}
    assert sizes.pop("cage") == 638
    assert sizes.pop("dnase_atac") == 684
    assert list(sizes) == [f"chip_{i}" for i in range(8)]
    assert set(sizes.values()) == {498, 499}
    assert assign_blocks(head)["cage"][0] == 4675


def test_up_to_700_tracks_are_one_block() -> None:
    assert assign_blocks(tracks_of(["CHIP"] * 700, first=9)) == {"sel": list(range(9, 709))}
    # 701 are cut in ceil(701 / 512) = 2 parts of 350 and 351.
    cut = assign_blocks(tracks_of(["CHIP"] * 701, first=9))
    assert {name: (m[0], m[-1]) for name, m in cut.items()} == {
        "chip_0": (9, 358),
        "chip_1": (359, 709),
    }


ASSAYS = st.sampled_from(["CAGE", "DNASE", "ATAC", "CHIP", "", "RNA"])


@given(st.lists(ASSAYS, min_size=1, max_size=3), st.integers(1, 900))
def test_blocks_hold_every_track_once_within_bounds(assays: list[str], repeats: int) -> None:
    head = tracks_of(assays * repeats, first=5)
    blocks = assign_blocks(head)
    assert sorted(t for members in blocks.values() for t in members) == head.indices.tolist()
    assert all(members == sorted(members) for members in blocks.values())
    assert max(map(len, blocks.values())) <= 700
    assert blocks == assign_blocks(head)


@pytest.mark.parametrize(
    ("chrom", "encoded"),
    [("chr2", "chr2"), ("a/b=c", "a%2Fb%3Dc"), ("_un", "%5Fun"), (".", "%2E"), ("µ", "%C2%B5")],
)
def test_chromosomes_are_percent_encoded(chrom: str, encoded: str) -> None:
    path = track_path("chip_0", ShardSpan(0, chrom, 25_690_112, 33_030_144, 1), "3f9a1c07")
    assert path == (
        f"data/tracks/block=chip_0/chrom={encoded}/{encoded}_025690112_033030144.3f9a1c07.parquet"
    )
