"""A clone in miniature: the code, scripts and configs under the names that the documentation says, of small data.

Every documented command can be typed in it to the letter. What differs from a clone is how much its configs draw, tune
and train, and how much its scripts ask of Slurm.
"""

import re
import shutil
import sys
from pathlib import Path
from typing import Any

from hpc_massmap.yamlfile import dump_yaml, load_yaml
from tests.conftest import ROOT

DRAWN = {"lines_of_sight": 1, "adaptive_smoothing": 32}
MOCK = {"mock": {"halos": 61, "particles": 2000, "files": 2}, "maps": DRAWN}
SMALL: dict[str, Any] = {
    "selection": {"flat": None},
    "maps": {**DRAWN, "bands": {"xray_hard": {"energies": [2.0, 10.0]}}},
    "model": {"filters": 4, "kernel": 3, "layers": 1},
    "train": {"batch_size": 4, "epochs": 8, "patience": 8, "learning_rate": 5e-3},
    "space": {
        "filters": {"low": 6, "high": 8},
        "kernel": {"low": 1, "high": 3},
        "layers": {"low": 1, "high": 2},
        "dropout": {"low": 0.0, "high": 0.1},
    },
    "tune": {"evaluations": 2, "workers": 1, "epochs": 1, "maps_per_epoch": 8},
}
SITE = "partition: batch\ncpus_per_task: 1\nmem_gb: 1.5\nminutes: 10\nsignal_seconds: 30\n"


def build_house(folder: Path) -> Path:
    """The same folder, with a clone in it."""
    for name in ("Makefile", "benchmarks", "examples", "hpc_massmap", "jobs", ".venv"):
        (folder / name).symlink_to(ROOT / name)
    command = folder / "bin" / "massmap"  # as an installation has it
    command.parent.mkdir()
    main = f"import sys; sys.path.insert(0, '{ROOT}'); from hpc_massmap.__main__ import main; main()"
    command.write_text(f"#!{sys.executable}\n{main}\n")
    command.chmod(0o755)
    for name in ("configs", "slurm"):
        shutil.copytree(ROOT / name, folder / name)
    configs = folder / "configs"
    change(configs / "mock.yaml", MOCK)
    of_mock = load_yaml(configs / "mock.yaml")["simulations"]
    change(configs / "paper.yaml", {**SMALL, "simulations": [{"region": "NewMDCLUSTER_*", **one} for one in of_mock]})
    split = load_yaml(configs / "paper.yaml")["split"]  # of fewer regions than the demo's
    train = SMALL["train"] | {"epochs": 2, "maps_per_epoch": 8, "ranks": 1}
    change(configs / "demo.yaml", {"train": train, "split": {**split, "seed": 0}})
    (configs / "sites" / "gpu.yaml").write_text(SITE)
    for name in ("make_maps", "evaluate"):
        script = folder / "slurm" / f"{name}.sh"
        asked = re.sub(r"--ntasks=\d+", "--ntasks=2\n#SBATCH --nodes=2", script.read_text())
        script.write_text(re.sub(r"--mem-per-cpu=\S+", "--mem-per-cpu=1500M", asked))
    return folder


def change(path: Path, values: dict[str, Any]) -> None:
    """Give sections of a config other values."""
    data = load_yaml(path)
    for section, its in values.items():
        data[section] = {**data.get(section, {}), **its} if isinstance(its, dict) else its
    path.write_text(dump_yaml(data))
