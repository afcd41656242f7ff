"""A finished run in miniature: made-up maps and predictions, their true metrics, made-up trials and training log."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from hpc_massmap.apertures import RADII, enclosed_mass
from hpc_massmap.arrays import FloatArray
from hpc_massmap.config import Config
from hpc_massmap.dataset.mapfile import MapFile, open_maps
from hpc_massmap.metrics.mmd import Mmd
from hpc_massmap.metrics.pixels import APERTURES, BINS, Pixels, PixelStatistics, differences_by_aperture
from hpc_massmap.metrics.power import Power, power_spectrum, wavelengths
from hpc_massmap.metrics.profiles import Profiles
from hpc_massmap.metrics.relative import relative_difference
from hpc_massmap.metrics.results import Metrics, TargetMetrics, write_metrics
from hpc_massmap.run import Run
from hpc_massmap.storage import write_text
from hpc_massmap.yamlfile import validated
from tests.patience import within
from tests.synthetic import write_synthetic_maps

REPOSITORY = Path(__file__).parents[2]
DATA = "made-up blobs & <b>clumps</b>, not a simulation"
SCRIPT = "<script>alert('x')</script> | 50% of $HOME_DIR"
INTERVALS = [13.5, 14.02, 14.63, 15.38]


def make_run(
    folder: Path,
    targets: list[str],
    intervals: list[float] = INTERVALS,
    name: str = "demo",
    every: int = 2,
    split: dict[str, Any] | None = None,
    **model: Any,
) -> Run:
    """A run whose every step before the report is done, of each `every`-th map of the folder's map file."""
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "maps.h5").exists():
        write_synthetic_maps(folder / "maps.h5", regions=16, snapshots=2, projections=3)
    values = {
        "name": name,
        "runs": str(folder / "runs"),
        "data": DATA,
        "simulations": [{"name": "synthetic", "folder": str(folder), "snapshots": [1]}],
        "maps": {"file": str(folder / "maps.h5")},
        "split": split or {},
        "model": {"targets": targets, **model},
        "evaluate": {"mass_intervals": intervals},
        "tune": {"evaluations": 8, "startup": 3},
    }
    run = Run.open(validated(Config, values, {}, "test"))
    maps = open_maps(run.maps)
    rows = np.arange(0, len(maps), every)
    predicted = {target: predict(maps.maps[target][rows], maps, rows) for target in targets}
    write_predictions(run, maps, rows, predicted)
    measured = {target: measure(predicted[target], maps, rows, target) for target in targets}
    write_metrics(run.metrics, metrics_of(run, maps, rows, measured))
    write_text(run.trials_export, "".join(json.dumps(trial(tid)) + "\n" for tid in range(8)))
    write_text(run.model / "log.csv", training_log(12))
    for step in ("tune", "train", "predict", "evaluate"):
        run.step(step, run.config.part("train"), {"maps": maps.digest}, []).finish()
    return run


def predict(true: FloatArray, maps: MapFile, rows: Any) -> FloatArray:
    """The truth with an error in every pixel and one in the amplitude that shrinks with mass."""
    rng = np.random.default_rng(3)
    log_mass = np.log10(maps.halos["m200"][maps.halo[rows]])
    amplitude = rng.normal(-0.02, 0.04 + 0.05 * (15.4 - log_mass))[:, None, None]
    return np.asarray(true * (1 + amplitude) * rng.lognormal(-0.01, 0.15, true.shape), np.float32)


def write_predictions(run: Run, maps: MapFile, rows: Any, predicted: dict[str, FloatArray]) -> None:
    with h5py.File(run.predictions, "w") as file:
        file["index/row"] = rows
        for target, stack in predicted.items():
            file[f"predictions/{target}"] = stack
        file.attrs.update({"maps": str(maps.path), "maps_digest": maps.digest, "name": run.config.name})


def measure(predicted: FloatArray, maps: MapFile, rows: Any, target: str) -> TargetMetrics:
    p, t = predicted.astype(np.float64), maps.maps[target][rows].astype(np.float64)
    r200, r500 = (maps.halos[name][maps.halo[rows]] for name in ("r200", "r500"))
    pixels = {}
    one_by_one = zip(p[:, None], t[:, None], r200[:, None], r500[:, None], strict=True)
    by_map = [dict(zip(APERTURES, differences_by_aperture(*one), strict=True)) for one in one_by_one]
    for name, difference in zip(APERTURES, differences_by_aperture(p, t, r200, r500), strict=True):
        p16, median, p84 = (float(x) for x in np.percentile(difference, (16, 50, 84)))
        density, edges = np.histogram(difference, 300, (-1, 2), density=True)
        bins = np.linspace(-1, 2, BINS + 1)
        counts = np.stack([np.histogram(of_map[name], bins)[0] for of_map in by_map]).astype(np.uint16)
        pixels[name] = PixelStatistics(median, p16, p84, len(difference), edges, density, bins, counts)
    masses = enclosed_mass(t, r200), enclosed_mass(p, r200)
    spectra = power_spectrum(t, r200), power_spectrum(p, r200)
    noise, rng = np.array([0.05, 0.1, 0.2, 0.3]), np.random.default_rng(4)
    value = rng.lognormal(-5, 0.4, len(rows)) * np.linspace(2, 0.5, len(rows))
    calibration = noise**1.5 * rng.lognormal(-0.5, 0.3, (len(rows), 1))
    return TargetMetrics(
        [
            Profiles(RADII, *masses, relative_difference(masses[1], masses[0])),
            Pixels(pixels),
            Power(wavelengths(), *spectra, relative_difference(spectra[1], spectra[0])),
            Mmd(value, calibration, noise, "gaussian", np.array([1.0])),
        ]
    )


def metrics_of(run: Run, maps: MapFile, rows: Any, measured: dict[str, TargetMetrics]) -> Metrics:
    columns = {"row": rows, "halo": maps.halo[rows], "projection": maps.projection[rows]}
    columns |= {
        name: maps.halos[name][maps.halo[rows]] for name in ("m200", "r200", "redshift", "simulation", "region")
    }
    return Metrics(run.config.name, maps.digest, run.config.evaluate.mass_intervals, columns, measured)


def trial(tid: int) -> dict[str, Any]:
    """Trials of every state: 2 failed, 6 runs, 7 has no suggestion yet; 4 is the best of the others."""
    state = {2: 3, 6: 1, 7: 0}.get(tid, 2)
    loss = 0.1 + 0.01 * abs(tid - 4)
    vals = {"filters": [8 + tid], "kernel": [3.0], "layers": [2], "dropout": [0.05 * tid]}
    history = [*(loss + 0.1 / (epoch + 1) for epoch in range(3)), loss]
    done = {"status": "ok", "loss": loss, "history": history}
    other = {"status": "fail" if state == 3 else "new", "history": history[:2]}
    return {
        "tid": tid,
        "state": state,
        "owner": f"node:1:{tid}",
        "book_time": "2025-05-01T10:00:00+00:00",
        "refresh_time": "2025-05-01T10:05:00+00:00",
        "misc": {"tid": tid, "vals": vals if state else {}},
        "result": done if state == 2 else other,
        "version": 1,
        "attempts": 1,
        "worker": {"id": "node1:7:cafe", "host": "node1", "pid": 7, "slurm_job": None},
        "error": {"type": "Diverged", "message": f"line 1\n{SCRIPT}", "traceback": "..."} if state == 3 else None,
    }


def training_log(epochs: int) -> str:
    lines = ["epoch,train_loss,validation_loss,learning_rate,seconds,images_per_second"]
    for epoch in range(1, epochs + 1):
        rate = 1e-4 if epoch < 9 else 1e-5
        lines.append(f"{epoch},{0.1 + 0.4 / epoch},{0.12 + 0.3 / epoch + 0.002 * epoch},{rate},30.0,100.0")
    return "\n".join(lines) + "\n"


def run_job(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run jobs/report.py as a person does."""
    command = [sys.executable, str(REPOSITORY / "jobs" / "report.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=within(120), check=False)
