"""What the progress reporter writes, and when."""

import io

from cisray.engine.progress import Display, ProgressReporter, progress_line
from cisray.engine.task import Progress


def at(done: int, *, failed: int = 0, elapsed_s: float = 60.0, retries: int = 0) -> Progress:
    return Progress(10, done, failed, 2, 2, retries, elapsed_s)


def test_a_line_has_rates_and_troubles() -> None:
    # 5 of 10 shards settled in 60 s: as long again, 1:00. 6,000 rows / 60 s = 100 rows/s
    assert progress_line(at(4, failed=1, retries=3), rows=6000) == (
        "4/10 shards, 6,000 rows, 100 rows/s, 1:00 left, 2 workers, 3 retried, 1 FAILED"
    )
    # 1 of 10 settled in 3,600 s: nine hours left
    assert progress_line(at(1, elapsed_s=3600), rows=0) == "1/10 shards, 9:00:00 left, 2 workers"
    assert progress_line(at(0), rows=0) == "0/10 shards, 2 workers"
    assert progress_line(at(10), rows=0) == "10/10 shards, 1:00 in all, 2 workers"


def test_lines_come_now_and_then_but_the_first_and_the_last_always() -> None:
    stream = io.StringIO()
    with ProgressReporter(every_s=3600, stream=stream) as reporter:
        for done in range(11):
            reporter.on_done(done, {"rows": 7})
            reporter.on_progress(at(done))
    lines = stream.getvalue().splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("0/10 shards, 7 rows")
    assert lines[1].startswith("10/10 shards, 77 rows")


def test_progress_can_be_records_of_the_log(caplog) -> None:
    """They come although the log is for warnings else."""
    stream = io.StringIO()
    with ProgressReporter(display=Display.LOG, every_s=3600, stream=stream) as reporter:
        for done in (0, 5, 10):
            reporter.on_progress(at(done))
    assert stream.getvalue() == ""
    assert [(r.levelname, r.getMessage()) for r in caplog.records] == [
        ("INFO", "0/10 shards, 2 workers"), ("INFO", "10/10 shards, 1:00 in all, 2 workers"),
    ]  # fmt: skip


def test_the_last_line_is_written_when_a_run_fails() -> None:
    stream = io.StringIO()
    try:
        with ProgressReporter(every_s=3600, stream=stream) as reporter:
            reporter.on_progress(at(0))
            reporter.on_progress(at(6))
            raise KeyboardInterrupt
    except KeyboardInterrupt:
        pass
    assert stream.getvalue().splitlines()[-1].startswith("6/10")


def test_none_writes_nothing_and_a_bar_ends_with_the_last_state() -> None:
    silent, bar = io.StringIO(), io.StringIO()
    for display, stream in ((Display.NONE, silent), (Display.BAR, bar)):
        with ProgressReporter(display=display, stream=stream) as reporter:
            reporter.on_progress(at(3))
            reporter.on_progress(at(10))
    assert silent.getvalue() == ""
    assert "10/10 shards" in bar.getvalue()
