"""From a YAML file and options to a checked job: what wins, what is refused, in which words."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from cisray.errors import ConfigError
from cisray_jobs.config import load_config
from cisray_jobs.score_genome import ScoreGenome

NEEDED: dict[str, Any] = {"model": "m.safetensors", "fasta": "g.fa", "out": "run"}


def load(text: str, tmp_path: Path, **given: Any) -> ScoreGenome:
    file = tmp_path / "job.yaml"
    file.write_text(text)
    return load_config(ScoreGenome, given, file)


def test_a_file_alone(tmp_path: Path) -> None:
    job = load(
        """
        model: models/enformer.safetensors
        fasta: hg38.fa
        out: runs/chr21
        chromosomes: [chr21, chr22]
        tracks: 'CAGE:*'
        mantissa-bits: 23
        batch_size: 8
        workers: auto
        num-gpus: 0.5
        """,
        tmp_path,
    )
    assert job.model == Path("models/enformer.safetensors")
    assert job.chromosomes == ("chr21", "chr22")
    assert job.tracks == ("CAGE:*",)
    assert (job.mantissa_bits, job.batch_size, job.workers, job.num_gpus) == (23, 8, "auto", 0.5)
    assert (job.head, job.precision, job.restart) == ("human", "auto", False)


def test_options_win_over_the_file(tmp_path: Path) -> None:
    text = "model: a\nfasta: b\nout: c\nhead: mouse\ntracks: [CAGE, ATAC]\nmantissa-bits: 7\n"
    job = load(text, tmp_path, out=Path("elsewhere"), tracks=("DNASE",), head=None)
    assert job.out == Path("elsewhere")
    assert job.tracks == ("DNASE",)  # replaced, not added to
    assert (job.head, job.mantissa_bits) == ("mouse", 7)


@pytest.mark.parametrize("spelling", ["tiles-per-shard", "tiles_per_shard"])
def test_keys_are_option_names(spelling: str, tmp_path: Path) -> None:
    assert load(f"{spelling}: 3\n", tmp_path, **NEEDED).tiles_per_shard == 3


@pytest.mark.parametrize("text", ["", "{}", "# only a comment\n"])
def test_a_file_without_settings(text: str, tmp_path: Path) -> None:
    """An empty mapping is one; a file with nothing at all is more likely the wrong file."""
    if text == "{}":
        assert load(text, tmp_path, **NEEDED).head == "human"
    else:
        with pytest.raises(ConfigError, match="mapping"):
            load(text, tmp_path, **NEEDED)


@pytest.mark.parametrize(
    ("text", "value"), [("off", "off"), ("'off'", "off"), ("auto", "auto"), ("7", 7), ("'7'", 7)]
)
def test_a_self_check_is_off_without_quotes(text: str, value: str | int, tmp_path: Path) -> None:
    """YAML reads a bare off as false."""
    assert load(f"self-check: {text}\n", tmp_path, **NEEDED).self_check == value


@pytest.mark.parametrize("text", ["on", "yes", "true", "0", "2.5", "[1]"])
def test_what_is_no_self_check(text: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--self-check: must"):
        load(f"self-check: {text}\n", tmp_path, **NEEDED)


def test_every_problem_is_told_at_once() -> None:
    given = {"model": "m", "out": "r", "workers": "-1", "mantissa_bits": 99, "precision": "half"}
    with pytest.raises(ConfigError) as caught:
        load_config(ScoreGenome, given)
    told = str(caught.value)
    for words in ("--fasta is required", "--workers", "--mantissa-bits", "--precision", "'half'"):
        assert words in told


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("workers", "2.5"),
        ("workers", "true"),
        ("mantissa-bits", "on"),
        ("num-gpus", "no"),
        ("threads", "[1]"),
        ("num-gpus", "one"),
        ("restart", "perhaps"),
        ("tracks", "{CAGE: 1}"),
        ("model", "[a, b]"),
        ("mantissa-bits", "10.5"),
        ("num-gpus", ".nan"),
        ("num-gpus", ".inf"),
    ],
)
def test_values_of_another_type(key: str, value: str, tmp_path: Path) -> None:
    given = {name: path for name, path in NEEDED.items() if name != key}
    with pytest.raises(ConfigError, match=f"--{key}"):
        load(f"{key}: {value}\n", tmp_path, **given)


@pytest.mark.parametrize("again", ["mantissa_bits", "mantissa-bits"])
def test_a_key_given_twice(again: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"job\.yaml:3: .*'mantissa_bits' .* line 1"):
        load(f"mantissa-bits: 7\nhead: mouse\n{again}: 9\n", tmp_path, **NEEDED)


def test_a_job_is_frozen_and_closed() -> None:
    job = load_config(ScoreGenome, NEEDED)
    with pytest.raises(ValidationError):
        job.out = Path("other")
    with pytest.raises(ValidationError):
        ScoreGenome(**NEEDED, colour="red")


def test_a_file_that_is_no_text(tmp_path: Path) -> None:
    file = tmp_path / "job.yaml"
    file.write_bytes(b"\x80\x81\xfe\xff" * 9)
    with pytest.raises(ConfigError, match=r"job\.yaml"):
        load_config(ScoreGenome, NEEDED, file)


def test_a_folder_as_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=str(tmp_path)):
        load_config(ScoreGenome, NEEDED, tmp_path)


def test_a_tilde_is_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    job = load("model: ~/m.safetensors\nfasta: g.fa\nbed: ~/r.bed\n", tmp_path, out=Path("~/run"))
    assert job.model == tmp_path / "m.safetensors"
    assert job.bed == tmp_path / "r.bed"
    assert job.out == tmp_path / "run"
    assert job.fasta == Path("g.fa")
    with pytest.raises(ConfigError, match=r"--out: there is no home folder for ~no-such-user-here"):
        load_config(ScoreGenome, {**NEEDED, "out": Path("~no-such-user-here/run")})


@pytest.mark.parametrize("name", ["model", "fasta", "out"])
@pytest.mark.parametrize("empty", ["", ".", Path(""), "./"])
def test_an_empty_path_is_refused(name: str, empty: str | Path) -> None:
    with pytest.raises(ConfigError, match=f"--{name}: must name a file or folder.*got '[./]*'"):
        load_config(ScoreGenome, {**NEEDED, name: empty})


@pytest.mark.parametrize(
    ("text", "chromosomes", "tracks"),
    [
        ("chromosomes: chr1, chr2\n", ("chr1", "chr2"), ()),
        ("chromosomes: [1, 22, X]\ntracks: [4828, CAGE]\n", ("1", "22", "X"), ("4828", "CAGE")),
        ("chromosomes: 7\ntracks: 12\n", ("7",), ("12",)),
        # A comma belongs to a selection of tracks, which knows what it means.
        ("tracks: 1,3\n", (), ("1,3",)),
    ],
)
def test_names_as_yaml_reads_them(text: str, chromosomes, tracks, tmp_path: Path) -> None:
    job = load(text, tmp_path, **NEEDED)
    assert (job.chromosomes, job.tracks) == (chromosomes, tracks)


@pytest.mark.parametrize("text", ["tracks: yes\n", "chromosomes: [yes]\n", "tracks: [1.5]\n"])
def test_names_that_yaml_made_something_else_of(text: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f"--{text.partition(':')[0]}"):
        load(text, tmp_path, **NEEDED)


@pytest.mark.parametrize("name", ["workers", "threads", "batch_size", "tiles_per_shard"])
@pytest.mark.parametrize("value", ["two", 2.5, "2.5", ""])
def test_a_number_or_auto_is_told_in_one_sentence(name: str, value: object) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(ScoreGenome, {**NEEDED, name: value})
    option = "--" + name.replace("_", "-")
    problem = f"{option}: must be a whole number or auto, got {value!r}"
    assert str(caught.value) == f"The settings are not usable: {problem}."
