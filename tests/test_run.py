"""A finished step does nothing, a changed one stops, a forced one starts anew."""

from pathlib import Path

import pytest

from hpc_massmap.errors import InputError
from hpc_massmap.run import Step
from hpc_massmap.storage import read_json


def step(folder: Path, **settings: float) -> Step:
    return Step("train", folder / "provenance" / "train.json", {"train": settings}, {"maps": "abc"}, [folder / "out"])


def test_the_life_of_a_step(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = step(tmp_path, epochs=2)
    assert not first.is_finished(force=False)
    (tmp_path / "out").write_text("x")
    assert not first.is_finished(force=False)  # interrupted before the record
    first.finish()
    assert first.is_finished(force=False)
    assert "already done" in capsys.readouterr().out
    with pytest.raises(InputError, match=r"train was done with train\.epochs = 2, now 3; use a new run name, or"):
        step(tmp_path, epochs=3).is_finished(force=False)
    assert not step(tmp_path, epochs=3).is_finished(force=True)
    assert not (tmp_path / "out").exists()


def test_a_step_ends_with_what_it_did_how_good_and_what_next(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    step(tmp_path).finish("trained 3 epochs", "loss 0.1")
    following = f"next: massmap predict {tmp_path}"
    assert capsys.readouterr().out.splitlines() == ["trained 3 epochs", "loss 0.1", f"{out}; {following}"]
    step(tmp_path).finish("trained 3 epochs", f"loss 0.1: {out}")
    assert capsys.readouterr().out.splitlines()[1:] == [f"loss 0.1: {out}", following]
    step(tmp_path).finish()
    assert capsys.readouterr().out.splitlines() == [f"{out}; {following}"]


def test_a_lost_output_is_made_again(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("x")
    step(tmp_path).finish()
    (tmp_path / "out").unlink()
    assert not step(tmp_path).is_finished(force=False)


def test_provenance_says_with_what(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("x")
    step(tmp_path, epochs=2).finish()
    record = read_json(tmp_path / "provenance" / "train.json")
    assert record["settings"] == {"train": {"epochs": 2}}
    assert record["inputs"] == {"maps": "abc"}
    assert record["versions"]["torch"]
    assert len(record["git_commit"].rstrip("+")) == 40
