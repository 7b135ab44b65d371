"""Watched inputs: what is new, what only looks new, and what is still being written."""

import os
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from schedules import BEGIN, Bench, due, minute, states

from cisray.errors import ConfigError, WatchError
from cisray_jobs.schedule import watch
from cisray_jobs.schedule.fetch import look_at_url
from cisray_jobs.schedule.ledger import LEASE_S
from cisray_jobs.schedule.watch import SETTLED_S, Found, NotYet, Situation, Unchanged


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path / "ledger")


def write(path: Path, text: str, age: int = SETTLED_S, now: int = BEGIN) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    os.utime(path, (now - age, now - age))
    return path


def add(bench: Bench, watched: str, **options: object) -> None:
    command = ("score", "variants", "--vcf", "{input}", "--out", "runs/{time}")
    bench.add("s", *command, watch=watched, **options)


def given(bench: Bench, code: int = 0) -> str:
    """What the running command has for --vcf; then it ends."""
    argv = bench.backend.end(code).argv
    return argv[argv.index("--vcf") + 1]


def test_a_file_fires_when_its_bytes_have_changed_since_a_success(bench: Bench) -> None:
    path = write(bench.folder.parent / "in.vcf", "one")
    add(bench, "in.vcf")
    assert bench.tick(60) == ["due", "running"]
    assert given(bench, 1) == str(path)
    assert bench.tick(60) == ["failed", "due", "running"]  # nothing has succeeded with it
    given(bench)
    assert bench.tick(60) == ["succeeded", "due", "unchanged"]
    write(path, "one", now=bench.clock.now())  # touched
    assert bench.tick(60) == ["due", "unchanged"]
    assert "same bytes" in bench.fires()[-1].note
    write(path, "two", now=bench.clock.now())
    assert bench.tick(60) == ["due", "running"]
    given(bench)
    assert bench.tick(60) == ["succeeded", "due", "unchanged"]
    write(path, "one", now=bench.clock.now())  # as it was before the last success
    assert bench.tick(60) == ["due", "running"]


def test_who_asks_gets_a_run_of_an_unchanged_file(bench: Bench) -> None:
    write(bench.folder.parent / "in.vcf", "one")
    add(bench, "in.vcf", cron="0 0 1 1 *")
    for _ in range(2):
        bench.ledger.ask("s", bench.clock.now())
        assert bench.tick(60)[-1] == "running"
        given(bench)
    assert bench.tick() == ["succeeded"]


def test_a_file_that_is_being_written_is_waited_for(bench: Bench) -> None:
    path = write(bench.folder.parent / "in.vcf", "o")
    add(bench, "in.vcf", cron="0 * * * *")
    bench.clock.moment = minute(60)
    write(path, "on", age=10, now=minute(60))
    assert states(bench.ticker.tick()) == ["due", "due"]
    write(path, "one", age=10, now=minute(61))
    assert bench.tick(49) == []
    assert bench.tick(1) == ["due"]
    assert bench.tick(59) == []
    assert bench.tick(1) == ["running"]
    assert given(bench) == str(path)
    assert bench.fires()[0].failures == 0


def test_a_file_that_is_gone_fails_and_is_tried_again(bench: Bench) -> None:
    path = write(bench.folder.parent / "in.vcf", "one")
    add(bench, "in.vcf", cron="0 * * * *", retries=1, back_off_s=60)
    path.unlink()
    assert bench.tick(3600) == ["due", "due"]
    assert str(path) in bench.fires()[0].note
    assert [bench.tick(59), bench.tick(1)] == [[], ["failed"]]
    write(path, "one")
    assert bench.tick(3600) == ["due", "running"]


def test_every_new_file_of_a_folder_has_a_fire_of_its_own_the_oldest_first(bench: Bench) -> None:
    folder = bench.folder.parent / "in"
    b, a, c = (
        write(folder / name, name, age)
        for name, age in (("b.vcf", 900), ("a.vcf", 800), ("c.vcf", 700))
    )
    write(folder / "not.bed", "x", 9000)
    (folder / "d.vcf").mkdir()
    add(bench, "in/*.vcf", cron="0 * * * *")
    assert bench.tick(3600) == ["due", "running"]
    taken = [given(bench)]
    assert bench.tick(1) == ["succeeded", "running"]
    taken.append(given(bench))
    assert bench.tick(1) == ["succeeded", "running"]
    taken.append(given(bench))
    assert bench.tick(1) == ["succeeded"]
    assert taken == [str(b), str(a), str(c)]
    assert [fire.cause for fire in bench.fires()].count("more") == 2
    assert bench.tick(3600) == ["due", "unchanged"]
    write(folder / "new.vcf", "n", now=bench.clock.now())
    write(a, "changed", now=bench.clock.now() + 1)
    bench.clock.forward(3600)
    assert states(bench.ticker.tick()) == ["due", "running"]
    assert given(bench) == str(folder / "new.vcf")
    bench.tick()
    assert given(bench) == str(a)


def test_a_bad_file_does_not_keep_the_others_waiting(bench: Bench) -> None:
    folder = bench.folder.parent / "in"
    bad, good = write(folder / "bad.vcf", "b", 900), write(folder / "good.vcf", "g", 800)
    add(bench, "in/*.vcf", cron="0 * * * *")
    bench.tick(3600)
    assert given(bench, 1) == str(bad)
    assert bench.tick() == ["failed", "running"]
    assert given(bench) == str(good)
    assert bench.tick() == ["succeeded"]
    newer = write(folder / "newer.vcf", "n", 100, now=bench.clock.now())
    assert bench.tick(3600) == ["due", "running"]
    assert given(bench) == str(newer)
    assert bench.tick() == ["succeeded"]  # `bad` was tried before: no fire follows for it
    assert bench.tick(3600) == ["due", "running"]
    assert given(bench) == str(bad)


def test_a_retry_has_the_file_of_the_first_attempt(bench: Bench) -> None:
    folder = bench.folder.parent / "in"
    first = write(folder / "first.vcf", "f", 100)
    add(bench, "in/*.vcf", cron="0 * * * *", retries=1, back_off_s=60)
    bench.tick(3600)
    given(bench, 1)
    write(folder / "older.vcf", "o", 900)
    assert bench.tick() == ["ready"]
    write(first, "changed", now=bench.clock.now())
    assert bench.tick(60) == ["running"]
    assert given(bench) == str(first)


def test_no_fire_follows_on_one_that_was_stopped(bench: Bench) -> None:
    folder = bench.folder.parent / "in"
    for name in ("a.vcf", "b.vcf"):
        write(folder / name, name)
    add(bench, "in/*.vcf", cron="0 * * * *")
    bench.tick(3600)
    bench.ticker.stop("s")
    assert bench.tick() == []
    assert bench.ends() == ["failed"]


def test_a_file_whose_name_is_no_text_fails_its_fire_and_nothing_else(bench: Bench) -> None:
    folder = bench.folder.parent / "in"
    write(Path(os.fsdecode(os.fsencode(folder) + b"/\xff.vcf")), "x")
    add(bench, "in/*.vcf")
    assert bench.tick(60) == ["due", "failed"]
    assert "Rename it" in bench.fires()[0].note


def test_half_a_file_in_a_folder_waits_and_whole_ones_do_not(bench: Bench) -> None:
    folder = bench.folder.parent / "in"
    whole = write(folder / "whole.vcf", "w")
    half = write(folder / "half.vcf", "h", age=-3590)
    add(bench, "in/*.vcf", cron="0 * * * *")
    assert bench.tick(3600) == ["due", "running"]
    assert given(bench) == str(whole)
    assert bench.tick(3600) == ["succeeded", "due", "running"]
    assert given(bench) == str(half)
    bench.tick()
    write(folder / "late.vcf", "l", age=-3590, now=bench.clock.now())
    assert bench.tick(3600) == ["due", "due"]
    assert bench.tick(50) == ["running"]


def test_a_file_of_the_future_is_no_file_to_wait_for(bench: Bench) -> None:
    write(bench.folder.parent / "in.vcf", "one", age=-86_400)
    add(bench, "in.vcf")
    assert bench.tick(60) == ["due", "failed"]
    assert "future" in bench.fires()[0].note


def test_a_claim_is_kept_while_a_long_file_is_read(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "_CHUNK", 1)
    write(bench.folder.parent / "in.vcf", "x" * 20)
    add(bench, "in.vcf", cron="0 * * * *")
    other = bench.another("other")
    told = []
    kept = bench.ticker.ledger.renew

    def renew(claim: object, now: int) -> None:
        kept(claim, now)
        told.append(states(other.tick()))

    class Slow(type(bench.clock)):
        def now(self) -> int:
            self.moment += LEASE_S // 8
            return int(self.moment)

    bench.clock.__class__ = Slow
    bench.clock.moment += 3600
    monkeypatch.setattr(bench.ticker.ledger, "renew", renew)
    assert states(bench.ticker.tick())[-1] == "running"
    assert len(told) >= 3
    assert [states_ for states_ in told if "running" in states_] == []


class Server(ThreadingHTTPServer):
    """Serves `content` at any path, with `headers`; it heeds conditions, if it is told to."""

    content = b"one"
    headers: dict[str, str]
    heeds = True
    cut = 0
    code = 200
    asked: list[dict[str, str]]


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        told = self.server
        told.asked.append(dict(self.headers))
        same = (
            self.headers.get("If-None-Match", "-") == told.headers.get("ETag")
            or self.headers.get("If-Modified-Since", "-") == told.headers.get("Last-Modified")
        )  # fmt: skip
        if told.heeds and same:
            self.send_response(304)
            self.end_headers()
            return
        self.send_response(told.code)
        for name, value in told.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(told.content)))
        self.end_headers()
        self.wfile.write(told.content[: len(told.content) - told.cut])

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def server() -> Iterator[Server]:
    with Server(("127.0.0.1", 0), Handler) as made:
        made.headers, made.asked = {}, []
        thread = Thread(target=made.serve_forever)
        thread.start()
        yield made
        made.shutdown()
        thread.join()


def url(server: Server) -> str:
    return f"http://127.0.0.1:{server.server_address[1]}/pub/in%20put.vcf?x=1"


@pytest.mark.parametrize("header", ["ETag", "Last-Modified", ""])
@pytest.mark.parametrize("heeds", [True, False])
def test_a_url_fires_when_its_content_has_changed(
    bench: Bench, server: Server, header: str, heeds: bool
) -> None:
    server.heeds = heeds
    server.headers = {header: "1"} if header else {}
    add(bench, url(server))
    assert bench.tick(60) == ["due", "running"]
    path = Path(given(bench))
    assert (path.name, path.read_bytes()) == ("in put.vcf", b"one")
    assert bench.tick(60) == ["succeeded", "due", "unchanged"]
    if header:
        assert ("ETag: 1" in bench.fires()[-1].note) == (header == "ETag" and not heeds)
        # Another stamp, the same bytes.
        server.headers = {header: "2"}
        assert bench.tick(60) == ["due", "unchanged"]
        assert "same bytes" in bench.fires()[-1].note
    server.content = b"two"
    server.headers = {header: "3"} if header else {}
    assert bench.tick(60) == ["due", "running"]
    other = Path(given(bench))
    assert (path.read_bytes(), other.read_bytes()) == (b"one", b"two")
    assert bench.tick() == ["succeeded"]
    name = {"ETag": "If-None-Match", "Last-Modified": "If-Modified-Since"}.get(header)
    assert [asked.get(name or "", None) for asked in server.asked][:2] == [
        None,
        "1" if name else None,
    ]


def test_a_url_that_is_cut_off_refused_or_gone_is_no_input(
    bench: Bench, server: Server, tmp_path: Path
) -> None:
    situation = Situation(now=BEGIN, history=[], forced=False, alive=lambda: None)
    server.cut = 2
    with pytest.raises(WatchError, match="after 1 of 3 bytes"):
        look_at_url(url(server), tmp_path / "keep", situation)
    assert list((tmp_path / "keep").iterdir()) == []
    server.cut, server.code = 0, 403
    with pytest.raises(WatchError, match="Forbidden"):
        look_at_url(url(server), tmp_path / "keep", situation)
    with pytest.raises(WatchError, match="cannot be fetched"):
        look_at_url("http://127.0.0.1:9/x", tmp_path / "keep", situation)
    add(bench, "http://127.0.0.1:9/x")
    assert bench.tick(60) == ["due", "failed"]


def test_what_was_found_says_what_it_is(tmp_path: Path) -> None:
    path = write(tmp_path / "in.vcf", "one")
    situation = Situation(now=BEGIN, history=[], forced=False, alive=lambda: None)
    found = watch.look_at_file(path, situation)
    assert isinstance(found, Found)
    # echo -n one | sha256sum
    assert found.seen.digest.startswith("7692c3ad3540bb803c020b3aee66cd88")
    assert isinstance(watch.look_in_folder(str(tmp_path / "*.bcf"), situation), Unchanged)
    write(path, "one", age=SETTLED_S - 1)
    assert watch.look_at_file(path, situation) == NotYet(
        BEGIN + 1, f"{path} was written to less than 60 s ago"
    )


@pytest.mark.parametrize(
    ("watched", "told"),
    [
        ("https://me:secret@host/x.vcf", "password"),
        ("ftp://host/x.vcf", "only http"),
        ("s3://bucket/x.vcf", "only http"),
        ("none.vcf", "no such file"),
    ],
)
def test_what_cannot_be_watched_is_refused(watched: str, told: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=told) as raised:
        watch.check_watch(watched, tmp_path)
    assert "secret" not in str(raised.value)


def test_the_fires_are_named_by_their_times(bench: Bench) -> None:
    write(bench.folder.parent / "in.vcf", "one")
    add(bench, "in.vcf")
    bench.tick(60)
    plan = bench.fires()[0].plan
    assert plan is not None
    assert plan.output == str(bench.folder.parent / "runs" / due(1))
