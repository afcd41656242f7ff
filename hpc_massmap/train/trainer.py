"""Epochs of a training on one rank: its network (learner.py), its batches, and the place within an epoch.

All randomness of a step follows from (seed, epoch, rank, step), so a run that was killed anywhere and resumed ends with
the weights of one that was not.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.distributed as dist

from hpc_massmap.config import Config
from hpc_massmap.dataset.batches import Batch, Batches
from hpc_massmap.dataset.device import on_device, prefetched
from hpc_massmap.dataset.mapfile import MapFile
from hpc_massmap.dataset.normalisation import Normalisation
from hpc_massmap.dataset.split import Rows
from hpc_massmap.errors import InputError
from hpc_massmap.observe.observation import Observation
from hpc_massmap.train.learner import Learner
from hpc_massmap.train.precision import precision_on
from hpc_massmap.train.ranks import Ranks
from hpc_massmap.train.recipe import Epoch, learning_rate


class Diverged(InputError):
    """The loss is NaN or infinite."""


@dataclass(frozen=True)
class EpochProgress:
    """How far an unfinished epoch has come: what a checkpoint within it holds besides weights and optimiser."""

    steps: int
    loss_sum: float  # over the maps of all ranks
    maps: int
    seconds: float


class Trainer:
    """The epochs of one training, on one rank."""

    def __init__(self, maps: MapFile, rows: Rows, config: Config, ranks: Ranks, normalisation: Normalisation) -> None:
        self.config, self.ranks, self.normalisation = config, ranks, normalisation
        data = (config.model.views, config.model.targets, normalisation, config.train.batch_size)
        observe = config.observe
        self.observation = Observation(observe, maps, config.model.views) if observe.is_on else None
        seen = self.observation.file() if self.observation else maps
        training = Batches(maps, rows.train, *data, ranks.rank, ranks.world, config.train.augment)
        validation = Batches(seen, rows.validation, *data, ranks.rank, ranks.world)
        precision = precision_on(ranks.device, config.train.precision)
        # what is seen of a map is another in each epoch: it is not held
        self.training = training if self.observation else on_device(training, ranks.device, precision)
        self.validation = on_device(validation, ranks.device, precision)
        self.learner = Learner(config, ranks, normalisation)
        self._at = 0, torch.zeros(()), 0, 0.0  # of the epoch that runs: steps, sum of losses, maps, time of its start

    def epoch(
        self,
        epoch: int,
        on_step: Callable[[int, int, int], None],
        progress: EpochProgress | None = None,
        on_validation: Callable[[], None] = lambda: None,
    ) -> Epoch:
        """Train and validate once; with `progress` only what is left of an epoch.

        Parameters
        ----------
        on_step : called after each step with the epoch, from 0, the step, from 1, and how many there are
        on_validation : called after each batch of the validation
        """
        train = self.config.train
        progress = progress or EpochProgress(0, 0.0, 0, 0.0)
        start = time.perf_counter() - progress.seconds
        train_loss, n_maps = self._train(epoch, on_step, progress, start)
        training_seconds = time.perf_counter() - start
        validation_loss = self._validate(on_validation)
        if not np.isfinite([train_loss, validation_loss]).all():
            raise Diverged(
                f"the loss became {train_loss} (training), {validation_loss} (validation) in epoch {epoch + 1}; "
                "set a smaller train.learning_rate, or a train.warmup"
            )
        return Epoch(
            epoch + 1,
            train_loss,
            validation_loss,
            learning_rate(train, epoch),
            round(time.perf_counter() - start, 3),
            round(n_maps / training_seconds, 2),
        )

    def _train(
        self, epoch: int, on_step: Callable[[int, int, int], None], progress: EpochProgress, start: float
    ) -> tuple[float, int]:
        train, ranks, seed = self.config.train, self.ranks, self.config.seed
        self.learner.parallel.train()
        steps = self.training.steps(train.maps_per_epoch)
        total, n_maps = torch.tensor(progress.loss_sum, dtype=torch.float64, device=ranks.device), progress.maps
        self._at = progress.steps, total, n_maps, start
        batches = self._batches(epoch, progress.steps)
        for step, batch in enumerate(prefetched(batches, ranks.device), start=progress.steps):
            # dropout: its own stream for every step and rank, none to be stored
            torch.manual_seed(int(np.random.SeedSequence([seed, epoch, ranks.rank, step]).generate_state(1)[0]))
            loss = self.learner.step(batch, learning_rate(train, epoch, (step + 1) / steps))
            # summed over ranks at each step, so that the first alone can write a checkpoint at any
            total += ranks.sum_tensor(loss.double() * len(batch.views))
            n_maps += batch.of_batch
            self._at = step + 1, total, n_maps, start
            on_step(epoch, step + 1, steps)
        return float(total) / n_maps, n_maps

    def _batches(self, epoch: int, first_step: int) -> Iterator[Batch]:
        """Of a training epoch from one of its steps on, as telescopes see them in it."""
        training, observation = self.training, self.observation
        if observation is not None:
            training = replace(training, maps=observation.file(epoch))
        for batch in training.shuffled(self.config.seed, epoch, self.config.train.maps_per_epoch, first_step):
            if observation is None or not self.config.observe.view_dropout:
                yield batch
                continue
            there = torch.from_numpy(observation.there(batch.rows, epoch))
            yield replace(batch, views=batch.views * there[:, :, None, None])

    def epoch_progress(self) -> EpochProgress:
        """How far the running epoch has come."""
        steps, total, maps, start = self._at
        return EpochProgress(steps, float(total), maps, time.perf_counter() - start)

    @torch.no_grad()
    def _validate(self, on_batch: Callable[[], None]) -> float:
        model = self.learner.validated
        if self.ranks.world > 1 and self.config.train.batch_norm == "per_rank":
            # BatchNorm's running statistics are each rank's own: validate the first's, which is saved
            for buffer in model.buffers():
                dist.broadcast(buffer, src=0)
        model.eval()
        total, count = torch.zeros((), dtype=torch.float64, device=self.ranks.device), 0
        for batch in prefetched(self.validation.in_order(), self.ranks.device):
            total += self.learner.loss(model, batch).double() * len(batch.views)
            count += len(batch.views)
            on_batch()
        loss_sum, n_maps = self.ranks.sum(float(total), count)
        return loss_sum / n_maps
