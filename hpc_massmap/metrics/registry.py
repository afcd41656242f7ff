"""The metrics that an evaluation measures, in the order in which the headline has them."""

from hpc_massmap.metrics.metric import Metric
from hpc_massmap.metrics.mmd import Mmd
from hpc_massmap.metrics.pixels import Pixels
from hpc_massmap.metrics.power import Power
from hpc_massmap.metrics.profiles import Profiles

METRICS: list[type[Metric]] = [Profiles, Pixels, Power, Mmd]
