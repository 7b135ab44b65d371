"""Counting and ranking in pieces: however rows are cut, the page has the same numbers."""

import numpy as np
import polars as pl
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cisray.tracks import TrackSet
from cisray_jobs.report.options import ShownTracks
from cisray_jobs.report.spread import Spread
from cisray_jobs.report.variants import Strongest

# Few values, so that many are equal, and some missing.
VALUE = st.sampled_from([None, 0.0, 1.0, -1.0, 1.5, -2.25, 3.0, -3.0, 1e-6])
ROWS = st.lists(st.tuples(VALUE, VALUE), min_size=1, max_size=20)
# A machine under load takes long to draw the first lists.
UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


def frame_of(rows: list[tuple[float | None, float | None]]) -> pl.DataFrame:
    places = range(len(rows))
    keys = {"variant": list(places), "chrom": ["chr1"] * len(rows), "pos": list(places)}
    one, two = zip(*rows, strict=True)
    values = {"SAD_t0000": one, "SAD_t0001": two}
    schema = dict.fromkeys(values, pl.Float32)
    return pl.DataFrame({**keys, "ref": "A", "alt": "C", **values}, schema_overrides=schema)


@given(ROWS, st.integers(1, 4), st.lists(st.integers(0, 20), max_size=3))
@UNHURRIED
def test_the_strongest_are_the_same_however_rows_are_cut(rows, top, cuts) -> None:
    frame = frame_of(rows)
    shown = ShownTracks(TrackSet.unnamed("toy", 2), "")
    best = Strongest(shown, "SAD", top)
    for low, high in zip([0, *sorted(cuts)], [*sorted(cuts), len(rows)], strict=True):
        best.add(frame[low:high])
    wanted = set()
    for track in (0, 1):
        sized = [(-abs(row[track]), n) for n, row in enumerate(rows) if row[track] is not None]
        ranks = {n: rank for rank, (_, n) in enumerate(sorted(sized)[:top], start=1)}
        wanted |= set(ranks)
        found = best.ranked().filter(pl.col(f"rank_SAD_t000{track}") <= top)
        assert dict(found.select("variant", f"rank_SAD_t000{track}").iter_rows()) == ranks
    assert sorted(best.rows["variant"]) == sorted(wanted)
    assert best.count == len(rows)


@given(st.lists(VALUE, min_size=1, max_size=20), st.integers(0, 20), st.booleans())
@UNHURRIED
def test_every_size_that_any_value_has_is_counted(values, cut, negative) -> None:
    numbers = np.array([np.nan if value is None else value for value in values], np.float32)
    spread = Spread()
    spread.add(numbers[:cut])
    spread.add(numbers[cut:])
    sizes, counts = spread.at_least(negative=negative)
    mine = -numbers if negative else numbers
    positive = mine[mine > 0].astype(np.float64)
    assert counts == [int((positive >= size).sum()) for size in sizes]
    if len(positive):
        assert counts[0] == len(positive)
        # No eighth of an octave lies between the last size and the largest value.
        assert sizes[-1] <= positive.max() < sizes[-1] * 1.125
    else:
        assert sizes == []
