"""To add a metric is to write one class and to name it in the registry."""

import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Self

import h5py
import numpy as np
import pytest

from hpc_massmap.arrays import FloatArray
from hpc_massmap.config import Evaluate
from hpc_massmap.errors import InputError
from hpc_massmap.metrics import registry
from hpc_massmap.metrics.metric import Block, MapMetric, Rows
from hpc_massmap.metrics.results import read_metrics, write_metrics
from hpc_massmap.metrics.sample import Sample
from hpc_massmap.metrics.summary import headline
from hpc_massmap.storage import read_json
from tests.conftest import Launch

from .conftest import JOB
from .made_up import Folder
from .test_evaluate import contents, in_process


@dataclass(frozen=True)
class Brightest(MapMetric):
    """The brightest pixel of n predicted maps over that of the true ones."""

    name: ClassVar[str] = "brightest"

    ratio: FloatArray
    mean: float

    @classmethod
    def measure(cls, block: Block, settings: Evaluate) -> Rows:
        return {"ratio": block.predicted.max(axis=(1, 2)) / block.true.max(axis=(1, 2))}

    @classmethod
    def of(cls, rows: Rows, settings: Evaluate) -> Self:
        return cls(rows["ratio"], float(rows["ratio"].mean()))

    def headline(self, sample: Sample) -> list[str]:
        return [f"  brightest pixel: {sample.spread_of(self.ratio, sample.everything).text()}"]


@pytest.fixture
def with_brightest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "METRICS", [*registry.METRICS, Brightest])


@pytest.mark.usefixtures("with_brightest")
def test_one_class_reaches_the_file_and_the_headline(folder: Folder) -> None:
    write_metrics(folder.run.metrics, in_process(folder))
    predicted, true = folder.predictions.block("star", slice(0, 7))
    ratio = [p.max() / t.max() for p, t in zip(predicted, true, strict=True)]
    with h5py.File(folder.run.metrics) as file:
        np.testing.assert_array_equal(file["star/brightest/ratio"][:], ratio)
        assert file["star/brightest"].attrs["mean"] == np.mean(ratio)
    metrics = read_metrics(folder.run.metrics)
    np.testing.assert_array_equal(metrics.targets["star"][Brightest].ratio, ratio)
    assert f"brightest pixel: {np.median(ratio):+.3f} " in "\n".join(headline(metrics))


RANKS = """
import runpy, sys
from hpc_massmap.metrics import registry
from tests.metrics.test_metric import Brightest

registry.METRICS.append(Brightest)
runpy.run_path(sys.argv.pop(1), run_name="__main__")
"""


@pytest.mark.usefixtures("with_brightest")
def test_ranks_do_not_change_it(folder: Folder, launch: Launch) -> None:
    write_metrics(folder.run.metrics, in_process(folder))
    alone = contents(folder.run.metrics)
    script = folder.path / "ranks.py"
    script.write_text(RANKS)
    done: subprocess.CompletedProcess[str] = launch(2, script, JOB, folder.config_file)
    assert done.returncode == 0, done.stderr
    assert "  brightest pixel: " in done.stdout
    among_ranks = contents(folder.run.metrics)
    assert among_ranks.keys() == alone.keys()
    for name, value in alone.items():
        np.testing.assert_array_equal(among_ranks[name], value, err_msg=name)
    assert read_json(folder.run.folder / "provenance" / "evaluate.json")["step"] == "evaluate"


def test_a_file_from_before_a_metric_says_which_it_lacks(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    write_metrics(folder.run.metrics, in_process(folder))
    monkeypatch.setattr(registry, "METRICS", [*registry.METRICS, Brightest])
    with pytest.raises(InputError, match=r"was written without the metric 'brightest'; run massmap evaluate --force"):
        read_metrics(folder.run.metrics)


def test_the_file_holds_what_it_always_did(folder: Folder) -> None:
    """Files of earlier versions are read: names and fields of the paper's metrics stay."""
    write_metrics(folder.run.metrics, in_process(folder))
    found = {name.removeprefix("mass/") for name in contents(Path(folder.run.metrics)) if name.startswith("mass/")}
    of_pixels, of_histograms = ("median", "p16", "p84", "count"), ("edges", "density", "bins", "counts")
    assert found == {
        *(f"pixels/{a}@{key}" for a in ("whole", "r500", "half_r500") for key in of_pixels),
        *(f"pixels/{a}/{key}" for a in ("whole", "r500", "half_r500") for key in of_histograms),
        *(f"profiles/{key}" for key in ("radii", "radii@unit", "mass_true", "mass_predicted", "bias")),
        *(f"power/{key}" for key in ("wavelength", "wavelength@unit", "true", "predicted", "difference")),
        *(f"mmd/{key}" for key in ("value", "calibration", "noise", "scales")),
        "mmd@kernel",
    }
