"""The same command as manifests for Kubernetes: a RayJob of KubeRay, or its RayCluster alone.

Knows the fields of KubeRay's v1 API (ray.io/v1; `authOptions` since operator 1.5.1); talks to no
cluster. Nothing is shipped: the image holds cisray (deploy/Dockerfile). How many machines come, and
with what, follows from the command's own --workers, --device and --num-gpus.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from cisray.engine.jobs import GRACEFUL_STOP, RAY_VERSION
from cisray.errors import ConfigError
from cisray_jobs.config import JobConfig
from cisray_jobs.submit.shipment import SETTINGS, Shipment

API = "ray.io/v1"
SETTINGS_FOLDER = "/etc/cisray"
RETRIES = 2  # each in a cluster of its own; the run goes on where it stopped
IDLE_S = 300
KEPT_S = 600  # a finished cluster, for its logs
USER, GROUP = 1000, 100  # of Ray's images: ray, users
_GPU = "nvidia.com/gpu"
_DNS = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


@dataclass(frozen=True, slots=True)
class Pods:
    """What the manifests need to know beside the command.

    `claims` are persistent volume claims and where every pod mounts them; `secrets` are those whose
    entries every pod finds as variables.
    """

    image: str
    claims: Mapping[str, str]
    secrets: tuple[str, ...] = ()
    namespace: str | None = None
    worker_cpus: int = 4
    worker_memory: str = "32Gi"


@dataclass(frozen=True, slots=True)
class Workers:
    """How many machines a command asks for, and how many GPUs each has."""

    pods: int
    gpus: int


def workers_of(job: JobConfig | None) -> Workers:
    """Tell from a command's settings what its workers need: a pod each, or one for those of a GPU.

    A command without workers needs none: its driver is on the head.
    """
    told: Any = job
    workers = getattr(told, "workers", 0)
    if not isinstance(workers, int) or workers == 0:
        return Workers(0, 0)
    if getattr(told, "device", "cpu") != "cuda":
        return Workers(workers, 0)
    share = 1.0 if told.num_gpus is None else float(told.num_gpus)
    if share > 1:
        return Workers(workers, math.ceil(share))
    return Workers(math.ceil(workers * share) or 1, 1)


def read_claims(entries: Sequence[str]) -> dict[str, str]:
    """Read NAME=/FOLDER of volume claims. Raises ConfigError for other text."""
    found: dict[str, str] = {}
    for entry in entries:
        name, _, folder = entry.partition("=")
        if not _DNS.fullmatch(name) or not folder.startswith("/") or name in found:
            raise ConfigError(
                f"--claim {entry!r} must be NAME=/FOLDER, a persistent volume claim and where it "
                f"is mounted, each once, as shared=/shared."
            )
        found[name] = folder
    return found


def job_manifest(shipment: Shipment, name: str, workers: Workers, pods: Pods) -> str:
    """Write the manifests of a RayJob: it makes a cluster, runs the command and ends both."""
    documents = [_settings(shipment, name, pods)] if shipment.settings is not None else []
    environment = yaml.safe_dump({"env_vars": {**GRACEFUL_STOP, **shipment.variables}})
    spec = {
        "entrypoint": shipment.entrypoint,
        "runtimeEnvYAML": environment,
        "submissionMode": "K8sJobMode",
        "shutdownAfterJobFinishes": True,
        "ttlSecondsAfterFinished": KEPT_S,
        "backoffLimit": RETRIES,
        "rayClusterSpec": _cluster(workers, pods, _settings_volume(shipment, name)),
    }
    documents.append(_document("RayJob", name, pods, spec))
    return yaml.safe_dump_all(documents, sort_keys=False, width=100)


def cluster_manifest(name: str, workers: Workers, pods: Pods) -> str:
    """Write the manifest of a RayCluster that stays, to submit commands to."""
    document = _document("RayCluster", name, pods, _cluster(workers, pods, None))
    return yaml.safe_dump(document, sort_keys=False, width=100)


def _document(kind: str, name: str, pods: Pods, spec: Mapping[str, object]) -> dict[str, object]:
    return {"apiVersion": API, "kind": kind, "metadata": _metadata(name, pods), "spec": dict(spec)}


def _metadata(name: str, pods: Pods) -> dict[str, object]:
    where = {"namespace": pods.namespace} if pods.namespace else {}
    return {"name": name, **where, "labels": {"app.kubernetes.io/name": "cisray"}}


def _cluster(
    workers: Workers, pods: Pods, settings: Mapping[str, object] | None
) -> dict[str, object]:
    """Describe a cluster: closed by a token that the operator makes, and growing with the work."""
    groups = [_worker_group(workers, pods)] if workers.pods else []
    return {
        "rayVersion": RAY_VERSION,
        "authOptions": {"mode": "token"},
        "enableInTreeAutoscaling": True,
        "autoscalerOptions": {"idleTimeoutSeconds": IDLE_S},
        "headGroupSpec": {
            "serviceType": "ClusterIP",
            # Nothing is scored on the head.
            "rayStartParams": {"num-cpus": "0", "num-gpus": "0"},
            "template": _pod("ray-head", pods, {"cpu": "4", "memory": "16Gi"}, settings),
        },
        "workerGroupSpecs": groups,
    }


def _worker_group(workers: Workers, pods: Pods) -> dict[str, object]:
    resources = {"cpu": str(pods.worker_cpus), "memory": pods.worker_memory}
    if workers.gpus:
        resources[_GPU] = str(workers.gpus)
    template = _pod("ray-worker", pods, resources, None)
    template["spec"]["automountServiceAccountToken"] = False
    return {
        "groupName": "workers",
        "replicas": 0,
        "minReplicas": 0,
        "maxReplicas": workers.pods,
        "rayStartParams": {},
        "template": template,
    }


def _pod(
    name: str, pods: Pods, resources: Mapping[str, str], settings: Mapping[str, object] | None
) -> dict[str, Any]:
    """Describe a pod: as the image's own user, without privileges, with the volumes mounted."""
    volumes: list[Mapping[str, object]] = [
        {"name": claim, "persistentVolumeClaim": {"claimName": claim}} for claim in pods.claims
    ]
    mounts: list[dict[str, object]] = [
        {"name": claim, "mountPath": folder} for claim, folder in pods.claims.items()
    ]
    if settings is not None:
        volumes.append(settings)
        mounts.append({"name": settings["name"], "mountPath": SETTINGS_FOLDER, "readOnly": True})
    container = {
        "name": name,
        "image": pods.image,
        "envFrom": [{"secretRef": {"name": secret}} for secret in pods.secrets],
        "env": [{"name": "RAY_USAGE_STATS_ENABLED", "value": "0"}],
        "resources": {"limits": dict(resources), "requests": dict(resources)},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": mounts,
    }
    return {
        "spec": {
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": USER,
                "fsGroup": GROUP,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [container],
            "volumes": volumes,
        }
    }


def _settings(shipment: Shipment, name: str, pods: Pods) -> dict[str, object]:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": _metadata(name, pods),
        "data": {SETTINGS: shipment.settings},
    }


def _settings_volume(shipment: Shipment, name: str) -> Mapping[str, object] | None:
    return None if shipment.settings is None else {"name": "settings", "configMap": {"name": name}}
