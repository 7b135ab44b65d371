"""Queries beyond a scan, of runs that link to the scores of others."""

from pathlib import Path

import polars as pl
import pytest
import store_variants as world
from store_links import Link, Parts, finish, values_of

from cisray.errors import WrongRun
from cisray.store import linked_rows
from cisray.store.queries.top import Sign
from cisray.store.scan import Run, open_run
from cisray.store.summarise import summarise_run

SHARDS = (((2, "chr2", 300, "G", "T"),), ((6, "chr10", 9, "A", "C"),))


@pytest.fixture
def run(tmp_path: Path) -> Run:
    world.finish(tmp_path / "old")
    old = open_run(tmp_path / "old")
    links = (
        (
            Link((5, "chr2", 100, "A", "C"), old, 3),
            Link((3, "chr2", 600, "G", "T"), old, 1),
        ),
        (Link((4, "HLA-A*01:01", 9, "T", "A"), old, 4),),
    )
    return finish(tmp_path / "new", Parts(SHARDS, links))


def test_a_joined_frame_finds_what_the_run_links_to(run: Run) -> None:
    asked = [
        ("HLA-A*01:01", 9, "T", "A"),
        ("chr2", 300, "G", "T"),
        ("2", 600, "g", "t"),
        ("chr2", 101, "A", "C"),
        ("chr2", 100, "A", "C"),
        ("chr10", 9, "A", "C"),
    ]
    frame = pl.DataFrame(asked, schema=["chrom", "pos", "ref", "alt"], orient="row")
    found = run.join_variants(frame).collect()
    assert found.select("chrom", "pos", "ref", "alt").rows() == asked
    none = "not in run"
    assert found["status"].to_list() == ["scored", "scored", "scored", none, "scored", "scored"]
    assert found["variant"].to_list() == [4, 2, 3, None, 5, 6]
    scores = found.select(world.value_names()).rows()
    # Numbers of the run that holds the scores.
    held = [4, 2, 1, None, 3, 6]
    width = len(world.value_names())
    assert scores == [
        (None,) * width if number is None else tuple(map(float, values_of(number)))
        for number in held
    ]


@pytest.mark.parametrize("most", [1, 2, 1 << 16])
@pytest.mark.parametrize("region", [None, "chr2", "chr2:100-300", "{HLA-A*01:01}:1-20", "chr10"])
@pytest.mark.parametrize("sign", ["abs", "positive", "negative"])
def test_the_strongest_are_those_of_all_rows(
    run: Run, monkeypatch: pytest.MonkeyPatch, most: int, region: str | None, sign: Sign
) -> None:
    """Against the frame of a scan, sorted; linked rows take part, with this run's numbers."""
    monkeypatch.setattr(linked_rows, "STRETCH_ROWS", most)
    rows = run.scan(region=region, stats="SAD").collect()
    found = run.top(3, region=region, sign=sign)
    for group, ranked in found.group_by("group", maintain_order=True):
        column = f"SAD_{group[0]}"
        wanted = rows.with_row_index("place")
        if sign != "abs":
            wanted = wanted.filter(pl.col(column) > 0 if sign == "positive" else pl.col(column) < 0)
        wanted = wanted.sort(pl.col(column).abs(), "place", descending=[True, False]).head(3)
        assert ranked["variant"].to_list() == wanted["variant"].to_list()
        assert ranked["SAD"].to_list() == wanted[column].to_list()
        assert ranked.select("chrom", "pos", "alt").equals(wanted.select("chrom", "pos", "alt"))


def test_what_reads_files_one_by_one_refuses_links(run: Run) -> None:
    with pytest.raises(WrongRun, match="links to scores of other runs"):
        summarise_run(run.path)
