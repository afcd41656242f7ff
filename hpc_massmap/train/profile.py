"""Where the time of a training step goes: a trace of a few steps, for chrome://tracing or Perfetto, and a table."""

from contextlib import suppress
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, schedule

from hpc_massmap.config import Config
from hpc_massmap.dataset.mapfile import MapFile
from hpc_massmap.dataset.normalisation import fit_normalisation
from hpc_massmap.dataset.split import Rows
from hpc_massmap.errors import InputError
from hpc_massmap.observe.observation import observed
from hpc_massmap.storage import replacing
from hpc_massmap.train.memory import within_memory
from hpc_massmap.train.ranks import Ranks
from hpc_massmap.train.trainer import Trainer

WARM, STEPS, TOP = 3, 5, 15


class _Enough(Exception):
    """The steps that were asked for are done."""


def profile(maps: MapFile, rows: Rows, config: Config, ranks: Ranks, trace: Path) -> str:
    """Train a few steps on this rank and write their `trace`; nothing of the training is kept.

    Returns
    -------
    The operations that took longest, as a table.

    Raises
    ------
    InputError
        If an epoch has too few steps.
    """
    names = [*config.model.views, *config.model.targets]
    seen = observed(maps, config.observe, config.model.views)
    trainer = Trainer(maps, rows, config, ranks, fit_normalisation(seen, rows.train, names, config.train.normalisation))
    steps = trainer.training.steps(config.train.maps_per_epoch)
    if steps < WARM + STEPS:
        raise InputError(f"an epoch of {steps} steps is too short to profile; set a smaller train.batch_size")
    on_gpu = ranks.device.type == "cuda"
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])]
    with torch.profiler.profile(
        activities=activities, schedule=schedule(wait=0, warmup=WARM, active=STEPS)
    ) as profiler:

        def on_step(epoch: int, step: int, steps: int) -> None:
            if step == WARM + STEPS:
                raise _Enough
            profiler.step()

        def train() -> None:
            with suppress(_Enough):
                trainer.epoch(0, on_step)

        within_memory(config, ranks, train)
    with replacing(trace) as temporary:
        profiler.export_chrome_trace(str(temporary))
    by = "self_device_time_total" if on_gpu else "self_cpu_time_total"
    return str(profiler.key_averages().table(sort_by=by, row_limit=TOP, max_name_column_width=40))
