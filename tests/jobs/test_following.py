"""Ctrl-C while a job is followed: a question, and what becomes of the job."""

from typing import Any

import pytest

from cisray.engine.jobs import JobFacts
from cisray_jobs.submit import following

DONE = JobFacts("j", "failed", "", None, None, None, "the node\n died", {})


class Jobs:
    url = "http://127.0.0.1:8265"

    def __init__(self, *outcomes: Any) -> None:
        self.outcomes, self.stopped = list(outcomes), []

    def follow(self, job_id: str, say: Any) -> JobFacts:
        say("a line\n")
        outcome = self.outcomes.pop(0)
        if isinstance(outcome, JobFacts):
            return outcome
        raise outcome

    def stop(self, job_id: str) -> None:
        self.stopped.append(job_id)


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch):
    """Somebody at a terminal, who answers so; an exception is raised while they are asked."""

    def sits(answer: bool | BaseException) -> None:
        def confirm(*_: object, **__: object) -> bool:
            if isinstance(answer, BaseException):
                raise answer
            return answer

        monkeypatch.setattr("sys.stdin", _Tty())
        monkeypatch.setattr("sys.stderr", _Tty())
        monkeypatch.setattr("typer.confirm", confirm)

    return sits


class _Tty:
    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> int:
        return len(text)

    def flush(self) -> None: ...


def test_who_says_yes_stops_it(terminal) -> None:
    terminal(True)
    jobs: Any = Jobs(KeyboardInterrupt())
    assert following.follow(jobs, "j") == 130
    assert jobs.stopped == ["j"]


@pytest.mark.parametrize("answer", [False, KeyboardInterrupt()])
def test_who_says_no_or_presses_again_leaves_it(terminal, answer) -> None:
    terminal(answer)
    jobs: Any = Jobs(KeyboardInterrupt())
    assert following.follow(jobs, "j") == 130
    assert jobs.stopped == []


def test_where_nobody_sits_it_goes_on_and_how_to_stop_it_is_said(capsys) -> None:
    jobs: Any = Jobs(KeyboardInterrupt())
    assert following.follow(jobs, "j") == 130
    caught = capsys.readouterr()
    assert jobs.stopped == []
    assert caught.out == "a line\n"
    assert "j goes on" in caught.err
    assert f"cisray jobs stop --address {jobs.url} j" in caught.err


def test_a_failure_without_an_exit_code_says_why(capsys) -> None:
    jobs: Any = Jobs(DONE)
    assert following.follow(jobs, "j") == 1
    assert "j: failed: the node died" in capsys.readouterr().err
