"""One number for all elements: the mean of a score's correlations.

Knows metrics of elements; knows nothing of how they came about.
"""

from collections.abc import Sequence

import numpy as np

from cisray.evaluation.metrics import Estimate, Metric, student
from cisray.evaluation.mpra import CONSTANT

ALL = "all elements"


def over_elements(metrics: Sequence[Metric]) -> list[Metric]:
    """Average Pearson's R over elements, by score, split and control, with Student's interval.

    An element whose score is constant, such as that of a lasso that chose no feature, counts as 0:
    without it the mean would be that of the elements where something was found. Those without a
    score for another reason are not in the mean. `reason` counts both.
    """
    groups: dict[tuple[str, str, str], list[Metric]] = {}
    for metric in metrics:
        groups.setdefault((metric.scores, metric.folds, metric.control), []).append(metric)
    return [
        Metric(
            evaluation=members[0].evaluation,
            task=ALL,
            scores=scores,
            metric="mean_pearson_r",
            estimate=_mean([member.estimate for member in members]),
            folds=folds,
            control=control,
            seed=members[0].seed,
        )
        for (scores, folds, control), members in groups.items()
    ]


def _mean(estimates: Sequence[Estimate]) -> Estimate:
    judged = [told for told in estimates if told.value is not None or told.reason == CONSTANT]
    values = np.array([told.value or 0.0 for told in judged])
    constant = sum(told.value is None for told in judged)
    missing = len(estimates) - len(judged)
    reasons = [f"{constant:,} elements count as 0: {CONSTANT}"] if constant else []
    reasons += [f"{missing:,} elements have no number"] if missing else []
    if not len(values):
        return Estimate(None, 0, reason="; ".join(reasons))
    rows, mean = sum(told.n for told in judged), float(values.mean())
    if len(values) < 2:
        return Estimate(mean, rows, reason="; ".join([*reasons, "no interval of a single element"]))
    se = float(values.std(ddof=1)) / len(values) ** 0.5
    half = se * student(len(values))
    told = "; ".join(reasons)
    return Estimate(mean, rows, None, se, mean - half, mean + half, "t over elements", told)
