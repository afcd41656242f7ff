"""What the figures draw is what the summary says, and an interval without halos says so."""

from dataclasses import replace

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import FillBetweenPolyCollection
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from hpc_massmap.config import Model
from hpc_massmap.metrics import summary
from hpc_massmap.metrics.mmd import Mmd
from hpc_massmap.metrics.pixels import Pixels
from hpc_massmap.metrics.power import Power
from hpc_massmap.metrics.profiles import Profiles
from hpc_massmap.metrics.sample import interval_labels
from hpc_massmap.report import contents, curves, figures, style
from hpc_massmap.report.examples import read_examples, typical_maps
from hpc_massmap.report.gallery import example_figure
from hpc_massmap.report.inputs import Inputs

COLOUR = style.COLOURS["sz"]


def lines(panel: Axes) -> list[np.ndarray[tuple[int, ...], np.dtype[np.float64]]]:
    """The drawn lines of more than two points, in the model's colour."""
    drawn = [line for line in panel.get_lines() if to_hex(str(line.get_color())) == COLOUR.lower()]
    return [points for points in (np.array(line.get_xydata()) for line in drawn) if len(points) > 2]


def band(panel: Axes) -> set[tuple[float, float]]:
    """The corners of the last drawn band."""
    found = [item for item in panel.collections if isinstance(item, FillBetweenPolyCollection)]
    return {(float(x), float(y)) for x, y in np.array(found[-1].get_paths()[0].vertices)}


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for panel in figure.axes for text in panel.texts]


def bias(inputs: Inputs, target: str = "mass") -> Figure:
    metrics = inputs.metrics
    profiles, labels = summary.bias_by_mass(metrics, "mass"), interval_labels(metrics)
    radii = metrics.targets["mass"][Profiles].radii
    return figures.bias_figure(radii, profiles, labels, contents.halos_by_mass(metrics), target, COLOUR)


def test_bias_profiles(inputs: Inputs) -> None:
    figure, profiles = bias(inputs), summary.bias_by_mass(inputs.metrics, "mass")
    radii = inputs.metrics.targets["mass"][Profiles].radii
    for panel, profile in zip(figure.axes[:3], profiles, strict=False):
        np.testing.assert_array_equal(lines(panel)[0], np.stack([radii, profile.median], axis=1))
        assert set(zip(radii, profile.p16, strict=True)) | set(zip(radii, profile.p84, strict=True)) <= band(panel)


def test_bias_is_called_after_what_is_predicted(inputs: Inputs) -> None:
    names = {"mass": "mass", "sz": "integrated Compton-y", "xray": "X-ray luminosity", "gas": "integrated gas"}
    for target, name in names.items():
        assert bias(inputs, target).axes[0].get_ylabel() == f"{name} bias $b(R)$"


def test_interval_without_halos_says_so(inputs: Inputs) -> None:
    figure = bias(inputs)
    assert not lines(figure.axes[-1])
    assert texts(figure)[-1] == "no test halos"


def test_pixels(inputs: Inputs) -> None:
    apertures = inputs.metrics.targets["mass"][Pixels].apertures
    figure = figures.pixel_figure(apertures, COLOUR)
    for panel, pixels in zip(figure.axes, apertures.values(), strict=True):
        values, edges, _ = panel.patches[-1].get_data()  # type: ignore[attr-defined]
        np.testing.assert_array_equal(values, pixels.density)
        np.testing.assert_array_equal(edges, pixels.edges)
        assert any(f"{pixels.median:+.3f}" in text.get_text() for text in panel.texts)


def test_aperture_without_pixels_says_so(inputs: Inputs) -> None:
    nan = float("nan")
    apertures = dict(inputs.metrics.targets["mass"][Pixels].apertures)
    apertures["r500"] = replace(apertures["r500"], median=nan, p16=nan, p84=nan, count=0)
    assert "no pixels" in texts(figures.pixel_figure(apertures, COLOUR))


def test_power(inputs: Inputs) -> None:
    metrics = inputs.metrics
    spectra, difference = summary.power_spectra(metrics, "mass"), summary.power_difference(metrics, "mass")
    wavelength = metrics.targets["mass"][Power].wavelength
    top, bottom = figures.power_figure(wavelength, spectra, difference, "1", COLOUR).axes
    assert top.get_ylabel() == "$P(k)$ [kpc$^2$]"  # of a number squared
    np.testing.assert_array_equal(lines(top)[0], np.stack([wavelength, spectra[1].median], axis=1))
    np.testing.assert_array_equal(np.array(top.get_lines()[0].get_ydata()), spectra[0].median)
    np.testing.assert_array_equal(lines(bottom)[0], np.stack([wavelength, difference.median], axis=1))


def test_mmd_with_empty_bins(inputs: Inputs) -> None:
    metrics = inputs.metrics
    edges, value = summary.mass_bins(metrics), summary.mmd_by_mass(metrics, "mass")
    calibration = summary.calibration_by_mass(metrics, "mass")
    assert 0 < np.count_nonzero(value.count) < len(value.count)
    (panel,) = figures.mmd_figure(edges, value, calibration, metrics.targets["mass"][Mmd].noise, COLOUR).axes
    some = value.count > 0
    centre = (edges[1:] + edges[:-1]) / 2
    np.testing.assert_array_equal(lines(panel)[0], np.stack([centre, value.median], axis=1)[some])
    for n, line in enumerate(panel.get_lines()[:4]):
        np.testing.assert_array_equal(np.array(line.get_ydata()), calibration.median[some, n])
    assert panel.get_yscale() == "log"


def test_names_of_close_calibration_lines_are_apart(inputs: Inputs) -> None:
    metrics = inputs.metrics
    value, calibration = summary.mmd_by_mass(metrics, "mass"), summary.calibration_by_mass(metrics, "mass")
    same = replace(calibration, median=np.full_like(calibration.median, 0.1))
    noise = metrics.targets["mass"][Mmd].noise
    (panel,) = figures.mmd_figure(summary.mass_bins(metrics), value, same, noise, COLOUR).axes
    assert [text.get_text() for text in panel.texts] == [rf"$\alpha = {alpha:g}$" for alpha in noise]
    assert np.diff([text.get_position()[1] for text in panel.texts]).min() > 0.05


def test_run_whose_test_halos_are_in_no_interval(inputs: Inputs) -> None:
    metrics = replace(inputs.metrics, mass_intervals=[10.0, 11.0, 12.0])
    value, calibration = summary.mmd_by_mass(metrics, "mass"), summary.calibration_by_mass(metrics, "mass")
    noise = metrics.targets["mass"][Mmd].noise
    assert texts(figures.mmd_figure(summary.mass_bins(metrics), value, calibration, noise, COLOUR)) == ["no test halos"]
    assert texts(bias(replace(inputs, metrics=metrics))) == ["no test halos"] * 2


def test_mmd_below_zero_is_drawn_on_a_linear_axis(inputs: Inputs) -> None:
    metrics = inputs.metrics
    value = summary.mmd_by_mass(metrics, "mass")
    value = replace(value, median=-value.median)
    calibration = summary.calibration_by_mass(metrics, "mass")
    noise = metrics.targets["mass"][Mmd].noise
    (panel,) = figures.mmd_figure(summary.mass_bins(metrics), value, calibration, noise, COLOUR).axes
    assert panel.get_yscale() == "linear"


def test_examples_have_the_median_error_of_their_third(inputs: Inputs) -> None:
    metrics = inputs.metrics
    error = np.abs(metrics.targets["mass"][Profiles].bias).mean(axis=1)
    halos = sorted(set(metrics.maps["halo"]), key=lambda h: metrics.maps["m200"][metrics.maps["halo"] == h][0])
    third = len(halos) // 3 + (len(halos) % 3 > 0)
    chosen = typical_maps(metrics, "mass")
    first = np.isin(metrics.maps["halo"], halos[:third])
    assert first[chosen[0]]
    assert abs(np.sum(error[first] < error[chosen[0]]) - np.sum(error[first] > error[chosen[0]])) <= 1
    assert chosen == typical_maps(metrics, "mass")
    assert np.all(np.diff(metrics.maps["m200"][chosen]) > 0)


def test_example_figure_shares_scales(inputs: Inputs) -> None:
    views = ["star", "sz", "xray"]
    examples = read_examples(inputs.predictions, inputs.metrics, views, "mass")
    figure = example_figure(examples, "mass", inputs.predictions.maps.units)
    images = [panel.images[0] for panel in figure.axes if panel.images]
    assert len(images) == 3 * 6
    truth, prediction, residual = images[3:6]
    assert truth.norm is prediction.norm
    assert residual.norm.vmin == -residual.norm.vmax  # type: ignore[operator]
    np.testing.assert_array_equal(np.asarray(truth.get_array()), examples[0].true.T)
    np.testing.assert_array_equal(np.asarray(prediction.get_array()), examples[0].predicted.T)
    np.testing.assert_array_equal(np.asarray(residual.get_array()), (examples[0].predicted - examples[0].true).T)
    assert list(truth.get_extent()) == [-1, 1, -1, 1]
    bars = [panel.get_xlabel() for panel in figure.axes if not panel.images]
    assert any(r"$h^{-1}$ M$_\odot$ kpc$^{-2}$" in label for label in bars)
    assert any(r"$10^{40}$ erg s$^{-1}$ kpc$^{-2}$" in label for label in bars)


def test_trials(inputs: Inputs) -> None:
    (panel,) = curves.trials_figure(inputs.trials, 3, COLOUR).axes
    done, best_so_far, best, failed, startup = (np.array(line.get_xydata()) for line in panel.get_lines())
    assert done[:, 0].tolist() == [0, 1, 3, 4, 5]
    np.testing.assert_allclose(best_so_far, [[0, 0.14], [1, 0.13], [3, 0.11], [4, 0.1], [7, 0.1]])
    assert best[0].tolist() == [4, 0.1]
    assert failed[:, 0].tolist() == [2]
    assert startup[0, 0] == 2.5


def test_trials_of_which_none_finished(inputs: Inputs) -> None:
    (panel,) = curves.trials_figure([inputs.trials[2]], 3, COLOUR).axes
    assert len(panel.get_lines()) == 1


def test_training(inputs: Inputs) -> None:
    (panel,) = curves.training_figure(inputs.training, COLOUR).axes
    train, validation, best, rate = (np.array(line.get_xydata()) for line in panel.get_lines())
    np.testing.assert_array_equal(train[:, 1], inputs.training.train_loss)
    np.testing.assert_array_equal(validation[:, 1], inputs.training.validation_loss)
    assert best[0, 1] == min(inputs.training.validation_loss)
    assert rate[0, 0] == 8.5  # epochs 1 to 8 were the fast ones


def test_every_model_of_the_paper_has_its_own_colour() -> None:
    views = ["star", "sz", "xray"]
    models = [
        *(Model(views=[view], encoders="one") for view in views),
        Model(views=views, encoders="one"),
        Model(views=views[::-1], encoders="per_view"),
        Model(views=["sz", "xray"], encoders="per_view"),
    ]
    assert [style.model_key(model) for model in models] == ["star", "sz", "xray", "multi1", "multi3", "gas2"]
    assert len({style.colour_of(model) for model in models}) == 6
    assert style.colour_of(Model(views=["star", "sz"])) == style.OTHER_MODELS[0]


def test_drawing_leaves_no_trace_in_matplotlibs_settings(inputs: Inputs) -> None:
    import matplotlib

    before = dict(matplotlib.rcParams)
    style.png(bias(inputs))
    assert dict(matplotlib.rcParams) == before
