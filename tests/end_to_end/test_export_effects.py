"""Exports of runs as the commands made them: VCF, HDF5 and a figure hold what the run holds."""

from pathlib import Path

import h5py
import numpy as np
import pysam
import pytest
from effect_jobs import command, genome_with_traps, score, write_genome, write_model, write_vcf

from cisray.store.scan import Run


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("exports")
    texts = genome_with_traps()
    text = texts["chr1"]
    records = [
        ("chr1", pos, f"v{pos}", text[pos - 1], "ACGT"["CGTA".index(text[pos - 1])])
        for pos in (5, 700, 700, 1_200)
    ]
    return {
        "fasta": write_genome(folder / "g.fa", texts),
        "model": write_model(folder / "m.safetensors"),
        "vcf": write_vcf(folder / "v.vcf", records),
    }


@pytest.fixture(scope="module", params=["variants", "saturation"])
def run(request: pytest.FixtureRequest, given, tmp_path_factory: pytest.TempPathFactory) -> Run:
    what = {
        "variants": ("--vcf", given["vcf"]),
        "saturation": ("--region", "chr1:700-706", "--region", "chr1:704-708"),
    }
    out = tmp_path_factory.mktemp(request.param) / "run"
    named = ("--model", given["model"], "--fasta", given["fasta"])
    return score(request.param, out, *named, *what[request.param])


def export(run: Run, out: Path, form: str, *more: object) -> Path:
    words = ("runs", "export", run.path, "--format", form, "--out", out, "--stats", "SAD", *more)
    assert command(*words) == 0
    return out


def test_vcf(run: Run, given, tmp_path: Path) -> None:
    out = export(run, tmp_path / "s.vcf.gz", "vcf", "--fasta", given["fasta"])
    rows = run.scan(stats="SAD").collect().to_dicts()
    with pysam.VariantFile(str(out)) as file:
        records = list(file)
    assert len(records) == len(rows) > 3
    for row, record in zip(rows, records, strict=True):
        assert (record.chrom, record.pos, record.ref) == (row["chrom"], row["pos"], row["ref"])
        assert record.alts == (row["alt"],)
        for track in run.tracks.columns:
            assert np.float32(record.info[f"SAD_{track}"]) == np.float32(row[f"SAD_{track}"])


def test_hdf5(run: Run, tmp_path: Path) -> None:
    out = export(run, tmp_path / "s.h5", "hdf5")
    frame = run.scan(stats="SAD").collect()
    with h5py.File(out) as file:
        assert file["pos"][:].tolist() == frame["pos"].to_list()
        assert [text.decode() for text in file["alt"][:]] == frame["alt"].to_list()
        assert len(file["snp"]) == frame.height
        np.testing.assert_array_equal(file["SAD"][:], frame.select("^SAD_.*$").to_numpy())


@pytest.mark.parametrize(
    "what",
    [("variants", "--vcf"), ("variants", "--vcf", "--at"), ("saturation", "--region")],
    ids=["variants", "sites", "saturation"],
)
def test_a_run_without_rows(given, tmp_path: Path, capsys, what) -> None:
    """Everything was rejected: the files are there, whole, and say what they would hold."""
    kind, *inputs = what
    sites = tmp_path / "sites.bed"
    sites.write_text("chr1\t690\t710\n")
    # A symbolic allele, and a base in the gap.
    vcf = write_vcf(tmp_path / "v.vcf", [("chr1", 700, "sv1", "A", "<DEL>")])
    given_as = {"--vcf": vcf, "--at": sites, "--region": "chr1:1,600-1,600"}
    words = [part for name in inputs for part in (name, given_as[name])]
    named = ("--model", given["model"], "--fasta", given["fasta"])
    run = score(kind, tmp_path / "run", *named, *words)
    assert (run.manifest.config["rows"], run.rejects.collect().height) == (0, 1)
    with pysam.VariantFile(
        str(export(run, tmp_path / "s.vcf.gz", "vcf", "--fasta", given["fasta"]))
    ) as file:
        assert list(file) == []
        assert set(file.header.contigs) == set(genome_with_traps())
        assert {f"SAD_{track}" for track in run.tracks.columns} <= set(file.header.info)
    with h5py.File(export(run, tmp_path / "s.h5", "hdf5")) as file:
        assert file["SAD"].shape == (0, len(run.tracks))
        assert file["pos"].shape == file["snp"].shape == (0,)
        assert len(file["target_ids"]) == len(run.tracks)
    if kind == "saturation":
        capsys.readouterr()
        words = ("runs", "export", run.path, "--format", "svg", "--out", tmp_path / "s.svg")
        assert command(*words) == 2
        assert "nothing to draw" in " ".join(capsys.readouterr().err.split())
        assert not (tmp_path / "s.svg").exists()
