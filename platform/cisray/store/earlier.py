"""Sealed runs of variants that a new run builds on: whether they fit, and the keys they hold.

Knows runs, manifests and their plans; knows nothing of how rows are scored. Scores of two runs can
stand beside each other where nothing differs but which rows there are.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import pyarrow as pa

from cisray.errors import RunConflict
from cisray.store.keyed_plan import KeyedPlan, as_keyed
from cisray.store.links import Origin, is_same_place
from cisray.store.locate import locate
from cisray.store.manifest import RunManifest, settings_differences
from cisray.store.place import RunPlace
from cisray.store.scan import Run, open_run
from cisray_schemas.variants import VARIANT_SCORES

# What is told of a row that is scored: where, which allele, in which run, and as which entry.
KNOWN = ("chrom", "pos", "ref", "alt", "since_run", "since_variant")


@dataclass(frozen=True, slots=True)
class EarlierRun:
    """A run to build on, and the runs that hold its scores: itself, and those it links to."""

    run: Run
    holders: Mapping[str, Run]

    @property
    def origins(self) -> dict[str, Origin]:
        """Say which runs hold scores, by their ids."""
        return {
            run_id: Origin(run.manifest.digest, run.path) for run_id, run in self.holders.items()
        }

    def known(self) -> list[Iterator[pa.Table]]:
        """Give what the run knows, as `known_of` does."""
        return known_of(as_keyed(self.run.plan), self.run.manifest.run_id)


def open_earlier(place: RunPlace) -> EarlierRun:
    """Open a run to build on, with the runs that it links to.

    Raises RunNotFound where there is none, RunConflict for one that is not sealed or holds no
    scores of variants, and StorageError where a part of it is missing.
    """
    run = open_run(place, allow_unsealed=True)
    if run.manifest.table != VARIANT_SCORES.format:
        raise RunConflict(
            f"--since {run.path}: the run there is one of {run.manifest.job}, with rows of "
            f"{run.manifest.table}. Name runs of cisray score variants without --at."
        )
    if not run.sealed:
        raise RunConflict(
            f"--since {run.path}: the run there is not sealed. Finish it first, with the command "
            f"that began it."
        )
    holders = {run.manifest.run_id: run, **run.linked_runs()}
    for holder in holders.values():
        holder.check_files()
    return EarlierRun(run, holders)


def require_fitting(earlier: EarlierRun, new: RunManifest, out: RunPlace) -> None:
    """Refuse a run that was scored otherwise than `new` will be, into the place `out`.

    Raises RunConflict, listing the settings that differ; also where `out` holds the scores.
    """
    path = earlier.run.path
    differences = settings_differences(earlier.run.manifest, new)
    if differences:
        raise RunConflict(
            f"--since {path}: the run there was scored otherwise, so that its scores cannot stand "
            f"beside those of this run. They differ in {'; '.join(differences)}. Give the options "
            f"of that run, or leave out --since to score everything anew."
        )
    for holder in earlier.holders.values():
        if is_same_place(holder.path, locate(out).place):
            raise RunConflict(
                f"--since {path} leads to scores in {holder.path}, which is this run's --out: it "
                f"would link to itself. Choose another --out."
            )


def known_of(plan: KeyedPlan, run_id: str) -> list[Iterator[pa.Table]]:
    """Give the columns `KNOWN` of the rows of a run, and of its links, a shard at a time.

    Both streams are sorted by the chromosomes of the FASTA, pos, ref and alt; of equal rows the one
    with the lowest number comes first. Raises StorageError where one is not as it was written.
    """
    streams = [_own(plan, run_id)]
    return streams if plan.linked is None else [*streams, _linked(plan.linked)]


def _own(plan: KeyedPlan, run_id: str) -> Iterator[pa.Table]:
    for shard in plan.spans:
        rows = plan.entries(shard)
        known = rows.select(["chrom", "pos", "ref", "alt"])
        known = known.append_column("since_run", pa.array([run_id] * rows.num_rows))
        yield known.append_column("since_variant", rows["variant"])


def _linked(links: KeyedPlan) -> Iterator[pa.Table]:
    for shard in links.spans:
        yield links.entries(shard).select(KNOWN)
