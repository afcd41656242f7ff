"""Total-mass maps of galaxy clusters from what telescopes see of them.

The folders are the stages of the data's journey, and imports only flow downwards:
sims -> maps -> dataset -> model -> train -> predict -> tune -> metrics -> report.
What is named in `__all__` is for notebooks and scripts; each name is imported when it is first asked for.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hpc_massmap.apertures import enclosed_mass
    from hpc_massmap.api.maps import Maps, open_maps
    from hpc_massmap.api.model import Model, Prediction, load_model
    from hpc_massmap.api.runs import load_config, trials
    from hpc_massmap.errors import InputError
    from hpc_massmap.metrics.mmd import mmd_squared
    from hpc_massmap.metrics.power import power_spectrum
    from hpc_massmap.metrics.relative import relative_difference

__version__ = "0.1.0"

__all__ = [
    "InputError",
    "Maps",
    "Model",
    "Prediction",
    "enclosed_mass",
    "load_config",
    "load_model",
    "mmd_squared",
    "open_maps",
    "power_spectrum",
    "relative_difference",
    "trials",
]

_PLACES = {
    **dict.fromkeys(("Maps", "open_maps"), "api.maps"),
    **dict.fromkeys(("Model", "Prediction", "load_model"), "api.model"),
    **dict.fromkeys(("load_config", "trials"), "api.runs"),
    **{"enclosed_mass": "apertures", "InputError": "errors", "mmd_squared": "metrics.mmd"},
    **{"power_spectrum": "metrics.power", "relative_difference": "metrics.relative"},
}


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_PLACES[name]}"), name)


def __dir__() -> list[str]:
    return [*globals(), *__all__]
