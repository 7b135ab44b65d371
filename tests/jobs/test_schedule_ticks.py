"""Passes over a ledger, with a clock that is set: what fires, what does not, and who may say so."""

import json
import signal
from pathlib import Path
from threading import Event as Flag
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from schedules import BEGIN, Bench, MemoryBackend, due, minute, states

from cisray.errors import ConfigError, StorageError
from cisray_jobs.schedule.definition import Cluster, Plan, State
from cisray_jobs.schedule.ledger import LEASE_S, Fenced, Ledger
from cisray_jobs.schedule.serve import ending, serve
from cisray_jobs.schedule.tick import LOSSES, Event, Ticker


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path / "ledger")


def test_a_minute_schedule_fires_once_a_minute(bench: Bench) -> None:
    bench.add()
    assert bench.tick() == []
    assert bench.tick(29) == []
    assert bench.tick(1) == ["due", "running"]
    assert bench.tick() == []
    job = bench.backend.end()
    assert job.id == f"s.0123abcd/{due(1)}.1"
    assert job.argv == ("cisray", "score", "variants", "--out", f"runs/{due(1)}")
    assert bench.tick() == ["succeeded"]
    assert bench.tick(59) == []
    assert bench.tick(1) == ["due", "running"]
    assert [fire.time for fire in bench.fires()] == [minute(1), minute(2)]
    assert bench.ends() == ["succeeded", "running"]


def test_several_processes_and_repeated_passes_fire_once(bench: Bench) -> None:
    bench.add()
    others = [bench.another(f"other {number}") for number in range(3)]
    for _ in range(3):
        bench.clock.forward(60)
        told = [states(ticker.tick()) for ticker in [*others, bench.ticker, *others]]
        assert told == [["due", "running"], *[[]] * 6]
        bench.backend.end()
        told = [states(ticker.tick()) for ticker in [bench.ticker, *others]]
        assert told == [["succeeded"], [], [], []]
    assert len(bench.backend.jobs) == 3


def test_who_has_seen_an_old_cursor_decides_nothing(bench: Bench) -> None:
    bench.add()
    seen = bench.ledger.cursor("s")
    bench.tick(60)
    assert seen == BEGIN
    stale = (seen, minute(2))
    assert bench.ledger.decide("s", stale, minute(2), missed=1, late=False) is None
    assert [fire.time for fire in bench.fires()] == [minute(1)]
    assert bench.ledger.cursor("s") == BEGIN + 60


def test_of_missed_times_the_latest_fires_and_the_others_are_counted(bench: Bench) -> None:
    bench.add()
    # 12:00:30 to 12:10:30: ten times, 12:01 to 12:10.
    assert bench.tick(600) == ["due", "running"]
    (fire,) = bench.fires()
    assert (fire.time, fire.missed) == (minute(10), 9)
    bench.backend.end()
    assert bench.tick() == ["succeeded"]
    assert bench.tick(10) == []


def test_without_catch_up_late_times_do_not_fire(bench: Bench) -> None:
    bench.add(cron="0 * * * *", catch_up="none", max_late_s=600)
    # 13:00 seen at 13:10:00, ten minutes late, and 14:00 at 14:10:01.
    bench.clock.moment = minute(70)
    assert states(bench.ticker.tick()) == ["due", "running"]
    bench.backend.end()
    bench.clock.moment = minute(130) + 1
    assert states(bench.ticker.tick()) == ["succeeded", "missed"]
    assert bench.ends() == ["succeeded", "missed"]
    assert bench.tick(3600 * 5) == ["missed"]
    assert bench.fires()[-1].missed == 4


def test_a_clock_set_back_fires_nothing_twice(bench: Bench) -> None:
    bench.add()
    bench.tick(60)
    bench.backend.end()
    bench.tick()
    assert bench.tick(-3600) == []
    assert bench.tick(3600) == []
    assert bench.tick(60) == ["due", "running"]
    assert len(bench.fires()) == 2


def test_while_one_runs_the_next_is_skipped(bench: Bench) -> None:
    bench.add()
    bench.tick(60)
    assert bench.tick(60) == ["skipped"]
    assert bench.tick(60) == ["skipped"]
    bench.backend.end()
    assert bench.tick(60) == ["succeeded", "due", "running"]
    assert bench.ends() == ["succeeded", "skipped", "skipped", "running"]


def test_or_one_waits_and_further_ones_are_skipped(bench: Bench) -> None:
    bench.add(overlap="queue")
    bench.tick(60)
    assert [bench.tick(60) for _ in range(3)] == [["due"], ["skipped"], ["skipped"]]
    bench.backend.end()
    assert bench.tick() == ["succeeded", "running"]
    assert bench.backend.running() == [f"s.0123abcd/{due(2)}.1"]
    assert bench.ends() == ["succeeded", "running", "skipped", "skipped"]


def test_two_schedules_do_not_wait_for_each_other(bench: Bench) -> None:
    bench.add("a")
    bench.add("b")
    assert bench.tick(60) == ["due", "due", "running", "running"]
    assert states(bench.ticker.tick("a")) == []
    assert len(bench.backend.running()) == 2


def test_retries_run_the_same_command_and_wait_twice_as_long_each_time(bench: Bench) -> None:
    bench.add(cron="0 * * * *", retries=2, back_off_s=60)
    bench.clock.moment = minute(60)
    bench.ticker.tick()
    first = bench.backend.end(1)
    assert bench.tick() == ["ready"]
    assert [bench.tick(59), bench.tick(1)] == [[], ["running"]]
    second = bench.backend.end(1)
    assert bench.tick() == ["ready"]
    assert [bench.tick(119), bench.tick(1)] == [[], ["running"]]
    third = bench.backend.end(4)
    assert bench.tick() == ["failed"]
    assert bench.tick(600) == []
    assert first.argv == second.argv == third.argv
    assert [job.id[-1] for job in (first, second, third)] == ["1", "2", "3"]
    (fire,) = bench.fires()
    assert (fire.state, fire.exit_code, fire.attempt, fire.failures) == ("failed", 4, 3, 3)
    attempts = bench.ledger.attempts("s", fire.time)
    assert [one.exit_code for one in attempts] == [1, 1, 4]


def test_what_was_asked_for_wrongly_is_not_asked_for_again(bench: Bench) -> None:
    """Exit code 2: a mistake in the command, its settings or its files."""
    bench.add(cron="0 * * * *", retries=5)
    bench.tick(3600)
    bench.backend.end(2, "--fasta hg.fa: there is no such file.")
    assert bench.tick() == ["failed"]
    (fire,) = bench.fires()
    assert (fire.exit_code, fire.attempt, fire.failures) == (2, 1, 1)
    assert fire.note == "exit code 2: --fasta hg.fa: there is no such file."
    assert bench.tick(3000) == []
    assert bench.tick(600) == ["due", "running"]  # the next time is another fire


@pytest.mark.parametrize("code", [1, 3, 127, 130, -9, -15])
def test_any_other_end_is_tried_again(bench: Bench, code: int) -> None:
    bench.add(cron="0 * * * *", retries=1)
    bench.tick(3600)
    bench.backend.end(code, "the disk is full")
    assert bench.tick() == ["ready"]
    assert bench.fires()[0].note.startswith(f"exit code {code}: the disk is full; once more from")


def test_what_cannot_be_asked_is_unknown_and_neither_ended_nor_lost(bench: Bench) -> None:
    bench.add()
    bench.tick(60)
    bench.backend.silent = "no answer"
    told = bench.ticker.tick()
    assert [(event.state, event.note) for event in told] == [("running", "unknown: no answer")]
    bench.backend.silent = "no token"
    assert bench.tick() == []  # that it is unknown was told; why is written down
    assert bench.fires()[0].note == "unknown: no token"
    assert bench.tick(60) == ["skipped"]
    bench.backend.silent = ""
    bench.backend.end()
    assert bench.tick() == ["succeeded"]
    assert (bench.fires()[0].note, bench.fires()[0].losses) == ("", 0)


def test_a_cluster_that_is_away_holds_up_nothing_else(bench: Bench) -> None:
    away = MemoryBackend()
    bench.add("a", cluster=Cluster(address="http://127.0.0.1:8265"))
    bench.add("b")
    both = Ticker(
        bench.ledger, lambda one: away if one.cluster else bench.backend, bench.clock, "both"
    )
    bench.clock.forward(60)
    assert states(both.tick()) == ["due", "due", "running", "running"]
    away.silent = "no answer"
    bench.backend.end()
    bench.clock.forward(60)
    told = [(event.schedule, event.state) for event in both.tick()]
    assert told == [
        ("a", "running"), ("b", "succeeded"), ("a", "skipped"), ("b", "due"), ("b", "running"),
    ]  # fmt: skip
    assert away.running() == [f"a.0123abcd/{due(1)}.1"]


def test_nothing_is_looked_at_for_a_place_that_starts_nothing(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A URL would be fetched again with every pass."""
    bench.add("s", "score", "{input}", watch="http://127.0.0.1:9/x", retries=0, back_off_s=0)
    bench.backend.silent = "no answer"
    looks: list[str] = []
    monkeypatch.setattr("cisray_jobs.schedule.tick.look_at_url", lambda *_: looks.append("look"))
    assert bench.tick(60) == ["due", "due"]
    assert bench.tick(1) == ["due"]
    assert looks == []
    assert (bench.fires()[0].failures, bench.fires()[0].note) == (0, "no answer")


def test_a_lost_job_goes_on_at_once_and_is_no_failure(bench: Bench) -> None:
    bench.add(cron="0 * * * *", retries=0)
    bench.clock.moment = minute(60)
    bench.ticker.tick()
    first = bench.backend.end(None)
    assert bench.tick() == ["ready", "running"]
    second = bench.backend.end(0)
    assert bench.tick() == ["succeeded"]
    assert (first.argv, second.id[-2:]) == (second.argv, ".2")


def test_a_command_that_takes_its_machine_with_it_is_given_up(bench: Bench) -> None:
    bench.add(cron="0 * * * *", retries=5)
    bench.clock.moment = minute(60)
    bench.ticker.tick()
    for _ in range(LOSSES):
        bench.backend.end(None)
        assert bench.tick() == ["ready", "running"]
    bench.backend.end(None)
    assert bench.tick() == ["failed"]
    assert len(bench.backend.jobs) == LOSSES + 1


def test_a_job_that_its_backend_has_forgotten_counts_as_lost(bench: Bench) -> None:
    bench.add()
    bench.tick(60)
    bench.backend._known.clear()
    assert bench.tick() == ["ready", "running"]
    assert bench.fires()[0].losses == 1


def test_a_paused_schedule_fires_nothing_and_catches_nothing_up(bench: Bench) -> None:
    bench.add()
    bench.tick(60)
    bench.ledger.pause("s", paused=True, now=bench.clock.now())
    bench.backend.end()
    assert bench.tick(600) == ["succeeded"]
    bench.ledger.pause("s", paused=False, now=bench.clock.now())
    assert bench.tick() == []
    assert bench.tick(30) == ["due", "running"]
    assert bench.fires()[-1].missed == 0
    bench.ledger.pause("s", paused=False, now=bench.clock.now() + 600)
    bench.backend.end()
    assert bench.tick(60) == ["succeeded", "due", "running"]  # no pause, nothing was dropped


def test_a_pause_holds_back_what_waits_but_no_retry_and_nothing_asked_for(bench: Bench) -> None:
    bench.add(overlap="queue", retries=1, back_off_s=60)
    bench.tick(60)
    bench.tick(60)
    bench.ledger.pause("s", paused=True, now=bench.clock.now())
    bench.backend.end(1)
    assert bench.tick() == ["ready"]
    assert bench.tick(60) == ["running"]
    bench.backend.end(0)
    assert bench.tick() == ["succeeded"]
    bench.ledger.ask("s", bench.clock.now())
    assert bench.tick() == ["running"]
    bench.backend.end()
    assert bench.tick() == ["succeeded"]
    assert sorted(bench.ends()) == ["due", "succeeded", "succeeded"]
    assert not bench.ledger.is_busy()
    bench.ledger.pause("s", paused=False, now=bench.clock.now())
    assert bench.tick() == ["running"]


def test_what_is_asked_for_takes_no_key_of_a_time_that_is_still_to_come(bench: Bench) -> None:
    bench.add()
    bench.clock.moment = minute(1) - 1
    asked = [bench.ledger.ask("s", bench.clock.now()) for _ in range(3)]
    assert asked == [minute(1) - 1, minute(1) - 2, minute(1) - 3]
    bench.clock.moment = minute(1)
    bench.ledger.ask("s", bench.clock.now())
    assert len({fire.time for fire in bench.fires()}) == 4
    bench.ticker.tick()
    assert bench.ledger.cursor("s") == minute(1)


def test_previous_is_the_output_of_the_last_success(bench: Bench, tmp_path: Path) -> None:
    bench.add("s", "score", "--since", "{previous}", "--out", "runs/{time}")
    made = []
    for code in (1, 0, 1, 0, 0):
        bench.tick(60)
        made.append(bench.backend.end(code))
        bench.tick()
    given = [job.argv[1:] for job in made]
    assert given[0] == ("score", "--out", f"runs/{due(1)}")
    assert given[1] == ("score", "--out", f"runs/{due(2)}")
    before = {2: 2, 3: 2, 4: 4}
    for at, number in before.items():
        assert given[at][:3] == ("score", "--since", str(tmp_path / "runs" / due(number)))
    report = made[4].report
    assert report is not None
    reports = tmp_path / "ledger/reports/s.0123abcd"
    assert report[-3:] == (
        str(tmp_path / "runs" / due(5)),
        str(reports / f"{due(5)}.json"),
        str(reports / f"{due(4)}.json"),
    )


def test_a_settled_command_is_kept_whatever_succeeds_meanwhile(bench: Bench) -> None:
    bench.add("s", "score", "--since", "{previous}", "--out", "runs/{time}", retries=1)
    bench.tick(60)
    bench.backend.end(0)
    bench.tick()
    bench.tick(60)
    first = bench.backend.end(1)
    bench.tick()
    bench.tick(60)
    assert bench.backend.end(0).argv == first.argv


def test_stopping_ends_what_runs_and_what_waits_and_retries_nothing(bench: Bench) -> None:
    bench.add(overlap="queue", retries=3)
    bench.tick(60)
    bench.tick(60)
    bench.ticker.stop("s")
    assert bench.ends() == ["failed", "failed"]
    assert bench.backend.running() == []
    assert bench.tick(60) == ["due", "running"]


def test_stopping_ends_what_waits_for_a_retry(bench: Bench) -> None:
    bench.add(cron="0 * * * *", retries=3, back_off_s=600)
    bench.clock.moment = minute(60)
    bench.ticker.tick()
    bench.backend.end(1)
    bench.tick()
    bench.ticker.stop("s")
    bench.tick(600)
    assert bench.ends() == ["failed"]
    assert len(bench.backend.jobs) == 1


def test_a_stop_between_an_end_and_its_record_is_heeded(bench: Bench) -> None:
    """The end was read before the stop: it must not lead to a retry that nobody stops."""
    bench.add(cron="0 * * * *", retries=3, back_off_s=0)
    bench.clock.moment = minute(60)
    bench.ticker.tick()
    (read,) = bench.fires()
    bench.ledger.stop("s", bench.clock.now())
    assert not bench.ledger.end_attempt(read, (State.READY, 0), bench.clock.now(), 1, "")
    bench.backend.end(1)
    assert bench.tick() == ["failed"]


def test_a_schedule_that_is_removed_within_a_pass_ends_nothing_else(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.add("a")
    bench.add("b")
    ledger = bench.ticker.ledger
    claim = ledger.claim

    def claim_and_lose(now: int, owner: str, only: str | None) -> object:
        claimed = claim(now, owner, only)
        if claimed is not None and claimed.schedule == "a":
            bench.ledger.remove("a")
        return claimed

    monkeypatch.setattr(ledger, "claim", claim_and_lose)
    assert bench.tick(60) == ["due", "due", "running"]
    assert [schedule.name for schedule, _ in bench.ledger.schedules()] == ["b"]
    assert bench.backend.running() == [f"b.0123abcd/{due(1)}.1"]


def test_removing_waits_for_what_runs_and_a_new_one_of_the_name_has_its_own_jobs(
    bench: Bench,
) -> None:
    bench.add()
    bench.tick(60)
    with pytest.raises(ConfigError, match="schedule stop s"):
        bench.ledger.remove("s")
    bench.backend.end()
    bench.tick()
    bench.ledger.remove("s")
    assert bench.ledger.fires() == []
    with pytest.raises(ConfigError, match="There are: none"):
        bench.ledger.remove("s")
    bench.add(uid="4567cdef")
    bench.clock.moment = minute(1)
    bench.ledger.ask("s", bench.clock.now())
    assert bench.tick() == ["running"]
    with pytest.raises(ConfigError, match="another name"):
        bench.add()


def test_who_comes_back_after_its_lease_has_ended_changes_nothing(bench: Bench) -> None:
    bench.add()
    bench.clock.moment = minute(1)
    bench.ledger.decide("s", (BEGIN, minute(1)), minute(1), missed=0, late=False)
    slow = bench.ledger.claim(bench.clock.now(), "slow")
    assert slow is not None
    assert bench.tick(LEASE_S - 1) == ["skipped"]
    assert bench.ledger.claim(bench.clock.now(), "too early") is None
    bench.clock.forward(1)
    quick = Ledger(bench.folder).claim(bench.clock.now(), "quick")
    assert quick is not None
    assert quick.fence == slow.fence + 1
    plan = Plan(arguments=("a",))
    for attempt in (
        lambda: bench.ledger.settle(slow, plan),
        lambda: bench.ledger.started(slow, "job", 0),
        lambda: bench.ledger.renew(slow, bench.clock.now()),
        lambda: bench.ledger.close_unstarted(slow, State.FAILED, 0, ""),
        lambda: bench.ledger.put_off(slow, 0, "", failed=True),
    ):
        before = bench.fires()
        with pytest.raises(Fenced):
            attempt()
        assert bench.fires() == before
        assert bench.ledger.attempts("s", minute(1)) == []
    bench.ledger.settle(quick, plan)
    bench.ledger.renew(quick, bench.clock.now() + LEASE_S - 1)
    assert bench.ledger.claim(bench.clock.now() + LEASE_S, "later") is None
    bench.ledger.started(quick, "job", bench.clock.now())
    assert bench.fires()[0].state == "running"


def test_a_place_that_starts_nothing_is_asked_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.add(cron="0 * * * *", back_off_s=60)
    bench.clock.moment = minute(60)

    def full(job: object) -> None:
        raise StorageError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(bench.backend, "submit", full)
        assert states(bench.ticker.tick()) == ["due", "ready"]
    assert bench.fires()[0].note == "the disk is full"
    assert bench.tick(30) == []
    assert bench.tick(60) == ["running"]
    assert (bench.fires()[0].failures, bench.fires()[0].note) == (0, "")


def test_a_ledger_of_another_version_and_another_file_are_refused(bench: Bench) -> None:
    bench.ledger._base.execute("PRAGMA user_version = 7")
    with pytest.raises(StorageError, match="version 7"):
        Ledger(bench.folder)
    other = bench.folder.parent / "other"
    other.mkdir()
    (other / "ledger.sqlite").write_text("no database, and long enough to be read as one" * 40)
    with pytest.raises(StorageError, match="cannot be opened"):
        Ledger(other)


# As cisray wrote them in version 1.
_OLD_SCHEDULE = {
    "name": "old", "uid": "89abcdef", "cron": "* * * * *", "timezone": "UTC",
    "command": ["score", "variants", "--out", "runs/{time}"], "folder": "/", "overlap": "skip",
    "catch_up": "once", "max_late_s": 600, "retries": 0, "back_off_s": 60, "watch": None,
    "created": BEGIN,
}  # fmt: skip
_OLD_PLAN = {
    "arguments": ["score", "variants", "--out", "runs/x"], "output": "/runs/x", "previous": None,
    "previous_time": None, "input": None, "seen": None, "more": False,
}  # fmt: skip


def test_a_ledger_of_the_first_version_goes_on_in_this_one(bench: Bench) -> None:
    base = bench.ledger._base
    base.execute(
        "INSERT INTO schedules (name, definition, cursor) VALUES ('old', ?, ?)",
        (json.dumps(_OLD_SCHEDULE), BEGIN),
    )
    base.execute(
        "INSERT INTO fires (schedule, time, cause, state, plan) VALUES ('old', ?, 'cron', "
        "'ready', ?)",
        (BEGIN - 30, json.dumps(_OLD_PLAN)),
    )
    base.execute("PRAGMA user_version = 1")
    bench.ledger.close()
    again = Bench(bench.folder, bench.clock)
    assert again.ledger._base.execute("PRAGMA user_version").fetchone()[0] == 2
    assert again.ledger.schedule("old")[0].cluster is None
    assert again.tick() == ["running"]
    assert again.backend.end().argv == ("cisray", "score", "variants", "--out", "runs/x")
    assert again.tick(60) == ["succeeded", "due", "running"]


def test_a_ledger_keeps_types_and_states(bench: Bench) -> None:
    bench.add()
    base = bench.ledger._base
    for bad in ("'x', 1, 'cron', 'gone'", "'s', 'noon', 'cron', 'due'", "'s', 1, 'moon', 'due'"):
        with pytest.raises(Exception, match=r"constraint|cannot store|FOREIGN"):
            base.execute(f"INSERT INTO fires (schedule, time, cause, state) VALUES ({bad})")
    assert base.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
    assert json.loads(base.execute("SELECT definition FROM schedules").fetchone()[0])["name"] == "s"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_serving_ends_on_a_signal_after_the_pass(bench: Bench, number: signal.Signals) -> None:
    bench.add()
    bench.clock.moment = minute(1)
    told: list[str] = []

    def tell(event: Event) -> None:
        told.append(event.state)
        signal.raise_signal(number)

    before = signal.getsignal(number)
    with ending() as flag:
        serve(bench.ticker, flag, 3600, tell)
    assert told == ["due", "running"]
    assert signal.getsignal(number) is before


def test_serving_goes_on_after_a_pass_that_the_disk_has_failed(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.add()
    bench.clock.moment = minute(1)
    flag, told = Flag(), []
    claim, calls = bench.ticker.ledger.claim, []

    def failing(*arguments: Any) -> Any:
        calls.append(arguments)
        if len(calls) == 1:
            raise StorageError("no room")
        return claim(*arguments)

    def tell(event: Event) -> None:
        told.append(event.state)
        if event.state == "running":
            flag.set()

    monkeypatch.setattr(bench.ticker.ledger, "claim", failing)
    serve(bench.ticker, flag, 0.01, tell)
    assert told == ["running"]  # the pass that failed told of nothing, and lost nothing
    assert bench.ends() == ["running"]


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("forward"), st.integers(1, 400)),
        st.tuples(st.just("tick"), st.integers(0, 2)),
        st.tuples(st.just("end"), st.sampled_from([0, 0, 1, None])),
        st.tuples(st.just("ask"), st.just(0)),
        st.tuples(st.just("pause"), st.booleans()),
    ),
    max_size=40,
)


@settings(max_examples=40, deadline=None)
@given(
    steps=STEPS,
    overlap=st.sampled_from(["skip", "queue"]),
    catch_up=st.sampled_from(["once", "none"]),
    retries=st.integers(0, 2),
)
def test_whatever_happens_one_runs_at_a_time_and_every_time_is_accounted_for(
    tmp_path_factory: pytest.TempPathFactory,
    steps: list[tuple[str, int | None]],
    overlap: str,
    catch_up: str,
    retries: int,
) -> None:
    bench = Bench(tmp_path_factory.mktemp("any") / "ledger")
    bench.add(overlap=overlap, catch_up=catch_up, retries=retries, max_late_s=90)
    tickers = [bench.another(f"{number}") for number in range(3)]
    paused_times = 0
    paused_at: int | None = None
    for what, value in steps:
        if what == "forward":
            bench.clock.forward(value or 0)
        elif what == "tick":
            tickers[value or 0].tick()
        elif what == "end" and bench.backend.running():
            bench.backend.end(value)
        elif what == "ask":
            bench.ledger.ask("s", bench.clock.now())
        elif what == "pause":
            now = bench.clock.now()
            seen = bench.ledger.cursor("s")
            if value and seen is not None:
                paused_at = seen
            elif not value and paused_at is not None:
                paused_times += now // 60 - paused_at // 60
                paused_at = None
            bench.ledger.pause("s", paused=bool(value), now=now)
        assert len(bench.backend.running()) <= 1
    bench.ledger.pause("s", paused=False, now=bench.clock.now())
    if paused_at is not None:
        paused_times += bench.clock.now() // 60 - paused_at // 60
    tickers[0].tick()
    fires = [fire for fire in bench.fires() if fire.cause == "cron"]
    # Whole minutes from BEGIN to now are due; each is a fire, counted by one, or fell into a pause.
    owed = bench.clock.now() // 60 - BEGIN // 60
    assert sum(1 + fire.missed for fire in fires) + paused_times == owed
    assert len({(fire.schedule, fire.time) for fire in bench.fires()}) == len(bench.fires())
    assert all(job.id.count("/") == 1 for job in bench.backend.jobs.values())
