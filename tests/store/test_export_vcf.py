"""VCF: what pysam and tabix read back from a file of scores."""

import gzip
import re

import numpy as np
import polars as pl
import pysam
import pytest
import score_frames as world
from hypothesis import given, settings
from hypothesis import strategies as st
from store_runs import TRACKS_HELD, make_tracks

from cisray.errors import ConfigError, ResultsError, UnknownChromosome
from cisray.store.export import columns
from cisray.store.export.columns import Scores
from cisray.store.export.vcf import write_vcf


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("vcf") / "x.vcf.gz"
    assert write_vcf(world.variant_scores(), world.LENGTHS, path) == len(world.ROWS)
    return path


def test_every_record_is_there_in_order(path) -> None:
    with pysam.VariantFile(str(path)) as file:
        records = [(r.info["ENTRY"], r.chrom, r.pos, r.ref, r.alts) for r in file]
    # Entries 2 and 6 are one variant, and stay two records.
    assert records == [(row[0], row[1], row[2], row[3], (row[4],)) for row in world.ROWS]


def test_every_value_is_the_float32_of_the_run(path) -> None:
    with pysam.VariantFile(str(path)) as file:
        for record in file:
            for stat in world.STATS:
                for track in TRACKS_HELD:
                    read = record.info[f"{stat}_t{track:04d}"]
                    assert np.float32(read) == world.value(record.info["ENTRY"], stat, track)


def test_ids_sources_and_missing_bases(path) -> None:
    with pysam.VariantFile(str(path)) as file:
        records = {r.info["ENTRY"]: r for r in file}
    ids = {3: "rs3", 4: None, 2: "rs2;x", 6: None, 0: None, 9: "rs9"}
    assert {entry: r.id for entry, r in records.items()} == ids
    assert {e: r.info["SRC"] for e, r in records.items() if "SRC" in r.info} == {4: "2:122:TTT:TT"}
    assert records[2].info["MISSING_BP"] == 12


def test_each_site_of_a_variant_is_a_record(path, tmp_path) -> None:
    assert write_vcf(world.site_scores(), world.LENGTHS, tmp_path / "s.vcf.gz") == 12
    with pysam.VariantFile(str(tmp_path / "s.vcf.gz")) as file:
        records = list(file)
    places = [(r.info["ENTRY"], r.info["SITE"], r.info.get("SITE_NAME")) for r in records]
    # In a name, what ends an INFO value is written as its number.
    names = {1: "TSS%202%3Bx%3Dy", 4: None}
    assert places == [(row[0], site, names[site]) for row in world.ROWS for site in (1, 4)]
    for record, (entry, site, _) in zip(records, places, strict=True):
        for stat in world.STATS:
            owed = world.site_value(entry, stat, 5, site)
            assert np.float32(record.info[f"{stat}_t0005"]) == owed
    with pysam.VariantFile(str(path)) as file:
        assert "SITE" not in file.header.info


def test_the_index_finds_regions(path) -> None:
    with pysam.TabixFile(str(path)) as file:
        # 0-based half-open 129-130 is position 130; the deletion at 120 covers 120 and 121.
        assert [line.split("\t")[1] for line in file.fetch("chr2", 129, 130)] == ["130", "130"]
        assert [line.split("\t")[1] for line in file.fetch("chr2", 120, 121)] == ["120"]
        assert list(file.fetch("chr2", 121, 129)) == []
        assert len(list(file.fetch("chr10"))) == 2


def test_the_header_says_what_and_whence(path) -> None:
    with pysam.VariantFile(str(path)) as file:
        header = file.header
        assert [(c.name, c.length) for c in header.contigs.values()] == list(world.LENGTHS.items())
        told = header.info["SAD_sd_t0005"].description
        lines = str(header).splitlines()
    for words in ("SAD_sd", "spread", "[signal]", "track 5 X5", "CHIP:CTCF"):
        assert words in told
    assert lines[0].startswith("##fileformat=VCFv4")
    assert f"##cisray_run={world.PROVENANCE['cisray_run']}" in lines


def test_keys_and_floats_are_legal(path) -> None:
    text = gzip.decompress(path.read_bytes()).decode()
    for line in text.splitlines():
        if line.startswith("#"):
            continue
        for field in line.split("\t")[7].split(";"):
            key, number = field.split("=", 1)
            assert re.fullmatch(r"[A-Za-z_][0-9A-Za-z_.]*", key)
            if key[:3] in ("SAD", "gra"):
                assert re.fullmatch(r"[-+]?[0-9]*\.?[0-9]+([eE][-+]?[0-9]+)?", number)


def test_pieces_make_the_same_file(path, tmp_path, monkeypatch) -> None:
    # 23 columns of 4 bytes: pieces of two rows.
    monkeypatch.setattr(columns, "SLICE_BYTES", 2 * 4 * 23)
    assert len(world.variant_scores().names) == 23
    write_vcf(world.variant_scores(), world.LENGTHS, tmp_path / "y.vcf.gz")
    expected = gzip.decompress(path.read_bytes())
    assert gzip.decompress((tmp_path / "y.vcf.gz").read_bytes()) == expected


def one(values: list[float | None], **keys) -> Scores:
    """Rows on chr2 with one value each."""
    rows = len(values)
    base = {"variant": range(rows), "chrom": ["chr2"] * rows, "pos": range(1, rows + 1)}
    frame = pl.LazyFrame(
        base | {"ref": ["A"] * rows, "alt": ["C"] * rows} | keys
        | {"SAD_t0003": pl.Series(values, dtype=pl.Float32)}
    )  # fmt: skip
    return Scores.of(frame, make_tracks((3,)), {})


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=9))
def test_any_float32_reads_back_equal(tmp_path_factory, values) -> None:
    path = tmp_path_factory.mktemp("x") / "x.vcf.gz"
    write_vcf(one(values), {"chr2": 100}, path)
    with pysam.VariantFile(str(path)) as file:
        assert [np.float32(r.info["SAD_t0003"]) for r in file] == [np.float32(v) for v in values]


def test_saturation_rows_have_their_region(tmp_path) -> None:
    path = tmp_path / "x.vcf.gz"
    scores = world.saturation_scores()
    rows = scores.frame.collect()
    assert write_vcf(scores, world.LENGTHS, path) == rows.height
    with pysam.VariantFile(str(path)) as file:
        found = [(r.info["REGION"], r.pos, r.ref, r.alts[0], r.info["SAD_t0008"]) for r in file]
    assert found == rows.select("region", "pos", "ref", "alt", "SAD_t0008").rows()


def test_no_value_is_no_field(tmp_path) -> None:
    write_vcf(one([None, 2.0]), {"chr2": 100}, tmp_path / "x.vcf.gz")
    with pysam.VariantFile(str(tmp_path / "x.vcf.gz")) as file:
        assert ["SAD_t0003" in r.info for r in file] == [False, True]


def test_what_ends_a_field_is_encoded(tmp_path) -> None:
    given = {"source_chrom": ["c;=%"], "source_pos": [1], "source_ref": ["A"]}
    scores = one([1.0], **given, source_alt=["C,G"])
    write_vcf(scores, {"chr2": 100}, tmp_path / "x.vcf.gz")
    with pysam.VariantFile(str(tmp_path / "x.vcf.gz")) as file:
        assert [r.info["SRC"] for r in file] == ["c%3B%3D%25:1:A:C%2CG"]


def test_quotes_in_a_description_are_escaped(tmp_path) -> None:
    rows = make_tracks((3,)).to_rows() | {"description": ['the "best"\\ one\n']}
    tracks = type(make_tracks()).from_rows("human", rows)
    scores = Scores.of(one([1.0]).frame, tracks, {"cisray_genome": "two\nlines"})
    write_vcf(scores, {"chr2": 100}, tmp_path / "x.vcf.gz")
    text = gzip.decompress((tmp_path / "x.vcf.gz").read_bytes()).decode()
    assert r'the \"best\"\\ one">' in text
    assert "##cisray_genome=two lines\n" in text
    with pysam.VariantFile(str(tmp_path / "x.vcf.gz")) as file:
        assert file.header.info["SAD_t0003"].type == "Float"


def test_what_vcf_cannot_hold_is_refused(tmp_path) -> None:
    path = tmp_path / "x.vcf.gz"
    with pytest.raises(UnknownChromosome, match="'chr2', which the FASTA lacks"):
        write_vcf(one([1.0]), {"chr3": 100}, path)
    with pytest.raises(ResultsError, match="'a b' has blanks"):
        write_vcf(one([1.0], id=["a b"]), {"chr2": 100}, path)
    with pytest.raises(ResultsError, match="'a,b' is not allowed"):
        write_vcf(one([1.0]), {"chr2": 100, "a,b": 5}, path)


def test_without_rows_the_file_is_a_header_with_an_index(path, tmp_path) -> None:
    """The header of the same run with rows, byte for byte."""
    scores, empty = world.variant_scores(), tmp_path / "x.vcf.gz"
    none = Scores.of(scores.frame.filter(pl.col("pos") > 999), make_tracks(), world.PROVENANCE)
    assert write_vcf(none, world.LENGTHS, empty) == 0
    lines = gzip.decompress(path.read_bytes()).decode().splitlines(keepends=True)
    header = "".join(line for line in lines if line.startswith("#"))
    assert gzip.decompress(empty.read_bytes()).decode() == header
    with pysam.VariantFile(str(empty)) as file:
        assert list(file) == []
        assert list(file.fetch("chr2", 0, 5_000)) == []
    with pysam.TabixFile(str(empty)) as file:
        assert (list(file.fetch()), file.contigs) == ([], [])


def test_rows_out_of_order_are_refused(tmp_path) -> None:
    # Position 2 before 1: tabix cannot index that.
    frame = one([1.0, 2.0]).frame.reverse()
    with pytest.raises(OSError, match="index"):
        write_vcf(Scores.of(frame, make_tracks((3,)), {}), {"chr2": 100}, tmp_path / "y.vcf.gz")


def test_too_many_columns_are_refused_politely(tmp_path) -> None:
    with pytest.raises(ConfigError, match=r"12 values per variant.*more than 11.*--tracks"):
        write_vcf(world.variant_scores(), world.LENGTHS, tmp_path / "x", most_columns=11)
    path = tmp_path / "x.vcf.gz"
    assert write_vcf(world.variant_scores(), world.LENGTHS, path, most_columns=12) == 6
