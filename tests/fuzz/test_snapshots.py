"""A snapshot with a bit changed or its end cut off: one line, or particles; never a traceback."""

from pathlib import Path

import numpy as np
import pytest

from hpc_massmap.errors import InputError
from hpc_massmap.sims import gadget_binary, gadget_file, gadget_hdf5
from hpc_massmap.sims.snapshot import read_header, read_snapshot
from tests.sims.files import binary_blocks, write_binary, write_snapshot

FLIPS, CUTS = 400, 40
COUNTS = (7, 5, 3)
KINDS = ["format_1", "format_2", "hdf5"]


def written(kind: str, path: Path) -> Path:
    if kind == "hdf5":
        return write_snapshot(path, particles=20)
    blocks = binary_blocks(*COUNTS)
    return write_binary(path, COUNTS, blocks, named=kind == "format_2")


@pytest.mark.parametrize("kind", KINDS)
def test_bytes_that_change(kind: str, tmp_path: Path) -> None:
    path = written(kind, tmp_path / "s")
    data, stream = path.read_bytes(), np.random.default_rng(2)
    assert len(read_snapshot(path).dark_matter)
    whole = block_ends(path) if kind == "format_2" else set()  # where what is left is a file without the last blocks
    told = 0
    for at, bit in zip(stream.integers(len(data), size=FLIPS).tolist(), stream.integers(8, size=FLIPS), strict=True):
        path.write_bytes(data[:at] + bytes([data[at] ^ (1 << int(bit))]) + data[at + 1 :])
        told += is_told(path)
    assert told > FLIPS / 20
    for end in set(stream.integers(len(data), size=CUTS).tolist()) - whole:
        path.write_bytes(data[:end])
        assert is_told(path)


def block_ends(path: Path) -> set[int]:
    file = gadget_binary.BinaryFile(path)
    file.close()
    return {block.start + block.size + 4 for block in file._blocks.values()}


def is_told(path: Path) -> bool:
    """Whether it is refused, in one line that names it."""
    try:
        read_snapshot(path)
    except InputError as error:
        line = str(error)
    else:
        return False
    assert line.startswith(str(path))
    assert "\n" not in line
    return True


@pytest.mark.parametrize(
    ("kind", "inside", "used"),
    [
        ("hdf5", gadget_hdf5, "attributes_of"),
        ("hdf5", gadget_hdf5, "KINDS"),
        ("hdf5", gadget_file, "check_cosmology"),
        ("hdf5", gadget_file, "Header"),
        ("hdf5", gadget_file, "UNIT_NAMES"),
        ("format_1", gadget_binary, "announced"),
        ("format_2", gadget_binary, "Block"),
        ("format_2", gadget_binary, "HEADER"),
    ],
)
def test_a_slip_of_ours_is_not_told_as_damage(
    kind: str, inside: object, used: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a reader uses becomes one that gives a wrong value's error, as a slip in our own arithmetic would."""
    path = written(kind, tmp_path / "s")
    monkeypatch.setattr(inside, used, Slip())
    with pytest.raises(ValueError, match="our slip"):
        read_header(path)


class Slip:
    """Whatever is done with it is a ValueError."""

    def __call__(self, *_: object, **__: object) -> None:
        raise ValueError("our slip")

    def __getattr__(self, _: str) -> None:
        raise ValueError("our slip")

    def __getitem__(self, _: object) -> None:
        raise ValueError("our slip")

    def __rmul__(self, _: object) -> None:
        raise ValueError("our slip")

    def __sub__(self, _: object) -> None:
        raise ValueError("our slip")
