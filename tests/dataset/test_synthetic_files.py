"""A made-up genome in files: the same bytes again, and read back by other programs and by ours."""

import filecmp
from pathlib import Path

import numpy as np
import polars as pl
import pybigtools
import pysam
import pytest

from cisray.dataset.synthetic import ASSAYS, SyntheticData, SyntheticSettings, generate
from cisray.dataset.synthetic.generate import write_synthetic
from cisray.errors import StorageError
from cisray.genome.reference import Genome
from cisray.genome.regions import read_features
from cisray.tracks import TrackSet
from cisray_jobs import cli

SETTINGS = SyntheticSettings(
    seed=8, chromosomes={"chr1": 40_000, "chr2": 18_009}, individuals=30, variants_per_locus=20
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("synthetic") / "made"
    write_synthetic(out, SETTINGS)
    return out


@pytest.fixture(scope="module")
def data() -> SyntheticData:
    return generate(SETTINGS)


def files_of(folder: Path) -> list[Path]:
    return sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())


def test_the_same_bytes_again(folder: Path, tmp_path: Path) -> None:
    write_synthetic(tmp_path / "again", SETTINGS)
    names = files_of(folder)
    assert files_of(tmp_path / "again") == names
    assert len(names) == 18  # 2 of the FASTA, 5 bigWigs, targets, 2 BED, 2 of the VCF, 6 of truth
    for name in names:
        assert filecmp.cmp(folder / name, tmp_path / "again" / name, shallow=False), name
    write_synthetic(tmp_path / "other", SETTINGS.model_copy(update={"seed": 9}))
    same = {str(n) for n in names if filecmp.cmp(folder / n, tmp_path / "other" / n, shallow=False)}
    assert same == {"genome.fa.fai", "targets.txt"}


def test_the_fasta(folder: Path, data: SyntheticData) -> None:
    genome = Genome.open(folder / "genome.fa")
    for chrom, codes_L in data.genome.codes.items():
        text = pysam.FastaFile(str(folder / "genome.fa")).fetch(chrom)
        assert text == "".join("ACGT"[code] for code in codes_L)
    genes = read_features(folder / "genes.bed", genome)
    assert [(g.name, g.interval.start, g.interval.width) for g in genes] == [
        (gene.name, gene.tss, 1) for gene in data.genome.genes
    ]
    strands = [line.split("\t")[5] for line in (folder / "genes.bed").read_text().splitlines()]
    assert strands == [gene.strand for gene in data.genome.genes]
    elements = read_features(folder / "elements.bed", genome)
    assert {(e.name, e.interval.start, e.interval.end) for e in elements} == {
        (e.name, e.start, e.end) for e in data.genome.elements
    }


def test_bigwigs_hold_the_tracks(folder: Path, data: SyntheticData) -> None:
    tracks = TrackSet.read_table(folder / "targets.txt", "human", expect=5)
    assert tracks.by_assay() == {"DNASE": 2, "CHIP": 1, "CAGE": 2}
    rows = tracks.to_rows()
    assert rows["sum_stat"] == ["mean", "mean", "mean", "sum", "sum"]
    assert rows["description"][2:4] == ["CHIP:ALFA:alpha", "CAGE:alpha"]
    listed = pl.read_csv(folder / "targets.txt", separator="\t")
    assert listed["index"].to_list() == [0, 1, 2, 3, 4]
    for track, name in enumerate(listed["file"]):
        with pybigtools.open(str(folder / name)) as file:
            assert dict(file.chroms()) == SETTINGS.chromosomes
            for chrom, values_TS in data.tracks_TS.items():
                length = SETTINGS.chromosomes[chrom]
                covered = length - length % 16
                found_L = np.full(covered, np.nan, np.float32)
                for start, end, value in file.records(chrom):
                    assert np.isnan(found_L[start:end]).all()
                    found_L[start:end] = value
                np.testing.assert_array_equal(found_L, np.repeat(values_TS[track], 16))


def test_the_vcf(folder: Path, data: SyntheticData) -> None:
    with pysam.VariantFile(str(folder / "variants.vcf.gz")) as file:
        records = list(file)
        assert len(list(file.header.samples)) == 30
        first = next(iter(file.fetch("chr2")))
    assert first.contig == "chr2"  # the index works
    assert len(records) == len(data.variants)
    for record, variant, alleles_H in zip(records, data.variants, data.haplotypes_VH, strict=True):
        assert (record.contig, record.start) == (variant.chrom, variant.start)
        assert record.alleles == ("ACGT"[variant.ref], "ACGT"[variant.alt])
        genotypes = [allele for sample in record.samples.values() for allele in sample["GT"]]
        assert genotypes == alleles_H.tolist()
        assert all(sample.phased for sample in record.samples.values())
        assert record.info["AF"][0] == pytest.approx(alleles_H.mean(), abs=1e-4)


def test_the_truth(folder: Path, data: SyntheticData) -> None:
    variants = pl.read_parquet(folder / "truth" / "variants.parquet")
    effects = variants.select(pl.col("^effect_t.*$")).to_numpy()
    assert variants["pos"].to_list() == [variant.start + 1 for variant in data.variants]
    np.testing.assert_array_equal(effects, data.truth.effect_VT.astype(np.float32))
    np.testing.assert_array_equal(variants["causal"], data.truth.effect_VT.any(axis=1))
    assert variants.filter(pl.col("element") == "")["causal"].sum() == 0
    sites = pl.read_parquet(folder / "truth" / "sites.parquet")
    assert sites.height == len(data.genome.sites)
    assert sites["affinity"].min() > 0
    eqtls = pl.read_parquet(folder / "truth" / "eqtls.parquet")
    assert eqtls["pip"].to_list() == [one.pip for one in data.eqtls]
    joined = eqtls.join(variants, on="id", how="left")
    assert joined["pos"].null_count() == 0
    assert joined.filter(pl.col("true_beta") != 0)["causal"].all()


def test_what_is_there_is_not_overwritten(folder: Path) -> None:
    with pytest.raises(StorageError, match="exists already and is not empty"):
        write_synthetic(folder, SETTINGS)


def test_a_failure_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("cisray.dataset.synthetic.files.write_eqtls", full)
    with pytest.raises(StorageError, match="No space left"):
        write_synthetic(tmp_path / "made", SETTINGS)
    assert list(tmp_path.iterdir()) == []


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["dataset", "synthetic", "--out", str(tmp_path / "made"), "--seed", "3"]
    small = ["--chromosomes", "2", "--chromosome-bp", "20000", "--individuals", "20"]
    assert cli.run([*words, *small]) == 0
    out = capsys.readouterr().out
    assert f"{len(ASSAYS)}\n" in out
    assert "40,000" in out
    assert (tmp_path / "made" / "truth" / "model.json").is_file()
    assert cli.run([*words, *small]) == 1
    assert "exists already" in capsys.readouterr().err
    tiny = ["--chromosome-bp", "500"]
    assert cli.run([*words[:-3], str(tmp_path / "tiny"), *tiny]) == 2
    assert "at least two" in capsys.readouterr().err
