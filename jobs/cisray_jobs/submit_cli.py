"""The commands `cisray submit` and `cisray jobs`: other commands, as jobs of a Ray cluster.

Knows options and exit codes; what is done is the business of the modules that are called. Heavy
imports wait until a command needs them.
"""

from typing import Annotated, Literal

import typer

from cisray_jobs.console import log_to_stderr
from cisray_jobs.options import JobVariables, Json, ServerAddress, SharedFolders, Verbose

JobId = Annotated[str, typer.Argument(metavar="ID", help="Id of a job, as submit printed it.")]

jobs_app = typer.Typer(
    help="Look at jobs on a cluster, follow and stop them.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


def submit(
    context: typer.Context,
    command: Annotated[
        list[str],
        typer.Argument(metavar="COMMAND...", help="A command of cisray, as: score genome ..."),
    ],
    address: ServerAddress = None,
    name: Annotated[
        str | None,
        typer.Option("--id", help="A name, to be part of the id. [default: the command's]"),
    ] = None,
    follow: Annotated[
        bool, typer.Option(help="Print what the job prints, and end with its exit code.")
    ] = True,
    shared: SharedFolders = None,
    env: JobVariables = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="With --no-follow: print the job as JSON on stdout.")
    ] = False,
    kubernetes: Annotated[
        bool,
        typer.Option("--kubernetes", help="With --print: as manifests of KubeRay; sends nothing."),
    ] = False,
    printed: Annotated[bool, typer.Option("--print", help="With --kubernetes.")] = False,
    kind: Annotated[
        Literal["job", "cluster"],
        typer.Option(help="Of the manifest: a RayJob, or a RayCluster that fits the command."),
    ] = "job",
    image: Annotated[
        str | None, typer.Option(help="Of the pods: made by deploy/Dockerfile; holds cisray.")
    ] = None,
    claim: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=/FOLDER",
            help="A persistent volume claim, mounted there in every pod; repeat to add.",
        ),
    ] = None,
    secret: Annotated[
        list[str] | None,
        typer.Option(help="A Secret whose entries become variables of every pod; repeat to add."),
    ] = None,
    namespace: Annotated[str | None, typer.Option(help="Of the manifests.")] = None,
    worker_cpus: Annotated[int, typer.Option(min=1, help="CPUs of a worker's pod.")] = 4,
    worker_memory: Annotated[str, typer.Option(help="Memory of a worker's pod.")] = "32Gi",
    verbose: Verbose = False,
) -> None:
    """Run a command of cisray on a Ray cluster: this code, these settings, its machines.

    The command is checked here first. What it names must be seen by the cluster: folders that are
    --shared, or object stores. While it runs, the same command joins it; afterwards the same
    command submits it again, and it goes on where it stopped. Ctrl-C asks whether it is to stop.

    Example: cisray submit --shared /shared -- score genome --model /shared/enformer.safetensors
    --fasta /shared/hg38.fa --out /shared/runs/chr21 --chromosomes chr21 --workers 4 --device cuda

    On Kubernetes: cisray submit --kubernetes --print --image REGISTRY/cisray:0.1.0
    --claim shared=/shared -- score genome ... | kubectl apply -f -
    """
    log_to_stderr(verbose=verbose)
    from cisray_jobs import output
    from cisray_jobs.submit import following
    from cisray_jobs.submit.command import parse
    from cisray_jobs.submit.kubernetes import Pods, read_claims
    from cisray_jobs.submit.places import shared_folders
    from cisray_jobs.submit.request import Request, jobs_at
    from cisray_jobs.submit.shipment import checked_name

    if as_json and follow and not kubernetes:
        raise typer.BadParameter("--json goes with --no-follow: a job's own lines are not JSON.")
    if kubernetes != printed or (kubernetes and image is None):
        raise typer.BadParameter(
            "--kubernetes goes with --print and --image: what is printed is for kubectl apply."
        )
    request = Request(
        name=checked_name(name),
        folders=shared_folders(shared or []),
        command=parse(context.find_root().command, command),
        variables=tuple(env or ()),
    )
    if kubernetes:
        pods = Pods(
            image=image or "",
            claims=read_claims(claim or []),
            secrets=tuple(secret or []),
            namespace=namespace,
            worker_cpus=worker_cpus,
            worker_memory=worker_memory,
        )
        typer.echo(request.manifests(kind, pods), nl=False)
        return
    jobs = jobs_at(address)
    sent = request.submit(jobs)
    if as_json:
        output.as_json(sent)
        return
    typer.echo(f"{'Joined' if sent.joined else 'Submitted'} {sent.job_id}", err=follow)
    typer.echo(following.how_to(sent.job_id, jobs.url), err=follow)
    if follow:
        raise typer.Exit(following.follow(jobs, sent.job_id))


@jobs_app.callback()
def _root() -> None:
    """Look at jobs on a cluster, follow and stop them."""


@jobs_app.command("list")
def jobs_list(address: ServerAddress = None, as_json: Json = False) -> None:
    """List the jobs that the cluster knows, the newest first.

    Example: cisray jobs list
    """
    from cisray_jobs import output
    from cisray_jobs.submit import jobs_output
    from cisray_jobs.submit.request import jobs_at

    listed = [jobs_output.described(job) for job in jobs_at(address).all()]
    output.as_json(listed) if as_json else jobs_output.table(listed)


@jobs_app.command("status")
def jobs_status(job: JobId, address: ServerAddress = None, as_json: Json = False) -> None:
    """Say how a job is: its command, since when, and how it ended.

    Example: cisray jobs status cisray-score-genome-0123456789
    """
    from cisray_jobs import output
    from cisray_jobs.submit import jobs_output, submission
    from cisray_jobs.submit.request import jobs_at

    told = jobs_output.described(submission.find(jobs_at(address), job))
    output.as_json(told) if as_json else jobs_output.facts(told)


@jobs_app.command("logs")
def jobs_logs(
    job: JobId,
    address: ServerAddress = None,
    follow: Annotated[
        bool, typer.Option("--follow", help="Go on until it ends, and end with its exit code.")
    ] = False,
) -> None:
    """Print what a job has printed.

    Example: cisray jobs logs cisray-score-genome-0123456789 --follow
    """
    from cisray_jobs.submit import following, submission
    from cisray_jobs.submit.request import jobs_at

    jobs = jobs_at(address)
    submission.find(jobs, job)
    if follow:
        raise typer.Exit(following.follow(jobs, job))
    typer.echo(jobs.log_of(job), nl=False)


@jobs_app.command("stop")
def jobs_stop(
    job: JobId,
    address: ServerAddress = None,
    as_json: Json = False,
) -> None:
    """Stop a job, and wait until it has ended; what it has finished is kept.

    Example: cisray jobs stop cisray-score-genome-0123456789
    """
    from cisray_jobs import output
    from cisray_jobs.submit import jobs_output, submission
    from cisray_jobs.submit.request import jobs_at

    told = jobs_output.described(submission.stop(jobs_at(address), job))
    output.as_json(told) if as_json else jobs_output.facts(told)
