"""Mass, radius, redshift and cosmology belong together, in files of real codes and in what people make of them."""

import re
import shutil
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from astropy import units as u
from astropy.cosmology import LambdaCDM

from hpc_massmap.config import Selection, Simulation
from hpc_massmap.errors import InputError
from hpc_massmap.sims.catalogue import read_catalogue
from hpc_massmap.sims.consistency import critical_density, overdensity
from hpc_massmap.sims.selection import check_some_are_left, find_sources
from tests.sims.files import COLUMNS, EXAMPLE, HALO, all_candidates, fitting, write_catalogue, write_snapshot

CUTS = Selection(m200_min=1e13)
H, OMEGA_M = 0.6777, 0.307115
SIMULATION: dict[str, Any] = {"name": "gadget4", "region": "region_*"}
# Mhalo, Rhalo, ovdens of AHF's first halos in one snapshot at z = 1, with GIZMO's Omega_Matter and without
GENUINE = [("5.13168e+13", "827.36", "199.89"), ("4.33119e+13", "782.79", "199.19")]
WITHOUT_OMEGA0 = [("4.62875e+13", "736.77", "199.94")]


@pytest.mark.parametrize(("omega_m", "omega_lambda"), [(0.3, 0.7), (0.3, 0.0), (0.25, 0.7)])
def test_the_critical_density_is_astropy_s(omega_m: float, omega_lambda: float) -> None:
    redshifts = np.array([0.0, 0.5, 2.0])
    cosmology = LambdaCDM(100 * H, omega_m, omega_lambda, Tcmb0=0)
    theirs = cosmology.critical_density(redshifts).to_value(u.Msun / u.kpc**3)
    np.testing.assert_allclose(critical_density(redshifts, omega_m, omega_lambda) * H**2, theirs, rtol=1e-6)


def test_the_halos_of_the_example_fit() -> None:
    catalogue = read_catalogue(EXAMPLE / "region_0003" / "region_0003.snap_103.z0.141.AHF_halos")
    found = overdensity(catalogue.m200, catalogue.r200 / 1.141, 0.141, OMEGA_M)
    np.testing.assert_allclose(found, 200, rtol=2e-3)


@pytest.fixture
def region(tmp_path: Path) -> Path:
    """A real halo at z = 0.246."""
    folder = tmp_path / "region_0001"
    folder.mkdir()
    shutil.copy(EXAMPLE / "region_0001" / "snap_102.hdf5", folder)
    shutil.copy(next((EXAMPLE / "region_0001").glob("*snap_102*AHF_halos")), folder)
    return folder


def refusal(region: Path, cuts: Selection = CUTS) -> str:
    with pytest.raises(InputError) as error:
        candidates_of(region, cuts)
    line = str(error.value)
    assert "\n" not in line
    return line


def candidates_of(region: Path, cuts: Selection = CUTS) -> list[Any]:
    snapshot = int(re.findall(r"\d{3}", next(region.glob("snap_*")).name)[0])
    return all_candidates(find_sources([Simulation(folder=region.parent, snapshots=[snapshot], **SIMULATION)]), cuts)


def scale(region: Path, **factors: float) -> None:
    """Multiply columns of its catalogue."""
    path = next(region.glob("*AHF_halos"))
    header, *rows = path.read_text().splitlines()
    names = [name.split("(")[0] for name in header.lstrip("#").split()]
    changed = [row.split() for row in rows]
    for row in changed:
        for name, factor in factors.items():
            row[names.index(name)] = f"{float(row[names.index(name)]) * factor:.8g}"
    path.write_text("\n".join([header, *("\t".join(row) for row in changed)]) + "\n")


def set_header(region: Path, **values: Any) -> None:
    with h5py.File(next(region.glob("snap_*.hdf5")), "r+") as file:
        file["Header"].attrs.update(values)


@pytest.mark.parametrize(
    ("factors", "reason"),
    [
        ({"Rvir": 1 / H, "R_500": 1 / H}, "R200 may be in kpc instead of kpc/h"),
        ({"Mvir": 1 / H}, "M200 may be in Msun instead of Msun/h"),
        ({"Rvir": 1 / H, "R_500": 1 / H, "Mvir": 1 / H}, "both may be without their h"),
        ({"Rvir": 1 / 1.24597}, "R200 may be in physical kpc/h instead of comoving"),
        ({"Rvir": 1e-3}, "a unit may be wrong, as the density is by 1e+09"),
        ({"Rvir": 1.1**0.5 / 0.46457**0.5, "Mvir": 1.1**1.5 / 0.46457**0.5}, "200 times the mean density"),
        ({"Rvir": 1.03}, "they fit z = 0.3"),
    ],
)
def test_a_pair_that_does_not_fit_is_told_and_what_it_may_be(
    factors: dict[str, float], reason: str, region: Path
) -> None:
    assert len(candidates_of(region)) == 1
    scale(region, **factors)
    line = refusal(region)
    assert re.match(
        rf"{region}/\S+AHF_halos: halo 102\d+ \(row 1\): Mvir = \S+ Msun/h and Rvir = \S+ kpc/h enclose", line
    )
    assert "snap_102.hdf5, not 200: " in line
    assert reason in line


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        ({"Omega0": 0.25, "OmegaLambda": 0.75}, "enclose"),
        ({"Redshift": 0.5, "Time": 1 / 1.5}, "is of z = 0.246 by its name, but"),
        ({"Redshift": 0.246, "Time": 0.5}, "Redshift = 0.246 and Time = 0.5 in the Header do not belong together"),
        ({"HubbleParam": 67.77}, "HubbleParam = 67.77 cannot be: it is H0 over 100 km/s/Mpc"),
        ({"Omega0": 0.0}, "Omega0 = 0 cannot be"),
        ({"OmegaLambda": 69.0}, "OmegaLambda = 69 cannot be"),
    ],
)
def test_a_header_that_does_not_fit(header: dict[str, float], reason: str, region: Path) -> None:
    set_header(region, **header)
    assert reason in refusal(region)


def test_a_wrong_redshift_of_both_is_found_by_the_density(region: Path) -> None:
    path = next(region.glob("*AHF_halos"))
    path.rename(region / "halos.snap_102.zed.AHF_halos")
    set_header(region, Redshift=0.5, Time=1 / 1.5)
    assert "enclose" in refusal(region)
    assert "they fit z = 0.246" in refusal(region)


@pytest.mark.parametrize("factor", [1.3, 1 / H, 1e-3])
def test_r500_is_a_part_of_r200(factor: float, region: Path) -> None:
    scale(region, R_500=factor)
    assert re.search(r"\(row 1\): R500 = \S+ R200 cannot be.*; check its unit$", refusal(region))


def genuine(folder: Path, rows: list[tuple[str, str, str]], **snapshot: float) -> Path:
    """Rows of AHF's in a region at z = 1."""
    region = folder / "region_0001"
    halos = [
        {"ID": str(n), "hostHalo": "-1", "Mvir": m, "Rvir": r, "ovdens": o, "R_500": "500"}
        for n, (m, r, o) in enumerate(rows)
    ]
    write_catalogue(region / "region_0001.snap_000.z1.000.AHF_halos", *halos, columns=[*COLUMNS, "ovdens"])
    write_snapshot(region / "snap_000.hdf5", 1.0, Omega0=OMEGA_M, OmegaLambda=1 - OMEGA_M, HubbleParam=H)
    return region


def test_a_genuine_catalogue_whose_ahf_found_no_omega0(tmp_path: Path) -> None:
    assert len(candidates_of(genuine(tmp_path, GENUINE))) == 2
    line = refusal(genuine(tmp_path, WITHOUT_OMEGA0))
    assert re.search(r"enclose 25\d\.\d times the critical density at z = 1", line)
    assert "not 199.9: a halo finder that found no Omega0 makes such halos" in line


def test_a_genuine_catalogue_of_virial_masses(tmp_path: Path) -> None:
    """Its `ovdens` is in units of the mean density."""
    virial = [("1.25935e+14", "1021.29", "331.10")]
    region = genuine(tmp_path, virial)
    shutil.move(next(region.glob("*AHF_halos")), region / "region_0001.snap_000.z0.000.AHF_halos")
    set_header(region, Redshift=0.0)
    assert "the virial overdensity" in refusal(region, Selection(m200_min=1e13, subhalos=True))
    assert candidates_of(region) == []
    write_catalogue(
        next(region.glob("*AHF_halos")),
        *({"ID": str(n), "ovdens": "500.1"} for n in (1, 2)),
        columns=[*COLUMNS, "ovdens"],
    )
    assert "its halos have a median overdensity (ovdens) of 500.1, not 200; run AHF with 200 times" in refusal(region)


def test_halos_whose_radius_is_not_r200_are_left_out(tmp_path: Path) -> None:
    rows = [
        fitting(ID="1", ovdens="199.9"),
        fitting(ID="2", hostHalo="1", ovdens="199.2"),  # in another, but whole
        fitting(ID="3", hostHalo="1", Mvir="2e13", ovdens="1120.1", Rvir="248.6", R_500="150"),
        fitting(ID="4", ovdens="160.5", npart="9999"),
        fitting(ID="5", ovdens="180.5", npart="300", Rvir="616", R_500="400"),  # of few particles
    ]
    folder = tmp_path / "region_0001"
    path = folder / "region_0001.snap_000.z0.000.AHF_halos"
    write_catalogue(path, *rows, columns=[*COLUMNS, "ovdens", "npart"])
    write_snapshot(folder / "snap_000.hdf5")
    assert [halo.halo_id for halo in candidates_of(folder)] == [1, 2, 5]
    write_catalogue(path, rows[0], rows[2], columns=COLUMNS)  # which tells by its radius
    assert [halo.halo_id for halo in candidates_of(folder)] == [1]
    write_catalogue(path, rows[2], columns=[*COLUMNS, "ovdens", "npart"])
    sources = find_sources([Simulation(folder=tmp_path, snapshots=[0], **SIMULATION)])
    with pytest.raises(InputError, match=r"subhalos \(their radius is not R200\) removed 1$"):
        check_some_are_left([], sources, CUTS)
    assert [halo.halo_id for halo in candidates_of(folder, Selection(m200_min=1e13, subhalos=True))] == [3]


@pytest.mark.parametrize("value", ["nan", "0", "-1", "inf"])
@pytest.mark.parametrize("column", ["M_gas", "M_star", "Rvir", "R_500", "fMhires", "Xc", "Mvir"])
def test_values_of_halos_that_nobody_selects_stop_nothing(column: str, value: str, tmp_path: Path) -> None:
    folder = tmp_path / "region_0001"
    light = HALO | {"ID": "2", "Mvir": "1e10"} | {column: value}
    write_catalogue(folder / "region_0001.snap_000.z0.000.AHF_halos", fitting(ID="1"), light)
    write_snapshot(folder / "snap_000.hdf5")
    if column == "Mvir" and value == "nan":
        assert "halo 2 (row 2): Mvir = nan cannot be" in refusal(folder)
    else:
        assert [halo.halo_id for halo in candidates_of(folder)] == [1]
