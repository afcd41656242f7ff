"""Every command of the documentation, typed to the letter in a clone whose configs are of small data.

Those for Slurm are in tests/cluster/test_commands.py. Each is run in the order in which a reader would come to it.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from astropy.io import fits

from hpc_massmap.config import load_config
from hpc_massmap.dataset.mapfile import open_maps
from hpc_massmap.yamlfile import dump_yaml
from tests.cluster.test_commands import ON_SLURM
from tests.conftest import AS_ROOT, ON_ONE_HOST, ROOT
from tests.dataset.test_imported import content, write
from tests.documented import COMMANDS
from tests.house import build_house
from tests.patience import within

PATHS = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
OVERSUBSCRIBED = {"PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe"}
JOINING = "name=longer tuned_by=demo train.epochs=30"

# what is typed, and what it says
IN_ORDER = [
    ("massmap paper configs/paper.yaml --dry-run", "report: slurm/paper_report.sh"),
    ("mpirun -n 2 massmap mock configs/mock.yaml", "31/31 halos"),
    ("mpirun -n 2 massmap make_maps configs/mock.yaml --consolidate", "122 maps of 122 halos"),
    ("massmap maps check runs/mock/maps.h5", "GIZMO-SIMBA  61"),
    ("massmap maps show runs/mock/maps.h5 --halo 0 1 2", "runs/mock/maps_halo_0_1_2.png"),
    (
        "mpirun -n 2 massmap make_maps configs/multi3.yaml maps.file=data/maps.h5 --consolidate",
        "data/maps.h5: 122 maps of 122 halos",
    ),
    ("mpirun -n 8 massmap make_maps configs/multi3.yaml --consolidate", "make_maps: already done"),
    ("massmap tune configs/multi3.yaml tune.workers=2 tune.evaluations=20", "20/20 trials"),
    ("massmap monitor runs/multi3", "20 of 20 done"),
    ("massmap monitor runs/multi3 --json | jq .best.values", '"filters": '),
    ("massmap trials list runs/multi3", "trial  state  loss"),
    ("massmap trials export runs/multi3 trials.csv", "trials.csv: 20 trials"),
    ("massmap trials export runs/multi3 trials.jsonl", "trials.jsonl: 20 trials"),
    ("massmap train configs/multi3.yaml --profile", "wrote runs/multi3/logs/train/trace.json"),
    ("torchrun --nproc-per-node=4 --no-python massmap train configs/multi3.yaml", ""),
    (
        "massmap train configs/multi3.yaml name=multi4 'model.views=[star, sz, xray, xray_hard]'",
        "training multi4 with F = 4, K = 3, N = 1",
    ),
    (
        "massmap paper configs/paper.yaml name=convnext model.network=convnext --dry-run",
        "report: slurm/paper_report.sh runs/convnext/configs/all.yaml",
    ),
    ("massmap predict configs/multi3.yaml --maps clusters --out masses", "masses: 2 clusters"),
    ("mpirun -n 4 massmap predict configs/multi3.yaml --maps clusters --out masses", "masses: 2 clusters"),
    ("massmap report configs/multi3.yaml", "report: runs/multi3/report/index.html"),
    (
        "massmap report configs/multi3.yaml --with configs/star.yaml configs/sz.yaml configs/low_mass.yaml",
        "report: runs/multi3/report/index.html",
    ),
    ("massmap maps check runs/demo/maps.h5", "GADGET-X"),
    ("massmap maps show runs/demo/maps.h5 --halo 0 60 120", "runs/demo/maps_halo_0_60_120.png"),
    ("massmap trials list runs/demo", "trial  state  loss"),
    ("massmap monitor runs/demo --once", "demo: database not running: from trials.jsonl"),
    (f"massmap train configs/demo.yaml {JOINING}", "of runs/demo/best.yaml"),
    ("massmap predict runs/longer", "maps, "),
    ("massmap evaluate runs/longer", "b200, "),
    ("massmap report runs/demo --with runs/longer --force", "report: runs/demo/report/index.html"),
    ("massmap status runs/longer", "next: massmap report runs/longer"),
    ("massmap runs", "runs/longer"),
    (
        "massmap maps import x.h5 simba.h5 maps.h5 --simulation GADGET-X GIZMO-SIMBA "
        "--redshift 128:0 127:0.022 --h 0.678 --omega-m 0.307",
        "maps.h5: 24 maps of 8 halos",
    ),
    ("massmap paper configs/paper.yaml --estimate", "of one process on CPUs"),
    ("make clean", "rm -rf runs/demo"),
]
ELSEWHERE = {
    # tests/test_massmap.py and, of the package as it is installed, tests/test_packaging.py
    *(
        "massmap --help",
        "massmap completion bash",
        "massmap configs copy",
        "massmap configs copy configs/instruments",
        "massmap configs list",
        "massmap demo",
    ),
    "massmap configs copy configs/instruments",
    *("massmap run CONFIG", "massmap run configs/multi3.yaml", "python -m hpc_massmap"),
    # tests/test_config_help.py, tests/pipeline/test_status.py
    *("massmap config check", "massmap config schema", "massmap config show", "massmap config show configs/demo.yaml"),
    *("massmap config diff configs/demo.yaml runs/longer", "massmap status RUN"),
    # tests/test_docs.py types them where a database runs or trials have failed, and tests/test_packaging.py a module
    "massmap database runs/multi3",
    "massmap trials import runs/multi3 elsewhere/trials.jsonl",
    "massmap trials retry runs/multi3 17 23",
    "massmap trials retry runs/multi3",
    # another map file with truth: tests/test_elsewhere.py
    "mpirun -n 4 massmap predict configs/multi3.yaml --maps other/maps.h5 --out elsewhere/other",
    "mpirun -n 4 massmap evaluate configs/multi3.yaml --of elsewhere/other",
    "massmap report configs/multi3.yaml --of elsewhere/other",
    # other telescopes: tests/observe/test_runs.py
    "massmap predict runs/gas2_observed observe.views.sz.noise.depth=20 --maps data/maps.h5 --out shallow",
    "massmap evaluate runs/gas2_observed --of shallow",
    # ten minutes; its steps through telescopes are those of tests/observe/test_runs.py
    *(f"massmap {step} configs/rosat_mock.yaml" for step in ("mock", "make_maps", "train", "predict", "calibrate")),
    "massmap predict configs/rosat_mock.yaml --validation",
    "massmap predict configs/rosat_mock.yaml --maps clusters --out masses",
    "massmap evaluate configs/rosat_mock.yaml",
    # an image in photons: tests/observe/test_photons.py
    "massmap maps photons",
    "massmap maps photons counts.fits --background background.fits --exposure exposure.fits --instrument "
    "configs/instruments/rosat.yaml --redshift 0.0597 --h 0.7 --omega-m 0.3 --out clusters/A3158_xray.fits",
    # maps of one's own with truth: tests/test_predict_own_truth.py
    "mpirun -n 4 massmap predict configs/multi3.yaml --maps clusters --truth --out compared",
    "mpirun -n 4 massmap evaluate configs/multi3.yaml --of compared",
    "massmap report configs/multi3.yaml --of compared",
    # another network, smaller: tests/train/test_networks.py
    "massmap train configs/multi3.yaml name=multi3_convnext model.network=convnext",
    # networks for half an hour: tests/pipeline/test_stages.py
    "massmap paper configs/leave_one_out.yaml --between --no-tune",
    # AtomDB's data are what it needs: tests/maps/test_cooling.py
    "massmap cooling_table FILE",
}
BY_HAND = {
    "make demo",
    "make demo-two",
    "make check",
    "make mutants",
    "make mutants MUTATED='hpc_massmap.metrics.power.*'",
    "make test",
    "make paper-small",
    "make docs",
}  # minutes each; and benchmarks


def for_predictions(house: Path) -> None:
    """Maps of one's own, as docs/apply.md says."""
    maps, folder = open_maps(house / "data" / "maps.h5"), house / "clusters"
    shutil.rmtree(house / "masses", ignore_errors=True)
    folder.mkdir(exist_ok=True)
    for row, name in enumerate(("A119", "A399")):
        for view in ("star", "sz", "xray"):
            header = fits.Header({"R200": "40 pix", "BUNIT": maps.units[view]})
            fits.PrimaryHDU(maps.maps[view][row], header).writeto(folder / f"{name}_{view}.fits", overwrite=True)


def for_demo(house: Path) -> None:
    """What `make demo` would have left, as far as others read it: its maps and trials."""
    folder = house / "runs" / "demo"
    trials = (house / "runs" / "multi3" / "trials.jsonl").read_text()
    folder.mkdir()
    shutil.copy(house / "runs" / "mock" / "maps.h5", folder)
    (folder / "trials.jsonl").write_text(trials.replace('"multi3"', '"demo"'))
    shutil.copy(house / "runs" / "multi3" / "best.yaml", folder)
    config = load_config(house / "configs" / "demo.yaml")
    (folder / "config.yaml").write_text(dump_yaml(config.model_dump(mode="json")))


def for_demo_report(house: Path) -> None:
    """Its metrics, too, by the model of the longer training."""
    shutil.copytree(house / "runs" / "longer" / "model", house / "runs" / "demo" / "model")
    for job in ("predict", "evaluate"):
        typed(f"massmap {job} configs/demo.yaml", house)


def for_report(house: Path) -> None:
    for job in ("predict", "evaluate"):
        typed(f"massmap {job} configs/multi3.yaml", house)


def for_other_report(house: Path) -> None:
    shutil.rmtree(house / "runs" / "multi3" / "report")


def for_import(house: Path) -> None:
    for seed, name in enumerate(("x.h5", "simba.h5")):
        write(house / name, content(seed=seed))


BEFORE: dict[str, Callable[[Path], None]] = {
    "massmap predict configs/multi3.yaml --maps": for_predictions,
    "mpirun -n 4 massmap predict": for_predictions,
    "massmap report configs/multi3.yaml": for_report,
    "massmap report configs/multi3.yaml --with": for_other_report,
    "massmap maps check runs/demo": for_demo,
    "massmap report runs/demo --with": for_demo_report,
    "massmap maps import": for_import,
}


def typed(command: str, house: Path) -> str:
    """What a command says that is typed where .venv is activated; jq may be missing."""
    if shutil.which("jq") is None:
        command = command.partition(" | jq")[0]
    own = {"PATH": f"{house / 'bin'}:{PATHS}", "PYTHONPATH": str(ROOT)}
    environment = {**os.environ, **AS_ROOT, **ON_ONE_HOST, **OVERSUBSCRIBED, **own}
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=house,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=within(200),
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not (ROOT / ".venv" / "bin" / "python").exists():
        pytest.skip("there is no .venv, which `make` makes; this environment is another")
    return build_house(tmp_path_factory.mktemp("house"))


@pytest.mark.xdist_group("commands")
@pytest.mark.parametrize(("command", "says"), IN_ORDER, ids=[command for command, _ in IN_ORDER])
def test_a_documented_command_does_what_it_says(command: str, says: str, house: Path) -> None:
    prepare = [BEFORE[start] for start in sorted(BEFORE, key=len) if command.startswith(start)]
    if prepare:
        prepare[-1](house)
    assert says in typed(command, house)


@pytest.mark.xdist_group("commands")
def test_what_the_commands_left_is_right(house: Path) -> None:
    """From maps to report: trials that are done, predictions of the right maps in physical units, b200 by hand."""
    folder = house / "runs" / "multi3"
    trials = [json.loads(line) for line in (folder / "trials.jsonl").read_text().splitlines()]
    assert [trial["state"] for trial in trials] == [2] * 20
    assert not (folder / "database" / "endpoint.json").exists()
    assert len((folder / "model" / "log.csv").read_text().splitlines()) > 3
    with h5py.File(folder / "predictions.h5") as predictions, h5py.File(house / "data" / "maps.h5") as maps:
        predicted, rows = predictions["predictions/mass"][:], predictions["index/row"][:]
        truth = maps["maps/mass"][:][rows]
    assert np.corrcoef(predicted.ravel(), truth.ravel())[0, 1] > 0.8
    with h5py.File(folder / "metrics.h5") as metrics:
        bias = metrics["mass/profiles/bias"][:, -1]
    y, x = (np.mgrid[:80, :80] - 39.5) / 40
    inside = np.hypot(x, y) <= 1
    masses = [np.sum(maps[:, inside], axis=1, dtype=np.float64) for maps in (predicted, truth)]
    np.testing.assert_allclose(bias, masses[0] / masses[1] - 1, rtol=1e-6, atol=1e-9)


@pytest.mark.xdist_group("commands")
def test_a_step_that_is_done_says_so_and_is_not_overwritten(house: Path) -> None:
    tuned = "tune.evaluations=20"
    for step in ("tune", "train", "predict", "evaluate"):
        assert f"{step}: already done" in typed(f"massmap {step} configs/multi3.yaml {tuned}", house)
    with pytest.raises(AssertionError, match=r"error: .*train was done with train\.epochs = 8, now 3; use a new run"):
        typed("massmap train configs/multi3.yaml train.epochs=3", house)


def test_every_documented_command_is_typed_by_a_test() -> None:
    typed_here = {command for command, _ in IN_ORDER}
    left = set(COMMANDS) - typed_here - set(ON_SLURM) - ELSEWHERE - BY_HAND
    benchmarks = {command for command in left if command.startswith("python -m benchmarks.")}
    assert left == benchmarks
    assert all(Path(f"{command.split()[2].replace('.', '/')}.py").exists() for command in benchmarks)
    assert (typed_here | set(ON_SLURM) | ELSEWHERE | BY_HAND) - set(COMMANDS) == set()
    rules = Path("Makefile").read_text()
    assert all(f"\n{command.split()[1]}:" in rules for command in BY_HAND)
    assert len(COMMANDS) > 60
