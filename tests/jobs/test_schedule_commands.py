"""`cisray schedule`: what is refused when it is added, what is told, and a real run to its end."""

import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "docs" / "schedule"
VARIANTS = ("score", "variants", "--vcf", "x.vcf", "--out", "runs/{time}")


@pytest.fixture
def schedule(cisray: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CISRAY_SCHEDULE", str(tmp_path / "ledger"))
    return lambda *arguments: cisray("schedule", *arguments)


def add(schedule: Any, *options: str, command: tuple[str, ...] = VARIANTS) -> Any:
    return schedule("add", "night", "--cron", "0 3 * * *", *options, "--", *command)


@pytest.mark.parametrize(
    ("options", "command", "told"),
    [
        ((), ("score", "varants", "--vcf", "x"), ("no command 'varants'", "variants?")),
        ((), ("scroe",), ("no command 'scroe'", "score?")),
        ((), ("score",), ("cisray score has no command ''",)),
        ((), ("cisray", "score", "variants", "--vfc", "x"), ("--vfc", "--vcf")),
        ((), ("score", "variants", "--vcf"), ("--vcf", "argument")),
        ((), ("score", "variants", "--help"), ("prints its help",)),
        ((), ("score", "variants", "--shard-timeout", "soon"), ("soon",)),
        ((), ("schedule", "tick"), ("cannot run cisray schedule",)),
        ((), ("cisray",), ("no command is given",)),
        ((), (*VARIANTS[:-1], "runs/x"), ("both write to --out runs/x", "{time}")),
        (("--cron", "0 * * * *"), (*VARIANTS[:-1], "runs/{date}"), ("both write",)),
        ((), (*VARIANTS, "--tracks", "{tme}"), ("{tme}", "time?")),
        ((), (*VARIANTS, "--tracks", "{input}"), ("no --watch",)),
        ((), ("runs", "list", "--depth", "1", "--since", "{previous}"), ("--since",)),
        ((), ("runs", "show", "{previous}"), ("stands after no option",)),
        ((), ("runs", "summarise", "r", "--stats", "{previous}"), ("no --out",)),
        (("--watch", "*.vcf"), VARIANTS, ("no {input}",)),
        (("--watch", "gone.vcf"), VARIANTS, ("no such file",)),
        (("--cron", "0 3 * *"), VARIANTS, ("five fields",)),
        (("--timezone", "Berlin"), VARIANTS, ("IANA",)),
        (("--back-off", "1 hour"), VARIANTS, ("--back-off", "90s")),
    ],
)
def test_what_would_go_wrong_later_is_refused_now(
    schedule: Any, options: tuple[str, ...], command: tuple[str, ...], told: tuple[str, ...]
) -> None:
    add(schedule, *options, command=command).assert_one_paragraph(*told)
    assert json.loads(schedule("list", "--json").out) == []


def test_names_are_short_and_taken_once(schedule: Any) -> None:
    for name in ("a/b", "..", "-x" * 40, "a b"):
        schedule("add", "--cron", "0 3 * * *", "--", name, *VARIANTS).assert_one_paragraph("name")
    assert add(schedule).code == 0
    add(schedule).assert_one_paragraph("there is a schedule 'night'")
    for command in ("show", "remove", "pause", "resume", "run-now", "stop"):
        schedule(command, "nihgt").assert_one_paragraph("no schedule 'nihgt'", "There are: night.")


def test_a_schedule_is_shown_paused_and_removed(schedule: Any, tmp_path: Path) -> None:
    added = json.loads(add(schedule, "--timezone", "Europe/Berlin", "--json").out)
    assert added["command"] == shlex.join(["cisray", *VARIANTS])
    assert (added["folder"], added["cron"]) == (str(tmp_path), "0 3 * * *")
    assert len(added["next"]) == 3
    assert {moment[11:16] for moment in added["next"]} <= {"01:00", "02:00"}
    assert "night" in schedule("list").out
    schedule("pause", "night")
    (listed,) = json.loads(schedule("list", "--json").out)
    assert (listed["paused"], listed["next"]) == (True, [])
    assert "paused" in schedule("list").out
    schedule("resume", "night")
    assert json.loads(schedule("show", "night", "--json").out)["paused"] is False
    assert schedule("remove", "night").code == 0
    assert schedule("list").out == f"No schedules in {tmp_path / 'ledger'}.\n"


def test_a_pass_with_nothing_to_do_says_nothing(schedule: Any) -> None:
    add(schedule)
    for more in ((), ("--wait",)):
        answer = schedule("tick", *more)
        assert (answer.code, answer.out, answer.err) == (0, "", "")
    assert json.loads(schedule("tick", "--json").out) == []


@pytest.mark.usefixtures("importable")
def test_run_now_runs_the_command_where_it_was_added_and_keeps_its_log(
    schedule: Any, tmp_path: Path
) -> None:
    add(schedule, command=("model", "init", "{time}.safetensors", "--size", "tiny"))
    told = json.loads(schedule("run-now", "night", "--wait", "--json").out)
    assert [event["state"] for event in told] == ["running", "succeeded"]
    (fire,) = json.loads(schedule("show", "night", "--json").out)["fires"]
    assert (fire["cause"], fire["state"], fire["exit_code"]) == ("asked", "succeeded", 0)
    (made,) = tmp_path.glob("*.safetensors")
    assert made.name in fire["command"]
    log = Path(fire["attempts"][0]["log"])
    assert "parameters" in log.read_text()
    shown = schedule("show", "night").out
    assert "succeeded" in shown
    assert str(log) in shown


def test_a_fire_that_fails_is_told_by_the_exit_code_of_who_waits(
    schedule: Any, tmp_path: Path
) -> None:
    watched = tmp_path / "in.vcf"
    watched.touch()
    add(schedule, "--watch", "in.vcf")
    watched.unlink()
    answer = schedule("run-now", "night", "--wait")
    assert answer.code == 1
    assert f"failed: {watched} cannot be read" in answer.out
    assert schedule("run-now", "night").code == 0
    fires = json.loads(schedule("show", "night", "--json").out)["fires"]
    assert [(fire["state"], fire["attempts"]) for fire in fires] == [("failed", [])] * 2


def test_a_pass_that_prints_no_json_imports_nothing_heavy(tmp_path: Path) -> None:
    """cron may call one every minute."""
    text = (
        "import sys\nfrom cisray_jobs import cli\n"
        f"code = cli.run(['schedule', 'tick', '--ledger', {str(tmp_path / 'ledger')!r}])\n"
        "print(code, sorted({'torch', 'ray'} & set(sys.modules)))"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    told = subprocess.run(
        [sys.executable, "-c", text], env=environment, capture_output=True, text=True, check=True
    )
    assert told.stdout == "0 []\n"


def cron_job(name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Check what both have in common; give the claim and the pod."""
    (volume, job) = yaml.safe_load_all((EXAMPLES / name).read_text())
    assert (volume["kind"], volume["apiVersion"]) == ("PersistentVolumeClaim", "v1")
    assert (job["kind"], job["apiVersion"]) == ("CronJob", "batch/v1")
    spec = job["spec"]
    # A pod that ends takes its processes with it: so it waits, alone.
    assert spec["concurrencyPolicy"] == "Forbid"
    pod = spec["jobTemplate"]["spec"]["template"]["spec"]
    assert pod["restartPolicy"] == "Never"
    (container,) = pod["containers"]
    assert container["command"] == ["cisray", "schedule", "tick", "--wait"]
    mount = container["volumeMounts"][0]
    assert container["env"][0] == {
        "name": "CISRAY_SCHEDULE", "value": f"{mount['mountPath']}/schedule",
    }  # fmt: skip
    assert pod["volumes"][0] == {
        "name": mount["name"],
        "persistentVolumeClaim": {"claimName": volume["metadata"]["name"]},
    }
    return volume, pod


def test_the_cron_job_of_kubernetes_is_one_and_passes_never_overlap() -> None:
    _, pod = cron_job("kubernetes.yaml")
    (container,) = pod["containers"]
    assert (len(container["volumeMounts"]), len(container["env"]), len(pod["volumes"])) == (1, 1, 1)


def test_the_cron_job_of_a_cluster_has_its_token_and_its_files() -> None:
    _, pod = cron_job("kubernetes-cluster.yaml")
    (container,) = pod["containers"]
    given = {one["name"]: one for one in container["env"]}
    assert given["RAY_AUTH_MODE"]["value"] == "token"
    # The Secret that KubeRay makes has the name of the cluster.
    assert given["RAY_AUTH_TOKEN"]["valueFrom"] == {
        "secretKeyRef": {"name": "NAME", "key": "auth_token"}
    }
    assert "value" not in given["RAY_AUTH_TOKEN"]
    mounts = {one["name"]: one["mountPath"] for one in container["volumeMounts"]}
    assert mounts == {"state": "/state", "shared": "/shared"}
    assert [one["name"] for one in pod["volumes"]] == list(mounts)


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is missing")
def test_the_units_of_systemd_are_valid(tmp_path: Path) -> None:
    units = sorted(EXAMPLES.glob("cisray-*"))
    assert [unit.name for unit in units] == [
        "cisray-schedule-tick.service", "cisray-schedule-tick.timer", "cisray-schedule.service",
    ]  # fmt: skip
    program = tmp_path / "cisray"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    for unit in units:
        text = unit.read_text()
        if unit.suffix == ".service":
            # What a pass has started must outlive it.
            assert "\nKillMode=process\n" in text
            assert "\nExecStart=/opt/cisray/bin/cisray schedule " in text
        (tmp_path / unit.name).write_text(text.replace("/opt/cisray/bin/cisray", str(program)))
    found = subprocess.run(
        ["systemd-analyze", "verify", *(str(tmp_path / unit.name) for unit in units)],
        capture_output=True,
        text=True,
        check=False,
    )
    ours = [line for line in found.stderr.splitlines() if str(tmp_path) in line or "cisray" in line]
    assert (found.returncode, ours) == (0, []), found.stderr


def test_waiting_ends_when_nothing_is_in_flight(schedule: Any) -> None:
    add(schedule)
    begun = time.monotonic()
    assert schedule("tick", "--wait").code == 0
    assert time.monotonic() - begun < 5
