"""Chosen rows beside the scores of every source: what can be evaluated, and why the rest cannot.

Knows joined scores and rows with a tissue; knows no classifier. A row counts where all sources have
scores of it, so that they are compared on the same rows.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from cisray.errors import EvaluationError
from cisray.evaluation.scores import Floats, Joined, ScoreSource, require_found
from cisray.evaluation.tables import KEY

Reduction = Literal["max-abs", "mean-abs", "norm"]
USED = "used"


@dataclass(frozen=True, slots=True, eq=False)
class TaskRows:
    """The usable rows of one tissue, in their order: V rows.

    `row_V` numbers them in the whole frame, `allele_V` in the values of a source.
    """

    tissue: str
    row_V: NDArray[np.int64]
    allele_V: NDArray[np.int64]
    labels_V: NDArray[np.bool_]
    groups_V: NDArray[np.int64]

    @property
    def counts(self) -> tuple[int, int]:
        """Give the number of rows and of positives."""
        return len(self.labels_V), int(self.labels_V.sum())


@dataclass(frozen=True, slots=True, eq=False)
class ScoredRows:
    """Rows with `tissue`, `positive` and `group`; the sources' values are of distinct alleles.

    `frame` has `status` as well: `used`, or the first source without scores and why.
    """

    frame: pl.DataFrame
    allele_V: NDArray[np.int64]
    sources: tuple[Joined, ...]

    def counts(self) -> dict[str, int]:
        """Count the rows by status, the most frequent first."""
        table = self.frame["status"].value_counts()
        return dict(table.sort("count", "status", descending=[True, False]).iter_rows())

    def tasks(self) -> Iterator[TaskRows]:
        """Give the usable rows of every tissue, in the order of the frame."""
        used_V = (self.frame["status"] == USED).to_numpy()
        tissue_V = self.frame["tissue"].to_numpy()
        labels_V = self.frame["positive"].to_numpy().astype(np.bool_)
        group_V = self.frame["group"].rank("dense").to_numpy().astype(np.int64)
        for tissue in self.frame["tissue"].unique(maintain_order=True).to_list():
            row_V = np.flatnonzero(used_V & (tissue_V == tissue))
            yield TaskRows(tissue, row_V, self.allele_V[row_V], labels_V[row_V], group_V[row_V])


def score_rows(frame: pl.DataFrame, sources: Sequence[ScoreSource], *, least: float) -> ScoredRows:
    """Find the scores of every row in every source.

    Raises AssemblyMismatch where a source has scores of fewer than a share `least` of the alleles,
    EvaluationError for two sources of one name and for labels without rows.
    """
    names = [source.name for source in sources]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice or not names:
        told = f"two scores are called {twice[0]}" if twice else "no scores are given"
        raise EvaluationError(f"{told}: name them as NAME=PATH, with --run or --external.")
    if not frame.height:
        raise EvaluationError(
            "no row is left of the labels: is any PIP above the bound, with a negative beside it?"
        )
    keyed = frame.select(pl.struct(KEY).rank("dense").cast(pl.Int64).alias("allele")).to_series()
    allele_V = np.asarray(keyed, dtype=np.int64) - 1  # ranks count from 1
    alleles = frame.select(KEY).with_columns(pl.Series("allele", allele_V)).unique("allele")
    alleles = alleles.sort("allele")
    joined = []
    for source in sources:
        found = source.join(alleles)
        require_found(found, alleles, least)
        joined.append(found)
    status = _status(joined)
    of_rows = pl.Series("status", [status[at] for at in allele_V.tolist()], dtype=pl.String)
    return ScoredRows(frame.with_columns(of_rows), allele_V, tuple(joined))


def _status(joined: Sequence[Joined]) -> list[str]:
    status = [USED] * len(joined[0].status)
    for source in reversed(joined):
        for at in np.flatnonzero(~source.used_V).tolist():
            status[at] = f"{source.name}: {source.status[at]}"
    return status


def reduced(joined: Joined, rule: Reduction) -> NDArray[np.float64]:
    """Make one score of each allele, without a label: NaN where it has none.

    Of several features each is divided by its root mean square over the alleles, so that tracks of
    strong signal do not decide alone; features that are zero everywhere count as zero. Then the
    largest size counts (`max-abs`), their mean, or the root of the mean square (`norm`). A single
    feature counts as it is, sign included: it is somebody's score already.
    """
    values_VT = joined.values_VT.astype(np.float64)
    if values_VT.shape[1] == 1:
        single: NDArray[np.float64] = values_VT[:, 0]
        return single
    scale_T = _root_mean_square(joined.values_VT[joined.used_V])
    sizes_VT = np.abs(values_VT) / scale_T
    if rule == "max-abs":
        strongest: NDArray[np.float64] = sizes_VT.max(axis=1)
        return strongest
    mean: NDArray[np.float64] = (
        sizes_VT.mean(axis=1) if rule == "mean-abs" else np.sqrt((sizes_VT**2).mean(axis=1))
    )
    return mean


def _root_mean_square(values_VT: Floats) -> NDArray[np.float64]:
    scale_T: NDArray[np.float64] = np.sqrt((values_VT.astype(np.float64) ** 2).mean(axis=0))
    scale_T[scale_T == 0] = 1.0
    return scale_T
