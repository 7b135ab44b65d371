"""Splits: no alignment joins two sets, every base is accounted for, chance has a seed."""

from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cisray.dataset.alignments import Alignment, Alignments
from cisray.dataset.assignment import Aims, deal
from cisray.dataset.homology import Linking, Lookup, Pair, components
from cisray.dataset.leakage import find_leaks, read_windows
from cisray.dataset.regions import between, cut_genome, halved, is_alternate, merge
from cisray.dataset.split import GenomeParts, Split, SplitOptions, Tiling, make_split
from cisray.errors import ConfigError
from cisray.genome.interval import Interval

LENGTHS = {"human": {"chr1": 4_000, "chr2": 2_500, "chr3": 900}, "mouse": {"a": 3_000, "b": 2_000}}
INPUT_BP, REGION_BP, LEAST = 100, 400, 60


@st.composite
def intervals(draw, head: str, largest: int = 500) -> Interval:
    chrom = draw(st.sampled_from(sorted(LENGTHS[head])))
    width = draw(st.integers(1, largest))
    start = draw(st.integers(0, LENGTHS[head][chrom] - width))
    return Interval(chrom, start, start + width)


alignments = st.lists(st.builds(Alignment, intervals("human"), intervals("mouse")), max_size=12)
blocked = {head: st.lists(intervals(head), max_size=5) for head in LENGTHS}


def options(seed: int = 1, aims: Aims | None = None) -> SplitOptions:
    return SplitOptions(
        tiling=Tiling(INPUT_BP, train_stride=40, other_stride=104, snap_bp=8),
        aims=aims or Aims.sets(0.2, 0.2),
        linking=Linking(LEAST),
        region_bp=REGION_BP,
        seed=seed,
    )


def parts(gaps: dict[str, list[Interval]], bad: dict[str, list[Interval]]) -> list[GenomeParts]:
    return [GenomeParts(head, LENGTHS[head], gaps[head], bad[head]) for head in LENGTHS]


def sets_of_bases(split: Split, head: str) -> dict[tuple[str, int], set[str]]:
    """The sets whose windows hold a base, base by base."""
    found: dict[tuple[str, int], set[str]] = {}
    for one in split.genomes[head].sequences:
        for base in range(one.interval.start, one.interval.end):
            found.setdefault((one.interval.chrom, base), set()).add(one.split)
    return found


def windows(split: Split, head: str):
    """What is read from the BED file of a split."""
    tiles = split.genomes[head].sequences
    return read_windows(
        f"{one.interval.chrom}\t{one.interval.start}\t{one.interval.end}\t{one.split}\n"
        for one in tiles
    )


@settings(deadline=None, max_examples=60)
@given(
    alignments,
    st.fixed_dictionaries(blocked),
    st.fixed_dictionaries(blocked),
    st.integers(0, 9),
    st.sampled_from([None, 3]),
)
def test_no_alignment_joins_two_sets(found, gaps, bad, seed: int, folds: int | None) -> None:
    """Base by base, from the windows alone; and every base of each genome is in one place."""
    aims = Aims.folds(folds) if folds else Aims.sets(0.2, 0.2)
    pair = Pair("human", "mouse", Alignments.of(found))
    try:
        split = make_split(parts(gaps, bad), [pair], options(seed, aims))
    except ConfigError as error:
        assert "no stretch of" in str(error)  # noqa: PT017
        return
    held = {head: sets_of_bases(split, head) for head in LENGTHS}
    for sets in held.values():
        assert all(len(names) == 1 for names in sets.values())
    straddling = below = below_bp = 0
    for alignment in found:
        met = {
            name
            for head, side in (("human", alignment.first), ("mouse", alignment.second))
            for base in range(side.start, side.end)
            for name in held[head].get((side.chrom, base), ())
        }
        is_large = min(alignment.first.width, alignment.second.width) >= LEAST
        straddling += is_large and len(met) > 1
        below += not is_large and len(met) > 1
        below_bp += alignment.size * (not is_large and len(met) > 1)
    leak = find_leaks({head: windows(split, head) for head in LENGTHS}, pair, LEAST)
    assert straddling == 0
    assert (leak.straddling, leak.straddling_bp) == (0, 0)
    assert (leak.below, leak.below_bp) == (below, below_bp)
    assert sum(leak.below_by_sets.values()) == below
    for head, made in split.genomes.items():
        gap_bases = {(g.chrom, b) for g in gaps[head] for b in range(g.start, g.end)}
        assert made.cut.gap_bp == len(gap_bases)
        covered = (*made.sequences, *made.dropped)
        tiled = {
            (o.interval.chrom, b) for o in covered for b in range(o.interval.start, o.interval.end)
        }
        assert made.tiled_bp == len(held[head])
        assert made.dropped_bp == len(tiled - held[head].keys())
        assert not tiled & gap_bases
        regions = sum(one.interval.width for one in made.regions)
        assert regions + made.cut.gap_bp + made.cut.short_bp == made.cut.total_bp
        assert made.left_over_bp == regions - len(tiled) >= 0
        bad_bases = {(g.chrom, b) for g in bad[head] for b in range(g.start, g.end)}
        for one in covered:
            at = one.interval
            assert at.width == INPUT_BP
            assert at.start % 8 == 0
            share = (
                sum((at.chrom, base) in bad_bases for base in range(at.start, at.end)) / INPUT_BP
            )
            assert (one in made.dropped) == (share >= 0.5)


@settings(deadline=None, max_examples=30)
@given(alignments, st.integers(0, 9))
def test_a_seed_decides_and_the_order_of_alignments_does_not(found, seed: int) -> None:
    nothing = {head: [] for head in LENGTHS}
    made = [
        make_split(
            parts(nothing, nothing), [Pair("human", "mouse", Alignments.of(held))], options(seed)
        )
        for held in (found, found[::-1])
    ]
    assert made[0] == made[1]


def test_components_are_those_of_a_plain_search() -> None:
    regions = {
        "human": halved([Interval("chr1", 0, 4_000)], 500),
        "mouse": halved([Interval("a", 0, 4_000)], 500),
    }
    regions = {head: sorted(held, key=lambda one: one.start) for head, held in regions.items()}
    found = [
        # Ends one base into human region 1: one base is enough.
        Alignment(Interval("chr1", 100, 501), Interval("a", 1_000, 1_100)),
        Alignment(Interval("chr1", 2_000, 2_100), Interval("a", 1_499, 1_600)),
        Alignment(Interval("chr1", 3_000, 3_059), Interval("a", 0, 500)),  # too small
    ]
    groups = components(regions, [Pair("human", "mouse", Alignments.of(found))], Linking(LEAST))
    assert groups[0] == [("human", 0), ("human", 1), ("human", 4), ("mouse", 2), ("mouse", 3)]
    assert sorted(place for group in groups for place in group) == sorted(
        (head, number) for head, held in regions.items() for number in range(len(held))
    )
    assert [len(group) for group in groups[1:]] == [1] * 11


@settings(deadline=None)
@given(st.lists(st.integers(1, 1_000), min_size=1, max_size=40), st.integers(0, 99))
def test_groups_are_dealt_out_by_size(sizes: list[int], seed: int) -> None:
    sizes = sorted(sizes, reverse=True)
    chosen = deal(sizes, Aims.sets(0.1, 0.1), seed)
    assert len(chosen) == len(sizes)
    for name in ("valid", "test"):
        # Half of what is lacking at most, each time: a set never has more than its aim.
        assert sum(s for s, c in zip(sizes, chosen, strict=True) if c == name) <= sum(sizes) * 0.1


def test_sets_get_about_what_they_are_to_have() -> None:
    chosen = Counter(deal([10] * 1_000, Aims.sets(0.1, 0.2), 5))
    assert chosen["valid"] == pytest.approx(100, abs=15)
    assert chosen["test"] == pytest.approx(200, abs=20)
    folds = Counter(deal([10] * 1_000, Aims.folds(4), 5))
    assert all(count == pytest.approx(250, abs=25) for count in folds.values())
    assert len(folds) == 4
    assert deal([10] * 50, Aims.folds(4), 5) != deal([10] * 50, Aims.folds(4), 6)


def test_chromosomes_that_are_named_for_a_set() -> None:
    """Take with them whatever is aligned to them, and no more."""
    aligned = Alignments.of([Alignment(Interval("chr3", 0, 400), Interval("b", 0, 300))])
    genomes = [
        GenomeParts("human", LENGTHS["human"], forced={"chr3": "test"}),
        GenomeParts("mouse", LENGTHS["mouse"]),
    ]
    split = make_split(genomes, [Pair("human", "mouse", aligned)], options())
    human = {one.split for one in split.genomes["human"].regions if one.interval.chrom == "chr3"}
    assert human == {"test"}
    (mouse,) = (
        one.split
        for one in split.genomes["mouse"].regions
        if one.interval.chrom == "b" and one.interval.start == 0
    )
    assert mouse == "test"
    genomes[1] = GenomeParts("mouse", LENGTHS["mouse"], forced={"b": "valid"})
    with pytest.raises(ConfigError, match=r"different sets \(human chr3"):
        make_split(genomes, [Pair("human", "mouse", aligned)], options())


@settings(deadline=None)
@given(st.lists(intervals("human"), max_size=8))
def test_merging_and_what_is_between(found: list[Interval]) -> None:
    held = merge(one for one in found if one.chrom == "chr1")
    bases = {base for one in found if one.chrom == "chr1" for base in range(one.start, one.end)}
    assert {base for one in held for base in range(one.start, one.end)} == bases
    assert all(one.end < other.start for one, other in pairwise(held))
    free = between(Interval("chr1", 0, 4_000), held)
    assert {base for one in free for base in range(one.start, one.end)} == set(range(4_000)) - bases


@settings(deadline=None)
@given(st.lists(st.integers(1, 5_000), min_size=1, max_size=6), st.integers(10, 999))
def test_halves(widths: list[int], longest: int) -> None:
    pieces = halved([Interval(f"c{n}", 7, 7 + width) for n, width in enumerate(widths)], longest)
    assert max(one.width for one in pieces) <= longest
    for number, width in enumerate(widths):
        own = sorted((one for one in pieces if one.chrom == f"c{number}"), key=lambda o: o.start)
        assert own[0].start == 7
        assert own[-1].end == 7 + width
        assert all(one.end == other.start for one, other in pairwise(own))
        if width > longest:
            assert min(one.width for one in own) >= longest // 2


@settings(deadline=None)
@given(st.lists(intervals("human"), max_size=10), intervals("human"))
def test_lookup_is_a_plain_search(found: list[Interval], asked: Interval) -> None:
    held = [
        one for chrom in LENGTHS["human"] for one in merge(o for o in found if o.chrom == chrom)
    ]
    expected = [
        (number, both.width)
        for number, one in enumerate(held)
        if (both := one.intersect(asked)) is not None
    ]
    assert sorted(Lookup(held).meeting(asked)) == expected


def test_short_contigs_and_chromosomes_not_chosen_are_counted() -> None:
    gaps = [Interval("chr1", 50, 60), Interval("chr1", 30, 55), Interval("chr2", 0, 100)]
    cut = cut_genome(
        "human", LENGTHS["human"], gaps, chosen=["chr1"], region_bp=1_000, shortest_bp=100
    )
    assert (cut.gap_bp, cut.short_bp, cut.excluded_bp) == (30, 30, 3_400)
    assert (cut.short_contigs, cut.excluded) == (1, ("chr2", "chr3"))
    assert cut.regions[0].start == 60


@settings(deadline=None, max_examples=30)
@given(alignments)
def test_swapped_genomes_have_the_same_components(found: list[Alignment]) -> None:
    regions = {
        head: cut_genome(
            head, LENGTHS[head], (), chosen=None, region_bp=REGION_BP, shortest_bp=INPUT_BP
        ).regions
        for head in LENGTHS
    }
    turned = Alignments.of(Alignment(one.second, one.first) for one in found)
    pairs = Pair("human", "mouse", Alignments.of(found)), Pair("mouse", "human", turned)
    made = [
        {frozenset(group) for group in components(regions, [pair], Linking(LEAST))}
        for pair in pairs
    ]
    assert made[0] == made[1]


def test_a_leak_is_found_where_one_base_makes_it() -> None:
    """Windows of train to base 100, of test from 100 on; the alignment goes one base further."""
    human = read_windows(["chr1\t0\t100\ttrain\n", "chr1\t100\t200\ttest\n"])
    mouse = read_windows(["a\t0\t100\ttrain\n"])

    def leak(end: int, least: int, start: int = 0):
        there = Interval("a", start + 99, end + 99)
        one = Alignment(Interval("chr1", start, end), there)
        pair = Pair("human", "mouse", Alignments.of([one]))
        return find_leaks({"human": human, "mouse": mouse}, pair, least)

    assert leak(100, 50).straddling == 0
    assert (leak(101, 101).straddling, leak(101, 101).straddling_bp) == (1, 101)
    assert (leak(101, 102).straddling, leak(101, 102).below_bp) == (0, 101)
    # It begins where the windows of train end: the last base of train is not its first.
    assert leak(150, 1, start=100).straddling == 0
    assert leak(150, 1, start=99).straddling == 1
    assert leak(101, 102).below_by_sets == {"test and train": 1}


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 9), st.integers(0, 9))
def test_shifted_windows_stay_in_their_set(seed: int, margin: int) -> None:
    genomes = [GenomeParts("human", LENGTHS["human"])]
    tiling = Tiling(INPUT_BP, train_stride=40, other_stride=104, snap_bp=1, margin_bp=margin)
    made = make_split(genomes, [], SplitOptions(tiling, Aims.folds(3), region_bp=400, seed=seed))
    held = made.genomes["human"]
    for one in held.sequences:
        wide = Interval(one.interval.chrom, one.interval.start - margin, one.interval.end + margin)
        assert {r.split for r in held.regions if r.interval.overlaps(wide)} == {one.split}
    # Where nothing else begins, at the ends of chromosomes, no base is given away.
    assert {0} == {min(o.interval.start for o in held.sequences if o.interval.chrom == "chr1")}


def test_alignments_of_a_genome_with_itself_connect() -> None:
    own = Alignments.of([Alignment(Interval("chr1", 0, 100), Interval("chr2", 2_400, 2_500))])
    made = make_split(
        [GenomeParts("human", LENGTHS["human"])], [Pair("human", "human", own)], options()
    )
    ends = {
        one.component
        for one in made.genomes["human"].regions
        if one.interval.overlaps(Interval("chr1", 0, 1))
        or one.interval.overlaps(Interval("chr2", 2_499, 2_500))
    }
    assert len(ends) == 1


def test_alternate_sequences_by_their_names() -> None:
    left = ["chr6_GL000250v2_alt", "chr6_mcf_hap5", "chrY_KN196487v1_fix", "chrEBV", "hs37d5"]
    kept = ["chr1", "X", "chrM", "chr1_KI270706v1_random", "chrUn_KI270302v1", "GL000192.1", "2L"]
    assert all(map(is_alternate, [*left, "HLA-A*01:01", "CHR_HSCHR6_MHC_APD_CTG1"]))
    assert not any(map(is_alternate, kept))
