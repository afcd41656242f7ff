"""Batches through the network, from any thread of any rank, with the same bits everywhere.

The result of a convolution depends, in its last bits, on the number of maps in the batch and on the threads that share
it. So batches are cut on one grid whatever the ranks are, and one thread computes each: a CPU is filled by as many
batches at once as it has cores, which is also faster than to share each.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch

from hpc_massmap.arrays import IntArray
from hpc_massmap.balance import own_threads
from hpc_massmap.posterior.distribution import Asked, MapDistribution
from hpc_massmap.posterior.ensemble import Mixture
from hpc_massmap.posterior.kinds import kind_of
from hpc_massmap.train.precision import autocast
from hpc_massmap.train.trained import TrainedModel

if TYPE_CHECKING:
    from mpi4py import MPI

Says = Callable[[torch.Tensor, IntArray], MapDistribution]


def prepared(model: TrainedModel, comm: "MPI.Intracomm") -> tuple[Says, int]:
    """What the model says of a batch on this rank's device, and how many threads are to ask at once.

    With GPUs a rank has the one of its place on the node. The function takes normalised views, (n, views, 80, 80), and
    what tells these maps from all others, (n,), as their rows in a map file.
    """
    device = _device(comm)
    torch.set_num_threads(1)
    members = [_of_one(member, device) for member in model.members or (model,)]

    def says(views: torch.Tensor, rows: IntArray) -> MapDistribution:
        said = [member(views, rows) for member in members]
        return Mixture(said) if model.members else said[0]

    return says, 1 if device.type == "cuda" else own_threads(comm)


def _of_one(model: TrainedModel, device: torch.device) -> Says:
    network, kind = model.network.to(device), kind_of(model.description)

    @contextmanager
    def precise() -> Iterator[None]:
        with torch.inference_mode(), autocast(model.precision, device):
            yield

    def says(views: torch.Tensor, rows: IntArray) -> MapDistribution:
        return kind.says(network, Asked(views.to(device), rows, model.description, model.normalisation, precise))

    return says


def _device(comm: "MPI.Intracomm") -> torch.device:
    if not torch.cuda.is_available():
        return torch.device("cpu")
    from mpi4py import MPI

    node = comm.Split_type(MPI.COMM_TYPE_SHARED)
    place = node.rank
    node.Free()
    return torch.device("cuda", place % torch.cuda.device_count())
