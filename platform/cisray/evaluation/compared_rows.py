"""The rows that two evaluations judged, side by side: whether they are the same, and paired tests.

Knows the tables of rows that evaluations write; knows no folder. Each kind has its own test: DeLong
or folds for tissues, a bootstrap of pairs for elements and their genes, one of blocks of neighbours
for reporter assays.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import polars as pl

from cisray.evaluation import paired
from cisray.evaluation.paired import Difference
from cisray.evaluation.pairs import PAIR
from cisray.evaluation.scored_rows import USED
from cisray.evaluation.tables import KEY

NO_TEST = "none"
OTHER_PART, OTHER_STRATUM = "other rows were for training", "other rows are in this part"
_TISSUE_ROW = ("tissue", *KEY, "positive")
_ASSAY_ROW = ("element", *KEY, "effect", "block")


class JudgedRows(Protocol):
    """What an evaluation judged, row by row."""

    def same(self, other: Any) -> bool:
        """Tell whether both judged the same rows with the same truth, in the same order."""
        ...

    def tested(self, other: Any, names: tuple[str, str], row: Mapping[str, str]) -> Difference:
        """Test a number's difference on the same rows; `row` says what the number is of."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class TissueRows:
    """Variants of tissues, and the areas of folds where there are any."""

    rows: pl.DataFrame
    folds: pl.DataFrame | None
    fold_count: int

    def same(self, other: "TissueRows") -> bool:
        """Tell whether both judged the same variants with the same labels in the same order."""
        return _equal(_used(self.rows), _used(other.rows), _TISSUE_ROW)

    def tested(
        self, other: "TissueRows", names: tuple[str, str], row: Mapping[str, str]
    ) -> Difference:
        """Test the areas of a tissue: over folds, or by DeLong where there are none."""
        if row["stratum"] != "all":
            return Difference(NO_TEST, 0)
        if row["folds"]:
            return self._over_folds(other, names, row)
        if row["metric"] != "auroc":
            return Difference(NO_TEST, 0)
        both = [
            side.filter(status=USED, tissue=row["task"]).select("positive", score=f"score {name}")
            for side, name in zip((self.rows, other.rows), names, strict=True)
        ]
        if any(side["score"].null_count() for side in both):
            return Difference(NO_TEST, 0)
        labels_V = both[0]["positive"].to_numpy().astype(np.bool_)
        return paired.delong_paired(labels_V, *(side["score"].to_numpy() for side in both))

    def _over_folds(
        self, other: "TissueRows", names: Sequence[str], row: Mapping[str, str]
    ) -> Difference:
        metric = row["metric"]
        if self.folds is None or other.folds is None or metric not in self.folds.columns:
            return Difference(NO_TEST, 0)
        if self.fold_count != other.fold_count:
            return Difference(NO_TEST, 0, reason="other numbers of folds")
        one, two = (
            folds.filter(tissue=row["task"], folds=row["folds"], scores=name)
            for folds, name in zip((self.folds, other.folds), names, strict=True)
        )
        both = one.join(two, on=("repeat", "fold"), suffix="_b").sort("repeat", "fold")
        values = both.select(pl.col(metric, f"{metric}_b").fill_null(np.nan)).to_numpy()
        return paired.over_folds_paired(values[:, 0], values[:, 1], 1 / self.fold_count)


@dataclass(frozen=True, slots=True, eq=False)
class ElementPairs:
    """Pairs of elements and genes; what a bootstrap draws follows from the seed."""

    rows: pl.DataFrame
    seed: int
    bootstraps: int

    def same(self, other: "ElementPairs") -> bool:
        """Tell whether both judged the same pairs with the same labels in the same order."""
        return _equal(_counting(self.rows), _counting(other.rows), (*PAIR, "regulated"))

    def tested(
        self, other: "ElementPairs", names: tuple[str, str], row: Mapping[str, str]
    ) -> Difference:
        """Test areas in all pairs, or in a bin of distance: AUROC by DeLong, AUPRC by a bootstrap.

        A bin has no test where it has other pairs: distances follow from the main TSS, and that
        from the model.
        """
        one, two = _counting(self.rows), _counting(other.rows)
        if row["stratum"] != "all":
            if not one["stratum"].equals(two["stratum"], null_equal=True):
                return Difference(NO_TEST, 0, reason=OTHER_STRATUM)
            one, two = (side.filter(stratum=row["stratum"]) for side in (one, two))
        labels_V = one["regulated"].to_numpy().astype(np.bool_)
        first_V, second_V = (
            side[f"score {name}"].to_numpy() for side, name in zip((one, two), names, strict=True)
        )
        if row["metric"] == "auroc":
            return paired.delong_paired(labels_V, first_V, second_V)
        return paired.precision_paired(
            labels_V, first_V, second_V, seed=self.seed, bootstraps=self.bootstraps
        )


@dataclass(frozen=True, slots=True, eq=False)
class AssayVariants:
    """Variants of reporter assays, with the block and the part of each."""

    rows: pl.DataFrame
    seed: int
    bootstraps: int

    def same(self, other: "AssayVariants") -> bool:
        """Tell whether both judged the same variants and effects, in the same blocks and order."""
        return _equal(_counting(self.rows), _counting(other.rows), _ASSAY_ROW)

    def tested(
        self, other: "AssayVariants", names: tuple[str, str], row: Mapping[str, str]
    ) -> Difference:
        """Test the correlations of an element by a bootstrap of blocks, outside the training part.

        A lasso has a column for each split, as its predictions depend on it.
        """
        if row["metric"] != "pearson_r":
            return Difference(NO_TEST, 0)
        one, two = (_counting(side.rows).filter(element=row["task"]) for side in (self, other))
        part = f"train, {row['folds']}"
        if row["folds"]:
            if not one[part].equals(two[part]):
                return Difference(NO_TEST, 0, reason=OTHER_PART)
            one, two = (side.filter(~pl.col(part)) for side in (one, two))
        columns = [
            f"{name}, {row['folds']}" if f"{name}, {row['folds']}" in side.columns else name
            for side, name in zip((one, two), names, strict=True)
        ]
        # A score without a number has no column: that of matched tracks, where none was named.
        if columns[0] not in one.columns or columns[1] not in two.columns:
            return Difference(NO_TEST, 0)
        first_V, second_V = one[columns[0]].to_numpy(), two[columns[1]].to_numpy()
        effect_V, block_V = one["effect"].to_numpy(), one["block"].to_numpy()
        return paired.correlation_paired(
            effect_V, (first_V, second_V), block_V, seed=self.seed, bootstraps=self.bootstraps
        )


def _used(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.filter(status=USED) if "status" in rows.columns else rows.clear()


def _counting(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.filter(left_out="")


def _equal(one: pl.DataFrame, other: pl.DataFrame, columns: Sequence[str]) -> bool:
    if not {*columns} <= {*one.columns} & {*other.columns}:
        return False
    return bool(one.height) and one.select(columns).equals(other.select(columns))
