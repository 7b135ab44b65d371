"""Options that many commands have, and how those that were given become a configuration.

Knows typer; knows no command. Every default is None: what was not given is for the configuration
file, and then for the job, to say.
"""

from collections.abc import Callable, Mapping
from enum import Enum
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_type_hints

import typer

Command = TypeVar("Command", bound=Callable[..., None])


class Holds(Enum):
    """Marks a text option whose value is a place; one of type Path needs no mark.

    typer overlooks it. `cisray submit` asks for it: places must be seen by the whole cluster.
    """

    PLACE = "a path, or the URL of a run"
    NAMED_PLACE = "NAME=PLACE, or the place alone; ::COLUMNS may follow"


Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout.")]
Quiet = Annotated[
    bool, typer.Option("--quiet", "-q", help="No progress; results, warnings and errors.")
]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Log what happens to workers.")]
Config = Annotated[
    Path | None, typer.Option(help="YAML file of these options; options given here win.")
]
Plan = Annotated[bool, typer.Option("--plan", help="Print the plan and stop.")]
Restart = Annotated[bool, typer.Option("--restart", help="Discard the run in OUT and begin anew.")]

Model = Annotated[Path | None, typer.Option(help="Model file in cisray's format.")]
Fasta = Annotated[Path | None, typer.Option(help="Genome, plain or bgzipped FASTA.")]
Out = Annotated[
    str | None,
    typer.Option(
        help="Run directory to write or to resume; or in an object store, s3://BUCKET/PREFIX, "
        "gs://BUCKET/PREFIX or az://CONTAINER/PREFIX."
    ),
    Holds.PLACE,
]
Tracks = Annotated[
    list[str] | None,
    typer.Option(
        help="Which tracks: assay (CAGE), glob over descriptions ('CAGE:*K562*'), indices "
        "(4828,5111 or 0-673), identifier, or re:REGEX. Repeat to add; all without it."
    ),
]
Head = Annotated[str | None, typer.Option(help="Output head. [default: human]")]
Workers = Annotated[
    str | None, typer.Option(help="Ray actors; 0 is this process without Ray. [default: auto]")
]
NumGpus = Annotated[float | None, typer.Option(help="GPUs per worker, may be a fraction.")]
Device = Annotated[str | None, typer.Option(help="auto, cpu or cuda. [default: auto]")]
Threads = Annotated[str | None, typer.Option(help="CPU threads per worker. [default: auto]")]
MantissaBits = Annotated[
    int | None, typer.Option(help="Bits kept of each stored value, 23 is exact. [default: 10]")
]
ShardTimeout = Annotated[
    float | None,
    typer.Option(
        help="Seconds after which a shard's worker is killed and the shard retried; the plain "
        "passes of its self-check count."
    ),
]
Address = Annotated[
    str | None, typer.Option(help="Ray cluster: local, auto, host:port or ray://host:port.")
]
# Text, and no place: it is a folder of each machine that has workers, none that they share.
NodeCache = Annotated[
    str | None,
    typer.Option(
        help="Folder on the disk of each worker's machine: model and FASTA are copied there once, "
        "found by their digests, and read from there. Without it the CISRAY_NODE_CACHE of those "
        "machines counts, if it is set."
    ),
]

# Of jobs of a cluster that stands.
ServerAddress = Annotated[
    str | None,
    typer.Option(
        help="The cluster's job server. [default: RAY_API_SERVER_ADDRESS, or "
        "http://127.0.0.1:8265, where `ray dashboard CLUSTER.yaml` leads]"
    ),
]
SharedFolders = Annotated[
    list[str] | None,
    typer.Option(
        "--shared",
        metavar="FOLDER",
        help="A folder that all machines of the cluster have at this path; repeat to add. "
        "CISRAY_CLUSTER_PATHS names more.",
    ),
]
JobVariables = Annotated[
    list[str] | None,
    typer.Option(
        "--env", metavar="NAME=VALUE", help="A variable for the job, no secret; repeat to add."
    ),
]

Stats = Annotated[
    str | None,
    typer.Option(
        help="Comma-separated statistics: REF, ALT, SAD, SADR, logSAD, SAX, D1, D2, JS. "
        "[default: SAD,SADR]"
    ),
]
LinkedRuns = Annotated[
    list[str] | None,
    typer.Option(
        "--since",
        help="Where a run lies that this one links to, if it was moved. Repeat to add.",
    ),
    Holds.PLACE,
]
Since = Annotated[
    list[str] | None,
    typer.Option(
        help="Finished run of the same model, genome and settings: what it has scored is linked "
        "to and not scored again. Repeat to add; the first that has an allele counts."
    ),
    Holds.PLACE,
]
Bins = Annotated[
    str | None,
    typer.Option(
        help="Over how many bins around the variant statistics are computed: an even number, or "
        "all. [default: all]"
    ),
]
WindowPlacement = Annotated[
    str | None,
    typer.Option(
        help="centered: every variant in the middle of a window of its own, as published; grid: "
        "windows at multiples of a bin, shared by all variants of 128 bp, much faster where "
        "variants are dense."
    ),
]
SaturationMethod = Annotated[
    str | None,
    typer.Option(
        help="ism computes the effect of every substitution; gradient approximates all of them to "
        "first order, from gradients of each track in each window, and stores gradSAD, gradSADR or "
        "gradlogSAD for what --stats names. [default: ism]"
    ),
]
RankThenExact = Annotated[
    int | None,
    typer.Option(
        help="With --method gradient: of each region also compute so many substitutions exactly, "
        "those whose first statistic is largest in any track, whatever its sign."
    ),
]
Indels = Annotated[
    str | None,
    typer.Option(
        help="How an indel is lined up with its reference: stitch, each flank bin for bin, or "
        "left, as DeepMind's notebook. [default: stitch]"
    ),
]
ReverseComplement = Annotated[bool, typer.Option("--rc", help="Average over both strands.")]
Shifts = Annotated[
    str | None,
    typer.Option(help="Average over shifts of the window in bp, as 0,-43,43. [default: 0]"),
]
Std = Annotated[
    bool,
    typer.Option("--std", help="Also the standard deviation over strands and shifts, NAME_sd."),
]
Strict = Annotated[
    bool, typer.Option("--strict", help="Stop before scoring if anything cannot be scored.")
]
RowsPerShard = Annotated[
    str | None, typer.Option(help="Rows per unit of work. [default: auto, about a minute]")
]
EffectPredictor = Annotated[
    str | None,
    typer.Option(
        help="fast, which carries differences, or plain, which subtracts two passes. "
        "[default: fast]"
    ),
]
EffectPrecision = Annotated[
    str | None,
    typer.Option(
        help="Of the products of differences: float32, bfloat16 (within 1 % of an effect), or "
        "auto: bfloat16 where the device multiplies it. [default: auto]"
    ),
]
EffectSelfCheck = Annotated[
    str | None,
    typer.Option(
        help="How many rows to compute the plain way as well, to compare: auto (1 in 1,000, at "
        "least 3), a number, or off. [default: auto]"
    ),
]
EffectBatch = Annotated[
    str | None,
    typer.Option(
        help="Alternates carried, or gradients led back, at once; auto asks the device's memory. "
        "[default: auto]"
    ),
]


class OfEffects:
    """What every command takes that scores effects, after its own options, in the order of help."""

    tracks: Tracks = None
    stats: Stats = None
    bins: Bins = None
    window_placement: WindowPlacement = None
    indels: Indels = None
    rc: ReverseComplement = False
    shifts: Shifts = None
    std: Std = False
    strict: Strict = False
    head: Head = None
    workers: Workers = None
    num_gpus: NumGpus = None
    device: Device = None
    threads: Threads = None
    predictor: EffectPredictor = None
    precision: EffectPrecision = None
    self_check: EffectSelfCheck = None
    mantissa_bits: MantissaBits = None
    batch_size: EffectBatch = None
    rows_per_shard: RowsPerShard = None
    shard_timeout: ShardTimeout = None
    address: Address = None
    node_cache: NodeCache = None
    config: Config = None
    plan: Plan = False
    restart: Restart = False
    as_json: Json = False
    quiet: Quiet = False
    verbose: Verbose = False


def taking(options: type) -> Callable[[Command], Command]:
    """Let a command take the options of a class where it says `**more`, after its own.

    typer learns a command's options from its signature: that is all that changes.
    """
    more = [
        Parameter(name, Parameter.KEYWORD_ONLY, default=getattr(options, name), annotation=hint)
        for name, hint in get_type_hints(options, include_extras=True).items()
    ]

    def declared(command: Command) -> Command:
        *own, _ = signature(command).parameters.values()
        vars(command)["__signature__"] = Signature([*own, *more])
        return command

    return declared


_OF_THE_COMMAND = {"config", "plan", "as_json", "quiet", "verbose"}


def given_options(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Take a command's parameters for options of its job; None for those that were not given.

    Those of `taking` are the parameter `more`.
    """
    every = {**parameters, **parameters.get("more", {})}
    left_out = {*_OF_THE_COMMAND, "more"}
    return {name: _given(value) for name, value in every.items() if name not in left_out}


def _given(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(value) or None
    return None if value is False else value
