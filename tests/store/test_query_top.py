"""Rankings: the strongest variants of tracks and of groups, with ties in the order of the run."""

import subprocess
import sys

import made_up_runs
import numpy as np
import polars as pl
import pytest
import store_runs
import store_variants as world
from hypothesis import given, settings
from hypothesis import strategies as st

from cisray.errors import ConfigError, StatisticError, TrackError, WrongRun
from cisray.store.queries import parts, top
from cisray.store.queries.top import Ranking, strongest
from cisray.store.scan import Run, open_run
from cisray.tracks import TrackSet

TRACKS = store_runs.make_tracks()
HELD = list(store_runs.TRACKS_HELD)
ROWS = 97


def scores(statistic: str, track: int, first: int = 0, rows: int = ROWS) -> made_up_runs.Values:
    """Whole numbers from -9 to 9, so that most values tie; of SADR a third is missing."""
    every = np.random.default_rng(track).integers(-9, 10, ROWS).astype(np.float32)
    if statistic == "SADR":
        every[np.arange(ROWS) % 3 == 1] = np.nan
    return every[first : first + rows]


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Run:
    """Two chromosomes in shards of 10 rows, of which two positions are the same."""
    rows = made_up_runs.snvs({"chr2": np.arange(60) // 2 * 7 + 5, "chr10": np.arange(37) * 3 + 1})
    folder = tmp_path_factory.mktemp("runs")
    plan = made_up_runs.plan_variants(folder, rows, shard_rows=10)
    made_up_runs.write_variants(
        folder / "run", plan, TRACKS, scores, statistics=("SAD", "SADR"), partial=["SADR"],
        blocks=store_runs.TWO_BLOCKS,
    )  # fmt: skip
    return open_run(folder / "run")


def expected(
    k: int, tracks: list[int], statistic: str, sign: str, keep=lambda row: True
) -> list[tuple[int, str, float]]:
    """Row of the run, track and value of the k best, by a sort of all of them."""
    table = {track: scores(statistic, track) for track in tracks}
    score = {"abs": abs, "positive": float, "negative": lambda value: -value}[sign]
    best = []
    for row in filter(keep, range(ROWS)):
        there = [(table[t][row], t) for t in tracks if not np.isnan(table[t][row])]
        there = [(v, t) for v, t in there if sign == "abs" or score(v) > 0]
        if there:
            value, track = max(there, key=lambda pair: score(pair[0]))  # the first of equals
            best.append((-score(value), row, f"t{track:04d}", float(value)))
    return [ranked[1:] for ranked in sorted(best)[:k]]


def ranked(frame: pl.DataFrame, group: str, statistic: str) -> list[tuple[int, str, float]]:
    some = frame.filter(pl.col("group") == group)
    assert some["rank"].to_list() == list(range(1, some.height + 1))
    return some.select("variant", "track", statistic).rows()


@pytest.mark.parametrize("sign", ["abs", "positive", "negative"])
@pytest.mark.parametrize("statistic", ["SAD", "SADR"])
@pytest.mark.parametrize("k", [1, 7, 40, 500])
def test_each_track_ranks_by_itself(run, monkeypatch, k, statistic, sign) -> None:
    monkeypatch.setattr(top, "parts_with_links", lambda run: parts.parts_of(run, rows=25))
    frame = run.top(k, by=statistic, sign=sign)
    assert frame["group"].unique(maintain_order=True).to_list() == [f"t{t:04d}" for t in HELD]
    for track in HELD:
        assert ranked(frame, f"t{track:04d}", statistic) == expected(k, [track], statistic, sign)


@pytest.mark.parametrize("sign", ["abs", "positive", "negative"])
@pytest.mark.parametrize("statistic", ["SAD", "SADR"])
def test_a_group_ranks_by_its_strongest_track(run, monkeypatch, statistic, sign) -> None:
    monkeypatch.setattr(parts, "PART_TRACKS", 2)  # a group is read in pieces
    groups = {"C": "C*", "one": 13, "all": [3, 5, 8, 13]}
    frame = run.top(20, by=statistic, tracks=groups, sign=sign)
    for group, tracks in {"C": [3, 5, 8], "one": [13], "all": HELD}.items():
        assert ranked(frame, group, statistic) == expected(20, tracks, statistic, sign)


def test_ties_are_in_the_order_of_chromosome_position_and_alleles(run) -> None:
    frame = run.top(ROWS, tracks=3)
    order = frame.select(
        -pl.col("SAD").abs(), pl.col("chrom").to_physical(), "pos", "ref", "alt", "variant"
    )
    assert order.rows() == sorted(order.rows())
    assert frame["SAD"].abs().n_unique() < ROWS / 5


def test_keys_of_the_variant_stand_beside_its_value(run) -> None:
    frame = run.top(4, tracks=[5, 8], by="SADR")
    keys = [name for name in run.scan().collect_schema().names() if "_t00" not in name]
    assert frame.columns == ["group", "rank", "track", "SADR", *keys]
    every = run.scan().collect()
    for row in frame.iter_rows(named=True):
        same = every.row(by_predicate=pl.col("variant") == row["variant"], named=True)
        assert {name: same[name] for name in keys} == {name: row[name] for name in keys}
        assert same[f"SADR_{row['track']}"] == row["SADR"]


def test_a_region_ranks_its_own_variants(run) -> None:
    def meets(row: int) -> bool:
        return row >= 60 and 31 <= (row - 60) * 3 + 1 <= 61

    frame = run.top(5, tracks=3, region="10:31-61")
    assert ranked(frame, "t0003", "SAD") == expected(5, [3], "SAD", "abs", meets)
    assert run.top(5, tracks=3, region="10:9,000-9,100").height == 0


def test_a_piece_of_many_tracks_is_one_query(run) -> None:
    assert parts.query_of([3, 5, 13]) == "3,5,13"
    assert run.tracks.select("3,5,13").indices.tolist() == [3, 5, 13]


@settings(max_examples=80, deadline=None)
@given(
    st.lists(
        st.one_of(st.integers(-4, 4).map(float), st.just(float("nan"))), min_size=1, max_size=60
    ),
    st.integers(1, 8),
    st.integers(1, 20),
    st.sampled_from(["abs", "positive", "negative"]),
)
def test_a_ranking_does_not_depend_on_how_rows_come(values, k, step, sign) -> None:
    whole, pieces = Ranking(k, sign), Ranking(k, sign)
    values_N = np.array(values, np.float32)
    tracks_N = np.arange(len(values), dtype=np.int32)
    whole.add(values_N, tracks_N, 0)
    for first in range(0, len(values), step):
        some = slice(first, first + step)
        pieces.add(values_N[some], tracks_N[some], first)
    score = {"abs": abs, "positive": float, "negative": lambda value: -value}[sign]
    owed = sorted(
        (-score(value), row)
        for row, value in enumerate(values)
        if not np.isnan(value) and (sign == "abs" or score(value) > 0)
    )[:k]
    for ranking in (whole, pieces):
        assert ranking.rows.tolist() == [row for _, row in owed]
        assert ranking.tracks.tolist() == ranking.rows.tolist()
        assert ranking.values.tolist() == [values[row] for _, row in owed]


def test_the_strongest_track_of_equals_is_the_first() -> None:
    nan = np.nan
    columns = ((7, [1, -2, nan, nan]), (8, [-1, 3, 4, nan]), (9, [0, -3, -4, nan]))
    pairs = ((track, np.array(values, np.float32)) for track, values in columns)
    values_N, tracks_N = strongest(pairs, "abs")
    assert values_N.tolist()[:3] == [1, 3, 4]
    assert np.isnan(values_N[3])
    assert tracks_N.tolist()[:3] == [7, 8, 8]


def test_what_cannot_be_ranked(run, tmp_path) -> None:
    for k, sign in ((0, "abs"), (3, "both")):
        with pytest.raises(ConfigError, match="at least 1, and sign one of abs"):
            run.top(k, sign=sign)
    with pytest.raises(ConfigError, match="no group"):
        run.top(3, tracks={})
    with pytest.raises(StatisticError, match="no statistic 'SAX'"):
        run.top(3, by="SAX")
    with pytest.raises(TrackError):
        run.top(3, tracks={"none": "ATAC:*"})
    store_runs.finish(tmp_path / "bins")
    with pytest.raises(WrongRun, match="no variants"):
        open_run(tmp_path / "bins").top(3)


def test_a_run_without_rows_ranks_none(tmp_path) -> None:
    with world.begin(tmp_path / "run"):
        frame = open_run(tmp_path / "run", allow_unsealed=True).top(3)
    assert frame.height == 0
    assert frame.columns[:5] == ["group", "rank", "track", "SAD", "variant"]


MILLION = """
import resource, sys
from cisray.store.scan import open_run
run = open_run(sys.argv[1])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
run.top(1000, tracks={"all": "0-15"})
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024)
"""


@pytest.mark.slow
def test_a_million_rows_are_ranked_in_the_memory_of_a_few_parts(tmp_path) -> None:
    count, held = 1_000_000, TrackSet.unnamed("human", 16)
    values = np.random.default_rng(0).normal(size=(16, count)).astype(np.float32)
    rows = made_up_runs.snvs({"chr1": np.arange(count) * 5 + 1})
    made_up_runs.write_variants(
        tmp_path / "run",
        made_up_runs.plan_variants(tmp_path, rows),
        held,
        lambda _, track, first, rows: values[track, first : first + rows],
    )
    run = open_run(tmp_path / "run")
    frame = run.top(1000, tracks={"all": "0-15"})
    every = run.scan().collect().select(pl.selectors.float()).to_numpy()
    strength = np.abs(every).max(axis=1)
    owed = np.lexsort((np.arange(count), -strength))[:1000]
    assert frame["variant"].to_list() == owed.tolist()
    assert frame["SAD"].abs().to_list() == strength[owed].tolist()
    assert frame["track"].to_list() == [f"t{t:04d}" for t in np.abs(every[owed]).argmax(axis=1)]
    grown = subprocess.run(
        [sys.executable, "-c", MILLION, tmp_path / "run"],
        env={"PYTHONPATH": ":".join(sys.path), "POLARS_MAX_THREADS": "2"},
        capture_output=True,
        text=True,
        check=True,
    )
    # All values would be 64 MB, and as much again for each copy.
    assert int(grown.stdout) < 150e6
