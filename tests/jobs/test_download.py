"""`cisray model download` against a hub on this machine, with its headers and its failures."""

import http.server
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import sha1
from pathlib import Path

import pytest

COMMIT = "0123456789abcdef0123456789abcdef01234567"
REPOSITORY = "lab/enformer"


@dataclass
class Hub:
    """What the server offers, how it misbehaves, and what it was asked."""

    files: dict[str, bytes]
    cut_at: int | None = None
    asked: list[str] = field(default_factory=list)
    endpoint: str = ""


def handler(hub: Hub) -> type[http.server.BaseHTTPRequestHandler]:
    class Resolve(http.server.BaseHTTPRequestHandler):
        """The endpoint /REPOSITORY/resolve/REVISION/FILE, as the hub answers it."""

        protocol_version = "HTTP/1.1"

        def answer(self, *, body: bool) -> None:
            hub.asked.append(f"{self.command} {self.path}")
            where, _, name = self.path.rpartition("/")
            data = hub.files.get(name)
            if data is None or not where.startswith(f"/{REPOSITORY}/resolve/"):
                self.send_response(404)
                self.send_header("X-Error-Code", "EntryNotFound")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self.send_response(200)
            self.send_header("ETag", f'"{sha1(data).hexdigest()}"')
            self.send_header("X-Repo-Commit", COMMIT)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            if body:
                self.wfile.write(data[: hub.cut_at])
                self.close_connection = hub.cut_at is not None

        def do_HEAD(self) -> None:
            self.answer(body=False)

        def do_GET(self) -> None:
            self.answer(body=True)

        def log_message(self, *_: object) -> None:
            pass

    return Resolve


@pytest.fixture
def hub(shared: Path) -> Iterator[Hub]:
    source = shared / "golden" / "ptA"
    config = json.loads((source / "config.json").read_text())
    # As in the published repository: 896 bins, and no word about the gamma features.
    config["target_length"] = 896
    del config["use_tf_gamma"]
    weights = (source / "pytorch_model.bin").read_bytes()
    offered = Hub({"config.json": json.dumps(config).encode(), "pytorch_model.bin": weights})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler(offered))
    offered.endpoint = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield offered
    server.shutdown()
    server.server_close()
    thread.join()


# The hub's client tries for half a minute before it gives up; the waiting is left out here.
COMMAND = "import time; time.sleep = lambda s: None; from cisray_jobs.cli import main; main()"


def download(out: Path, endpoint: str, *more: str) -> subprocess.CompletedProcess[str]:
    """Run the command as a process: the hub's library reads its environment when imported."""
    kept = {n: v for n, v in os.environ.items() if not n.startswith(("HF_", "HUGGING"))}
    home = out.parent / "hf"
    environment = {
        **kept,
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        "HF_ENDPOINT": endpoint,
        "HF_HOME": str(home),
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "NO_PROXY": "127.0.0.1",
        "no_proxy": "127.0.0.1",
    }
    command = ("model", "download", str(out), "--repository", REPOSITORY, *more)
    return subprocess.run(
        [sys.executable, "-c", COMMAND, *command],
        env=environment,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )


def assert_told(result: subprocess.CompletedProcess[str], *words: str) -> None:
    assert result.returncode == 1, result.stderr
    assert "Traceback" not in result.stderr
    error = " ".join(result.stderr[result.stderr.index("Error:") :].split())
    for word in (REPOSITORY, "cisray model convert FOLDER OUT", *words):
        assert word in error


@pytest.mark.long
@pytest.mark.golden
def test_a_model_is_fetched_converted_and_traced_to_its_commit(hub: Hub, tmp_path: Path) -> None:
    """At the second try: the first time the connection breaks off, and nothing is left."""
    out = tmp_path / "m.safetensors"
    hub.cut_at = 100
    assert_told(download(out, hub.endpoint, "--revision", "v1.0"))
    assert not out.exists()
    hub.cut_at = None
    hub.asked.clear()
    result = download(out, hub.endpoint, "--revision", "v1.0", "--json")
    assert result.returncode == 0, result.stderr
    info = json.loads(result.stdout)
    assert f"HEAD /{REPOSITORY}/resolve/v1.0/config.json" in hub.asked
    assert info["provenance"]["source"] == REPOSITORY
    assert info["provenance"]["source_commit"] == COMMIT
    assert info["config"]["gamma_normalisation"] == "per_feature"
    assert info["geometry"]["input_bp"] == 196_608
    assert {head: about["tracks"] for head, about in info["heads"].items()} == {
        "human": 7,
        "mouse": 5,
    }
    # Again: from the cache, without fetching the bytes a second time.
    gets = sum(line.startswith("GET") for line in hub.asked)
    assert gets == 2
    again = download(out, hub.endpoint, "--revision", "v1.0", "--overwrite", "--json")
    assert json.loads(again.stdout)["digest"] == info["digest"]
    assert sum(line.startswith("GET") for line in hub.asked) == gets


@pytest.mark.long
@pytest.mark.golden
def test_a_repository_without_the_weights(hub: Hub, tmp_path: Path) -> None:
    del hub.files["pytorch_model.bin"]
    assert_told(download(tmp_path / "m.safetensors", hub.endpoint))
    assert not (tmp_path / "m.safetensors").exists()


@pytest.mark.long
def test_a_hub_that_does_not_answer(tmp_path: Path) -> None:
    # Port 9 of this machine: nobody listens.
    assert_told(download(tmp_path / "m.safetensors", "http://127.0.0.1:9"), "HF_ENDPOINT")
    assert not (tmp_path / "m.safetensors").exists()
