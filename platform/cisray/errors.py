"""Every failure cisray names, and the exit code each one means.

Knows nothing of the rest of the project. Two families: `InputError` is something the user can
mend in what they passed (exit code 2); any other `CisrayError` is a failure of the work itself
(exit code 1). A message is one paragraph: the offending value, where it stands (file and line),
and the way out.
"""

from collections.abc import Iterable
from difflib import get_close_matches
from typing import ClassVar


class CisrayError(Exception):
    """A failure that cisray understands; the command line prints it without a traceback.

    `ends_run`: met in one shard, it would be met again in every other and at every attempt.
    """

    exit_code: ClassVar[int] = 1
    ends_run: ClassVar[bool] = False


class InputError(CisrayError):
    """Something in the input, the options or the files handed over is wrong."""

    exit_code = 2
    ends_run = True


class ConfigError(InputError):
    """An option or a configuration key is unknown, missing or out of range."""


class FastaError(InputError):
    """A FASTA file or its index is missing, truncated, stale or not a FASTA file."""


class UnknownChromosome(InputError):
    """A chromosome name, or every one of a file, matches nothing in the FASTA, under no alias."""


class LocusError(InputError):
    """A text locus such as `chr21:25,000,000-25,100,000` cannot be read."""


class CoordinateError(InputError):
    """An interval, variant or window is impossible or leaves its chromosome."""


class OutsideTarget(CoordinateError):
    """An interval leaves the bins that a window predicts."""


class RegionsError(InputError):
    """A BED line is malformed or does not fit the genome; the message has file and line."""


class SyntenyError(InputError):
    """A file of alignments between genomes is malformed, or of other genomes."""


class VariantsError(InputError):
    """A file of variants is missing, truncated or no such file; the message has file and line."""


class AssemblyMismatch(InputError):
    """So many reference alleles differ from the FASTA that it is not the variants' assembly."""


class RejectsRefused(InputError):
    """Some of the input cannot be scored, and the user asked that all of it must be."""


class TrackError(InputError):
    """A track table is malformed, or a selection of tracks matches nothing."""


class UnknownHead(InputError):
    """A model has no output head of that name."""


class CheckpointError(InputError):
    """A checkpoint is missing, truncated, damaged, or its tensors do not fit the model."""


class DatasetError(InputError):
    """A dataset directory is missing, unfinished, damaged, or is asked for what it has not."""


class TargetsError(InputError):
    """A file of measured values does not fit the genome or its track, or holds nothing."""


class RecordError(InputError):
    """A TFRecord file is damaged or does not fit its dataset; the message has file and record."""


class RunConflict(InputError):
    """A run directory belongs to another run, or another process is writing to it."""


class RunBusy(RunConflict):
    """Another process is writing to a run directory; when it has ended, the same command goes on.

    No mistake in what was asked for, so that who repeats commands may repeat this one.
    """

    exit_code = 1


class RunNotFound(InputError):
    """A path holds no run, or a run that is not sealed."""


class WrongRun(InputError):
    """A run is asked for what runs of its kind do not have: bins for variants, or the reverse."""


class StatisticError(InputError):
    """A selection of statistics matches none that a run holds."""


class MissingExtra(InputError):
    """What is asked for needs an optional package that is not installed."""


class FrameError(InputError):
    """A frame handed to a query lacks a column, or has one of a type or name that cannot be."""


class EvaluationError(InputError):
    """A table of labels or scores lacks a column, or holds what nothing can be judged by."""


class DeviceTooSmall(InputError):
    """Not even one sequence fits into the memory of the device that was chosen."""


class StorageError(CisrayError):
    """Bytes cannot be written or read back: permissions, disk space, damage."""


class ResultsError(CisrayError):
    """A shard's results break their table's contract: rows, columns, or values not finite."""


class ClusterRefused(InputError):
    """A cluster does not let us in, or is not one that this version can work with."""


class PathNotShared(InputError):
    """A path on this machine is named in what is to run on machines that may not have it."""


class ClusterSilent(CisrayError):
    """A cluster cannot be asked now: nobody knows how its jobs are, and they may well be running.

    It does not answer, does not let us in, or there is no token for it.
    """


class JobExists(InputError):
    """An id was given to a job already, which may be running or have ended."""


class JobNotFound(InputError):
    """A cluster knows no job of that id."""


class DownloadError(CisrayError):
    """A file cannot be fetched from where it is published."""


class WatchError(CisrayError):
    """An input that a schedule watches is not there, or cannot be read or fetched."""


class RunIncomplete(CisrayError):
    """Sealing was refused: shards are missing, or rows in and rows out differ."""


class SelfCheckFailed(CisrayError):
    """Fast and plain predictions of a sampled tile disagree: the fast ones cannot be trusted."""

    ends_run = True


class EvaluationsFailed(CisrayError):
    """Some of several evaluations failed; the message says which, and why."""


class ShardsFailed(CisrayError):
    """Some shards failed for good; each is named with its reason, the others are kept."""


class TrainingDiverged(CisrayError):
    """A loss or a gradient is no finite number any more: no step can follow."""

    ends_run = True


class EngineError(CisrayError):
    """The cluster or its workers cannot be started, or were lost and did not come back."""


def near_matches(wrong: str, known: Iterable[str], limit: int = 3) -> str:
    """Phrase a "did you mean" for a wrong name, or an empty string when nothing is close.

    >>> near_matches("humna", ["human", "mouse"])
    ' Did you mean human?'
    >>> near_matches("x", ["human", "mouse"])
    ''
    """
    close = get_close_matches(wrong, list(known), n=limit, cutoff=0.6)
    return f" Did you mean {' or '.join(close)}?" if close else ""
