"""What a worker's station measures and says of each try, without Ray."""

import json
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from cisray.engine.attempt import Fault
from cisray.engine.station import Assignment, Station
from cisray.engine.task import Receipt, RunLabel
from cisray.errors import EngineError
from cisray.logs import JsonFormatter, LogSettings, always, everywhere, known_fields
from cisray.stopwatch import lap, measured

NAP_S = 0.05


@dataclass(frozen=True)
class Napping:
    """Open for a nap; in a shard wait a nap for input, two in the model; shard 5 fails."""

    def open(self) -> Callable[[int], Receipt]:
        time.sleep(NAP_S)

        def work(shard: int) -> Receipt:
            with lap("input"):
                time.sleep(NAP_S)
            with lap("model"):
                time.sleep(2 * NAP_S)
            if shard == 5:
                raise ValueError("bin 7")
            return {"rows": 3, "laps": {**measured()}, "fields": known_fields()}

        return work


def laps_of(outcome: Receipt | Fault) -> dict[str, float]:
    assert isinstance(outcome, dict)
    laps = outcome["laps"]
    assert isinstance(laps, dict)
    return laps


def test_opening_and_waiting_are_of_the_shard_that_follows() -> None:
    station = Station(Napping())
    assert station.open() is None
    time.sleep(NAP_S)
    first = laps_of(station.do(3))
    second = laps_of(station.do(4))
    assert first["open"] >= NAP_S
    assert first["idle"] >= NAP_S
    assert first["input"] >= NAP_S
    assert first["model"] >= 2 * NAP_S
    assert "open" not in second
    assert second["idle"] < NAP_S
    assert second["input"] >= NAP_S


def test_a_failed_attempt_is_counted_with_the_next_shard() -> None:
    told: list[tuple[bool, dict[str, float]]] = []
    station = Station(
        Napping(), lambda outcome, laps: told.append((isinstance(outcome, Fault), {**laps}))
    )
    station.open()
    assert isinstance(station.do(5), Fault)
    laps = laps_of(station.do(6))
    assert laps["failed"] >= 3 * NAP_S
    assert laps["open"] >= NAP_S
    assert 2 * NAP_S <= laps["model"] < laps["failed"]
    assert [failed for failed, _ in told] == [True, False]
    assert told[0][1] == {}
    assert told[1][1]["failed"] == laps["failed"]


def test_a_shard_is_named_while_it_is_done_and_not_longer() -> None:
    station = Station(Napping())
    station.open()
    with everywhere(run="score-genome-abc"):
        outcome = station.do(3)
        assert isinstance(outcome, dict)
        assert outcome["fields"] == {"run": "score-genome-abc", "shard": 3}
        assert known_fields() == {"run": "score-genome-abc"}
    assert known_fields() == {}


def test_the_log_of_a_failed_attempt_names_run_worker_and_shard(caplog) -> None:
    station = Station(Napping())
    station.open()
    lines: list[dict[str, object]] = []

    class Lines(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(json.loads(JsonFormatter().format(record)))

    handler = Lines()
    logging.getLogger("cisray.engine.attempt").addHandler(handler)
    try:
        with everywhere(run="score-genome-abc", worker="cisray-0"):
            station.do(5)
    finally:
        logging.getLogger("cisray.engine.attempt").removeHandler(handler)
    [line] = lines
    assert (line["run"], line["worker"], line["shard"]) == ("score-genome-abc", "cisray-0", 5)
    assert line["message"] == "shard 5: an attempt failed"
    assert "ValueError: bin 7" in str(line["traceback"])


def test_a_worker_writes_its_log_as_the_driver_does(monkeypatch) -> None:
    configured: list[LogSettings] = []
    named: dict[str, object] = {}
    monkeypatch.setattr("cisray.logs.configure", lambda s, **_: configured.append(s))
    monkeypatch.setattr("cisray.logs.always", lambda **fields: named.update(fields))
    settings = LogSettings("json", logging.INFO)
    Assignment(Napping(), RunLabel("r", "k"), settings).set_up_log(worker="w")
    Assignment(Napping(), RunLabel("r", "k"), None).set_up_log(worker="w")
    assert configured == [settings]
    assert named == {"run": "r", "worker": "w"}


def test_a_shard_before_the_task_is_open_is_our_mistake() -> None:
    with pytest.raises(EngineError, match="shard 3 reached a worker that has not opened"):
        Station(Napping()).do(3)


def test_fields_of_a_block_leave_with_it() -> None:
    with everywhere(run="a"):
        always(worker="w")
        assert known_fields() == {"run": "a", "worker": "w"}
    assert known_fields() == {}
