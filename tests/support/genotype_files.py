"""Small files of genotypes, as VCF, bgzipped VCF or BCF, with or without an index."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pysam
import pysam.bcftools

Line = tuple[int, str, str, str, str]
HEADER = """##fileformat=VCFv4.2
##contig=<ID=20,length=63025520>
##INFO=<ID=END,Number=1,Type=Integer,Description="End">
##ALT=<ID=DEL,Description="Deletion">
##FORMAT=<ID=GT,Number=1,Type=String,Description="Genotype">
##FORMAT=<ID=DP,Number=1,Type=Integer,Description="Depth">
"""


def write_vcf(
    path: Path,
    lines: Sequence[Line],
    people: Sequence[str],
    *,
    index: bool = False,
    chrom: str = "20",
) -> Path:
    """Write records of a chromosome: position, ref, alt, FORMAT and genotypes between spaces."""
    columns = ["#CHROM", "POS", "ID", "REF", "ALT", "QUAL", "FILTER", "INFO", "FORMAT"]
    rows = ["\t".join([*columns, *people])]
    for pos, ref, alt, layout, values in lines:
        rows.append("\t".join([chrom, str(pos), f"rs{pos}", ref, alt, ".", ".", ".", layout]))
        rows[-1] += "\t" + values.replace(" ", "\t")
    plain = path.with_name("plain.vcf") if path.suffix != ".vcf" else path
    plain.write_text(HEADER.replace("=20,", f"={chrom},") + "\n".join(rows) + "\n")
    if path.suffix == ".gz":
        pysam.tabix_compress(str(plain), str(path), force=True)
        if index:
            pysam.tabix_index(str(path), preset="vcf", force=True)
    elif path.suffix == ".bcf":
        with (
            pysam.VariantFile(str(plain)) as read,
            pysam.VariantFile(str(path), "wb", header=read.header) as written,
        ):
            for record in read:
                written.write(record)
        if index:
            pysam.bcftools.index(str(path))
    return path


def made_up_counts(people: int, variants: int, seed: int, *, linkage: float = 0.9) -> np.ndarray:
    """Draw counts (V, I) of which neighbours are correlated, by two thresholded walks a person."""
    dice = np.random.default_rng(seed)
    step = np.sqrt(1 - linkage**2)
    walk = dice.normal(size=(2, people))
    bound = dice.normal(0, 0.5, size=variants)
    counts = np.empty((variants, people), dtype=np.int8)
    for at in range(variants):
        walk = linkage * walk + step * dice.normal(size=walk.shape)
        counts[at] = (walk > bound[at]).sum(axis=0)
    return counts


def lines_of(counts: np.ndarray, first: int = 1_000, step: int = 100) -> list[Line]:
    """Give the records of counts, A>G at every 100th position, none unknown but -1."""
    texts = {-1: "./.", 0: "0|0", 1: "0|1", 2: "1|1"}
    return [
        (first + step * at, "A", "G", "GT", " ".join(texts[int(c)] for c in row))
        for at, row in enumerate(counts)
    ]
