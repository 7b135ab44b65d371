"""The tables of evaluations: one row per number, and one row per comparison of two scores.

The numbers of several evaluations in one table have the name of each before them.

A number that is not defined is null, and `reason` says why. What an evaluation is, and how its
numbers come about, stands in docs/evaluation.md.
"""

import pyarrow as pa

from cisray_schemas.table import Table, column

_EVALUATION = column("evaluation", pa.string(), "which evaluation, such as eqtl")
_TASK = column("task", pa.string(), "what was evaluated: a tissue, an element, a track")
_STRATUM = column("stratum", pa.string(), "part of the task's rows that count, or all")
_METRIC = column("metric", pa.string(), "what the number is: auroc, auprc, pearson_r, spearman_r")
_FOLDS = column(
    "folds", pa.string(), "how rows were cross-validated: shuffled, grouped, or empty for not"
)
_REASON = column("reason", pa.string(), "why a number is null, empty where all are there")

METRICS = Table(
    name="metrics",
    version=1,
    sort_by=("evaluation", "task", "stratum", "scores", "metric", "folds", "control"),
    schema=pa.schema(
        [
            _EVALUATION,
            _TASK,
            _STRATUM,
            column("scores", pa.string(), "name of the model or of the external score"),
            _METRIC,
            _FOLDS,
            column("control", pa.string(), "what was broken on purpose, such as shuffled labels"),
            column("value", pa.float64(), "the number", nullable=True),
            column("se", pa.float64(), "its standard error", nullable=True),
            column("ci_low", pa.float64(), "lower end of its interval of 95 %", nullable=True),
            column("ci_high", pa.float64(), "upper end of its interval of 95 %", nullable=True),
            column("ci_method", pa.string(), "how the interval came about, empty for none"),
            column("n", pa.int64(), "rows that the number is of"),
            column(
                "n_positive",
                pa.int64(),
                "positives of them; null of correlations",
                nullable=True,
            ),
            column("seed", pa.int64(), "seed of what was drawn, null for nothing", nullable=True),
            _REASON,
        ]
    ),
)

NAMED_METRICS = Table(
    name="named_metrics",
    version=1,
    sort_by=("name", *METRICS.sort_by),
    schema=pa.schema(
        [
            column("name", pa.string(), "what its user calls the evaluation, as its folder"),
            *METRICS.schema,
        ]
    ),
)

METRIC_COMPARISONS = Table(
    name="metric_comparisons",
    version=1,
    sort_by=("evaluation", "task", "stratum", "metric", "folds", "first", "second", "test"),
    schema=pa.schema(
        [
            _EVALUATION,
            column("task", pa.string(), "what was evaluated, or all for a test over tasks"),
            _STRATUM,
            _METRIC,
            _FOLDS,
            column("first", pa.string(), "scores whose number is taken"),
            column("second", pa.string(), "scores whose number is subtracted"),
            column("test", pa.string(), "which paired test"),
            column("difference", pa.float64(), "first less second, on average", nullable=True),
            column("se", pa.float64(), "standard error that the test uses", nullable=True),
            column("statistic", pa.float64(), "the test's statistic", nullable=True),
            column("p_value", pa.float64(), "two-sided, of no difference", nullable=True),
            column("pairs", pa.int64(), "pairs that were compared: folds, or tasks"),
            _REASON,
        ]
    ),
)
