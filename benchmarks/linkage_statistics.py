"""What fine-mapping and signed LD profiles are worth over real genotypes, with known truth.

Traits are simulated over genotypes of people: credible sets must hold what is causal, p-values of
nothing must be uniform, and a planted direction must be found with its size. Where other programs
are installed beside cisray, numbers are held to theirs:

    pip install --no-deps pysusie==0.1.0 sldp==1.1.5 ypy==0.2

    python benchmarks/linkage_statistics.py GENOTYPES.vcf.gz [--traits 120] [--keep]
"""

import argparse
import importlib
import importlib.util
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType

import numpy as np
from measuring import SEED, load_average, machine_facts, publish, table
from numpy.typing import NDArray

from cisray.evaluation.credible_sets import credible_sets
from cisray.evaluation.finemap_rows import correlations
from cisray.evaluation.linkage_check import Spectrum, check_linkage
from cisray.evaluation.panel import Blocks, PanelCounts, panel_blocks
from cisray.evaluation.sldp import BlockProfiles, BlockSums, flip_test, regress
from cisray.evaluation.sldp_panel import background
from cisray.evaluation.susie import Evidence, SusieSettings, fit_susie
from cisray.genome.genotypes import GenotypeFile, GenotypeLimits, standardised

Doubles = NDArray[np.float64]

REGION_BP, REGIONS = 150_000, 8
BLOCK_BP = 100_000
STUDY, VARIANCE = 20_000.0, 1e-5
FLIPS = 10_000
SHARES = (0.0, 0.1, 0.3)


@dataclass
class Coverage:
    """How credible sets of simulated traits fared."""

    told: str
    sets: int = 0
    covering: int = 0
    variants: int = 0
    planted: int = 0
    found: int = 0
    likely: int = 0
    likely_causal: int = 0
    outliers: int = 0
    seconds: float = 0.0

    def row(self) -> tuple[str, ...]:
        """Lay it out for a table."""
        sets = max(self.sets, 1)
        return (
            self.told,
            f"{self.sets:,}",
            f"{self.covering / sets:.3f}",
            f"{self.variants / sets:.1f}",
            f"{self.found / max(self.planted, 1):.2f}",
            f"{self.likely_causal} of {self.likely}",
            f"{self.outliers}",
            f"{self.seconds:.0f}",
        )


@dataclass
class Case:
    """A way to fine-map: whose trait, whose linkage, and how it is fitted."""

    told: str
    study: slice
    panel: slice
    ridge: float | None
    estimate: bool


CASES = (
    Case("everybody, in sample", slice(None), slice(None), 0.0, estimate=True),
    Case("first half, in sample", slice(0, 150), slice(0, 150), 0.0, estimate=True),
    Case("linkage of the other half, likeliest ridge", slice(0, 150), slice(150, 300), None,
         estimate=False),
    Case("linkage of the other half, no ridge", slice(0, 150), slice(150, 300), 0.0,
         estimate=False),
)  # fmt: skip


def main() -> None:
    """Simulate, compare, report."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("genotypes", type=Path, help="VCF of one chromosome, 300 people or more")
    parser.add_argument("--traits", type=int, default=120)
    parser.add_argument("--keep", action="store_true", help="write a result file")
    options = parser.parse_args()
    before = load_average()
    counts = list(regions(options.genotypes))
    coverages = [cover(case, counts, options.traits) for case in CASES]
    blocks = list(linked_blocks(options.genotypes))
    rows = [direction(blocks, share, max(options.traits // 2, 8)) for share in SHARES]
    others = [*beside_pysusie(counts), *beside_sldp(blocks)]
    facts = {
        "benchmark": "linkage_statistics",
        "coverage": [asdict(each) for each in coverages],
        "direction": rows,
        "others": others,
        "machine": machine_facts(1),
        "load_average": [before, load_average()],
    }
    publish("linkage_statistics", report(coverages, rows, others), facts, keep=options.keep)


def report(
    coverages: Sequence[Coverage], rows: Sequence[dict[str, float]], others: Sequence[str]
) -> str:
    """Lay the numbers out."""
    header = ("trait and linkage of", "sets", "that hold", "variants", "found", "PIP > 0.9 causal",
              "outliers", "s")  # fmt: skip
    told: list[tuple[str, ...]] = [
        ("r_f² planted", "mu", "mean mu", "its error", "jackknife error / spread",
         "95 % intervals hold", "p < 0.05", "right sign")
    ]  # fmt: skip
    told += [(f"{r['share']:g}", *(f"{r[name]:.3g}" for name in list(r)[1:])) for r in rows]
    return "\n\n".join(
        [
            "One to three causal variants, each 8 to 20 % of a trait's variance:",
            table([header, *(each.row() for each in coverages)]),
            f"One random annotation, blocks of {BLOCK_BP:,} bp, background of minor alleles:",
            table(told),
            *others,
        ]
    )


def regions(path: Path) -> Iterator[NDArray[np.int8]]:
    """Give counts of variants of 2 % or more, of some regions over the file."""
    file = GenotypeFile.open(path, GenotypeLimits(0.02))
    blocks = [b for b, _ in panel_blocks(file, Blocks(REGION_BP), PanelCounts()) if b is not None]
    for block in blocks[1 : -1 : max(len(blocks) // REGIONS, 1)]:
        yield block.counts_VI


def cover(case: Case, regions: Sequence[NDArray[np.int8]], traits: int) -> Coverage:
    """Simulate traits and fine-map them."""
    found = Coverage(case.told)
    begun = time.perf_counter()
    for seed in range(traits):
        _cover_one(case, regions[seed % len(regions)], seed, found)
    found.seconds = time.perf_counter() - begun
    return found


def _cover_one(case: Case, counts_VI: NDArray[np.int8], seed: int, found: Coverage) -> None:
    dice = np.random.default_rng(seed)
    order = dice.permutation(counts_VI.shape[1])
    study_VI, panel_VI = counts_VI[:, order[case.study]], counts_VI[:, order[case.panel]]
    varied = (study_VI.std(axis=1) > 0) & (panel_VI.std(axis=1) > 0)
    study_IV, panel_IV = (standardised(each[varied])[0] for each in (study_VI, panel_VI))
    people = len(study_IV)
    causal, trait_I = simulated_trait(study_IV, 1 + seed % 3, dice)
    r_V = study_IV.T @ trait_I
    z_V = r_V * np.sqrt((people - 2) / (1 - r_V**2))
    checked = check_linkage(z_V, people, Spectrum.of(panel_IV))
    ridge = checked.share if case.ridge is None else case.ridge
    told = Evidence(correlations(z_V, people), people, panel_IV, ridge)
    fit = fit_susie(told, SusieSettings(estimate_residual=case.estimate))
    held: set[int] = set()
    for one in credible_sets(fit, panel_IV, coverage=0.95, min_purity=0.5):
        members = set(one.variants.tolist())
        found.sets += 1
        found.variants += len(members)
        found.covering += bool(members & causal)
        held |= members
    likely = set(np.flatnonzero(fit.inclusion_V > 0.9).tolist())
    found.planted += len(causal)
    found.found += len(held & causal)
    found.likely += len(likely)
    found.likely_causal += len(likely & causal)
    found.outliers += int(checked.outlier_V.sum())


def simulated_trait(
    columns_IV: Doubles, count: int, dice: np.random.Generator
) -> tuple[set[int], Doubles]:
    """Draw causal variants and a trait of mean 0 and length 1."""
    people, variants = columns_IV.shape
    causal = dice.choice(variants, size=count, replace=False)
    share = dice.uniform(0.08, 0.2, size=count)
    effect = dice.choice([-1.0, 1.0], size=count) * np.sqrt(share * people)
    trait_I = columns_IV[:, causal] @ effect
    trait_I += dice.normal(0, np.sqrt(1 - share.sum()), size=people)
    trait_I -= trait_I.mean()
    return set(causal.tolist()), trait_I / np.linalg.norm(trait_I)


def linked_blocks(path: Path) -> Iterator[tuple[Doubles, Doubles]]:
    """Give genotypes and background of every block, of variants of 5 % or more."""
    file = GenotypeFile.open(path, GenotypeLimits(0.05))
    blocks = [b for b, _ in panel_blocks(file, Blocks(BLOCK_BP), PanelCounts()) if b is not None]
    share_V = np.concatenate([block.share_V for block in blocks])
    edges = np.quantile(np.minimum(share_V, 1 - share_V), (0.2, 0.4, 0.6, 0.8))
    for block in blocks:
        columns_IV, deviation_V = block.columns()
        yield columns_IV, background(block.share_V, deviation_V, edges)


def simulated_sums(
    blocks: Sequence[tuple[Doubles, Doubles]], mu: float, dice: np.random.Generator
) -> tuple[list[BlockSums], list[Doubles], list[Doubles]]:
    """Draw an annotation and z of a study of 20,000, linkage across borders of blocks included."""
    whole_IV = np.concatenate([columns_IV for columns_IV, _ in blocks], axis=1)
    people, variants = whole_IV.shape
    annotation_V = dice.normal(size=variants)
    effect_V = mu * annotation_V + dice.normal(0, np.sqrt(VARIANCE - mu**2), variants)
    z_V = np.sqrt(STUDY) * whole_IV.T @ (whole_IV @ effect_V)
    z_V += whole_IV.T @ dice.normal(size=people)
    sizes = np.cumsum([columns_IV.shape[1] for columns_IV, _ in blocks])[:-1]
    z, annotations = np.split(z_V, sizes), np.split(annotation_V[:, None], sizes)
    sums = []
    for (columns_IV, back_VB), z_of, v_of in zip(blocks, z, annotations, strict=True):
        every = np.ones(len(z_of), dtype=bool)
        profiles = BlockProfiles.of(columns_IV, every, back_VB, v_of)
        sums.append(profiles.sums(z_of, np.full(len(z_of), STUDY), VARIANCE))
    return sums, z, annotations


def direction(
    blocks: Sequence[tuple[Doubles, Doubles]], share: float, traits: int
) -> dict[str, float]:
    """Plant a direction of a share of the heritability, and look for it."""
    mu = float(np.sqrt(share * VARIANCE))
    estimates, errors, p_values = [], [], []
    for seed in range(traits):
        sums, _, _ = simulated_sums(blocks, mu, np.random.default_rng(seed))
        found = regress(sums)
        estimates.append(float(found.mu_T[0]))
        errors.append(float(found.error_T[0]))
        p_values.append(float(flip_test(found.score_GT, flips=FLIPS, seed=seed).p_T[0]))
    held = np.array(estimates)
    return {
        "share": share,
        "mu": mu,
        "mean_mu": float(held.mean()),
        "mean_error": float(held.std(ddof=1) / np.sqrt(traits)),
        "jackknife_error": float(np.mean(errors)) / float(held.std(ddof=1)),
        "intervals_hold": float(np.mean(np.abs(held - mu) < 1.96 * np.array(errors))),
        "p_below": float(np.mean(np.array(p_values) < 0.05)),
        "right_sign": float(np.mean(held > 0)),
    }


def beside_pysusie(regions: Sequence[NDArray[np.int8]]) -> Iterator[str]:
    """Fit the same traits by the port of susieR, if it is installed."""
    port = _installed("pysusie")
    if port is None:
        yield "pysusie is not installed: SuSiE is not compared."
        return
    pip, same, sets = 0.0, 0, 0
    for seed in range(24):
        columns_IV = standardised(regions[seed % len(regions)])[0]
        people = len(columns_IV)
        _, trait_I = simulated_trait(columns_IV, 1 + seed % 3, np.random.default_rng(seed))
        fit = fit_susie(Evidence(columns_IV.T @ trait_I, people, columns_IV), SusieSettings())
        scale = np.sqrt(people - 1)
        theirs = port.susie(columns_IV * scale, trait_I * scale, L=10)
        mine = {
            frozenset(one.variants.tolist())
            for one in credible_sets(fit, columns_IV, coverage=0.95, min_purity=0.5)
        }
        held = theirs["sets"]["cs"] or []
        listed = held.values() if isinstance(held, dict) else held
        same += len(mine & {frozenset(map(int, one)) for one in listed})
        sets += max(len(mine), len(listed))
        pip = max(pip, float(np.abs(fit.inclusion_V - theirs["pip"]).max()))
    yield (
        f"SuSiE beside pysusie, 24 traits: PIPs differ by {pip:.1e} at most; {same} of {sets} "
        f"credible sets are the same."
    )


def beside_sldp(blocks: Sequence[tuple[Doubles, Doubles]]) -> Iterator[str]:
    """Regress the same traits by the published program's own functions, if it is installed."""
    weights, chunks = _installed("sldp.weights"), _installed("sldp.chunkstats")
    if weights is None or chunks is None:
        yield "sldp is not installed: the regression is not compared."
        return
    apart = {"mu": 0.0, "jackknife error": 0.0, "z": 0.0}
    for seed in range(8):
        mu = np.sqrt(0.2 * VARIANCE) if seed % 2 else 0.0
        sums, z, annotations = simulated_sums(blocks, mu, np.random.default_rng(seed))
        found = regress(sums)
        tested = flip_test(found.score_GT, flips=1_000_000, seed=seed)
        theirs = _their_numbers(weights, chunks, blocks, z, annotations)
        mine = (found.mu_T[0], found.error_T[0], tested.z_T[0])
        for name, one, other in zip(apart, mine, theirs, strict=True):
            difference = abs(one - other) / (1 if name == "z" else abs(other))
            apart[name] = max(apart[name], float(difference))
    told = ", ".join(f"{name} {value:.1e}" for name, value in apart.items())
    yield (
        f"Regression beside sldp's functions, 8 traits, largest differences: {told} (of z "
        f"absolute, by other flips)."
    )


def _their_numbers(
    weights: ModuleType,
    chunks: ModuleType,
    blocks: Sequence[tuple[Doubles, Doubles]],
    z: Sequence[Doubles],
    annotations: Sequence[Doubles],
) -> tuple[float, float, float]:
    """Follow sldp's main: numerators and denominators by block, then estimates and flips."""
    tops, bottoms = [], []
    for (columns_IV, back_VB), z_V, v_VT in zip(blocks, z, annotations, strict=True):
        people = len(columns_IV)
        scaled_IV = columns_IV * np.sqrt(people)
        vectors, values, _ = np.linalg.svd(scaled_IV.T, full_matrices=False)
        values = values**2 / people
        # One more than sldp keeps, which stops before the share is reached.
        rank = int(np.argmax(np.cumsum(values) / values.sum() >= 0.95)) + 1
        kept = {"U": vectors[:, :rank], "svs": values[:rank]}
        profile = scaled_IV.T @ (scaled_IV @ np.column_stack([back_VB, v_VT])) / people
        told = {"R2": None, "sigma2g": VARIANCE, "N": STUDY}
        weighted = weights.invert_weights(kept, x=z_V / np.sqrt(STUDY), **told)
        tops.append(profile.T @ weighted)
        bottoms.append(profile.T @ weights.invert_weights(kept, x=profile, **told))
    others = range(len(tops))
    less_top = [sum(tops[:at] + tops[at + 1 :]) for at in others]
    less_bottom = [sum(bottoms[:at] + bottoms[at + 1 :]) for at in others]
    count = blocks[0][1].shape[1]
    mu = chunks.get_est(sum(tops), sum(bottoms), 0, count)
    error = chunks.jackknife_se(mu, less_top, less_bottom, 0, count)
    q, *_ = chunks.residualize(tops, bottoms, count, 0)
    np.random.seed(SEED)  # noqa: NPY002 -- sldp draws from numpy's global state
    _, z_flips = chunks.signflip(q, 1_000_000, printmem=False)
    return float(mu), float(error), float(z_flips)


def _installed(name: str) -> ModuleType | None:
    root = name.partition(".")[0]
    return importlib.import_module(name) if importlib.util.find_spec(root) else None


if __name__ == "__main__":
    main()
