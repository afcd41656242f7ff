"""What is said of a run: done, stale, begun, next; and its folder in place of its config."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from hpc_massmap.cli import config_of, parse, parser
from hpc_massmap.config import Config, load_config
from hpc_massmap.errors import InputError
from hpc_massmap.jobs import calibrate, evaluate, predict, runs, status
from hpc_massmap.pipeline.status import duration, next_of, runs_in, status_of
from hpc_massmap.run import Run
from hpc_massmap.storage import read_json, write_json
from tests.trained_run import write_run


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that is predicted and evaluated, each by its folder alone."""
    config = write_run(tmp_path_factory.mktemp("run"))
    run = Run.of(load_config(config))
    run.step("train", run.config.part("model", "train", "split", "seed"), {"maps": digest(run)}, [run.model]).finish()
    predict.main([str(run.folder)])
    evaluate.main([str(run.folder)])
    return run.folder


def digest(run: Run) -> str:
    from hpc_massmap.dataset.mapfile import open_maps

    return open_maps(run.maps).digest


@pytest.fixture
def run(done: Path, tmp_path: Path) -> Run:
    """A copy of it, moved."""
    folder = shutil.copytree(done, tmp_path / "moved" / "small")
    return Run(load_config(folder / "config.yaml"), folder)


def states(run: Run) -> dict[str, str]:
    return {step.name: step.state for step in status_of(run)}


def test_a_run_tells_what_is_done_and_what_comes_next(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert states(run) == {
        **{"make_maps": "not needed", "tune": "not needed"},
        **{"train": "done", "predict": "done", "predict_validation": "not needed", "calibrate": "not needed"},
        **{"evaluate": "done", "report": "open"},
    }
    assert next_of(run, status_of(run)) == f"massmap report {run.folder}"
    status.main([str(run.folder)])
    said = capsys.readouterr().out
    assert "F = 4, K = 3, N = 2, dropout = 0, 100 epochs on " in said
    assert said.endswith(f"next: massmap report {run.folder}\n")
    assert read_json(run.folder / "provenance" / "evaluate.json")["seconds"] > 0


def test_what_changed_since_is_stale_and_so_is_what_takes_from_it(run: Run) -> None:
    record = run.folder / "provenance" / "train.json"
    changed = read_json(record)
    changed["settings"]["train"]["epochs"] = 3
    write_json(record, changed)
    found = {step.name: step for step in status_of(run)}
    assert found["train"].note == "done with train.epochs = 3, now 100"
    assert found["predict"].note == "train is stale"
    assert found["evaluate"].note == "predict is stale"
    assert next_of(run, list(found.values())) == f"massmap train {run.folder} --force"


def test_error_bars_are_calibrated_before_they_are_tested_and_again_with_another_model(tmp_path: Path) -> None:
    run = Run.of(load_config(write_run(tmp_path, output="quantiles")))
    settings = run.config.part("model", "train", "split", "seed")
    run.step("train", settings, {"maps": digest(run)}, [run.model]).finish()
    run.keep_config()
    predict.main([str(run.folder)])
    assert next_of(run, status_of(run)) == f"massmap predict {run.folder} --validation"
    predict.main([str(run.folder), "--validation"])
    assert next_of(run, status_of(run)) == f"massmap calibrate {run.folder}"
    calibrate.main([str(run.folder)])
    assert next_of(run, status_of(run)) == f"massmap evaluate {run.folder}"
    record = run.folder / "provenance" / "train.json"
    write_json(record, {**read_json(record), "finished": "2999-01-01T00:00:00.000+00:00"})
    assert [name for name, state in states(run).items() if state == "stale"] == [
        *("predict", "predict_validation", "calibrate")
    ]
    found = {step.name: step.note for step in status_of(run)}
    assert found["calibrate"] == "predict_validation is stale"


def test_predictions_of_the_other_kind_are_stale(run: Run) -> None:
    asked = Run(run.config.with_values("predict", symmetries=True), run.folder)
    found = {step.name: step.note for step in status_of(asked) if step.state == "stale"}
    assert found == {"predict": "done with symmetries = None, now True", "evaluate": "predict is stale"}


def test_a_step_done_again_makes_the_later_ones_stale(run: Run) -> None:
    record = run.folder / "provenance" / "predict.json"
    write_json(record, {**read_json(record), "finished": "2999-01-01T00:00:00.000+00:00"})
    assert [name for name, state in states(run).items() if state == "stale"] == ["evaluate"]


def test_other_maps_make_all_stale(run: Run) -> None:
    for record in (run.folder / "provenance").glob("*.json"):
        record.write_text(record.read_text().replace(digest(run), "0" * 64))
    assert [name for name, state in states(run).items() if state == "stale"] == ["train", "predict", "evaluate"]


def test_runs_are_listed_and_a_damaged_one_hides_no_other(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    other = shutil.copytree(run.folder, run.folder.with_name("other"))
    (other / "provenance" / "train.json").write_text("{}")
    assert runs_in(run.folder.parent) == [other, run.folder]
    runs.main([str(run.folder.parent)])
    first, second = capsys.readouterr().out.splitlines()
    assert "train.json: not the record of a finished step" in first
    assert second.endswith(f"train, predict, evaluate done; next: massmap report {run.folder}")
    with pytest.raises(InputError, match="no run is in this folder"):
        runs.main([str(run.folder)])


def asked(*words: object) -> Config:
    return config_of(parse(parser("train", "", ""), list(map(str, words))))


def test_the_folder_of_a_run_is_as_good_as_its_config(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    config = asked(run.folder)
    assert config == run.config.model_copy(update={"runs": run.folder.parent})
    assert capsys.readouterr().out == ""
    assert asked(run.folder, "train.epochs=7").train.epochs == 7
    assert capsys.readouterr().out == f"train.epochs = 7, was 100 in {run.folder}/config.yaml\n"


def test_only_the_first_rank_says_what_changed(
    run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RANK", "1")
    assert asked(run.folder, "train.epochs=7").train.epochs == 7
    assert capsys.readouterr().out == ""


def test_a_folder_that_is_none_or_of_another_version_says_what_to_do(run: Run, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"not the folder of a run \(it has no config\.yaml\)"):
        asked(tmp_path)
    renamed = shutil.copytree(run.folder, run.folder.with_name("renamed"))
    with pytest.raises(InputError, match="the folder of the run small; give it its name back"):
        asked(renamed)
    path = run.folder / "config.yaml"
    path.write_text(path.read_text() + "\nwarp: 9\n")
    with pytest.raises(InputError, match=r"config\.yaml: warp: unknown key; .*; kept by another version, it seems"):
        asked(run.folder)


def test_times_are_told_as_people_do() -> None:
    assert [duration(seconds) for seconds in (4, 99, 600, 9000)] == ["4 s", "99 s", "10 min", "2.5 h"]


def test_records_of_earlier_versions_are_read(run: Run) -> None:
    """Without the seconds."""
    for record in (run.folder / "provenance").glob("*.json"):
        kept = json.loads(record.read_text())
        del kept["seconds"]
        record.write_text(json.dumps(kept))
    assert states(run)["evaluate"] == "done"


def test_a_look_at_a_run_does_not_wait_for_torch() -> None:
    script = "import sys, hpc_massmap.pipeline.status, hpc_massmap.tune.monitor.reading; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True).stdout == "False\n"
