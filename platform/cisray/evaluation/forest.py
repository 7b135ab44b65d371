"""The classifier of eQTLs: a random forest, cross-validated as Basenji's scripts do.

Knows arrays and scikit-learn; knows no variants. Everything random follows from the number of the
repeat: KFold is shuffled by SEED + repeat, and the forest of a fold grows from SEED + repeat + the
first row of its test rows. Grouped folds keep rows of one group together; the forest is the same.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import average_precision_score, roc_auc_score
from sklearn.model_selection import KFold, StratifiedGroupKFold

Floats = NDArray[np.float32]
Labels = NDArray[np.bool_]
Rows = NDArray[np.int64]
Kind = Literal["shuffled", "grouped"]

SEED = 44
FOLDS = 8
REPEATS = 100
# basenji_bench_classify.py with the options of the GTEx benchmark.
FOREST: dict[str, Any] = {
    "n_estimators": 100,
    "max_features": "log2",
    "max_depth": 64,
    "min_samples_leaf": 1,
    "min_samples_split": 2,
}


@dataclass(frozen=True, slots=True, eq=False)
class CrossValidated:
    """One repeat: areas of each fold (F folds, NaN where undefined), and every row's rank.

    `rank_V` is the rank of a row's prediction among those of its fold, as a share: 0.5 is the
    middle. Predictions of different folds are not comparable: forests that saw more positives
    predict more, and their test rows have fewer, so that pooled predictions rank chance below 0.5.
    `importance_T` is the mean over folds of the forests' impurity importances, summing to 1.
    """

    auroc_F: NDArray[np.float64]
    auprc_F: NDArray[np.float64]
    tested_F: Rows
    rank_V: Floats
    importance_T: Floats


def forest_of(repeat: int, test_V: Rows) -> RandomForestClassifier:
    """Make the forest of a fold; it uses one thread, so that workers do not get in their way."""
    return RandomForestClassifier(**FOREST, random_state=SEED + repeat + int(test_V[0]), n_jobs=1)


def folds_of(
    kind: Kind, labels_V: Labels, groups_V: NDArray[np.int64], repeat: int, folds: int = FOLDS
) -> Iterator[tuple[Rows, Rows]]:
    """Divide rows into training and test rows, `folds` times."""
    if kind == "shuffled":
        yield from KFold(folds, shuffle=True, random_state=SEED + repeat).split(labels_V)
        return
    by_group = StratifiedGroupKFold(folds, shuffle=True, random_state=SEED + repeat)
    yield from by_group.split(labels_V, labels_V, groups_V)


def cross_validate(
    values_VT: Floats,
    labels_V: Labels,
    groups_V: NDArray[np.int64],
    *,
    kind: Kind,
    repeat: int,
    folds: int = FOLDS,
) -> CrossValidated:
    """Train and test one forest for each fold of one repeat, on float32 features without NaN."""
    rank_V = np.full(len(labels_V), np.nan, dtype=np.float32)
    importance_T = np.zeros(values_VT.shape[1])
    auroc, auprc, tested = [], [], []
    for train_V, test_V in folds_of(kind, labels_V, groups_V, repeat, folds):
        if len(np.unique(labels_V[train_V])) < 2:
            auroc.append(np.nan)
            auprc.append(np.nan)
            tested.append(len(test_V))
            continue
        forest = forest_of(repeat, test_V).fit(values_VT[train_V], labels_V[train_V])
        share_V = forest.predict_proba(values_VT[test_V])[:, 1]
        rank_V[test_V] = (rankdata(share_V) - 0.5) / len(share_V)
        importance_T += forest.feature_importances_ / folds
        one_class = len(np.unique(labels_V[test_V])) < 2
        auroc.append(np.nan if one_class else roc_auc_score(labels_V[test_V], share_V))
        auprc.append(np.nan if one_class else average_precision_score(labels_V[test_V], share_V))
        tested.append(len(test_V))
    return CrossValidated(
        np.array(auroc),
        np.array(auprc),
        np.array(tested, dtype=np.int64),
        rank_V,
        importance_T.astype(np.float32),
    )


def too_few(labels_V: Labels, groups_V: NDArray[np.int64], kind: Kind, folds: int) -> str:
    """Say why rows cannot be cross-validated; empty if they can."""
    for name, count in (("positives", labels_V.sum()), ("negatives", (~labels_V).sum())):
        if count < folds:
            return f"too few {name}: {count}, and {folds} folds need as many"
    groups = len(np.unique(groups_V))
    if kind == "grouped" and groups < folds:
        return f"too few groups: {groups}, and {folds} folds need as many"
    return ""
