"""What Prometheus finds of a run: scraped from a real Ray, while a small job runs on it."""

import os
import re
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
import ray
from engine_tasks import Scripted

from cisray.engine.metric_names import METRICS
from cisray.engine.pool import RayExecutor
from cisray.engine.task import PoolPolicy, Progress, RunLabel
from cisray.stopwatch import LAPS

pytestmark = [pytest.mark.slow, pytest.mark.ray]

LINE = re.compile(r"(?P<name>[a-z_]+)\{(?P<tags>.*)\} (?P<value>\S+)")
Sample = tuple[str, dict[str, str], float]
LABEL = RunLabel("score-genome-abc", "score-genome")


def samples(page: str) -> Iterator[Sample]:
    for found in LINE.finditer(page):
        tags = dict(re.findall(r'(\w+)="([^"]*)"', found["tags"]))
        if tags.get("run") == LABEL.run:
            yield found["name"], tags, float(found["value"])


class Scraper:
    """Asks the node's agent while the run goes on, as Prometheus does, and keeps the last page."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}/metrics"
        self.seen: list[Sample] = []
        self.next = time.monotonic()

    def on_progress(self, progress: Progress) -> None:
        if time.monotonic() < self.next or progress.done < 4:
            return
        self.next = time.monotonic() + 1
        no_proxy = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with no_proxy.open(self.url, timeout=10) as answer:
            found = list(samples(answer.read().decode()))
        self.seen = found or self.seen


def test_metrics_have_their_names_and_values(tmp_path: Path, embedded_ray) -> None:
    """Shards 1 to 4 have 10 rows each time their number; 9 fails, and then takes long.

    Ray's processes report every ten seconds.
    """
    scraper = Scraper(ray.nodes()[0]["MetricsExportPort"])
    acts = {9: ", ".join(["once raise", *["slow"] * 13])}
    RayExecutor(PoolPolicy(workers=1), embedded_ray).run(
        Scripted(str(tmp_path), acts), [1, 2, 3, 4, 9],
        label=LABEL, on_progress=scraper.on_progress,
    )  # fmt: skip
    assert scraper.seen
    values: dict[tuple[str, str], float] = {}
    for name, tags, value in scraper.seen:
        assert tags["kind"] == "score-genome"
        values[name, tags.get("state") or tags.get("lap") or tags.get("le", "")] = value
    found = {name for name, _ in values}
    # Neither a GPU nor a training run is there.
    absent = {"cisray_gpu_utilisation_percent"} | {
        metric.name for metric in METRICS if metric.name.startswith("cisray_train")
    }
    expected = {e for metric in METRICS if metric.name not in absent for e in metric.exported}
    assert found == expected
    assert values["ray_cisray_run_shards", "done"] == 4
    assert values["ray_cisray_run_shards", "in_flight"] == 1
    assert values["ray_cisray_run_shards", "waiting"] == 0
    assert values["ray_cisray_run_shards", "failed"] == 0
    assert values["ray_cisray_run_workers", ""] == 1
    assert values["ray_cisray_run_retries", ""] == 1
    # 10 x (1 + 2 + 3 + 4)
    assert values["ray_cisray_rows_total", ""] == 100
    assert values["ray_cisray_attempts_failed_total", ""] == 1
    assert values["ray_cisray_shard_seconds_count", ""] == 4
    laps = {lap for name, lap in values if name == "ray_cisray_worker_seconds_total"}
    assert laps <= set(LAPS)
    assert {"open", "idle", "other"} <= laps
    hosts = {tags["host"] for name, tags, _ in scraper.seen if name == "ray_cisray_rows_total"}
    assert hosts == {os.uname().nodename}
