"""From regions to every substitution: held to a plain loop over regions, bases and letters."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from plans import SPEC, cutting_of, files_in, rejects_of, rows_of, small_genome

from cisray.errors import ConfigError, CoordinateError, RejectsRefused, ResultsError
from cisray.genome.interval import Interval
from cisray.genome.reference import Genome
from cisray.genome.variant import Variant
from cisray.genome.windows import Window
from cisray.scoring import saturation_rows
from cisray.scoring.planned import PlanFiles, Planned
from cisray.scoring.saturation_rows import Region, plan_saturation
from cisray_schemas import SUBSTITUTIONS, Reason

SEQUENCES = {"chr10": "GATtaCANNrCATGNA" * 5, "chr2": "N" * 30 + "TTGACc", "X": "ACGT" * 10}
ORDER = list(SEQUENCES)


@pytest.fixture(scope="module")
def genome(tmp_path_factory: pytest.TempPathFactory) -> Genome:
    return small_genome(tmp_path_factory.mktemp("genome"), SEQUENCES)


def plan(
    genome: Genome, regions: list[Region], folder: Path, **options
) -> tuple[Planned, PlanFiles]:
    folder.mkdir(exist_ok=True)
    files = files_in(folder, "regions.bed")
    cutting = options.pop("cutting", None) or cutting_of(genome)
    return plan_saturation(regions, genome, files, cutting, **options), files


def expected(regions: list[Region]) -> tuple[list[tuple], list[tuple]]:
    """Rows in the order of the plan, and rejects in that of the regions, base by base."""
    rows, rejects, number = [], [], 0
    for index, (place, name) in enumerate(regions):
        for at in range(place.start, place.end):
            base = SEQUENCES[place.chrom][at]
            if base.upper() not in "ACGT":
                rejects.append((index, place.chrom, at + 1, name, base))
                number += 1
                continue
            for alt in "ACGT":
                if alt != base.upper():
                    key = (ORDER.index(place.chrom), at + 1, base.upper(), alt, number, index)
                    rows.append(key)
                    number += 1
    return sorted(rows), rejects


def shown(planned: Planned) -> list[tuple]:
    return [
        (ORDER.index(r["chrom"]), *(r[k] for k in ("pos", "ref", "alt", "variant", "region")))
        for r in rows_of(planned)
    ]


@st.composite
def regions_of(draw: st.DrawFn) -> list[Region]:
    chosen = []
    for number in range(draw(st.integers(0, 6))):
        chrom = draw(st.sampled_from(ORDER))
        start = draw(st.integers(0, len(SEQUENCES[chrom]) - 1))
        end = draw(st.integers(start + 1, min(start + 30, len(SEQUENCES[chrom]))))
        chosen.append(
            Region(Interval(chrom, start, end), draw(st.sampled_from(["", f"e{number}"])))
        )
    return chosen


@settings(max_examples=80, deadline=None)
@given(regions_of(), st.sampled_from([1, 7, 1 << 14]), st.sampled_from([1, 5, 1 << 18]))
@example([Region(Interval(c, 0, len(s))) for c, s in reversed(SEQUENCES.items())], 7, 5)
@example([Region(Interval("X", 3, 9))] * 4, 1, 5)
@example(
    [Region(Interval("X", 0, 9)), Region(Interval("X", 9, 12)), Region(Interval("X", 4, 12))], 7, 5
)
@example([Region(Interval("chr2", 0, 30))], 7, 5)  # nothing but N
@example([], 7, 5)
def test_every_base_of_every_region_is_planned_or_rejected(
    genome: Genome,
    tmp_path_factory: pytest.TempPathFactory,
    regions: list[Region],
    batch: int,
    step: int,
) -> None:
    folder = tmp_path_factory.getbasetemp() / "regions"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(saturation_rows, "_BATCH_ROWS", batch)
        patch.setattr(saturation_rows, "_STEP_BP", step)
        planned, files = plan(genome, regions, folder)
    rows, rejects = expected(regions)
    assert shown(planned) == rows
    keys = ("record", "chrom", "pos", "id", "ref")
    found = rejects_of(files)
    assert [tuple(row[key] for key in keys) for row in found] == rejects
    for row in found:
        assert (row["file"], row["reason"]) == ("regions.bed", "non_acgt_allele")
        assert (row["line"], row["alt"], row["alt_index"]) == (None, None, 0)
    assert planned.entries == len(rows) + len(rejects)
    assert planned.rejected == ({Reason.NON_ACGT_ALLELE: len(rejects)} if rejects else {})


def test_overlapping_regions_have_rows_each_and_count_once_as_work(
    genome: Genome, tmp_path: Path
) -> None:
    one = [Region(Interval("X", 8, 24))]
    planned, _ = plan(genome, one, tmp_path / "one")
    # Cells are [8 k, 8 k + 8): two of them, 16 bases of three alternates.
    assert (planned.scored, planned.windows, planned.alternates) == (48, 2, 48)
    planned, _ = plan(genome, [*one, Region(Interval("X", 16, 25))], tmp_path / "two")
    # 9 bases more are 27 rows; only base 24 is new, and begins a cell.
    assert (planned.scored, planned.windows, planned.alternates) == (75, 3, 51)


@pytest.mark.parametrize("placement", ["grid", "centered"])
def test_rows_know_the_missing_bases_of_their_window(
    genome: Genome, tmp_path: Path, placement: str
) -> None:
    regions = [Region(Interval(chrom, 0, len(bases))) for chrom, bases in SEQUENCES.items()]
    planned, _ = plan(genome, regions, tmp_path, cutting=cutting_of(genome, placement, max_rows=30))
    shards = [planned.plan.entries(shard) for shard in planned.plan.spans]
    windows = []
    for shard in shards:
        assert shard.num_rows <= 30
        assert shard.schema.equals(SUBSTITUTIONS.schema)
        for row in shard.to_pylist():
            place = Variant(row["chrom"], row["pos"], row["ref"], row["alt"]).interval
            windows.append(Window.placed(place, SPEC, placement))
            assert row["missing_bp"] == sum(windows[-1].missing_bp(len(SEQUENCES[row["chrom"]])))
    assert planned.windows == len(set(windows))


def test_strict_names_the_first_base(genome: Genome, tmp_path: Path) -> None:
    regions = [Region(Interval("X", 0, 4)), Region(Interval("chr10", 0, 10))]
    with pytest.raises(RejectsRefused) as caught:
        plan(genome, regions, tmp_path, strict=True)
    # 12 of X; 7 bases of three alternates and N, N, r of chr10.
    assert "3 of 36 entries cannot be scored (3 non_acgt_allele)" in str(caught.value)
    assert "regions.bed, region 2 at chr10:8: non_acgt_allele (the FASTA has N" in str(caught.value)
    assert plan(genome, regions[:1], tmp_path, strict=True)[0].scored == 12


@pytest.mark.parametrize(
    "place",
    [("X", 39, 41), ("X", -1, 3), ("X", 4, 4), ("chrX", 0, 3), ("chr2", 36, 37)],
)
def test_regions_off_their_chromosome_are_refused(
    genome: Genome, tmp_path: Path, place: tuple[str, int, int]
) -> None:
    regions = [Region(Interval("X", 0, 4)), Region(Interval(*place))]
    with pytest.raises(CoordinateError, match="region 2"):
        plan(genome, regions, tmp_path)


def test_a_lost_base_is_an_error(
    genome: Genome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut = saturation_rows.cut
    monkeypatch.setattr(saturation_rows, "cut", lambda *given: list(cut(*given))[1:])
    with pytest.raises(ResultsError, match=r"12 entries, but 0 are planned"):
        plan(genome, [Region(Interval("X", 0, 4))], tmp_path)


@settings(max_examples=60, deadline=None)
@given(regions_of(), st.sampled_from([1, 1 << 14]), st.sampled_from([0.0, 60.0]))
@example([Region(Interval("X", 0, 9)), Region(Interval("X", 9, 20))], 1, 0.0)
@example([Region(Interval("X", 0, 9)), Region(Interval("X", 10, 20))], 1, 0.0)
@example([Region(Interval("X", 0, 9)), Region(Interval("X", 8, 20))], 1, 0.0)
@example([Region(Interval("X", 3, 9))] * 4, 1, 0.0)
def test_whole_regions_are_never_cut(
    genome: Genome,
    tmp_path_factory: pytest.TempPathFactory,
    regions: list[Region],
    batch: int,
    shard_seconds: float,
) -> None:
    folder = tmp_path_factory.getbasetemp() / "whole"
    cutting = replace(cutting_of(genome), shard_seconds=shard_seconds)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(saturation_rows, "_BATCH_ROWS", batch)
        planned, _ = plan(genome, regions, folder, cutting=cutting, whole=True)
    assert shown(planned) == expected(regions)[0]
    shards = [planned.plan.entries(shard).to_pylist() for shard in planned.plan.spans]
    there = [{row["region"] for row in rows} for rows in shards]
    for number in range(len(regions)):
        assert sum(number in members for members in there) <= 1
    # Where no time is allowed a shard holds no more than what hangs together.
    for members in there if shard_seconds == 0 else ():
        joined = {min(members)}
        for _ in members:
            joined |= {
                one
                for one in members
                for other in joined
                if regions[one].interval.intersect(regions[other].interval)
            }
        assert joined == members


def test_a_window_between_whole_regions_is_opened_for_each(genome: Genome, tmp_path: Path) -> None:
    # Cells are [8 k, 8 k + 8): both regions lie in one.
    regions = [Region(Interval("X", 8, 11)), Region(Interval("X", 11, 16))]
    cutting = replace(cutting_of(genome), shard_seconds=0.0)
    planned, _ = plan(genome, regions, tmp_path / "cut", cutting=cutting, whole=True)
    assert [span.rows for span in planned.plan.spans.values()] == [9, 15]
    assert (planned.windows, planned.alternates) == (2, 24)
    planned, _ = plan(genome, regions, tmp_path / "one", whole=True)
    assert (planned.plan.num_shards, planned.windows) == (1, 1)


def test_whole_regions_too_large_for_a_shard_are_refused(genome: Genome, tmp_path: Path) -> None:
    apart = [Region(Interval("X", 0, 10)), Region(Interval("X", 10, 20))]
    joined = [Region(Interval("X", 0, 10)), Region(Interval("X", 9, 20))]
    cutting = cutting_of(genome, max_rows=30)  # 10 bases
    planned, _ = plan(genome, apart, tmp_path / "apart", cutting=cutting, whole=True)
    assert [span.rows for span in planned.plan.spans.values()] == [30, 30]
    words = r"X:1-20 is a region, .* of 63 rows .* at most 30: .*--rows-per-shard\."
    with pytest.raises(ConfigError, match=words):
        plan(genome, joined, tmp_path / "joined", cutting=cutting, whole=True)
    # Regions may be cut, unless they have to be whole.
    planned, _ = plan(genome, joined, tmp_path / "cut", cutting=cutting)
    assert planned.plan.num_shards > 1
