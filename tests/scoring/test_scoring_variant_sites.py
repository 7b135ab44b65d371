"""Rows at sites: held to all pairs of alleles and sites, looked at one by one as windows."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from plans import SPEC, cutting_of, files_in, rejects_of, rows_of, small_genome

from cisray.errors import OutsideTarget, RegionsError, RejectsRefused, ResultsError
from cisray.genome.alleles import Allele, AlleleChecker, Tally, read_alleles
from cisray.genome.interval import Interval
from cisray.genome.reference import Genome
from cisray.genome.regions import Feature, read_features
from cisray.genome.variant import Variant
from cisray.genome.windows import Window, WindowSpec
from cisray.scoring import variant_rows, variant_sites
from cisray.scoring.planned import PlanFiles, Planned, SiteCount
from cisray.scoring.shards import BinCount, Cutting
from cisray.scoring.variant_rows import plan_variants
from cisray.scoring.variant_sites import AtSites, bins_of, check_narrow
from cisray_schemas import VARIANT_SITE_SCORES, VARIANT_SITES, Reason

# Windows of 56 bp, targets of 24 bp in 3 bins of 8 bp.
TEXT = "GATTACAGTC" * 15
SEQUENCES = {"chr10": TEXT, "chr2": TEXT[3:93], "chrX": TEXT[:60]}

Entry = tuple[str, int, str]  # chrom, pos, alt


@pytest.fixture(scope="module")
def genome(tmp_path_factory: pytest.TempPathFactory) -> Genome:
    return small_genome(tmp_path_factory.mktemp("genome"), SEQUENCES)


def ref_of(chrom: str, pos: int) -> str:
    return SEQUENCES[chrom][pos - 1]


def plan(
    entries: Sequence[Entry],
    sites: Sequence[Feature],
    genome: Genome,
    folder: Path,
    *,
    placement: str = "centered",
    max_rows: int = 1 << 16,
    strict: bool = False,
) -> tuple[Planned, PlanFiles]:
    path = folder / "variants.txt"
    lines = [f"{chrom}\t{pos}\t{ref_of(chrom, pos)}\t{alt}\n" for chrom, pos, alt in entries]
    path.write_text("".join(lines))
    cutting, files = cutting_of(genome, placement, max_rows), files_in(folder, "v.txt")
    checker = AlleleChecker(genome, "v.txt", max_allele_bp=20)
    found = read_alleles(path, checker, Tally())
    at = AtSites(sites, cutting)
    planned = plan_variants(found, files, cutting, fits=lambda _: True, rows=at, strict=strict)
    return planned, files


def site(chrom: str, start: int, end: int, name: str = "") -> Feature:
    return Feature(Interval(chrom, start, end), name)


def bins_by_window(variant: Variant, one: Feature, placement: str) -> range | None:
    """The account of `Window`, which knows nothing of sorted sites."""
    window = Window.placed(variant.interval, SPEC, placement)
    try:
        return window.bins_of(one.interval)
    except OutsideTarget:
        return None


places = st.sampled_from(list(SEQUENCES)).flatmap(
    lambda chrom: st.tuples(st.just(chrom), st.integers(1, len(SEQUENCES[chrom])))
)
entry_lists = st.lists(
    # The last is an insertion, which is trimmed and may move.
    st.tuples(places, st.sampled_from(["A", "C", "G", "CCGG"])).map(lambda e: (*e[0], e[1])),
    max_size=12,
)
# Up to 17 bases: a site of more lies in no target of the grid where it begins late in a bin.
site_lists = st.lists(
    st.tuples(places, st.integers(1, 17), st.sampled_from(["", "g", "h h"])).map(
        lambda s: site(s[0][0], s[0][1] - 1, min(s[0][1] - 1 + s[1], len(SEQUENCES[s[0][0]])), s[2])
    ),
    max_size=12,
)


@settings(max_examples=150, deadline=None)
@given(
    entry_lists, site_lists, st.sampled_from(["centered", "grid"]), st.sampled_from([1, 5, 1 << 16])
)
@example([("chr10", 70, "T")] * 3, [site("chr10", 60, 70)] * 3, "grid", 2)
def test_rows_are_all_pairs_that_a_window_holds_whole(
    genome: Genome,
    tmp_path_factory: pytest.TempPathFactory,
    entries: list[Entry],
    sites: list[Feature],
    placement: str,
    max_rows: int,
) -> None:
    entries = [e for e in entries if e[2] != ref_of(e[0], e[1])]
    folder = tmp_path_factory.getbasetemp()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(variant_sites, "_BATCH_ROWS", 4)
        patch.setattr(variant_sites, "_BATCH_ENTRIES", 3)
        planned, files = plan(
            entries, sites, genome, folder, placement=placement, max_rows=max_rows
        )
    rows = rows_of(planned)
    owed, unreached = {}, []
    checker = AlleleChecker(genome, "v.txt", max_allele_bp=20)
    alleles = list(read_alleles(folder / "variants.txt", checker, Tally()))
    for number, allele in enumerate(alleles):
        found = {
            s: bins
            for s, one in enumerate(sites)
            if (bins := bins_by_window(allele.variant, one, placement)) is not None
        }
        owed |= {(number, s): bins for s, bins in found.items()}
        if not found:
            unreached.append(number)
    given_bins = [range(r["first_bin"], r["first_bin"] + r["bins"]) for r in rows]
    pairs = [(r["variant"], r["site"]) for r in rows]
    assert len(set(pairs)) == len(pairs)
    assert dict(zip(pairs, given_bins, strict=True)) == owed
    for row in rows:
        one = sites[row["site"]]
        assert (row["site_start"], row["site_end"]) == (one.interval.start, one.interval.end)
        assert (row["chrom"], row["site_name"]) == (one.interval.chrom, one.name)
    order = list(SEQUENCES)
    keys = [
        (order.index(r["chrom"]), r["pos"], r["ref"], r["alt"], r["variant"], r["site"])
        for r in rows
    ]
    assert keys == sorted(keys)
    rejects = rejects_of(files)
    assert [(r["record"], r["reason"]) for r in rejects] == [
        (number, "no_site_in_reach") for number in unreached
    ]
    assert planned.entries == len(entries)
    assert planned.scored == len({number for number, _ in owed}) == len(entries) - len(unreached)
    assert planned.sites == SiteCount(len(sites), len({s for _, s in owed}))
    assert all(span.rows <= max_rows for span in planned.plan.spans.values())
    assert planned.bins == bins_asked(planned, placement)


def bins_asked(planned: Planned, placement: str) -> BinCount | None:
    """From the first to the last bin of any row of a window, for each shard that opens it."""
    of_alternates, widest = 0, 0
    for shard in planned.plan.spans:
        bins, alleles = defaultdict(set), defaultdict(set)
        for row in planned.plan.entries(shard).to_pylist():
            variant = Variant(row["chrom"], row["pos"], row["ref"], row["alt"])
            window = Window.placed(variant.interval, SPEC, placement)
            bins[window] |= {row["first_bin"], row["first_bin"] + row["bins"] - 1}
            alleles[window].add(variant)
        for window, found in bins.items():
            width = max(found) - min(found) + 1
            of_alternates += width * len(alleles[window])
            widest = max(widest, width)
    return BinCount(of_alternates, widest) if widest else None


# The first base of a centred variant is base 27 of the window's 56, which is base 11 of the target:
# at 71 (1-based), base 70, the target is [59, 83), its bins [59, 67), [67, 75), [75, 83).
BEFORE_AND_AFTER = [
    (site("chr10", 59, 60), range(1)),
    (site("chr10", 58, 60), None),
    (site("chr10", 58, 59), None),
    (site("chr10", 82, 83), range(2, 3)),
    (site("chr10", 82, 84), None),
    (site("chr10", 83, 84), None),
    (site("chr10", 59, 83), range(3)),
    (site("chr10", 66, 67), range(1)),
    (site("chr10", 66, 68), range(2)),
    (site("chr10", 67, 75), range(1, 2)),
    (site("chr10", 67, 76), range(1, 3)),
    (site("chr2", 60, 61), None),
]


@pytest.mark.parametrize(("one", "bins"), BEFORE_AND_AFTER)
def test_edges_of_target_and_bins(
    genome: Genome, tmp_path: Path, one: Feature, bins: range | None
) -> None:
    planned, files = plan([("chr10", 71, "T")], [one], genome, tmp_path)
    shards = [bins_of(planned.plan.keys(shard), range(9)) for shard in planned.plan.spans]
    assert shards == ([] if bins is None else [[bins]])
    told = [(r["reason"], r["detail"], r["pos"], r["line"]) for r in rejects_of(files)]
    detail = "no site lies whole in the target of its window, chr10:60-83."
    assert told == ([] if bins is not None else [("no_site_in_reach", detail, 71, 1)])


def test_on_the_grid_the_target_is_that_of_the_grid(genome: Genome, tmp_path: Path) -> None:
    # Inputs start at multiples of 8: 43 moves to 40, its target to [56, 80).
    sites = [site("chr10", 56, 57), site("chr10", 79, 80), site("chr10", 55, 56)]
    sites.append(site("chr10", 79, 81))
    planned, _ = plan([("chr10", 71, "T")], sites, genome, tmp_path, placement="grid")
    told = [(r["site"], r["first_bin"], r["bins"]) for r in rows_of(planned)]
    assert told == [(0, 0, 1), (1, 2, 1)]


def test_duplicates_have_rows_and_are_scored_once(genome: Genome, tmp_path: Path) -> None:
    sites = [site("chr10", 70, 71, "b"), site("chr10", 60, 62, "a"), site("chr10", 70, 71, "b")]
    entries = [("chr10", 71, "T"), ("chr10", 71, "T"), ("chrX", 5, "C")]
    planned, _ = plan(entries, sites, genome, tmp_path)
    told = [(r["variant"], r["site"], r["site_name"]) for r in rows_of(planned)]
    assert told == [(v, s, "bab"[s]) for v in (0, 1) for s in (0, 1, 2)]
    assert (planned.plan.rows, planned.windows, planned.alternates) == (6, 1, 1)
    assert (planned.entries, planned.scored, planned.rejected) == (
        3, 2, {Reason.NO_SITE_IN_REACH: 1},
    )  # fmt: skip
    assert (planned.plan.plan, planned.plan.data) == (VARIANT_SITES, VARIANT_SITE_SCORES)


def test_the_first_reason_that_holds_is_given(genome: Genome, tmp_path: Path) -> None:
    path = tmp_path / "v.txt"
    assert (ref_of("chr10", 71), ref_of("chr2", 50)) == ("G", "T")
    path.write_text("chr10\t71\tG\tCC\nchr2\t50\tT\tCC\nchr2\t1\tN\tC\n")
    cutting, files = cutting_of(genome, "centered"), files_in(tmp_path)
    checker = AlleleChecker(genome, "v.txt", max_allele_bp=20)
    at = AtSites([site("chr2", 0, 1)], cutting)
    entries = read_alleles(path, checker, Tally())
    plan_variants(entries, files, cutting, fits=lambda v: v.chrom != "chr10", rows=at)
    assert [row["reason"] for row in rejects_of(files)] == [
        "repeat_too_long", "no_site_in_reach", "non_acgt_allele",
    ]  # fmt: skip


def test_strict_refuses_what_reaches_no_site(genome: Genome, tmp_path: Path) -> None:
    with pytest.raises(RejectsRefused, match=r"v\.txt:1: no_site_in_reach \(no site lies whole"):
        plan([("chrX", 5, "C")], [site("chr2", 5, 6)], genome, tmp_path, strict=True)


@pytest.mark.parametrize("kept", [slice(1, None), slice(None, -1), slice(None, None, 2)])
@pytest.mark.parametrize("sites", [1, 3])
def test_a_row_that_is_lost_is_an_error(
    genome: Genome,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    kept: slice,
    sites: int,
) -> None:
    """Of one site each, an allele without rows; of three, an allele with fewer rows."""
    cut = variant_rows.cut

    def losing(rows, cutting):
        whole = pa.concat_tables(list(rows))
        return cut([whole.take(list(range(whole.num_rows))[kept])], cutting)

    monkeypatch.setattr(variant_rows, "cut", losing)
    entries = [("chr10", 71, "T"), ("chr10", 72, "C")]
    one = [site("chr10", 70, 71)] * sites
    with pytest.raises(ResultsError, match=r"2 entries, but .* rows of .*lost or doubled"):
        plan(entries, one, genome, tmp_path)


def test_a_site_that_no_target_holds_is_refused(genome: Genome) -> None:
    check_narrow(Interval("chr10", 5, 29), SPEC, "centered")
    check_narrow(Interval("chr10", 8, 32), SPEC, "grid")
    with pytest.raises(RegionsError, match=r"chr10:6-30 of 25 bases is in no .* has 24 bases:"):
        check_narrow(Interval("chr10", 5, 30), SPEC, "centered")
    # 24 bases from 9 on touch four bins of the grid.
    with pytest.raises(RegionsError, match=r"24 bases, at multiples of 8"):
        check_narrow(Interval("chr10", 9, 33), SPEC, "grid")
    with pytest.raises(RegionsError, match=r"chr10:10-33"):
        AtSites([site("chr10", 9, 33)], cutting_of(genome, "grid"))


@settings(max_examples=80, deadline=None)
@given(st.integers(40, 80), st.integers(1, 26), st.sampled_from(["centered", "grid"]))
def test_narrow_enough_is_what_some_window_holds(start: int, width: int, placement: str) -> None:
    one = site("chr10", start, start + width)
    held = any(
        bins_by_window(Variant("chr10", pos, "A", "C"), one, placement) for pos in range(10, 140)
    )
    try:
        check_narrow(one.interval, SPEC, placement)
    except RegionsError:
        assert not held
    else:
        assert held


def test_many_alleles_and_sites_count_as_they_must(genome: Genome, tmp_path: Path) -> None:
    entries = [("chr10", pos, alt) for pos in range(1, 151) for alt in "AC"]
    entries = [e for e in entries if ref_of(e[0], e[1]) != e[2]]
    sites = [site("chr10", at, at + 1) for at in range(150)]
    planned, _ = plan(entries, sites, genome, tmp_path, max_rows=100)
    counts = Counter(row["variant"] for row in rows_of(planned))
    # The target of base p, 0-based, is [p - 11, p + 13).
    for number, (_, pos, _) in enumerate(entries):
        assert counts[number] == min(150, pos + 12) - max(0, pos - 12)


@pytest.mark.long
@pytest.mark.realdata
def test_all_sites_of_1000_genomes_at_the_tsss_of_chr20(shared: Path, tmp_path: Path) -> None:
    """Enformer's windows on the grid: every pair of 29,120 alleles and 544 TSSs is looked at."""
    folder = shared / "data" / "chr20_hg19"
    with Genome.open(folder / "hg19_chr20.whole.fa.gz") as genome:
        (chrom,) = genome.chromosomes
        genes = (folder / "genes_grch37_chr20.tsv").read_text().splitlines()[1:]
        table = [line.split("\t") for line in genes]
        tss = [int(row[3]) if row[2] == "+" else int(row[4]) - 1 for row in table]
        bed = tmp_path / "tss.bed"
        bed.write_text(
            "".join(
                f"{chrom}\t{at}\t{at + 1}\t{row[0]}\n" for at, row in zip(tss, table, strict=True)
            )
        )
        cutting = Cutting(
            genome.chromosomes, WindowSpec(), "grid", lambda w, a, _: 0.1 * w + 0.01 * a
        )
        files = files_in(tmp_path)
        at = AtSites(read_features(bed, genome), cutting)
        variants = folder / "1000g_phase3_sites_chr20_1000001-2000000.hg19.vcf.gz"
        checker = AlleleChecker(genome, "sites", max_allele_bp=1000)
        entries = read_alleles(variants, checker, Tally())
        planned = plan_variants(entries, files, cutting, fits=lambda _: True, rows=at)
        alleles = [
            entry for entry in read_alleles(variants, checker, Tally()) if isinstance(entry, Allele)
        ]
    # The target begins 447 bins before the cell [128 k - 64, 128 k + 64) of the first base.
    cells = np.array([(allele.variant.pos - 1 + 64) // 128 for allele in alleles])
    bins = np.array(tss)[None] // 128 - (cells[:, None] - 448)
    held = (bins >= 0) & (bins < 896)
    rows = rows_of(planned)
    records = {(row["record"], row["alt_index"], row["site"]): row["first_bin"] for row in rows}
    assert len(records) == len(rows) == held.sum() == 52_665
    assert records == {
        (alleles[v].record, alleles[v].alt_index, s): bins[v, s]
        for v, s in zip(*np.nonzero(held), strict=True)
    }
    assert planned.scored == held.any(axis=1).sum() == 25_597
    assert planned.rejected == {
        Reason.SYMBOLIC_ALT: 24, Reason.NO_SITE_IN_REACH: len(alleles) - 25_597,
    }  # fmt: skip
    assert planned.sites == SiteCount(544, int(held.any(axis=0).sum()))
    assert {row["site_name"] for row in rows} == {
        table[s][0] for s in np.flatnonzero(held.any(axis=0))
    }
