"""The job `cisray runs report`: one HTML file of any run, for people.

Knows which kinds of run there are and where a file is written; what is shown of each kind is the
business of the modules beside it. Those of training runs and evaluations are imported when such a
folder is given: they bring torch and scikit-learn, which a report of scores does without.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path

from cisray.errors import ConfigError
from cisray.page.document import Page, Section, joined, render
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
    runs: Sequence[Path | str], out: Path | None = None, options: ReportOptions | None = None
) -> Path:
    """Write the report of a run, or of several in one file, and give its path.

    A run is a scored one, sealed or not, also the URL of one; or the folder of a training run, of
    an evaluation, or of several. Without `out` it is NAME.report.html in the current folder. Each
    option is for the runs that it means something for.

    Raises ConfigError for options that mean nothing for any of the runs, for several runs without
    `out`, for a file that is there (unless `overwrite`), and for a file in a run; and what opening
    and reading a run raises.
    """
    options = options or ReportOptions()
    places = [checked_place(run) for run in runs]
    final = _place_of(places, out)
    refuse_existing([final], overwrite=options.overwrite)
    for run in places:
        if isinstance(run, Path) and run_root(run) in final.parents:
            raise ConfigError(
                f"--out {final} lies in the run {run}, which holds nothing but the run: choose "
                f"another place."
            )
    text = render(_page_of(places, options))
    with staged([final], overwrite=options.overwrite) as folder:
        (folder / final.name).write_text(text, encoding="utf-8")
    return final


def _place_of(runs: Sequence[Path | str], out: Path | None) -> Path:
    if out is None and len(runs) != 1:
        raise ConfigError(f"Say with --out which file is to hold the report of {len(runs)} runs.")
    return run_root(_beside(runs[0]) if out is None else out)


def _page_of(runs: Sequence[Path | str], options: ReportOptions) -> Page:
    shown = [_shown(run, options.since) for run in runs]
    idle = set.intersection(*(set(one.idle) for one in shown))
    options.refuse(idle, " and of ".join(dict.fromkeys(one.kind for one in shown)))
    pages = [one.page(options.without(one.idle)) for one in shown]
    return pages[0] if len(pages) == 1 else joined("Report", pages)


@dataclass(frozen=True, slots=True)
class _Shown:
    """A run whose kind is known, the options that mean nothing for it, and what lays it out."""

    kind: str
    idle: Sequence[str]
    page: Callable[[ReportOptions], Page]


def _shown(run: Path | str, since: Sequence[Path | str]) -> _Shown:
    if isinstance(run, Path) and _is_training(run):
        return _imported("a training run", "cisray_jobs.report.training", "training_page", run)
    if isinstance(run, Path) and _is_evaluated(run):
        return _imported("evaluations", "cisray_jobs.evaluation_page", "page_of", run)
    opened = open_run(run, allow_unsealed=True, since=since)
    page = partial(_scored_page, opened)
    if opened.statistics is None:
        return _Shown("a run along the genome", ("stats", "top"), page)
    if opened.manifest.table == SATURATION_SCORES.format:
        return _Shown("a saturation run", ("genes",), page)
    return _Shown("a run of variants", ("genes", "region"), page)


def _imported(kind: str, module: str, function: str, folder: Path) -> _Shown:
    def page(_: ReportOptions) -> Page:
        laid_out: Page = getattr(import_module(module), function)(folder)
        return laid_out

    return _Shown(kind, _OF_SCORES, page)


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
        genes = None if options.genes is None else read_genes(options.genes, run.chromosomes)
        return genome_sections(run, options, genes)
    if run.manifest.table == SATURATION_SCORES.format:
        return saturation_sections(run, options)
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
