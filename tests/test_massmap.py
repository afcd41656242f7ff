"""The command `massmap`: one word a job, whole options only, and what a shell completes."""

import argparse
import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from hpc_massmap.__main__ import JOBS, main
from hpc_massmap.cli import Parser
from hpc_massmap.cluster import slurm
from hpc_massmap.config import load_config
from hpc_massmap.errors import InputError
from hpc_massmap.jobs import configs, run, trials
from hpc_massmap.pipeline.here import run_in_sight
from hpc_massmap.pipeline.on_slurm import submit
from hpc_massmap.pipeline.stages import Stage
from hpc_massmap.shipped import about, chosen, copy, names
from tests.conftest import ROOT


def typed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    """The exit code of a command line and all that it says."""
    monkeypatch.setattr(sys, "argv", ["massmap", *words])
    code = 0
    try:
        main()
    except SystemExit as end:
        code = int(end.code or 0)
    told = capsys.readouterr()
    return code, told.out + told.err


def test_every_job_is_a_command_and_in_the_help(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert set(JOBS) == {path.stem for path in Path("hpc_massmap/jobs").glob("[!_]*.py")}
    for words in ((), ("--help",)):
        code, said = typed(monkeypatch, capsys, *words)
        assert code == 0
        assert all(f"\n  {job} " in said for job in JOBS)
    code, said = typed(monkeypatch, capsys, "tun")
    assert code == 2
    assert "invalid choice: 'tun'" in said


def parsers(parser: argparse.ArgumentParser) -> list[argparse.ArgumentParser]:
    verbs = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    return [parser, *(its for action in verbs for its in action.choices.values())]


@pytest.mark.parametrize("job", JOBS)
def test_no_option_is_taken_for_another_that_it_begins_like(job: str) -> None:
    for parser in parsers(importlib.import_module(f"hpc_massmap.jobs.{job}").arguments()):
        assert isinstance(parser, Parser)
        assert not parser.allow_abbrev
        assert parser.prog.startswith(f"massmap {job}")


def test_what_is_missing_is_said(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    code, said = typed(monkeypatch, capsys, "tune")
    assert code == 2
    assert said.endswith("the following arguments are required: config, a file of configs/, or the folder of a run\n")
    code, said = typed(monkeypatch, capsys, "tune", "configs/demo.yaml", "--worker", "2")
    assert code == 2
    assert said.endswith("unrecognized arguments: --worker 2\n")


def test_the_run_of_trials_may_stand_before_the_verb(tmp_path: Path) -> None:
    for words in (["list", str(tmp_path)], [str(tmp_path), "list"]):
        with pytest.raises(InputError, match="config"):
            trials.main(words)


def completed(line: str) -> list[str]:
    """What a shell would offer for the last word of a line."""
    script = f"exec 8>&1; {sys.executable} -m hpc_massmap 8>&1 1>/dev/null"
    environment = {
        **os.environ,
        **{"_ARGCOMPLETE": "1", "COMP_LINE": line, "COMP_POINT": str(len(line)), "_ARGCOMPLETE_IFS": "\n"},
        "PYTHONPATH": str(ROOT),
    }
    done = subprocess.run(["bash", "-c", script], env=environment, capture_output=True, text=True, check=False)
    return [word.strip() for word in done.stdout.splitlines()]


def test_a_shell_completes_commands_options_files_and_keys() -> None:
    assert completed("massmap tr") == ["train", "trials"]
    assert completed("massmap tune configs/demo.yaml --dr") == ["--dry-run"]
    assert "configs/multi3.yaml" in completed("massmap tune configs/mul")
    assert completed("massmap trials ex") == ["export"]
    assert completed("massmap train configs/demo.yaml train.ep") == ["train.epochs="]
    assert completed("massmap train configs/demo.yaml train.loss=") == ["train.loss=l1", "train.loss=relative"]
    assert completed("massmap completion ") == ["-h", "--help", "bash", "zsh", "fish"]


def test_configs_are_copied_with_what_they_need_and_never_over_changes(tmp_path: Path) -> None:
    wanted = chosen(["multi3_best", "tune_sz"])
    assert wanted == [
        *("configs/multi3_best.yaml", "configs/multi3.yaml", "configs/paper.yaml", "configs/config.schema.json"),
        *("slurm/tune_sz.sh", "slurm/job.sh"),
    ]
    assert copy(wanted, tmp_path, force=False) == wanted
    assert load_config(tmp_path / "configs" / "multi3_best.yaml") == load_config(Path("configs/multi3_best.yaml"))
    path = tmp_path / "configs" / "paper.yaml"
    path.write_text("name: mine\n")
    with pytest.raises(InputError, match=r"paper\.yaml: is there, with changes; --force"):
        copy(wanted, tmp_path, force=False)
    assert copy(wanted, tmp_path, force=True) == ["configs/paper.yaml"]
    with pytest.raises(InputError, match="multi9: no such file comes with hpc_massmap"):
        chosen(["multi9"])
    assert {name for name in chosen([]) if not name.endswith(".json")} == set(names())
    assert chosen(["sites/gpu"]) == ["configs/sites/gpu.yaml", "configs/sites/site.schema.json"]


def test_each_file_says_what_it_is_for(capsys: pytest.CaptureFixture[str]) -> None:
    assert [name for name in names() if not about(name)] == []
    configs.main(["list"])
    assert len(capsys.readouterr().out.splitlines()) == len(names())


def test_the_stages_of_a_run_are_told_and_a_batch_script_is_missed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run.main(["configs/demo.yaml", f"runs={tmp_path}", "--dry-run"])
    told = [line.partition(":")[0] for line in capsys.readouterr().out.splitlines()]
    assert told == ["make_maps", "tune", "train", "evaluate"]
    run.main(["configs/demo.yaml", f"runs={tmp_path}", "--dry-run", "--no-tune"])
    told = [line.partition(":")[0] for line in capsys.readouterr().out.splitlines()]
    assert told == ["make_maps", "train", "evaluate"]


def test_stages_run_in_sight_until_one_fails(capfd: pytest.CaptureFixture[str]) -> None:
    said: list[str] = []

    def of(name: str, code: int, is_done: bool = False) -> Stage:
        return Stage(name, [], [["-c", f"print('{name} speaks'); raise SystemExit({code})"]], is_done)

    wanted = [of("a", 0), of("b", 1, is_done=True), of("c", 75), of("d", 0)]
    assert run_in_sight(wanted, lambda name, told: said.append(f"{name} {told}")) == 75
    assert said == ["a begins", "b already done", "c begins"]
    assert capfd.readouterr().out == "a speaks\nc speaks\n"


def test_a_script_that_is_not_here_is_told_before_slurm_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(slurm, "in_queue", lambda: [])
    with pytest.raises(InputError, match=r"slurm/tune\.sh: no such batch script here; massmap configs copy slurm"):
        submit([Stage("tune", ["slurm/tune.sh"], [], False)], None, tmp_path, tmp_path / "site.yaml", {})
