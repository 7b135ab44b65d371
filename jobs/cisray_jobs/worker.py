"""What every worker of a scoring job opens first, and what it tells of itself.

Knows models, genomes and runs as a worker's machine sees them; knows nothing of what is scored.
"""

import os
import platform
import resource
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from pydantic import JsonValue

from cisray.engine.task import GPU_FACT
from cisray.genome.reference import Genome
from cisray.inference.batching import Choice
from cisray.inference.precision import resolve_device
from cisray.inference.utilisation import Sampler
from cisray.model.module import SequenceModule
from cisray.stopwatch import measured
from cisray.store.place import RunPlace
from cisray.store.run import ShardSink
from cisray_jobs.node_copies import NodeCopies, wanted_folder
from cisray_jobs.provenance import device_name, now


@dataclass(frozen=True, slots=True)
class Place:
    """Where a worker finds what it needs: the run that has begun, the weights, the genome.

    `session` is when the driver that sent it began. `node_cache` is where its machine keeps copies
    of weights and genome; None leaves that to the machine's environment.
    """

    run: RunPlace
    model: Path
    fasta: Path
    device: str
    session: str
    node_cache: str | None = None


@dataclass(frozen=True, slots=True)
class Bench:
    """What a worker works with, open, and facts about itself for the receipts of its shards."""

    sink: ShardSink
    model: SequenceModule
    genome: Genome
    device: torch.device

    @classmethod
    def open(cls, place: Place) -> "Bench":
        """Open all three and load the model onto the device.

        Raises RunConflict if weights or genome, as this machine sees them, are not those that the
        run began with.
        """
        sink = ShardSink.attach(place.run)
        device = resolve_device(place.device)
        near = NodeCopies(wanted_folder(place.node_cache), place.session)
        model = near.model(place.model, sink.manifest.model_sha256).to(device)
        genome = near.genome(place.fasta, sink.manifest.genome_sha256)
        return cls(sink, model, genome, device)

    def facts(self, batch: Choice) -> dict[str, JsonValue]:
        """Tell host, process, device and batch size."""
        return {
            "host": platform.node(),
            "pid": os.getpid(),
            "device": str(self.device),
            "device_name": device_name(self.device),
            "batch_size": batch.batch_size,
            "batch_size_reason": batch.reason,
        }


def shard_times(place: Place, device_s: float) -> dict[str, JsonValue]:
    """Tell of a shard that was just computed for how long it kept the device, until when.

    `session` is that of the driver; the keys are those that `cisray.store.summary` adds up.
    """
    return {"session": place.session, "computed": now(), "device_s": round(device_s, 3)}


def work_facts(sampler: Sampler) -> dict[str, JsonValue]:
    """Tell where the worker's time went until now, and how busy its GPU was, where it is known.

    `laps` are seconds since the last shard that was finished here, by `cisray.stopwatch.LAPS`; what
    writing takes is told by the receipt itself.
    """
    seconds: dict[str, JsonValue] = {name: round(spent, 4) for name, spent in measured().items()}
    found = sampler.found
    return {
        **({"laps": seconds} if seconds else {}),
        **({} if found is None else {"gpu": asdict(found)}),
    }


def gpu_told(sampler: Sampler) -> dict[str, object]:
    """Tell how busy the GPU was to the engine, which exports it; nothing where it is not known."""
    found = sampler.found
    return {} if found is None else {GPU_FACT: found.mean}


def peak_rss_bytes() -> int:
    """Tell the most memory that this process has held at any time."""
    # Linux counts in units of 1,024 bytes, macOS in bytes.
    unit = 1 if platform.system() == "Darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
