"""A run of every kind that a report can be of, small, with a track whose name a page must not obey.

Knows how they are made; knows nothing of reports.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from effect_jobs import VERY_SMALL, genome_with_traps, score, write_genome, write_vcf

from cisray.evaluation.metrics import Estimate, Metric
from cisray.model.checkpoints.checkpoint import Checkpoint
from cisray.model.checkpoints.native import save_native
from cisray.model.enformer.initialise import initialise
from cisray.model.enformer.network import Enformer
from cisray.store.scan import Run, open_run
from cisray.tracks import TrackSet
from cisray_jobs.evaluation_output import EvaluationRecord, evaluation_folder

NASTY = "CAGE:<script>alert('x')</script> & %{y}"
NAMES = ["DNASE:liver", "DNASE:blood", NASTY, "CHIP:CTCF:liver", "CAGE:liver"]
REGIONS = ("chr1:1,001-1,030", "chr2:101-112")


def named_model(path: Path) -> Path:
    """A model whose tracks have names, one of which is none that a page should obey."""
    rows: dict[str, list[Any]] = {
        "track": list(range(5)),
        "assay": [name.partition(":")[0] for name in NAMES],
        "identifier": [f"id{n}" for n in range(5)],
        "description": NAMES,
        **{name: [None] * 5 for name in ("clip", "scale", "sum_stat")},
    }
    model = initialise(Enformer(VERY_SMALL), 5, randomise_all=True)
    tracks = {"human": TrackSet.from_rows("human", rows), "mouse": TrackSet.unnamed("mouse", 3)}
    checkpoint = Checkpoint.build(VERY_SMALL, model.state_dict(), tracks=tracks, provenance={})
    return save_native(path, checkpoint)


@dataclass(frozen=True)
class Runs:
    """A folder with a run of every kind, and a GTF of two genes on chr1."""

    folder: Path

    def path(self, name: str) -> Path:
        return self.folder / name

    def open(self, name: str) -> Run:
        return open_run(self.folder / name)


def make_runs(folder: Path) -> Runs:
    """Score, and write what is not scored by hand."""
    texts = genome_with_traps()
    letters = texts["chr1"].upper()
    records = [
        ("chr1", pos, f"rs{pos}", letters[pos - 1], "ACGT"["CGTA".index(letters[pos - 1])])
        for pos in (600, 610, 900, 1000, 2000, 2010, 2020, 2030, 2040)
    ]
    records += [
        ("chr1", 620, "ins", letters[619], letters[619] + "GGTACCAGTTGACA"),
        *(("chr1", 640 + n, f"bad{n}", letters[639 + n], "*") for n in range(5)),
        ("chr2", 700, "dup", texts["chr2"][699], "<DUP>"),
    ]
    given = (
        "--model", named_model(folder / "m.safetensors"),
        "--fasta", write_genome(folder / "g.fa", texts),
    )  # fmt: skip
    effects = (*given, "--precision", "float32", "--stats", "SAD,SADR", "--rows-per-shard", 4)
    score("genome", folder / "genome", *given, "--tiles-per-shard", 4)
    vcf = write_vcf(folder / "v.vcf", records)
    score("variants", folder / "variants", *effects, "--vcf", vcf)
    loci = [word for region in REGIONS for word in ("--region", region)]
    score("saturation", folder / "saturation", *effects, *loci)
    # Exons of two transcripts of the first gene; of the second one nothing is known.
    genes = [("gene", 801, 1_200, "+", "FIRST"), ("exon", 801, 900, "+", "FIRST"),
             ("exon", 1_151, 1_200, "+", "FIRST"), ("exon", 861, 1_010, "+", "FIRST"),
             ("gene", 1_101, 1_500, "-", "<b>SECOND</b>")]  # fmt: skip
    (folder / "genes.gtf").write_text(
        "".join(
            f"1\tme\t{feature}\t{first}\t{last}\t.\t{strand}\t.\t"
            f'gene_id "{name}"; gene_name "{name}";\n'
            for feature, first, last, strand, name in genes
        )
    )
    write_training(folder / "training")
    record = EvaluationRecord(evaluation="eqtl", settings={"seed": 1}, inputs={})
    estimate = Estimate(0.7, 10, 5)
    metric = Metric(evaluation="eqtl", task="Liver", scores="m", metric="auroc", estimate=estimate)
    with evaluation_folder(folder / "evaluation", record) as out:
        out.write_metrics([metric])
        out.finish({"read": 12, "used": 10, "left out": {"not in run": 2}})
    return Runs(folder)


def write_training(folder: Path, steps: int = 2_500) -> None:
    folder.mkdir()
    lines = [
        {"kind": "train", "step": step, "head": "human", "loss": 1 / step, "grad_norm": 2.0,
         "learning_rate": 0.001, "examples_per_s": 8.0}
        for step in range(1, steps + 1)
    ]  # fmt: skip
    lines += [
        {"kind": "valid", "step": step, "head": "human", "loss": 0.5, "pearson_r": step / 10_000,
         "r2": None, "tracks": 5, "examples": 7}
        for step in (1_000, 2_000)
    ]  # fmt: skip
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (folder / "settings.json").write_text(json.dumps({"steps": steps, "seed": 3, "size": None}))
    (folder / "model.safetensors").touch()
