"""Which maps are found not to be like those that a network was made from: real halos of two codes, and faults."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from astropy.io import fits
from astropy.wcs import WCS

from hpc_massmap.apertures import means_in_rings
from hpc_massmap.arrays import FloatArray
from hpc_massmap.config import Maps, Selection, Simulation
from hpc_massmap.diagnostics import likeness
from hpc_massmap.diagnostics.likeness import UNLIKE, Reference, fit, with_faults
from hpc_massmap.diagnostics.view_features import FLOOR, LEAST, SMOOTHEST, features, mean_profiles
from hpc_massmap.maps import make
from hpc_massmap.maps.lines_of_sight import rotations
from hpc_massmap.predict.regrid import regrid
from hpc_massmap.sims.selection import candidates, find_sources
from hpc_massmap.sims.snapshot import read_snapshot

VIEWS = ["star", "sz", "xray"]
STAR, SZ, XRAY = range(3)
PARTS = 4  # of the regions, each left out of the reference that judges it
LINES = 4
ROSAT = Path("../shared/data/rosat_a3158/counts.fits.gz")


@dataclass(frozen=True)
class Halos:
    """Maps of halos, (n, 3, 80, 80), and the region of each."""

    maps: FloatArray
    region: npt.NDArray[np.str_]

    def of(self, chosen: npt.NDArray[np.bool_]) -> "Halos":
        return Halos(self.maps[chosen], self.region[chosen])


def drawn(folder: str, r200: float = 1.0, snapshot: int = 106) -> Halos:
    """The example's halos at z = 0 along four lines of sight, with an R200 that is wrong by a factor."""
    simulation = Simulation(name="a", folder=Path("examples") / folder, region="region_*", snapshots=[snapshot])
    maps, region = [], []
    for source in find_sources([simulation]):
        for halo in candidates(source, Selection(m200_min=1e13)):
            config = Maps(kernel="cubic_spline", adaptive_smoothing=32)
            found = make.halo_maps(
                read_snapshot(source.snapshot_file), replace(halo, r200=halo.r200 * r200), config, rotations(LINES)
            )
            maps.append(np.stack([found[view] for view in VIEWS], 1).astype(float))
            region += LINES * [source.region]
    return Halos(np.concatenate(maps), np.array(region))


def reference_by(halos: Halos) -> Reference:
    profiles = mean_profiles(means_in_rings(halos.maps))
    faulty = np.stack([features(maps, profiles) for maps in with_faults(halos.maps)])
    return fit(VIEWS[: len(profiles)], profiles, features(halos.maps, profiles), faulty, halos.region)


def is_left_out(halos: Halos, part: int = 0) -> npt.NDArray[np.bool_]:
    """A quarter of the regions of the example, by their numbers, which are the same in both codes."""
    numbers = np.array([int(name.rpartition("_")[2]) for name in halos.region])
    return np.asarray((numbers * 7 // 4 + numbers) % PARTS == part)


@pytest.fixture(scope="module")
def gadget() -> Halos:
    return drawn("gadget4_L50")


@pytest.fixture(scope="module")
def gizmo() -> Halos:
    return drawn("gizmo_L50")


@pytest.fixture(scope="module")
def references(gadget: Halos) -> list[Reference]:
    """Of GADGET-4, each without a quarter of the regions."""
    return [reference_by(gadget.of(~is_left_out(gadget, part))) for part in range(PARTS)]


def flagged(references: list[Reference], halos: Halos) -> float:
    """The share of maps that are found to be unlike, none of whose regions is in the reference."""
    found = [of.p_values(halos.of(is_left_out(halos, part)).maps) < UNLIKE for part, of in enumerate(references)]
    return float(np.concatenate(found).mean())


def changed(halos: Halos, view: int, factor: float = 1.0, flip: int = 1) -> Halos:
    maps = halos.maps.copy()
    maps[:, view] = factor * maps[:, view, :, ::flip]
    return Halos(maps, halos.region)


@pytest.mark.slow
def test_home_maps_are_flagged_as_seldom_as_is_promised(references: list[Reference], gadget: Halos) -> None:
    assert flagged(references, gadget) <= UNLIKE


@pytest.mark.slow
def test_the_other_code_is_found_whichever_trained(references: list[Reference], gadget: Halos, gizmo: Halos) -> None:
    assert flagged(references, gizmo) > 0.9
    other = reference_by(gizmo.of(~is_left_out(gizmo)))
    assert (other.p_values(gadget.of(is_left_out(gadget)).maps) < UNLIKE).mean() > 0.9


@pytest.mark.slow
@pytest.mark.parametrize(
    ("view", "factor", "least"),
    [(SZ, 1e3, 0.95), (SZ, 1e-3, 0.95), (XRAY, 1e3, 0.95), (XRAY, 1e-3, 0.95), (STAR, 1e3, 0.6)],
)
def test_units_that_are_wrong_by_a_thousand_are_found(
    references: list[Reference], gadget: Halos, view: int, factor: float, least: float
) -> None:
    assert flagged(references, changed(gadget, view, factor)) > least  # many of these halos have hardly any stars


@pytest.mark.slow
@pytest.mark.parametrize(("factor", "least"), [(0.7, 0.8), (1.3, 0.65)])
def test_a_wrong_radius_is_found(
    references: list[Reference], monkeypatch: pytest.MonkeyPatch, factor: float, least: float
) -> None:
    monkeypatch.setattr(make, "_check_mass", lambda *of: None)  # which refuses it where there is a catalogue
    assert flagged(references, drawn("gadget4_L50", factor)) > least


@pytest.mark.slow
def test_a_flipped_view_is_found_more_often_than_chance_has_it(references: list[Reference], gadget: Halos) -> None:
    assert flagged(references, changed(gadget, XRAY, flip=-1)) > 0.25


@pytest.mark.slow
def test_a_blank_field_and_one_without_a_view_are_found(references: list[Reference], gadget: Halos) -> None:
    assert flagged(references, Halos(0 * gadget.maps, gadget.region)) == 1
    assert flagged(references, changed(gadget, XRAY, 0.0)) > 0.95
    assert flagged(references, changed(gadget, SZ, 0.0)) > 0.95


@pytest.mark.slow
def test_photons_are_found_even_if_they_are_as_bright(references: list[Reference], gadget: Halos) -> None:
    maps, rng = gadget.maps.copy(), np.random.default_rng(1)
    total = maps[:, XRAY].sum((1, 2), keepdims=True)
    maps[:, XRAY] = rng.poisson(maps[:, XRAY] / total * 5000) * total / 5000
    assert flagged(references, Halos(maps, gadget.region)) > 0.95


@pytest.mark.slow
def test_a_rosat_image_is_found_even_if_it_is_as_bright(references: list[Reference], gadget: Halos) -> None:
    if not ROSAT.exists():
        pytest.skip(f"{ROSAT} is not there: it may not be given away with the project")
    with fits.open(ROSAT) as file:
        image = next(hdu for hdu in file if hdu.data is not None)
        column, row = WCS(image.header, naxis=2).all_world2pix(55.714, -53.628, 1)  # its peak
        photons = regrid(image.data.astype(float), float(column), float(row), 102.6)  # R200 of 1766 kpc at z = 0.0597
    maps = gadget.maps.copy()
    maps[:, XRAY] = photons * (maps[:, XRAY].mean((1, 2)) / photons.mean())[:, None, None]
    assert flagged(references, Halos(maps, gadget.region)) > 0.95


def toy(regions: int, maps: int, seed: int, spread: float = 0.2) -> Halos:
    """Round halos with noise of their own; all maps of a region share its brightness and slope."""
    rng = np.random.default_rng(seed)
    radius = np.hypot(*np.meshgrid(np.linspace(-1, 1, 80), np.linspace(-1, 1, 80)))
    found, names = [], []
    for number in range(regions):
        slope, bright = 1.5 + spread * rng.normal(), 10 ** (spread * rng.normal(size=2))
        for _ in range(maps):
            pixels = bright[:, None, None] * (0.1 + radius) ** -slope * rng.lognormal(0, 0.1, (2, 80, 80))
            found.append(pixels)
            names.append(f"region_{number:04d}")
    return Halos(np.array(found), np.array(names))


def test_p_values_of_new_regions_are_seldom_small() -> None:
    """Over draws of the home regions, too: that is what is promised; a p-value by map would be small ever so often."""
    small, by_map = [], []
    for seed in range(4):
        known, new = toy(22, 3, seed), toy(20, 2, 100 + seed)
        reference = reference_by(known)
        small.append(reference.p_values(new.maps) < UNLIKE)
        assert reference.p_values(new.maps).min() >= 1 / 23
        scores = np.concatenate(reference.scores)
        by_map.append(len(scores))
    assert np.mean(small) <= 2 * UNLIKE
    assert by_map == [66] * 4


def test_a_p_value_counts_regions_and_not_maps() -> None:
    """By hand: a share of each region, however many maps it has, and one for the map itself."""
    known = toy(20, 2, 1)
    reference = reference_by(known)
    new = toy(3, 1, 2).maps
    found = features(new, reference.profiles)
    expected = []
    for n in range(len(new)):
        total = 1.0
        for fold, scores in zip(reference.fold, reference.scores, strict=True):
            own = likeness._score(reference.folds[fold], found[n : n + 1])[0]
            total += sum(score >= own for score in scores) / len(scores)
        expected.append(total / 21)
    np.testing.assert_allclose(reference.p_values(new), expected, rtol=1e-12)


def test_the_region_that_is_scored_does_not_teach_its_own_score() -> None:
    """One that is like no other would be more like them if it were in."""
    known = toy(20, 3, 1)
    odd = known.region == "region_0007"
    maps = known.maps.copy()
    maps[odd] = maps[odd, ::-1] * np.array([50.0, 1.0])[None, :, None, None]
    reference = reference_by(Halos(maps, known.region))
    found = features(maps[odd], reference.profiles)
    by_its_own = [likeness._score(fold, found).max() for n, fold in enumerate(reference.folds) if n != 7]
    assert reference.scores[7].max() > 1.1 * max(by_its_own)


def test_many_regions_are_left_out_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(likeness, "FOLDS", 5)
    reference = reference_by(toy(22, 2, 1))
    assert len(reference.folds) == 5
    assert np.bincount(reference.fold).tolist() == [5, 5, 4, 4, 4]
    assert (reference.p_values(1e3 * toy(4, 1, 3).maps[:, ::-1] ** 2) < UNLIKE).all()


def test_features_are_those_that_a_loop_finds() -> None:
    maps = toy(1, 2, 5).maps
    maps[0, 0, :20] = 0
    profiles = mean_profiles(means_in_rings(maps))
    radius = np.array([[np.hypot(i - 39.5, j - 39.5) / 40 for j in range(80)] for i in range(80)])
    ring = np.minimum(np.ceil(radius * 10 - 1e-9).astype(int) - 1, 10)
    for one, found in zip(maps, features(maps, profiles), strict=True):
        expected, residuals = [], []
        for view in range(2):
            expected += [np.log10(one[view][ring == k].mean() / profiles[view, k] + FLOOR) for k in range(11)]
        logs = np.log10(one / profiles[:, ring] + FLOOR)
        for view in range(2):
            rough = np.zeros((80, 80))
            for i in range(1, 79):
                for j in range(1, 79):
                    four = logs[view, i - 1, j] + logs[view, i + 1, j] + logs[view, i, j - 1] + logs[view, i, j + 1]
                    rough[i, j] = abs(four - 4 * logs[view, i, j])
            for part in (ring < 3, (ring >= 3) & (ring < 10), ring == 10):
                expected.append(np.log10(rough[part].mean() + SMOOTHEST))
            means = np.array([logs[view][ring == k].mean() for k in range(11)])
            residuals.append((logs[view] - means[ring])[ring < 10])
        correlation = np.sum(residuals[0] * residuals[1]) / np.sqrt(
            np.sum(residuals[0] ** 2) * np.sum(residuals[1] ** 2)
        )
        np.testing.assert_allclose(found, [*expected, np.arctanh(0.99 * correlation)], rtol=1e-9)


def test_a_view_that_is_empty_in_a_ring_or_everywhere_has_features() -> None:
    maps = toy(1, 3, 1).maps
    maps[:, 0, 35:45, 35:45] = 0
    profiles = mean_profiles(means_in_rings(maps))
    assert (profiles > 0).all()
    assert profiles[0, 0] == pytest.approx(LEAST * profiles[0].max())
    assert np.isfinite(features(0 * maps, profiles)).all()
    assert (mean_profiles(means_in_rings(0 * maps)) == 1).all()
