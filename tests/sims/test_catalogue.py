from pathlib import Path

import numpy as np
import pytest
from scipy.integrate import quad

from hpc_massmap.errors import InputError
from hpc_massmap.sims.catalogue import catalogue_files, check_halo, r500_over_r200, read_catalogue
from tests.sims.files import COLUMNS, EXAMPLE, write_catalogue


def test_a_real_catalogue() -> None:
    halos = read_catalogue(EXAMPLE / "region_0003" / "region_0003.snap_103.z0.141.AHF_halos")
    assert halos.halo_id.tolist() == [103000000000001, 103000000000002]
    np.testing.assert_allclose(halos.m200, [7.795049e13, 2.197348e12])
    np.testing.assert_allclose(halos.centre[1], [25281.647, 26046.085, 26031.685])
    np.testing.assert_allclose(halos.r200, [756.879, 230.347])
    np.testing.assert_allclose(halos.r500, [510.568, 149.868])
    np.testing.assert_allclose(halos.m_gas[0], 1.101508e13)
    np.testing.assert_allclose(halos.m_star, [1.128934e12, 0])
    assert halos.f_mhires.tolist() == [1, 1]


def test_ids_keep_all_their_digits(tmp_path: Path) -> None:
    halos = read_catalogue(write_catalogue(tmp_path / "c", {"ID": "9007199254740993"}, {"ID": "128000000000000001"}))
    assert halos.halo_id.tolist() == [2**53 + 1, 128000000000000001]


def test_columns_are_found_by_name_in_any_order(tmp_path: Path) -> None:
    newer = ["Mhalo" if name == "Mvir" else name for name in reversed(COLUMNS)]
    halos = read_catalogue(write_catalogue(tmp_path / "c", {"Xc": "1", "Yc": "2", "Zc": "3"}, columns=newer))
    assert halos.m200.tolist() == [6e13]
    assert halos.centre.tolist() == [[1, 2, 3]]


def test_several_overdensities_in_one_file(tmp_path: Path) -> None:
    columns = [*COLUMNS[:-1], "M200c", "R200c", "R500c", "cNFW"]
    several = {"M200c": "4e13", "R200c": "600", "R500c": "400", "cNFW": "nan"}
    halos = read_catalogue(write_catalogue(tmp_path / "c", several, columns=columns))
    assert [a[0] for a in (halos.m200, halos.r200, halos.r500)] == [4e13, 600, 400]


@pytest.mark.parametrize("concentration", [2.0, 4.0, 12.0])
def test_r500_of_an_nfw_halo(concentration: float) -> None:
    ratio = r500_over_r200(np.array([concentration]))[0]

    def mean_density(radius: float) -> float:
        mass, _ = quad(lambda r: r**2 / (concentration * r * (1 + concentration * r) ** 2), 0, radius)
        return float(mass / radius**3)

    assert mean_density(ratio) == pytest.approx(2.5 * mean_density(1), rel=1e-6)


def test_r500_comes_from_the_concentration_where_the_file_has_none(tmp_path: Path) -> None:
    columns = [*COLUMNS[:-1], "cNFW"]
    halos = read_catalogue(
        write_catalogue(tmp_path / "c", {}, {"ID": "2", "cNFW": "-1"}, {"ID": "3", "cNFW": "9"}, columns=columns)
    )
    assert halos.r500[0] == halos.r500[1]  # AHF's -1: no fit
    np.testing.assert_allclose(halos.r500 / 700, [0.6517, 0.6517, 0.6802], atol=1e-3)


def test_every_missing_column_is_named(tmp_path: Path) -> None:
    for column in set(COLUMNS) - {"hostHalo"}:
        path = write_catalogue(tmp_path / "c", {}, columns=[name for name in COLUMNS if name != column])
        with pytest.raises(InputError, match=rf"^{path}: has no column {column}.*$"):
            read_catalogue(path)


@pytest.mark.parametrize(
    ("halos", "message"),
    [
        ([{}, {"Mvir": "five"}], "column Mvir, row 2: 'five' is not a number"),
        ([{"ID": "1.5"}], "column ID, row 1: '1.5' is not a number"),
        ([{"ID": "99999999999999999999"}], "column ID, row 1: '99999999999999999999' is not a number"),
        ([{}, {}], "halo 1 (row 2): its ID is that of one before it"),
        ([{"M_star": ""}], "row 1 has 10 values for 11 columns; is it truncated?"),
    ],
)
def test_what_is_wrong_with_a_row_is_one_line(halos: list[dict[str, str]], message: str, tmp_path: Path) -> None:
    path = write_catalogue(tmp_path / "c", *halos)
    with pytest.raises(InputError) as error:
        read_catalogue(path)
    assert str(error.value) == f"{path}: {message}"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"Xc": "nan"}, "Xc = nan"),
        ({"Rvir": "-3"}, "Rvir = -3"),
        ({"R_500": "0"}, "R_500 = 0"),
        ({"M_gas": "nan"}, "M_gas = nan"),
        ({"M_star": "-1"}, "M_star = -1"),
        ({"fMhires": "1.01"}, "fMhires = 1.01"),
        ({"Mvir": "inf"}, "Mvir = inf"),
    ],
)
def test_a_value_that_cannot_be_is_a_fault_of_its_halo_alone(
    values: dict[str, str], message: str, tmp_path: Path
) -> None:
    halos = read_catalogue(write_catalogue(tmp_path / "c", {"ID": "7"}, {"ID": "8"} | values))
    check_halo(halos, 0)
    with pytest.raises(InputError, match=rf"c: halo 8 \(row 2\): {message} cannot be; is the file damaged\?$"):
        check_halo(halos, 1)


def test_a_catalogue_without_halos_has_none(tmp_path: Path) -> None:
    assert len(read_catalogue(write_catalogue(tmp_path / "c"))) == 0


def test_ids_are_unsigned(tmp_path: Path) -> None:
    ids = [9223372036854788153, 2**64 - 1]
    halos = read_catalogue(write_catalogue(tmp_path / "c", *({"ID": str(one)} for one in ids)))
    assert halos.halo_id.tolist() == ids


def test_a_fraction_within_rounding_of_one_is_one(tmp_path: Path) -> None:
    words = ["1.0000001", "0.9999999", "0.999999", "0.99999"]
    rows = [{"ID": str(n), "fMhires": word} for n, word in enumerate(words)]
    halos = read_catalogue(write_catalogue(tmp_path / "c", *rows))
    assert halos.f_mhires.tolist() == [1, 1, 1, 0.99999]
    check_halo(halos, 0)


@pytest.mark.parametrize(
    ("hosts", "hosted"),
    [
        (["-1", "0", "5"], [False, True, True]),  # 0 is the id of a halo
        (["0", "0", "128000000000001"], [False, False, True]),
        ([str(2**64 - 1), "0", "9223372036854788153"], [False, True, True]),
    ],
)
def test_which_halos_lie_in_another(hosts: list[str], hosted: list[bool], tmp_path: Path) -> None:
    rows = [{"ID": str(n), "hostHalo": host} for n, host in enumerate(hosts)]
    assert read_catalogue(write_catalogue(tmp_path / "c", *rows)).hosted.tolist() == hosted


def split_by_ranks(folder: Path) -> Path:
    """Three halos as AHF on three ranks writes them: the names of the columns in the first file alone."""
    whole = write_catalogue(folder / "whole", *({"ID": str(n)} for n in (5, 6, 7))).read_text().splitlines(True)
    for rank, lines in enumerate([whole[:2], [], whole[2:]]):
        (folder / f"box.snap_006.{rank:04d}.z0.000.AHF_halos").write_text("".join(lines))
    return folder / "box.snap_006.0000.z0.000.AHF_halos"


def test_the_files_of_ahf_under_mpi_are_one_catalogue(tmp_path: Path) -> None:
    first = split_by_ranks(tmp_path)
    others = [first.with_name(first.name.replace("0000", f"000{rank}")) for rank in (1, 2)]
    assert read_catalogue(first).halo_id.tolist() == [5, 6, 7]
    assert read_catalogue(others[1]).halo_id.tolist() == [5, 6, 7]
    others[0].unlink()
    with pytest.raises(InputError, match=rf"^{others[0]}: missing, but {first.name} is one of several files of AHF"):
        read_catalogue(first)
    first.unlink()
    with pytest.raises(InputError, match=rf"^{first}: missing, but"):
        read_catalogue(others[1])


def test_digits_of_something_else_are_no_rank(tmp_path: Path) -> None:
    path = write_catalogue(tmp_path / "snap.0128.z0.000.AHF_halos", {})
    assert catalogue_files(path) == [path]
    write_catalogue(tmp_path / "snap.0000.z9.000.AHF_halos", {"ID": "2"})
    assert len(read_catalogue(path)) == 1


def test_a_file_that_is_no_catalogue(tmp_path: Path) -> None:
    path = tmp_path / "c"
    with pytest.raises(InputError, match=f"^{path}: no such halo catalogue$"):
        read_catalogue(path)
    for content in (b"", b"1 2 3\n", b"\x89HDF\xff\xfe"):
        path.write_bytes(content)
        with pytest.raises(InputError, match=f"^{path}: not a.*AHF[^\n]*$"):
            read_catalogue(path)
