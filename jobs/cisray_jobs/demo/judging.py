"""The end of the demonstration: evaluations of the scores, and one page of all results.

Knows the commands that judge; the truth they are held against was made up with the genome.
"""

from pathlib import Path
from typing import Any

import yaml

from cisray_jobs.demo.setting import UNSEEN, Demo
from cisray_jobs.evaluate_all import evaluate_all
from cisray_jobs.report.options import ReportOptions
from cisray_jobs.report.write import write_report

CELLS = ("alpha", "beta")
SHOWN = ("genome-run", "saturation-run", "variant-run", "evaluations", "model")


def evaluate(demo: Demo, model: Path) -> None:
    """Step 11: causal variants, their directions, and enhancers, each against its truth."""
    config, out = demo.path("evaluations.yaml"), demo.path("evaluations")
    config.write_text(yaml.safe_dump(evaluations(demo, model), sort_keys=False))
    options = {"config": config, "out": out}
    demo.tell(11, "Causal variants, directions and enhancers", "evaluate all", options)
    found = evaluate_all(config, out, workers=demo.workers, display=demo.display)
    for one in found.evaluations:
        demo.say(f"   {one.name}: {one.state}" + (f": {one.problem}" if one.problem else ""))
    if found.failure is not None:
        raise found.failure
    demo.say(f"   {found.numbers:,} numbers, each with its interval: {found.page}")


def evaluations(demo: Demo, model: Path) -> dict[str, Any]:
    """Say what is evaluated, as `cisray evaluate all` reads it; paths are relative to the file.

    Negatives of a causal variant are as far from the gene as it is, and only the tracks of the cell
    type speak, since a variant may be causal in the other one.
    """
    labels = "made-up/truth/eqtls.parquet"
    causal = {
        f"causal-{cell}": {
            "kind": "eqtl", "labels": labels, "layout": "synthetic-truth", "only": [cell],
            "tracks": [f"*:{cell}"], "match": "tss-distance", "score": "max-abs",
        }
        for cell in CELLS
    }  # fmt: skip
    direction = {"kind": "direction", "labels": labels, "min_variants": 2}
    enhancers = {
        "kind": "enhancers", "pairs": unseen_pairs(demo).name, "cell_type": "alpha",
        "tracks": ["CAGE:alpha"], "model": str(model.resolve().relative_to(demo.out.resolve())),
        "fasta": "made-up/genome.fa", "element_bp": 300, "replacement": "shuffled",
        "edges": [0, 1_000, 2_500], "device": "cpu",
    }  # fmt: skip
    named = {**causal, "direction": direction, "enhancers": enhancers}
    return {"run": ["demo=variant-run"], "evaluations": named}


def unseen_pairs(demo: Demo) -> Path:
    """Take the pairs of enhancers and genes of the chromosome that the model has never seen."""
    every = demo.path("made-up/truth/enhancers_decoys.tsv").read_text().splitlines()
    pairs = demo.path("enhancers-unseen.tsv")
    kept = [every[0], *(line for line in every if line.startswith(f"{UNSEEN}\t"))]
    pairs.write_text("\n".join(kept) + "\n")
    return pairs


def report(demo: Demo) -> None:
    """Step 12: everything that was found, in one file."""
    runs = [demo.path(name) for name in SHOWN]
    genes, out = demo.path("made-up/genes.bed"), demo.path("report.html")
    command = " ".join(["runs report", *map(str, runs)])
    demo.tell(12, "One page of it all, to open and to send", command, {"genes": genes, "out": out})
    write_report(runs, out, ReportOptions(genes=genes, overwrite=True))
    demo.say(f"   {out}")
