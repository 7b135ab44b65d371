"""From settings to a folder of files: a made-up genome, whole or not at all.

Knows the order of the steps and the names of the files; every step is another module's business.
"""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cisray.dataset.synthetic import files
from cisray.dataset.synthetic.expression import Regulation, observed, read_occupancy
from cisray.dataset.synthetic.layout import SyntheticGenome, lay_out
from cisray.dataset.synthetic.mapping import Association, map_eqtls
from cisray.dataset.synthetic.pairs import Pair, reaching_pairs, with_decoys
from cisray.dataset.synthetic.settings import ASSAYS, SyntheticSettings
from cisray.dataset.synthetic.variants import (
    Snv,
    Truth,
    draw_haplotypes,
    draw_variants,
    true_effects,
)
from cisray.errors import StorageError


@dataclass(frozen=True, slots=True, eq=False)
class SyntheticData:
    """All of a made-up genome in memory; `tracks_TS` has the measured tracks of a chromosome."""

    genome: SyntheticGenome
    tracks_TS: dict[str, NDArray[np.float32]]
    variants: tuple[Snv, ...]
    haplotypes_VH: NDArray[np.uint8]
    truth: Truth
    eqtls: list[Association]
    pairs: list[Pair]


@dataclass(frozen=True, slots=True)
class SyntheticSummary:
    """What was written where."""

    path: str
    seed: int
    bases: int
    tracks: int
    genes: int
    elements: int
    decoys: int
    variants: int
    causal: int


def generate(settings: SyntheticSettings) -> SyntheticData:
    """Make everything up from the seed: same settings, same bases, tracks and variants."""
    genome = lay_out(settings)
    regulation = Regulation.of(genome)
    occupancy_EF = read_occupancy(genome)
    state = regulation.state(occupancy_EF)
    variants = draw_variants(genome)
    haplotypes_VH = draw_haplotypes(genome, variants)
    truth = true_effects(genome, regulation, occupancy_EF, variants)
    return SyntheticData(
        genome,
        {chrom: observed(genome, state, chrom) for chrom in settings.chromosomes},
        variants,
        haplotypes_VH,
        truth,
        map_eqtls(genome, variants, haplotypes_VH, truth),
        reaching_pairs(genome, regulation, state),
    )


def write_synthetic(out: Path, settings: SyntheticSettings) -> SyntheticSummary:
    """Make a genome up and write it to a folder that must not exist yet, or be empty.

    The folder has its name only when all files are in it. Raises StorageError.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise StorageError(f"{out} exists already and is not empty: choose another --out.")
    data = generate(settings)
    unfinished = out.with_name(f".{out.name}.{os.getpid()}.tmp")
    try:
        unfinished.mkdir(parents=True)
        _write(unfinished, data)
        if out.exists():
            out.rmdir()
        unfinished.rename(out)
    except OSError as error:
        raise StorageError(f"{out} cannot be written: {error}.") from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return _summary(out, data)


def _write(folder: Path, data: SyntheticData) -> None:
    genome, variants, haplotypes = data.genome, data.variants, data.haplotypes_VH
    files.write_fasta(folder / "genome.fa", genome)
    files.write_tracks(folder / "tracks", genome, data.tracks_TS)
    files.write_targets(folder / "targets.txt", "tracks")
    files.write_beds(folder / "genes.bed", folder / "elements.bed", genome)
    files.write_vcf(folder / "variants.vcf.gz", genome, variants, haplotypes)
    truth = folder / "truth"
    truth.mkdir()
    files.write_facts(truth / "model.json", genome)
    files.write_sites(truth / "sites.parquet", genome)
    files.write_variants(truth / "variants.parquet", genome, variants, haplotypes, data.truth)
    files.write_eqtls(truth / "eqtls.parquet", genome, variants, data.eqtls)
    files.write_pairs(truth / "enhancers.tsv", data.pairs)
    files.write_pairs(truth / "enhancers_decoys.tsv", with_decoys(genome, data.pairs))


def _summary(out: Path, data: SyntheticData) -> SyntheticSummary:
    genome = data.genome
    return SyntheticSummary(
        path=str(out),
        seed=genome.settings.seed,
        bases=sum(genome.settings.chromosomes.values()),
        tracks=len(ASSAYS),
        genes=len(genome.genes),
        elements=len(genome.elements),
        decoys=sum(site.kind == "decoy" for site in genome.sites),
        variants=len(data.variants),
        causal=int(data.truth.effect_VT.any(axis=1).sum()),
    )
