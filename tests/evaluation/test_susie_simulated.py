"""Credible sets over real genotypes of chr20, of traits whose causal variants are known."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from cisray.evaluation.credible_sets import credible_sets
from cisray.evaluation.susie import Evidence, SusieSettings, fit_susie
from cisray.genome.genotypes import GenotypeFile, GenotypeLimits, standardised
from cisray.locus import Locus

FILE = "data/chr20_hg19/1000g_phase3_300samples_chr20_1-4Mb.hg19.vcf.gz"
REGION_BP = 150_000
BINS = (0.0, 0.1, 0.5, 0.9, 1.0)


@dataclass
class Tally:
    """Credible sets and how many hold a causal variant; variants by probability, and causal ones.

    `effects` were planted, of which `found` lie in a set.
    """

    sets: int = 0
    covering: int = 0
    effects: int = 0
    found: int = 0
    size: int = 0

    def __post_init__(self) -> None:
        self.expected, self.causal, self.variants = (np.zeros(len(BINS) - 1) for _ in range(3))

    def add(self, seed: int, columns_IV: np.ndarray) -> None:
        """Simulate a trait of one to three causal variants, each of 8 to 20 % of the variance."""
        dice = np.random.default_rng(seed)
        people, variants = columns_IV.shape
        causal = dice.choice(variants, size=1 + seed % 3, replace=False)
        share = dice.uniform(0.08, 0.2, size=len(causal))
        effect = dice.choice([-1.0, 1.0], size=len(causal)) * np.sqrt(share * people)
        trait_I = columns_IV[:, causal] @ effect
        trait_I += dice.normal(0, np.sqrt(1 - share.sum()), size=people)
        trait_I = (trait_I - trait_I.mean()) / np.linalg.norm(trait_I - trait_I.mean())
        told = Evidence(columns_IV.T @ trait_I, people, columns_IV)
        fit = fit_susie(told, SusieSettings())
        held = set()
        for found in credible_sets(fit, columns_IV, coverage=0.95, min_purity=0.5):
            self.sets += 1
            self.size += len(found.variants)
            self.covering += bool(set(found.variants.tolist()) & set(causal.tolist()))
            held |= set(found.variants.tolist())
        self.effects += len(causal)
        self.found += len(held & set(causal.tolist()))
        place = np.clip(np.digitize(fit.inclusion_V, BINS) - 1, 0, len(BINS) - 2)
        truth = np.isin(np.arange(variants), causal)
        self.expected += np.bincount(place, fit.inclusion_V, len(BINS) - 1)
        self.causal += np.bincount(place, truth, len(BINS) - 1)
        self.variants += np.bincount(place, minlength=len(BINS) - 1)


def simulate(shared: Path, count: int) -> Tally:
    file = GenotypeFile.open(shared / FILE, GenotypeLimits(0.02))
    regions = []
    for start in range(1_100_000, 3_800_000, 9 * REGION_BP):
        columns_IV, _ = standardised(file.read(Locus("20", start, start + REGION_BP)).counts_VI)
        regions.append(columns_IV)
    tally = Tally()
    for seed in range(count):
        tally.add(seed, regions[seed % len(regions)])
    return tally


@pytest.mark.realdata
def test_credible_sets_hold_what_is_causal(shared: Path) -> None:
    tally = simulate(shared, 24)
    assert tally.sets >= 20
    assert tally.covering >= 0.85 * tally.sets
    assert tally.found >= 0.4 * tally.effects


@pytest.mark.realdata
@pytest.mark.slow
@pytest.mark.timeout(1_200)
def test_coverage_and_probabilities_over_many_traits(shared: Path) -> None:
    tally = simulate(shared, 600)
    assert tally.sets > 500
    # Below 0.1 probabilities add up to about twice the causal variants: a single effect that is
    # hardly there spreads a whole probability over the region.
    assert tally.causal[0] < tally.expected[0]
    spread = 4 * np.sqrt(tally.expected[1:])
    assert (np.abs(tally.causal - tally.expected)[1:] < spread).all(), tally.causal
    assert tally.covering >= 0.9 * tally.sets
