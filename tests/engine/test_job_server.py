"""Where jobs are sent and with which token: nothing goes where it was not meant to go."""

import logging
from pathlib import Path

import pytest

from cisray.engine.job_server import DEFAULT_URL, job_server, token_of
from cisray.errors import ConfigError

SECRET = "c2VjcmV0LW9mLXRoZS1jbHVzdGVy"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder without ~/.ray."""
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def write_token(path: Path, text: str = f"{SECRET}\n", mode: int = 0o600) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    path.chmod(mode)
    return path


def test_the_default_is_this_machine() -> None:
    server = job_server(None, {})
    assert (server.url, server.token) == (DEFAULT_URL, None)
    assert DEFAULT_URL.startswith("http://127.0.0.1:")


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:8265", "http://localhost:1", "http://[::1]:8265", "https://head:443"]
)
def test_this_machine_and_https_need_no_token(url: str) -> None:
    assert job_server(f"{url}/", {}).url == url


@pytest.mark.parametrize("url", ["http://10.0.0.7:8265", "http://0.0.0.0:8265", "http://head:8265"])
def test_plain_http_to_another_machine_needs_a_token(url: str) -> None:
    with pytest.raises(ConfigError, match="there is no token"):
        job_server(url, {})
    with pytest.raises(ConfigError, match="there is no token"):
        job_server(url, {"RAY_AUTH_MODE": "disabled", "RAY_AUTH_TOKEN": SECRET})
    assert job_server(url, {"RAY_AUTH_TOKEN": SECRET}).token == SECRET


@pytest.mark.parametrize(
    "url",
    ["head:8265", "ray://head:10001", "http://", "http://head:0", "http://head:x", "auto",
     "http://head:8265/jobs", "ftp://head", "http://head:8265#a"],
)  # fmt: skip
def test_what_is_no_job_server(url: str) -> None:
    with pytest.raises(ConfigError, match="is not the address of a job server") as caught:
        job_server(url, {"RAY_AUTH_TOKEN": SECRET})
    assert url in str(caught.value)


@pytest.mark.parametrize("url", [f"http://me:{SECRET}@127.0.0.1:8265", f"https://h:1?k={SECRET}"])
def test_credentials_in_an_address_are_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        job_server(url, {})
    assert SECRET not in str(caught.value)


def test_where_the_token_comes_from(home: Path) -> None:
    """In Ray's order: the variable, the file that a variable names, the file at home."""
    write_token(home / ".ray" / "auth_token", "at-home")
    named = write_token(home / "token", "in-a-file\n")
    by_file = {"RAY_AUTH_TOKEN_PATH": str(named)}
    assert token_of(by_file | {"RAY_AUTH_TOKEN": SECRET}) == SECRET
    assert token_of(by_file) == "in-a-file"
    assert token_of({}) == token_of({"RAY_AUTH_MODE": "token"}) == "at-home"
    assert token_of(by_file | {"RAY_AUTH_MODE": "disabled"}) is None


def test_a_token_that_is_demanded_and_missing(home: Path) -> None:
    assert token_of({}) is None
    with pytest.raises(ConfigError, match="RAY_AUTH_MODE=token asks for a token"):
        token_of({"RAY_AUTH_MODE": "token"})
    with pytest.raises(ConfigError, match=r"Cannot read the token in .*missing"):
        token_of({"RAY_AUTH_TOKEN_PATH": str(home / "missing")})


@pytest.mark.parametrize("text", [" ", "two words", f"{SECRET}\r\nX-Evil: 1"])
def test_what_no_header_can_carry_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(ConfigError, match="RAY_AUTH_TOKEN is empty, or holds") as caught:
        token_of({"RAY_AUTH_TOKEN": text})
    assert SECRET not in str(caught.value)


def test_a_token_that_others_may_read_is_told(home: Path, caplog) -> None:
    path = write_token(home / "token", mode=0o644)
    caplog.set_level(logging.WARNING)
    assert token_of({"RAY_AUTH_TOKEN_PATH": str(path)}) == SECRET
    assert "chmod 600 it" in caplog.text
    assert SECRET not in caplog.text


def test_a_token_is_not_shown() -> None:
    assert SECRET not in repr(job_server(None, {"RAY_AUTH_TOKEN": SECRET}))
