"""Numbers over all tissues: their means, and whether one score is better in more of them.

Knows metrics of single tissues; knows no evaluation.
"""

from collections.abc import Iterator, Sequence
from itertools import combinations

from cisray.evaluation.metrics import Metric, mean_over
from cisray.evaluation.paired import Comparison, over_tasks

ALL_TISSUES = "all tissues"
# The least that each number can be.
LEAST = {"auroc": 0.0, "auprc": 0.0, "auroc_pooled": 0.0, "spearman_r": -1.0}


def mean_metrics(found: Sequence[Metric]) -> Iterator[Metric]:
    """Average every number over tissues; tissues in which it is undefined do not count."""
    groups: dict[tuple[str, ...], list[Metric]] = {}
    for metric in found:
        key = (metric.scores, metric.metric, metric.stratum, metric.folds, metric.control)
        groups.setdefault(key, []).append(metric)
    for (scores, name, stratum, folds, control), members in groups.items():
        there = [member.estimate for member in members if member.estimate.value is not None]
        n, m = (sum(getattr(e, side) or 0 for e in there) for side in ("n", "n_positive"))
        has_classes = any(member.estimate.n_positive is not None for member in members)
        yield Metric(
            evaluation=members[0].evaluation,
            task=ALL_TISSUES,
            scores=scores,
            metric=name,
            stratum=stratum,
            folds=folds,
            control=control,
            estimate=mean_over(
                "tissues",
                [e.value or 0.0 for e in there],
                least=LEAST[name],
                n=n,
                n_positive=m if has_classes else None,
            ),
        )


def comparisons_over_tissues(found: Sequence[Metric], names: Sequence[str]) -> Iterator[Comparison]:
    """Compare every two sources over tissues, on the numbers that both have."""
    values: dict[tuple[str, str], dict[str, dict[str, float]]] = {}
    for metric in found:
        if metric.stratum == "all" and not metric.control and metric.estimate.value is not None:
            by_task = values.setdefault((metric.metric, metric.folds), {})
            by_task.setdefault(metric.scores, {})[metric.task] = metric.estimate.value
    for (name, folds), by_scores in values.items():
        for first, second in combinations(names, 2):
            a, b = by_scores.get(first, {}), by_scores.get(second, {})
            both = [task for task in a if task in b]
            yield Comparison(
                evaluation=found[0].evaluation,
                task=ALL_TISSUES,
                metric=name,
                first=first,
                second=second,
                folds=folds,
                result=over_tasks([a[t] for t in both], [b[t] for t in both]),
            )
