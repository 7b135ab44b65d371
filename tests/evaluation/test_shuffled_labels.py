"""The control of scores that need no training: where chance lies, by the theory of ranks."""

import math

import numpy as np
import pytest

from cisray.evaluation.eqtl import SHUFFLES, shuffled_area
from cisray.evaluation.scored_rows import TaskRows


def rows(positives: int, negatives: int) -> TaskRows:
    numbers_V = np.arange(positives + negatives)
    return TaskRows("blood", numbers_V, numbers_V, numbers_V < positives, numbers_V)


def test_shuffled_labels_spread_as_ranks_do() -> None:
    """Of a perfect score; the variance of U / mn is (m + n + 1) / 12mn (Mann and Whitney 1947)."""
    m, n = 40, 60
    found = shuffled_area(rows(m, n), -np.arange(m + n, dtype=np.float64), 7)
    expected = math.sqrt((m + n + 1) / (12 * m * n))
    assert found.value == pytest.approx(0.5, abs=4 * expected / math.sqrt(SHUFFLES))
    assert found.se == pytest.approx(expected, rel=0.25)
    assert found.ci_low == pytest.approx(0.5 - 1.96 * expected, abs=expected)
    assert found.ci_high == pytest.approx(0.5 + 1.96 * expected, abs=expected)
    assert (found.n, found.n_positive, found.ci_method) == (m + n, m, "100 shuffles")
    assert shuffled_area(rows(m, n), -np.arange(m + n, dtype=np.float64), 7) == found
    assert shuffled_area(rows(m, n), -np.arange(m + n, dtype=np.float64), 8) != found


def test_one_class_has_no_control() -> None:
    found = shuffled_area(rows(5, 0), np.arange(5.0), 7)
    assert found.value is None
    assert found.reason
