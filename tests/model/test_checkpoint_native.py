import json
import os
import re
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import save_file
from tiny_checkpoints import TINY, tiny_shapes, tiny_state

import cisray.model.checkpoints.native as native
from cisray.errors import CheckpointError, StorageError, TrackError
from cisray.model.checkpoints.checkpoint import Checkpoint, check_state, model_digest
from cisray.model.checkpoints.native import read_native, save_native
from cisray.tracks import TrackSet

OTHER_GAMMA = TINY.model_copy(update={"gamma_normalisation": "per_position"})


@pytest.fixture
def checkpoint() -> Checkpoint:
    return Checkpoint.build(TINY, tiny_state(), provenance={"source": "seed 7", "seed": 7})


@pytest.fixture
def file(checkpoint: Checkpoint, tmp_path: Path) -> Path:
    return save_native(tmp_path / "m.safetensors", checkpoint)


def rewrite(file: Path, change: dict[str, Any], **tensors: torch.Tensor) -> Path:
    """Write the model again with other metadata or other tensors, as damage would."""
    with safe_open(file, "pt") as opened:
        header = json.loads(opened.metadata()["cisray"]) | change
        state = {name: opened.get_tensor(name).clone() for name in opened.keys()}  # noqa: SIM118
    save_file(state | tensors, file, {"cisray": json.dumps(header)})
    return file


def test_what_is_saved_is_read_back(checkpoint: Checkpoint, tmp_path: Path) -> None:
    assert save_native(tmp_path, checkpoint) == tmp_path / "model.safetensors"
    for path in (tmp_path, tmp_path / "model.safetensors"):
        read = read_native(path)
        assert read.config == TINY
        assert read.tracks == checkpoint.tracks
        assert read.provenance == {"source": "seed 7", "seed": 7}
        assert read.digest == checkpoint.digest
        assert list(read.state) == sorted(checkpoint.state)
        for name, tensor in checkpoint.state.items():
            assert read.state[name].dtype == tensor.dtype
            assert torch.equal(read.state[name], tensor)


def test_a_model_that_was_read_can_be_saved_again_byte_for_byte(file: Path, tmp_path: Path) -> None:
    again = save_native(tmp_path / "again.safetensors", read_native(file))
    assert again.read_bytes() == file.read_bytes()


def test_an_existing_file_is_replaced_only_on_request(file: Path, checkpoint: Checkpoint) -> None:
    before = file.read_bytes()
    with pytest.raises(CheckpointError, match="exists already"):
        save_native(file, checkpoint)
    assert file.read_bytes() == before
    other = Checkpoint.build(TINY, tiny_state(seed=8), provenance={})
    save_native(file, other, overwrite=True)
    assert read_native(file).digest == other.digest != checkpoint.digest


def test_others_may_read_the_file_as_the_umask_allows(file: Path, tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.touch()
    assert file.stat().st_mode == plain.stat().st_mode


def test_a_failed_write_leaves_nothing_behind(
    file: Path, checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = file.read_bytes()
    other = Checkpoint.build(TINY, tiny_state(seed=8), provenance={})

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(native, "_sync", full)
    with pytest.raises(StorageError, match="No space left"):
        save_native(file, other, overwrite=True)
    assert os.listdir(file.parent) == [file.name]
    assert file.read_bytes() == before
    with pytest.raises(CheckpointError, match=r"must end in .safetensors"):
        save_native(file.with_suffix(".bin"), checkpoint)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_reading_maps_the_file_instead_of_copying_it(tmp_path: Path) -> None:
    def private_kb() -> int:
        return int(re.findall(r"RssAnon:\s+(\d+)", Path("/proc/self/status").read_text())[0])

    state = {"weight": torch.ones(16_000_000)}  # 16e6 x 4 bytes = 62,500 KiB
    path = save_native(tmp_path, Checkpoint.build(TINY, state, provenance={}))
    del state
    before = private_kb()
    read = read_native(path, verify=False)
    assert float(read.state["weight"].sum()) == 16_000_000
    assert private_kb() - before < 20_000
    read.state["weight"][0] = 5.0
    assert float(read_native(path, verify=False).state["weight"][0]) == 1.0


@given(place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
@settings(max_examples=40, deadline=None)
def test_any_flipped_bit_of_the_weights_is_found(
    tmp_path_factory: pytest.TempPathFactory, place: float, bit: int
) -> None:
    folder = tmp_path_factory.mktemp("flip")
    checkpoint = Checkpoint.build(TINY, tiny_state(), provenance={})
    file = save_native(folder, checkpoint)
    content = bytearray(file.read_bytes())
    start = 8 + int.from_bytes(content[:8], "little")
    content[start + int(place * (len(content) - start))] ^= 1 << bit
    file.write_bytes(content)
    with pytest.raises(CheckpointError, match="is damaged"):
        read_native(file)
    assert read_native(file, verify=False).digest == checkpoint.digest


@given(place=st.floats(0, 1, exclude_max=True))
@settings(max_examples=40, deadline=None)
def test_any_truncation_is_named(tmp_path_factory: pytest.TempPathFactory, place: float) -> None:
    folder = tmp_path_factory.mktemp("cut")
    file = save_native(folder, Checkpoint.build(TINY, tiny_state(), provenance={}))
    content = file.read_bytes()
    file.write_bytes(content[: int(place * len(content))])
    with pytest.raises(CheckpointError, match=r"truncated|bytes of something else"):
        read_native(file)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"format": "cisray.model/2"}, "reads up to cisray.model/1. Upgrade"),
        ({"format": "other/1"}, "name the format 'other/1'"),
        ({"format": None}, "name the format None"),
        ({"architecture": "borzoi"}, "architecture 'borzoi'"),
        ({"architecture": ["enformer"]}, "architecture"),
        ({"config": {"channels": -1}}, "metadata of .* are damaged"),
        ({"config": {"chanels": 12}}, "metadata of .* are damaged"),
        ({"tracks": {}}, "metadata of .* are damaged"),
        ({"tracks": None}, "metadata of .* are damaged"),
        ({"model_digest": "0" * 64}, "is damaged: its contents have the digest"),
        (
            {"config": TINY.model_dump() | {"gamma_normalisation": "per_position"}},
            "is damaged: its contents",
        ),
    ],
)
def test_damaged_or_newer_metadata_are_refused(
    file: Path, change: dict[str, Any], said: str
) -> None:
    with pytest.raises(CheckpointError, match=said):
        read_native(rewrite(file, change))


def test_other_files_are_refused_with_the_way_out(tmp_path: Path) -> None:
    foreign = tmp_path / "foreign.safetensors"
    save_file({"a": torch.zeros(3)}, foreign)
    command = re.escape(f"cisray model convert {foreign} {tmp_path}/foreign.cisray.safetensors")
    with pytest.raises(CheckpointError, match=command):
        read_native(foreign)
    pickle = tmp_path / "m.safetensors"
    torch.save({"a": torch.zeros(3)}, pickle)
    with pytest.raises(CheckpointError, match="bytes of something else"):
        read_native(pickle)
    with pytest.raises(CheckpointError, match="There is no model file"):
        read_native(tmp_path / "absent.safetensors")
    save_file({"a": torch.zeros(3)}, foreign, {"cisray": "{"})
    with pytest.raises(CheckpointError, match=r"metadata of .* are damaged"):
        read_native(foreign)


def test_the_digest_identifies_the_model_and_not_its_origin(checkpoint: Checkpoint) -> None:
    state, tracks = dict(checkpoint.state), dict(checkpoint.tracks)
    backwards = dict(reversed(state.items()))
    assert Checkpoint.build(TINY, backwards, provenance={"other": 1}).digest == checkpoint.digest
    weight = state["stem.0.weight"]
    strided = weight.permute(2, 1, 0).contiguous().permute(2, 1, 0)
    assert not strided.is_contiguous()
    assert model_digest(TINY, state | {"stem.0.weight": strided}, tracks) == checkpoint.digest
    others = [
        model_digest(TINY, state | {"stem.0.weight": weight.view(torch.int32)}, tracks),
        model_digest(TINY, state | {"stem.0.weight": weight.reshape(6, 15, 4)}, tracks),
        model_digest(TINY, state | {"stem.0.weight": -weight}, tracks),
        model_digest(
            TINY.model_copy(update={"gamma_normalisation": "per_position"}), state, tracks
        ),
        model_digest(TINY, state, tracks | {"human": TrackSet.unnamed("mouse", 3)}),
    ]
    assert len({checkpoint.digest, *others}) == 6


def test_tracks_must_cover_every_head() -> None:
    three, two = TrackSet.unnamed("human", 3), TrackSet.unnamed("mouse", 2)
    for human in (TrackSet.unnamed("human", 4), TrackSet.unnamed("mouse", 3), three.select("0,2")):
        with pytest.raises(TrackError, match="Head human has 3 outputs"):
            Checkpoint(TINY, {}, {"human": human, "mouse": two}, {}, "")
    with pytest.raises(TrackError, match=r"heads \['human', 'mouse'\], but tracks"):
        Checkpoint(TINY, {}, {"human": three}, {}, "")
    every = Checkpoint.build(TINY, {}, tracks={"human": three}, provenance={}).tracks
    assert every == {"human": three, "mouse": two}


def test_every_difference_of_tensors_is_named() -> None:
    state, expected = tiny_state(), tiny_shapes()
    check_state(state, expected)
    del state["stem.0.bias"], state["_heads.mouse.0.weight"]
    state["extra.weight"] = torch.zeros(2)
    state["stem.0.weight"] = torch.zeros(6, 15, 4)
    with pytest.raises(CheckpointError) as caught:
        check_state(state, expected, source="weights.bin")
    told = str(caught.value)
    assert "The tensors of weights.bin do not fit" in told
    assert "2 missing (_heads.mouse.0.weight, stem.0.bias)" in told
    assert "1 surplus (extra.weight)" in told
    assert "1 misshapen (stem.0.weight is [6, 15, 4], must be [6, 4, 15])" in told
    many = {f"x{i:02d}": torch.zeros(()) for i in range(23)}
    with pytest.raises(CheckpointError, match=r"23 surplus \(x00, .*, x19 and 3 more\)"):
        check_state(many, {})


def test_the_digest_of_an_enformer_is_what_it_was() -> None:
    state = {
        name: torch.tensor(41) if name.endswith("tracked") else torch.full(shape, 0.5)
        for name, shape in tiny_shapes().items()
    }
    # Recorded before there was a second architecture: runs refer to models by it.
    recorded = "3a7b27cf517098c2d767a8df78043c39e608db20faf0ebebda6118c05c45fb5e"
    assert Checkpoint.build(TINY, state, provenance={}).digest == recorded
