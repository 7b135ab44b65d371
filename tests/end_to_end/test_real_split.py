"""Human chr6 and mouse chr17 around the MHC class III genes, split by the genes that both have.

The net is written here, from the genes' places: one fill for each, and one for the whole stretch.
"""

import csv
import re
from pathlib import Path

import pytest

from cisray.genome.interval import Interval
from cisray.genome.reference import Genome
from cisray.genome.regions import read_features
from cisray_jobs.config import load_config
from cisray_jobs.split_dataset import MadeSplit, SplitDataset

pytestmark = pytest.mark.realdata

HUMAN, MOUSE = "chr6_31234582_32052071", "chr17_34664016_35462852"
FASTA = {
    "human": "human_chr6_hg19/GRCh37_ensembl_compara_regions.fa.gz",
    "mouse": "mouse_mm10/GRCm38_ensembl_compara_regions.fa.gz",
}
GENES = {
    "human": "human_chr6_hg19/genes.GRCh37.tsv",
    "mouse": "mouse_mm10/genes.GRCm38.tsv",
}


def genes(path: Path, stretch: str) -> dict[str, Interval]:
    """Protein-coding genes that lie on the stretch, by what they are described as."""
    origin = int(stretch.split("_")[1])
    found: dict[str, Interval] = {}
    with path.open() as handle:
        for row in csv.DictReader(handle, delimiter="\t"):
            name = re.sub(r"\s*\[Source.*", "", row["description"]).strip().lower()
            if name and row["biotype"] == "protein_coding" and row["inside_region"] == stretch:
                start, end = int(row["start1"]) - origin, int(row["end1"]) - origin + 1
                found[name] = Interval(stretch, start, end)
    return found


@pytest.fixture(scope="module")
def shared_genes(shared: Path) -> list[tuple[Interval, Interval]]:
    human = genes(shared / "data" / GENES["human"], HUMAN)
    mouse = genes(shared / "data" / GENES["mouse"], MOUSE)
    found = [(human[name], mouse[name]) for name in human if name in mouse]
    assert len(found) >= 20
    return found


def write_net(path: Path, fills: list[tuple[Interval, Interval]], size: int) -> Path:
    lines = [f"net {HUMAN} {size}"]
    for number, (human, mouse) in enumerate(fills):
        there = f"{mouse.chrom} + {mouse.start} {mouse.width}"
        lines.append(f" fill {human.start} {human.width} {there} id {number}")
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture(scope="module")
def genomes(shared: Path) -> dict[str, Genome]:
    return {head: Genome.open(shared / "data" / FASTA[head]) for head in FASTA}


def split(genomes: dict[str, Genome], net: Path, out: Path, **options: object) -> MadeSplit:
    named = [f"{head}={genome.path}" for head, genome in genomes.items()]
    given = {"genome": named, "net": net, "out": out, **options}
    return load_config(SplitDataset, given).split()


def names_at(path: Path, genome: Genome, place: Interval) -> set[str]:
    """The sets of whatever lies at a place."""
    return {one.name for one in read_features(path, genome) if one.interval.overlaps(place)}


@pytest.mark.parametrize("seed", range(4))
def test_homologous_genes_are_in_one_set(
    genomes: dict[str, Genome], shared_genes, tmp_path: Path, seed: int
) -> None:
    """Whatever chance does; with regions of 50 kb and windows of 16 kb sets are really mixed."""
    net = write_net(tmp_path / "net", shared_genes, genomes["human"].chromosomes[HUMAN])
    made = split(
        genomes,
        net,
        tmp_path / "split",
        region_bp=50_000,
        input_bp=16_384,
        min_alignment=1_000,
        valid=0.25,
        test=0.25,
        seed=seed,
    )
    assert made.report.leaks["human and mouse"].straddling == 0
    assert all(size.sequences for size in made.report.genomes["human"].sets.values())
    tested = 0
    for pair in shared_genes:
        if min(gene.width for gene in pair) < 1_000:
            continue
        sets = set[str]()
        for head, gene in zip(genomes, pair, strict=True):
            sets |= names_at(tmp_path / "split" / f"{head}.sequences.bed", genomes[head], gene)
        assert len(sets) <= 1, (pair, sets)
        tested += len(sets)
    assert tested >= 15


def test_a_long_alignment_keeps_a_whole_stretch_together(
    genomes: dict[str, Genome], shared_genes, tmp_path: Path
) -> None:
    """With what is the default of alignments, 100 kb: as a syntenic net has it."""
    ends = [
        Interval(side[0].chrom, min(one.start for one in side), max(one.end for one in side))
        for side in zip(*shared_genes, strict=True)
    ]
    assert min(one.width for one in ends) > 100_000
    net = write_net(tmp_path / "net", [(ends[0], ends[1])], genomes["human"].chromosomes[HUMAN])
    out = tmp_path / "split"
    split(genomes, net, out, region_bp=100_000, input_bp=32_768)
    sets = set[str]()
    for head, end in zip(genomes, ends, strict=True):
        sets |= names_at(out / f"{head}.regions.bed", genomes[head], end)
    assert len(sets) == 1
