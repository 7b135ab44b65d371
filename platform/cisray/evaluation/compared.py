"""Two evaluations of one kind side by side: differences of their numbers, and paired tests.

Knows the tables that evaluations write; knows no folder. Numbers are paired by what they are of.
Two evaluations of one score each are compared whatever the scores are called; of several, those of
one name. Tests need the same rows; without them a difference is a difference and no more.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from cisray.evaluation import paired
from cisray.evaluation.over_tissues import ALL_TISSUES
from cisray.evaluation.paired import Comparison, Difference
from cisray.evaluation.scored_rows import USED
from cisray.evaluation.tables import KEY

_OF = ("task", "stratum", "metric", "folds")
NO_TEST, OTHER_ROWS, ONE_SIDE = "none", "the rows differ", "undefined on one side"
_ROW = ("tissue", *KEY, "positive")


@dataclass(frozen=True, slots=True, eq=False)
class Evaluated:
    """The tables of one evaluation; `folds` is None where nothing was cross-validated."""

    evaluation: str
    metrics: pl.DataFrame
    rows: pl.DataFrame | None
    folds: pl.DataFrame | None
    fold_count: int

    def numbers(self) -> pl.DataFrame:
        """Give the metrics without controls."""
        return self.metrics.filter(control="")

    def scores(self) -> list[str]:
        """Name the scores that were judged."""
        return self.metrics["scores"].unique(maintain_order=True).to_list()


def pairs_of_scores(a: Evaluated, b: Evaluated) -> list[tuple[str, str]]:
    """Say which scores are compared: the only ones, or those of one name."""
    first, second = a.scores(), b.scores()
    if len(first) == len(second) == 1:
        return [(first[0], second[0])]
    return [(name, name) for name in first if name in second]


def same_rows(a: Evaluated, b: Evaluated) -> bool:
    """Tell whether both judged the same rows with the same labels in the same order."""
    if a.rows is None or b.rows is None:
        return False
    if not {*_ROW, "status"} <= {*a.rows.columns} & {*b.rows.columns}:
        return False
    one, other = (rows.filter(status=USED).select(_ROW) for rows in (a.rows, b.rows))
    return one.equals(other)


def compare(a: Evaluated, b: Evaluated) -> Iterator[Comparison]:
    """Subtract every number of `b` from its counterpart in `a`, and test what can be tested."""
    alike = same_rows(a, b)
    for first, second in pairs_of_scores(a, b):
        one, other = (
            side.numbers().filter(scores=name).select(*_OF, "value", "n")
            for side, name in ((a, first), (b, second))
        )
        both = one.join(other, on=_OF, how="inner", suffix="_b", maintain_order="left")
        by_task: dict[tuple[str, str, str], list[tuple[float, float]]] = {}
        for row in both.iter_rows(named=True):
            told = {name: row[name] for name in ("task", "stratum", "metric", "folds")}
            if row["task"] == ALL_TISSUES:
                continue
            if row["value"] is not None and row["value_b"] is not None:
                key = (row["stratum"], row["metric"], row["folds"])
                by_task.setdefault(key, []).append((row["value"], row["value_b"]))
            result = _tested(a, b, (first, second), row) if alike else Difference(NO_TEST, 0)
            yield Comparison(
                evaluation=a.evaluation,
                first=first,
                second=second,
                result=_with_difference(result, row, alike=alike),
                **told,
            )
        for (stratum, metric, folds), values in by_task.items():
            yield Comparison(
                evaluation=a.evaluation,
                task=ALL_TISSUES,
                stratum=stratum,
                metric=metric,
                folds=folds,
                first=first,
                second=second,
                result=paired.over_tasks(*np.array(values).T),
            )


def _with_difference(result: Difference, row: Mapping[str, object], *, alike: bool) -> Difference:
    """Give a difference that was not tested its value, and the reason."""
    if result.difference is not None:
        return result
    one, other = row["value"], row["value_b"]
    if not isinstance(one, float) or not isinstance(other, float):
        return Difference(NO_TEST, 0, reason=ONE_SIDE)
    reason = result.reason or (OTHER_ROWS if not alike else "no paired test of this number")
    return Difference(NO_TEST, 0, one - other, reason=reason)


def _tested(a: Evaluated, b: Evaluated, names: Sequence[str], row: Mapping[str, str]) -> Difference:
    nothing = Difference(NO_TEST, 0)
    if row["stratum"] != "all":
        return nothing
    if row["folds"]:
        return _over_folds(a, b, names, row)
    if row["metric"] != "auroc" or a.rows is None or b.rows is None:
        return nothing
    columns = [f"score {name}" for name in names]
    one, other = (
        rows.filter(status=USED, tissue=row["task"]).select("positive", column)
        for rows, column in zip((a.rows, b.rows), columns, strict=True)
    )
    if one[columns[0]].null_count() or other[columns[1]].null_count():
        return nothing
    labels_V = one["positive"].to_numpy().astype(np.bool_)
    return paired.delong_paired(labels_V, one[columns[0]].to_numpy(), other[columns[1]].to_numpy())


def _over_folds(
    a: Evaluated, b: Evaluated, names: Sequence[str], row: Mapping[str, str]
) -> Difference:
    metric = row["metric"]
    if a.folds is None or b.folds is None or metric not in a.folds.columns:
        return Difference(NO_TEST, 0)
    if a.fold_count != b.fold_count:
        return Difference(NO_TEST, 0, reason="other numbers of folds")
    one, other = (
        folds.filter(tissue=row["task"], folds=row["folds"], scores=name)
        for folds, name in zip((a.folds, b.folds), names, strict=True)
    )
    both = one.join(other, on=("repeat", "fold"), suffix="_b").sort("repeat", "fold")
    values = both.select(pl.col(metric, f"{metric}_b").fill_null(np.nan)).to_numpy()
    return paired.over_folds_paired(values[:, 0], values[:, 1], 1 / a.fold_count)
