from pathlib import Path

import numpy as np
import pytest
from scipy.integrate import quad

from hpc_massmap.errors import InputError
from hpc_massmap.sims.catalogue import r500_over_r200, read_catalogue
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
        ([], "holds no halos"),
        ([{}, {"Mvir": "five"}], "column Mvir, halo 2: 'five' is not a number"),
        ([{"ID": "1.5"}], "column ID, halo 1: '1.5' is not a number"),
        ([{"ID": "99999999999999999999"}], "column ID, halo 1: '99999999999999999999' is not a number"),
        ([{"Xc": "nan"}], "column Xc has a value that is not finite"),
        ([{"Rvir": "-3"}], "column Rvir, halo 1: -3 cannot be; is the file damaged?"),
        ([{"R_500": "0"}], "column R_500, halo 1: 0 cannot be; is the file damaged?"),
        ([{"M_star": ""}], "halo 1 has 10 values for 11 columns; is it truncated?"),
    ],
)
def test_what_is_wrong_with_a_row_is_one_line(halos: list[dict[str, str]], message: str, tmp_path: Path) -> None:
    path = write_catalogue(tmp_path / "c", *halos)
    with pytest.raises(InputError) as error:
        read_catalogue(path)
    assert str(error.value) == f"{path}: {message}"


def test_a_file_that_is_no_catalogue(tmp_path: Path) -> None:
    path = tmp_path / "c"
    with pytest.raises(InputError, match=f"^{path}: no such halo catalogue$"):
        read_catalogue(path)
    for content in (b"", b"1 2 3\n", b"\x89HDF\xff\xfe"):
        path.write_bytes(content)
        with pytest.raises(InputError, match=f"^{path}: not a.*AHF[^\n]*$"):
            read_catalogue(path)
