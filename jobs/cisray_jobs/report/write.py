"""The job `cisray runs report`: one HTML file of any run, for people.

Knows which kinds of run there are and where a file is written; what is shown of each kind is the
business of the modules beside it. Those of training runs and evaluations are imported when such a
folder is given: they bring torch and scikit-learn, which a report of scores does without.
"""

from importlib import import_module
from pathlib import Path

from cisray.errors import ConfigError
from cisray.page.document import Page, Section, render
from cisray.store.export.staging import refuse_existing, staged
from cisray.store.place import checked_place, run_root
from cisray.store.scan import Run, open_run
from cisray_jobs import marks
from cisray_jobs.report.about import opening, origin, overview, warning_of
from cisray_jobs.report.genes import read_genes
from cisray_jobs.report.genome import genome_sections
from cisray_jobs.report.options import ReportOptions
from cisray_jobs.report.rows import rows_told
from cisray_jobs.report.saturation import saturation_sections
from cisray_jobs.report.variants import variant_sections
from cisray_jobs.run_facts import describe_run
from cisray_schemas import SATURATION_SCORES

ENDING = ".report.html"
_OF_SCORES = ("region", "tracks", "stats", "genes", "top", "since")
_FOOTER = (
    "This file needs no network: figures and data are in it. Tables are sorted by their heads; "
    "figures say their values under the pointer, or where they are touched."
)


def write_report(
    run: Path | str, out: Path | None = None, options: ReportOptions | None = None
) -> Path:
    """Write the report of a run and give its path.

    `run` is a scored run, sealed or not, also the URL of one; or the folder of a training run, of
    an evaluation, or of several. Without `out` it is NAME.report.html in the current folder.

    Raises ConfigError for options that mean nothing for the kind of run, for a file that is there
    (unless `overwrite`), and for a file in the run; and what opening and reading a run raises.
    """
    options = options or ReportOptions()
    run = checked_place(run)
    final = run_root(_beside(run) if out is None else out)
    refuse_existing([final], overwrite=options.overwrite)
    if isinstance(run, Path) and run_root(run) in final.parents:
        raise ConfigError(
            f"--out {final} lies in the run {run}, which holds nothing but the run: choose another "
            f"place."
        )
    text = render(report_page(run, options))
    with staged([final], overwrite=options.overwrite) as folder:
        (folder / final.name).write_text(text, encoding="utf-8")
    return final


def report_page(run: Path | str, options: ReportOptions) -> Page:
    """Lay out the report of a run, of whichever kind it is."""
    if isinstance(run, Path) and _is_training(run):
        options.refuse(_OF_SCORES, "a training run")
        return _imported("cisray_jobs.report.training", "training_page", run)
    if isinstance(run, Path) and _is_evaluated(run):
        options.refuse(_OF_SCORES, "evaluations")
        return _imported("cisray_jobs.evaluation_page", "page_of", run)
    return _scored_page(open_run(run, allow_unsealed=True, since=options.since), options)


def _imported(module: str, function: str, folder: Path) -> Page:
    page: Page = getattr(import_module(module), function)(folder)
    return page


def _scored_page(run: Run, options: ReportOptions) -> Page:
    facts = describe_run(run.path)
    name = str(run.path).rstrip("/").rpartition("/")[2]
    about = overview(facts, rows_told(run, facts))
    return Page(
        title=f"{_TITLES.get(facts.job, facts.job)} {name}",
        summary=[f"{facts.rows_done:,} rows, begun {facts.created}, {facts.state}."],
        sections=[
            about,
            *_sections(run, options),
            opening(str(run.path), sealed=run.sealed),
            origin(facts),
        ],
        footer=_FOOTER,
        warning=warning_of(facts),
    )


_TITLES = {
    "score-genome": "Genome run",
    "score-variants": "Variants",
    "score-saturation": "Saturation",
}


def _sections(run: Run, options: ReportOptions) -> list[Section]:
    """Lay out what is particular to the kind of a scored run."""
    if run.statistics is None:
        options.refuse(("stats", "top"), "a run along the genome")
        genes = None if options.genes is None else read_genes(options.genes, run.chromosomes)
        return genome_sections(run, options, genes)
    if run.manifest.table == SATURATION_SCORES.format:
        options.refuse(("genes",), "a saturation run")
        return saturation_sections(run, options)
    options.refuse(("genes", "region"), "a run of variants")
    return variant_sections(run, options)


def _is_training(folder: Path) -> bool:
    """Tell whether a folder is that of a training run."""
    return all((folder / name).is_file() for name in (marks.TRAINED, marks.TRAIN_SETTINGS))


def _is_evaluated(folder: Path) -> bool:
    """Tell whether a folder is of evaluations: of one, or of several side by side."""
    if any((folder / name).is_file() for name in (marks.EVALUATION, marks.EVALUATIONS)):
        return True
    return not (folder / marks.RUN).exists() and any(folder.glob(f"*/{marks.EVALUATION}"))


def _beside(run: Path | str) -> Path:
    """Name the report of a run, in the current folder."""
    name = run.absolute().name if isinstance(run, Path) else run.rstrip("/").rpartition("/")[2]
    return Path(f"{name}{ENDING}")
