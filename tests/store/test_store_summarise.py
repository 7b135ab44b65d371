"""Summaries of groups of tracks: the strongest track of every row, and rankings from it."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
import store_runs as bins
import store_variants as variants
from store_runs import TRACKS_HELD, TWO_BLOCKS

from cisray.errors import (
    ConfigError,
    RunConflict,
    RunNotFound,
    StatisticError,
    StorageError,
    TrackError,
    WrongRun,
)
from cisray.store import summarise
from cisray.store.compact import compact_run
from cisray.store.group_summary import strongest_of_groups
from cisray.store.queries import top
from cisray.store.scan import Run, open_run
from cisray.store.summarise import summarise_run
from cisray.store.verify import verify_run

# Tracks 3 and 8 are CAGE, 5 is CHIP, 13 DNASE; blocks are 3, 8 and 5, 13.
ASSAYS = {"CAGE": [3, 8], "CHIP": [5], "DNASE": [13]}
Row = dict[str, tuple[float | None, int | None]]


def write(path: Path, seed: int = 4) -> None:
    """Seal a run of small whole numbers of either sign, with ties; logSAD has gaps."""
    dice = np.random.default_rng(seed)
    with variants.begin(path, config={"partial": ["logSAD"]}) as sink:
        for shard in sink.pending():
            pieces = []
            for piece in variants.pieces_of(shard, TWO_BLOCKS):
                columns = dict(piece.columns)
                for name in [name for name in columns if "_t0" in name]:
                    values = dice.integers(-3, 4, len(columns["variant"])).astype(np.float32)
                    if name.startswith("log"):
                        values[dice.random(len(values)) < 0.6] = np.nan
                    columns[name] = values
                pieces.append(piece._replace(columns=columns))
            sink.write(shard, pieces)
        sink.seal()


def strongest_of(run: Run, tracks: list[int], statistic: str):
    found = list(strongest_of_groups(run, {"asked": tracks}, statistic))
    return found[0][1:] if found else None


def strongest(row: dict, statistic: str, tracks: list[int]) -> tuple[float | None, int | None]:
    """The first of the tracks with the largest size, found without the store."""
    best: tuple[float | None, int | None] = (None, None)
    for track in tracks:
        value = row[f"{statistic}_t{track:04d}"]
        if value is not None and (best[0] is None or abs(value) > abs(best[0])):
            best = (value, track)
    return best


@pytest.fixture
def run(tmp_path) -> Path:
    write(tmp_path / "run")
    return tmp_path / "run"


@pytest.mark.parametrize("rows_at_once", [1, 3, 65_536])
@pytest.mark.parametrize("tracks_at_once", [1, 128])
def test_the_strongest_track_of_every_row(run, monkeypatch, rows_at_once, tracks_at_once) -> None:
    monkeypatch.setattr(summarise, "PART_ROWS", rows_at_once)
    monkeypatch.setattr(summarise, "PART_TRACKS", tracks_at_once)
    compact_run(run)
    done: list[tuple[int, ...]] = []
    told = summarise_run(run, on_part=lambda *counts: done.append(counts))
    assert (told.rows, told.groups) == (9, {"CAGE": 2, "CHIP": 1, "DNASE": 1})
    assert (done[-1][:2], sum(rows for _, _, rows in done)) == ((3, 3), 9)
    whole = open_run(run).scan().collect()
    found = open_run(run).summary().collect()
    keys = ["variant", "chrom", "pos", "ref", "alt"]
    assert found.select(keys).equals(whole.select(keys))
    owed: list[Row] = [
        {
            f"{statistic}_{group}": strongest(row, statistic, tracks)
            for statistic in ("SAD", "logSAD")
            for group, tracks in ASSAYS.items()
        }
        for row in whole.to_dicts()
    ]
    assert found.columns == keys + [
        name for column in owed[0] for name in (column, f"{column}_track")
    ]
    got = [
        {name: (row[name], row[f"{name}_track"]) for name in owed[0]} for row in found.to_dicts()
    ]
    assert got == owed
    # There are ties and gaps in what was compared.
    assert any(value == (None, None) for row in owed for value in row.values())
    assert any(abs(r["SAD_t0003"]) == abs(r["SAD_t0008"]) for r in whole.to_dicts())


@pytest.mark.parametrize("k", [1, 4, 9])
def test_rankings_are_those_of_all_columns(run, k: int) -> None:
    summarise_run(run, groups={"blood": ["*K562*", "CHIP"], "all": ["3,5,8,13"]}, stats=["SAD"])
    whole = open_run(run).scan(stats="SAD").collect()
    for tracks in ([5, 13], list(TRACKS_HELD)):
        names = [f"SAD_t{track:04d}" for track in tracks]
        sizes = [max(abs(value) for value in row) for row in whole.select(names).rows()]
        # Of equal ones the row comes first that is first in the run.
        owed = sorted(range(9), key=lambda row: (-sizes[row], row))[:k]
        values, which = strongest_of(open_run(run), tracks, "SAD")
        ranked = np.argsort(-np.abs(values), kind="stable")[:k]
        assert ranked.tolist() == owed
        assert [
            abs(whole[f"SAD_t{which[row]:04d}"][row]) for row in ranked.tolist()
        ] == [sizes[row] for row in owed]  # fmt: skip


def test_run_top_reads_the_summary_and_ranks_as_without_it(run, monkeypatch) -> None:
    groups = {"cage": "CAGE", "rest": ["3-3", "DNASE"], "one": "CHIP"}

    def ranked(**options: object) -> list[pl.DataFrame]:
        return [open_run(run).top(k, by=by, tracks=groups, **options)
                for k in (1, 4, 9) for by in ("SAD", "logSAD")]  # fmt: skip

    without, positive = ranked(), ranked(sign="positive")
    summarise_run(run, groups={"a": ["3,8"], "b": ["5"], "c": ["3,13"]})
    assert all(map(pl.DataFrame.equals, ranked(), without))
    assert all(map(pl.DataFrame.equals, ranked(sign="positive"), positive))
    monkeypatch.setattr(top, "strongest", None)
    assert all(map(pl.DataFrame.equals, ranked(), without))


def test_what_was_not_summarised_is_not_there(run) -> None:
    assert strongest_of(open_run(run), [3, 8], "SAD") is None
    with pytest.raises(ConfigError, match="cisray runs summarise does that"):
        open_run(run).summary()
    summarise_run(run, stats=["SAD"])
    assert strongest_of(open_run(run), [8, 3], "SAD") is not None
    assert strongest_of(open_run(run), [3], "SAD") is None
    assert strongest_of(open_run(run), [3, 8], "logSAD") is None


def test_missing_values_rank_below_all(run) -> None:
    summarise_run(run)
    values, which = strongest_of(open_run(run), [5], "logSAD")
    held = open_run(run).scan(5, stats="logSAD").collect()["logSAD_t0005"]
    assert np.array_equal(np.isnan(values), held.is_null().to_numpy())
    assert set(which[np.isnan(values)]) == {-1}
    assert set(which[~np.isnan(values)]) == {5}


def test_a_table_replaces_the_one_before(run) -> None:
    first = summarise_run(run)
    second = summarise_run(run, groups={"all": ["3-3", "CHIP"]})
    files = {path.relative_to(run).as_posix() for path in (run / "summary").iterdir()}
    assert files == {"summary/groups.json", second.file}
    assert first.file != second.file
    assert open_run(run).summary().collect_schema().names()[-2:] == [
        "logSAD_all",
        "logSAD_all_track",
    ]
    open_run(run).verify()


def test_a_restart_and_a_new_seal_take_it_away(run) -> None:
    summarise_run(run)
    (run / "_SUCCESS").unlink()
    with pytest.raises(ConfigError):
        open_run(run, allow_unsealed=True).summary()
    with variants.begin(run, config={"partial": ["logSAD"]}) as sink:
        sink.seal()
    with pytest.raises(ConfigError):
        open_run(run).summary()
    assert not (run / "summary").exists()
    summarise_run(run)
    variants.begin(run, restart=True).close()
    assert not (run / "summary").exists()


def test_a_damaged_table_is_told(run) -> None:
    told = summarise_run(run)
    assert verify_run(run).problems == ()
    content = bytearray((run / told.file).read_bytes())
    content[20] ^= 1
    (run / told.file).write_bytes(content)
    (problem,) = verify_run(run).problems
    assert (problem.kind, "its sha256 is" in problem.message) == ("summary", True)
    (run / told.file).write_bytes(b"PAR1")
    with pytest.raises(StorageError, match=r"groups\..*recorded .* cisray runs summarise"):
        open_run(run).summary()
    (run / "summary/groups.json").write_text("{")
    with pytest.raises(StorageError, match=r"groups\.json is damaged"):
        open_run(run).summary()


def test_what_cannot_be_summarised(run, tmp_path) -> None:
    bins.finish(tmp_path / "bins")
    with pytest.raises(WrongRun):
        summarise_run(tmp_path / "bins")
    with pytest.raises(WrongRun):
        open_run(tmp_path / "bins").summary()
    with pytest.raises(RunNotFound):
        summarise_run(tmp_path / "typo")
    with pytest.raises(StatisticError, match="no statistic 'SADR'"):
        summarise_run(run, stats=["SADR"])
    with pytest.raises(TrackError):
        summarise_run(run, groups={"x": ["ATAC"]})
    with pytest.raises(ConfigError, match="SAD_x_track comes twice"):
        summarise_run(run, groups={"x": ["3"], "x_track": ["5"]})
    for nothing in ({}, {"": ["3"]}):
        with pytest.raises(ConfigError, match="needs a name and at least one query"):
            summarise_run(run, groups=nothing)
    with variants.begin(run, config={"partial": ["logSAD"]}), pytest.raises(RunConflict):
        summarise_run(run)
    assert not (run / "summary").exists()


def test_tracks_without_an_assay_are_a_group(run) -> None:
    found = open_run(run)
    unnamed = type(found.tracks).unnamed("human", 4)
    assert summarise._members(type(found)(
        found.layout, found.manifest, unnamed, found.plan, found.files, True, {"sel": [0, 1, 2, 3]}
    ), None) == {"other": [0, 1, 2, 3]}  # fmt: skip


def test_a_run_without_rows_has_an_empty_table(tmp_path) -> None:
    plan = variants.write_plan(tmp_path, shards=(), rejected=2)
    with variants.begin(tmp_path / "run", plan=plan) as sink:
        sink.seal()
    assert summarise_run(tmp_path / "run").rows == 0
    frame = open_run(tmp_path / "run").summary().collect()
    assert (frame.height, frame.schema["SAD_CAGE"]) == (0, pl.Float32)
