"""How the forests of `cisray evaluate eqtl` scale: the command with one worker and with two.

Knows the command and its rows; nothing else. One tissue of 2,000 made-up variants with as many
features as Enformer has tracks; a unit is one repeat of its cross-validation, with both kinds of
folds and a control. What 49 tissues and 100 repeats would take on 64 cores is reckoned from the
seconds of a core per forest, as if nothing were lost on more of them.

    python benchmarks/eqtl_forests.py [--repeats 6] [--variants 2000] [--features 5313]
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
import polars as pl
from measuring import load_average, machine_facts, publish, table, timed

from cisray.engine.progress import Display
from cisray.evaluation.eqtl import CONTROLS, KINDS
from cisray.evaluation.forest import FOLDS, REPEATS
from cisray_jobs.evaluate_eqtl import EvaluateEqtl

WORKERS = (1, 2)
TISSUES, CORES = 49, 64
GENES = 400


def write_tables(folder: Path, variants: int, features: int) -> None:
    """Write labels, half of them positive, and features that tell a little of them."""
    dice = np.random.default_rng(0)
    label_V = np.arange(variants) % 2
    keys = {
        "chrom": ["chr1"] * variants,
        "pos": np.arange(1, variants + 1),
        "ref": ["A"] * variants,
        "alt": ["C"] * variants,
    }
    gene_V = [f"G{n}" for n in dice.integers(0, GENES, variants)]
    labels = pl.DataFrame({**keys, "tissue": "made-up", "label": label_V, "gene": gene_V})
    labels.write_parquet(folder / "labels.parquet")
    values_VT = dice.normal(size=(variants, features)).astype(np.float32)
    values_VT[:, : features // 20] += 0.1 * label_V[:, None].astype(np.float32)
    columns = {f"t{track:04d}": values_VT[:, track] for track in range(features)}
    pl.DataFrame({**keys, **columns}).write_parquet(folder / "scores.parquet")


def evaluated(folder: Path, workers: int, repeats: int) -> Path:
    """Run the command; give its folder."""
    out = folder / f"workers-{workers}"
    EvaluateEqtl(
        labels=folder / "labels.parquet",
        out=out,
        external=(f"made-up={folder}/scores.parquet",),
        repeats=repeats,
        workers=workers,
    ).evaluate(Display.NONE)
    return out


def main() -> None:
    """Evaluate with one worker and with two, hold the numbers together, and report."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--repeats", type=int, default=6)
    parser.add_argument("--variants", type=int, default=2_000)
    parser.add_argument("--features", type=int, default=5_313)
    options = parser.parse_args()
    before, seconds = load_average(), {}
    with tempfile.TemporaryDirectory(prefix="cisray-bench-") as name:
        folder = Path(name)
        write_tables(folder, options.variants, options.features)
        found = {}
        for workers in WORKERS:
            seconds[workers] = timed(lambda w=workers: evaluated(folder, w, options.repeats))
            found[workers] = pl.read_parquet(folder / f"workers-{workers}/metrics.parquet")
    if not found[1].equals(found[2]):
        raise SystemExit("the numbers depend on the number of workers")
    forests = FOLDS * (len(KINDS) * options.repeats + min(CONTROLS, options.repeats))
    per_forest = seconds[1] / forests
    whole = TISSUES * FOLDS * REPEATS * per_forest
    rows = [("workers", "s", "ratio")]
    rows += [(str(w), f"{s:.0f}", f"{seconds[1] / s:.2f}") for w, s in seconds.items()]
    text = (
        f"{options.variants:,} variants, {options.features:,} features, {forests} forests, the "
        f"whole command with the start of Ray; the same numbers from both:\n\n{table(rows)}\n\n"
        f"{per_forest:.2f} s of a core per forest. {TISSUES} tissues x {FOLDS} folds x {REPEATS} "
        f"repeats, one kind of folds: {whole / 3600:.1f} core hours, {whole / CORES / 60:.0f} min "
        f"on {CORES} cores if nothing is lost.\n"
    )
    facts = {
        "benchmark": "eqtl_forests",
        "seconds": {str(workers): value for workers, value in seconds.items()},
        "forests": forests,
        "variants": options.variants,
        "features": options.features,
        "machine": machine_facts(1),
        "load_average": [before, load_average()],
    }
    publish("eqtl_forests", text, facts, keep=options.repeats >= 6)


if __name__ == "__main__":
    main()
