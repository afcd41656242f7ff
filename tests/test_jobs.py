"""The jobs as a person runs them: each alone, in a row, again, and with mistakes."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from hpc_massmap.cli import forced, parse, parser
from hpc_massmap.config import load_config
from hpc_massmap.run import Run
from tests.conftest import AS_ROOT, ON_ONE_HOST
from tests.patience import wait_until, within
from tests.synthetic import write_synthetic_maps

JOBS = sorted(Path("jobs").glob("[!_]*.py"))
OTHERS = (  # those take no config
    *(
        "completion",
        "config",
        "configs",
        "cooling_table",
        "database",
        "demo",
        "maps",
        "monitor",
        "runs",
        "site",
        "status",
        "trials",
    ),
)
STEPS = [path for path in JOBS if path.stem not in OTHERS]
CONFIG = """
name: small
runs: {folder}/runs
simulations: [{{name: synthetic, folder: nowhere, snapshots: [1]}}]
maps: {{file: {folder}/maps.h5}}
train: {{batch_size: 8, epochs: 15, patience: 15, learning_rate: 5e-3, ranks: 2}}
space: {{filters: {{low: 8, high: 10}}, kernel: {{low: 2, high: 3}}, layers: {{low: 1, high: 2}},
        dropout: {{low: 0.0, high: 0.1}}}}
tune: {{evaluations: 3, workers: 2, startup: 3, epochs: 1}}
evaluate: {{mass_intervals: [13.5, 14.2, 14.8, 15.4]}}
"""


def run(*command: object, expect: int = 0) -> str:
    """Run a job in a process of its own; its output, all of it."""
    environment = {**os.environ, **AS_ROOT, **ON_ONE_HOST}
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False, env=environment)
    output = done.stdout + done.stderr
    assert done.returncode == expect, output
    return output


def job(name: str, *arguments: object, expect: int = 0) -> str:
    return run(sys.executable, f"jobs/{name}.py", *arguments, expect=expect)


def test_a_terminated_launcher_shuts_its_database_down_and_its_rerun_goes_on(tmp_path: Path) -> None:
    write_synthetic_maps(tmp_path / "maps.h5", regions=20, snapshots=1, projections=2)
    config = tmp_path / "small.yaml"
    config.write_text(CONFIG.format(folder=tmp_path))
    overrides = ("tune.lease=3", "tune.epochs=12", "tune.workers=1", "tune.evaluations=2")
    endpoint = tmp_path / "runs" / "small" / "database" / "endpoint.json"
    launcher = subprocess.Popen([sys.executable, "jobs/tune.py", str(config), *overrides])
    folder = tmp_path / "runs" / "small"
    wait_until(lambda: list(folder.glob("trials/*/*/last.pt")) or launcher.poll() is not None, "a first epoch")
    assert launcher.poll() is None
    mongod = Path(f"/proc/{json.loads(endpoint.read_text())['pid']}/cmdline")
    launcher.terminate()
    assert launcher.wait(within(60)) == 143
    assert not endpoint.exists()
    assert not mongod.exists() or not mongod.read_text()  # gone, or dead and not yet buried
    assert "2/2 trials" in job("tune", config, *overrides)
    trials = [json.loads(line) for line in (tmp_path / "runs" / "small" / "trials.jsonl").read_text().splitlines()]
    assert [trial["state"] for trial in trials] == [2, 2]


def test_a_database_is_opened_to_look_into_it_and_closed_again(tmp_path: Path) -> None:
    config = tmp_path / "small.yaml"
    config.write_text(CONFIG.format(folder=tmp_path))
    folder = Run.open(load_config(config)).folder
    opened = subprocess.Popen([sys.executable, "jobs/database.py", str(folder)], stdout=subprocess.PIPE, text=True)
    assert opened.stdout is not None
    assert re.match(r"massmap at 127\.0\.0\.1:\d+: 0 trials", opened.stdout.readline())
    assert opened.stdout.readline() == "Ctrl-C closes it\n"
    joined = subprocess.Popen([sys.executable, "jobs/database.py", str(folder)], stdout=subprocess.PIPE, text=True)
    assert joined.stdout is not None
    joined.stdout.readline()
    assert "Ctrl-C only leaves" in joined.stdout.readline()
    joined.send_signal(signal.SIGINT)
    assert joined.wait(within(30)) == 0
    assert (folder / "database" / "endpoint.json").exists()
    opened.send_signal(signal.SIGINT)
    assert opened.wait(within(30)) == 0
    assert not (folder / "database" / "endpoint.json").exists()


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGKILL])
def test_a_database_whose_terminal_or_job_is_gone_is_closed(number: int, tmp_path: Path) -> None:
    config = tmp_path / "small.yaml"
    config.write_text(CONFIG.format(folder=tmp_path))
    folder = Run.open(load_config(config)).folder
    opened = subprocess.Popen([sys.executable, "jobs/database.py", str(folder)], stdout=subprocess.PIPE, text=True)
    assert opened.stdout is not None
    opened.stdout.readline()
    opened.send_signal(number)
    assert opened.wait(within(30)) == (0 if number == signal.SIGHUP else -number)
    wait_until(lambda: not (folder / "database" / "endpoint.json").exists(), "the database to be closed", 60)


@pytest.mark.parametrize("path", JOBS, ids=lambda path: path.stem)
def test_help_is_complete_and_does_not_wait_for_torch(path: Path) -> None:
    assert "example:" in run(sys.executable, path, "--help")
    imported = run(sys.executable, "-X", "importtime", path, "--help")
    for heavy in ("torch", "numpy", "astropy", "matplotlib", "hyperopt"):
        assert f"| {heavy}\n" not in imported.replace("|   ", "| ")


@pytest.mark.parametrize("path", STEPS, ids=lambda path: path.stem)
def test_a_mistake_is_one_line_and_exit_code_2(path: Path, tmp_path: Path) -> None:
    config = tmp_path / "small.yaml"
    config.write_text(CONFIG.format(folder=tmp_path))
    output = run(sys.executable, path, config, "train.batch_size=0", expect=2)
    assert output == "error: command line: train.batch_size = 0: must be greater than or equal to 1\n"
    output = run(sys.executable, path, tmp_path / "none.yaml", expect=2)
    assert output == f"error: {tmp_path}/none.yaml: no such config file\n"


@pytest.mark.parametrize("again", ["SLURM_RESTART_COUNT", "TORCHELASTIC_RESTART_COUNT"])
def test_force_discards_once_however_often_a_job_is_requeued(again: str, monkeypatch: pytest.MonkeyPatch) -> None:
    args = parse(parser("", ""), ["x.yaml", "--force"])
    monkeypatch.setenv(again, "0")
    assert forced(args)
    monkeypatch.setenv(again, "2")
    assert not forced(args)
    for name in ("make_maps", "train", "tune"):  # hours of work that a restart goes on with
        assert "args.force" not in Path(f"hpc_massmap/jobs/{name}.py").read_text()


def test_ranks_without_maps_are_told_before_anything_is_submitted(tmp_path: Path) -> None:
    write_synthetic_maps(tmp_path / "maps.h5", regions=20, snapshots=1, projections=1)
    config = tmp_path / "small.yaml"
    config.write_text(CONFIG.format(folder=tmp_path))
    for name in ("train", "tune"):
        output = job(name, config, f"{name}.ranks=9", "--dry-run", expect=2)
        assert output.startswith("error: train.batch_size = 8: 9 ranks cannot share batches of 8 maps; ")


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("tune", "make it with massmap make_maps"),
        ("train", "make it with massmap make_maps"),
        ("predict", "massmap train"),
        ("evaluate", "massmap predict"),
        ("report", "massmap train"),
    ],
)
def test_a_job_before_its_time_names_the_one_to_run_first(name: str, remedy: str, tmp_path: Path) -> None:
    config = tmp_path / "small.yaml"
    config.write_text(CONFIG.format(folder=tmp_path))
    output = job(name, config, expect=2)
    assert output.startswith("error: ")
    assert remedy in output
    assert output.count("\n") == 1
