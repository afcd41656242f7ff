"""The stages of the whole paper: which there are, what each needs, and what a failure takes with it."""

import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import h5py
import pytest

from hpc_massmap.cluster.site import Site
from hpc_massmap.config import Config, load_config
from hpc_massmap.errors import InputError
from hpc_massmap.pipeline.estimate import estimate
from hpc_massmap.pipeline.here import run_here
from hpc_massmap.pipeline.missing import why_missing
from hpc_massmap.pipeline.stages import (
    MAIN,
    RETRAINED,
    TUNED,
    Stage,
    chosen_of,
    report_job,
    stages,
    stages_of_run,
    write_configs,
)
from hpc_massmap.run import Run
from hpc_massmap.storage import write_json, write_text
from hpc_massmap.yamlfile import dump_yaml
from tests.conftest import ROOT
from tests.patience import wait_until, within
from tests.synthetic import write_synthetic_maps
from tests.test_docs import loaded


@pytest.fixture
def base(tmp_path: Path) -> Config:
    return load_config(Path("configs/paper.yaml"), [f"runs={tmp_path}"])


def test_every_stage_comes_after_those_it_needs(base: Config) -> None:
    found = stages(base, write_configs(base, [*TUNED, *RETRAINED]), Path("configs/paper.yaml"))
    seen: set[str] = set()
    for stage in found:
        assert set(stage.after) <= seen
        assert Path(stage.script[0]).exists()
        assert all(find_spec(job[1]) for job in stage.jobs)
        seen.add(stage.name)
    assert len(found) == 1 + 3 * len(TUNED) + 2 * len(RETRAINED)
    needs = {stage.name: stage.after for stage in found}
    assert needs["train_low_mass"] == [f"tune_{MAIN}"]
    assert needs["evaluate_gas2"] == ["train_gas2"]


def test_models_that_say_more_than_one_map_are_calibrated_before_they_are_judged(tmp_path: Path) -> None:
    for words, calibrated in (([], True), (["split.policy=map"], False), (["model.output=point"], False)):
        config = load_config(Path("configs/star_quantiles.yaml"), [f"runs={tmp_path}", *words])
        found = {stage.name: stage for stage in stages_of_run(config, ["configs/star_quantiles.yaml"], True)}
        assert ("calibrate" in found) == calibrated
        assert found["evaluate"].after == (["calibrate"] if calibrated else ["train"])
        if calibrated:
            assert found["calibrate"].after == ["train"]
            assert Path(found["calibrate"].script[0]).exists()
            assert [job[1:] for job in found["calibrate"].jobs] == [
                ["hpc_massmap.jobs.predict", "configs/star_quantiles.yaml", "--validation"],
                ["hpc_massmap.jobs.calibrate", "configs/star_quantiles.yaml"],
            ]


def test_each_model_is_that_of_its_config_with_the_base_s_data(tmp_path: Path) -> None:
    base = load_config(Path("configs/mock.yaml"), [f"runs={tmp_path}", "train.epochs=7"])
    paths = write_configs(base, ["gas2", "low_mass_gadget_x", "multi3"])
    gas, low = load_config(paths["gas2"]), load_config(paths["low_mass_gadget_x"])
    assert (gas.name, gas.model.views, gas.train.epochs, gas.simulations) == (
        *("mock_gas2", ["sz", "xray"], 7),
        base.simulations,
    )
    assert (low.tuned_by, low.split.only, low.split.log_m200) == ("mock_multi3", ["GADGET-X"], (13.5, 14.02))
    with pytest.raises(InputError, match="not one of the simulations"):
        write_configs(load_config(Path("configs/demo.yaml")), ["low_mass_gadget_x"])
    with pytest.raises(InputError, match="--models moon: not one of star, sz"):
        write_configs(base, ["moon"])


def test_between_simulations_each_tuned_model_is_trained_on_each_alone_with_its_hyperparameters(tmp_path: Path) -> None:
    base = load_config(Path("configs/mock.yaml"), [f"runs={tmp_path}"])
    paths = write_configs(base, ["star", "low_mass", "multi3"], between=True)
    configs = {name: load_config(path) for name, path in paths.items()}
    assert {name: (config.split.only, config.tuned_by) for name, config in configs.items()} == {
        "star": ([], None),
        "star_GADGET-X": (["GADGET-X"], "mock_star"),
        "star_GIZMO-SIMBA": (["GIZMO-SIMBA"], "mock_star"),
        "low_mass": ([], "mock_multi3"),
        "multi3": ([], None),
        "multi3_GADGET-X": (["GADGET-X"], "mock_multi3"),
        "multi3_GIZMO-SIMBA": (["GIZMO-SIMBA"], "mock_multi3"),
    }
    assert configs["star_GADGET-X"].model == configs["star"].model
    assert {config.name for config in configs.values()} == {f"mock_{name}" for name in configs}
    needs = {stage.name: stage.after for stage in stages(base, paths, Path("p.yaml"), calibrate=True)}
    assert needs["train_star_GIZMO-SIMBA"] == ["tune_star"]
    assert needs["train_low_mass"] == ["tune_multi3"]
    assert needs["evaluate_star_GIZMO-SIMBA"] == ["calibrate_star_GIZMO-SIMBA"]


def test_of_more_than_two_simulations_each_is_left_out_as_well() -> None:
    base = load_config(Path("configs/mock.yaml"))
    third = base.simulations[0].model_copy(update={"name": "TNG"})
    found = chosen_of(base.model_copy(update={"simulations": [*base.simulations, third]}), ["sz"], between=True)
    assert {name: chosen.only for name, chosen in found.items()} == {
        "sz": None,
        **{f"sz_{name}": [name] for name in ("GADGET-X", "GIZMO-SIMBA", "TNG")},
        "sz_without_GADGET-X": ["GIZMO-SIMBA", "TNG"],
        "sz_without_GIZMO-SIMBA": ["GADGET-X", "TNG"],
        "sz_without_TNG": ["GADGET-X", "GIZMO-SIMBA"],
    }


def test_one_simulation_has_nothing_between() -> None:
    base = load_config(Path("configs/demo.yaml"))
    with pytest.raises(InputError, match="--between: demo has one simulation, gadget4, and nothing to be tested betw"):
        chosen_of(base, ["star"], between=True)


def test_what_is_not_tuned_trains_with_the_base_s_hyperparameters(tmp_path: Path) -> None:
    base = load_config(Path("configs/mock.yaml"), [f"runs={tmp_path}", "model.filters=5", "model.kernel=2"])
    paths = write_configs(base, ["star", "low_mass"], between=True, tune=False)
    configs = [load_config(path) for path in paths.values()]
    assert {(config.model.filters, config.model.kernel, config.tuned_by) for config in configs} == {(5, 2, None)}
    assert [config.model.views for config in configs[:3]] == [["star"]] * 3
    found = stages(base, paths, Path("p.yaml"), tune=False)
    assert not any(stage.name.startswith("tune") for stage in found)
    assert {stage.name: stage.after for stage in found}["train_star_GADGET-X"] == ["make_maps"]


def test_a_point_model_is_calibrated_unless_it_is_judged_already(base: Config) -> None:
    paths = write_configs(base, ["star"])
    run = Run.open(load_config(paths["star"]))

    def calibrating() -> list[bool]:
        return [stage.is_done for stage in stages(base, paths, Path("p.yaml"), calibrate=True) if "calib" in stage.name]

    assert calibrating() == [False]
    write_json(run.folder / "provenance" / "evaluate.json", {})
    assert calibrating() == [True]
    by_map = base.with_values("split", policy="map")
    assert len(stages(by_map, write_configs(by_map, ["star"]), Path("p.yaml"), calibrate=True)) == 4


def test_a_retrained_model_alone_needs_hyperparameters(base: Config) -> None:
    paths = write_configs(base, ["low_mass"])
    with pytest.raises(InputError, match="takes the hyperparameters of multi3: ask for multi3, too"):
        stages(base, paths, Path("p.yaml"))
    write_text(base.runs / "multi3" / "best.yaml", "filters: 8")
    assert [stage.after for stage in stages(base, paths, Path("p.yaml"))] == [[], ["make_maps"], ["train_low_mass"]]


def test_done_is_what_is_recorded_with_this_config(base: Config) -> None:
    paths = write_configs(base, ["star"])
    run = Run.open(load_config(paths["star"]))
    for step in ("train", "predict"):
        write_json(run.folder / "provenance" / f"{step}.json", {})
    done = {stage.name: stage.is_done for stage in stages(base, paths, Path("p.yaml"))}
    assert done == {"make_maps": False, "tune_star": False, "train_star": True, "evaluate_star": False}
    other = base.with_values("train", epochs=3)
    assert not any(stage.is_done for stage in stages(other, write_configs(other, ["star"]), Path("p.yaml")))


def test_what_was_done_before_there_was_a_key_is_done(base: Config) -> None:
    run = Run.of(base)
    write_json(run.folder / "provenance" / "make_maps.json", {})
    kept = base.model_dump(mode="json")
    for changed, done in (({}, True), ({"seed": base.seed + 1}, False)):
        text = {key: value for key, value in kept.items() if key != "observe"} | changed
        write_text(run.folder / "config.yaml", dump_yaml(text))
        assert stages(base, {}, run.folder / "config.yaml")[0].is_done == done


def test_finished_maps_that_were_imported_need_no_snapshots(tmp_path: Path) -> None:
    base = load_config(Path("configs/paper.yaml"), [f"runs={tmp_path}", f"maps.file={tmp_path}/maps.h5"])
    paths = write_configs(base, ["star"])
    write_synthetic_maps(base.maps.file, regions=3)
    assert not stages(base, paths, Path("p.yaml"))[0].is_done
    with h5py.File(base.maps.file, "r+") as file:
        file.attrs["provenance"] = '{"imported": [{"file": "gadgetx.h5"}]}'
    assert stages(base, paths, Path("p.yaml"))[0].is_done


def test_a_branch_that_fails_ends_alone(tmp_path: Path) -> None:
    good, bad = [["-c", "print('fine')"]], [["-c", "print('boiling over'); raise SystemExit(3)"]]
    wanted = [
        Stage("maps", [], good, False),
        Stage("tune_a", [], bad, False, ["maps"]),
        Stage("train_a", [], good, False, ["tune_a"]),
        Stage("tune_b", [], good, False, ["maps"]),
        Stage("train_b", [], bad, True, ["tune_b"]),
    ]
    told: dict[str, str] = {}
    assert run_here(wanted, tmp_path, told.__setitem__) == ["tune_a", "train_a"]
    assert told == {
        "maps": "done",
        "tune_a": f"failed: boiling over; all of it is in {tmp_path}/tune_a.log",
        "train_a": "not run: it needs tune_a",
        "tune_b": "done",
        "train_b": "already done",
    }


PATIENT = """
import signal, sys, time
from pathlib import Path
def end(*_):
    time.sleep(0.5)
    Path("ended").touch()
    sys.exit(143)
signal.signal(signal.SIGTERM, end)
Path("begun").touch()
time.sleep(60)
"""
LAUNCHER = """
import signal, sys
from pathlib import Path
from hpc_massmap.pipeline.here import run_here
from hpc_massmap.pipeline.stages import Stage
signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
run_here([Stage("tune", [], [["-c", sys.argv[1]]], False)], Path("logs"), print)
"""


def test_a_stage_may_shut_down_what_it_started_when_all_is_terminated(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    whole = subprocess.Popen([sys.executable, "-c", LAUNCHER, PATIENT], cwd=tmp_path, env=environment)
    wait_until(lambda: (tmp_path / "begun").exists() or whole.poll() is not None, "the stage to begin")
    whole.terminate()
    assert whole.wait(within(30)) == 143
    assert (tmp_path / "ended").exists()


def test_what_is_missing_is_told_with_the_last_words_of_its_stage(tmp_path: Path) -> None:
    wanted = [
        Stage("maps", [], [], True),
        Stage("tune_a", [], [], False, ["maps"]),
        Stage("train_a", [], [], False, ["tune_a"]),
        Stage("tune_b", [], [], True, ["maps"]),
        Stage("train_b", [], [], False, ["tune_b"]),
    ]
    write_text(tmp_path / "tune_a.log", "training\nslurmstepd: error: *** JOB 5 CANCELLED DUE TO TIME LIMIT ***\n\n")
    assert why_missing(wanted, tmp_path) == [
        "tune_a is not done: slurmstepd: error: *** JOB 5 CANCELLED DUE TO TIME LIMIT ***; "
        f"all of it is in {tmp_path}/tune_a.log",
        f"train_b is not done: it has not begun ({tmp_path}/train_b.log)",
    ]


def test_the_report_is_on_the_page_of_a_model_that_has_metrics(base: Config) -> None:
    paths = write_configs(base, ["star", "multi3", "sz"])
    with pytest.raises(InputError, match="no model has metrics yet"):
        report_job(paths, [])
    write_text(base.runs / "sz" / "metrics.h5", "")
    others = ["--with", str(paths["multi3"]), str(paths["star"])]
    assert report_job(paths, ["x is late"]) == [
        *("-m", "hpc_massmap.jobs.report", str(paths["sz"]), "--force"),
        *(*others, "--note=x is late"),
    ]


def test_the_estimate_counts_hours_and_disk(tmp_path: Path) -> None:
    """By hand: three linear sizes of the paper's maps."""
    small = ["space.filters={low: 4, high: 4}", "space.layers={low: 1, high: 1}", "space.kernel={low: 1, high: 1}"]
    base = load_config(Path("configs/paper.yaml"), [f"runs={tmp_path}", f"maps.file={tmp_path}/m.h5", *small])
    told = estimate(base, write_configs(base, ["star"]))
    assert told.startswith("146,189 maps of each kind, as many as the paper has, for want of ")
    rate, study, final = (
        float(text.replace(",", ""))
        for text in re.findall(r"star: (\S+) maps/s; study (\S+) h, final (\S+) h", told)[0]
    )
    assert study == pytest.approx(100 * final, rel=0.05)
    assert final == pytest.approx(100 * 0.8 * 146_189 / rate / 3600, rel=0.05)
    assert "disk: 14.3 GiB, of which maps 13.9" in told  # 146,189 x 4 x 25,600 bytes, and a tenth of a quarter of it
    told = estimate(base, write_configs(base, ["star"]), Site(tasks_per_node=4))
    of_process, of_node = (
        float(text.replace(",", ""))
        for text in re.findall(r"at most (\S+) h of one process .*\n  that is (\S+) h of a node with 4", told)[0]
    )
    assert of_node == pytest.approx(of_process / 4, rel=0.05)


def test_an_estimate_for_gpus_where_there_is_none_takes_the_paper_s_rate(base: Config) -> None:
    """Two minutes an epoch of the paper's training set: 100 trials and one training of 100 epochs are 337 hours."""
    told = estimate(base, write_configs(base, ["star"]), Site(gpus_per_task=1, tasks_per_node=4))
    assert "rates of the paper's A100: there is no GPU here" in told
    assert "star: 975 maps/s; study 333.3 h, final 3.3 h" in told
    assert "at most 336.7 h of one GPU" in told
    assert "that is 84.2 h of a node with 4 at once" in told
    told = estimate(base, write_configs(base, ["star"], tune=False), Site(gpus_per_task=1), tune=False)
    assert "star: 975 maps/s; study 0.0 h, final 3.3 h" in told
    assert "at most 3.3 h of one GPU" in told


def test_a_dry_run_shows_the_stages_and_starts_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["configs/paper.yaml", f"runs={tmp_path}", "--models", "star", "--site", "configs/sites/gpu.yaml"]
    loaded(Path("jobs/paper.py")).main([*words, "--dry-run"])
    folder = tmp_path / "paper" / "configs"
    assert capsys.readouterr().out.splitlines() == [
        f"make_maps: slurm/make_maps.sh {folder}/all.yaml",
        f"tune_star: slurm/tune.sh {folder}/star.yaml",
        f"train_star: slurm/train.sh {folder}/star.yaml",
        f"evaluate_star: slurm/evaluate.sh {folder}/star.yaml",
        f"report: slurm/paper_report.sh {folder}/all.yaml --models star",
    ]
    assert not (tmp_path / "paper" / "jobs.json").exists()


def test_a_dry_run_between_simulations_has_no_studies_and_the_report_is_asked_for_alike(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["configs/leave_one_out.yaml", f"runs={tmp_path}", "--between", "--no-tune", "--models", "star"]
    loaded(Path("jobs/paper.py")).main([*words, "--dry-run"])
    folder = tmp_path / "leave_one_out" / "configs"
    shown = capsys.readouterr().out.splitlines()
    names = [f"{step}_star{of}" for of in ("", "_GADGET-4", "_GIZMO") for step in ("train", "calibrate", "evaluate")]
    assert [line.split(":")[0] for line in shown] == ["make_maps", *names, "report"]
    assert shown[-1] == f"report: slurm/paper_report.sh {folder}/all.yaml --between --no-tune --models star"


@pytest.mark.parametrize("stage", ["tran_star", "train_sz", "star"])
def test_asking_for_more_for_no_stage_is_told(stage: str, tmp_path: Path) -> None:
    words = ["configs/paper.yaml", f"runs={tmp_path}", "--models", "star", "--dry-run"]
    paper = loaded(Path("jobs/paper.py"))
    with pytest.raises(InputError, match=f"--ask {stage}:mem=1: no such stage; there are make_maps, tune, tune_star,"):
        paper.main([*words, "--ask", f"{stage}:mem=1"])
    paper.main([*words, "--ask", "train:mem=1", "--ask", "train_star:mem=1", "--ask", "report:mem=1"])
