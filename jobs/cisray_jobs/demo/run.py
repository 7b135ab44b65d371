"""The steps of the demonstration, one after another."""

from pathlib import Path

from cisray.engine.progress import Display
from cisray_jobs.config import expanded
from cisray_jobs.demo.judging import evaluate, report
from cisray_jobs.demo.learning import make_dataset, make_genome, train
from cisray_jobs.demo.scoring import saturate_promoter, score_genome, score_variants
from cisray_jobs.demo.setting import QUICK, WHOLE, Demo, Say


def run_demo(
    out: Path, *, workers: str, say: Say, seed: int = 1, quick: bool = False, quiet: bool = False
) -> None:
    """Make a genome up, train a model on it, score it in three ways, and judge the scores.

    Run again, it finishes or reuses what is there.
    """
    out = expanded(out)
    out.mkdir(parents=True, exist_ok=True)
    display = Display.NONE if quiet else Display.AUTO
    demo = Demo(out, QUICK if quick else WHOLE, seed, workers, say, display)
    make_genome(demo)
    make_dataset(demo)
    model = train(demo)
    score_genome(demo, model)
    saturate_promoter(demo, model)
    score_variants(demo, model)
    evaluate(demo, model)
    report(demo)
    say("With your own data: cisray score genome --model M --fasta hg38.fa --out RUN --plan")
