"""What b200 goes with, between simulations, and the floor: on made-up data that have a known answer."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from scipy.stats import spearmanr

from hpc_massmap.arrays import PIXELS, FloatArray
from hpc_massmap.config import Evaluate
from hpc_massmap.dataset.mapfile import MapFile, open_maps
from hpc_massmap.dataset.writing import write_map_file
from hpc_massmap.errors import InputError
from hpc_massmap.metrics.crosschecks import centroid_offsets, crossings, over_halos, simulations_of, trend, trends
from hpc_massmap.metrics.driver import evaluate
from hpc_massmap.metrics.floor import (
    BINS,
    FEWEST,
    N_RINGS,
    RINGS,
    Floor,
    candidates,
    floor_of,
    mass_inside,
    mean_profiles,
    radial_profiles,
    straight_line,
    sums_of,
)
from hpc_massmap.metrics.predictions import Predictions, read_predictions
from hpc_massmap.metrics.profiles import Profiles
from hpc_massmap.metrics.results import Metrics
from hpc_massmap.mpi import communicator
from hpc_massmap.views import UNITS

from .made_up import write_predictions

N_HALOS, VIEWS = 60, 2
POSITION = (np.arange(PIXELS) - (PIXELS - 1) / 2) / (PIXELS / 2)
RADIUS = np.hypot(POSITION[:, None], POSITION[None, :])
ONE_SHAPE = 1 / (0.1 + RADIUS) ** 2


@pytest.fixture(scope="module")
def maps(tmp_path_factory: pytest.TempPathFactory) -> MapFile:
    """Halos of one shape and of many masses; the stars are a power of the mass, the gas fraction falls with it."""
    rng = np.random.default_rng(2)
    log_m200 = rng.uniform(13.6, 15.3, N_HALOS)
    r200 = 900 * 10 ** ((log_m200 - 14) / 3)
    halos = {
        "simulation": ["one", "two"] * (N_HALOS // 2),
        "region": [f"region_{n}" for n in range(N_HALOS)],
        "snapshot": [1] * N_HALOS,
        "redshift": np.zeros(N_HALOS),
        "halo_id": np.arange(N_HALOS),
        "m200": 10**log_m200,
        "r200": r200,
        "r500": 0.65 * r200,
        "f_gas": 0.2 - 0.02 * (log_m200 - 13),
        "f_star": rng.permutation(np.linspace(0.01, 0.03, N_HALOS)),
    }
    density = 10 ** (8 + (log_m200 - 14) / 3)
    stacks = [
        {
            "mass": np.stack([d * ONE_SHAPE] * VIEWS).astype(np.float32),
            "star": np.stack([1e-4 * d**1.3 * ONE_SHAPE * (1 + 0.01 * v) for v in range(VIEWS)]).astype(np.float32),
        }
        for d in density
    ]
    rotations = np.broadcast_to(np.eye(3), (VIEWS, 3, 3))
    path = tmp_path_factory.mktemp("maps") / "maps.h5"
    write_map_file(path, ["mass", "star"], halos, rotations, stacks, {"h": 0.7}, UNITS)
    return open_maps(path)


TRAIN, VALIDATION, TEST = np.arange(0, 70), np.arange(70, 80), np.arange(80, 120)
SETTINGS = Evaluate(mass_intervals=[13.5, 14.4, 15.4])


def predicted(maps: MapFile, path: Path, error: Callable[[int], float] = lambda halo: 0.0) -> Predictions:
    """Predictions of the test maps that are wrong by a factor for each halo."""
    factor = np.array([1 + error(int(halo)) for halo in maps.halo[TEST]], np.float32)[:, None, None]
    write_predictions(path, maps, TEST, {"mass": maps.maps["mass"][TEST] * factor})
    return read_predictions(path, maps)


def metrics_of(predictions: Predictions) -> Metrics:
    with communicator() as comm:
        metrics = evaluate(predictions, SETTINGS, comm, on_map=lambda: None)
    assert metrics is not None
    return metrics


def floor(predictions: Predictions, train: Any = TRAIN) -> Floor:
    with h5py.File(predictions.path, "a") as file:
        file.require_dataset("index/train", len(train), int, data=train)
        file.require_dataset("index/validation", len(VALIDATION), int, data=VALIDATION)
        file.attrs["views"] = ["star"]
    with communicator() as comm:
        found = floor_of(predictions, comm)
    assert found is not None
    return found


@pytest.fixture(scope="module")
def off_by_stars(maps: MapFile, tmp_path_factory: pytest.TempPathFactory) -> Metrics:
    """The bias of each halo is 10 times its stellar fraction less 0.2."""
    f_star = maps.halos["f_star"]
    return metrics_of(predicted(maps, tmp_path_factory.mktemp("p") / "p.h5", lambda halo: 10 * f_star[halo] - 0.2))


def test_a_bias_that_follows_a_property_is_found(maps: MapFile, off_by_stars: Metrics) -> None:
    by_name = {one.name: one for one in trends(off_by_stars, maps, "mass")}
    assert set(by_name) == {"f_gas", "f_star", "centroid_offset"}
    stars = by_name["f_star"]
    assert stars.correlation == pytest.approx(1)
    assert stars.halos == [5, 5, 5, 5]
    halos = np.unique(maps.halo[TEST])
    of_halos = np.sort(maps.halos["f_star"][halos])
    np.testing.assert_allclose(stars.median, np.median(of_halos.reshape(4, 5), axis=1))
    np.testing.assert_allclose([b.median for b in stars.b200], 10 * stars.median - 0.2, atol=1e-6)
    assert [int(b.count) for b in stars.b200] == [10, 10, 10, 10]
    gas = by_name["f_gas"]
    bias = 10 * maps.halos["f_star"][halos] - 0.2
    assert gas.correlation == pytest.approx(spearmanr(maps.halos["f_gas"][halos], bias).statistic)
    assert gas.at_fixed_mass == 0  # a function of mass alone


def test_what_mass_explains_is_not_blamed_on_another(maps: MapFile, tmp_path: Path) -> None:
    log_m200 = np.log10(maps.halos["m200"])
    metrics = metrics_of(predicted(maps, tmp_path / "p.h5", lambda halo: 0.1 * (log_m200[halo] - 14.5)))
    noise = np.random.default_rng(1).normal(0, 0.1, N_HALOS)
    found = trend(metrics, "mass", "f_gas", (log_m200 + noise)[maps.halo[TEST]])
    assert found is not None
    assert found.correlation > 0.9
    assert found.at_fixed_mass == 0


def test_nothing_is_said_of_few_halos_or_of_a_constant(maps: MapFile, off_by_stars: Metrics) -> None:
    values = np.where(maps.halo[TEST] < 47, 1.0 * maps.halo[TEST], np.nan)
    assert trend(off_by_stars, "mass", "f_gas", values) is None
    assert trend(off_by_stars, "mass", "f_gas", np.ones(len(TEST))) is None


def test_a_centroid_is_where_the_mass_is(maps: MapFile) -> None:
    shifted = np.zeros((2, PIXELS, PIXELS), np.float32)
    shifted[0, 40, 55] = 3  # x = 0.5 pixels, y = 15.5 pixels from the centre
    shifted[1, 39:41, 39:41] = 1
    shifted[1, 0, 0] = 100  # outside R200
    offsets = centroid_offsets(replace(maps, maps={"mass": shifted}), np.arange(2))
    np.testing.assert_allclose(offsets, [np.hypot(0.5, 15.5) / 40, 0], atol=1e-12)
    np.testing.assert_allclose(over_halos(np.array([3.0, 1.0, 4.0]), np.array([7, 2, 7])), np.sqrt([12.5, 1, 12.5]))


def test_the_matrix_has_a_row_for_each_model_and_simulation(maps: MapFile, tmp_path: Path) -> None:
    metrics = metrics_of(predicted(maps, tmp_path / "p.h5", lambda halo: 0.1 if halo % 2 else -0.05))
    rows = crossings([(simulations_of(maps, TRAIN), metrics), ("one", metrics)], "mass")
    assert [(row.trained_on, row.tested_on, row.halos) for row in rows] == [
        ("one + two", "one", 10), ("one + two", "two", 10), ("one", "one", 10), ("one", "two", 10)
    ]  # fmt: skip
    np.testing.assert_allclose([row.b200.median for row in rows], [-0.05, 0.1] * 2, atol=1e-6)
    assert simulations_of(maps, np.arange(0, N_HALOS * VIEWS, 2 * VIEWS)) == "one"


def test_the_floor_is_right_where_richness_says_all(maps: MapFile, tmp_path: Path) -> None:
    under = floor(predicted(maps, tmp_path / "p.h5"))
    found, true = under.block("mass", slice(0, len(TEST)))
    inner = np.abs(np.log10(maps.halos["m200"][maps.halo[TEST]]) - 14.45) < 0.5  # not beyond the outermost bins
    rings = radial_profiles(true[inner])[:, RINGS]
    np.testing.assert_allclose(found[inner], rings, rtol=0.02)  # a line of sight more or less shifts the stars
    b200 = metrics_of(under).targets["mass"][Profiles].bias[inner, -1]
    assert np.abs(b200).max() < 0.02


def test_the_floor_knows_the_training_maps_alone(maps: MapFile, tmp_path: Path) -> None:
    predictions = predicted(maps, tmp_path / "p.h5")
    doubled = np.array(maps.maps["mass"])
    doubled[TEST] *= 2
    other = replace(predictions, maps=replace(maps, maps={**maps.maps, "mass": doubled}))
    part = slice(0, len(TEST))
    np.testing.assert_array_equal(floor(other).block("mass", part)[0], floor(predictions).block("mass", part)[0])
    with h5py.File(predictions.path, "a") as file:
        del file["index/train"]
    with pytest.raises(InputError, match="map 80 is in the training and the test set"):
        floor(predictions, np.arange(0, 81))


def by_loop(richness: FloatArray, profiles: FloatArray, wanted: float) -> FloatArray:
    """A profile at a richness, one bin after the other."""
    order = sorted(range(len(richness)), key=lambda n: richness[n])
    n_bins = min(BINS, max(1, len(order) // FEWEST))
    bins = [list(part) for part in np.array_split(order, n_bins)]
    centres = [float(np.mean([richness[n] for n in part])) for part in bins]
    means = [np.mean([profiles[n] for n in part], axis=0) for part in bins]
    if wanted <= centres[0]:
        return np.asarray(means[0])
    for low in range(n_bins - 1):
        if wanted <= centres[low + 1]:
            part = (wanted - centres[low]) / (centres[low + 1] - centres[low])
            return np.asarray((1 - part) * means[low] + part * means[low + 1])
    return np.asarray(means[-1])


@pytest.mark.parametrize("n", [5, 97, 400])
def test_mean_profiles_are_those_of_a_loop(n: int) -> None:
    rng = np.random.default_rng(n)
    richness, profiles = rng.normal(0, 1, n), rng.lognormal(0, 1, (n, N_RINGS))
    wanted = rng.normal(0, 1.5, 12)
    found = mean_profiles(richness, profiles).at(wanted)
    for one, value in zip(found, wanted, strict=True):
        np.testing.assert_allclose(one, by_loop(richness, profiles, value), rtol=1e-12)


def test_a_radial_profile_is_the_mean_of_each_ring() -> None:
    pixels = np.random.default_rng(1).lognormal(0, 1, (2, PIXELS, PIXELS))
    found = radial_profiles(pixels)
    for ring in range(N_RINGS):
        inside = (ring / 40 <= RADIUS) & ((ring + 1) / 40 > RADIUS)
        np.testing.assert_allclose(found[:, ring], pixels[:, inside].mean(axis=1))


def with_views(maps: MapFile, path: Path, noise: dict[str, tuple[float, int]]) -> Predictions:
    """Views that follow the mass to a power, each with its own scatter (dex) from one map to the next."""
    total = mass_inside(radial_profiles(maps.maps["mass"][:].astype(np.float64)))
    stacks: dict[str, Any] = {"mass": np.asarray(maps.maps["mass"][:])}
    for name, (scatter, seed) in noise.items():
        off = np.random.default_rng(seed).normal(0, scatter, len(total))
        stacks[name] = ((total / 1e10) ** 1.4 * 10**off)[:, None, None] * ONE_SHAPE
    predictions = replace(predicted(maps, path), maps=replace(maps, maps=stacks))
    with h5py.File(path, "a") as file:
        file["index/train"], file["index/validation"] = TRAIN, VALIDATION
        file.attrs["views"] = list(noise)
    return predictions


def chosen(predictions: Predictions) -> tuple[Floor, float]:
    """The floor and the scatter of its b200."""
    with communicator() as comm:
        found = floor_of(predictions, comm)
    assert found is not None
    return found, float(np.std(metrics_of(found).targets["mass"][Profiles].bias[:, -1]))


def test_the_floor_takes_the_view_that_tells_the_mass_best(maps: MapFile, tmp_path: Path) -> None:
    """It took stars wherever a model had them, however much they scatter."""
    found, scatter = chosen(with_views(maps, tmp_path / "p.h5", {"star": (0.3, 1), "sz": (0.0, 2)}))
    assert found.best["mass"].views in (["sz"], ["star", "sz"])
    assert scatter < 0.01
    assert "(mean |b200| on validation maps: stars 0." in found.name


def test_several_views_together_scatter_less_than_each(maps: MapFile, tmp_path: Path) -> None:
    noise = {"star": (0.1, 1), "sz": (0.1, 2), "xray": (0.1, 3)}
    found, scatter = chosen(with_views(maps, tmp_path / "p.h5", noise))
    assert found.best["mass"].views == ["star", "sz", "xray"]
    _, alone = chosen(with_views(maps, tmp_path / "q.h5", {"sz": (0.1, 2)}))
    assert scatter < 0.75 * alone


def test_the_views_are_chosen_on_validation_maps_alone(maps: MapFile, tmp_path: Path) -> None:
    predictions = with_views(maps, tmp_path / "p.h5", {"star": (0.0, 1), "sz": (0.0, 2)})
    stacks: dict[str, Any] = {**predictions.maps.maps, "star": np.array(predictions.maps.maps["star"])}
    stacks["star"][VALIDATION] *= np.random.default_rng(3).lognormal(0, 1, len(VALIDATION))[:, None, None]
    found, _ = chosen(replace(predictions, maps=replace(predictions.maps, maps=stacks)))
    assert found.best["mass"].views == ["sz"]


def test_a_straight_line_is_that_of_numpy() -> None:
    rng = np.random.default_rng(4)
    x, y = rng.normal(3, 2, (50, 4)), rng.normal(0, 1, 50)
    slopes, offset = straight_line(x, y)
    expected = np.linalg.lstsq(np.column_stack([x, np.ones(50)]), y, rcond=None)[0]
    np.testing.assert_allclose([*slopes, offset], expected, rtol=1e-4, atol=1e-6)
    same = straight_line(np.column_stack([x[:, 0], x[:, 0], np.ones(50)]), y)  # no line of their own
    assert np.isfinite([*same[0], same[1]]).all()


def test_sums_are_those_of_a_loop(maps: MapFile) -> None:
    found = sums_of(maps, np.array([3, 0]), ["star", "mass"])
    for n, row in enumerate((3, 0)):
        sums = [
            float(maps.maps[view][row][radius >= RADIUS].sum(dtype=np.float64))
            for view in ("star", "mass")
            for radius in (0.25, 0.5, 1)
        ]
        np.testing.assert_allclose(found[n], sums, rtol=1e-12)
    assert candidates(["star"]) == [["star"]]


def test_a_map_has_the_same_floor_whatever_its_neighbours(maps: MapFile, tmp_path: Path) -> None:
    """Ranks cut the test set otherwise."""
    found, _ = chosen(with_views(maps, tmp_path / "p.h5", {"star": (0.1, 1), "sz": (0.1, 2)}))
    together = found.block("mass", slice(0, 7))[0]
    alone = [found.block("mass", slice(n, n + 1))[0][0] for n in range(7)]
    np.testing.assert_array_equal(together, alone)
    rows = np.arange(5)
    of_each = np.concatenate([sums_of(maps, rows[n : n + 1], ["star"]) for n in rows])
    np.testing.assert_array_equal(sums_of(maps, rows, ["star"]), of_each)


def test_empty_maps_have_a_floor(maps: MapFile, tmp_path: Path) -> None:
    predictions = with_views(maps, tmp_path / "p.h5", {"star": (0.0, 1)})
    stacks: dict[str, Any] = {**predictions.maps.maps, "star": np.array(predictions.maps.maps["star"])}
    stacks["star"][[0, 90]] = 0
    with communicator() as comm:
        found = floor_of(replace(predictions, maps=replace(predictions.maps, maps=stacks)), comm)
        nothing = replace(predictions.maps, maps={name: np.zeros_like(stack) for name, stack in stacks.items()})
        under_nothing = floor_of(replace(predictions, maps=nothing), comm)
    for one in (found, under_nothing):
        assert one is not None
        assert np.isfinite(one.block("mass", slice(0, 20))[0]).all()
