"""An S3 server on this machine for tests: moto's, in a process of its own, with faults on demand.

Requests are carried out one at a time, as a real store makes each of them atomic; moto alone does
not. Run as a script it serves until it is killed, and prints its port first.

A fault is for so many requests whose `METHOD /path` a pattern is found in:

    fail    answer 500, nothing is done
    deny    answer 403, nothing is done
    lose    do it, then drop the connection without an answer
    blur    do it, then answer 500
    defy    do it without its conditions, as an old store would
"""

import json
import os
import re
import socket
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

KEY, SECRET = "AKIDCISRAYTEST", "do-not-tell-9f8e7d6c5b4a"
BUCKET = "cisray-test"
DENIED = (
    b"<?xml version='1.0'?><Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"
)


class S3Server(NamedTuple):
    """A server that runs, and how tests talk to it."""

    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def environment(self) -> dict[str, str]:
        """The variables that lead to it."""
        return {
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_ENDPOINT_URL": self.url,
            "AWS_REGION": "us-east-1",
            "AWS_ALLOW_HTTP": "true",
            "NO_PROXY": "127.0.0.1",
        }

    def fault(self, what: str, pattern: str, times: int = 1_000_000) -> None:
        self._ask("faults", {"what": what, "pattern": pattern, "times": times})

    def heal(self) -> None:
        """Take back all faults, and forget the requests so far."""
        self._ask("heal", {})

    def requests(self) -> list[tuple[str, int]]:
        """Every request since the last `heal` as `METHOD /path`, and the bytes of its answer."""
        return [(line, size) for line, size in self._ask("log", {})]

    def _ask(self, what: str, content: object) -> Any:
        request = urllib.request.Request(
            f"{self.url}/_test/{what}", json.dumps(content).encode(), method="POST"
        )
        with urllib.request.urlopen(request) as answer:
            return json.loads(answer.read())


def start() -> tuple[subprocess.Popen[str], S3Server]:
    """Start a server with one bucket; the caller kills it."""
    process = subprocess.Popen(
        [sys.executable, str(Path(__file__))],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET},
    )
    assert process.stdout is not None
    server = S3Server(int(process.stdout.readline()))
    request = urllib.request.Request(f"{server.url}/{BUCKET}", method="PUT")
    request.add_header("Authorization", f"AWS4-HMAC-SHA256 Credential={KEY}/x/us-east-1/s3/x")
    with urllib.request.urlopen(request):
        return process, server


class Faulty:
    """A WSGI application that lets another do the work, or not."""

    def __init__(self, app: Callable[..., Iterable[bytes]]) -> None:
        self._app = app
        self._one_at_a_time = threading.Lock()
        self._faults: list[dict[str, Any]] = []
        self._log: list[tuple[str, int]] = []

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        path = environ["PATH_INFO"]
        if path.startswith("/_test/"):
            return self._control(path.removeprefix("/_test/"), environ, start_response)
        with self._one_at_a_time:
            line = f"{environ['REQUEST_METHOD']} {path}"
            what = self._next_fault(line)
            if what in ("fail", "deny"):
                start_response("403 no" if what == "deny" else "500 no", [])
                self._log.append((line, 0))
                return [DENIED if what == "deny" else b""]
            if what == "defy":
                environ.pop("HTTP_IF_MATCH", None)
                environ.pop("HTTP_IF_NONE_MATCH", None)
            answer: list[Any] = []
            body = b"".join(self._app(environ, lambda *given: answer.extend(given)))
            self._log.append((line, len(body)))
        if what == "lose":
            environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
            raise ConnectionError("lost on purpose")
        start_response(*(("500 no", []) if what == "blur" else answer[:2]))
        return [body]

    def _next_fault(self, line: str) -> str | None:
        for fault in self._faults:
            if fault["times"] > 0 and re.search(fault["pattern"], line):
                fault["times"] -= 1
                return str(fault["what"])
        return None

    def _control(
        self, what: str, environ: dict[str, Any], start_response: Callable[..., Any]
    ) -> list[bytes]:
        content = json.loads(environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"])))
        if what == "faults":
            self._faults.append(content)
        elif what == "heal":
            self._faults, self._log = [], []
        start_response("200 OK", [])
        return [json.dumps(self._log if what == "log" else None).encode()]


def main() -> None:
    from moto.server import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import make_server

    app = Faulty(DomainDispatcherApplication(create_backend_app))
    server = make_server("127.0.0.1", 0, app, threaded=True)
    sys.stdout.write(f"{server.server_port}\n")
    sys.stdout.flush()
    server.serve_forever()


if __name__ == "__main__":
    main()
