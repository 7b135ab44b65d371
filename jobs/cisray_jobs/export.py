"""The job `cisray runs export`: a sealed run into the files of other programs.

Knows which options each format takes and how files are named; the writers live in
`cisray.store.export`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, cast

from pydantic import field_validator

from cisray.errors import ConfigError, MissingExtra
from cisray.genome.reference import Genome
from cisray.store.export.bedgraph import write_bedgraph
from cisray.store.export.bigwig import write_bigwig
from cisray.store.export.bins import file_stem
from cisray.store.export.columns import GenomeTracks, Scores, meaning_of
from cisray.store.export.figure import Caption, draw_saturation
from cisray.store.export.hdf5 import write_hdf5
from cisray.store.export.runs import Format, check_format, genome_tracks_of, scores_of
from cisray.store.export.saturation import choose_region, saturation_map
from cisray.store.export.staging import staged, staged_folder
from cisray.store.export.text import index_suffix
from cisray.store.export.vcf import MOST_COLUMNS, write_vcf
from cisray.store.place import run_root
from cisray.store.scan import Run, open_run
from cisray_jobs.config import JobConfig, RunLocation, split_names

MOST_FILES = 1000
FIGURE_STAT = "SAD"
# The first is what files in a folder are called.
_ENDINGS: Mapping[Format, tuple[str, ...]] = {
    "vcf": (".vcf.gz",),
    "hdf5": (".h5", ".hdf5"),
    "bigwig": (".bw", ".bigwig", ".bigWig"),
    "bedgraph": (".bedgraph.gz", ".bedgraph", ".bg.gz", ".bg"),
    "png": (".png",),
    "svg": (".svg",),
    "delta": (),
}
_OPTIONS: Mapping[Format, tuple[str, ...]] = {
    "vcf": ("fasta", "stats"),
    "hdf5": ("stats", "sar", "float16"),
    "bigwig": ("fasta",),
    "bedgraph": ("fasta",),
    "png": ("stats",),
    "svg": ("stats",),
    "delta": (),
}
_NOT_FOR_ALL = ("fasta", "stats", "sar", "float16")
_NOT_FOR_WHOLE_RUNS = ("tracks", "region", "overwrite")
_DELTA = "cisray.store.export.delta"
_TRACK_WRITERS: Mapping[Format, Callable[[GenomeTracks, str, Path], int]] = {
    "bigwig": write_bigwig,
    "bedgraph": write_bedgraph,
}


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written; `rows` are bins per track, variants, or substitutions."""

    run: str
    format: str
    files: tuple[str, ...]
    bytes: int
    rows: int
    tracks: int


class ExportRun(JobConfig):
    """Which part of which run, into which files."""

    run: RunLocation
    format: Format
    out: Path
    tracks: tuple[str, ...] = ()
    stats: tuple[str, ...] = ()
    region: str | None = None
    fasta: Path | None = None
    sar: Literal["logSAD", "SADR"] | None = None
    float16: bool = False
    since: tuple[RunLocation, ...] = ()
    overwrite: bool = False

    @field_validator("stats", mode="before")
    @classmethod
    def _names(cls, value: object) -> object:
        return split_names(value) if isinstance(value, str) else value

    def export(self) -> Exported:
        """Write the files, all of them or none.

        Raises RunNotFound for a run that is not sealed, ConfigError for options that do not fit
        the format or the run and for files that are there already, and what the writers raise.
        """
        run = open_run(self.run, since=self.since)
        check_format(run, self.format)
        self._check_options()
        if run.path in (self.out.absolute(), *self.out.absolute().parents):
            raise ConfigError(
                f"--out {self.out} lies in the run {run.path}, which holds nothing but the run: "
                f"choose another place."
            )
        if self.format in _TRACK_WRITERS:
            return self._export_tracks(run)
        if self.format in ("png", "svg"):
            return self._export_figure(run)
        if self.format == "delta":
            return self._export_delta(run)
        return self._export_scores(run)

    def _check_options(self) -> None:
        takes = _OPTIONS[self.format]
        for option in _NOT_FOR_ALL:
            if getattr(self, option) and option not in takes:
                raise ConfigError(f"--{option} means nothing with --format {self.format}.")
        if "fasta" in takes and self.fasta is None:
            raise ConfigError(
                f"--format {self.format} needs --fasta, the genome that was scored: the run does "
                f"not hold the lengths of its chromosomes."
            )

    def _lengths(self, run: Run) -> Mapping[str, int]:
        """Read the lengths of the chromosomes, of the very file that was scored."""
        with Genome.open(cast("Path", self.fasta)) as genome:
            if genome.sha256 != run.manifest.genome_sha256:
                raise ConfigError(
                    f"--fasta {self.fasta} is not the file that was scored, "
                    f"{run.manifest.genome or 'unnamed'}: its sha256 is {genome.sha256[:16]}..., "
                    f"the run has {run.manifest.genome_sha256[:16]}.... Another compression of the "
                    f"same sequences counts as another file."
                )
            return genome.chromosomes

    def _is_file(self) -> bool:
        return self.out.name.endswith(_ENDINGS[self.format])

    def _file(self) -> Path:
        """Give the one file to write, by its full path. Raises ConfigError for another ending."""
        if not self._is_file():
            endings = " or ".join(_ENDINGS[self.format])
            raise ConfigError(
                f"--out {self.out}: the name of a {self.format} file must end in {endings}."
            )
        return run_root(self.out)

    def _export_tracks(self, run: Run) -> Exported:
        lengths = self._lengths(run)
        chosen = genome_tracks_of(run, lengths, tracks=self.tracks, region=self.region)
        paths = self._track_files(chosen)
        indexed = [_with_index(path, lengths) for path in paths.values()]
        finals = [path for files in indexed for path in files]
        rows = 0
        with staged(finals, overwrite=self.overwrite) as folder:
            for column, path in paths.items():
                rows = _TRACK_WRITERS[self.format](chosen, column, folder / path.name)
        return self._told(run, finals, rows, len(chosen.tracks))

    def _track_files(self, chosen: GenomeTracks) -> dict[str, Path]:
        columns = chosen.tracks.columns
        if self._is_file():
            if len(columns) > 1:
                raise ConfigError(
                    f"--out {self.out} is one file, and {len(columns):,} tracks are to be written: "
                    f"choose one with --tracks, or name a folder."
                )
            return {columns[0]: run_root(self.out)}
        if len(columns) > MOST_FILES and not self.tracks:
            raise ConfigError(
                f"the run has {len(columns):,} tracks, and each would be a file: choose with "
                f"--tracks. ('*' chooses all of them.)"
            )
        ending, home = _ENDINGS[self.format][0], run_root(self.out)
        return {column: home / f"{file_stem(chosen, column)}{ending}" for column in columns}

    def _export_scores(self, run: Run) -> Exported:
        final = self._file()
        scores = scores_of(run, tracks=self.tracks, region=self.region, stats=self.stats)
        lengths = self._lengths(run) if self.format == "vcf" else {}
        finals = _with_index(final, lengths)
        with staged(finals, overwrite=self.overwrite) as folder:
            path = folder / final.name
            if self.format == "vcf":
                most = None if self.tracks else MOST_COLUMNS
                rows = write_vcf(scores, lengths, path, most_columns=most)
            else:
                rows = write_hdf5(scores, path, float16=self.float16, sar=self.sar)
        return self._told(run, finals, rows, len(scores.labels))

    def _export_figure(self, run: Run) -> Exported:
        final = self._file()
        stat = self._one_stat()
        scores = scores_of(run, tracks=self.tracks, stats=[stat])
        wanted = scores
        if self.region is not None:
            wanted = scores_of(run, tracks=self.tracks, stats=[stat], region=self.region)
        region = choose_region(scores, wanted)
        shown = saturation_map(wanted, stat, region)
        kind: Literal["png", "svg"] = "png" if self.format == "png" else "svg"
        meaning = meaning_of(stat)
        caption = Caption(
            self._title(scores), stat, meaning.text, meaning.unit, run.manifest.run_id
        )
        with staged([final], overwrite=self.overwrite) as folder:
            draw_saturation(
                shown, caption, folder / final.name, kind=kind, provenance=scores.provenance
            )
        return self._told(run, [final], shown.substitutions, len(scores.labels))

    def _export_delta(self, run: Run) -> Exported:
        for option in _NOT_FOR_WHOLE_RUNS:
            if getattr(self, option):
                raise ConfigError(
                    f"--{option} means nothing with --format delta: its tables are the files of "
                    f"the whole run, in a new folder."
                )
        final = run_root(self.out)
        with staged_folder(final) as folder:
            rows = _delta().write_delta(run, folder)
        written = sum(path.stat().st_size for path in final.rglob("*") if path.is_file())
        told = self._told(run, sorted(final.iterdir()), rows, len(run.tracks))
        return replace(told, bytes=written)

    def _one_stat(self) -> str:
        if len(self.stats) > 1:
            raise ConfigError(
                f"a figure shows one statistic, and --stats names {len(self.stats)}: choose one of "
                f"{', '.join(self.stats)}."
            )
        return self.stats[0] if self.stats else FIGURE_STAT

    def _title(self, scores: Scores) -> str:
        """Name the track, or say of how many tracks the mean is shown."""
        labels = list(scores.labels.values())
        if len(labels) == 1:
            identifier, description = labels[0]
            return f"{description} ({identifier})"
        chosen = f": {', '.join(self.tracks)}" if self.tracks else " of the run"
        return f"mean of {len(labels):,} tracks{chosen}"

    def _told(self, run: Run, files: Sequence[Path], rows: int, tracks: int) -> Exported:
        return Exported(
            run=str(run.path),
            format=self.format,
            files=tuple(map(str, files)),
            bytes=sum(path.stat().st_size for path in files),
            rows=rows,
            tracks=tracks,
        )


def _delta() -> Any:
    """Import what Delta tables need, which nothing else does."""
    try:
        return import_module(_DELTA)
    except ImportError:
        raise MissingExtra(
            "--format delta needs the package deltalake: pip install 'cisray[delta]'."
        ) from None


def _with_index(path: Path, lengths: Mapping[str, int]) -> list[Path]:
    """Give a file and the index that is written beside it, if it is BGZF."""
    if path.suffix != ".gz":
        return [path]
    return [path, path.with_name(path.name + index_suffix(lengths))]
