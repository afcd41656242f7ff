"""Maps of a file as they are seen: chance that nothing but the map decides, and what cannot be seen is refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hpc_massmap.config import Config, Observe, load_config
from hpc_massmap.dataset.batches import Batches
from hpc_massmap.dataset.mapfile import MapFile, open_maps
from hpc_massmap.dataset.normalisation import fit_normalisation
from hpc_massmap.errors import InputError
from hpc_massmap.observe.observation import Observation, observed
from hpc_massmap.yamlfile import validated
from tests.synthetic import write_synthetic_maps

INSTRUMENTS = sorted(Path("configs/instruments").glob("*.yaml"))
VIEWS = ["sz", "xray", "star"]
SETTINGS: dict[str, Any] = {
    "redshift": [0.05, 0.3],
    "miscentring": 0.03,
    "r200_scatter": 0.1,
    "view_dropout": 0.3,
    "views": {
        "sz": {"beam": {"fwhm": 1.0}, "noise": {"depth": 10.0, "frequency": 150.0}},
        "xray": {"beam": {"fwhm": 0.5}, "counts": {"exposure": 1e4, "conversion": 1e11, "background": 1e-3}},
        "star": {"missing_pixels": 0.1},
    },
}
SOURCES = {"density": 1.0, "slope": 1.5, "faintest": 1e-12, "brightest": 1e-13}
BASE: dict[str, Any] = {"name": "x", "simulations": [{"name": "s", "folder": "f", "snapshots": [1]}]}


def observe_of(**changes: Any) -> Observe:
    return validated(Observe, SETTINGS | changes, {}, "a test")


@pytest.fixture(scope="module")
def maps(tmp_path_factory: pytest.TempPathFactory) -> MapFile:
    path = tmp_path_factory.mktemp("maps") / "maps.h5"
    write_synthetic_maps(path, regions=6, snapshots=1, projections=2)
    return open_maps(path)


def test_what_is_seen_of_a_map_depends_on_nothing_but_its_row_and_the_epoch(maps: MapFile) -> None:
    observation, rows = Observation(observe_of(), maps, VIEWS), np.array([7, 2, 11, 3])
    for epoch in (None, 0, 5):
        for view in VIEWS:
            together = observation.file(epoch).maps[view][rows]
            assert together.dtype == np.float32
            alone = np.stack([observation.file(epoch).maps[view][int(row)] for row in rows])
            np.testing.assert_array_equal(together, alone)
            np.testing.assert_array_equal(observation.file(epoch).maps[view][2:4], together[[1, 3]])
            assert not np.array_equal(together, maps.maps[view][rows])
    first, again, other = (observation.file(epoch).maps["sz"][rows] for epoch in (3, 3, 4))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    assert not np.array_equal(first, observation.file().maps["sz"][rows])
    other_seed = Observation(observe_of(seed=1), maps, VIEWS).file(3)
    assert not np.array_equal(first, other_seed.maps["sz"][rows])


def test_an_effect_changes_nothing_of_another_view_nor_of_the_target(maps: MapFile) -> None:
    whole = observed(maps, observe_of(), VIEWS)
    of_sz = observed(maps, observe_of(views={"sz": SETTINGS["views"]["sz"]}), VIEWS)
    np.testing.assert_array_equal(whole.maps["sz"][:4], of_sz.maps["sz"][:4])
    assert whole.maps["mass"] is maps.maps["mass"]
    assert whole.digest == maps.digest


@pytest.mark.parametrize("settings", [{}, {"redshift": 0.3}, {"seed": 4}, {"views": {"sz": {}}}])
def test_off_is_off(settings: dict[str, Any], maps: MapFile) -> None:
    assert observed(maps, validated(Observe, settings, {}, "a test"), VIEWS) is maps


def test_all_views_of_a_map_are_cut_at_one_place_and_seen_at_one_redshift(maps: MapFile) -> None:
    """The peak of views that are functions of the same map stays one peak, wherever it went."""
    seen = observed(maps, observe_of(views={}, miscentring=0.2), VIEWS)
    moved = 0
    for row in range(len(maps)):
        places = [np.unravel_index(seen.maps[view][row].argmax(), (80, 80)) for view in ("sz", "xray")]
        assert places[0] == places[1]
        moved += places[0] != np.unravel_index(maps.maps["sz"][row].argmax(), (80, 80))
    assert moved > len(maps) / 2
    observation = Observation(observe_of(), maps, VIEWS)
    drawn = observation.redshifts(np.arange(12), 2)
    assert ((drawn > 0.05) & (drawn < 0.3)).all()
    assert len(np.unique(drawn)) == 12
    np.testing.assert_array_equal(drawn, observation.redshifts(np.arange(12), 2))


def test_noise_and_photons_have_their_effect_on_a_file(maps: MapFile) -> None:
    """By hand, of the first map: ideal, through the beam, and noise of the depth at its redshift."""
    quiet = {"views": {"sz": {"noise": {"depth": 30.0, "frequency": 150.0}}}}
    observe = observe_of(redshift=0.1, miscentring=0.0, r200_scatter=0.0, **quiet)
    seen = observed(maps, observe, VIEWS)
    r200 = maps.halos["r200"][maps.halo]
    from astropy.cosmology import FlatLambdaCDM

    scale = FlatLambdaCDM(H0=67.77, Om0=0.307).kpc_proper_per_arcmin(0.1).value
    arcmin = r200 / 40 / scale
    noise = seen.maps["sz"][:] - maps.maps["sz"][:]
    np.testing.assert_allclose(noise.std(axis=(1, 2)), 30e-6 / 2.7255 / 0.953 / arcmin, rtol=0.04)


def test_two_ranks_see_what_one_sees(maps: MapFile) -> None:
    observe, rows = observe_of(), np.arange(12)
    seen = Observation(observe, maps, VIEWS).file(1)
    fitted = fit_normalisation(observed(maps, observe, VIEWS), rows, [*VIEWS, "mass"], "linear")
    data = (seen, rows, VIEWS, ["mass"], fitted, 4)
    alone = list(Batches(*data).shuffled(0, 1, None))
    ranks = [list(Batches(*data, rank, 2).shuffled(0, 1, None)) for rank in range(2)]
    for whole, *parts in zip(alone, *ranks, strict=True):
        np.testing.assert_array_equal(whole.views, np.concatenate([part.views for part in parts]))


def test_a_missing_view_is_drawn_for_each_map_by_itself_and_only_in_training(maps: MapFile) -> None:
    observation, rows = Observation(observe_of(), maps, VIEWS), np.arange(12)
    assert observation.there(rows, None).all()
    there = observation.there(rows, 2)
    assert 0 < (~there).sum() < there.size
    np.testing.assert_array_equal(there[[4, 1]], observation.there(np.array([4, 1]), 2))


@pytest.mark.parametrize("preset", INSTRUMENTS, ids=lambda path: path.stem)
def test_each_shipped_instrument_sees_a_file(preset: Path, maps: MapFile, tmp_path: Path) -> None:
    parents = [str(path.resolve()) for path in (Path("configs/multi3.yaml"), preset)]
    (tmp_path / "c.yaml").write_text(f"extends: {parents}\nname: c\n")
    config = load_config(tmp_path / "c.yaml", ["observe.redshift=0.05"])
    seen = observed(maps, config.observe, VIEWS)
    (view,) = config.observe.views
    assert np.isfinite(seen.maps[view][:3]).all()
    assert not np.array_equal(seen.maps[view][:3], maps.maps[view][:3])


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"observe": {"views": {"gas": {"missing_pixels": 0.1}}}}, r"observe.views: gas: not one of model.views"),
        ({"observe": {"views": {"sz": {"beam": {"fwhm": -1.0}}}}}, "fwhm = -1.0: must be greater than 0"),
        ({"observe": {"views": {"sz": {"baem": {"fwhm": 1.0}}}}}, "baem: unknown key; did you mean beam"),
        ({"observe": {"views": {"sz": {"noise": {"depth": -3.0, "frequency": 150.0}}}}}, "depth = -3.0"),
        ({"observe": {"views": {"sz": {"noise": {"depth": 3.0, "frequency": 217.0}}}}}, "away from 217 GHz"),
        ({"observe": {"redshift": 0.0, "views": {"sz": {"beam": {"fwhm": 1.0}}}}}, "has no angle on the sky"),
        (
            {"observe": {"views": {"xray": {"sources": SOURCES}}}},
            "faintest must be less than brightest",
        ),
        ({"observe": {"views": {"xray": {"sources": SOURCES | {"brightest": 1e-11}}}}}, "sources .* they need counts"),
        ({"observe": {"redshift": [0.3, 0.1]}}, r"must be halo, a redshift, or \[low, high\]"),
        (
            {
                "observe": {"views": {"sz": {"noise": {"depth": 3.0, "frequency": 150.0}}}},
                "train": {"normalisation": "log"},
            },
            "noise leaves pixels below 0",
        ),
    ],
)
def test_what_no_config_may_say(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says):
        validated(Config, BASE | {"model": {"views": ["sz", "xray"]}} | changes, {}, "c.yaml")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (
            {"views": {"star": {"counts": {"exposure": 1.0, "conversion": 1.0}}}},
            r"star maps are in 'h\^-1 .*, but .*star.counts is for such in '1e40",
        ),
        ({"views": {"xray": {"noise": {"depth": 1.0, "frequency": 90.0}}}}, "xray.noise is for such in '1'"),
        (
            {"views": {"xray": {"counts": {"exposure": 1e4, "conversion": 1e30}}}},
            r"observe: .* photons in a pixel; check exposure, conversion",
        ),
        ({"redshift": "halo"}, "halo 0 is at redshift 0, which has no angle on the sky; set observe.redshift"),
        (
            {"views": {"sz": {"beam": {"fwhm": 90.0}}}},
            r"sz.beam.fwhm = 90 is wider than the map of halo \d, [\d.]+ arcm",
        ),
    ],
)
def test_what_a_file_cannot_show_is_one_line(changes: dict[str, Any], says: str, maps: MapFile) -> None:
    with pytest.raises(InputError, match=says):
        observed(maps, observe_of(**changes), VIEWS)


def test_a_file_without_its_cosmology_has_no_angles(tmp_path: Path, maps: MapFile) -> None:
    from dataclasses import replace

    unsaid = replace(maps, attributes={key: value for key, value in maps.attributes.items() if key != "omega_m"})
    with pytest.raises(InputError, match="does not say its omega_m, by which observe knows angles"):
        observed(unsaid, observe_of(), VIEWS)
    observed(unsaid, observe_of(views={"star": {"missing_pixels": 0.1}}), VIEWS)  # which asks for none
