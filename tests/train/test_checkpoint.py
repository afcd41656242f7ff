"""A checkpoint is whole, ours and unchanged, or refused."""

from pathlib import Path

import pytest
import torch

from hpc_massmap.config import Model, Split, Train
from hpc_massmap.errors import InputError
from hpc_massmap.model.unet import UNet
from hpc_massmap.train.checkpoint import load_checkpoint, save_checkpoint
from hpc_massmap.train.loop import BEST
from hpc_massmap.train.trained import load_model


def test_roundtrip(tmp_path: Path) -> None:
    state = {"model": {"w": torch.randn(3)}, "epoch": 4, "history": [{"loss": 0.5}], "names": ["a"]}
    save_checkpoint(tmp_path / "last.pt", state)
    loaded = load_checkpoint(tmp_path / "last.pt")
    assert torch.equal(loaded["model"]["w"], state["model"]["w"])  # type: ignore[index]
    assert (loaded["epoch"], loaded["history"], loaded["names"]) == (4, [{"loss": 0.5}], ["a"])
    assert len(loaded["digest"]) == 64


@pytest.mark.parametrize("position", [0.01, 0.2, 0.5, 0.8, 0.999])
def test_one_flipped_bit_or_a_lost_end_is_refused(tmp_path: Path, position: float) -> None:
    path = tmp_path / "last.pt"
    save_checkpoint(path, {"w": torch.arange(2000.0)})
    data = bytearray(path.read_bytes())
    data[int(position * len(data))] ^= 1
    flipped = tmp_path / "flipped.pt"
    flipped.write_bytes(data)
    try:
        weights = load_checkpoint(flipped)["w"]
    except InputError as error:
        message = str(error)
        assert "flipped.pt: " in message
        assert "\n" not in message
    else:
        assert torch.equal(weights, torch.arange(2000.0))
    path.write_bytes(path.read_bytes()[: int(position * len(data))])
    with pytest.raises(InputError, match=r"last\.pt: not a readable checkpoint"):
        load_checkpoint(path)


def test_a_flipped_weight_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "last.pt"
    save_checkpoint(path, {"w": torch.full((2000,), 7.0)})
    data = path.read_bytes()
    weight = torch.full((1,), 7.0).numpy().tobytes() * 100
    at = data.index(weight)
    path.write_bytes(data[:at] + b"\x01" + data[at + 1 :])
    with pytest.raises(InputError, match=r"damaged checkpoint|not a readable checkpoint"):
        load_checkpoint(path)


@pytest.mark.parametrize(
    "changed", [{"identity": {}}, {"model": {}}, {"normalisation": {"x": 1}}, {"normalisation": None}]
)
def test_a_checkpoint_of_another_version_is_told(tmp_path: Path, changed: dict[str, object]) -> None:
    description = Model(filters=2, layers=1)
    parts = {"model": description, "split": Split(), "train": Train()}
    identity = {name: part.model_dump(mode="json") for name, part in parts.items()}
    state = {"identity": identity, "model": UNet(description).state_dict(), "normalisation": None}
    save_checkpoint(tmp_path / BEST, {**state, **changed})
    with pytest.raises(InputError, match=r"best\.pt: a checkpoint of another version; train again"):
        load_model(tmp_path)


def test_foreign_files_are_refused(tmp_path: Path) -> None:
    torch.save({"state_dict": {}}, tmp_path / "foreign.pt")
    with pytest.raises(InputError, match="not a checkpoint of this suite"):
        load_checkpoint(tmp_path / "foreign.pt")
    with pytest.raises(InputError, match="no such checkpoint"):
        load_checkpoint(tmp_path / "none.pt")


class Bomb:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (open, ("exploded", "w"))  # type: ignore[return-value]


def test_no_code_runs_on_load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"format": Bomb()}, "bomb.pt")
    with pytest.raises(InputError, match="not a readable checkpoint"):
        load_checkpoint(Path("bomb.pt"))
    assert not Path("exploded").exists()
