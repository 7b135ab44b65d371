"""Places in a command: filled in, left out, and refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cisray.errors import ConfigError
from cisray_jobs.schedule.template import option_value, places_in, render, values_of

VALUES = {"time": "T", "date": "D", "previous": "P", "input": "I"}


def test_every_place_is_filled_in_also_within_words() -> None:
    command = ["--out", "runs/{date}/{time}", "--vcf={input}", "--since", "{previous}", "{{x}}"]
    assert render(command, VALUES) == (
        "--out", "runs/D/T", "--vcf=I", "--since", "P", "{x}",
    )  # fmt: skip
    assert places_in(command) == {"time", "date", "previous", "input"}


@pytest.mark.parametrize(
    ("command", "left"),
    [
        (["--since", "{previous}", "--out", "o"], ["--out", "o"]),
        (["--a", "--since={previous}", "b"], ["--a", "b"]),
        (["-x", "1", "-s", "{previous}/sub"], ["-x", "1"]),
        (["--since", "old", "--since", "{previous}"], ["--since", "old"]),
    ],
)
def test_without_a_success_the_option_goes_with_its_value(
    command: list[str], left: list[str]
) -> None:
    assert render(command, {"time": "T"}) == tuple(left)


@pytest.mark.parametrize("command", [["{previous}"], ["show", "{previous}"]])
def test_a_previous_that_is_no_option_is_refused(command: list[str]) -> None:
    with pytest.raises(ConfigError, match="--since"):
        render(command, {})


@pytest.mark.parametrize(
    "argument",
    ["{tme}", "{}", "{0}", "{time.x}", "{time!r}", "{time:>9}", "{", "a}", "{time", "{date[0]}"],
)
def test_what_is_no_place_is_refused(argument: str) -> None:
    with pytest.raises(ConfigError):
        places_in([argument])


@given(st.lists(st.text(st.characters(exclude_characters="{}"), max_size=9), max_size=5))
def test_words_without_braces_stay_as_they_are(words: list[str]) -> None:
    assert render(words, {}) == tuple(words)


def test_the_date_is_of_the_zone_and_the_time_of_utc() -> None:
    # 2026-11-23 23:30 UTC is the 24th in Berlin.
    assert values_of(1_795_476_600, "Europe/Berlin") == {
        "time": "20261123T233000Z",
        "date": "2026-11-24",
    }


def test_an_option_given_twice_counts_with_its_last_value() -> None:
    assert option_value(["--out", "a", "--outer", "c"], "--out") == "a"
    assert option_value(["--out=a", "--out", "b"], "--out") == "b"
    assert option_value(["--out"], "--out") is None
