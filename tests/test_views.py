import matplotlib
import pytest

from hpc_massmap.predict.own_units import unit_of
from hpc_massmap.report import style
from hpc_massmap.views import UNITS, VIEWS, View, title_of, units_of, view_of


def test_every_map_that_is_drawn_is_known_by_its_name() -> None:
    assert list(VIEWS) == ["sz", "xray", "star", "mass"]
    for name, view in VIEWS.items():
        assert unit_of(view.unit) is not None
        assert view.colours in matplotlib.colormaps
        assert title_of(name) == view.title != name
    assert len({view.title for view in VIEWS.values()}) == len(VIEWS)


def test_one_line_of_the_table_is_all_that_a_map_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    assert view_of("lensing") == View("", "lensing", "lensing", "integrated lensing")
    monkeypatch.setitem(VIEWS, "lensing", View("1", "convergence", r"$\kappa$", "projected mass", "#000000", "cividis"))
    assert (title_of("lensing"), view_of("lensing").colours) == ("convergence", "cividis")


def test_a_band_is_in_the_unit_of_x_rays_and_a_model_of_one_view_in_its_colour() -> None:
    assert units_of(["hard"]) == UNITS | {"hard": VIEWS["xray"].unit}
    assert all(style.COLOURS[name] == VIEWS[name].colour for name in ("star", "sz", "xray"))
