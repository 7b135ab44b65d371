"""What it costs a worker to be observed: processor time for each shard, in microseconds.

Knows the stopwatch, stations, log fields, the sampler and metrics; the shards do nothing, so that
what is left is what observing costs. The sampler reads a function of its own; what NVML takes to
answer comes on top, in a thread. The metrics are Ray's objects without a Ray that collects them.

    python benchmarks/observing.py [--shards 2000] [--laps 40] [--keep]
"""

import argparse
import time
from collections.abc import Callable

from measuring import load_average, machine_facts, publish, table

from cisray.engine.attempt import try_shard
from cisray.engine.metrics import RunMetrics, WorkerMetrics
from cisray.engine.station import Station
from cisray.engine.task import Progress, Receipt, RunLabel
from cisray.inference.utilisation import Sampler
from cisray.stopwatch import lap, measured

LABEL = RunLabel("score-genome-000000000000", "score-genome")


class Nothing:
    """Shards without work; in each so many laps begin and end."""

    def __init__(self, laps: int) -> None:
        self._laps = laps

    def open(self) -> Callable[[int], Receipt]:
        """Load nothing."""
        return self.do

    def do(self, shard: int) -> Receipt:
        """Begin and end laps."""
        for _ in range(self._laps):
            with lap("input"):
                pass
        return {"rows": 1, "laps": len(measured())}


def microseconds(work: Callable[[int], object], times: int) -> float:
    """Tell the processor time of this thread and its children for one call."""
    begun = time.process_time()
    for number in range(times):
        work(number)
    return 1e6 * (time.process_time() - begun) / times


def sampled(shard: int, sampler: Sampler) -> None:
    with sampler:
        pass


def main() -> None:
    parser = argparse.ArgumentParser(description="What it costs to be observed.")
    parser.add_argument("--shards", type=int, default=2000)
    parser.add_argument("--laps", type=int, default=40, help="laps in each shard")
    parser.add_argument("--keep", action="store_true", help="write a result file")
    given = parser.parse_args()
    shards, load = given.shards, [load_average()]
    bare, timed = Nothing(0).do, Station(Nothing(0))
    counted = Station(Nothing(given.laps), WorkerMetrics(LABEL).after_attempt)
    timed.open(), counted.open()
    driver, sampler = RunMetrics(LABEL), Sampler(lambda: 50.0)
    told = Progress(10, 1, 0, 1, 1, 0, 1.0)
    costs = {
        "a shard that is not observed": microseconds(lambda n: try_shard(bare, n), shards),
        "timed, and named in the log": microseconds(timed.do, shards),
        f"with {given.laps} laps, and exported as metrics": microseconds(counted.do, shards),
        "GPU sampled: a thread, begun and ended": microseconds(
            lambda n: sampled(n, sampler), shards
        ),
        "the driver, twice a second": microseconds(lambda n: driver.set(told), shards),
    }
    rows = [("processor time", "µs"), *((name, f"{cost:,.1f}") for name, cost in costs.items())]
    facts = {
        "benchmark": "observing",
        "microseconds": costs,
        "machine": machine_facts(1),
        "load_average": [*load, load_average()],
    }
    publish("observing", table(rows), facts, keep=given.keep)


if __name__ == "__main__":
    main()
