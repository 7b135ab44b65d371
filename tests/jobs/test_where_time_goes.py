"""Where workers' time goes, as runs say it that were really scored: on fast and on slow disks."""

import json
import time
from pathlib import Path

import pytest
from damage import record_of
from effect_jobs import genome_with_traps, write_genome, write_model, write_vcf

from cisray.genome.reference import Genome
from cisray.store.receipt import Receipt
from cisray.store.scan import open_run
from cisray_jobs import tile_task
from cisray_jobs.tile_check import SelfCheck

NAP_S = 0.1


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("files")
    texts = genome_with_traps()
    letters = texts["chr1"].upper()
    positions = (600, 610, 900, 1000)
    return {
        "fasta": write_genome(folder / "g.fa", texts),
        "model": write_model(folder / "m.safetensors"),
        "vcf": write_vcf(
            folder / "v.vcf",
            [
                ("chr1", p, f"rs{p}", letters[p - 1], "ACGT"["CGTA".index(letters[p - 1])])
                for p in positions
            ],
        ),
    }


@pytest.fixture
def slow_disk(monkeypatch) -> list[float]:
    """Every stretch of bases takes a nap longer; the naps that were taken."""
    fetch, naps = Genome.fetch_padded, []

    def slowly(self: Genome, interval):
        naps.append(NAP_S)
        time.sleep(NAP_S)
        return fetch(self, interval)

    monkeypatch.setattr(Genome, "fetch_padded", slowly)
    return naps


def shown(cisray, run: Path) -> dict:
    return json.loads(cisray("runs", "show", run, "--json").out)


def receipts(run: Path) -> list[Receipt]:
    shards = open_run(run).plan.spans
    return [Receipt.model_validate_json(record_of(run, shard).read_text()) for shard in shards]


def laps_of(receipt: Receipt) -> dict[str, float]:
    laps = receipt.info["laps"]
    assert isinstance(laps, dict)
    return {name: float(str(seconds)) for name, seconds in laps.items()}


def test_laps_fill_the_time_from_the_first_shard_on(cisray, inputs, tmp_path) -> None:
    """They hold what the shard was timed by before, and no more than the session lasted."""
    run = tmp_path / "run"
    given = inputs.options(run, "--quiet", "--tiles-per-shard", 3, "--self-check", 7)
    assert cisray(*given).code == 0
    times = shown(cisray, run)["times"]
    seconds = times["workers"]["seconds"]
    assert times["workers"]["shards"] == 3
    assert set(seconds) == {"open", "idle", "input", "model", "check", "other", "write"}
    assert sum(seconds.values()) <= times["wall_s"]
    computed = seconds["input"] + seconds["model"] + seconds["check"]
    assert computed == pytest.approx(times["device_s"], abs=0.05)
    assert seconds["check"] == pytest.approx(
        sum(float(str(receipt.info["check_s"])) for receipt in receipts(run)), abs=0.05
    )
    assert [("open" in laps_of(receipt)) for receipt in receipts(run)].count(True) == 1
    text = cisray("runs", "show", run).out
    assert "in the model" in text
    assert "waiting for input" in text
    assert "GPU         not measured" in text


def test_a_slow_disk_is_seen_as_waiting_for_input(cisray, inputs, tmp_path, slow_disk) -> None:
    run = tmp_path / "run"
    given = inputs.options(run, "--quiet", "--tiles-per-shard", 3, "--self-check", "off")
    assert cisray(*given).code == 0
    facts = shown(cisray, run)
    seconds = facts["times"]["workers"]["seconds"]
    # A stretch for each of three shards, and nothing else reads.
    assert len(slow_disk) == 3
    assert sum(slow_disk) <= seconds["input"] < sum(slow_disk) + 0.2
    assert facts["input_wait"] == pytest.approx(seconds["input"] / sum(seconds.values()), rel=1e-3)


@pytest.mark.parametrize("kind", ["ism", "gradient"])
def test_so_it_is_of_variants_and_of_gradients(cisray, files, tmp_path, slow_disk, kind) -> None:
    """Naps of the self-check's own reading are in the check, or in its wait for input."""
    out = tmp_path / "run"
    here = ("--workers", 0, "--threads", 1, "--quiet", "--self-check", 2, "--out", out)
    model, fasta, vcf = files["model"], files["fasta"], files["vcf"]
    if kind == "ism":
        given = ("score", "variants", "--model", model, "--fasta", fasta, "--vcf", vcf)
    else:
        given = ("score", "saturation", "--method", "gradient", "--model", model,
                 "--fasta", fasta, "--region", "chr1:601-604")  # fmt: skip
    slow_disk.clear()
    answer = cisray(*given, *here)
    assert answer.code == 0, answer.err
    seconds = shown(cisray, out)["times"]["workers"]["seconds"]
    assert seconds["input"] >= NAP_S
    assert seconds["model"] > 0
    assert seconds["check"] > 0
    timed = sum(float(str(receipt.info["score_s"])) for receipt in receipts(out))
    measured = seconds["input"] + seconds["model"] + seconds["check"]
    assert measured == pytest.approx(timed, abs=0.1)


def test_a_slow_check_is_not_taken_for_the_model(cisray, inputs, tmp_path, monkeypatch) -> None:
    check = SelfCheck.check

    def slowly(self, shard, tiles, scores):
        time.sleep(3 * NAP_S)
        return check(self, shard, tiles, scores)

    monkeypatch.setattr(tile_task.SelfCheck, "check", slowly)
    run = tmp_path / "run"
    given = inputs.options(run, "--quiet", "--tiles-per-shard", 9, "--self-check", 1)
    assert cisray(*given).code == 0
    laps = [laps_of(receipt) for receipt in receipts(run)]
    assert all(lap["check"] >= 3 * NAP_S for lap in laps)
    assert all(lap["model"] < lap["check"] + 1 for lap in laps)


def test_a_run_of_before_says_nothing(cisray, inputs, tmp_path) -> None:
    """Its records have no laps; sealing wrote no sums of them."""
    run = tmp_path / "run"
    given = inputs.options(run, "--quiet", "--tiles-per-shard", 9, "--self-check", "off")
    assert cisray(*given).code == 0
    for receipt in receipts(run):
        info = {name: fact for name, fact in receipt.info.items() if name != "laps"}
        old = receipt.model_copy(update={"info": info})
        record_of(run, receipt.shard).write_text(old.model_dump_json())
    summary = json.loads((run / "summary.json").read_text())
    del summary["workers"]
    (run / "summary.json").write_text(json.dumps(summary))
    facts = shown(cisray, run)
    assert (facts["input_wait"], facts["times"]["workers"]) == (None, None)
    text = cisray("runs", "show", run).out
    assert "waiting for input" not in text
    assert "GPU" not in text
    assert cisray("runs", "verify", run).code == 0
