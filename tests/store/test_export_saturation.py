"""Saturation maps and their figure: what is drawn where, and how high."""

import re

import matplotlib as mpl
import numpy as np
import polars as pl
import pytest
import score_frames as world
from matplotlib.collections import PathCollection, QuadMesh
from PIL import Image

from cisray.errors import ConfigError, CoordinateError, ResultsError
from cisray.store.export import figure as drawing
from cisray.store.export.columns import Scores
from cisray.store.export.figure import COLOURS, Caption, draw_saturation
from cisray.store.export.saturation import SaturationMap, choose_region, saturation_map

CAPTION = Caption("CAGE:liver (X3)", "SAD", "a sum", "signal", "run-1")
TRACKS = (3, 5, 8, 13)


def owed(region: int, position: int, alt: str, tracks=TRACKS) -> float:
    return float(np.mean([world.effect(region, position, alt, track) for track in tracks]))


def test_the_map_of_one_region() -> None:
    shown = saturation_map(world.saturation_scores(), "SAD", 0)
    assert (shown.chrom, shown.first, shown.last) == ("chr2", 101, 110)
    assert shown.reference == "ACGTNTTGCA"
    for offset, ref in enumerate(shown.reference):
        for row, alt in enumerate("ACGT"):
            found = shown.effects_LA[offset, row]
            if ref in ("N", alt):
                assert np.isnan(found)
            else:
                # The mean over the four tracks.
                assert found == pytest.approx(owed(0, 101 + offset, alt), abs=1e-12)
    # Nine positions of ten, three substitutions each.
    assert shown.substitutions == 27


def test_regions_that_overlap_are_told_apart() -> None:
    shown = saturation_map(world.saturation_scores(), "SAD", 1)
    assert (shown.first, shown.reference) == (106, "TTGCACC")
    assert shown.effects_LA[0, 0] == pytest.approx(owed(1, 106, "A"))


def test_importance_is_minus_the_mean_of_three() -> None:
    nan = np.nan
    effects_LA = np.array([[nan, -1.0, -2.0, -6.0], [4.0, 2.0, nan, 0.0], [nan] * 4])
    shown = SaturationMap("c", 7, "AGN", effects_LA)
    # (1 + 2 + 6) / 3 and -(4 + 2 + 0) / 3.
    np.testing.assert_array_equal(shown.importance_L, [3.0, -2.0, nan])


@pytest.mark.parametrize(
    ("length", "width", "lengths"), [(300, 300, [300]), (301, 300, [151, 150]), (7, 3, [3, 3, 1])]
)
def test_rows_cover_the_region_once(length, width, lengths) -> None:
    effects_LA = np.arange(4.0 * length).reshape(length, 4)
    shown = SaturationMap("c", 1_000, "ACGT" * (length // 4) + "ACGT"[: length % 4], effects_LA)
    rows = shown.rows(width)
    assert [len(row.reference) for row in rows] == lengths
    assert "".join(row.reference for row in rows) == shown.reference
    assert np.array_equal(np.concatenate([row.effects_LA for row in rows]), effects_LA)
    assert [row.first for row in rows] == [1_000 + sum(lengths[:i]) for i in range(len(lengths))]


def within(scores: Scores, chrom: str, first: int, last: int) -> Scores:
    here = (pl.col("chrom") == chrom, pl.col("pos").is_between(first, last))
    return Scores.of(scores.frame.filter(*here), world.make_tracks(), {})


def test_which_region_a_locus_means() -> None:
    scores = world.saturation_scores()
    assert choose_region(world.saturation_scores(world.REGIONS[:1])) == 0
    assert choose_region(scores, within(scores, "chr10", 41, 42)) == 2
    # 101-110 and 106-112: the locus reaches into both and covers one.
    assert choose_region(scores, within(scores, "chr2", 101, 110)) == 0
    assert choose_region(scores, within(scores, "chr2", 104, 112)) == 1
    assert choose_region(scores, within(scores, "chr2", 101, 105)) == 0
    with pytest.raises(ConfigError, match="there are 2: chr2:107-109, chr2:107-109"):
        choose_region(scores, within(scores, "chr2", 107, 109))
    with pytest.raises(ConfigError, match="there are 3: chr2:101-110, chr2:106-112, chr10:40-46"):
        choose_region(scores)
    with pytest.raises(ConfigError, match="no region of the run has rows there"):
        choose_region(scores, within(scores, "chr2", 200, 300))
    none = within(scores, "chr2", 200, 300)
    for wanted in (None, none):
        with pytest.raises(ConfigError, match=r"nothing to draw: the run has no rows.*rejects"):
            choose_region(none, wanted)


@pytest.mark.parametrize(
    "spoilt",
    [
        pl.col("alt") != "G",  # a substitution missing at every base but G
        ~((pl.col("pos") == 103) & (pl.col("alt") == "T")),
    ],
)
def test_a_position_that_lacks_a_substitution_is_refused(spoilt) -> None:
    frame = world.saturation_frame(world.REGIONS[:1]).filter(spoilt)
    with pytest.raises(ResultsError, match=r"chr2:10\d has 2 substitutions"):
        saturation_map(Scores.of(frame, world.make_tracks(), {}), "SAD", 0)


def test_rows_of_two_bases_at_a_position_are_refused() -> None:
    frame = world.saturation_frame(world.REGIONS[:1]).with_columns(
        ref=pl.when(pl.col("alt") == "T", pl.col("pos") == 101)
        .then(pl.lit("G"))
        .otherwise(pl.col("ref"))
    )
    with pytest.raises(ResultsError, match="chr2:101 has 3 substitutions"):
        saturation_map(Scores.of(frame, world.make_tracks(), {}), "SAD", 0)
    with pytest.raises(CoordinateError, match="region 9 has no rows"):
        saturation_map(world.saturation_scores(), "SAD", 9)


def figure_of(shown: SaturationMap):
    figure = drawing._figure(shown, CAPTION)
    return figure, figure.axes[:-1]  # the last is the colour bar


def test_letters_are_as_high_as_their_bases_matter() -> None:
    shown = saturation_map(world.saturation_scores(), "SAD", 0)
    _, (letters, _) = figure_of(shown)
    (drawn,) = (c for c in letters.collections if isinstance(c, PathCollection))
    known = [i for i, base in enumerate(shown.reference) if base != "N"]
    assert len(drawn.get_paths()) == len(known)
    for outline, colour, offset in zip(
        drawn.get_paths(), drawn.get_facecolors(), known, strict=True
    ):
        box = outline.get_extents()
        height = shown.importance_L[offset]
        assert (box.y0, box.y1) == pytest.approx((min(0, height), max(0, height)))
        # Centred on the base's 1-based position.
        assert (box.x0 + box.x1) / 2 == pytest.approx(101 + offset)
        assert mpl.colors.to_hex(colour).upper() == COLOURS[shown.reference[offset]]
        low, high = letters.get_ylim()
        assert low <= box.y0
        assert box.y1 <= high


def test_the_heat_map_is_symmetric_and_marks_the_reference() -> None:
    shown = saturation_map(world.saturation_scores(), "SAD", 0)
    _, (_, heat) = figure_of(shown)
    (mesh,) = (c for c in heat.collections if isinstance(c, QuadMesh))
    (dots,) = (c for c in heat.collections if isinstance(c, PathCollection))
    # The first row is drawn on top and is A.
    np.testing.assert_array_equal(mesh.get_array().filled(np.nan), shown.effects_LA.T)
    assert heat.get_ylim() == (3.5, -0.5)
    assert [label.get_text() for label in heat.get_yticklabels()] == list("ACGT")
    largest = np.nanmax(np.abs(shown.effects_LA))
    assert mesh.get_clim() == (-largest, largest)
    assert heat.get_xlim() == (100.5, 110.5)
    owed_dots = [(101 + i, "ACGT".index(b)) for i, b in enumerate(shown.reference) if b != "N"]
    assert dots.get_offsets().data.tolist() == [list(dot) for dot in owed_dots]


def wide(length: int) -> SaturationMap:
    bases = "ACGT" * (length // 4)
    effects_LA = np.where(np.eye(4, dtype=bool)[np.arange(length) % 4], np.nan, 1.0)
    return SaturationMap("chr2", 5_001, bases, effects_LA)


def test_long_regions_are_broken_into_rows_of_one_scale() -> None:
    figure, axes = figure_of(wide(420))
    # Three rows of 140 bases, letters and heat map each.
    assert len(axes) == 6
    assert [a.get_xlim() for a in axes[::2]] == [
        (5000.5, 5140.5), (5140.5, 5280.5), (5280.5, 5420.5)
    ]  # fmt: skip
    assert len({a.get_ylim() for a in axes[::2]}) == 1
    assert "position (1-based)" in axes[-1].get_xlabel()
    assert figure.axes[-1].get_ylabel() == "SAD (signal)"


@pytest.mark.parametrize(
    ("factor", "label", "ticks"),
    [
        (1.0, "SAD (signal)", {"-1", "-0.5", "0", "0.5", "1"}),
        (2e-6, "SAD / 1e-6 (signal)", {"-2", "-1", "0", "1", "2"}),
        (3e7, "SAD / 1e7 (signal)", {"-3", "-2", "-1", "0", "1", "2", "3"}),
    ],
)
def test_very_small_and_large_effects_have_short_numbers(factor, label, ticks) -> None:
    shown = wide(40)
    figure, axes = figure_of(SaturationMap("c", 1, shown.reference, shown.effects_LA * factor))
    bar = figure.axes[-1]
    assert bar.get_ylabel() == label
    figure.canvas.draw()
    told = {text.get_text().replace("\N{MINUS SIGN}", "-") for text in bar.get_yticklabels()}
    assert told & ticks == ticks
    assert not axes[0].yaxis.get_offset_text().get_text()


def test_too_long_a_region_is_refused(tmp_path) -> None:
    with pytest.raises(ConfigError, match=r"up to 6,000 bases, and the region has 6,004"):
        draw_saturation(wide(6_004), CAPTION, tmp_path / "x", kind="png", provenance={})


def test_files_hold_the_words_and_come_out_the_same(tmp_path) -> None:
    shown = saturation_map(world.saturation_scores(), "SAD", 0)
    before = dict(mpl.rcParams)
    for kind in ("png", "svg"):
        for name in ("a", "b"):
            path = tmp_path / f"{name}.{kind}"
            draw_saturation(shown, CAPTION, path, kind=kind, provenance=world.PROVENANCE)
        assert (tmp_path / f"a.{kind}").read_bytes() == (tmp_path / f"b.{kind}").read_bytes()
    assert dict(mpl.rcParams) == before
    with Image.open(tmp_path / "a.png") as image:
        assert image.width >= 1_400
        assert "cisray_run=score-variants" in image.info["Description"]
        colours = {pixel for _, pixel in image.convert("RGB").getcolors(1 << 20)}
    for colour in COLOURS.values():
        assert tuple(bytes.fromhex(colour[1:])) in colours
    svg = (tmp_path / "a.svg").read_text()
    assert "cisray_run=score-variants" in svg
    assert not re.search("<image", svg)


def test_pyplot_is_left_alone() -> None:
    """pyplot holds state for the whole process, and may open windows."""
    import subprocess
    import sys

    code = "import sys, cisray.store.export.figure; print('matplotlib.pyplot' in sys.modules)"
    environment = {"PYTHONPATH": ":".join(filter(None, sys.path))}
    asked = [sys.executable, "-c", code]
    told = subprocess.run(asked, env=environment, capture_output=True, text=True, check=True)
    assert told.stdout == "False\n"


def test_a_statistic_that_is_not_there_is_named() -> None:
    with pytest.raises(ConfigError, match=r"no statistic 'sad'.*There are SAD"):
        saturation_map(world.saturation_scores(), "sad", 0)
