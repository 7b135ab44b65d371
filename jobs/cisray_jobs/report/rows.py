"""What became of the rows of a run, so that they add up before the reader's eyes.

Knows plans, manifests and rejects. Each number is counted where it lies: what was stored from the
records of shards, what was rejected from the table of rejects, what was read from the manifest.
"""

import polars as pl

from cisray.store.manifest import KeyedConfig
from cisray.store.scan import Run
from cisray_jobs.run_facts import RunFacts


def rows_told(run: Run, facts: RunFacts) -> dict[str, str]:
    """Tell of input and rows: what came in, what is owed for it, what is stored, what is missing.

    A sum that is wrong is told as such.
    """
    told = _tiles(run) if run.statistics is None else _entries(run)
    unit = "rows" if run.statistics is not None else f"bins of {run.manifest.bin_bp} bp"
    missing = facts.rows - facts.rows_done
    return {
        **told,
        "rows": f"{facts.rows:,} {unit} owed = {facts.rows_done:,} stored + {missing:,} missing",
    }


def _tiles(run: Run) -> dict[str, str]:
    tiles = run.windows
    scored = int(tiles["scored"].sum())
    return {
        "tiles": f"{tiles.height:,} planned = {scored:,} with bases to score + "
        f"{tiles.height - scored:,} without any A, C, G or T"
    }


def _entries(run: Run) -> dict[str, str]:
    config = KeyedConfig.of(run.manifest)
    rejected = int(run.rejects.select(pl.len()).collect().item())
    parts = {"with rows here": config.scored, "rejected": rejected}
    if config.linked:
        parts["linked to other runs"] = config.linked
    total = sum(parts.values())
    equals = "=" if total == config.entries else f"IS NOT {total:,} ="
    listed = " + ".join(f"{count:,} {what}" for what, count in parts.items())
    return {"entries": f"{config.entries:,} read {equals} {listed}"}
