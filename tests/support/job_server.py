"""A job server on this machine, as far as `cisray.engine.jobs` asks one: HTTP, and real processes.

It speaks as the dashboard of Ray does and knows nothing of Ray. It can be closed and opened at the
same port, forget its jobs, want a token, and say of a job what a test wants it to.
"""

import json
import os
import signal
import subprocess
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock, Thread
from typing import Any

import ray

SESSION = "session_of_a_test"


@dataclass
class Taken:
    """A job that was submitted: what was asked for, its process, and what is said of it."""

    asked: dict[str, Any]
    process: subprocess.Popen[bytes]
    log: Path
    begun: int
    stopped: bool = False
    said: dict[str, Any] | None = None

    def told(self) -> dict[str, Any]:
        code = self.process.poll()
        state = {None: "RUNNING", 0: "SUCCEEDED"}.get(code, "FAILED")
        if self.stopped and code is not None:
            state, code = "STOPPED", None
        return {
            "type": "SUBMISSION", "submission_id": self.asked["submission_id"], "status": state,
            "entrypoint": self.asked["entrypoint"], "message": "a message",
            "start_time": self.begun,
            "end_time": None if state == "RUNNING" else self.begun + 5_000,
            "driver_exit_code": code, "metadata": self.asked["metadata"], **(self.said or {}),
        }  # fmt: skip


@dataclass
class JobServer:
    """A context manager; `folder` is the session's. `jobs` and `packages` are what it was sent."""

    folder: Path
    token: str | None = None
    version: str = str(ray.__version__)
    jobs: dict[str, Taken] = field(default_factory=dict)
    packages: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        (self.folder / "ray" / SESSION).mkdir(parents=True)
        self.lock, self.port = Lock(), 0
        self.processes: list[subprocess.Popen[bytes]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> "JobServer":
        self.open()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
        for process in self.processes:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def open(self) -> None:
        self.server = ThreadingHTTPServer(("127.0.0.1", self.port), _handler(self))
        self.port = self.server.server_address[1]
        self.thread = Thread(target=self.server.serve_forever, args=(0.02,))
        self.thread.start()

    def close(self) -> None:
        """Answer no more; jobs go on."""
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()

    def forget(self) -> None:
        """Be a head that was started anew: its jobs are gone with it."""
        for taken in self.jobs.values():
            if taken.process.poll() is None:
                os.killpg(taken.process.pid, signal.SIGKILL)
                taken.process.wait()
        self.jobs.clear()

    def say(self, job_id: str, **details: Any) -> None:
        self.jobs[job_id].said = details

    def submit(self, asked: dict[str, Any]) -> tuple[int, Any]:
        with self.lock:
            job_id = asked["submission_id"]
            if job_id in self.jobs:
                return 500, f"ValueError: Job with submission_id {job_id} already exists."
            log = self.folder / f"{len(self.processes)}.log"
            with log.open("wb") as stream:
                process = subprocess.Popen(
                    ["bash", "-c", asked["entrypoint"]],
                    cwd=self.folder,
                    env={**os.environ, **asked["runtime_env"].get("env_vars", {})},
                    stdin=subprocess.DEVNULL,
                    stdout=stream,
                    stderr=stream,
                    start_new_session=True,
                )
            self.processes.append(process)
            self.jobs[job_id] = Taken(asked, process, log, int(time.time() * 1000))
            return 200, {"job_id": job_id, "submission_id": job_id}

    def stop(self, taken: Taken) -> dict[str, Any]:
        if taken.process.poll() is None:
            taken.stopped = True
            os.killpg(taken.process.pid, signal.SIGINT)
        return {"stopped": taken.stopped}

    def answer(self, method: str, path: str, body: bytes) -> tuple[int, Any]:
        """Give the code and what is sent back."""
        parts = path.partition("?")[0].strip("/").split("/")
        match (method, *parts):
            case ("GET", "api", "version"):
                told = {"version": "4", "ray_version": self.version, "ray_commit": ""}
                return 200, told | {"session_name": SESSION}
            case ("GET", "api", "v0", "nodes"):
                node = {"state": "ALIVE", "node_ip": "127.0.0.1", "resources_total": {"CPU": 1}}
                return 200, {"data": {"result": {"result": [node]}}}
            case ("GET", "api", "packages", _, name):
                return (200 if name in self.packages else 404), {}
            case ("PUT", "api", "packages", _, name):
                self.packages.append(name)
                return 200, {}
            case ("POST", "api", "jobs"):
                return self.submit(json.loads(body))
        job = self.jobs.get(parts[2]) if parts[:2] == ["api", "jobs"] else None
        if job is None:
            return 404, "no such job"
        match (method, *parts[3:]):
            case ("GET",):
                return 200, job.told()
            case ("GET", "logs"):
                return 200, {"logs": job.log.read_text()}
            case ("POST", "stop"):
                return 200, self.stop(job)
        return 404, "no such path"


def _handler(server: JobServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            server.asked.append(f"{self.command} {self.path}")
            given = self.headers.get("Authorization")
            if server.token is not None and given != f"Bearer {server.token}":
                code, told = 401, "no token"
            else:
                code, told = server.answer(self.command, self.path, body)
            data = (told if isinstance(told, str) else json.dumps(told)).encode()
            self.send_response(code)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do_PUT = do  # noqa: N815  # names of http.server

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    return Handler
