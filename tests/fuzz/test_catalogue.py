"""A halo catalogue with a byte changed, an end cut off or a column gone: one line, or halos that can be.

The text has no checksum: a digit that became another digit is another valid halo, and nobody can tell. What can be
asked is that no halo is lost or added, and that each is one that can be.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from hpc_massmap.errors import InputError
from hpc_massmap.sims.catalogue import Catalogue, check_halo, read_catalogue
from tests.sims.files import COLUMNS, HALO, write_catalogue

FLIPS, CUTS = 600, 150
HALOS = [{"ID": f"12800000000000{n}", "hostHalo": "0", "Mvir": f"{n}.25e13", "Xc": f"10{n}.5"} for n in range(1, 8)]


@pytest.fixture
def written(tmp_path: Path) -> Path:
    return write_catalogue(tmp_path / "halos", *HALOS)


def read(path: Path) -> Catalogue | str:
    """What a catalogue holds, or the line that says why it is refused if all its halos are selected."""
    try:
        found = read_catalogue(path)
        for row in range(len(found)):
            check_halo(found, row)
        return found
    except InputError as error:
        line = str(error)
    assert "\n" not in line
    assert line.startswith(f"{path}: ")
    return line


def assert_possible(found: Catalogue) -> None:
    for values in (found.m200, found.r200, found.r500):
        assert (values > 0).all()
    for values in (found.m200, found.r200, found.r500, found.centre, found.m_gas, found.m_star, found.f_mhires):
        assert np.isfinite(values).all()
    assert (found.m_gas >= 0).all()
    assert (found.m_star >= 0).all()
    assert ((found.f_mhires >= 0) & (found.f_mhires <= 1)).all()
    assert len(set(found.halo_id.tolist())) == len(found)


def damaged(data: bytes) -> Iterator[bytes]:
    stream = np.random.default_rng(1)
    for _ in range(FLIPS):
        at, bit = int(stream.integers(len(data))), int(stream.integers(8))
        yield data[:at] + bytes([data[at] ^ (1 << bit)]) + data[at + 1 :]


def test_bytes_that_change(written: Path) -> None:
    data = written.read_bytes()
    refused = 0
    for changed in damaged(data):
        written.write_bytes(changed)
        found = read(written)
        if isinstance(found, str):
            refused += 1
            continue
        assert_possible(found)
        assert abs(len(found) - len(HALOS)) <= 1  # a line more or less: its end changed, or it became a comment
    assert refused > FLIPS / 3


def test_every_end_that_is_cut_off_is_noticed(written: Path) -> None:
    data = written.read_bytes()
    lines = {len(b"".join(data.splitlines(keepends=True)[:n])) for n in range(1, len(HALOS) + 2)}
    for end in {*np.linspace(0, len(data) - 1, CUTS, dtype=int).tolist(), len(data) - 1}:
        written.write_bytes(data[:end])
        found = read(written)
        assert isinstance(found, str) or end in lines, f"cut at {end}"


@pytest.mark.parametrize("word", ["nan", "inf", "-inf", "-1", "1e999", "", "x", "1,5", "0x10", "1_0", "٣", "9" * 400])
@pytest.mark.parametrize("column", [name for name in COLUMNS if name != "hostHalo"])
def test_words_that_are_no_values(column: str, word: str, tmp_path: Path) -> None:
    path = write_catalogue(tmp_path / "halos", HALO | HALOS[0], {**HALOS[1], column: word})
    found = read(path)
    allowed = {"-1": ("Xc", "Yc", "Zc")}.get(word, ())
    if column in allowed:
        assert not isinstance(found, str)
    else:
        assert isinstance(found, str), f"{column} = {word!r} was read"


@pytest.mark.parametrize("column", [name for name in COLUMNS if name not in ("hostHalo", "R_500")])
def test_a_column_that_is_gone_or_twice(column: str, tmp_path: Path) -> None:
    others = [name for name in COLUMNS if name != column]
    assert isinstance(read(write_catalogue(tmp_path / "a", *HALOS, columns=others)), str)
    assert "is there twice" in str(read(write_catalogue(tmp_path / "b", *HALOS, columns=[*COLUMNS, column])))


@pytest.mark.parametrize(
    "content",
    [b"", b"\n\n", b"\x00" * 100, bytes(range(256)), b"#", b"# \n1 2 3\n", b"\x1f\x8b\x08garbage", b"#ID(1)\n1\n"],
)
def test_what_is_no_catalogue(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "halos").write_bytes(content)
    assert isinstance(read(tmp_path / "halos"), str)
    assert isinstance(read(tmp_path), str)


def test_a_halo_that_is_there_twice(tmp_path: Path) -> None:
    assert "(row 2)" in str(read(write_catalogue(tmp_path / "halos", HALOS[0], HALOS[0] | {"Xc": "7"})))
