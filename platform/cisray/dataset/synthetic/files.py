"""A made-up genome in files, as real ones come: FASTA, bigWig, targets, BED, VCF, and the truth.

Knows file formats; draws nothing and computes nothing but what formats need.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pybigtools
import pysam
from numpy.typing import NDArray

from cisray.dataset.synthetic.layout import SyntheticGenome
from cisray.dataset.synthetic.mapping import Association
from cisray.dataset.synthetic.pairs import Pair
from cisray.dataset.synthetic.settings import ASSAYS, CELLS, ROLES, STEP_BP
from cisray.dataset.synthetic.variants import Snv, Truth
from cisray.errors import StorageError
from cisray.genome.encode import ALPHABET, decode, reverse_complement
from cisray.genome.variant import Variant
from cisray.version import __version__
from cisray_schemas import SYNTHETIC_EQTLS, SYNTHETIC_SITES, SYNTHETIC_VARIANTS, Table

_LINE_BP = 60
Tracks = Mapping[str, NDArray[np.float32]]


def write_fasta(path: Path, genome: SyntheticGenome) -> None:
    """Write all chromosomes in lines of 60, and the index."""
    with path.open("w", newline="\n") as file:
        for chrom, codes_L in genome.codes.items():
            text = decode(codes_L)
            file.write(f">{chrom}\n")
            for first in range(0, len(text), _LINE_BP):
                file.write(text[first : first + _LINE_BP] + "\n")
    pysam.faidx(str(path))


def write_tracks(folder: Path, genome: SyntheticGenome, tracks_TS: Tracks) -> None:
    """Write one bigWig per track; neighbouring steps of one value are one entry.

    Raises StorageError if a file, opened again, does not cover every step.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lengths = genome.settings.chromosomes
    covered = sum(length - length % STEP_BP for length in lengths.values())
    for track, assay in enumerate(ASSAYS):
        path = folder / f"{assay.identifier}.bw"
        pybigtools.open(str(path), "w").write(lengths, _entries(tracks_TS, track))
        with pybigtools.open(str(path)) as written:
            found = int(written.info()["summary"]["basesCovered"])
        if found != covered:
            # pybigtools prints its errors and returns as if all were well.
            raise StorageError(
                f"{path} could not be written: it covers {found:,} bases of {covered:,}; "
                f"pybigtools says why on stderr, often a full disk."
            )


def _entries(tracks_TS: Tracks, track: int) -> Iterator[tuple[str, int, int, float]]:
    for chrom, values_TS in tracks_TS.items():
        values_S = values_TS[track]
        first = np.flatnonzero(np.diff(values_S, prepend=np.nan) != 0)
        last = np.append(first[1:], len(values_S))
        for begin, end in zip(first.tolist(), last.tolist(), strict=True):
            yield chrom, begin * STEP_BP, end * STEP_BP, float(values_S[begin])


def write_targets(path: Path, folder: str) -> None:
    """Write the table of targets as Basenji has it; files are relative to the table."""
    columns = "index genome identifier file clip scale sum_stat description"
    lines = [columns.replace(" ", "\t")]
    for index, assay in enumerate(ASSAYS):
        clip = 384 if assay.sum_stat == "sum" else 32
        cells = (index, 0, assay.identifier, f"{folder}/{assay.identifier}.bw", clip, 1)
        lines.append("\t".join(map(str, (*cells, assay.sum_stat, assay.description))))
    _write_lines(path, lines)


def write_beds(genes: Path, elements: Path, genome: SyntheticGenome) -> None:
    """Write the starts of genes, one base each with its strand, and the elements."""
    _write_lines(
        genes,
        [
            f"{gene.chrom}\t{gene.tss}\t{gene.tss + 1}\t{gene.name}\t0\t{gene.strand}"
            for gene in genome.genes
        ],
    )
    order = list(genome.settings.chromosomes)
    _write_lines(
        elements,
        [
            f"{element.chrom}\t{element.start}\t{element.end}\t{element.name}"
            for element in sorted(genome.elements, key=lambda e: (order.index(e.chrom), e.start))
        ],
    )


def write_vcf(
    path: Path,
    genome: SyntheticGenome,
    variants: Sequence[Snv],
    haplotypes_VH: NDArray[np.uint8],
) -> None:
    """Write a VCF with phased genotypes, compressed by bgzip, and its tabix index."""
    people = [f"IND{number:04d}" for number in range(haplotypes_VH.shape[1] // 2)]
    plain = path.with_suffix("")
    header = [
        "##fileformat=VCFv4.2",
        f"##source=cisray {__version__} dataset synthetic",
        *(f"##contig=<ID={name},length={bp}>" for name, bp in genome.settings.chromosomes.items()),
        '##INFO=<ID=AF,Number=A,Type=Float,Description="Share of haplotypes with ALT">',
        '##FORMAT=<ID=GT,Number=1,Type=String,Description="Phased genotype">',
        "\t".join(["#CHROM POS ID REF ALT QUAL FILTER INFO FORMAT".replace(" ", "\t"), *people]),
    ]
    lines = []
    for number, (variant, alleles_H) in enumerate(zip(variants, haplotypes_VH, strict=True)):
        place = as_variant(variant)
        pairs = [f"{a}|{b}" for a, b in alleles_H.reshape(-1, 2).tolist()]
        info = f"AF={alleles_H.mean():.4f}"
        fixed = (place.chrom, place.pos, variant_id(number), place.ref, place.alt)
        lines.append("\t".join([*map(str, fixed), ".", "PASS", info, "GT", *pairs]))
    _write_lines(plain, [*header, *lines])
    pysam.tabix_compress(str(plain), str(path), force=True)
    plain.unlink()
    pysam.tabix_index(str(path), preset="vcf", force=True)


def as_variant(variant: Snv) -> Variant:
    """Spell a variant as VCF does."""
    return Variant.from_start(
        variant.chrom, variant.start, ALPHABET[variant.ref], ALPHABET[variant.alt]
    )


def variant_id(number: int) -> str:
    """Name the variant of a number, in the order of the VCF."""
    return f"syn{number:06d}"


def write_sites(path: Path, genome: SyntheticGenome) -> None:
    """Write the planted sites as they stand in the bases."""
    rows = []
    for site in genome.sites:
        motif = genome.motifs[site.factor]
        written = genome.codes[site.chrom][site.start : site.end]
        forward = written if site.strand == "+" else reverse_complement(written)
        score = float(motif.scores(forward)[0, 0])
        name = ROLES[site.factor].name
        values = (site.chrom, site.start, site.end, site.strand, name, site.kind, score)
        rows.append((*values, float(motif.affinity(score))))
    _write_table(path, SYNTHETIC_SITES, rows)


def write_variants(
    path: Path,
    genome: SyntheticGenome,
    variants: Sequence[Snv],
    haplotypes_VH: NDArray[np.uint8],
    truth: Truth,
) -> None:
    """Write every variant with its true effect on every track."""
    columns = [f"effect_t{track:04d}" for track in range(len(ASSAYS))]
    rows = []
    for number, variant in enumerate(variants):
        place, effects = as_variant(variant), truth.effect_VT[number].tolist()
        element = genome.elements[variant.element].name if variant.element >= 0 else ""
        frequency = float(haplotypes_VH[number].mean())
        told = (variant.origin, element, variant.factor, frequency, any(effects))
        spelled = (place.chrom, place.pos, place.ref, place.alt)
        rows.append((variant_id(number), *spelled, *told, *effects))
    _write_table(path, SYNTHETIC_VARIANTS, rows, columns)


def write_eqtls(
    path: Path, genome: SyntheticGenome, variants: Sequence[Snv], found: Sequence[Association]
) -> None:
    """Write every association that was tested."""
    rows = []
    for one in found:
        gene = genome.genes[one.gene]
        distance = variants[one.variant].start - gene.tss
        fixed = (variant_id(one.variant), gene.name, one.cell, distance)
        rows.append((*fixed, one.beta, one.se, one.pip, one.true_beta))
    _write_table(path, SYNTHETIC_EQTLS, rows)


def write_pairs(path: Path, pairs: Sequence[Pair]) -> None:
    """Write element-gene pairs in the layout of the ENCODE benchmark, 0-based half-open.

    EffectSize is the change of expression, as a share, that silencing the element brings.
    """
    lines = [
        "chrom chromStart chromEnd name measuredGeneSymbol chrTSS startTSS endTSS CellType "
        "EffectSize Regulated ValidConnection".replace(" ", "\t")
    ]
    for pair in pairs:
        gene = pair.gene
        place = (gene.chrom, pair.start, pair.end, pair.name, gene.name, gene.chrom)
        told = (gene.tss, gene.tss + 1, pair.cell, f"{0 - pair.loss:.6g}", pair.regulates)
        valid = "TRUE" if pair.is_clear else "weak"
        lines.append("\t".join(map(str, (*place, *told, valid))))
    _write_lines(path, lines)


def write_facts(path: Path, genome: SyntheticGenome) -> None:
    """Write the settings, the motifs and what every factor does, as JSON."""
    factors = {
        role.name: {
            "weights": dict(zip(CELLS, role.weights, strict=True)),
            "threshold_bits": motif.threshold,
            "best_bits": motif.best,
            "probability_ACGT": motif.probability_WA.tolist(),
        }
        for role, motif in zip(ROLES, genome.motifs, strict=True)
    }
    facts = {
        "format": "cisray.synthetic/1",
        "made_by": f"cisray {__version__}",
        "settings": genome.settings.model_dump(mode="json"),
        "factors": factors,
    }
    _write_lines(path, [json.dumps(facts, indent=1)])


def _write_table(
    path: Path, table: Table, rows: Sequence[tuple[Any, ...]], values: Sequence[str] = ()
) -> None:
    schema = table.with_values(values).with_metadata({"format": table.format})
    columns = zip(*rows, strict=True) if rows else [()] * len(schema)
    arrays = [pa.array(c, field.type) for c, field in zip(columns, schema, strict=True)]
    pq.write_table(pa.Table.from_arrays(arrays, schema=schema), path, compression="zstd")


def _write_lines(path: Path, lines: Sequence[str]) -> None:
    with path.open("w", newline="\n") as file:
        file.writelines(f"{line}\n" for line in lines)
