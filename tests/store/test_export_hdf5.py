"""HDF5: the published layout, and what half precision loses."""

import h5py
import numpy as np
import polars as pl
import pytest
import score_frames as world
from store_runs import DESCRIPTIONS, TRACKS_HELD, make_tracks

from cisray.errors import ConfigError
from cisray.scoring.statistics import STATISTICS
from cisray.store.export import columns
from cisray.store.export.columns import Scores, meaning_of
from cisray.store.export.hdf5 import write_hdf5

TEXTS = {
    "snp": [b"rs3", b".", b"rs2;x", b".", b".", b"rs9"],
    "chr": [b"chr2"] * 4 + [b"chr10"] * 2,
    "ref": [b"A", b"AT", b"C", b"C", b"G", b"G"],
    "alt": [b"G", b"A", b"T", b"T", b"GCC", b"T"],
}


def owed(stat: str) -> np.ndarray:
    return np.array([[world.value(row[0], stat, t) for t in TRACKS_HELD] for row in world.ROWS])


def test_every_number_and_word(tmp_path) -> None:
    path = tmp_path / "x.h5"
    assert write_hdf5(world.variant_scores(), path) == 6
    with h5py.File(path) as file:
        for name, texts in TEXTS.items():
            assert file[name][:].tolist() == texts
        assert file["pos"][:].tolist() == [17, 120, 130, 130, 5, 5]
        assert file["entry"][:].tolist() == [3, 4, 2, 6, 0, 9]
        assert file["target_ids"][:].tolist() == [b"X3", b"X5", b"X8", b"X13"]
        assert file["target_labels"][:].tolist() == [text.encode() for text in DESCRIPTIONS]
        assert file["target_indices"][:].tolist() == list(TRACKS_HELD)
        for stat in world.STATS:
            assert file[stat].dtype == np.float32
            np.testing.assert_array_equal(file[stat][:], owed(stat))
        assert file.attrs["cisray_run"] == world.PROVENANCE["cisray_run"]
        assert file["SAD"].attrs["unit"] == "signal"
        # Basenji's names for the alleles are there without a copy.
        assert file["ref_allele"] == file["ref"]
        assert file["alt_allele"] == file["alt"]
        assert "SAR" not in file


def test_each_site_of_a_variant_is_a_row(tmp_path) -> None:
    assert write_hdf5(world.site_scores(), tmp_path / "s.h5") == 12
    with h5py.File(tmp_path / "s.h5") as file:
        assert file["site"][:].tolist() == [1, 4] * 6
        assert file["site_name"][:].tolist() == [b"TSS 2;x=y", b""] * 6
        assert file["site_start"][:].tolist() == [40, 100] * 6
        assert file["site_end"][:].tolist() == [41, 300] * 6
        assert file["entry"][:].tolist() == [n for n in (3, 4, 2, 6, 0, 9) for _ in range(2)]
        for row, (entry, site) in enumerate(zip(file["entry"], file["site"], strict=True)):
            owed = [world.site_value(entry, "SAD", t, site) for t in TRACKS_HELD]
            assert file["SAD"][row].tolist() == owed
    write_hdf5(world.variant_scores(), tmp_path / "v.h5")
    with h5py.File(tmp_path / "v.h5") as file:
        assert not [name for name in file if name.startswith("site")]


@pytest.mark.realdata
def test_the_layout_is_basenjis(shared, tmp_path) -> None:
    """Names, kinds of type and shapes of a file that Basenji's own script wrote."""
    write_hdf5(world.variant_scores(), tmp_path / "x.h5", float16=False)
    with (
        h5py.File(shared / "data" / "sad_h5" / "basenji_tests_sad.h5") as theirs,
        h5py.File(tmp_path / "x.h5") as ours,
    ):
        # Quantiles of SAD over a set of variants are not scores of the variants.
        names = theirs.keys() - {"percentiles", "SAD_pct"}
        assert names == {"snp", "chr", "pos", "ref", "target_ids", "target_labels", "SAD"}
        assert names < ours.keys()
        sizes = {"SAD": (6, 4), "target_ids": (4,), "target_labels": (4,)}
        for name in names:
            assert ours[name].dtype.kind == theirs[name].dtype.kind
            assert ours[name].ndim == theirs[name].ndim
            assert ours[name].shape == sizes.get(name, (6,))
        assert ours["pos"].dtype == theirs["pos"].dtype


def test_pieces_make_the_same_file(tmp_path, monkeypatch) -> None:
    """Pieces are whole chunks: 256 rows each, of 600."""
    tracks = make_tracks()
    frame = pl.concat([world.variant_frame()] * 100).with_columns(
        pl.int_range(pl.len()).alias("variant"),
        pl.int_range(pl.len()).cast(pl.Float32).alias("SAD_t0005"),
    )
    monkeypatch.setattr(columns, "SLICE_BYTES", 300 * 4 * 23)
    scores = Scores.of(frame, tracks, {})
    assert [piece.height for piece in scores.slices(256)] == [256, 256, 88]
    assert write_hdf5(scores, tmp_path / "x.h5") == 600
    with h5py.File(tmp_path / "x.h5") as file:
        assert file["entry"][:].tolist() == list(range(600))
        assert file["SAD"][:, 1].tolist() == list(range(600))
        assert file["snp"][:].tolist() == TEXTS["snp"] * 100


def test_half_precision_where_it_holds_all(tmp_path) -> None:
    write_hdf5(world.variant_scores(stats=["gradSAD"]), tmp_path / "x.h5", float16=True)
    with h5py.File(tmp_path / "x.h5") as file:
        assert file["gradSAD"].dtype == np.float16
        np.testing.assert_allclose(file["gradSAD"][:], owed("gradSAD"), rtol=2**-11)


def test_half_precision_that_loses_values_is_refused_with_their_number(tmp_path) -> None:
    values = [70_000.0, -65_520.0, 65_504.0, 1e-8, -1e-9, 0.0]
    frame = world.variant_frame(stats=["SAD"]).with_columns(
        pl.Series("SAD_t0005", values, pl.Float32)
    )
    scores = Scores.of(frame, make_tracks(), {})
    # 70,000 and -65,520 become infinite, 1e-8 and -1e-9 zero.
    with pytest.raises(ConfigError, match=r"4 of SAD"):
        write_hdf5(scores, tmp_path / "x.h5", float16=True)
    write_hdf5(scores, tmp_path / "y.h5")
    with h5py.File(tmp_path / "y.h5") as file:
        assert file["SAD"][:, 1].tolist() == np.float32(values).tolist()


def test_sar_is_what_the_user_says(tmp_path) -> None:
    frame = world.variant_frame().rename(
        lambda name: name.replace("gradSAD", "SADR").replace("SAD_sd", "logSAD")
    )
    scores = Scores.of(frame, make_tracks(), {})
    for sar, made_of in (("SADR", "gradSAD"), ("logSAD", "SAD_sd")):
        write_hdf5(scores, tmp_path / f"{sar}.h5", sar=sar)
        with h5py.File(tmp_path / f"{sar}.h5") as file:
            assert file["SAR"] == file[sar]
            np.testing.assert_array_equal(file["SAR"][:], owed(made_of))
    with pytest.raises(ConfigError, match=r"no statistic 'SADR'.*SAD, SAD_sd, gradSAD"):
        write_hdf5(world.variant_scores(), tmp_path / "x.h5", sar="SADR")


@pytest.mark.parametrize("float16", [False, True])
def test_without_rows_every_dataset_is_there_and_empty(tmp_path, float16) -> None:
    """As with rows: the same names, types of numbers and attributes, and all of the tracks."""
    write_hdf5(world.site_scores(), tmp_path / "full.h5")
    scores = world.site_scores()
    none = Scores.of(scores.frame.filter(pl.col("pos") > 999), make_tracks(), world.PROVENANCE)
    assert write_hdf5(none, tmp_path / "x.h5", float16=float16, sar="SAD") == 0
    with h5py.File(tmp_path / "full.h5") as full, h5py.File(tmp_path / "x.h5") as empty:
        assert set(empty) - {"SAR"} == set(full)
        for name in full:
            of_rows = not name.startswith("target_")
            rest = full[name].shape[1:]
            assert empty[name].shape == ((0, *rest) if of_rows else full[name].shape)
            assert empty[name].dtype.kind == full[name].dtype.kind
            assert dict(empty[name].attrs) == dict(full[name].attrs)
        assert empty["SAD"].dtype == (np.float16 if float16 else np.float32)
        assert empty["SAR"] == empty["SAD"]
        assert empty["target_ids"][:].tolist() == [b"X3", b"X5", b"X8", b"X13"]
        assert dict(empty.attrs) == dict(full.attrs)


def test_every_statistic_has_a_meaning() -> None:
    """The words here and the formulas of cisray.scoring are of the same statistics."""
    for name, statistic in STATISTICS.items():
        assert meaning_of(name).unit == statistic.unit
        assert meaning_of(name).text != f"statistic {name}"
    assert meaning_of("new_one").text == "statistic new_one"
