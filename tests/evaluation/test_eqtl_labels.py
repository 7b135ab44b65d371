"""Every published layout is read into one form, no row is lost, and signs are those of alt."""

import gzip
from pathlib import Path

import polars as pl
import pytest

from cisray.errors import EvaluationError
from cisray.evaluation.eqtl_labels import ASSOCIATIONS, LabelOptions, read_labels
from cisray.evaluation.eqtl_rows import with_tss_distance

HEADER = (
    "chromosome start end variant variant_hg38 allele1 allele2 minor_allele cohort method tissue "
    "gene maf beta_marginal se_marginal z pip cs_id beta_posterior sd_posterior"
)
ROWS = (
    "chr1 99 100 chr1_100_G_A chr1_200_G_A_b38 G A {} SUSIE Liver ENSG1.2 .1 .3 .1 3 .95 1 .25 .1",
    "chr1 99 100 chr1_100_G_A chr1_200_G_A_b38 G A {} FM Liver ENSG1.2 .1 .3 .1 3 .9 1 .2 .1",
    "chr1 149 150 chr1_150_C_T chr1_250_T_C_b38 C T {} SUSIE Liver ENSG1.2 .1 .3 .1 -5 .001 1 .5 1",
    "chr1 159 160 chr1_160_C_T chr1_260_T_G_b38 C T {} SUSIE Lung ENSG2.2 .1 .3 .1 NA NA -1 .5 .1",
    "chr1 169 170 chr1_170_C_T chr1_270_A_G_b38 C T {} SUSIE Lung ENSG2.2 .1 .3 .1 2 .1 -1 .5 .1",
)
GTEX = "\n".join((HEADER, *(row.format("A GTEx") for row in ROWS), "")).replace(" ", "\t")


def written(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def read(path: Path, **options: object):
    return read_labels(path, LabelOptions(**options))


def test_gtex_is_read_by_one_method_with_effects_of_alt(tmp_path: Path) -> None:
    path = tmp_path / "GTEx.tsv.gz"
    path.write_bytes(gzip.compress(GTEX.encode()))
    found = read(path)
    assert found.layout == "gtex-susie"
    rows = found.frame.select("tissue", "gene", "chrom", "pos", "ref", "alt", "pip", "z", "effect")
    assert rows.rows() == [
        ("Liver", "ENSG1.2", "chr1", 200, "G", "A", 0.95, 3.0, 0.25),
        # The effect is of allele2 = T, which is the reference in hg38.
        ("Liver", "ENSG1.2", "chr1", 250, "T", "C", 0.001, -5.0, -0.5),
    ]
    assert found.read == 5
    assert found.left_out == {
        "not of method SUSIE": 1, "no pip": 1, "effect is of neither allele": 1,
    }  # fmt: skip
    assert found.read == found.frame.height + sum(found.left_out.values())
    assert read(path, variant="variant").frame["pos"].to_list() == [100, 150, 170]
    with pytest.raises(EvaluationError, match="no row of the labels is of the method 'DAP'"):
        read(path, method="DAP")


def test_the_eqtl_catalogue_has_one_tissue_a_file(tmp_path: Path) -> None:
    text = (
        "molecular_trait_id\tgene_id\tcs_id\tvariant\trsid\tcs_size\tpip\tpvalue\tbeta\tse\tz\n"
        "ENSG1\tENSG1\tENSG1_L1\tchr19_226776_C_T\trs1\t1\t0.99\t1e-9\t-0.5\t0.1\t-5\n"
    )
    found = read(written(tmp_path / "QTD000001.credible_sets.tsv", text))
    assert found.layout == "eqtl-catalogue"
    assert found.frame.row(0)[:9] == (
        "QTD000001", "ENSG1", "chr19", 226_776, "C", "T", 0.99, -5.0, -0.5,
    )  # fmt: skip
    named = read(tmp_path / "QTD000001.credible_sets.tsv", tissue="Liver")
    assert named.frame["tissue"].to_list() == ["Liver"]


def test_a_made_up_genome_brings_its_alleles_from_beside(tmp_path: Path) -> None:
    pl.DataFrame(
        {"id": ["v1"], "gene": ["g"], "cell": ["alpha"], "tss_distance": [-7], "beta": [0.4],
         "se": [0.1], "pip": [0.99], "true_beta": [0.5]}
    ).write_parquet(tmp_path / "eqtls.parquet")  # fmt: skip
    pl.DataFrame(
        {"id": ["v0", "v1"], "chrom": ["chr1"] * 2, "pos": [5, 9], "ref": ["A", "C"],
         "alt": ["T", "G"]}
    ).write_parquet(tmp_path / "variants.parquet")  # fmt: skip
    found = read(tmp_path / "eqtls.parquet").frame.row(0, named=True)
    assert (found["tissue"], found["pos"], found["ref"], found["alt"]) == ("alpha", 9, "C", "G")
    assert (found["z"], found["effect"], found["tss_distance"]) == (pytest.approx(4), 0.4, -7)


def test_columns_have_the_names_that_a_user_says(tmp_path: Path) -> None:
    text = "where\tposition\tref\talt\teqtl_pip\torgan\n20\t5\ta\tg\t0.5\tLiver\n"
    columns = {"chrom": "where", "pos": "position", "pip": "eqtl_pip", "tissue": "organ"}
    found = read(written(tmp_path / "own.tsv", text), columns=columns)
    assert found.frame.row(0)[:7] == ("Liver", None, "20", 5, "A", "G", 0.5)
    assert list(found.frame.columns) == list(ASSOCIATIONS)
    with pytest.raises(EvaluationError, match=r"lacks the columns Position. Did you mean position"):
        read(tmp_path / "own.tsv", columns={"pos": "Position"})


def test_a_folder_of_vcf_files_is_prepared_labels(tmp_path: Path) -> None:
    header = "##fileformat=VCFv4.2\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n"
    written(tmp_path / "Liver_pos.vcf", f"{header}chr1\t9\tx\tA\tC\t.\t.\t.\n")
    with pytest.raises(EvaluationError, match="without its counterpart is Liver"):
        read(tmp_path)
    bad = "chr1\tx\ty\tA\tC\t.\t.\t.\n"
    written(tmp_path / "Liver_neg.vcf", f"{header}chr1\t8\ty\tG\tT\t.\t.\t.\n{bad}")
    found = read(tmp_path)
    assert found.prepared
    assert found.frame.select("tissue", "pos", "positive").rows() == [
        ("Liver", 9, True), ("Liver", 8, False),
    ]  # fmt: skip
    assert (found.read, found.left_out) == (3, {"malformed line": 1})


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("variant\tpip\n1_5_A_G\t0.5\n", "lacks the columns tissue"),
        ("tissue\tvariant\tp\nL\t1_5_A_G\t1\n", "is of no layout that is known"),
        ("tissue\tvariant\tpip\nL\t1_5_A_G\t95\n", "pip outside 0 to 1, the first 95 of L"),
        ("tissue\tvariant\tpip\nL\trs5\t0.5\n", "names no variant"),
        ("tissue\tpip\nL\t0.5\n", "lacks the columns chrom, pos, ref, alt"),
        ("tissue\tvariant\tlabel\nL\t1_5_A_G\tmaybe\n", "a label is 'maybe'"),
        ("tissue\tvariant\tpip\tz\nL\t1_5_A_G\t0.5\tbig\n", "not of numbers"),
        ("tissue\tvariant\tpip\nNA\t1_5_A_G\t0.5\n", "1 rows without a tissue"),
        (
            "molecular_trait_id\tvariant\tpip\nx\t1_5_A_G\t0.5\n",
            "lacks the columns gene_id, z, beta",
        ),
    ],
)
def test_bad_tables_say_what_is_wrong(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(EvaluationError, match=told):
        read(written(tmp_path / "labels.tsv", text))


def test_distances_are_from_the_nearest_start_of_the_gene(tmp_path: Path) -> None:
    bed = written(
        tmp_path / "tss.bed",
        "1\t99\t100\tENSG1.5\t0\t+\n1\t299\t300\tENSG1.5\t0\t+\n2\t240\t241\tENSG1.5\t0\t+\n",
    )
    labels = pl.DataFrame(
        {"gene": ["ENSG1.2", "ENSG1.2", "other"], "chrom": ["chr1"] * 3, "pos": [100, 280, 5],
         "tss_distance": [None, None, None]},
        schema_overrides={"tss_distance": pl.Int64},
    )  # fmt: skip
    found = with_tss_distance(labels, bed)
    # 1-based 100 is base 99, the start itself; 280 is base 279, 20 before 299.
    assert found["tss_distance"].to_list() == [0, -20, None]
    with pytest.raises(EvaluationError, match="no gene of the labels is in"):
        with_tss_distance(labels.tail(1), bed)
