"""Batches through the network, from any thread of any rank, with the same bits everywhere.

The result of a convolution depends, in its last bits, on the number of maps in the batch and on the threads that share
it. So batches are cut on one grid whatever the ranks are, and one thread computes each: a CPU is filled by as many
batches at once as it has cores, which is also faster than to share each.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch

from hpc_massmap.balance import own_threads
from hpc_massmap.train.precision import autocast
from hpc_massmap.train.trained import TrainedModel

if TYPE_CHECKING:
    from mpi4py import MPI

Predict = Callable[[torch.Tensor], npt.NDArray[np.float32]]


def prepared(model: TrainedModel, comm: "MPI.Intracomm") -> tuple[Predict, int]:
    """A function that predicts a batch on this rank's device, and how many threads are to call it at once.

    With GPUs a rank has the one of its place on the node. The function takes normalised views, (n, views, 80, 80), and
    returns (n, targets, 80, 80) in physical units.
    """
    device = _device(comm)
    torch.set_num_threads(1)
    network = model.network.to(device)

    def predict(views: torch.Tensor) -> npt.NDArray[np.float32]:
        with torch.inference_mode(), autocast(model.precision, device):
            predicted = network(views.to(device)).float()
        physical: npt.NDArray[np.float32] = (
            model.normalisation.invert(predicted, model.description.targets).cpu().numpy()
        )
        return physical

    return predict, 1 if device.type == "cuda" else own_threads(comm)


def _device(comm: "MPI.Intracomm") -> torch.device:
    if not torch.cuda.is_available():
        return torch.device("cpu")
    from mpi4py import MPI

    node = comm.Split_type(MPI.COMM_TYPE_SHARED)
    place = node.rank
    node.Free()
    return torch.device("cuda", place % torch.cuda.device_count())
