"""Every mistake a user can make with `score genome`: exit code 2, one paragraph, nothing begun."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from campaign import start
from safetensors.torch import save_file

from cisray.model.checkpoints.checkpoint import Checkpoint
from cisray.model.checkpoints.native import read_native, save_native
from cisray.store.scan import open_run


def edited_model(inputs, folder: Path, edit: Callable[[dict[str, torch.Tensor]], None]) -> Path:
    """A file of cisray's own, intact as a file, whose tensors are not those of its config."""
    found = read_native(inputs.model)
    state = dict(found.state)
    edit(state)
    built = Checkpoint.build(found.config, state, tracks=found.tracks, provenance={})
    return save_native(folder / "edited.safetensors", built)


@pytest.fixture
def refused(cisray, inputs, tmp_path: Path):
    """Run with these options, expect a refusal with these words, and no run directory."""

    def check(*options: object, words: tuple[str, ...], code: int = 2) -> None:
        out = tmp_path / "out" / "run"
        cisray(*inputs.options(out, *options)).assert_one_paragraph(*words, code=code)
        assert not out.parent.exists()

    return check


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--workers", "-1"), ("--workers", "-1", "0 (this process)")),
        (("--workers", "many"), ("--workers: must be a whole number or auto", "'many'")),
        (("--num-gpus", "1"), ("--num-gpus 1", "--workers 0")),
        (("--address", "1.2.3.4:5"), ("--address 1.2.3.4:5", "--workers 0")),
        (("--device", "cpu:0"), ("'cpu:0'", "auto, cpu, cuda or cuda:N")),
        (("--threads", "0"), ("--threads", "at least 1", "0")),
        (("--batch-size", "0"), ("--batch-size", "at least 1")),
        (("--tiles-per-shard", "0"), ("--tiles-per-shard", "at least 1")),
        (("--mantissa-bits", "99"), ("--mantissa-bits", "less than or equal to 23", "99")),
        (("--mantissa-bits", "0"), ("--mantissa-bits", "greater than or equal to 1", "0")),
        (("--precision", "float16"), ("--precision", "'float32' or 'bfloat16'", "'float16'")),
        (("--predictor", "slow"), ("--predictor", "'fast' or 'plain'", "'slow'")),
        (("--self-check", "0"), ("--self-check", "at least 1, or auto, or off", "'0'")),
        (("--self-check", "-3"), ("--self-check", "'-3'")),
        (("--self-check", "some"), ("--self-check", "'some'")),
        (("--num-gpus", "-1"), ("--num-gpus", "greater than or equal to 0", "-1")),
        (("--device", "tpu"), ("'tpu'", "auto, cpu, cuda or cuda:N")),
        (("--device", "mps"), ("'mps'", "auto, cpu, cuda or cuda:N")),
        (("--head", "humna"), ("'humna'", "human (8 tracks)", "Did you mean human?")),
        (("--tracks", "FOO:*"), ("FOO:*",)),
        (("--tracks", "8"), ("8",)),
        (("--tracks", "re:("), ("re:(",)),
        (("--chromosomes", "chrZ"), ("'chrZ'", "it has chrA, chrB")),
        (("--chromosomes", "chrA,chrAA"), ("'chrAA'", "Did you mean chrA")),
        (("--chromosomes", " , "), ("--chromosomes", "leave it out")),
    ],
)
def test_options_out_of_range(refused, options, words) -> None:
    refused(*options, words=words)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device here")
def test_cuda_without_cuda(refused) -> None:
    refused("--device", "cuda", words=("'cuda'", "--device cpu", torch.__version__))


def test_what_is_required(cisray) -> None:
    answer = cisray("score", "genome")
    answer.assert_one_paragraph("--model is required", "--fasta is required", "--out is required")


def test_an_option_that_is_none(cisray, inputs, tmp_path: Path) -> None:
    answer = cisray(*inputs.options(tmp_path / "run", "--trakcs", "CAGE"))
    assert answer.code == 2
    assert "--trakcs" in answer.told
    assert "Traceback" not in answer.err
    assert not (tmp_path / "run").exists()


def test_a_missing_fasta(refused, tmp_path: Path) -> None:
    refused("--fasta", tmp_path / "hg38.fa", words=(str(tmp_path / "hg38.fa"),))


def test_a_truncated_fasta(refused, inputs, tmp_path: Path) -> None:
    copy = tmp_path / "genome.fa"
    shutil.copy(inputs.fasta, copy)
    whole = copy.read_bytes()
    refused("--fasta", copy, "--head", "nobody", words=("nobody",))
    (tmp_path / "genome.fa.fai").write_text(
        # name, bases, offset of the first base, bases per line, bytes per line; the header of
        # chrA has 6 bytes, its 9,000 bases 150 lines of 61: 6 + 9,150 + 6 = 9,162
        "chrA\t9000\t6\t60\t61\nchrB\t3000\t9162\t60\t61\n"
    )
    refused("--fasta", copy, "--head", "nobody", words=("nobody",))
    copy.write_bytes(whole[:-1000])
    refused("--fasta", copy, words=(str(copy), "chrB"))


@pytest.mark.parametrize(
    "index",
    ["chrA\t9000\n", "chrA\tmany\t6\t60\t61\n", "chrA\t9000\t7\t60\t61\n", ""],
    ids=["too few columns", "no number", "wrong offset", "empty"],
)
def test_a_damaged_index(refused, inputs, tmp_path: Path, index: str) -> None:
    copy = tmp_path / "genome.fa"
    shutil.copy(inputs.fasta, copy)
    (tmp_path / "genome.fa.fai").write_text(index)
    refused("--fasta", copy, words=(f"{copy}.fai",))


def test_a_fasta_that_is_none(refused, tmp_path: Path) -> None:
    text = tmp_path / "notes.txt"
    text.write_text("dear diary\n")
    refused("--fasta", text, words=(str(text),))


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ("chrA\t2000\t2000\n", (":1", "2000")),
        ("# a comment\nchrA\t3000\t2000\n", (":2", "3000", "2000")),
        ("chrA\t100\t200\nchrA\t8000\t9001\n", (":2", "9,000")),
        ("chrA\t-1\t200\n", (":1", "-1")),
        ("chrZ\t100\t200\n", (":1", "'chrZ'", "chrA, chrB")),
        ("chrA\tone\t200\n", (":1", "one")),
        ("chrA\t100\n", (":1",)),
        ("# nothing\n", ()),
    ],
)
def test_regions_that_do_not_fit(refused, tmp_path: Path, lines: str, words) -> None:
    bed = tmp_path / "regions.bed"
    bed.write_text(lines)
    refused("--bed", bed, words=(str(bed), *words))


def test_a_missing_bed(refused, tmp_path: Path) -> None:
    refused("--bed", tmp_path / "no.bed", words=(str(tmp_path / "no.bed"),))


def test_chromosomes_and_bed_together(refused, tmp_path: Path) -> None:
    bed = tmp_path / "regions.bed"
    bed.write_text("chrA\t100\t200\n")
    refused("--bed", bed, "--chromosomes", "chrA", words=("--chromosomes or --bed", "not both"))


def test_a_missing_model(refused, tmp_path: Path) -> None:
    refused("--model", tmp_path / "m.safetensors", words=(str(tmp_path / "m.safetensors"),))


@pytest.mark.parametrize("kept", [0, 5, 1000, -100])
def test_a_truncated_model(refused, inputs, tmp_path: Path, kept: int) -> None:
    copy = tmp_path / "m.safetensors"
    copy.write_bytes(inputs.model.read_bytes()[:kept])
    refused("--model", copy, words=(str(copy),))


def test_a_model_with_a_flipped_bit(refused, inputs, tmp_path: Path) -> None:
    data = bytearray(inputs.model.read_bytes())
    data[-1000] ^= 1
    copy = tmp_path / "m.safetensors"
    copy.write_bytes(data)
    refused("--model", copy, words=(str(copy), "damaged", "Copy or convert it again"))


def test_a_model_of_another_program(refused, tmp_path: Path) -> None:
    file = tmp_path / "theirs.safetensors"
    save_file({"weight": torch.zeros(3)}, file)
    refused("--model", file, words=(str(file), "cisray model convert"))


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (lambda state: state.pop("stem.0.bias"), ("1 missing", "stem.0.bias")),
        (
            lambda state: state.update(extra=torch.zeros(2)),
            ("1 surplus", "extra"),
        ),
        (
            # 48 channels: the stem has 24.
            lambda state: state.update({"stem.0.bias": torch.zeros(25)}),
            ("1 misshapen", "stem.0.bias is [25], must be [24]"),
        ),
    ],
    ids=["missing", "surplus", "misshapen"],
)
def test_a_model_of_another_shape(refused, inputs, tmp_path: Path, edit, words) -> None:
    refused("--model", edited_model(inputs, tmp_path, edit), words=words)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("trakcs: CAGE\n", ("'trakcs'", "Did you mean tracks")),
        ("tracks: [CAGE\n", ("not YAML", "line")),
        ("- tracks\n- CAGE\n", ("mapping",)),
        ("batch-size: lots\n", ("--batch-size", "'lots'")),
        ("chromosomes: {chrA: 1}\n", ("--chromosomes",)),
        ("\ttracks: CAGE\n", ("not YAML",)),
    ],
)
def test_a_configuration_that_cannot_be_used(refused, tmp_path: Path, text: str, words) -> None:
    file = tmp_path / "job.yaml"
    file.write_text(text)
    refused("--config", file, words=(str(file), *words))


def test_a_missing_configuration(refused, tmp_path: Path) -> None:
    refused("--config", tmp_path / "no.yaml", words=(str(tmp_path / "no.yaml"),))


def test_a_folder_that_is_no_run(cisray, inputs, tmp_path: Path) -> None:
    notes = tmp_path / "notes.txt"
    notes.write_text("mine")
    for more in ((), ("--restart",)):
        answer = cisray(*inputs.options(tmp_path, *more))
        answer.assert_one_paragraph(str(tmp_path), "not a cisray run", "notes.txt", "another --out")
        assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_a_folder_of_another_run(cisray, inputs, tmp_path: Path) -> None:
    out = tmp_path / "run"
    assert cisray(*inputs.options(out, "--chromosomes", "chrB", "--quiet")).code == 0
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    answer = cisray(*inputs.options(out, "--chromosomes", "chrB", "--head", "mouse"))
    answer.assert_one_paragraph(str(out), "head", "--restart", "another --out")
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before


def test_an_out_that_cannot_be_made(cisray, inputs, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    answer = cisray(*inputs.options(tmp_path / "file" / "run"))
    answer.assert_one_paragraph(str(tmp_path / "file" / "run"), code=1)


def test_an_out_that_is_a_file(cisray, inputs, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    answer = cisray(*inputs.options(tmp_path / "file"))
    answer.assert_one_paragraph(str(tmp_path / "file"), "not a cisray run")
    assert (tmp_path / "file").read_text() == "mine"


def test_a_disk_without_room(cisray, inputs, tmp_path: Path, monkeypatch) -> None:
    """Nothing is computed; the same command finishes the run once there is room."""
    out = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr("cisray.store.local_folder.LocalFolder.free_bytes", lambda self: 100)
        patch.setattr("cisray_jobs.scoring_job.run_shards", None)
        # 9,000 and 3,000 bp are 71 and 24 bins: two files of 8 tracks.
        cisray(*inputs.options(out)).assert_one_paragraph(
            " kB more", "95 rows x 8 columns", "100 bytes free", "Make space", code=1
        )
    assert not list((out / "data").rglob("*.parquet"))
    assert cisray(*inputs.options(out, "--quiet")).code == 0


def sealed(cisray, inputs, out: Path) -> dict[Path, bytes]:
    """Make a sealed run, and keep what it is made of."""
    assert cisray(*inputs.options(out, "--quiet")).code == 0
    return {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}


@pytest.mark.parametrize("trouble", [pytest.param("no cluster", marks=pytest.mark.long), "no room"])
def test_a_restart_that_cannot_begin_leaves_the_old_run(
    cisray, inputs, tmp_path: Path, monkeypatch, trouble: str
) -> None:
    out = tmp_path / "run"
    before = sealed(cisray, inputs, out)
    if trouble == "no cluster":
        # Port 9 of this machine: nobody listens. In a process of its own, as a Ray that another
        # test has started in this one would be used whatever the address.
        cluster = ("--workers", 1, "--device", "cpu", "--address", "127.0.0.1:9")
        process = start(*inputs.options(out, "--restart", *cluster))
        told, _ = process.communicate(timeout=120)
        assert (process.returncode, "127.0.0.1:9" in told) == (1, True), told
    else:
        # The old run's files, a few thousand bytes, do not make room for ten million.
        monkeypatch.setattr("cisray.store.local_folder.LocalFolder.free_bytes", lambda self: 100)
        monkeypatch.setattr("cisray_jobs.prepared.estimate_bytes", lambda *_, **__: 10**7)
        answer = cisray(*inputs.options(out, "--restart"))
        answer.assert_one_paragraph("Make space", code=1)
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before
    # 71 bins of chrA and 24 of chrB.
    assert open_run(out).scan().collect().height == 95


def test_a_restart_counts_the_old_run_as_room(cisray, inputs, tmp_path, monkeypatch) -> None:
    out = tmp_path / "run"
    sealed(cisray, inputs, out)
    there = sum(file.stat().st_size for file in (out / "data").rglob("*.parquet"))
    monkeypatch.setattr("cisray.store.local_folder.LocalFolder.free_bytes", lambda self: 100)
    monkeypatch.setattr("cisray_jobs.prepared.estimate_bytes", lambda *_, **__: there + 100)
    assert cisray(*inputs.options(out, "--restart", "--quiet")).code == 0
    monkeypatch.setattr("cisray_jobs.prepared.estimate_bytes", lambda *_, **__: 10 * there)
    assert cisray(*inputs.options(out, "--restart", "--quiet")).code == 1


def test_a_sealed_run_asks_for_no_cluster(cisray, inputs, tmp_path: Path) -> None:
    out = tmp_path / "run"
    sealed(cisray, inputs, out)
    cluster = ("--workers", 1, "--device", "cpu", "--address", "127.0.0.1:9", "--quiet")
    assert cisray(*inputs.options(out, *cluster)).code == 0


def test_a_plan_is_refused_where_the_run_would_be(cisray, inputs, tmp_path: Path) -> None:
    out = tmp_path / "run"
    sealed(cisray, inputs, out)
    other = inputs.options(out, "--head", "mouse", "--plan")
    cisray(*other).assert_one_paragraph(str(out), "head", "--restart", "another --out")
    answer = cisray(*other, "--restart", "--json")
    assert answer.code == 0
    # 71 bins of chrA and 24 of chrB, none of them done.
    assert json.loads(answer.out)["rows_left"] == 95
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    answer = cisray(*inputs.options(tmp_path / "mine", "--plan"))
    answer.assert_one_paragraph("not a cisray run", "notes.txt")


def test_a_restart_needs_nothing_of_the_old_run(cisray, inputs, tmp_path: Path) -> None:
    out = tmp_path / "run"
    sealed(cisray, inputs, out)
    told = json.loads((out / "run.json").read_text())
    (out / "run.json").write_text(json.dumps({**told, "bin_bp": 0}))
    cisray(*inputs.options(out, "--plan")).assert_one_paragraph("run.json is damaged", code=1)
    assert cisray(*inputs.options(out, "--plan", "--restart")).code == 0
    assert cisray(*inputs.options(out, "--restart", "--quiet")).code == 0


@pytest.mark.parametrize("where", ["file", "file/below", "x" * 300])
def test_a_demo_where_none_can_be(cisray, tmp_path: Path, where: str) -> None:
    (tmp_path / "file").write_text("mine")
    answer = cisray("demo", "--out", tmp_path / where, "--workers", 0)
    answer.assert_one_paragraph(str(tmp_path / where)[:80], code=1)
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize("option", ["--model", "--fasta", "--out", "--bed"])
def test_a_name_that_is_too_long(cisray, inputs, tmp_path: Path, option: str) -> None:
    answer = cisray(*inputs.options(tmp_path / "run", option, tmp_path / ("x" * 300)))
    assert answer.code in (1, 2)
    answer.assert_one_paragraph("x" * 300, code=answer.code)


@pytest.mark.parametrize("seed", [-1, 2**63])
def test_a_seed_out_of_range(cisray, tmp_path: Path, seed: int) -> None:
    out = tmp_path / "m.safetensors"
    answer = cisray("model", "init", out, "--size", "tiny", "--seed", seed)
    assert answer.code == 2
    assert "--seed" in answer.told
    assert "Traceback" not in answer.err
    assert not out.exists()


def test_a_stranger_s_run_json_is_no_run(cisray, inputs, tmp_path: Path) -> None:
    out = tmp_path / "run"
    out.mkdir()
    (out / "run.json").write_text('{"format": "another tool", "shards": 3}')
    for more in ((), ("--plan",), ("--restart",)):
        cisray(*inputs.options(out, *more)).assert_one_paragraph(str(out), "--out")
    assert [path.name for path in out.iterdir()] == ["run.json"]
