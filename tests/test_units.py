"""Our files in the hands of others: plain astropy, h5py and xarray get the physical number, or say that they cannot."""

from pathlib import Path

import astropy.cosmology.units as cu
import astropy.units as u
import h5py
import numpy as np
import pytest
from astropy.io import fits

from hpc_massmap.dataset.mapfile import HALO_COLUMNS, MapFile, content_digest, open_maps
from hpc_massmap.jobs import predict
from hpc_massmap.units import from_file, to_file
from hpc_massmap.views import UNITS
from tests.synthetic import write_synthetic_maps
from tests.trained_run import write_run

BEFORE = "h^-1 Msun kpc^-2"  # of files of earlier versions


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    config = write_run(tmp_path_factory.mktemp("run"))
    predict.main([str(config)])
    return config


@pytest.fixture(scope="module")
def maps(config: Path) -> MapFile:
    return open_maps(config.parent / "maps.h5")


def physical(value: float, text: str, h: float) -> float:
    """A value in Msun/kpc^2, by astropy alone."""
    with u.add_enabled_units(cu):
        quantity = value * u.Unit(text)
        return float(quantity.to_value(u.Msun / u.kpc**2, equivalencies=cu.with_H0(100 * h * u.km / u.s / u.Mpc)))


def test_what_was_written_was_hours_and_is_not_any_more() -> None:
    assert u.Unit(BEFORE).is_equivalent(u.Msun / u.hour / u.kpc**2)  # as astropy reads it, and nobody is told
    with pytest.raises(ValueError, match="littleh"):
        u.Unit(to_file(BEFORE))
    assert physical(1.0, to_file(BEFORE), 0.7) == pytest.approx(1 / 0.7)
    for unit in (*UNITS.values(), *(unit for _, unit in HALO_COLUMNS.values())):
        assert from_file(to_file(unit)) == unit
    assert to_file("1e40 erg s^-1 kpc^-2") == "1e40 erg s^-1 kpc^-2"


def test_h5py_and_astropy_get_the_physical_number(maps: MapFile) -> None:
    with h5py.File(maps.path) as file:
        pixel, unit, h = file["maps/mass"][3, 40, 41], file["maps/mass"].attrs["unit"], file.attrs["h"]
        mass, of_mass = file["halo/m200"][0], file["halo/m200"].attrs["unit"]
        assert [scale.label for scale in file["maps/mass"].dims] == ["", "", ""]
        assert [next(iter(scale.keys())) for scale in file["maps/mass"].dims] == ["map", "y", "x"]
        np.testing.assert_allclose(file["x"][:], (np.arange(80) - 39.5) / 40)
    assert physical(pixel, unit, h) == pytest.approx(maps.maps["mass"][3, 40, 41] / h)
    with u.add_enabled_units(cu):
        assert u.Unit(of_mass) == u.Msun / cu.littleh
    assert mass == maps.halos["m200"][0]


def test_xarray_reads_names_of_axes_and_units(maps: MapFile) -> None:
    xarray = pytest.importorskip("xarray")
    pytest.importorskip("h5netcdf")
    with xarray.open_dataset(maps.path, group="maps", engine="h5netcdf", phony_dims="access") as found:
        assert found["mass"].dims == ("map", "y", "x")
        assert found["mass"].attrs["units"] == "littleh^-1 Msun kpc^-2"
        np.testing.assert_array_equal(found["mass"][3], maps.maps["mass"][3])


def test_files_of_earlier_versions_are_the_same_data(tmp_path: Path) -> None:
    """As their digest says, which covers the units."""
    path = tmp_path / "maps.h5"
    write_synthetic_maps(path, regions=3, snapshots=1, projections=2)
    digest = open_maps(path).digest
    with h5py.File(path, "r+") as file:
        for name in ("map", "y", "x"):
            del file[name]
        for name in ("maps/mass", "maps/star"):
            file[name].attrs["unit"] = BEFORE
            del file[name].attrs["units"]
        file["halo/m200"].attrs["unit"] = "h^-1 Msun"
        assert content_digest(file) == digest
    opened = open_maps(path, check_values=True)
    assert opened.units["mass"] == BEFORE
    assert opened.digest == digest


def test_predictions_have_the_halos_they_are_of(config: Path, maps: MapFile) -> None:
    with h5py.File(config.parent / "runs" / "small" / "predictions.h5") as file:
        rows, halo = file["index/row"][:], file["index/halo"][:]
        np.testing.assert_array_equal(file["halo/number"][:][halo], maps.halo[rows])
        np.testing.assert_array_equal(file["index/projection"][:], maps.projection[rows])
        np.testing.assert_array_equal(file["halo/m200"][:][halo], maps.halos["m200"][maps.halo[rows]])
        assert set(file["halo"]) == {*HALO_COLUMNS, "number"}
        assert len(file["halo/m200"]) < len(maps.halos["m200"])
        h = file.attrs["h"]
        assert physical(1.0, file["predictions/mass"].attrs["unit"], h) == pytest.approx(1 / h)


@pytest.mark.parametrize("h", [None, 0.7])
def test_a_fits_file_is_in_plain_units_or_in_none_that_is_taken_for_another(
    config: Path, maps: MapFile, tmp_path: Path, h: float | None
) -> None:
    """With h known, pixels without it; else a unit that plain readers do not know, instead of hours."""
    for view in ("sz", "star"):
        header = fits.Header({"R200": "40 pix", "BUNIT": maps.units[view]})
        if h is not None:
            header["HUBBLE"] = h
        fits.PrimaryHDU(maps.maps[view][0], header).writeto(tmp_path / f"A1_{view}.fits")
    predict.main([str(config), "--maps", str(tmp_path), "--out", str(tmp_path / "out")])
    header = fits.getheader(tmp_path / "out" / "A1_mass.fits")
    if h is None:
        assert header["BUNIT"] == "littleh^-1 Msun kpc^-2"
    else:
        assert u.Unit(header["BUNIT"], format="fits") == u.Msun / u.kpc**2
        assert header["HUBBLE"] == h
