"""Curves of numbers that were recorded step by step, a line for each of several groups.

Knows records as `cisray train` writes them; knows nothing of what their numbers mean.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from cisray.page.charts import Curve

MOST_POINTS = 1_000  # of a curve
Record = Mapping[str, Any]


def record_lines(
    records: Sequence[Record],
    name: str,
    called: Callable[[str], str],
    *,
    by: str = "head",
    marked: bool = False,
    faint: bool = False,
) -> tuple[list[Curve], str]:
    """Draw a number of every record, a line for each value of `by`, such as each head.

    Where there are too many, points are means of neighbours, which the sentence beside the lines
    says. Records that do not have the number are left out.
    """
    lines, most = [], 1
    for value in dict.fromkeys(str(record[by]) for record in records):
        mine = [r for r in records if r[by] == value and r.get(name) is not None]
        x, y, each = averaged(mine, name, MOST_POINTS)
        most = max(most, each)
        lines.append(Curve(called(value), x, y, marked=marked, faint=faint))
    told = f"A point is the mean of {most:,} records." if most > 1 else "Every record is a point."
    return lines, told


def averaged(
    records: Sequence[Record], name: str, points: int
) -> tuple[list[float], list[float], int]:
    """Average a number over as many neighbours as leave `points`; each mean is at its last step."""
    each = max(1, -(-len(records) // points))
    parts = [records[first : first + each] for first in range(0, len(records), each)]
    x = [float(part[-1]["step"]) for part in parts]
    return x, [sum(float(one[name]) for one in part) / len(part) for part in parts], each
