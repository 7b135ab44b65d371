"""Statistics of targets against numpy over all values at once, and the figure made of them."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from cisray.dataset.figure import draw_targets
from cisray.dataset.statistics import CELLS, QUANTILES, TargetStatistics, _cells, cell_values
from cisray.tracks import TrackSet

HALVES = st.floats(-60_000, 60_000, width=16)
SHAPES = st.tuples(st.integers(1, 4), st.just(5), st.just(2))


@given(
    values=arrays.arrays(
        np.float16, st.tuples(st.integers(1, 4), st.just(5), st.just(2)), elements=HALVES
    ),
    clip=st.floats(0.5, 32_768, width=16),
)
def test_added_example_by_example_it_is_what_numpy_says_of_all(values, clip) -> None:
    statistics = TargetStatistics([None, clip])
    for target_NT in values:
        statistics.add(target_NT)
    flat = values.reshape(-1, 2).astype(np.float64)
    plain, clipped = statistics.tracks()
    assert plain.clipped is None
    assert clipped.clipped == (np.abs(flat[:, 1]) >= clip).mean()
    for track, found in enumerate((plain, clipped)):
        column = flat[:, track]
        assert found.mean == pytest.approx(column.mean(), rel=1e-9, abs=1e-9)
        assert found.max == column.max()
        assert found.zeros == (column == 0).mean()
        for quantile in QUANTILES:
            exact = np.sort(column)[min(int(quantile * column.size), column.size - 1)]
            # The cell's edge: within a 32nd of the value, or the smallest cell around zero.
            near = abs(exact) / 31 + 2e-6
            assert abs(found.quantiles[f"{quantile:g}"] - exact) <= near


def test_cells_of_all_finite_values_are_in_order_and_begin_at_their_edge() -> None:
    every = np.arange(1 << 16, dtype=np.uint32).astype(np.uint16).view(np.float16)
    finite = np.sort(every[np.isfinite(every)])
    numbers = _cells(finite)
    # -0 and 0 are equal, and sorted in either order.
    assert (np.diff(numbers[finite != 0]) >= 0).all()
    assert 0 <= numbers.min() <= numbers.max() < CELLS
    positive = finite[finite > 0]
    edges = cell_values()[_cells(positive)]
    assert (edges <= positive).all()
    assert (positive - edges <= positive / 32 + 2e-6).all()


def test_nothing_added_is_no_summary() -> None:
    with pytest.raises(ValueError, match="no example"):
        TargetStatistics([None]).tracks()


def test_the_figure_is_a_png_and_the_same_each_time(tmp_path: Path) -> None:
    statistics = TargetStatistics([None, 4.0, 4.0])
    rng = np.random.default_rng(0)
    statistics.add(rng.exponential(2, (64, 3)).astype(np.float16))
    tracks = TrackSet.unnamed("human", 3)
    for name in ("a.png", "b.png"):
        draw_targets(statistics, tracks, "human, train", tmp_path / name)
    content = (tmp_path / "a.png").read_bytes()
    assert content[:4] == b"\x89PNG"
    assert content == (tmp_path / "b.png").read_bytes()
