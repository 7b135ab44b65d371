"""Enhancers and their genes: how well scores of pairs find those that regulate, by distance.

Knows pairs with labels, distances and scores as arrays; knows no model and no files. After
Avsec et al. 2021: average precision in bins of the distance to the gene's main TSS, beside distance
alone, activity over distance, and a random score.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import polars as pl

from cisray.errors import EvaluationError
from cisray.evaluation.metrics import (
    BOOTSTRAPS,
    SHUFFLED,
    Doubles,
    Labels,
    Metric,
    auroc,
    average_precision,
)
from cisray.evaluation.pairs import PairTable

EVALUATION = "enhancers"
TASK = "all pairs"
# Edges of the bins in bp, as others read them off the authors' table.
EDGES_BP = (0, 3_000, 12_500, 34_500, 131_000)
# Added to a distance before it divides: an element at the TSS itself has a finite score.
NEAREST_BP = 1_000
DISTANCE, ACTIVITY, RANDOM, ABC_SCORE = "distance", "H3K27ac/distance", "random", "ABC"


@dataclass(frozen=True, slots=True, kw_only=True)
class EnhancerSettings:
    """What decides the numbers beside the data; `edges_bp` ascend from where bins begin."""

    edges_bp: tuple[int, ...] = EDGES_BP
    bootstraps: int = BOOTSTRAPS
    seed: int = 0
    control: bool = False

    def __post_init__(self) -> None:
        """Refuse edges that make no bins."""
        rising = all(a < b for a, b in pairwise(self.edges_bp))
        if len(self.edges_bp) < 2 or not rising or self.edges_bp[0] != 0:
            raise EvaluationError(
                f"the edges {', '.join(map(str, self.edges_bp))} make no bins of distance: give "
                f"two or more that rise from 0."
            )


@dataclass(frozen=True, slots=True, eq=False)
class JudgedPairs:
    """All rows of the benchmark with `left_out`, `stratum` and every score; and the numbers."""

    frame: pl.DataFrame
    metrics: list[Metric]

    def counts(self) -> dict[str, int]:
        """Count the rows that are left out, by reason, the most frequent first."""
        left = self.frame.filter(pl.col("left_out") != "")["left_out"].value_counts()
        return dict(left.sort("count", "left_out", descending=[True, False]).iter_rows())

    @property
    def used(self) -> int:
        """How many rows count."""
        return int((self.frame["left_out"] == "").sum())


def judge_pairs(
    pairs: pl.DataFrame, tables: Sequence[PairTable], settings: EnhancerSettings
) -> JudgedPairs:
    """Judge every score on the rows of which all sources have one, in all and by distance.

    `pairs` has `distance_bp`, not null where a row counts. A source's rows without a value are left
    out of all. Raises EvaluationError for two scores of one name, and where no row counts.
    """
    scores = dict(baselines(pairs, settings.seed))
    told = pairs["left_out"].to_list()
    for source, (values, reasons) in _sources(pairs, tables, scores):
        scores |= values
        told = [a or (b and f"{source}: {b}") for a, b in zip(told, reasons, strict=True)]
    used_V = np.array([not reason for reason in told], dtype=np.bool_)
    if not used_V.any():
        raise EvaluationError("no pair counts: see which are left out, and why.")
    strata = [stratum_of(at, settings.edges_bp) for at in pairs["distance_bp"].to_list()]
    frame = pairs.with_columns(
        pl.Series("left_out", told, dtype=pl.String),
        pl.Series("stratum", strata, dtype=pl.String),
        *(pl.Series(f"score {n}", v).fill_nan(None) for n, v in scores.items()),
    )
    rows = frame.filter(pl.Series(used_V))
    labels_V = rows["regulated"].to_numpy().astype(np.bool_)
    held = {name: values[used_V] for name, values in scores.items()}
    metrics = list(_metrics(labels_V, rows["stratum"].to_numpy(), held, settings, ""))
    if settings.control:
        shuffled_V = np.random.default_rng([settings.seed, 1]).permutation(labels_V)
        metrics += _metrics(shuffled_V, rows["stratum"].to_numpy(), held, settings, SHUFFLED)
    return JudgedPairs(frame, metrics)


def baselines(pairs: pl.DataFrame, seed: int) -> Iterator[tuple[str, Doubles]]:
    """Give the scores that need no model, NaN where a row has none.

    Nearer is higher; activity is H3K27ac over distance + 1 kb; random is uniform, by the seed.
    """
    distance_V = pairs["distance_bp"].cast(pl.Float64).fill_null(np.nan).to_numpy()
    yield DISTANCE, -distance_V
    if "h3k27ac" in pairs.columns:
        activity_V = pairs["h3k27ac"].fill_null(np.nan).to_numpy()
        yield ACTIVITY, activity_V / (distance_V + NEAREST_BP)
    if "abc" in pairs.columns:
        yield ABC_SCORE, pairs["abc"].fill_null(np.nan).to_numpy()
    yield RANDOM, np.random.default_rng([seed, 0]).random(pairs.height)


def _sources(
    pairs: pl.DataFrame, tables: Sequence[PairTable], scores: Mapping[str, Doubles]
) -> Iterator[tuple[str, tuple[dict[str, Doubles], list[str]]]]:
    """Join every table, after the baselines, whose rows without a value are left out as well."""
    taken = list(scores)
    for name, values_V in scores.items():
        finite = np.isfinite(values_V).tolist()
        yield name, ({}, ["" if good else "no value" for good in finite])
    for table in tables:
        found = table.join(pairs)
        twice = [name for name in found[0] if name in taken]
        if twice:
            raise EvaluationError(f"two scores are called {twice[0]}: give them other names.")
        taken += found[0]
        yield table.name, found


def stratum_of(distance_bp: int | None, edges_bp: Sequence[int]) -> str | None:
    """Name the bin of a distance: its lower edge belongs to it, and beyond the last is one more.

    >>> stratum_of(12_500, EDGES_BP), stratum_of(131_000, EDGES_BP)
    ('12.5-34.5 kb', '131 kb and more')
    """
    if distance_bp is None:
        return None
    place = int(np.searchsorted(edges_bp, distance_bp, side="right")) - 1
    return strata_names(edges_bp)[place]


def strata_names(edges_bp: Sequence[int]) -> list[str]:
    """Name the bins, in order.

    >>> strata_names([0, 3_000, 12_500])
    ['0-3 kb', '3-12.5 kb', '12.5 kb and more']
    """
    kb = [f"{edge / 1_000:g}" for edge in edges_bp]
    bins = [f"{a}-{b} kb" for a, b in pairwise(kb)]
    return [*bins, f"{kb[-1]} kb and more"]


def _metrics(
    labels_V: Labels,
    strata_V: np.ndarray[tuple[int], Any],
    scores: Mapping[str, Doubles],
    settings: EnhancerSettings,
    control: str,
) -> Iterator[Metric]:
    everything_V = np.ones(len(labels_V), dtype=np.bool_)
    parts = {"all": everything_V}
    parts |= {name: strata_V == name for name in strata_names(settings.edges_bp)}
    for stratum, part_V in parts.items():
        for name, values_V in scores.items():
            labels, values = labels_V[part_V], values_V[part_V]
            precision = average_precision(
                labels, values, seed=settings.seed, bootstraps=settings.bootstraps
            )
            for metric, estimate in (("auprc", precision), ("auroc", auroc(labels, values))):
                yield Metric(
                    evaluation=EVALUATION,
                    task=TASK,
                    scores=name,
                    metric=metric,
                    estimate=estimate,
                    stratum=stratum,
                    control=control,
                    seed=settings.seed,
                )
