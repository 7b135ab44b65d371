"""The dashboard asks for metrics and tags that there are, and the page on them lists the same."""

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from cisray.engine.metric_names import METRICS
from cisray.stopwatch import LAPS

ROOT = Path(__file__).resolve().parents[2]
TAGS = {name: set(metric.tags) for metric in METRICS for name in metric.exported}


@pytest.fixture(scope="module")
def dashboard() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((ROOT / "deploy/grafana/cisray.json").read_text())
    return loaded


def expressions(dashboard: dict[str, Any]) -> list[str]:
    return [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]


def test_it_is_a_dashboard_that_grafana_takes(dashboard) -> None:
    assert dashboard["uid"] == "cisray"
    assert dashboard["schemaVersion"] >= 36
    assert "id" not in dashboard  # Grafana refuses an id that it has not given itself
    assert {"from", "to"} <= dashboard["time"].keys()
    variables = {variable["name"]: variable for variable in dashboard["templating"]["list"]}
    assert variables["datasource"]["type"] == "datasource"
    assert variables["run"]["type"] == "query"
    ids = [panel["id"] for panel in dashboard["panels"]]
    assert len(set(ids)) == len(ids) > 0
    for panel in dashboard["panels"]:
        assert panel["type"] in {"timeseries", "stat", "bargauge"}
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        refs = [target["refId"] for target in panel["targets"]]
        assert len(set(refs)) == len(refs) > 0


def test_every_panel_has_a_title_of_its_own_and_a_unit(dashboard) -> None:
    titles = Counter(panel["title"] for panel in dashboard["panels"])
    assert set(titles.values()) == {1}
    for panel in dashboard["panels"]:
        assert panel["title"].strip()
        assert panel["fieldConfig"]["defaults"]["unit"]


def test_panels_do_not_lie_over_each_other(dashboard) -> None:
    taken: Counter[tuple[int, int]] = Counter()
    for panel in dashboard["panels"]:
        at = panel["gridPos"]
        assert 0 <= at["x"] < at["x"] + at["w"] <= 24
        taken.update(
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        )
    assert set(taken.values()) == {1}


def test_it_asks_for_every_metric_and_for_no_other(dashboard) -> None:
    asked = {name for text in expressions(dashboard) for name in re.findall(r"ray_\w+", text)}
    assert asked <= set(TAGS)
    # Ray makes the sum of a histogram up from the middles of its buckets: it is not asked for.
    assert set(TAGS) - asked == {"ray_cisray_shard_seconds_sum"}


def test_it_asks_by_tags_that_the_metrics_have(dashboard) -> None:
    for text in expressions(dashboard):
        names = re.findall(r"(ray_\w+)\{([^}]*)\}", text)
        assert names
        for name, selected in names:
            assert set(re.findall(r"(\w+)(?:=|=~|!~)\"", selected)) <= TAGS[name], text
        shared = set.intersection(*(TAGS[name] for name, _ in names))
        for grouped in re.findall(r"by \(([^)]*)\)", text):
            assert set(grouped.split(", ")) <= shared | {"le"}, text
        assert text.count("(") == text.count(")")
        assert all('run=~"$run"' in selected for _, selected in names)
        for laps in re.findall(r'lap(?:=|!~)"([\w|]+)"', text):
            assert set(laps.split("|")) <= set(LAPS)


def test_the_page_lists_the_metrics_with_their_tags() -> None:
    page = (ROOT / "docs/observability.md").read_text()
    rows = re.findall(r"^\| `(cisray_\w+)` \| (\w+) \| ([^|]*) \| ([^|]*) \|$", page, re.MULTILINE)
    told = [(name, kind, tuple(tags.split(", "))) for name, kind, tags, _ in rows]
    assert told == [(metric.name, metric.kind, metric.tags) for metric in METRICS]
    for lap in LAPS:
        assert f"`{lap}`" in page


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_names_follow_the_rules(metric) -> None:
    """A counter ends in `_total`, else Ray exports it under a second name as well."""
    assert metric.name.startswith("cisray_")
    assert metric.name.endswith("_total") == (metric.kind == "counter")
    assert "shard" not in metric.tags
    assert set(metric.tags) <= {"run", "kind", "host", "state", "lap", "head"}
    assert bool(metric.bounds) == (metric.kind == "histogram")
    assert list(metric.bounds) == sorted(metric.bounds)
