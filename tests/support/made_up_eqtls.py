"""Labels and scores for tests of evaluations: tables whose answer is known.

Knows how they are made; knows nothing of how they are judged.
"""

from pathlib import Path

import numpy as np
import polars as pl

BASES = ("A", "C", "G", "T")


def associations(tissues: int = 2, genes: int = 24, seed: int = 1) -> pl.DataFrame:
    """Associations of a few genes per tissue: one positive each, strong negatives, weak ones."""
    dice = np.random.default_rng(seed)
    rows = []
    for tissue in range(tissues):
        for gene in range(genes):
            for number in range(6):
                pos = 10_000 * gene + 1_000 * number + tissue + 1
                ref = int(dice.integers(4))
                alt = (ref + 1 + int(dice.integers(3))) % 4
                pip = 0.95 if number == 0 else 0.001
                z = (9.0, 7.0, -5.0, 4.5, 2.0, 0.5)[number]
                effect = float(dice.normal())
                rows.append(
                    (f"Tissue_{tissue}", f"G{gene}", "chr1", pos, BASES[ref], BASES[alt], pip, z,
                     effect, int(dice.integers(-150_000, 150_000)))
                )  # fmt: skip
    names = ("tissue", "gene", "chrom", "pos", "ref", "alt", "pip", "z", "effect", "tss_distance")
    return pl.DataFrame(rows, schema=names, orient="row")


def scores(labels: pl.DataFrame, strength: float, seed: int = 2, features: int = 6) -> pl.DataFrame:
    """Scores of every allele; the first feature is larger where the PIP is, by `strength`."""
    dice = np.random.default_rng(seed)
    alleles = labels.group_by("chrom", "pos", "ref", "alt", maintain_order=True).agg(
        pl.col("pip").max()
    )
    values_VT = dice.normal(size=(alleles.height, features))
    values_VT[:, 0] += strength * (alleles["pip"].to_numpy() > 0.5)
    columns = {f"s{number}": values_VT[:, number] for number in range(features)}
    return alleles.drop("pip").with_columns(**{k: pl.Series(v) for k, v in columns.items()})


def write(path: Path, frame: pl.DataFrame) -> Path:
    """Write a table, as text by tabs or as Parquet."""
    if path.suffix == ".parquet":
        frame.write_parquet(path)
    else:
        frame.write_csv(path, separator="\t")
    return path
