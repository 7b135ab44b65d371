"""Manifests for Kubernetes: fields that the operator knows, closed pods, as many as are needed."""

import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

from cisray.engine.jobs import RAY_VERSION
from cisray.errors import ConfigError
from cisray_jobs.submit.kubernetes import Workers, read_claims, workers_of

# Fields of KubeRay's ray.io/v1 (API reference of operator 1.6) and Kubernetes' core/v1, as far as
# they are used here: name, type, and "!" where it is required. A field that is not here is a typo.
FIELDS: dict[str, dict[str, Any]] = {
    "RayJob": {"apiVersion!": "ray.io/v1", "kind!": "RayJob", "metadata!": "Meta", "spec!": "Job"},
    "RayCluster": {
        "apiVersion!": "ray.io/v1", "kind!": "RayCluster", "metadata!": "Meta", "spec!": "Cluster",
    },
    "ConfigMap": {
        "apiVersion!": "v1", "kind!": "ConfigMap", "metadata!": "Meta", "data!": dict,
    },
    "Meta": {"name!": str, "namespace": str, "labels": dict},
    "Job": {
        "entrypoint!": str, "runtimeEnvYAML": str, "submissionMode": str,
        "shutdownAfterJobFinishes": bool, "ttlSecondsAfterFinished": int, "backoffLimit": int,
        "rayClusterSpec!": "Cluster",
    },
    "Cluster": {
        "rayVersion": str, "authOptions!": "Auth", "enableInTreeAutoscaling": bool,
        "autoscalerOptions": "Autoscaler", "headGroupSpec!": "Head", "workerGroupSpecs": ["Group"],
    },
    "Auth": {"mode!": "token"},
    "Autoscaler": {"idleTimeoutSeconds": int},
    "Head": {"serviceType": "ClusterIP", "rayStartParams!": dict, "template!": "Template"},
    "Group": {
        "groupName!": str, "replicas": int, "minReplicas!": int, "maxReplicas!": int,
        "rayStartParams!": dict, "template!": "Template",
    },
    "Template": {"spec!": "Pod"},
    "Pod": {
        "securityContext!": "PodSecurity", "containers!": ["Container"], "volumes": ["Volume"],
        "automountServiceAccountToken": bool,
    },
    "PodSecurity": {
        "runAsNonRoot!": True, "runAsUser": int, "fsGroup": int, "seccompProfile": dict,
    },
    "Container": {
        "name!": str, "image!": str, "envFrom": [dict], "env": [dict], "resources!": dict,
        "securityContext!": "ContainerSecurity", "volumeMounts": ["Mount"],
    },
    "ContainerSecurity": {"allowPrivilegeEscalation!": False, "capabilities!": dict},
    "Volume": {"name!": str, "persistentVolumeClaim": dict, "configMap": dict},
    "Mount": {"name!": str, "mountPath!": str, "readOnly": bool},
}  # fmt: skip


def check(value: Any, kind: Any, where: str) -> None:
    if isinstance(kind, list):
        assert isinstance(value, list), where
        for number, one in enumerate(value):
            check(one, kind[0], f"{where}[{number}]")
    elif isinstance(kind, type):
        assert type(value) is kind, (where, value)
        if kind is dict and where.endswith("rayStartParams"):
            assert all(isinstance(text, str) for text in value.values()), where
    elif kind in FIELDS and isinstance(value, dict):
        known = {name.rstrip("!"): (name, held) for name, held in FIELDS[kind].items()}
        assert set(value) <= set(known), (where, set(value) - set(known))
        for name, (marked, held) in known.items():
            assert name in value or not marked.endswith("!"), f"{where}.{name} is missing"
            if name in value:
                check(value[name], held, f"{where}.{name}")
    else:
        assert value == kind, (where, value)


GENOME = (
    "score", "genome", "--model", "/shared/m", "--fasta", "/shared/f", "--out", "s3://b/r",
)  # fmt: skip
PRINT = (
    "submit", "--kubernetes", "--print", "--image", "registry/cisray:1", "--claim",
    "shared=/shared",
)  # fmt: skip


@pytest.fixture
def manifests(cisray):
    def printed(*arguments: object) -> list[dict[str, Any]]:
        answer = cisray(*PRINT, *arguments)
        assert (answer.code, answer.err) == (0, ""), answer
        documents = list(yaml.safe_load_all(answer.out))
        for document in documents:
            check(document, document["kind"], document["kind"])
        return documents

    return printed


def test_the_checks_see_typos_and_what_is_missing() -> None:
    whole = {"mode": "token"}
    check(whole, "Auth", "auth")
    for wrong in ({"mode": "disabled"}, {}, {"mode": "token", "modes": "x"}):
        with pytest.raises(AssertionError):
            check(wrong, "Auth", "auth")
    with pytest.raises(AssertionError):
        check({"num-cpus": 0}, dict, "rayStartParams")


def test_a_job_with_gpus(manifests) -> None:
    options = ("--workers", 5, "--num-gpus", 0.5, "--device", "cuda")
    (job,) = manifests("--id", "chr21", "--secret", "aws", "--", *GENOME, *options)
    assert job["kind"] == "RayJob"
    assert job["metadata"]["name"].startswith("cisray-chr21-")
    words = shlex.split(job["spec"]["entrypoint"])
    assert words[:5] == ["python", "-m", "cisray_jobs.cli", "score", "genome"]
    assert {"--out=s3://b/r", "--model=/shared/m", "--workers=5"} <= set(words)
    cluster = job["spec"]["rayClusterSpec"]
    assert cluster["rayVersion"] == RAY_VERSION
    assert cluster["headGroupSpec"]["rayStartParams"] == {"num-cpus": "0", "num-gpus": "0"}
    (group,) = cluster["workerGroupSpecs"]
    # Five workers of half a GPU are on three GPUs.
    assert (group["replicas"], group["minReplicas"], group["maxReplicas"]) == (0, 0, 3)
    for template in (group["template"], cluster["headGroupSpec"]["template"]):
        (container,) = template["spec"]["containers"]
        assert container["image"] == "registry/cisray:1"
        assert container["envFrom"] == [{"secretRef": {"name": "aws"}}]
        assert container["volumeMounts"] == [{"name": "shared", "mountPath": "/shared"}]
        assert template["spec"]["volumes"] == [
            {"name": "shared", "persistentVolumeClaim": {"claimName": "shared"}}
        ]
        resources = container["resources"]
        assert resources["limits"] == resources["requests"]
    assert (
        group["template"]["spec"]["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == "1"
    )


def test_settings_are_a_config_map_of_the_driver(manifests, tmp_path: Path) -> None:
    file = tmp_path / "job.yaml"
    file.write_text("model: /shared/m\nfasta: /shared/f\nworkers: 2\ndevice: cpu\n")
    config, job = manifests(
        "--namespace", "lab", "--", "score", "genome", "--config", file, "--out", "/shared/run"
    )
    assert yaml.safe_load(config["data"]["settings.yaml"])["model"] == "/shared/m"
    assert config["metadata"] == job["metadata"]
    assert job["metadata"]["namespace"] == "lab"
    assert "--config=/etc/cisray/settings.yaml" in job["spec"]["entrypoint"]
    head = job["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]
    assert {"name": "settings", "configMap": {"name": config["metadata"]["name"]}} in head[
        "volumes"
    ]
    (mount,) = (m for m in head["containers"][0]["volumeMounts"] if m["name"] == "settings")
    assert mount == {"name": "settings", "mountPath": "/etc/cisray", "readOnly": True}
    (group,) = job["spec"]["rayClusterSpec"]["workerGroupSpecs"]
    assert group["maxReplicas"] == 2
    assert "nvidia.com/gpu" not in str(group)


def test_a_command_without_workers_gets_none(manifests) -> None:
    (job,) = manifests("--", "runs", "verify", "/shared/run")
    assert job["spec"]["rayClusterSpec"]["workerGroupSpecs"] == []


def test_a_cluster_that_fits_a_command(manifests) -> None:
    (cluster,) = manifests("--kind", "cluster", "--", *GENOME, "--workers", 2, "--device", "cuda")
    assert cluster["kind"] == "RayCluster"
    assert cluster["spec"]["workerGroupSpecs"][0]["maxReplicas"] == 2
    assert "entrypoint" not in str(cluster)


def test_variables_go_into_the_runtime_environment(manifests) -> None:
    (job,) = manifests("--env", "HF_HOME=/shared/hub", "--", "runs", "show", "/shared/run")
    told = yaml.safe_load(job["spec"]["runtimeEnvYAML"])["env_vars"]
    assert told["HF_HOME"] == "/shared/hub"
    assert told["RAY_JOB_STOP_SIGNAL"] == "SIGINT"


def test_a_path_outside_the_claims_is_refused(cisray) -> None:
    answer = cisray(*PRINT, "--", "runs", "show", "/elsewhere/run")
    answer.assert_one_paragraph("/elsewhere/run", "/shared")


def test_what_is_printed_is_asked_for_whole(cisray) -> None:
    for wrong in (("--kubernetes",), ("--print",), ("--kubernetes", "--print")):
        answer = cisray("submit", *wrong, "--", "runs", "show", "/shared/run")
        assert (answer.code, answer.out) == (2, "")
        assert "--kubernetes goes with --print and --image" in answer.told


@pytest.mark.parametrize("entry", ["shared", "shared=data", "=/x", "Shared=/x", "a_b=/x"])
def test_what_is_no_claim(entry: str) -> None:
    with pytest.raises(ConfigError, match="--claim"):
        read_claims([entry])


@pytest.mark.parametrize(
    ("workers", "device", "num_gpus", "expected"),
    [
        (4, "cpu", None, Workers(4, 0)),
        (4, "cuda", None, Workers(4, 1)),
        (4, "cuda", 0.25, Workers(1, 1)),
        (5, "cuda", 0.25, Workers(2, 1)),
        (2, "cuda", 2.0, Workers(2, 2)),
        (0, "cpu", None, Workers(0, 0)),
    ],
)
def test_how_many_machines_a_command_needs(workers, device, num_gpus, expected) -> None:
    class Job:
        pass

    job: Any = Job()
    job.workers, job.device, job.num_gpus = workers, device, num_gpus
    assert workers_of(job) == expected
    assert workers_of(None) == Workers(0, 0)
