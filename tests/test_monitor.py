"""The jobs that look after a study, as a person runs them: in a pipe, on a terminal, with a database and without."""

import importlib.util
import io
import json
import os
import pty
import select
import signal
import subprocess
import sys
import termios
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path

import pytest

from hpc_massmap.config import Config, Database
from hpc_massmap.errors import InputError
from hpc_massmap.run import Run
from hpc_massmap.storage import write_json
from hpc_massmap.tune.connection import open_study
from hpc_massmap.tune.database.connect import database
from hpc_massmap.tune.export import to_jsonl
from hpc_massmap.tune.study import Study
from hpc_massmap.tune.trials import claim, finish
from tests.patience import wait_until, within
from tests.tune import made_up

PAGE = Path("docs/tuning.md")


def monitor(run: Run, *arguments: object, expect: int = 0, **environment: str) -> str:
    """Run jobs/monitor.py without a terminal; what it prints, and on failure its error."""
    command = [sys.executable, "jobs/monitor.py", str(run.folder), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, **environment})
    assert done.returncode == expect, done.stderr
    assert expect or not done.stderr, done.stderr
    return done.stderr if expect else done.stdout


def trials(run: Run, *arguments: object) -> str:
    """What jobs/trials.py says, run in this process."""
    return said("trials", run, *arguments)


def said(name: str, run: Run, *arguments: object) -> str:
    """What a job prints, run in this process."""
    path = Path("jobs", f"{name}.py")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    output = io.StringIO()
    with redirect_stdout(output):
        module.main([str(run.folder), *map(str, arguments)])
    return output.getvalue()


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A run that was tuned once: its database is gone, its export is there."""
    simulation = {"name": "s", "folder": Path("f"), "snapshots": [1]}
    config = Config.model_validate({"name": "tuned", "runs": tmp_path / "runs", "simulations": [simulation]})
    opened = Run.open(config)
    opened.trials_export.write_text(to_jsonl(made_up.study(ended=40, running=2)[0]))
    return opened


@contextmanager
def served(run: Run, evaluations: int = 100) -> Iterator[Study]:
    """The database of the run, with the trials of its export and some workers."""
    with database(Database(), run.database):
        study = open_study(run)
        study.create(evaluations, {})
        trials, workers, _ = made_up.study(ended=40, running=2)
        study.jobs.insert_many(trials)
        for worker in workers:
            names = ("host", "pid", "slurm_job", "ranks", "gpus")
            study.see({"id": worker["_id"], **{name: worker[name] for name in names}}, "training", worker["tid"])
        yield study


def test_once_is_plain_text_that_fits(run: Run) -> None:
    hostile = made_up.trial(90, 3, error={"type": "E", "message": "\x1b[31m[red]late\x07[/red]", "traceback": ""})
    with run.trials_export.open("a") as export:
        export.write(to_jsonl([hostile]))
    text = monitor(run, COLUMNS="110", LINES="30")  # --once is meant where there is no terminal
    assert text.startswith("tuned: database not running: from trials.jsonl of 20")
    assert "35 of 100 done (7 pruned), 6 failed" in text
    assert "trial 90, attempt 1: E: ?[31m[red]late?[/red]" in text
    assert all(character.isprintable() or character == "\n" for character in text)
    lines = text.splitlines()
    assert len(lines) <= 30
    assert max(map(len, lines)) <= 110


def test_once_where_the_terminal_knows_no_blocks(run: Run) -> None:
    assert "35 of 100 done" in monitor(run, "--once", PYTHONIOENCODING="ascii")


def test_json_is_one_object_of_the_documented_keys(run: Run) -> None:
    with served(run):
        found = json.loads(said("monitor", run, "--json"))
    assert (found["source"], found["done"], found["failed"], found["running"] + found["waiting"]) == (
        "database",
        35,
        5,
        2,
    )
    assert [worker["state"] for worker in found["workers"]] == ["training", "training"]
    assert found["seconds_left"] > 0
    assert all(len(trial["history"]) == trial["epochs"] == 30 for trial in found["trials"] if trial["state"] == "done")
    page = PAGE.read_text()
    for key in {*found, *found["workers"][0], *found["trials"][0]}:
        assert f"`{key}`" in page, key


def test_a_folder_that_is_no_run_is_one_line_and_exit_code_2(run: Run) -> None:
    (run.folder / "config.yaml").unlink()
    error = monitor(run, expect=2)
    assert error.startswith(f"error: {run.folder}: not the folder of a run")
    assert error.count("\n") == 1


@pytest.mark.parametrize(("name", "words"), [("monitor", ["--once"]), ("monitor", ["--json"]), ("trials", ["list"])])
def test_a_run_without_trials_says_so(name: str, words: list[str], run: Run) -> None:
    run.trials_export.unlink()
    with pytest.raises(InputError, match=r"neither a database that answers \(.*\) nor trials.jsonl; massmap tune"):
        said(name, run, *words)


class Terminal:
    """The monitor on a terminal of its own."""

    def __init__(self, run: Run) -> None:
        self.master, slave = pty.openpty()
        termios.tcsetwinsize(slave, (40, 120))
        self.slave, self.before = slave, termios.tcgetattr(slave)
        command = [sys.executable, "jobs/monitor.py", str(run.folder)]
        environment = {**os.environ, "TERM": "xterm-256color"}
        self.process = subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave, env=environment)
        self.text = ""

    def wait_for(self, text: str) -> None:
        """Until this was shown."""

        def is_shown() -> bool:
            if select.select([self.master], [], [], 0.1)[0]:
                self.text += os.read(self.master, 65536).decode(errors="replace")
            return text in self.text

        wait_until(lambda: text in self.text or is_shown(), repr(text), 30, every=0)

    def is_as_before(self) -> bool:
        return termios.tcgetattr(self.slave) == self.before

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.master)
        os.close(self.slave)


@pytest.fixture
def terminal(run: Run) -> Iterator[Terminal]:
    opened = Terminal(run)
    yield opened
    opened.close()


def test_live_view_follows_the_study_and_q_leaves(run: Run) -> None:
    with served(run) as study:
        terminal = Terminal(run)
        try:
            terminal.wait_for("35 of 100 done")
            assert not terminal.is_as_before()  # keys are read one by one
            trial = claim(study, {"id": "me:1:cafe", "host": "me", "pid": 1, "slurm_job": None}, "me")
            assert trial is not None
            finish(study, trial, [0.0123], [1.0])
            terminal.wait_for("36 of 100 done")
            terminal.wait_for(f"best 0.0123 of trial {trial.tid}")
            os.write(terminal.master, b"xq")
            assert terminal.process.wait(within(20)) == 0
            assert terminal.is_as_before()
            terminal.wait_for("\x1b[?1049l")  # the screen is given back
            assert "Traceback" not in terminal.text
        finally:
            terminal.close()


def test_live_view_without_a_database_and_ctrl_c_leaves(terminal: Terminal) -> None:
    terminal.wait_for("database not running: from trials.jsonl of 20")
    terminal.process.send_signal(signal.SIGINT)
    assert terminal.process.wait(within(20)) == 0
    assert terminal.is_as_before()
    assert "Traceback" not in terminal.text


def test_a_terminated_monitor_leaves_the_terminal_as_it_was(terminal: Terminal) -> None:
    terminal.wait_for("35 of 100 done")
    terminal.process.terminate()
    assert terminal.process.wait(within(20)) == 143
    assert terminal.is_as_before()


def test_list_and_export(run: Run, tmp_path: Path) -> None:
    rows = trials(run, "list").splitlines()
    assert rows[0].split()[:4] == ["trial", "state", "loss", "filters"]
    assert len(rows) == 43
    listed = json.loads(trials(run, "list", "--json"))
    losses = [trial["best"] for trial in listed if trial["best"] is not None]
    assert losses == sorted(losses)
    assert [row.split()[0] for row in rows[1:]] == [str(trial["tid"]) for trial in listed]
    assert "42 trials" in trials(run, "export", tmp_path / "out.jsonl")
    assert (tmp_path / "out.jsonl").read_text() == run.trials_export.read_text()
    trials(run, "export", tmp_path / "out.csv")
    lines = (tmp_path / "out.csv").read_text().splitlines()
    assert len(lines) == 43
    assert lines[0] == "trial,state,loss,filters,kernel,layers,dropout,epochs,attempts,seconds,ended,worker,error"
    with served(run):
        trials(run, "export", tmp_path / "served.jsonl")
    exported = [json.loads(line) for line in (tmp_path / "served.jsonl").read_text().splitlines()]
    assert [document["tid"] for document in exported] == list(range(42))
    assert exported[0]["result"]["history"]
    assert set(exported[0]) == set(json.loads(run.trials_export.read_text().splitlines()[0]))


def test_retry_gives_failed_trials_back_and_starts_the_database_for_it(run: Run) -> None:
    with served(run):
        pass
    run.step("tune", {}, {}, []).finish()
    assert "2 trials will be tried again" in trials(run, "retry", 7, 14, 15)  # 15 did not fail
    assert not (run.database / "endpoint.json").exists()
    states = {trial["tid"]: trial["state"] for trial in map(json.loads, run.trials_export.read_text().splitlines())}
    assert (states[7], states[14], states[15], states[21]) == (0, 0, 2, 3)
    assert not run.step("tune", {}, {}, []).record.exists()  # the study is no longer done
    with served_already(run) as study:
        assert "3 trials will be tried again" in trials(run, "retry")
        assert study.jobs.count_documents({"state": 3}) == 0  # and the database that ran still runs


@contextmanager
def served_already(run: Run) -> Iterator[Study]:
    with database(Database(), run.database):
        yield open_study(run)


def test_import_takes_what_is_missing_and_refuses_another_study(run: Run, tmp_path: Path) -> None:
    other = tmp_path / "other" / "trials.jsonl"
    other.parent.mkdir()
    other.write_text(to_jsonl([made_up.trial(3), made_up.trial(60), made_up.trial(61, 1), made_up.trial(62, 3)]))
    with served(run) as study:
        before = study.documents()
        assert "2 of 4 trials" in trials(run, "import", other)
        after = {document["tid"]: document for document in study.documents()}
        assert [after[document["tid"]] for document in before] == before
        assert after[60]["state"] == 2
        assert 61 not in after
        outside = made_up.trial(63)
        outside["misc"]["vals"]["filters"] = [99]
        other.write_text(to_jsonl([outside]))
        with pytest.raises(InputError, match="trial 63 is not of this run's space"):
            trials(run, "import", other)
        write_json(run.study, {"seed": 0})
        write_json(other.with_name("study.json"), {"seed": 1})
        with pytest.raises(InputError, match="other settings than this run"):
            trials(run, "import", other)
        with pytest.raises(InputError, match="no such file"):
            trials(run, "import", tmp_path / "none.jsonl")
        assert len(study.documents()) == 44


def test_changing_a_study_that_was_never_started(run: Run) -> None:
    with pytest.raises(InputError, match="study tuned: the database has none"):
        trials(run, "retry")
    assert not (run.database / "endpoint.json").exists()
