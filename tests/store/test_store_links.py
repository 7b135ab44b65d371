"""Runs that link to the scores of others: what is read, counted, found again, and refused."""

import os
import shutil
from pathlib import Path

import polars as pl
import pytest
import store_links as linked_world
import store_runs as bins
import store_variants as world
from hypothesis import given, settings
from hypothesis import strategies as st
from store_links import Link, Parts, begin, expected_rows, finish

from cisray.errors import RunConflict, RunIncomplete, RunNotFound, StorageError, WrongRun
from cisray.store import linked_rows
from cisray.store.linked_rows import stretches
from cisray.store.links import Origin, recorded_places, told_places
from cisray.store.plan import ShardSpan
from cisray.store.scan import Run, open_run

COLUMNS = ["variant", "chrom", "pos", "ref", "alt", *world.value_names()]
LONG = world.LONG
# (variant, chrom, pos, ref, alt): rows of the old run, under other numbers in the new one.
NEW_SHARDS = (
    ((4, "chr2", 90, "A", "C"), (6, "chr2", 100, "A", "CC")),
    ((2, "chr2", 300, "G", "T"),),
    ((10, "chr10", 9, "A", "C"),),
)


@pytest.fixture
def old(tmp_path: Path) -> Run:
    world.finish(tmp_path / "old")
    return open_run(tmp_path / "old")


def parts_of(old: Run, **changes: object) -> Parts:
    """Of both chromosomes of the old run, with an allele twice and a deletion over own rows."""
    links = (
        (
            Link((5, "chr2", 100, "A", "C"), old, 3),
            Link((9, "chr2", 100, "A", "C"), old, 3),
            Link((1, "chr2", 130, LONG, "A"), old, 0),
        ),
        (Link((0, "chr2", 600, "G", "T"), old, 1),),
        (Link((7, "HLA-A*01:01", 9, "T", "A"), old, 4),),
    )
    return Parts(NEW_SHARDS, links, dict(changes))


def rows(run: Run, **options) -> list[tuple]:
    return run.scan(**options).select(COLUMNS).collect().rows()


@pytest.mark.parametrize("most", [1, 2, 3, 1 << 16])
def test_rows_and_links_come_in_one_order(
    old: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    """Also where a stretch ends within the rows of one shard of the other kind."""
    monkeypatch.setattr(linked_rows, "STRETCH_ROWS", most)
    parts = parts_of(old)
    run = finish(tmp_path / "new", parts)
    expected = expected_rows(parts)
    numbers = [row[0] for row in expected]
    assert numbers == [4, 5, 9, 6, 1, 2, 0, 7, 10]
    assert rows(run) == expected
    assert run.chromosomes == ["chr2", "HLA-A*01:01", "chr10"]
    assert rows(run, linked=False) == [row for row in expected if row[0] in (4, 6, 2, 10)]
    # The keys are those of the new file.
    told = run.scan().select("variant", "id", "source_chrom", "missing_bp").collect().rows()
    assert told[1:3] == [(5, "rs5", "2", 1), (9, "rs9", "2", 1)]
    assert dict(run.scan().collect_schema()) == dict(run.scan(linked=False).collect_schema())
    assert run.scan().collect_schema() == run.scan().collect().schema
    assert run.scan().sort("variant").collect()["variant"].to_list() == sorted(numbers)
    for first in range(9):
        some = run.scan().slice(first, 2).select(COLUMNS).collect().rows()
        assert some == expected[first : first + 2]


def test_selections_are_those_of_any_run(old: Run, tmp_path: Path) -> None:
    run = finish(tmp_path / "new", parts_of(old))
    frame = run.scan(tracks=[13, "CAGE"], stats="logSAD", region="chr2:100-100").collect()
    assert frame.columns[-3:] == ["logSAD_t0003", "logSAD_t0008", "logSAD_t0013"]
    assert frame["variant"].to_list() == [5, 9, 6]
    assert frame["logSAD_t0013"].to_list() == [world.value(n, "logSAD", 13) for n in (3, 3, 6)]
    plan = run.scan(tracks="CHIP:CTCF").explain()
    assert "block=other" in plan
    assert "block=cage" not in plan
    # A chromosome that only links are on, and one that only rows are on.
    assert run.scan(region="HLA-A*01:01").collect()["variant"].to_list() == [7]
    assert run.scan(region="chr10").collect()["variant"].to_list() == [10]
    assert run.scan(region="HLA-A*01:01", linked=False).collect().height == 0
    hit = run.scan().filter(pl.col("pos") == 100, pl.col("SAD_t0003") < 1e9).collect()
    assert hit["variant"].to_list() == [5, 9, 6]


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(["chr2", "HLA-A*01:01", "chr10"]), st.integers(-5, 620), st.integers(1, 500))
def test_a_region_has_every_row_that_it_overlaps_and_no_other(
    tmp_path_factory: pytest.TempPathFactory, chrom: str, start: int, width: int
) -> None:
    folder = tmp_path_factory.getbasetemp() / "linked_regions"
    if not folder.exists():
        world.finish(folder / "old")
        finish(folder / "new", parts_of(open_run(folder / "old")))
    owed = [
        row
        for row in expected_rows(parts_of(open_run(folder / "old")))
        if row[1] == chrom
        and set(range(row[2] - 1, row[2] - 1 + len(row[3]))) & set(range(start, start + width))
    ]
    assert rows(open_run(folder / "new"), region=(chrom, start, start + width)) == owed


spans = st.lists(
    st.tuples(st.sampled_from("abc"), st.integers(0, 30), st.integers(1, 9), st.integers(1, 4)),
    max_size=12,
)


@given(spans, st.integers(1, 9))
def test_stretches_hold_every_base_that_a_row_may_begin_at_once(found, most: int) -> None:
    made = [
        ShardSpan(number, chrom, start, start + width, rows)
        for number, (chrom, start, width, rows) in enumerate(found)
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(linked_rows, "STRETCH_ROWS", most)
        cut = list(stretches(made, ["c", "a", "b"]))
    bases = [(chrom, base) for chrom, start, end in cut for base in range(start, end)]
    owed = {(s.chrom, base) for s in made for base in range(s.start, s.end)}
    assert len(bases) == len(set(bases))
    assert owed <= set(bases)
    assert [chrom for chrom, _, _ in cut] == sorted([c for c, _, _ in cut], key="cab".index)
    for chrom, start, end in cut:
        inside = [s for s in made if s.chrom == chrom and start <= s.start < end]
        assert inside
        # Without the shards at its last beginning it is shorter than is asked for.
        last = max(s.start for s in inside)
        assert sum(s.rows for s in inside if s.start < last) < most


def test_the_table_of_links_says_where_scores_are(old: Run, tmp_path: Path) -> None:
    run = finish(tmp_path / "new", parts_of(old))
    table = run.linked.collect()
    assert table["variant"].to_list() == [5, 9, 1, 0, 7]
    assert table["since_variant"].to_list() == [3, 3, 0, 1, 4]
    assert set(table["since_run"]) == {old.manifest.run_id}
    assert table["chrom"].dtype == pl.Enum(run.chromosomes)
    assert run.variants.collect()["variant"].to_list() == [4, 6, 2, 10]
    assert old.linked.collect().height == 0
    assert old.linked.collect().columns == table.columns
    assert old.linked_runs() == {}
    assert run.linked_runs().keys() == {old.manifest.run_id}
    bins.finish(tmp_path / "bins")
    with pytest.raises(WrongRun, match="no variants"):
        _ = open_run(tmp_path / "bins").linked


def test_a_run_of_links_alone_and_one_without_any(old: Run, tmp_path: Path) -> None:
    links = parts_of(old).links
    alone = finish(tmp_path / "alone", Parts((), links))
    assert [row[0] for row in rows(alone)] == [5, 9, 1, 0, 7]
    assert (alone.files.height, alone.plan.rows) == (0, 0)
    assert alone.scan(linked=False).collect().height == 0
    none = finish(tmp_path / "none", Parts(NEW_SHARDS, ()))
    assert [row[0] for row in rows(none)] == [4, 6, 2, 10]
    assert none.linked.collect().height == 0
    assert (tmp_path / "none/linked.parquet").exists()
    assert not (tmp_path / "old/linked.parquet").exists()


@settings(max_examples=6, deadline=None)
@given(st.data())
def test_any_division_among_two_old_runs_and_the_new_gives_every_row_once(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("division")
    place = st.tuples(
        st.sampled_from(linked_world.CHROMOSOMES), st.integers(1, 9), st.sampled_from(["A", "ACG"])
    )
    drawn = data.draw(st.lists(place, min_size=1, max_size=10))
    numbers = data.draw(st.permutations(range(len(drawn))))
    every = sorted(
        ((n, *at, "TG") for n, at in zip(numbers, drawn, strict=True)), key=linked_world.in_order
    )
    whose = [data.draw(st.sampled_from(["new", "a", "b"])) for _ in every]
    # The old runs have all rows, each under numbers of its own.
    olds = {}
    for name, shift in (("a", 1), ("b", 2)):
        moved = [((n + shift) % len(every), *key) for n, *key in every]
        moved.sort(key=linked_world.in_order)
        olds[name] = (finish(folder / name, Parts(cut(moved, data))), moved)

    def link(variant: world.Variant, name: str) -> Link:
        run, moved = olds[name]
        return Link(variant, run, next(n for n, *key in moved if tuple(key) == variant[1:]))

    own = [variant for variant, of in zip(every, whose, strict=True) if of == "new"]
    linked = [link(variant, of) for variant, of in zip(every, whose, strict=True) if of != "new"]
    shards = cut(own, data)
    link_shards = cut(linked, data, chrom=lambda link: link.variant[1])
    numbered = Parts(shards, link_shards)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(linked_rows, "STRETCH_ROWS", data.draw(st.integers(1, 5)))
        run = finish(folder / "new", numbered)
        assert rows(run) == expected_rows(numbered)
    holders = [olds[of][0] for of in whose if of != "new"]
    assert run.linked_runs().keys() == {holder.manifest.run_id for holder in holders}
    assert run.verify() == run.files.height


def cut(rows_: list, data: st.DataObject, chrom=lambda row: row[1]) -> tuple[tuple, ...]:
    """Cut rows into shards of one chromosome each, anywhere."""
    shards: list[list] = []
    for row in rows_:
        if not shards or chrom(shards[-1][-1]) != chrom(row) or data.draw(st.booleans()):
            shards.append([])
        shards[-1].append(row)
    return tuple(map(tuple, shards))


@pytest.mark.parametrize(
    "changes",
    [
        {"linked": 4},
        {"linked": 6, "entries": 12},
        {"entries": 12},
        {"linked": 4, "rejected": 3},
        {"linked": 0, "entries": 6},
        {"since": {}},
    ],
)
def test_counts_that_do_not_add_up_are_refused(old: Run, tmp_path: Path, changes) -> None:
    """Of 11 entries four have rows, five are linked, two are rejected."""
    with pytest.raises(RunIncomplete, match=r"rows in and rows out differ|does not name"):
        begin(tmp_path / "new", parts_of(old, **changes))
    assert not (tmp_path / "new/run.json").exists()


def test_no_entry_is_both_scored_and_linked(old: Run, tmp_path: Path) -> None:
    for number in (4, 9):  # of a row; of another link
        links = (
            Link((9, "chr2", 100, "A", "C"), old, 3),
            Link((number, "chr2", 130, LONG, "A"), old, 0),
        )
        with pytest.raises(RunIncomplete, match="a second time"):
            begin(tmp_path / "new", Parts(NEW_SHARDS, (links,)))


def test_links_are_counted_again_at_the_seal(old: Run, tmp_path: Path) -> None:
    path = tmp_path / "new"
    parts = parts_of(old)
    with begin(path, parts) as sink:
        for shard in sink.pending():
            sink.write(shard, linked_world.pieces_of(parts.shards[shard], sink.blocks))
        damaged = bytearray((path / "linked.parquet").read_bytes())
        damaged[60] ^= 1
        (path / "linked.parquet").write_bytes(damaged)
        with pytest.raises(StorageError, match=r"linked\.parquet"):
            sink.seal()
    assert not (path / "_SUCCESS").exists()


def test_a_begun_run_goes_on_and_another_one_conflicts(old: Run, tmp_path: Path) -> None:
    path, parts = tmp_path / "new", parts_of(old)
    with begin(path, parts) as sink:
        sink.write(1, linked_world.pieces_of(parts.shards[1], sink.blocks))
    with begin(path, parts) as sink:
        assert sink.pending() == [0, 2]
    fewer = Parts(NEW_SHARDS, parts.links[:2])
    with pytest.raises(RunConflict, match=r"config\.linked: 5 there, 4 now"):
        begin(path, fewer)
    assert rows(finish(path, parts)) == expected_rows(parts)
    assert rows(finish(path, fewer, restart=True)) == expected_rows(fewer)
    assert finish(path, Parts(NEW_SHARDS, ()), restart=True).linked.collect().height == 0
    # Begun anew as a run of another kind, nothing of the links is left.
    bins.finish(path, restart=True)
    assert not (path / "linked.parquet").exists()


def test_a_table_of_links_that_is_gone_or_another_is_named(old: Run, tmp_path: Path) -> None:
    finish(tmp_path / "new", parts_of(old))
    other = finish(tmp_path / "other", Parts(NEW_SHARDS, parts_of(old).links[:1]))
    table = tmp_path / "new/linked.parquet"
    shutil.copy(other.layout.root / "linked.parquet", table)
    with pytest.raises(StorageError, match=r"linked\.parquet is missing or damaged: .*begun with"):
        open_run(tmp_path / "new")
    table.unlink()
    with pytest.raises(StorageError, match=r"linked\.parquet is missing or damaged"):
        open_run(tmp_path / "new")


def test_runs_that_move_together_are_found(old: Run, tmp_path: Path) -> None:
    parts = parts_of(old)
    finish(tmp_path / "new", parts)
    home = tmp_path / "elsewhere"
    home.mkdir()
    for name in ("old", "new"):
        os.rename(tmp_path / name, home / name)
    assert rows(open_run(home / "new")) == expected_rows(parts)
    # The new one alone, away from where the relative path leads: the absolute one still holds.
    os.rename(home / "old", tmp_path / "old")
    assert rows(open_run(home / "new")) == expected_rows(parts)


@pytest.mark.parametrize(
    ("origin", "root", "moved", "found"),
    [
        (Path("/a/old"), Path("/a/b/new"), Path("/x/y/new"), [Path("/x/old"), Path("/a/old")]),
        (Path("/a/old"), Path("/a/new"), Path("/a/new"), [Path("/a/old")]),
        ("s3://k/r/old", "s3://k/r/new", "s3://l/q/new", ["s3://l/q/old", "s3://k/r/old"]),
        # From one kind of place, or one bucket, to another there is no way but the whole one.
        ("s3://k/r/old", "s3://l/r/new", "s3://l/q/new", ["s3://k/r/old"]),
        ("s3://k/old", Path("/a/new"), Path("/x/new"), ["s3://k/old"]),
        (Path("/a/old"), "gs://k/new", "gs://k/q/new", [Path("/a/old")]),
    ],
)
def test_places_are_kept_relative_and_whole(origin, root, moved, found) -> None:
    provenance = told_places({"run-1": Origin("ab", origin)}, root)
    manifest = world.variant_manifest(world.make_plan(), provenance=provenance)
    assert recorded_places(manifest, "run-1", moved) == found
    assert recorded_places(manifest, "run-2", moved) == []


def test_a_run_that_is_elsewhere_is_named_or_told(old: Run, tmp_path: Path) -> None:
    parts = parts_of(old)
    finish(tmp_path / "new", parts)
    os.rename(tmp_path / "old", tmp_path / "gone")
    run = open_run(tmp_path / "new")
    run_id = old.manifest.run_id
    with pytest.raises(RunNotFound, match=rf"links to scores of the run {run_id}.*since=\[PLACE\]"):
        run.scan()
    assert [row[0] for row in rows(run, linked=False)] == [4, 6, 2, 10]
    assert run.linked.collect().height == 5
    for place in (tmp_path / "gone", str(tmp_path / "gone")):
        assert rows(open_run(tmp_path / "new", since=[place])) == expected_rows(parts)
    (tmp_path / "gone/_SUCCESS").unlink()
    with pytest.raises(RunNotFound, match="not sealed"):
        open_run(tmp_path / "new", since=[tmp_path / "gone"]).scan()


def test_another_run_in_its_place_is_not_taken_for_it(old: Run, tmp_path: Path) -> None:
    parts = parts_of(old)
    finish(tmp_path / "new", parts)
    shutil.copytree(tmp_path / "old", tmp_path / "copy")
    other = finish(tmp_path / "old", Parts(world.SHARDS[:2]), restart=True)
    with pytest.raises(StorageError, match=rf"holds another run, {other.manifest.run_id}"):
        open_run(tmp_path / "new").scan()
    assert rows(open_run(tmp_path / "new", since=[tmp_path / "copy"])) == expected_rows(parts)


def test_files_of_the_other_run_that_are_gone_or_damaged(old: Run, tmp_path: Path) -> None:
    run = finish(tmp_path / "new", parts_of(old))
    assert run.verify() == run.files.height
    file = tmp_path / "old" / old.files.filter(pl.col("start") == 99)["path"][0]
    whole = file.read_bytes()
    damaged = bytearray(whole)
    damaged[100] ^= 1
    file.write_bytes(damaged)
    with pytest.raises(StorageError, match=r"is damaged: its sha256"):
        run.verify()
    file.write_bytes(whole[:-1])
    with pytest.raises(StorageError, match="bytes, the run recorded"):
        run.scan()
    file.unlink()
    with pytest.raises(StorageError, match="is missing"):
        run.scan()


def test_a_link_that_leads_to_another_allele_is_found(old: Run, tmp_path: Path) -> None:
    # Number 8 of the old run is the same allele, 5 is not.
    for number, is_right in ((8, True), (5, False)):
        links = ((Link((5, "chr2", 100, "A", "C"), old, number),),)
        run = finish(tmp_path / f"new{number}", Parts(NEW_SHARDS, links))
        if is_right:
            assert run.verify() > 0
        else:
            with pytest.raises(StorageError, match=r"1 links lead to rows .* other alleles"):
                run.verify()
