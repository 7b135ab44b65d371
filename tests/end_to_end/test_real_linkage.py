"""Fine-mapping and signed LD profiles from the real genotypes of chr20 to their folders."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from cisray.genome.genotypes import GenotypeFile, GenotypeLimits
from cisray.locus import Locus
from cisray_jobs import cli
from cisray_jobs.evaluation_output import read_record

FILE = "data/chr20_hg19/1000g_phase3_300samples_chr20_1-4Mb.hg19.vcf.gz"
REGION = Locus("20", 2_000_000, 2_200_000)


def evaluate(kind: str, out: Path, *given: object) -> dict[str, object]:
    assert cli.run(list(map(str, ("evaluate", kind, "--out", out, *given)))) == 0
    rows = read_record(out)["rows"]
    assert isinstance(rows, dict)
    assert rows["read"] == rows["used"] + sum(rows["left out"].values())
    return rows


@pytest.mark.realdata
def test_expression_of_real_people_is_fine_mapped_into_labels(shared: Path, tmp_path: Path) -> None:
    found = GenotypeFile.open(shared / FILE, GenotypeLimits(0.1)).read(REGION)
    dice = np.random.default_rng(3)
    causal = found.rows[len(found.rows) // 2]
    trait_I = causal.counts_I + dice.normal(0, 0.5, size=len(found.samples))
    values = ["chr20", str(causal.pos - 500), str(causal.pos - 499), "gene", *map(str, trait_I)]
    bed = tmp_path / "blood.bed"
    header = ["#chr", "start", "end", "gene_id", *found.samples]
    bed.write_text("\t".join(header) + "\n" + "\t".join(values) + "\n")
    given = ("--expression", bed, "--genotypes", shared / FILE, "--window-bp", 100_000)
    rows = evaluate("finemap", tmp_path / "labels", *given)
    assert rows["genes fine-mapped"] == 1
    labels = pl.read_parquet(tmp_path / "labels" / "labels.parquet")
    row = labels.row(by_predicate=pl.col("pos") == causal.pos, named=True)
    assert row["credible_set"] == 1
    assert row["tss_distance"] == 499
    assert labels.filter(credible_set=1)["effect"].sum() == pytest.approx(1, abs=0.2)


@pytest.mark.long
@pytest.mark.realdata
def test_scores_without_meaning_have_the_direction_of_no_trait(
    shared: Path, tmp_path: Path
) -> None:
    found = GenotypeFile.open(shared / FILE, GenotypeLimits(0.1)).read()
    dice = np.random.default_rng(5)
    key = pl.DataFrame(
        [("20", row.pos, row.ref, row.alt) for row in found.rows],
        schema=["chrom", "pos", "ref", "alt"],
        orient="row",
    )
    people = found.counts_VI.astype(float)
    people -= people.mean(axis=1, keepdims=True)
    people /= np.linalg.norm(people, axis=1, keepdims=True)
    z_V = people @ dice.normal(size=people.shape[1])
    key.with_columns(z=pl.Series(z_V), n=300).write_parquet(tmp_path / "trait.parquet")
    tracks = {f"t{at}": pl.Series(dice.normal(size=key.height)) for at in range(20)}
    key.with_columns(**tracks).write_parquet(tmp_path / "scores.parquet")
    given = ("--genotypes", shared / FILE, "--external", f"random={tmp_path / 'scores.parquet'}")
    more = ("--sumstats", f"trait={tmp_path / 'trait.parquet'}", "--block-bp", 100_000)
    rows = evaluate("sldp", tmp_path / "out", *given, *more, "--min-maf", 0.1, "--flips", 20_000)
    assert rows["used"] == key.height
    found = pl.read_parquet(tmp_path / "out" / "sldp.parquet")
    assert found["chunks"].unique().to_list() == [30]
    assert found["p_value"].min() > 1e-3
    assert 1 <= (found["z"].abs() > 1).sum() <= 16
