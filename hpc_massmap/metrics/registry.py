"""The metrics that an evaluation measures, in the order in which the headline has them."""

from hpc_massmap.metrics.coverage import Calibrated, Coverage
from hpc_massmap.metrics.metric import Metric
from hpc_massmap.metrics.mmd import Mmd
from hpc_massmap.metrics.pit import Pit
from hpc_massmap.metrics.pixels import Pixels
from hpc_massmap.metrics.power import Power
from hpc_massmap.metrics.profiles import Profiles
from hpc_massmap.metrics.sample_mmd import SampleMmd
from hpc_massmap.metrics.sample_power import SamplePower
from hpc_massmap.metrics.scores import Scores
from hpc_massmap.metrics.tarp import Tarp

METRICS: list[type[Metric]] = [
    *(Profiles, Pixels, Power, Mmd, Coverage, Calibrated, Pit, Tarp, Scores, SamplePower, SampleMmd),
]
