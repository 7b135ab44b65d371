"""The mean correlation of each assay, against numpy and against the mean of all tracks."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from trained_models import named_tracks

from cisray.training.evaluate import as_record
from cisray.training.metrics import TrackMoments
from cisray_jobs.assays import UNNAMED, rows_by_assay

EXAMPLES, BINS = 2, 6


def seen(tracks: int, constant: set[int], seed: int = 0) -> tuple[TrackMoments, list[float | None]]:
    """Moments of random signal, and each track's correlation by numpy; None where constant."""
    draws = np.random.default_rng(seed)
    pred, target = draws.random((2, EXAMPLES, BINS, tracks)).astype(np.float32)
    target[..., sorted(constant)] = 0.25
    wanted = [
        None
        if track in constant
        else float(np.corrcoef(pred[..., track].ravel(), target[..., track].ravel())[0, 1])
        for track in range(tracks)
    ]
    moments = TrackMoments.empty(tracks)
    return moments.seen(torch.from_numpy(pred), torch.from_numpy(target)), wanted


def test_assays_between_one_another_have_the_means_of_their_own_tracks() -> None:
    assays = ["CAGE", "DNASE", "CAGE", "", "CHIP", "CAGE"]
    moments, r = seen(6, {2, 4})
    record = as_record(moments, "human", 9, rows_by_assay(named_tracks("human", assays)))
    told = record["assays"]
    assert isinstance(told, dict)
    assert list(told) == ["CAGE", "DNASE", UNNAMED, "CHIP"]
    assert told["CAGE"] == {
        "pearson_r": pytest.approx((r[0] + r[5]) / 2, abs=1e-6), "tracks": 2, "undefined": 1,
    }  # fmt: skip
    assert told["DNASE"] == {
        "pearson_r": pytest.approx(r[1], abs=1e-6), "tracks": 1, "undefined": 0,
    }  # fmt: skip
    assert told[UNNAMED]["pearson_r"] == pytest.approx(r[3], abs=1e-6)
    assert told["CHIP"] == {"pearson_r": None, "tracks": 0, "undefined": 1}
    assert (record["tracks"], record["undefined"]) == (4, 2)


@st.composite
def partly_constant_tracks(draw: st.DrawFn) -> tuple[list[str], set[int], int]:
    """The assay of each track, which tracks are constant, and a seed."""
    assays = draw(st.lists(st.sampled_from(["DNASE", "CHIP", "CAGE", ""]), min_size=1, max_size=8))
    constant = draw(st.sets(st.integers(0, len(assays) - 1)))
    return assays, constant, draw(st.integers(0, 1_000))


@given(partly_constant_tracks())
def test_means_of_assays_weighted_by_their_tracks_are_the_mean_of_all(made) -> None:
    assays, constant, seed = made
    moments, _ = seen(len(assays), constant, seed)
    record = as_record(moments, "human", 1, rows_by_assay(named_tracks("human", assays)))
    found = record["assays"].values()
    assert sum(one["tracks"] for one in found) == record["tracks"] == len(assays) - len(constant)
    assert sum(one["undefined"] for one in found) == record["undefined"] == len(constant)
    if record["tracks"]:
        weighted = sum(one["pearson_r"] * one["tracks"] for one in found if one["tracks"])
        assert weighted / record["tracks"] == pytest.approx(record["pearson_r"], abs=1e-9)
    else:
        assert record["pearson_r"] is None
        assert all(one["pearson_r"] is None for one in found)


@given(partly_constant_tracks(), st.randoms(use_true_random=False))
def test_the_order_of_tracks_does_not_matter(made, random) -> None:
    assays, constant, seed = made
    moments, _ = seen(len(assays), constant, seed)
    order = list(range(len(assays)))
    random.shuffle(order)
    moved = TrackMoments(moments.sums[:, order], moments.bins, moments.examples, moments.loss)
    first, second = (
        as_record(one, "human", 1, rows_by_assay(named_tracks("human", names)))["assays"]
        for one, names in ((moments, assays), (moved, [assays[place] for place in order]))
    )
    assert first.keys() == second.keys()
    for assay, one in first.items():
        assert second[assay] == {**one, "pearson_r": pytest.approx(one["pearson_r"], abs=1e-12)}


def test_one_assay_is_the_whole_head_and_none_is_nothing() -> None:
    moments, _ = seen(5, {3})
    record = as_record(moments, "human", 1, {"CAGE": range(5)})
    names = ("pearson_r", "tracks", "undefined")
    assert record["assays"] == {"CAGE": {name: record[name] for name in names}}
    assert as_record(moments, "human", 1, {}) == {**record, "assays": {}}


@given(st.lists(st.sampled_from(["DNASE", "CHIP", ""]), min_size=1, max_size=12))
def test_every_row_of_tracks_is_of_one_assay(assays: list[str]) -> None:
    rows = rows_by_assay(named_tracks("human", assays))
    assert sorted(row for some in rows.values() for row in some) == list(range(len(assays)))
    for assay, some in rows.items():
        assert {assays[row] for row in some} == {"" if assay == UNNAMED else assay}
        assert all(low < high for low, high in pairwise(some))
