"""Whole commands whose runs lie in an object store."""

import json
from pathlib import Path

import pytest
from effect_jobs import genome_with_traps, write_genome, write_model, write_vcf
from polars.testing import assert_frame_equal
from s3_server import BUCKET

from cisray.store.objects import Objects
from cisray.store.scan import open_run
from cisray_jobs.config import load_config
from cisray_jobs.score_genome import ScoreGenome

EXACT = ("--mantissa-bits", 23, "--tiles-per-shard", 1, "--quiet")


def held(url: str) -> dict[str, bytes]:
    objects = Objects(url)
    return {name: b"".join(objects.chunks(name)) for name in objects.below("")}


@pytest.mark.long
def test_a_genome_is_scored_resumed_and_exported(cisray, inputs, bucket, tmp_path) -> None:
    plan = json.loads(cisray(*inputs.options(bucket, *EXACT, "--plan", "--json")).out)
    assert (plan["out"], plan["free_bytes"], plan["shards_done"]) == (bucket, None, 0)
    assert "free" not in cisray(*inputs.options(bucket, *EXACT, "--plan")).out
    assert held(bucket) == {}
    answer = cisray(*inputs.options(bucket, *EXACT))
    assert answer.code == 0, answer.err
    assert f"Sealed {bucket}" in answer.out
    assert f'cisray.open_run("{bucket}").scan()' in answer.out
    assert cisray(*inputs.options(tmp_path / "run", *EXACT)).code == 0
    run, local = open_run(bucket), open_run(tmp_path / "run")
    assert_frame_equal(run.scan().collect(), local.scan().collect(), check_exact=True)
    # Lost: one record, and that the run is sealed. Only that shard is scored again.
    objects = Objects(bucket)
    (lost,) = (name for name in objects.below("_commits") if "/000003." in name)
    objects.delete(["_SUCCESS", lost])
    kept = {name: data for name, data in held(bucket).items() if name.startswith("_commits")}
    plan = json.loads(cisray(*inputs.options(bucket, *EXACT, "--plan", "--json")).out)
    assert (plan["shards"], plan["shards_done"]) == (7, 6)
    assert cisray(*inputs.options(bucket, *EXACT)).code == 0
    again = held(bucket)
    assert {name: again[name] for name in kept} == kept
    assert_frame_equal(open_run(bucket).scan().collect(), local.scan().collect(), check_exact=True)
    export = ("runs", "export", bucket, "--format", "bigwig", "--fasta", inputs.fasta, "--out")
    told = json.loads(cisray(*export, tmp_path / "tracks", "--json").out)
    assert (told["run"], told["rows"]) == (bucket, 95)
    # Another run, and one that starts afresh.
    other = cisray(*inputs.options(bucket, *EXACT, "--mantissa-bits", 10))
    other.assert_one_paragraph("holds another run", bucket, "--restart")
    assert cisray(*inputs.options(bucket, *EXACT, "--mantissa-bits", 10, "--restart")).code == 0
    assert open_run(bucket).manifest.mantissa_bits == 10


def test_variants_are_scored_and_rejects_kept(cisray, bucket, tmp_path) -> None:
    texts = genome_with_traps()
    fasta = write_genome(tmp_path / "g.fa", texts)
    model = write_model(tmp_path / "m.safetensors")
    records = [("chr1", pos, f"rs{pos}", texts["chr1"][pos - 1].upper(), "<DEL>" if pos == 350
                else "ACGT"["CGTA".index(texts["chr1"][pos - 1].upper())])
               for pos in range(50, 700, 50)]  # fmt: skip
    vcf = write_vcf(tmp_path / "v.vcf", records)
    given = ("score", "variants", "--model", model, "--fasta", fasta, "--vcf", vcf, "--workers", 0)
    exact = ("--threads", 1, "--mantissa-bits", 23, "--precision", "float32", "--rows-per-shard", 4)
    for out in (bucket, tmp_path / "run"):
        answer = cisray(*given, *exact, "--quiet", "--out", out)
        assert answer.code == 0, answer.err
    run, local = open_run(bucket), open_run(tmp_path / "run")
    assert run.scan().collect().height == len(records) - 1
    assert_frame_equal(run.scan().collect(), local.scan().collect(), check_exact=True)
    assert_frame_equal(run.rejects.collect(), local.rejects.collect())
    assert_frame_equal(run.variants.collect(), local.variants.collect())
    out = tmp_path / "scores.vcf.gz"
    answer = cisray("runs", "export", bucket, "--format", "vcf", "--out", out, "--fasta", fasta)
    assert answer.code == 0, answer.err


def test_substitutions_are_scored(cisray, bucket, tmp_path) -> None:
    fasta = write_genome(tmp_path / "g.fa", genome_with_traps())
    model = write_model(tmp_path / "m.safetensors")
    answer = cisray(
        "score", "saturation", "--model", model, "--fasta", fasta, "--region", "chr1:101-104",
        "--out", bucket, "--workers", 0, "--threads", 1, "--quiet", "--json",
    )  # fmt: skip
    assert answer.code == 0, answer.err
    assert json.loads(answer.out)["path"] == bucket
    assert open_run(bucket).scan().collect().height == 12


def test_what_is_wrong_is_told_before_anything_is_computed(
    cisray, inputs, s3, bucket, monkeypatch
) -> None:
    monkeypatch.setattr("cisray_jobs.scoring_job.run_shards", None)
    answer = cisray(*inputs.options("s3://no-such-bucket/run"))
    answer.assert_one_paragraph("there is no bucket", "s3://no-such-bucket/run", code=1)
    s3.fault("deny", f"PUT /{BUCKET}")
    answer = cisray(*inputs.options(bucket))
    answer.assert_one_paragraph("refuses", "AccessDenied", "AWS_ACCESS_KEY_ID", code=1)
    s3.heal()
    assert held(bucket) == {}
    answer = cisray(*inputs.options("s3://me:pass-word@bucket/run"))
    answer.assert_one_paragraph("--out", "must not hold credentials", "environment")
    assert "pass-word" not in answer.told


@pytest.mark.parametrize("option", ["--model", "--fasta", "--bed"])
def test_inputs_are_paths_on_this_machine(cisray, inputs, tmp_path, monkeypatch, option) -> None:
    monkeypatch.chdir(tmp_path)
    answer = cisray(*inputs.options(tmp_path / "run", option, "s3://bucket/input"))
    answer.assert_one_paragraph(option, "must be a path on this machine")
    assert list(tmp_path.iterdir()) == []


def test_no_folder_is_named_after_a_url(cisray, inputs, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    cisray("demo", "--out", "s3://bucket/demo").assert_one_paragraph("path on this machine")
    answer = cisray("model", "init", "s3://bucket/m.safetensors", "--size", "tiny")
    answer.assert_one_paragraph("path on this machine")
    export = ("runs", "export", "nothing", "--format", "bigwig", "--out", "s3://bucket/tracks")
    cisray(*export).assert_one_paragraph("--out", "path on this machine")
    answer = cisray(*inputs.options(Path("s3://bucket/run")))
    answer.assert_one_paragraph("--out: s3:/bucket/run has one slash where a URL has two")
    assert list(tmp_path.iterdir()) == []


def test_a_configuration_file_may_name_a_url(inputs, tmp_path) -> None:
    file = tmp_path / "job.yaml"
    file.write_text("out: s3://bucket/runs/a/\n")
    job = load_config(ScoreGenome, {"model": inputs.model, "fasta": inputs.fasta}, file)
    assert job.out == "s3://bucket/runs/a"
    local = load_config(
        ScoreGenome, {"model": inputs.model, "fasta": inputs.fasta, "out": tmp_path / "run"}
    )
    assert local.out == tmp_path / "run"
    assert isinstance(local.out, Path)
