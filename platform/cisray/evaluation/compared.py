"""Two evaluations of one kind side by side: differences of their numbers, and paired tests.

Knows the tables that evaluations write; knows no folder. Numbers are paired by what they are of.
Two evaluations of one score each are compared whatever the scores are called; of several, those of
one name. Tests need the same rows; without them a difference is a difference and no more.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl

from cisray.evaluation import paired
from cisray.evaluation.compared_rows import NO_TEST, JudgedRows
from cisray.evaluation.mpra_summary import ALL as ALL_ELEMENTS
from cisray.evaluation.over_tissues import ALL_TISSUES
from cisray.evaluation.paired import Comparison, Difference

_OF = ("task", "stratum", "metric", "folds")
OTHER_ROWS, ONE_SIDE = "the rows differ", "undefined on one side"
# What the tasks of an evaluation are together, where there is a test over them.
OVER_TASKS = {"eqtl": ALL_TISSUES, "direction": ALL_TISSUES, "mpra": ALL_ELEMENTS}


@dataclass(frozen=True, slots=True, eq=False)
class Evaluated:
    """The numbers of one evaluation, and its rows where its kind has a paired test.

    `models` names what was judged, where a score's name begins with that of its model.
    """

    evaluation: str
    metrics: pl.DataFrame
    rows: JudgedRows | None = None
    models: tuple[str, ...] = ()

    def numbers(self) -> pl.DataFrame:
        """Give the metrics without controls."""
        return self.metrics.filter(control="")

    def scores(self) -> list[str]:
        """Name the scores that were judged."""
        return self.metrics["scores"].unique(maintain_order=True).to_list()


def pairs_of_scores(a: Evaluated, b: Evaluated) -> list[tuple[str, str]]:
    """Say which scores are compared: the only ones, or those of one name.

    Where each side judged a single model, its scores meet those of the other, whatever the two
    models are called: `old gradient` and `new gradient`.
    """
    first, second = a.scores(), b.scores()
    if len(first) == len(second) == 1:
        return [(first[0], second[0])]
    found = [(name, _counterpart(name, a, b)) for name in first]
    return [(name, other) for name, other in found if other in second]


def _counterpart(name: str, a: Evaluated, b: Evaluated) -> str:
    if len(a.models) == len(b.models) == 1 and name.startswith(f"{a.models[0]} "):
        return b.models[0] + name.removeprefix(a.models[0])
    return name


def same_rows(a: Evaluated, b: Evaluated) -> bool:
    """Tell whether both judged the same rows with the same truth in the same order."""
    return a.rows is not None and b.rows is not None and a.rows.same(b.rows)


def compare(a: Evaluated, b: Evaluated) -> Iterator[Comparison]:
    """Subtract every number of `b` from its counterpart in `a`, and test what can be tested."""
    alike = same_rows(a, b)
    over = OVER_TASKS.get(a.evaluation)
    for first, second in pairs_of_scores(a, b):
        one, other = (
            side.numbers().filter(scores=name).select(*_OF, "value", "n")
            for side, name in ((a, first), (b, second))
        )
        both = one.join(other, on=_OF, how="inner", suffix="_b", maintain_order="left")
        by_task: dict[tuple[str, str, str], list[tuple[float, float]]] = {}
        for row in both.iter_rows(named=True):
            told = {name: row[name] for name in ("task", "stratum", "metric", "folds")}
            if row["task"] == over:
                continue
            if row["value"] is not None and row["value_b"] is not None:
                key = (row["stratum"], row["metric"], row["folds"])
                by_task.setdefault(key, []).append((row["value"], row["value_b"]))
            result = Difference(NO_TEST, 0)
            if alike and a.rows is not None:
                result = a.rows.tested(b.rows, (first, second), row)
            yield Comparison(
                evaluation=a.evaluation,
                first=first,
                second=second,
                result=_with_difference(result, row, alike=alike),
                **told,
            )
        if over is None:
            continue
        for (stratum, metric, folds), values in by_task.items():
            yield Comparison(
                evaluation=a.evaluation,
                task=over,
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
