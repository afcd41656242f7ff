"""A run whose training is done in no time: synthetic maps, a network with random weights, and their normalisation."""

from pathlib import Path

import torch

from hpc_massmap.config import Config, Model, load_config
from hpc_massmap.dataset.mapfile import open_maps
from hpc_massmap.dataset.normalisation import fit_normalisation
from hpc_massmap.dataset.split import split_maps
from hpc_massmap.posterior.kinds import network_of
from hpc_massmap.run import Run
from hpc_massmap.storage import write_text
from hpc_massmap.train.checkpoint import save_checkpoint
from hpc_massmap.train.loop import BEST
from tests.report.run_folder import training_log
from tests.synthetic import write_synthetic_maps

CONFIG = """
name: small
runs: {folder}/runs
simulations: [{{name: synthetic, folder: nowhere, snapshots: [1]}}]
maps: {{file: {folder}/maps.h5}}
model: {{views: [sz, star], filters: 4, layers: 2, output: {output}}}
train: {{precision: fp32}}
"""


def write_run(folder: Path, normalisation: str = "linear", output: str = "point") -> Path:
    """Everything that a prediction needs; returns the config file."""
    write_synthetic_maps(folder / "maps.h5", regions=30, snapshots=4, projections=3)
    path = folder / "small.yaml"
    path.write_text(CONFIG.format(folder=folder, output=output))
    config = load_config(path)
    write_model(Run.open(config).model, config, config.model, normalisation)
    return path


def write_run_and_other_maps(folder: Path) -> Path:
    """Of a run with a log, too, beside which lies another map file, other.h5; returns the config file."""
    config = write_run(folder)
    write_text(folder / "runs" / "small" / "model" / "log.csv", training_log(12))
    write_synthetic_maps(folder / "other.h5", regions=4, snapshots=1, projections=2, seed=2)
    return config


def write_model(folder: Path, config: Config, model: Model, normalisation: str = "linear", seed: int = 1) -> None:
    """The checkpoint of a training that ended with random weights."""
    maps = open_maps(config.maps.file)
    rows = split_maps(maps, config.split).train
    names = [*model.views, *model.targets]
    torch.manual_seed(seed)
    network = network_of(model)
    with torch.no_grad():  # in training mode: the statistics of its batch normalisation become those of some maps
        inputs = [torch.randn(16, len(names), 80, 80) for names in (model.views, model.targets)]
        network(*inputs, torch.rand(16)) if model.output == "flow" else network(inputs[0])
    state = {
        "model": network.state_dict(),
        "normalisation": fit_normalisation(maps, rows, names, normalisation).as_dict(),
        "identity": {
            "model": model.model_dump(mode="json"),
            "split": config.split.model_dump(mode="json"),
            "train": config.train.model_dump(mode="json"),
        },
    }
    folder.mkdir(parents=True, exist_ok=True)
    save_checkpoint(folder / BEST, state)
