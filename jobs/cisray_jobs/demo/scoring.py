"""The second half of the demonstration: scores of bins, of substitutions and of variants.

Knows the commands that score, and asks their runs with Polars; knows nothing of training.
"""

from pathlib import Path

import numpy as np
import polars as pl
from sklearn.metrics import roc_auc_score

from cisray.genome.gene_starts import read_gene_starts
from cisray.genome.interval import Interval
from cisray.genome.reference import Genome
from cisray.genome.variant import Variant
from cisray.store.scan import Run, open_run
from cisray_jobs.config import load_config
from cisray_jobs.demo.setting import UNSEEN, Demo
from cisray_jobs.saturate import Saturate
from cisray_jobs.score_genome import ScoreGenome
from cisray_jobs.score_variants import ScoreVariants
from cisray_jobs.units import counted, size

BIN_BP = 128
PROMOTER_BP = 256  # a planted promoter and some bases on either side
LARGEST = 20


def score_genome(demo: Demo, model: Path) -> None:
    """Steps 5 and 6: every tile of every chromosome, and a question to the result."""
    run = demo.path("genome-run")
    options = {
        "model": model, "fasta": demo.fasta, "out": run,
        "workers": demo.workers, "threads": 1, "device": "cpu",
    }  # fmt: skip
    demo.tell(5, "Every tile of every chromosome, on a pool of Ray actors", "score genome", options)
    summary = load_config(ScoreGenome, options).run(demo.display)
    demo.say(f"   {summary.rows:,} rows in {counted(summary.files, 'file')}, {size(summary.bytes)}")
    demo.say("6. Ask: where does CAGE of the cell type alpha peak?")
    demo.say(
        f'   >>> cisray.open_run("{run}").scan(tracks="CAGE:alpha").top_k(5, by="t0003").collect()'
    )
    with pl.Config(tbl_rows=5, tbl_hide_dataframe_shape=True, float_precision=4):
        demo.say(str(strongest_bins(run)))


def strongest_bins(run: Path) -> pl.DataFrame:
    """Query the five bins where the CAGE track of alpha is highest."""
    return open_run(run).scan(tracks="CAGE:alpha").top_k(5, by="t0003").collect()


def saturate_promoter(demo: Demo, model: Path) -> None:
    """Steps 7 and 8: every substitution of a promoter, and whether the largest lie in sites."""
    run = demo.path("saturation-run")
    gene, promoter = strongest_promoter(demo)
    options = {
        "model": model, "fasta": demo.fasta, "region": str(promoter), "out": run,
        "tracks": "CAGE:alpha", "stats": "SAD", "workers": demo.workers, "threads": 1,
        "device": "cpu",
    }  # fmt: skip
    title = f"Every substitution of the promoter of {gene}, of a chromosome never seen"
    demo.tell(7, title, "score saturation", options)
    summary = load_config(Saturate, {**options, "region": (options["region"],)}).run(demo.display)
    demo.say(f"   {summary.rows:,} substitutions of {promoter.width:,} bases")
    demo.say("8. Do the largest effects lie in what was planted there?")
    hits, share = hits_of_sites(demo, run, promoter)
    demo.say(f"   {hits} of the {LARGEST} largest lie in binding sites, {share:.0%} of its bases")


def strongest_promoter(demo: Demo) -> tuple[str, Interval]:
    """Find the unseen gene with the highest predicted CAGE of alpha in the bin of its start.

    Returns its name and `PROMOTER_BP` around its start.
    """
    genome = Genome.open(demo.fasta)
    genes = read_gene_starts(demo.path("made-up/genes.bed"), genome).starts
    bins = open_run(demo.path("genome-run")).scan(tracks="CAGE:alpha").collect()
    cage = dict(bins.filter(pl.col("chrom") == UNSEEN).select("start", "t0003").iter_rows())
    best = max(
        (gene for gene in genes if gene.base.chrom == UNSEEN),
        key=lambda gene: cage[gene.base.start // BIN_BP * BIN_BP],
    )
    around = best.base.resize(PROMOTER_BP)
    return best.gene, around.intersect(Interval(UNSEEN, 0, demo.of.chromosome_bp)) or best.base


def hits_of_sites(demo: Demo, run: Path, promoter: Interval) -> tuple[int, float]:
    """Count the `LARGEST` substitutions by |SAD| that lie in active sites, and these sites' share.

    By chance the first is `LARGEST` times the second.
    """
    truth = pl.read_parquet(demo.path("made-up/truth/sites.parquet"))
    active = truth.filter((pl.col("kind") == "active") & (pl.col("chrom") == promoter.chrom))
    sites = [Interval(*row) for row in active.select("chrom", "start", "end").iter_rows()]
    inside = {
        base
        for site in sites
        if (part := site.intersect(promoter)) is not None
        for base in range(part.start, part.end)
    }
    scores = open_run(run).scan(stats="SAD").collect()
    (column,) = (name for name in scores.columns if name.startswith("SAD"))
    largest = scores.sort(pl.col(column).abs(), descending=True).head(LARGEST)
    alleles = largest.select("chrom", "pos", "ref", "alt").iter_rows()
    hits = sum(Variant(*row).interval.start in inside for row in alleles)
    return hits, len(inside) / promoter.width


def score_variants(demo: Demo, model: Path) -> None:
    """Steps 9 and 10: every variant of the VCF, and whether the scores know the causal ones."""
    run = demo.path("variant-run")
    options = {
        "model": model, "fasta": demo.fasta,
        "vcf": demo.path("made-up/variants.vcf.gz"), "out": run, "stats": "SAD",
        "workers": demo.workers, "threads": 1, "device": "cpu",
    }  # fmt: skip
    demo.tell(9, "Every variant of a VCF", "score variants", options)
    summary = load_config(ScoreVariants, options).run(demo.display)
    demo.say(f"   {summary.rows:,} variants scored")
    demo.say("10. Do the scores know which variants are causal? (the truth is in made-up/truth)")
    truth = pl.read_parquet(demo.path("made-up/truth/variants.parquet"))
    for name, among in (("all", truth), (f"{UNSEEN}, never seen", _untaught(truth))):
        area = causal_auroc(open_run(run), among)
        told = f"{among.height:,} variants, {among['causal'].sum():,} of them causal"
        demo.say(f"   {name}: {told}: AUROC {area:.3f}")


def _untaught(truth: pl.DataFrame) -> pl.DataFrame:
    return truth.filter(pl.col("chrom") == UNSEEN)


def causal_auroc(run: Run, truth: pl.DataFrame) -> float:
    """Tell how often a causal variant scores higher than another one, 0.5 by chance.

    The score is the largest |SAD| over tracks, each in units of its own spread.
    """
    found = truth.select("id", "causal").join(run.scan(stats="SAD").collect(), on="id")
    names = [name for name in found.columns if name.startswith("SAD")]
    sad_VT = found.select(names).to_numpy()
    score_V = (np.abs(sad_VT) / sad_VT.std(axis=0)).max(axis=1)
    return float(roc_auc_score(found["causal"].to_numpy(), score_V))
