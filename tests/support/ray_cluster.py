"""A Ray cluster of several nodes on this machine, as `ray start` makes one: closed by a token.

Knows processes and ports; knows nothing of cisray. The source tree is not on its path: what runs on
it is what was sent, or what is installed.
"""

import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest
from campaign import ACTOR_TITLE, descendants, kill_everything

START_S = 120.0
TRIES = 3  # of a node: one that has not started within 30 s, on a busy machine, gives up by itself


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


@dataclass
class RayCluster:
    """A head without CPUs, and workers with one each. A context manager.

    `environment` is what a client needs to reach it. Workers may say that they have GPUs. With
    `imports_ours` its processes import what this one does, in place of what was sent to them;
    `variables` are for all of them.
    """

    workers: int = 0
    head_cpus: int = 0
    worker_cpus: int = 1
    worker_gpus: int = 0
    imports_ours: bool = False
    variables: dict[str, str] = field(default_factory=dict)
    token: str = field(default_factory=lambda: secrets.token_hex(32), repr=False)
    nodes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def __post_init__(self) -> None:
        # Ray's sockets have long names, and may be 107 bytes in all.
        self.folder = Path(tempfile.mkdtemp(prefix="cr"))
        self.port, self.dashboard = free_port(), free_port()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.dashboard}"

    @property
    def environment(self) -> dict[str, str]:
        return {
            "RAY_API_SERVER_ADDRESS": self.url,
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": self.token,
            "RAY_TMPDIR": str(self.folder),
        }

    def __enter__(self) -> Self:
        self._join(1, self._head)
        for number in range(self.workers):
            self._join(2 + number, self._worker)
        return self

    def _head(self) -> tuple[str, ...]:
        return (
            "--head", f"--num-cpus={self.head_cpus}", "--num-gpus=0", f"--port={self.port}",
            "--dashboard-host=127.0.0.1", f"--dashboard-port={self.dashboard}",
        )  # fmt: skip

    def _worker(self) -> tuple[str, ...]:
        offers = (f"--num-cpus={self.worker_cpus}", f"--num-gpus={self.worker_gpus}")
        return (f"--address=127.0.0.1:{self.port}", *offers)

    def _join(self, nodes: int, options: Callable[[], tuple[str, ...]]) -> None:
        """Start one more node, and again if it gives up, until there are so many."""
        for _ in range(TRIES):
            self._start(*options())
            if self._wait(nodes):
                return
            kill_everything(self.nodes.pop().pid)
            if nodes == 1:  # somebody may have taken the ports since they were free
                self.port, self.dashboard = free_port(), free_port()
        logs = "\n".join(path.read_text() for path in self.folder.glob("node*.log"))
        self.__exit__(None, None, None)
        raise AssertionError(f"no cluster of {nodes} nodes:\n{logs}")

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for node in reversed(self.nodes):
            kill_everything(node.pid)
            node.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def reach(self, patch: pytest.MonkeyPatch) -> None:
        """Set the variables that lead here, and others that would lead elsewhere."""
        for name, value in self.environment.items():
            patch.setenv(name, value)
        patch.setenv("RAY_ADDRESS", "10.255.255.1:6379")
        for name in ("http_proxy", "HTTP_PROXY"):
            patch.setenv(name, "http://127.0.0.1:9")
        patch.delenv("CISRAY_CLUSTER_PATHS", raising=False)

    def kill_node(self, number: int) -> None:
        """SIGKILL a node with everything on it, as when the machine is taken away."""
        kill_everything(self.nodes[number].pid)

    def actors(self, *numbers: int) -> set[int]:
        """The scoring workers that live on these nodes."""
        return {
            pid
            for number in numbers
            for pid, line in descendants(self.nodes[number].pid).items()
            if line.startswith(ACTOR_TITLE)
        }

    def start_again(self) -> None:
        """Start all nodes anew, at the same ports, when they were killed: nothing is remembered."""
        for node in self.nodes:
            node.wait()
        self.nodes.clear()
        self.__enter__()

    def processes(self) -> set[int]:
        return {pid for node in self.nodes for pid in (node.pid, *descendants(node.pid))}

    def ask(self, path: str) -> Any:
        """Ask the dashboard."""
        asked = urllib.request.Request(
            f"{self.url}{path}", headers={"Authorization": f"Bearer {self.token}"}
        )
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(asked) as answer:
            return json.load(answer)

    def _start(self, *options: str) -> None:
        ours = (
            "PYTHONPATH", "RAY_ADDRESS", "RAY_API_SERVER_ADDRESS", "RAY_AUTH_TOKEN_PATH",
            "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER",  # of an embedded Ray in this process: no nodes
        )  # fmt: skip
        inherited = {name: value for name, value in os.environ.items() if name not in ours}
        binaries = [str(Path(sys.executable).parent), os.environ.get("PATH", "")]
        environment = {
            **inherited,
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": self.token,
            "RAY_TMPDIR": str(self.folder),
            "RAY_USAGE_STATS_ENABLED": "0",
            # A lost node is noticed after 2 s and not 15.
            "RAY_health_check_period_ms": "500",
            "RAY_health_check_failure_threshold": "4",
            "OMP_NUM_THREADS": "1",
            # `python` and `pip` of a job are the first on the path.
            "PATH": os.pathsep.join(binaries),
            **(
                {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))} if self.imports_ours else {}
            ),
            **self.variables,
        }
        # SIGINT is ignored as in what a shell script starts with "&", and in all that comes of it.
        shell = ["sh", "-c", "trap '' INT; exec \"$@\"", "sh"]
        command = [*shell, sys.executable, "-m", "ray.scripts.scripts", "start", "--block"]
        # The port of a node's agent is a fixed one, and there are several nodes here.
        own = [f"--dashboard-agent-listen-port={free_port()}", f"--object-store-memory={80 << 20}"]
        with (self.folder / f"node{len(self.nodes)}.log").open("wb") as log:
            started = subprocess.Popen(
                [*command, "--disable-usage-stats", *own, *options],
                cwd=self.folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.nodes.append(started)

    def _wait(self, nodes: int) -> bool:
        """Wait for the newest node; False if it has gone, or takes too long."""
        deadline = time.monotonic() + START_S
        while self._alive() < nodes:
            if self.nodes[-1].poll() is not None or time.monotonic() > deadline:
                return False
            time.sleep(0.2)
        return True

    def _alive(self) -> int:
        try:
            told = self.ask("/api/v0/nodes?limit=100")["data"]["result"]["result"]
        except (OSError, urllib.error.URLError, KeyError):
            return 0
        return sum(node["state"] == "ALIVE" for node in told)
