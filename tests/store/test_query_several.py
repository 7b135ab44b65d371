"""Several runs in one scan: their rows below one another, and what keeps them apart."""

import made_up_runs
import numpy as np
import polars as pl
import pytest
import store_runs as bins
import store_variants as variants
from made_up_runs import plan_bins, write_bins

import cisray
from cisray.errors import ConfigError, RunNotFound, TrackError, UnknownChromosome, WrongRun
from cisray.store.queries.several import scan_runs
from cisray.tracks import TrackSet
from cisray_schemas.tracks import TRACKS

LONG, SHORT = (3, 5, 8, 13), (5, 13)


def renamed(tracks: TrackSet, column: str, text: str) -> TrackSet:
    rows = tracks.table.to_pylist()
    rows[-1] |= {column: text}
    return TrackSet(tracks.head, bins.pa.Table.from_pylist(rows, schema=TRACKS.schema))


def write(path, tracks, chromosomes=None, *, times=1, **facts) -> None:
    """Bins of 1 to N times the track, on 3 bins of chr1 and 2 of chr2."""

    def value(chrom: str, first: int, count: int, track: int) -> made_up_runs.Values:
        return np.arange(first + 1, first + count + 1, dtype=np.float32) * track * times

    plan = plan_bins(chromosomes or {"chr1": 3, "chr2": 2}, 8)
    write_bins(path, plan, tracks, value, mantissa_bits=23, **facts)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("several")
    short = bins.make_tracks().select([5, 13])
    write(path / "long", bins.make_tracks())
    write(path / "short", short, {"chr2": 2, "chr3": 1}, times=2, model_sha256="12" * 32)
    write(path / "other_genome", short, genome_sha256="99" * 32)
    write(path / "mouse", TrackSet("mouse", short.table))
    write(path / "named_otherwise", renamed(short, "description", "DNASE:liver"))
    variants.finish(path / "variants")
    variants.finish(path / "variants_23", model_sha256="12" * 32)
    return path


def test_rows_of_each_run_stand_below_one_another(folder) -> None:
    runs = {"old": folder / "long", "new": folder / "short"}
    frame = cisray.scan_runs(runs, tracks=[5, 13]).collect()
    assert frame.schema == {
        "run": pl.Enum(["old", "new"]),
        "chrom": pl.Enum(["chr1", "chr2", "chr3"]),
        "start": pl.Int32,
        "end": pl.Int32,
        "t0005": pl.Float32,
        "t0013": pl.Float32,
    }
    assert frame.rows() == [
        ("old", "chr1", 0, 128, 5, 13),
        ("old", "chr1", 128, 256, 10, 26),
        ("old", "chr1", 256, 384, 15, 39),
        ("old", "chr2", 0, 128, 5, 13),
        ("old", "chr2", 128, 256, 10, 26),
        ("new", "chr2", 0, 128, 10, 26),
        ("new", "chr2", 128, 256, 20, 52),
        ("new", "chr3", 0, 128, 10, 26),
    ]


def test_without_names_a_run_has_its_id(folder) -> None:
    paths = [folder / "short", folder / "long"]
    frame = scan_runs(paths, tracks=13).collect()
    ids = [cisray.open_run(path).manifest.run_id for path in paths]
    assert frame["run"].dtype == pl.Enum(ids)
    assert frame["run"].to_list() == [ids[0]] * 3 + [ids[1]] * 5


def test_a_region_takes_what_each_run_has_of_it(folder) -> None:
    runs = {"old": folder / "long", "new": folder / "short"}

    def rows(region) -> list[tuple[str, int]]:
        return scan_runs(runs, tracks=5, region=region).select("run", "start").collect().rows()

    assert rows("2:129-129") == [("old", 128), ("new", 128)]
    assert rows(("chr1", 0, 128)) == [("old", 0)]
    assert rows("3") == [("new", 0)]
    with pytest.raises(UnknownChromosome, match="chr9"):
        rows("chr9:1-5")


def test_runs_of_variants(folder) -> None:
    paths = {"a": folder / "variants", "b": folder / "variants_23"}
    frame = scan_runs(paths, stats="logSAD", tracks=3, region="chr2:600-600").collect()
    assert frame.select("run", "variant").rows() == [("a", 1), ("b", 1)]
    assert frame["logSAD_t0003"].to_list() == [variants.value(1, "logSAD", 3)] * 2
    assert frame.columns[:3] == ["run", "variant", "chrom"]


@pytest.mark.parametrize(
    ("other", "tracks", "told"),
    [
        ("variants", None, r"other rows \(cisray.genome_tracks/1, cisray.variant_scores/1\)"),
        ("short", None, "other tracks .only the first has t0003, t0008"),
        ("mouse", "5,13", "head human, head mouse"),
        (
            "named_otherwise",
            [5, 13],
            "t0013 mean other things: t0013 has description 'DNASE:K562' and 'DNASE:liver'",
        ),
        ("other_genome", [5, 13], r"other genomes \(allow_other_genomes=True"),
    ],
)
def test_runs_that_cannot_be_compared(folder, other, tracks, told) -> None:
    with pytest.raises(WrongRun, match=told) as failure:
        scan_runs({"one": folder / "long", "two": folder / other}, tracks=tracks)
    assert "the runs one (" in str(failure.value)
    assert str(folder / other) in str(failure.value)


def test_tracks_that_agree_can_be_compared_whatever_others_are_there(folder) -> None:
    runs = {"one": folder / "long", "two": folder / "named_otherwise"}
    assert scan_runs(runs, tracks=5).collect().height == 10
    with pytest.raises(TrackError):
        scan_runs(runs, tracks=3)


def test_other_genomes_when_told_so(folder) -> None:
    runs = {"one": folder / "long", "two": folder / "other_genome"}
    assert scan_runs(runs, tracks=5, allow_other_genomes=True).collect().height == 10


def test_other_statistics_are_named(folder, tmp_path) -> None:
    rows = made_up_runs.snvs({"chr2": np.array([5])})
    plan = made_up_runs.plan_variants(tmp_path, rows)
    made_up_runs.write_variants(
        tmp_path / "run", plan, bins.make_tracks(), lambda *_: np.ones(1, np.float32)
    )
    runs = {"one": folder / "variants", "two": tmp_path / "run"}
    with pytest.raises(WrongRun, match=r"statistics \(\['SAD', 'logSAD'\], \['SAD'\]; name those"):
        scan_runs(runs)
    assert scan_runs(runs, stats="SAD", tracks=3).collect().height == 10


def test_names_of_runs(folder) -> None:
    with pytest.raises(ConfigError, match="are one run, repeated or copied"):
        scan_runs([folder / "long", folder / "long"])
    for nothing in ([], {}):
        with pytest.raises(ConfigError, match="no runs"):
            scan_runs(nothing)
    with pytest.raises(TypeError, match="list"):
        scan_runs(str(folder / "long"))
    with pytest.raises(RunNotFound):
        scan_runs([folder / "long", folder])
