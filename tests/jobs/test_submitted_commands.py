"""From a command to what is sent: what is wrong with it, which of its words are places, its id."""

import inspect
import shlex
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, get_args

import pytest
import typer
import yaml
from hypothesis import given
from hypothesis import strategies as st

from cisray.errors import ConfigError, PathNotShared
from cisray_jobs.cli import command_line
from cisray_jobs.config import JobConfig
from cisray_jobs.options import Holds
from cisray_jobs.submit.command import NOT_SUBMITTED, READ_SETTINGS, holds, parse
from cisray_jobs.submit.places import SharedPaths, shared_folders
from cisray_jobs.submit.shipment import Shipment, checked_name, prepare, read_variables

ROOT = command_line()
SCORE = ("score", "genome", "--model", "m", "--fasta", "f", "--out", "o")
ON_A_CLUSTER = ("--workers", "2", "--device", "cpu")
# Text options that hold no place: whoever adds an option says here, or by a mark, what it holds.
PLAIN_TEXT = """
adapt address assay batch_size bins cell_type chromosomes column device element examples exclude
freeze gene_type group head heads indels layout match method name new_heads node_cache only
precision predictor recompute region release replacement repository revision rows_per_shard sar
score self_check shifts size split statistic stats strategy test_chromosomes threads
tiles_per_shard tissue train_column valid_chromosomes variant window_placement workers
"""
NO_PLACE = frozenset(PLAIN_TEXT.split())
# --tracks is a table of a head here, and a query of tracks everywhere else.
TABLES_OF_HEADS = {"model convert", "model download", "dataset build"}


def leaves(group: Any = ROOT, names: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command that can be submitted."""
    for name, command in group.commands.items():
        if not names and name in NOT_SUBMITTED:
            continue
        if hasattr(command, "commands"):
            yield from leaves(command, (*names, name))
        else:
            yield (*names, name), command


def parameters() -> Iterator[tuple[str, str, Any]]:
    for names, leaf in leaves():
        hints = inspect.signature(leaf.callback).parameters
        for parameter in leaf.params:
            if parameter.name in hints:
                yield " ".join(names), parameter.name, hints[parameter.name].annotation


def everywhere(option: str, place: str) -> str:
    return f"<{place}>"


def words(*command: str) -> list[str]:
    return parse(ROOT, command).words(everywhere)


def test_every_text_option_is_known_to_hold_a_place_or_not() -> None:
    unknown, marked = set(), set()
    for command, name, annotation in parameters():
        kind = get_args(annotation)[0] if get_args(annotation) else annotation
        is_text = str in (kind, *get_args(kind), *(a for k in get_args(kind) for a in get_args(k)))
        is_table = name == "tracks" and command in TABLES_OF_HEADS
        no_place = name in NO_PLACE or (name == "tracks" and not is_table)
        if holds(annotation) is not None:
            marked.add((command, name))
        elif is_text and not no_place:
            unknown.add((command, name))
    assert unknown == set(), "mark it with options.Holds, or name it in NO_PLACE"
    assert {("score genome", "out"), ("runs diff", "a"), ("dataset build", "tracks")} <= marked
    assert len(marked) > 80


def places_of(job: type[JobConfig]) -> set[str]:
    return {
        name
        for name, field in job.model_fields.items()
        if "Path" in str(field.annotation) and name != "like"
    }


def test_every_place_in_a_file_of_settings_is_an_option_as_well() -> None:
    """Places in a file are known by the option of their name."""
    from cisray_jobs.calibrate_run import CalibrateRun
    from cisray_jobs.evaluate_calibration import MakeCalibration
    from cisray_jobs.evaluate_direction import EvaluateDirection
    from cisray_jobs.evaluate_enhancers import EvaluateEnhancers
    from cisray_jobs.evaluate_eqtl import EvaluateEqtl
    from cisray_jobs.evaluate_expression import EvaluateExpression
    from cisray_jobs.evaluate_mpra import EvaluateMpra, MakeMpraVariants
    from cisray_jobs.evaluate_sldp import EvaluateSldp
    from cisray_jobs.finemap_eqtls import FinemapEqtls
    from cisray_jobs.saturate import Saturate
    from cisray_jobs.score_genome import ScoreGenome
    from cisray_jobs.score_variants import ScoreVariants
    from cisray_jobs.train_settings import TrainModel

    jobs = {
        "evaluate calibrate": CalibrateRun,
        "evaluate calibration": MakeCalibration,
        "evaluate direction": EvaluateDirection,
        "evaluate enhancers": EvaluateEnhancers,
        "evaluate eqtl": EvaluateEqtl,
        "evaluate expression": EvaluateExpression,
        "evaluate finemap": FinemapEqtls,
        "evaluate mpra": EvaluateMpra,
        "evaluate mpra-variants": MakeMpraVariants,
        "evaluate sldp": EvaluateSldp,
        "score genome": ScoreGenome,
        "score saturation": Saturate,
        "score variants": ScoreVariants,
        "train": TrainModel,
    }
    options: dict[str, dict[str, Any]] = {}
    for command, name, annotation in parameters():
        options.setdefault(command, {})[name] = holds(annotation)
    given_one = {command for command, known in options.items() if "config" in known}
    # Its file is none of settings: it has evaluations, and paths that are relative to it.
    assert given_one - {"evaluate all"} == set(jobs)
    assert all(tuple(command.split()) in READ_SETTINGS for command in jobs)
    for command, job in jobs.items():
        wanted = places_of(job)
        assert len(wanted) >= 2
        assert wanted <= {name for name, held in options[command].items() if held}, command


def test_a_command_is_rehearsed_exactly_if_it_reads_settings_first(tmp_path, monkeypatch) -> None:
    """Commands of the list end at their settings with what is missing, and do nothing."""
    monkeypatch.chdir(tmp_path)
    known = {names for names, _ in leaves()}
    assert known >= READ_SETTINGS
    for names in sorted(READ_SETTINGS):
        given = [] if names[0] != "runs" else ["there-is-none"]
        if names == ("evaluate", "calibrate"):
            given = ["there-is-none"]
        if names == ("runs", "export"):
            given += ["--format", "vcf", "--out", "x"]
        if names == ("runs", "rerun"):
            given += ["--out", "x"]
        if names == ("dataset", "build"):
            given += ["--tracks", "h=t", "--fasta", "h=f", "--out", "x"]
        if names == ("dataset", "split"):
            given += ["--genome", "h=f", "--out", "x"]
        if names == ("dataset", "import"):
            given += ["folder", "--head", "h", "--out", "x"]
        with suppress(ConfigError):  # what is missing is told by the same settings
            assert isinstance(parse(ROOT, [*names, *given]).job, JobConfig), names
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_command_is_found_here() -> None:
    for wrong, hint in (
        (["socre", "genome"], "Did you mean score?"),
        (["score", "genom"], "Did you mean genome?"),
        (["score"], "There are genome, saturation, variants."),
        (["--version"], "There are dataset,"),
        (["submit", "score"], "is not a command that can be submitted"),
        (["jobs", "list"], "is not a command that can be submitted"),
        ([], "is not a command that can be submitted"),
    ):
        with pytest.raises(ConfigError) as caught:
            parse(ROOT, wrong)
        assert hint in str(caught.value)


def test_what_is_wrong_with_options_is_found_here(cisray) -> None:
    for wrong, told in (
        (("--modle", "x"), "No such option: --modle"),
        (("--num-gpus", "many"), "'--num-gpus'"),
        (("--precision", "bfloat61", *ON_A_CLUSTER), "--precision"),
        (("--workers", "2", "--device", "cuda:1"), "--device cuda:1"),
        (("--workers", "2"), "which --device they use"),
        (("--device", "cpu"), "how many --workers"),
        ((*ON_A_CLUSTER, "--num-gpus", "1"), "--num-gpus 1 is for --device cuda"),
    ):
        answer = cisray("submit", "--", *SCORE, *wrong)
        assert answer.code == 2, answer
        assert told in answer.told
        assert answer.out == ""
    answer = cisray("submit", "--", "score", "genome", *ON_A_CLUSTER)
    assert (answer.code, "--model is required" in answer.told) == (2, True)


def test_places_are_resolved_and_nothing_else_is_touched() -> None:
    assert words(*SCORE, *ON_A_CLUSTER, "--tracks", "CAGE", "--tracks", "a/b", "--restart") == [
        "score", "genome", "--model=<m>", "--fasta=<f>", "--out=<o>", "--tracks=CAGE",
        "--tracks=a/b", "--workers=2", "--device=cpu", "--restart",
    ]  # fmt: skip
    assert words("runs", "diff", "a", "s3://b/c", "--tolerance", "0.01") == [
        "runs", "diff", "--tolerance=0.01", "--", "<a>", "<s3://b/c>",
    ]  # fmt: skip
    # Names, URLs and columns that go with a place.
    assert words(
        "evaluate", "eqtl", "--labels", "l", "--out", "o", "--run", "e=r/1", "--run", "r/2",
        "--external", "x=t.tsv::a,b",
    ) == [
        "evaluate", "eqtl", "--labels=<l>", "--run=e=<r/1>", "--run=<r/2>",
        "--external=x=<t.tsv>::a,b", "--out=<o>",
    ]  # fmt: skip
    assert words("dataset", "build", "--tracks", "h=t.txt", "--fasta", "h=f.fa", "--out", "d") == [
        "dataset",
        "build",
        "--tracks=h=<t.txt>",
        "--fasta=h=<f.fa>",
        "--out=<d>",
    ]


def test_a_place_that_is_left_to_the_default_is_written_out() -> None:
    """The current folder of the job is another than that of the person."""
    assert words("runs", "list") == ["runs", "list", "--depth=1", "--", "<.>"]
    assert "--out=<demo-run>" in words("demo")


def test_values_that_look_like_options_stay_values() -> None:
    told = words(
        "score", "variants", "--model", "m", "--fasta", "f", "--vcf", "v", "--out", "o",
        *ON_A_CLUSTER, "--shifts", "-43,0,43", "--tracks", "--rc",
    )  # fmt: skip
    assert "--shifts=-43,0,43" in told
    assert "--tracks=--rc" in told
    assert "--rc" not in told


def test_switches_of_every_kind() -> None:
    ours = typer.Typer()

    @ours.callback()
    def _root() -> None: ...

    @ours.command()
    def try_it(
        on: bool = True,
        off: bool = False,
        short: Annotated[bool, typer.Option("--short", "-s")] = False,
    ) -> None: ...

    root = typer.main.get_command(ours)
    for written, expected in (
        ([], ["--on", "--no-off"]),
        (["--no-on", "--off", "-s"], ["--no-on", "--off", "--short"]),
    ):
        assert parse(root, ["try-it", *written]).words(everywhere) == ["try-it", *expected]


@given(st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1))
def test_whatever_is_written_out_is_read_back(text: str) -> None:
    """Through the shell of the cluster and the same parser: the same words once more."""
    first = parse(ROOT, ["runs", "diff", f"--tracks={text}", "--", f"./{text}", text])
    written = first.words(lambda option, place: place)
    entrypoint = Shipment(first.names, tuple(written), None, {}).entrypoint
    shell = shlex.split(entrypoint)
    assert shell[:3] == ["python", "-m", "cisray_jobs.cli"]
    again = parse(ROOT, shell[3:])
    assert again.words(lambda option, place: place) == written
    assert written[2:] == [f"--tracks={text}", "--tolerance=0.0", "--", f"./{text}", text]


def test_a_file_of_settings_goes_along_with_its_places_resolved(tmp_path: Path) -> None:
    file = tmp_path / "job.yaml"
    file.write_text(
        "model: m\nfasta: f\nworkers: 2\ndevice: cpu\ntracks: [CAGE, a/b]\nmantissa-bits: 7\n"
        "bed: b\nbatch_size: 1\n"
    )
    parsed = parse(ROOT, ["score", "genome", "--config", str(file), "--out", "o"])
    sent = prepare(parsed, everywhere, [])
    assert list(sent.words) == ["score", "genome", "--config=settings.yaml", "--out=<o>"]
    assert yaml.safe_load(sent.settings or "") == {
        "model": "<m>", "fasta": "<f>", "workers": 2, "device": "cpu", "tracks": ["CAGE", "a/b"],
        "mantissa-bits": 7, "bed": "<b>", "batch_size": 1,
    }  # fmt: skip
    wheel, folder = sent.pack(tmp_path)
    assert wheel.suffix == ".whl"
    assert folder is not None
    assert (folder / "settings.yaml").read_text() == sent.settings


def test_a_file_of_evaluations_is_an_input(tmp_path: Path) -> None:
    """It stays where it is: what it names is relative to it."""
    told = words("evaluate", "all", "--config", "e.yaml", "--out", "o")
    assert told == ["evaluate", "all", "--config=<e.yaml>", "--out=<o>"]


def test_what_is_wrong_in_a_file_of_settings_is_found_here(tmp_path: Path) -> None:
    file = tmp_path / "job.yaml"
    file.write_text("modle: m\n")
    with pytest.raises(ConfigError, match=r"unknown key 'modle'.*Did you mean model"):
        parse(ROOT, ["score", "genome", "--config", str(file)])


def test_a_path_is_seen_only_below_a_shared_folder(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    paths = SharedPaths((Path("/shared"), tmp_path / "mine"))
    assert paths.resolve("--out", "mine/run") == str(tmp_path / "mine" / "run")
    assert paths.resolve("--out", "/shared") == "/shared"
    assert paths.resolve("--out", "s3://bucket/runs/1") == "s3://bucket/runs/1"
    for place in ("run", "/sharedness/run", "/", "mine/../run", "~/run"):
        with pytest.raises(PathNotShared) as caught:
            paths.resolve("--out", place)
        assert all(part in str(caught.value) for part in ("--out", place, "--shared", "/shared"))
    here = SharedPaths((), all_here=True)
    assert here.resolve("--out", "run") == str(tmp_path / "run")
    monkeypatch.setenv("HOME", "/home/me")
    assert here.resolve("--out", "~/run") == "/home/me/run"


def test_a_link_keeps_its_name_and_dots_do_not_escape(tmp_path: Path) -> None:
    """Machines mount one file system under one name, whatever that leads to on each."""
    (tmp_path / "disk" / "data").mkdir(parents=True)
    (tmp_path / "shared").symlink_to(tmp_path / "disk" / "data")
    paths = SharedPaths((tmp_path / "shared",))
    inside = tmp_path / "shared" / "x"
    assert paths.resolve("--out", str(inside)) == str(inside)
    with pytest.raises(PathNotShared):  # the folder above data, not above shared
        paths.resolve("--out", str(tmp_path / "shared" / ".." / "shared" / "x"))


def test_shared_folders_are_absolute() -> None:
    variable = {"CISRAY_CLUSTER_PATHS": "/b:/c"}
    assert shared_folders(["/a"], variable) == (Path("/a"), Path("/b"), Path("/c"))
    assert shared_folders([], {}) == ()
    with pytest.raises(ConfigError, match="'data' must be absolute"):
        shared_folders(["data"], {})


def test_variables_are_no_secrets_and_not_rays() -> None:
    assert read_variables(["A=1=2", "HF_HOME=/x", "EMPTY="]) == {
        "A": "1=2", "HF_HOME": "/x", "EMPTY": "",
    }  # fmt: skip
    for name in ("AWS_SECRET_ACCESS_KEY", "hf_token", "DB_PASSWORD", "AZURE_STORAGE_SAS_TOKEN"):
        with pytest.raises(ConfigError, match="looks like a secret") as caught:
            read_variables([f"{name}=hunter2"])
        assert "hunter2" not in str(caught.value)
    for wrong in ("hunter2", "=hunter2", "1A=hunter2"):
        with pytest.raises(ConfigError, match="NAME=VALUE") as caught:
            read_variables([wrong])
        assert "hunter2" not in str(caught.value)
    for entry in ("RAY_ADDRESS=x", "PYTHONPATH=x", "CUDA_VISIBLE_DEVICES=0"):
        with pytest.raises(ConfigError, match="set by Ray itself"):
            read_variables([entry])
    with pytest.raises(ConfigError, match="A twice"):
        read_variables(["A=1", "A=2"])


def sent(*command: str, env: tuple[str, ...] = ()) -> Shipment:
    return prepare(parse(ROOT, command), everywhere, env)


def test_the_id_is_that_of_the_command_and_the_name() -> None:
    one = sent(*SCORE, *ON_A_CLUSTER)
    assert one.job_id(None).startswith("cisray-score-genome-")
    assert one.job_id("mine").startswith("cisray-mine-")
    # The order of options, how their values are joined, and variables mean nothing.
    same = sent("score", "genome", "--out=o", *ON_A_CLUSTER, "--fasta=f", "--model=m", env=("A=1",))
    assert same.job_id(None) == one.job_id(None)
    others = [
        sent(*SCORE, "--workers", "3", "--device", "cpu"),
        sent(*SCORE, *ON_A_CLUSTER, "--restart"),
        sent(*SCORE, *ON_A_CLUSTER, "--out", "p"),
    ]
    ids = {
        one.job_id(None)[-10:],
        one.job_id("mine")[-10:],
        *(o.job_id(None)[-10:] for o in others),
    }
    assert len(ids) == 5


@pytest.mark.parametrize("name", ["", "A", "a_b", "-a", "a-", "a b", "../x", "a" * 30, "a;rm"])
def test_a_name_can_be_part_of_an_id(name: str) -> None:
    with pytest.raises(ConfigError, match="--id"):
        checked_name(name)
    assert checked_name("chr21-cage") == "chr21-cage"


def test_marks_are_found_in_annotations() -> None:

    assert holds(Annotated[Path | None, typer.Option()]) is Holds.PLACE
    assert holds(Annotated[list[Path] | None, typer.Option()]) is Holds.PLACE
    assert (
        holds(Annotated[list[str] | None, typer.Option(), Holds.NAMED_PLACE]) is Holds.NAMED_PLACE
    )
    assert holds(Annotated[str | None, typer.Option()]) is None


def test_commands_of_the_documentation_can_be_submitted(pytestconfig: pytest.Config) -> None:
    text = (pytestconfig.rootpath / "docs" / "cluster.md").read_text()
    text = text.replace("BUCKET", "bucket").replace("\\\n", " ")
    lines = [line.strip() for line in text.splitlines() if line.startswith("    ")]
    given = [line.partition("|")[0].partition(" -- ")[2] for line in lines if " -- " in line]
    assert len(given) == 3
    for command in given:
        assert parse(ROOT, shlex.split(command)).names == ("score", "genome")
