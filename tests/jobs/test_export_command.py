"""`cisray runs export`: real genome runs, runs of scores over frames, and what is refused."""

import gzip
import json
import shutil
import sys
from pathlib import Path

import h5py
import numpy as np
import polars as pl
import pybigtools
import pysam
import pytest
import score_frames
from PIL import Image

from cisray.genome.reference import Genome
from cisray.store.scan import open_run
from cisray_jobs import export
from cisray_jobs.models import SIZES

LENGTHS = {"chrA": 9_000, "chrB": 3_000}
TRACKS = SIZES["tiny"].heads["human"]


@pytest.fixture(scope="module")
def run(inputs, tmp_path_factory) -> Path:
    """A sealed genome run of 8 tracks."""
    from cisray_jobs import cli

    out = tmp_path_factory.mktemp("runs") / "run"
    assert cli.run(list(inputs.options(out, "--quiet"))) == 0
    return out


def contents(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_every_track_of_a_run_as_bigwig(cisray, inputs, run, tmp_path) -> None:
    out = tmp_path / "tracks"
    told = json.loads(
        cisray("runs", "export", run, "--format", "bigwig", "--out", out, "--fasta", inputs.fasta,
               "--json").out
    )  # fmt: skip
    # 9,000 bp and 3,000 bp in bins of 128 bp: 71 and 24.
    assert (told["rows"], told["tracks"], told["format"]) == (95, TRACKS, "bigwig")
    assert contents(out) == {Path(file).name for file in told["files"]}
    assert contents(out) == {f"t{i:04d}.human_{i}.bw" for i in range(TRACKS)}
    assert told["bytes"] == sum(path.stat().st_size for path in out.iterdir())
    frame = open_run(run).scan().collect()
    for track in range(TRACKS):
        with pybigtools.open(str(out / f"t{track:04d}.human_{track}.bw")) as file:
            assert file.chroms() == LENGTHS
            bins = [(c, *record) for c in file.chroms() for record in file.records(c)]
        ends = [min(end, LENGTHS[chrom]) for chrom, end in frame.select("chrom", "end").rows()]
        columns = frame["chrom"], frame["start"], ends, frame[f"t{track:04d}"]
        assert bins == list(zip(*columns, strict=True))
        # 70 x 128 = 8,960: the last bin has 40 bases; 23 x 128 = 2,944: 56.
        assert [(c, s, e) for c, s, e, _ in bins if (e - s) != 128] == [
            ("chrA", 8_960, 9_000), ("chrB", 2_944, 3_000)
        ]  # fmt: skip


@pytest.mark.parametrize("name", ["one.bedgraph", "one.bedgraph.gz"])
def test_one_track_and_region_as_a_file(cisray, inputs, run, tmp_path, name) -> None:
    out = tmp_path / name
    answer = cisray(
        "runs", "export", run, "--format", "bedgraph", "--out", out, "--fasta", inputs.fasta,
        "--tracks", "t0003", "--region", "chrB:1-129",
    )  # fmt: skip
    assert (answer.code, answer.err) == (0, "")
    assert f"Exported {run}" in answer.out
    assert name in answer.out
    raw = pysam.BGZFile(str(out)).read() if name.endswith(".gz") else out.read_bytes()
    lines = [line for line in raw.decode().splitlines() if line[0] != "#"]
    owed = open_run(run).scan("t0003", ("chrB", 0, 129)).collect()
    assert [line.split("\t")[:3] for line in lines] == [
        ["chrB", "0", "128"],
        ["chrB", "128", "256"],
    ]
    assert [np.float32(line.split("\t")[3]) for line in lines] == owed["t0003"].to_list()
    indices = {f"{name}.tbi"} if name.endswith(".gz") else set()
    assert contents(tmp_path) == {name} | indices


def test_a_genome_without_bases_is_an_empty_bedgraph(cisray, inputs, tmp_path) -> None:
    fasta, out = tmp_path / "n.fa", tmp_path / "run"
    fasta.write_text(">chrN\n" + "N" * 5_000 + "\n")
    assert cisray(*inputs.options(out, "--fasta", fasta, "--quiet")).code == 0
    command = ("runs", "export", out, "--fasta", fasta, "--tracks", "t0003", "--format")
    told = json.loads(
        cisray(*command, "bedgraph", "--out", tmp_path / "x.bedgraph.gz", "--json").out
    )
    assert (told["rows"], told["tracks"], len(told["files"])) == (0, 1, 2)
    lines = gzip.decompress((tmp_path / "x.bedgraph.gz").read_bytes()).decode().splitlines()
    assert lines
    assert all(line.startswith("#") for line in lines)
    answer = cisray(*command, "bigwig", "--out", tmp_path / "x.bw")
    answer.assert_one_paragraph("no bins to export", "a bigWig cannot be empty", "bedgraph")
    assert not (tmp_path / "x.bw").exists()


def test_files_in_a_folder_are_replaced_only_when_told(cisray, inputs, run, tmp_path) -> None:
    theirs, old = tmp_path / "notes.txt", tmp_path / "t0000.human_0.bw"
    theirs.write_text("mine")
    old.write_text("old")
    command = (
        "runs", "export", run, "--format", "bigwig", "--out", tmp_path, "--fasta", inputs.fasta,
        "--tracks", "0-1",
    )  # fmt: skip
    cisray(*command).assert_one_paragraph(str(old), "exists already", "--overwrite")
    assert contents(tmp_path) == {"notes.txt", "t0000.human_0.bw"}
    assert old.read_text() == "old"
    assert cisray(*command, "--overwrite").code == 0
    assert contents(tmp_path) == {"notes.txt", "t0000.human_0.bw", "t0001.human_1.bw"}
    assert theirs.read_text() == "mine"
    assert old.stat().st_size > 300


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--format", "vcf", "--out", "x.vcf.gz"), ("genome_tracks", "bigwig, bedgraph")),
        (("--format", "bigwig", "--out", "x.bw"), ("8 tracks", "--tracks")),
        (("--format", "bigwig", "--out", "x", "--stats", "SAD"), ("--stats means nothing",)),
        (("--format", "bigwig", "--out", "x", "--float16"), ("--float16 means nothing",)),
        (("--format", "bigwig", "--out", "x", "--tracks", "CAGE:liver"), ("CAGE:liver",)),
        (("--format", "bedgraph", "--out", "x", "--region", "chrZ"), ("chrZ", "chrA, chrB")),
        (("--format", "bedgraph", "--out", ""), ("--out", "empty")),
    ],
)
def test_what_does_not_fit_is_refused(cisray, inputs, run, tmp_path, monkeypatch, options, words):
    monkeypatch.chdir(tmp_path)
    answer = cisray("runs", "export", run, *options, "--fasta", inputs.fasta)
    answer.assert_one_paragraph(*words)
    assert contents(tmp_path) == set()


def test_a_genome_run_needs_its_genome(cisray, inputs, run, tmp_path) -> None:
    command = ("runs", "export", run, "--format", "bigwig", "--out", tmp_path / "x")
    cisray(*command).assert_one_paragraph("needs --fasta")
    wrong = cisray("runs", "export", run, "--format", "vcf", "--out", tmp_path / "x.vcf.gz")
    wrong.assert_one_paragraph("cannot be exported as vcf", "bigwig, bedgraph")
    other = tmp_path / "other.fa"
    other.write_text(inputs.fasta.read_text().replace("A", "C", 5))
    cisray(*command, "--fasta", other).assert_one_paragraph("not the file that was scored")


def test_only_sealed_runs_and_never_into_one(cisray, inputs, run, tmp_path) -> None:
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    tail = ("--format", "bigwig", "--fasta", inputs.fasta)
    inside = cisray("runs", "export", copy, *tail, "--out", copy / "data" / "x")
    inside.assert_one_paragraph("lies in the run")
    (copy / "_SUCCESS").unlink()
    unsealed = cisray("runs", "export", copy, *tail, "--out", tmp_path / "x")
    unsealed.assert_one_paragraph("not sealed")
    nothing = cisray("runs", "export", tmp_path / "none", *tail, "--out", tmp_path / "x")
    nothing.assert_one_paragraph("holds no cisray run")


@pytest.fixture
def scored(monkeypatch, tmp_path):
    """Let `open_run` give a run over a frame; its genome is a FASTA on the disk."""
    fasta = tmp_path / "genome.fa"
    chroms = score_frames.LENGTHS.items()
    fasta.write_text("".join(f">{chrom}\n{'A' * length}\n" for chrom, length in chroms))
    with Genome.open(fasta) as genome:
        digest = genome.sha256

    def make(kind: str) -> Path:
        of_variants = kind == "variant_scores"
        frame = score_frames.variant_frame() if of_variants else score_frames.saturation_frame()
        table = f"cisray.{kind}/1"
        found = score_frames.FrameRun(tmp_path / "run", frame, table, digest)
        monkeypatch.setattr(export, "open_run", lambda path, since=(): found)
        return fasta

    return make


def test_variants_as_vcf(cisray, scored, tmp_path) -> None:
    fasta, out = scored("variant_scores"), tmp_path / "x.vcf.gz"
    answer = cisray(
        "runs", "export", tmp_path / "run", "--format", "vcf", "--out", out, "--fasta", fasta,
        "--stats", "SAD,gradSAD", "--tracks", "CAGE:*", "--region", "chr2:17-125",
    )  # fmt: skip
    assert (answer.code, answer.err) == (0, "")
    with pysam.VariantFile(str(out)) as file:
        records = list(file)
        keys = {key for key in file.header.info if "_t" in key}
        assert list(file.header.contigs) == list(score_frames.LENGTHS)
    assert [r.info["ENTRY"] for r in records] == [3, 4]
    # Tracks 3 and 8 are CAGE.
    assert keys == {"SAD_t0003", "SAD_t0008", "gradSAD_t0003", "gradSAD_t0008"}
    assert np.float32(records[1].info["gradSAD_t0008"]) == score_frames.value(4, "gradSAD", 8)
    assert Path(f"{out}.tbi").exists()


def test_variants_as_hdf5(cisray, scored, tmp_path) -> None:
    scored("variant_scores")
    out = tmp_path / "x.h5"
    command = ("runs", "export", tmp_path / "run", "--format", "hdf5", "--out")
    assert cisray(*command, out).code == 0
    with h5py.File(out) as file:
        assert file["SAD"].shape == (6, 4)
        assert file.attrs["cisray_genome"] == "toy.fa"
    refused = cisray(*command, tmp_path / "y.h5", "--sar", "SADR")
    refused.assert_one_paragraph("no statistic 'SADR'")
    cisray(*command, tmp_path / "y.txt").assert_one_paragraph("must end in .h5 or .hdf5")
    cisray(*command, tmp_path / "y.h5", "--sar", "SAD").assert_one_paragraph("--sar", "logSAD")
    assert not (tmp_path / "y.h5").exists()


def test_saturation_as_figures(cisray, scored, tmp_path) -> None:
    scored("saturation_scores")
    command = ("runs", "export", tmp_path / "run", "--tracks", "CAGE:liver", "--format")
    png = cisray(*command, "png", "--out", tmp_path / "x.png", "--region", "chr10:40-46", "--json")
    told = json.loads(png.out)
    # 7 bases, 3 substitutions each, of one track.
    assert (told["rows"], told["tracks"]) == (21, 1)
    with Image.open(tmp_path / "x.png") as image:
        assert image.info["Title"] == "CAGE:liver (X3)"
    svg = cisray(*command, "svg", "--out", tmp_path / "x.svg", "--region", "chr10:41-43")
    assert svg.code == 0
    several = cisray(*command, "svg", "--out", tmp_path / "y.svg")
    several.assert_one_paragraph("shows one region", "there are 3", "--region")
    two = cisray(*command, "svg", "--out", tmp_path / "y.svg", "--stats", "SAD,D2")
    two.assert_one_paragraph("one statistic", "SAD, D2")
    assert not (tmp_path / "y.svg").exists()


def test_a_whole_run_as_delta_tables(cisray, run, tmp_path) -> None:
    deltalake = pytest.importorskip("deltalake")
    out = tmp_path / "tables"
    command = ("runs", "export", run, "--format", "delta", "--out", out)
    told = json.loads(cisray(*command, "--json").out)
    assert (told["rows"], told["tracks"], told["format"]) == (95, TRACKS, "delta")
    assert contents(out) == {"sel", "tracks"}
    assert told["bytes"] == sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    assert told["files"] == [str(out / "sel"), str(out / "tracks")]
    found = pl.DataFrame(deltalake.DeltaTable(out / "sel").to_pyarrow_table()).sort(
        "chrom", "start"
    )
    owed = open_run(run).scan().collect().drop("end").with_columns(pl.col("chrom").cast(pl.String))
    assert found.select(owed.columns).equals(owed.sort("chrom", "start"))
    cisray(*command).assert_one_paragraph(str(out), "exists already")
    for option in (("--tracks", "0"), ("--region", "chrA"), ("--overwrite",)):
        answer = cisray(*command[:-1], tmp_path / "other", *option)
        answer.assert_one_paragraph(option[0], "the files of the whole run")
    assert contents(tmp_path) == {"tables"}


def test_delta_needs_its_extra(cisray, run, tmp_path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "deltalake", None)
    monkeypatch.delitem(sys.modules, "cisray.store.export.delta", raising=False)
    answer = cisray("runs", "export", run, "--format", "delta", "--out", tmp_path / "tables")
    answer.assert_one_paragraph("pip install 'cisray[delta]'")
    assert contents(tmp_path) == set()
