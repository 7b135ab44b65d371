"""The files that start clusters: right by Ray's own schema, and in what the schema lets through."""

import copy
import re
import shlex
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

DEPLOY = Path(__file__).parents[2] / "deploy"
ROOT = DEPLOY.parent
CLOUDS = ("cluster.yaml", "cluster-gcp.yaml")
FILES = (*CLOUDS, "cluster-onprem.yaml")
TOKEN = "/home/ray/.ray/auth_token"
MAX_IDLE_MINUTES = 15


def read(name: str) -> dict[str, Any]:
    return dict(yaml.safe_load((DEPLOY / name).read_text()))


def locked_ray() -> str:
    (version,) = re.findall(r"^ray==(\S+)$", (ROOT / "requirements.lock").read_text(), re.M)
    return str(version)


def image() -> str:
    """The one image that fits: Ray of the lock, Python that the project is held to."""
    needed = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"]
    return f"rayproject/ray:{locked_ray()}-py{needed.removeprefix('>=').replace('.', '')}-gpu"


def texts(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        for part in value.items():
            yield from texts(part)
    elif isinstance(value, list | tuple):
        for part in value:
            yield from texts(part)
    else:
        yield str(value)


def starts(config: dict[str, Any], kind: str) -> list[list[str]]:
    """The words of each command that starts Ray."""
    commands = config[f"{kind}_start_ray_commands"]
    return [shlex.split(line) for line in commands if " start " in line]


def dangers(config: dict[str, Any]) -> Iterator[str]:
    """What Ray's schema lets through and a user would pay for, with money or with the machines."""
    if any(re.search(r"0\.0\.0\.0|::/0", text) for text in texts(config)):
        yield "open to the world"
    for kind in ("head", "worker"):
        commands = starts(config, kind)
        if len(commands) != 1:
            yield f"{kind}: left to Ray's default start commands"
        for words in commands:
            if "RAY_AUTH_MODE=token" not in words[: words.index("ray")]:
                yield f"{kind}: no token"
            if kind == "head" and "--dashboard-host=127.0.0.1" not in words:
                yield "head: the dashboard listens elsewhere"
    if config["docker"]["image"] != image():
        yield "another Ray or Python"
    if set(config["file_mounts"]) != {TOKEN, "/home/ray/cisray"}:
        yield "files that are not needed, or no token"
    if not 0 < config.get("idle_timeout_minutes", 0) <= MAX_IDLE_MINUTES:
        yield "idle machines stay"
    setup = " ".join(config["setup_commands"])
    if "requirements.lock" not in setup or "/cisray-*.whl" not in setup:
        yield "cisray is not installed"
    yield from _of_machines(config)


def _of_machines(config: dict[str, Any]) -> Iterator[str]:
    if config["provider"]["type"] == "local":
        if not {"--num-cpus=0", "--num-gpus=0"} <= set(starts(config, "head")[0]):
            yield "the head takes work"
        return
    if config["provider"].get("cache_stopped_nodes", True):
        yield "stopped machines stay"
    types = dict(config["available_node_types"])
    head = types.pop(config["head_node_type"])
    if head.get("resources", {}).get("CPU") != 0 or head["resources"].get("GPU"):
        yield "the head takes work"
    if {kind.get("labels", {}).get("market") for kind in types.values()} != {"spot", "on-demand"}:
        yield "not both markets"
    for name, kind in types.items():
        is_spot = re.search(r"(?i)'spot'", str(kind["node_config"])) is not None
        if is_spot != (kind.get("labels", {}).get("market") == "spot"):
            yield f"{name}: its label says another market"
        if not kind["resources"].get("GPU") or kind.get("min_workers") != 0:
            yield f"{name}: no GPU, or always there"
        if not 0 < kind.get("max_workers", 0) <= config["max_workers"]:
            yield f"{name}: no limit"


@pytest.mark.parametrize("name", FILES)
def test_ray_itself_takes_it(name: str) -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    prepared = prepare_config(read(name))
    validate_config(prepared)
    # What Ray fills in replaces nothing that is said here: its defaults are open.
    given = read(name)
    for key in ("head_start_ray_commands", "worker_start_ray_commands", "setup_commands"):
        assert prepared[key] == given[key]
    assert prepared["max_workers"] == given["max_workers"]


@pytest.mark.parametrize("name", FILES)
def test_it_is_closed_bounded_and_of_the_locked_ray(name: str) -> None:
    assert list(dangers(read(name))) == []


def test_the_checks_see_what_the_schema_lets_through() -> None:
    whole = read("cluster.yaml")

    def changed(change: Any) -> list[str]:
        config = copy.deepcopy(whole)
        change(config)
        return list(dangers(config))

    def replace(key: str, old: str, new: str) -> Any:
        def change(config: dict[str, Any]) -> None:
            config[key] = yaml.safe_load(yaml.safe_dump(config[key], width=999).replace(old, new))

        return change

    def of_spot(change: Any) -> Any:
        return lambda config: change(config["available_node_types"]["gpu_spot"])

    head, worker = "head_start_ray_commands", "worker_start_ray_commands"
    stray = "files that are not needed, or no token"
    for change, danger in (
        (replace("provider", "YOUR.NETWORK.HERE/32", "0.0.0.0/0"), "open to the world"),
        (replace(head, "--dashboard-host=127.0.0.1", ""), "head: the dashboard listens elsewhere"),
        (replace(head, "RAY_AUTH_MODE=token", ""), "head: no token"),
        (replace(worker, "RAY_AUTH_MODE=token", ""), "worker: no token"),
        (lambda c: c[worker].clear(), "worker: left to Ray's default start commands"),
        (replace("docker", locked_ray(), "2.59.0"), "another Ray or Python"),
        (replace("docker", "py311", "py312"), "another Ray or Python"),
        (lambda c: c["file_mounts"].pop(TOKEN), stray),
        (lambda c: c["file_mounts"].update({"/home/ray": "~"}), stray),
        (lambda c: c.update(idle_timeout_minutes=600), "idle machines stay"),
        (lambda c: c["provider"].pop("cache_stopped_nodes"), "stopped machines stay"),
        (lambda c: c["available_node_types"]["head"]["resources"].clear(), "the head takes work"),
        (of_spot(lambda kind: kind.pop("max_workers")), "gpu_spot: no limit"),
        (of_spot(lambda kind: kind.update(min_workers=1)), "gpu_spot: no GPU, or always there"),
        (
            of_spot(lambda kind: kind["node_config"].pop("InstanceMarketOptions")),
            "gpu_spot: its label says another market",
        ),
        (replace("setup_commands", "requirements.lock", "x"), "cisray is not installed"),
    ):
        assert changed(change) == [danger]


def test_ec2_knows_every_setting_of_a_machine() -> None:
    """Ray's schema takes anything for `node_config`; what EC2 takes is written in its client."""
    session = pytest.importorskip("botocore.session").get_session()
    from botocore.validate import ParamValidator

    shape = session.get_service_model("ec2").operation_model("RunInstances").input_shape
    ours = {"MinCount": 1, "MaxCount": 1}
    kinds = read("cluster.yaml")["available_node_types"]
    assert len(kinds) == 3
    for kind in kinds.values():
        report = ParamValidator().validate(kind["node_config"] | ours, shape)
        assert not report.has_errors(), report.generate_report()
    wrong = {"InstanceTyp": "m7i.large", **ours}
    assert ParamValidator().validate(wrong, shape).has_errors()


def instructions(text: str) -> list[tuple[str, str]]:
    """A Dockerfile's instructions and their arguments."""
    joined = re.sub(r"\\\n", " ", text)
    lines = [line for line in joined.splitlines() if line.strip() and not line.startswith("#")]
    return [(word, rest) for word, _, rest in (line.partition(" ") for line in lines)]


def test_the_image() -> None:
    """What a linter of Dockerfiles asks for, as far as it matters here; none is at hand."""
    steps = instructions((DEPLOY / "Dockerfile").read_text())
    assert steps[0] == ("FROM", image())
    assert [word for word, _ in steps if word in ("ADD", "MAINTAINER", "EXPOSE")] == []
    assert [user for word, user in steps if word == "USER"] == ["ray"]
    for _, command in (step for step in steps if step[0] == "RUN"):
        assert "--no-cache-dir" in command
        assert "sudo" not in command
        assert "pip install" in command
    copied = [rest.split() for word, rest in steps if word == "COPY"]
    sources = {source for _, *names, _ in copied for source in names}
    assert all((ROOT / source).exists() for source in sources)
    first = [word for word, _ in steps].index("RUN")
    assert "requirements.lock" in steps[first][1]  # the large layer is made before code is copied
    assert any(word == "ENV" and "RAY_AUTH_MODE=token" in rest for word, rest in steps)
    ignored = (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines()
    kept = [line for line in ignored if not line.startswith("#")]
    assert kept[0] == "*"
    assert {line[1:] for line in kept if line.startswith("!")} == sources


def test_the_script_for_slurm() -> None:
    path = DEPLOY / "ray-on-slurm.sh"
    subprocess.run(["bash", "-n", str(path)], check=True)
    text = path.read_text()
    assert "set -euo pipefail" in text
    assert text.index("export RAY_AUTH_MODE=token") < text.index("ray start")
    assert "--dashboard-host=127.0.0.1" in text
    assert "0.0.0.0" not in text


def test_what_the_files_install_can_be_made() -> None:
    assert re.search(r"^deploy/dist: ", (ROOT / "Makefile").read_text(), re.M)
    assert all(read(name)["file_mounts"]["/home/ray/cisray"] == "deploy/dist" for name in FILES)
