"""A model or a genome opened by a worker, from a copy on its machine if one is wanted.

Knows models, genomes, and where a machine may keep copies; knows nothing of what is computed.
"""

import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cisray.errors import ConfigError, RunConflict
from cisray.genome.fai import index_path
from cisray.genome.reference import Genome
from cisray.model.checkpoints.native import model_file, read_native
from cisray.model.module import SequenceModule
from cisray.model.registry import load_model
from cisray.store.node_cache import NodeCache, Original
from cisray_jobs.provenance import digest_of

VARIABLE = "CISRAY_NODE_CACHE"


def wanted_folder(asked: str | None) -> Path | None:
    """Tell where this machine keeps copies: as asked, or as its environment says; None: nowhere."""
    named = asked or os.environ.get(VARIABLE)
    return Path(named) if named else None


def told_folder(asked: str | None) -> Path:
    """As `wanted_folder`, where there must be one. Raises ConfigError."""
    folder = wanted_folder(asked)
    if folder is None:
        raise ConfigError(
            f"Which folder? Give --node-cache as runs on this machine were given it, or set "
            f"{VARIABLE}."
        )
    return folder


@dataclass(frozen=True, slots=True)
class NodeCopies:
    """Opens what must have a digest. Without a folder everything is read where it lies, each time.

    `session` is when the driver began: for it each copy is read in full once on a machine, by the
    worker that comes first.
    """

    folder: Path | None
    session: str

    def model(self, path: Path, digest: str) -> SequenceModule:
        """Load a model onto the CPU, its weights mapped from the file or from its copy.

        Raises RunConflict if it has not this digest, what `load_model` raises, and StorageError
        where no copy can be kept.
        """

        def check(copy: Path) -> None:
            _check_same(path, read_native(copy).digest, digest)

        with self._nearest(Original("model", digest, (model_file(path),), check)) as near:
            model = load_model(near, verify=self.folder is None)
        _check_same(path, model.digest, digest)
        return model

    def genome(self, path: Path, digest: str) -> Genome:
        """Open a genome; raises as `model`, and what `Genome.open` raises."""

        def check(copy: Path) -> None:
            _check_same(path, digest_of(copy), digest)

        beside = index_path(path)
        files = (path, beside) if beside.exists() else (path,)
        with self._nearest(Original("fasta", digest, files, check)) as near:
            genome = Genome.open(near, sha256=None if self.folder is None else digest)
        _check_same(path, genome.sha256, digest)
        return genome

    @contextmanager
    def _nearest(self, original: Original) -> Iterator[Path]:
        if self.folder is None:
            yield original.files[0]
            return
        with NodeCache.below(self.folder).copy_of(original, self.session) as copy:
            yield copy


def _check_same(path: Path, found: str, begun_with: str) -> None:
    if found != begun_with:
        raise RunConflict(
            f"{path} on {platform.node()} is not what the run began with: its digest is {found}, "
            f"the run has {begun_with}. Put the same file there, or use --restart."
        )
