"""A small made-up genome: its layout, its truth against brute force, its linkage, its mapping."""

import dataclasses
from itertools import pairwise

import numpy as np
import pytest

from cisray.dataset.synthetic import ASSAYS, ROLES, SyntheticData, SyntheticSettings, generate
from cisray.dataset.synthetic.expression import (
    WEIGHTS_FC,
    Regulation,
    State,
    expected,
    read_occupancy,
)
from cisray.dataset.synthetic.haplotypes import tree
from cisray.dataset.synthetic.layout import background
from cisray.dataset.synthetic.variants import Snv, true_effects

SETTINGS = SyntheticSettings(
    seed=5,
    chromosomes={"chr1": 64_000, "chrB": 40_007},
    locus_bp=8_000,
    individuals=150,
    variants_per_locus=40,
    depth=2.0,
)


@pytest.fixture(scope="module")
def data() -> SyntheticData:
    return generate(SETTINGS)


@pytest.fixture(scope="module")
def state(data: SyntheticData) -> State:
    return Regulation.of(data.genome).state(read_occupancy(data.genome))


def whole_tracks(data: SyntheticData, variant: Snv | None = None) -> list[dict[str, np.ndarray]]:
    """Compute all expected tracks of all chromosomes, of the reference or with a variant in it."""
    codes = {chrom: codes_L.copy() for chrom, codes_L in data.genome.codes.items()}
    if variant is not None:
        assert codes[variant.chrom][variant.start] == variant.ref
        codes[variant.chrom][variant.start] = variant.alt
    genome = dataclasses.replace(data.genome, codes=codes)
    state = Regulation.of(genome).state(read_occupancy(genome))
    return [
        {chrom: expected(genome, state, assay, chrom) for chrom in SETTINGS.chromosomes}
        for assay in ASSAYS
    ]


def test_elements_overlap_nothing_and_lie_where_genes_need_them(data: SyntheticData) -> None:
    genome = data.genome
    assert len(genome.genes) == 8 + 5  # loci of 8,000 bp
    for chrom, length in SETTINGS.chromosomes.items():
        spans = sorted((e.start, e.end) for e in genome.elements if e.chrom == chrom)
        assert spans[0][0] >= 0
        assert spans[-1][1] <= length
        assert all(end <= start for (_, end), (start, _) in pairwise(spans))
    for gene in genome.genes:
        promoter = genome.elements[gene.promoter]
        assert promoter.kind == "promoter"
        assert promoter.start <= gene.tss < promoter.end
        near = [
            abs(e.middle - gene.tss)
            for e in genome.elements
            if e.kind == "enhancer" and e.chrom == gene.chrom and e.name.startswith(gene.name)
        ]
        assert near
        assert all(500 <= distance <= 1_500 for distance in near)
    middles = [abs(e.middle - g.tss) for g in genome.genes for e in genome.elements]
    assert min(middles) == 0


def test_planted_sites_stand_in_the_bases(data: SyntheticData) -> None:
    for site in data.genome.sites:
        motif = data.genome.motifs[site.factor]
        written = data.genome.codes[site.chrom][site.start : site.end]
        both = motif.scores(written)[:, 0]
        assert both["+-".index(site.strand)] > motif.threshold
        inside = any(
            e.chrom == site.chrom and e.start <= site.start and site.end <= e.end
            for e in data.genome.elements
        )
        assert inside == (site.kind == "active")
    kinds = [site.kind for site in data.genome.sites]
    assert kinds.count("decoy") == 3 * 13


def test_activity_and_expression_follow_the_formulas(data: SyntheticData, state: State) -> None:
    genome = data.genome
    drive = state.occupancy_EF @ WEIGHTS_FC
    np.testing.assert_allclose(state.activity_EC, np.log(1 + np.exp(3 * (drive - 0.7))) / 3)
    for number, gene in enumerate(genome.genes):
        for cell in (0, 1):
            reached = 0.3
            for place, element in enumerate(genome.elements):
                distance = abs((element.start + element.end) // 2 - gene.tss)
                same = element.chrom == gene.chrom and element.kind == "enhancer"
                if same and distance <= 2_500:
                    reached += state.activity_EC[place, cell] * np.exp(-distance / 1_200)
            value = state.activity_EC[gene.promoter, cell] * reached
            assert state.expression_GC[number, cell] == pytest.approx(value, rel=1e-12)


def test_effects_are_the_whole_function_of_alternate_less_reference(data: SyntheticData) -> None:
    reference = whole_tracks(data)
    active = [n for n, v in enumerate(data.variants) if v.element >= 0]
    outside = [n for n, v in enumerate(data.variants) if v.element < 0]
    for number in [*active[::6], *outside[:3]]:
        changed = whole_tracks(data, data.variants[number])
        for track in range(len(ASSAYS)):
            total = sum(
                16 * (changed[track][chrom] - reference[track][chrom]).sum()
                for chrom in SETTINGS.chromosomes
            )
            assert data.truth.effect_VT[number, track] == pytest.approx(total, rel=1e-6, abs=1e-7)


def test_effects_are_of_all_sizes_and_of_both_signs(data: SyntheticData) -> None:
    effects = data.truth.effect_VT[:, 0]
    sizes = np.abs(effects[effects != 0])
    assert (effects > 0).any()
    assert (effects < 0).any()
    assert sizes.max() > 30 * np.quantile(sizes, 0.1)
    specific = (data.truth.effect_VT[:, 0] != 0) ^ (data.truth.effect_VT[:, 1] != 0)
    assert specific.any()


def test_decoys_have_exactly_no_effect(data: SyntheticData) -> None:
    decoys = [n for n, v in enumerate(data.variants) if v.origin == "decoy"]
    assert len(decoys) > 30
    assert {data.variants[n].element for n in decoys} == {-1}
    assert all(data.variants[n].factor for n in decoys)
    assert not data.truth.effect_VT[decoys].any()
    outside = [n for n, v in enumerate(data.variants) if v.element < 0]
    assert not data.truth.effect_VT[outside].any()
    assert not set(outside) & set(data.truth.fold_VGC)


def test_factors_that_no_cell_expresses_have_exactly_no_effect(data: SyntheticData) -> None:
    genome = data.genome
    regulation, occupancy_EF = Regulation.of(genome), read_occupancy(genome)
    silent = [n for n, role in enumerate(ROLES) if not role.is_expressed]
    assert len(silent) == 2
    changed_EF = occupancy_EF.copy()
    changed_EF[:, silent] += 1
    before, after = regulation.state(occupancy_EF), regulation.state(changed_EF)
    assert np.array_equal(before.activity_EC, after.activity_EC)
    # A variant that only touches such a site: nothing else in its element changes.
    found = 0
    for number, variant in enumerate(data.variants):
        if variant.element >= 0 and variant.factor in ("MUTA", "MUTB"):
            element = genome.elements[variant.element]
            codes_L = genome.codes[variant.chrom][element.start : element.end].copy()
            codes_L[variant.start - element.start] = variant.alt
            rescanned = np.array([motif.occupancy(codes_L) for motif in genome.motifs])
            moved = np.flatnonzero(rescanned != occupancy_EF[variant.element])
            if set(moved) <= set(silent):
                found += 1
                assert not data.truth.effect_VT[number].any()
    assert found >= 3


def test_variants_have_the_reference_base_and_one_place_each(data: SyntheticData) -> None:
    places = [(v.chrom, v.start) for v in data.variants]
    assert len(set(places)) == len(places)
    order = list(SETTINGS.chromosomes)
    assert places == sorted(places, key=lambda place: (order.index(place[0]), place[1]))
    for variant in data.variants:
        assert data.genome.codes[variant.chrom][variant.start] == variant.ref != variant.alt
        lies = [
            n
            for n, e in enumerate(data.genome.elements)
            if e.chrom == variant.chrom and e.start <= variant.start < e.end
        ]
        assert lies == ([variant.element] if variant.element >= 0 else [])


def test_swapping_the_alleles_negates_the_effect(data: SyntheticData) -> None:
    number = int(np.count_nonzero(data.truth.effect_VT, axis=1).argmax())
    assert np.count_nonzero(data.truth.effect_VT[number]) >= 4
    variant = data.variants[number]
    codes = {chrom: codes_L.copy() for chrom, codes_L in data.genome.codes.items()}
    codes[variant.chrom][variant.start] = variant.alt
    turned = dataclasses.replace(variant, ref=variant.alt, alt=variant.ref)
    genome = dataclasses.replace(data.genome, codes=codes)
    truth = true_effects(genome, Regulation.of(genome), read_occupancy(genome), (turned,))
    np.testing.assert_allclose(
        truth.effect_VT[0], -data.truth.effect_VT[number], rtol=1e-9, atol=1e-9
    )


def squared_correlations(data: SyntheticData, low: int, high: int) -> np.ndarray:
    """r² of pairs of variants of a chromosome that lie so many bases apart."""
    alleles = data.haplotypes_VH.astype(float)
    centred = alleles - alleles.mean(axis=1, keepdims=True)
    scaled = centred / np.sqrt((centred**2).sum(axis=1, keepdims=True))
    start = np.array([v.start for v in data.variants])
    chrom = np.array([v.chrom for v in data.variants])
    apart = np.abs(start[:, None] - start)
    pairs = (chrom[:, None] == chrom) & (apart >= low) & (apart < high)
    return (scaled @ scaled.T)[np.triu(pairs, 1)] ** 2


def test_neighbours_are_linked_and_strangers_are_not(data: SyntheticData) -> None:
    near, middle, far = (
        squared_correlations(data, *span) for span in ((1, 800), (4_000, 8_000), (25_000, 60_000))
    )
    assert near.mean() > 0.2
    assert (near > 0.8).mean() > 0.1
    assert near.mean() > 2.5 * middle.mean()
    assert middle.mean() > 1.3 * far.mean()
    # Independent variants among 300 haplotypes have a mean r² of 1 / 299; founders leave a little.
    assert far.mean() < 0.03
    minor = np.minimum(data.haplotypes_VH.mean(axis=1), 1 - data.haplotypes_VH.mean(axis=1))
    assert minor.min() >= 0.05


def test_a_coalescent_tree() -> None:
    generator = np.random.default_rng(2)
    depths, singles = [], []
    for _ in range(400):
        below_XF, length_X = tree(generator, 6)
        assert below_XF.shape == (10, 6)
        assert below_XF[:6].tolist() == np.eye(6, dtype=bool).tolist()
        # From every leaf to the root it is equally far.
        to_root = length_X @ below_XF
        np.testing.assert_allclose(to_root, to_root[0])
        # Branches nest or are apart.
        for one in below_XF:
            for other in below_XF:
                both = (one & other).sum()
                assert both in (0, one.sum(), other.sum())
        depths.append(to_root[0])
        singles.append(length_X[:6].sum())
    # Kingman: the mean depth is 2 (1 - 1/n), the mean length of outer branches 2.
    assert np.mean(depths) == pytest.approx(2 * (1 - 1 / 6), rel=0.12)
    assert np.mean(singles) == pytest.approx(2.0, rel=0.12)


def test_fine_mapping_finds_causal_variants() -> None:
    """In loci as they are by default, of which the small genome above has too few."""
    chromosomes = {f"chr{number}": 150_000 for number in range(3)}
    found = generate(SyntheticSettings(seed=5, chromosomes=chromosomes)).eqtls
    likely = [one for one in found if one.pip > 0.9]
    assert len(likely) >= 3
    assert np.mean([one.true_beta != 0 for one in likely]) > 0.7


def test_probabilities_of_a_gene_add_up_and_the_truth_stands_beside(data: SyntheticData) -> None:
    sums: dict[tuple[int, str], float] = {}
    for one in data.eqtls:
        sums[one.gene, one.cell] = sums.get((one.gene, one.cell), 0.0) + one.pip
        fold = data.truth.fold_VGC.get(one.variant)
        cell = ("alpha", "beta").index(one.cell)
        assert one.true_beta == (0 if fold is None else 0.5 * fold[one.gene, cell])
    assert len(sums) == 2 * len(data.genome.genes)
    assert all(total == pytest.approx(1) for total in sums.values())


def test_measured_tracks_are_noisy_counts_of_the_expected(
    data: SyntheticData, state: State
) -> None:
    for track, assay in enumerate(ASSAYS):
        mean_S = expected(data.genome, state, assay, "chr1")
        found_S = data.tracks_TS["chr1"][track]
        assert found_S.shape == (4_000,)
        counts = found_S.astype(float) * 16 * 2  # a depth of 2
        np.testing.assert_array_equal(counts, counts.round())
        # Poisson: the variance of counts is their mean.
        z = (counts - 32 * mean_S) / np.sqrt(32 * mean_S)
        assert abs(z.mean()) < 0.08
        assert np.mean(z**2) == pytest.approx(1, rel=0.2)


def test_the_background_has_its_content_and_few_cpg() -> None:
    codes_L = background(np.random.default_rng(0), 200_500, 0.4)
    assert len(codes_L) == 200_500
    gc = np.isin(codes_L, (1, 2)).mean()
    assert gc == pytest.approx(0.4, abs=0.05)
    cpg = ((codes_L[:-1] == 1) & (codes_L[1:] == 2)).mean()
    assert cpg < 0.5 * (codes_L == 1).mean() * (codes_L == 2).mean()


def test_purposes_have_streams_of_their_own(data: SyntheticData) -> None:
    other = generate(SETTINGS.model_copy(update={"individuals": 20}))
    assert all(np.array_equal(other.genome.codes[c], data.genome.codes[c]) for c in other.tracks_TS)
    assert other.variants == data.variants
    assert other.haplotypes_VH.shape == (len(data.variants), 40)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"chromosomes": {"chr1": 9_000}}, "at least two loci"),
        ({"farthest_enhancer_bp": 5_000}, "no room for enhancers"),
        ({"nearest_enhancer_bp": 3_000}, "must be beyond"),
        ({"sites_per_enhancer": (3, 2)}, "must grow from a positive number"),
        ({"consensus": (0.8, 1.0)}, "between 0.25 and 1"),
        ({"colour": 1}, "Extra inputs"),
    ],
)
def test_settings_that_cannot_be(change: dict[str, object], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        SyntheticSettings.model_validate(change)
