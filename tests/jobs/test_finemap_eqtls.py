"""From genotypes and a trait to labels, by the command line."""

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from genotype_files import lines_of, made_up_counts, write_vcf
from scipy import stats

from cisray.evaluation.eqtl_labels import LabelOptions, read_labels
from cisray_jobs.evaluation_output import read_metrics, read_record

PEOPLE = tuple(f"p{number}" for number in range(160))
VARIANTS, FIRST, STEP = 150, 1_000, 100
CAUSAL = {"geneA": {60: 0.9}, "geneB": {20: -0.8, 120: 0.8}, "quiet": {}}


@dataclass(frozen=True)
class Study:
    """Files of a made-up study, and its numbers: alternative alleles (unknown: mean), traits."""

    folder: Path
    genotypes: Path
    expression: Path
    counts_VI: np.ndarray
    traits: dict[str, np.ndarray]


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    folder = tmp_path_factory.mktemp("study")
    counts_VI = made_up_counts(len(PEOPLE), VARIANTS, 3, linkage=0.92)
    known_VI = counts_VI.copy()
    known_VI[3, [5, 9]] = -1
    lines = [*lines_of(known_VI, FIRST, STEP), (90_000, "A", "C,G", "GT", "0|1 " * 159 + "0|0")]
    genotypes = write_vcf(folder / "people.vcf.gz", lines, PEOPLE, index=True)
    dice, traits = np.random.default_rng(8), {}
    for gene, causal in CAUSAL.items():
        traits[gene] = dice.normal(5, 1, size=len(PEOPLE))
        for at, effect in causal.items():
            traits[gene] += effect * counts_VI[at]
    people = [*PEOPLE[::-1], "stranger"]
    rows = ["\t".join(["#chr", "start", "end", "gene_id", *people])]
    for gene, trait_I in traits.items():
        values = [str(value) for value in [*trait_I[::-1], 9.0]]
        rows.append("\t".join(["chr20", "7000", "7001", gene, *values]))
    rows.append("\t".join(["chr20", "7000", "7001", "flat", *["1"] * len(people)]))
    expression = folder / "blood.bed"
    expression.write_text("\n".join(rows) + "\n")
    filled_VI = counts_VI.astype(float)
    filled_VI[3, [5, 9]] = np.delete(counts_VI[3], [5, 9]).mean()
    return Study(folder, genotypes, expression, filled_VI, traits)


def variants_of(study: Study) -> list[int]:
    """Which variants vary enough to count."""
    share_V = study.counts_VI.mean(axis=1) / 2
    return np.flatnonzero(np.minimum(share_V, 1 - share_V) >= 0.01).tolist()


def sumstats_of(study: Study, turned: set[int] = frozenset()) -> pl.DataFrame:
    """What a study would publish: scipy's regression of each gene on each variant."""
    rows = []
    for gene, trait_I in study.traits.items():
        for at in variants_of(study):
            fit = stats.linregress(study.counts_VI[at], trait_I)
            ref, alt, sign = ("G", "A", -1) if at in turned else ("A", "G", 1)
            row = (gene, f"chr20_{FIRST + STEP * at}_{ref}_{alt}_b37", sign * fit.slope)
            rows.append((*row, fit.stderr, len(PEOPLE)))
    return pl.DataFrame(rows, schema=["gene", "variant", "beta", "se", "n"], orient="row")


def finemap(cisray, out: Path, *given: object):
    return cisray("evaluate", "finemap", "--out", str(out), *map(str, given))


@pytest.fixture(scope="module")
def of_expression(study: Study, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from cisray_jobs import cli

    out = tmp_path_factory.mktemp("e") / "labels"
    given = ("--expression", study.expression, "--genotypes", study.genotypes, "--out", out)
    assert cli.run(list(map(str, ("evaluate", "finemap", *given)))) == 0
    return out


def test_planted_effects_are_found_and_every_row_is_accounted_for(study, of_expression) -> None:
    labels = pl.read_parquet(of_expression / "labels.parquet")
    used = variants_of(study)
    assert labels.height == 3 * len(used)
    sets = pl.read_parquet(of_expression / "credible_sets.parquet")
    assert dict(sets.group_by("gene").len().iter_rows()) == {"geneA": 1, "geneB": 2}
    for gene, causal in CAUSAL.items():
        rows = labels.filter(gene=gene)
        for at, effect in causal.items():
            row = rows.row(by_predicate=pl.col("pos") == FIRST + STEP * at, named=True)
            assert row["credible_set"] is not None
            assert row["tss_distance"] == FIRST + STEP * at - 1 - 7_000
            held = rows.filter(credible_set=row["credible_set"])
            assert held["effect"].sum() == pytest.approx(effect, abs=0.3)
    record = read_record(of_expression)
    entries = VARIANTS + 2
    told = record["rows"]
    assert told["read"] == 4 * entries
    assert told["used"] == labels.height
    left = {
        "gene: expression constant": len(used),
        "genotypes: more than two alleles": 8,
        "genotypes: minor allele too rare": 4 * (VARIANTS - len(used)),
    }
    assert told["left out"] == {reason: count for reason, count in left.items() if count}
    assert told["used"] + sum(told["left out"].values()) == told["read"]
    assert told["people without genotypes"] == 1
    # Two of one variant, of every gene.
    assert told["genotypes unknown, of people"] == 2 * len(CAUSAL) + 2
    genes = pl.read_parquet(of_expression / "genes.parquet")
    assert genes.filter(gene="flat")["reason"].item() == "expression constant"
    numbers = {m["metric"]: m["value"] for m in read_metrics(of_expression).to_pylist()}
    assert numbers["credible sets"] == 3
    assert numbers["genes"] == 3
    assert (of_expression / "finemap.png").stat().st_size > 1_000


def test_z_is_that_of_a_regression_and_of_alt(study, of_expression) -> None:
    labels = pl.read_parquet(of_expression / "labels.parquet").filter(gene="geneB")
    for row in labels.sample(10, seed=1).iter_rows(named=True):
        at = (row["pos"] - FIRST) // STEP
        fit = stats.linregress(study.counts_VI[at], study.traits["geneB"])
        assert row["z"] == pytest.approx(fit.slope / fit.stderr)


def test_the_labels_are_read_by_the_evaluation_of_eqtls(of_expression) -> None:
    path = of_expression / "labels.parquet"
    found = read_labels(path, LabelOptions())
    labels = pl.read_parquet(path)
    assert found.layout == "plain"
    assert found.read == labels.height
    assert found.left_out == {}
    assert found.frame["tissue"].unique().to_list() == ["blood"]
    for name in ("chrom", "pos", "ref", "alt", "pip", "z", "effect", "tss_distance"):
        assert found.frame[name].equals(labels[name])


def test_summary_statistics_in_sample_give_the_same(cisray, study, of_expression, tmp_path):
    turned = {at for at in range(VARIANTS) if at % 4 == 0}
    table = tmp_path / "sumstats.tsv"
    sumstats_of(study, turned).write_csv(table, separator="\t")
    told = finemap(
        cisray, tmp_path / "out", "--sumstats", table, "--genotypes", study.genotypes,
        "--in-sample", "--tissue", "blood",
    )  # fmt: skip
    assert told.code == 0, told.err
    one = pl.read_parquet(of_expression / "labels.parquet").sort("gene", "pos")
    two = pl.read_parquet(tmp_path / "out" / "labels.parquet").sort("gene", "pos")
    np.testing.assert_allclose(two["pip"], one["pip"], atol=1e-6)
    assert two["credible_set"].equals(one["credible_set"])
    sign = np.where(two["turned"], -1.0, 1.0)
    assert two["turned"].sum() == 3 * len(turned & set(variants_of(study)))
    np.testing.assert_allclose(two["z"] * sign, one["z"], rtol=1e-6)
    # Per allele both, but in deviations of the trait where that is not known.
    for gene, trait_I in study.traits.items():
        mine, theirs = two.filter(gene=gene), one.filter(gene=gene)
        scaled = mine["effect"] * np.where(mine["turned"], -1, 1) * trait_I.std(ddof=1)
        np.testing.assert_allclose(scaled, theirs["effect"], atol=1e-6)
    assert read_record(tmp_path / "out")["rows"]["outliers of linkage"] == 0


def test_rows_that_do_not_count_have_reasons(cisray, study, tmp_path) -> None:
    good = sumstats_of(study).filter(pl.col("gene") != "quiet")
    one = good.row(5, named=True)
    strange = pl.DataFrame(
        [
            one,
            one | {"se": 0.0, "variant": good["variant"][6], "gene": "geneA"},
            one | {"beta": None, "variant": good["variant"][7]},
            one | {"variant": "chr20_1000_A_C"},
            one | {"variant": "20:999:A:C"},
            one | {"variant": "20:90000:A:G"},
            one | {"gene": "few"},
        ]
    )
    keep = good.filter(~((pl.col("gene") == "geneA") & pl.col("variant").is_in(
        good["variant"][6:8].to_list())))  # fmt: skip
    table = tmp_path / "sumstats.parquet"
    pl.concat([keep, strange]).write_parquet(table)
    told = finemap(
        cisray, tmp_path / "out", "--sumstats", table, "--genotypes", study.genotypes,
        "--tissue", "blood",
    )  # fmt: skip
    assert told.code == 0, told.err
    rows = read_record(tmp_path / "out")["rows"]
    assert rows["left out"] == {
        "no z": 2,
        "twice in the table": 1,
        "other alleles in the genotypes": 1,
        "not in the genotypes": 1,
        "genotypes: more than two alleles": 1,
        "gene: fewer than 10 variants": 1,
    }
    assert rows["read"] == keep.height + 7 == rows["used"] + 7
    genes = pl.read_parquet(tmp_path / "out" / "genes.parquet")
    assert genes["ridge"].drop_nulls().min() > 0
    assert "left out, no z" in told.out


def test_one_gene_alone_leaves_the_others_out(cisray, study, tmp_path) -> None:
    table = sumstats_of(study)
    table.write_parquet(tmp_path / "t.parquet")
    given = ("--sumstats", tmp_path / "t.parquet", "--genotypes", study.genotypes)
    told = finemap(cisray, tmp_path / "out", *given, "--tissue", "b", "--only", "geneB")
    assert told.code == 0, told.err
    rows = read_record(tmp_path / "out")["rows"]
    others = table.filter(pl.col("gene") != "geneB").height
    assert rows["left out"] == {"of genes that were not asked for": others}
    assert (rows["read"], rows["used"]) == (table.height, table.height - others)
    assert pl.read_parquet(tmp_path / "out" / "genes.parquet")["gene"].to_list() == ["geneB"]


def test_exchanged_signs_are_told_as_outliers(cisray, study, tmp_path) -> None:
    table = sumstats_of(study).filter(gene="geneA").with_columns(
        beta=pl.when(pl.col("variant") == f"chr20_{FIRST + STEP * 60}_A_G_b37")
        .then(-pl.col("beta")).otherwise("beta")
    )  # fmt: skip
    table.write_parquet(tmp_path / "t.parquet")
    given = ("--sumstats", tmp_path / "t.parquet", "--genotypes", study.genotypes)
    finemap(cisray, tmp_path / "out", *given, "--tissue", "b")
    labels = pl.read_parquet(tmp_path / "out" / "labels.parquet")
    assert labels.filter(pl.col("outlier"))["pos"].to_list() == [FIRST + STEP * 60]
    # Taken for exact, such linkage explains more of the trait than there is.
    finemap(cisray, tmp_path / "exact", *given, "--tissue", "b", "--in-sample")
    gene = pl.read_parquet(tmp_path / "exact" / "genes.parquet").row(0, named=True)
    assert gene["reason"].startswith("no residual variance is left")
    assert gene["outliers"] == 1


def test_covariates_are_taken_out_of_both(cisray, study, tmp_path) -> None:
    dice = np.random.default_rng(2)
    design = dice.normal(size=(len(PEOPLE), 3))
    covariates = pl.DataFrame(design.T, schema=list(PEOPLE)).insert_column(
        0, pl.Series("ID", ["c1", "c2", "c3"])
    )
    covariates.write_csv(tmp_path / "c.tsv", separator="\t")
    given = ("--expression", study.expression, "--genotypes", study.genotypes, "--only", "geneA")
    told = finemap(cisray, tmp_path / "out", *given, "--covariates", tmp_path / "c.tsv")
    assert told.code == 0, told.err
    labels = pl.read_parquet(tmp_path / "out" / "labels.parquet")
    whole = np.column_stack([np.ones(len(PEOPLE)), design])
    for row in labels.sample(5, seed=1).iter_rows(named=True):
        at = (row["pos"] - FIRST) // STEP
        x = np.column_stack([study.counts_VI[at], whole])
        slope, square, *_ = np.linalg.lstsq(x, study.traits["geneA"], rcond=None)
        spread = square[0] / (len(PEOPLE) - 5) * np.linalg.inv(x.T @ x)[0, 0]
        assert row["z"] == pytest.approx(slope[0] / np.sqrt(spread))


def test_the_same_command_finds_its_folder_and_another_is_refused(
    cisray, study, of_expression
) -> None:
    given = ("--expression", study.expression, "--genotypes", study.genotypes)
    told = finemap(cisray, of_expression, *given)
    assert told.code == 0
    assert "there already" in told.out
    told = finemap(cisray, of_expression, *given, "--effects", 3)
    assert told.code != 0
    assert "effects 10 there, 3 now" in told.told


def bad(study: Study, tmp_path: Path, kind: str) -> tuple[object, ...]:
    """Options that are wrong in one way each."""
    table = tmp_path / "t.parquet"
    frame = sumstats_of(study)
    given = ("--sumstats", table, "--genotypes", study.genotypes, "--tissue", "b")
    if kind == "columns":
        frame = frame.drop("gene", "se")
    elif kind == "assembly":
        frame = frame.with_columns(pl.col("variant").str.replace("00_", "01_"))
    elif kind == "chromosomes":
        frame = frame.with_columns(
            pl.when(pl.int_range(pl.len()) == 1).then(pl.lit("1:5:A:G")).otherwise("variant")
            .alias("variant")
        )  # fmt: skip
    elif kind == "tissue":
        given = given[:-2]
    elif kind == "both":
        given = (*given, "--expression", study.expression)
    elif kind == "people":
        expression = tmp_path / "x.bed"
        text = study.expression.read_text().replace("\tp", "\tq")
        expression.write_text(text)
        given = ("--expression", expression, "--genotypes", study.genotypes)
    elif kind == "region":
        expression = tmp_path / "x.bed"
        expression.write_text(study.expression.read_text().replace("chr20", "chr21"))
        given = ("--expression", expression, "--genotypes", study.genotypes)
    elif kind == "covariates":
        (tmp_path / "c.tsv").write_text("ID\tp1\nc1\t3\n")
        given = ("--expression", study.expression, "--genotypes", study.genotypes, "--covariates")
        given = (*given, tmp_path / "c.tsv")
    frame.write_parquet(table)
    return given


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        ("columns", "lacks the columns gene, se"),
        ("assembly", r"have 0 of \d+ variants; the first without is chr20:1001 A>G"),
        ("chromosomes", "geneA has variants on 1, chr20"),
        ("tissue", "lacks the columns tissue"),
        ("both", "either --sumstats or --expression"),
        ("people", "0 of 161 people of .* have genotypes"),
        ("region", "no variant within 1,000,000 bp of any gene"),
        ("covariates", r"no covariates of p159, .*\(159 of 160 people\)"),
    ],
)
def test_bad_input_is_refused_with_the_way_out(cisray, study, tmp_path, kind, told) -> None:
    found = finemap(cisray, tmp_path / "out", *bad(study, tmp_path, kind))
    assert found.code != 0
    assert not (tmp_path / "out").exists()
    assert re.search(told, found.told), found.told
