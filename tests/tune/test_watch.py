"""What is shown of a study is what its documents say, fits the terminal, and can do no harm to it."""

import copy
import io
import json
import re
import uuid
from collections.abc import Iterator
from datetime import timedelta
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from bson.datetime_ms import DatetimeMS
from pymongo.database import Database as MongoDatabase
from rich.console import Console

from hpc_massmap.config import Config, Database, IntegerRange, Space
from hpc_massmap.errors import InputError
from hpc_massmap.run import Run
from hpc_massmap.tune.connection import open_study
from hpc_massmap.tune.database.connect import database
from hpc_massmap.tune.documents import plain
from hpc_massmap.tune.export import export, to_jsonl
from hpc_massmap.tune.monitor.listing import to_json, trials_as_csv, trials_as_text
from hpc_massmap.tune.monitor.reading import StudyReader, read_database
from hpc_massmap.tune.monitor.screen import BLOCKS, duration, screen, sparkline
from hpc_massmap.tune.monitor.snapshot import DATABASE, Reading, Snapshot, snapshot
from hpc_massmap.tune.study import Study
from tests.tune import made_up
from tests.tune.made_up import LEASE, NOW, Document, trial, worker

Mongo = MongoDatabase[Document]
EVIL = "\x1b[2J\x1b]0;owned\x07[red]x[/red] \u202egnp\u2028\x9b1m\ud800\nnext"


def snap(trials: list[Document], workers: list[Document] | None = None, **study: Any) -> Snapshot:
    reading = Reading(DATABASE, NOW, {"evaluations": 100, **study}, trials, workers or [])
    return snapshot(reading, "tuned", 50, Space(), LEASE)


def text_of(study: Snapshot, width: int = 160, height: int = 60, terminal: bool = False) -> str:
    file = io.StringIO()
    Console(file=file, width=width, height=height, force_terminal=terminal).print(screen(study, width, height))
    return file.getvalue()


def test_counts() -> None:
    trials, workers, study = made_up.study(ended=40, running=6, evaluations=60)
    trials += [trial(46, 0, epochs=2, age=9), trial(47, 1, epochs=3, age=LEASE + 1)]
    now = snap(trials, workers, **study)
    states = [document["state"] for document in trials]
    assert (now.done, now.failed, now.running, now.waiting) == (states.count(2), states.count(3), 6, 2)
    assert now.pruned == sum(document["result"].get("pruned", False) for document in trials)
    assert now.left == 60 - 48
    assert (now.evaluations, now.name, now.left_out) == (60, "tuned", 0)
    assert [t.state for t in now.trials[:8]] == ["running"] * 6 + ["expired", "waiting"]
    assert [t.tid for t in now.trials[8:]] == list(range(39, -1, -1))  # the latest first
    best = min((d for d in trials if d["state"] == 2), key=lambda d: d["result"]["loss"])
    assert now.best is not None
    assert (now.best.tid, now.best.best) == (best["tid"], best["result"]["loss"])
    assert now.best.values["filters"] == best["misc"]["vals"]["filters"][0]


def test_time_left_is_trials_left_times_their_duration_over_live_workers() -> None:
    ended = [trial(tid, epochs=10 + 10 * (tid % 2), age=9) for tid in range(20)]  # 200 s or 400 s of training each
    workers = [worker(1), worker(2, "idle"), worker(3, "leaving"), worker(4, "ended"), worker(5, seen=61)]
    now = snap([*ended, trial(20, 3, age=5), trial(21, 1, age=5)], workers)
    assert [w.state for w in now.workers] == ["training", "idle", "leaving", "ended", "silent"]
    assert now.per_hour == pytest.approx(3 * 3600 / 300)
    assert now.seconds_left == pytest.approx((100 - 21) * 300 / 3)
    for unknown in (snap(ended), snap([trial(21, 1, age=5)], workers)):
        assert unknown.per_hour is None
        assert unknown.seconds_left is None
        assert "- trials per hour, time left -" in text_of(unknown)


def test_no_trial_expires_within_a_lease_of_the_database_s_return() -> None:
    old = trial(0, 1, age=LEASE + 1)
    assert [t.state for t in snap([old]).trials] == ["expired"]
    assert [t.state for t in snap([old], opened=NOW - timedelta(seconds=5)).trials] == ["running"]
    assert [t.state for t in snap([old], opened=NOW - timedelta(seconds=LEASE + 1)).trials] == ["expired"]


def test_a_trial_without_a_suggestion_and_one_that_was_not_varied() -> None:
    fresh = trial(0, 1, epochs=0, age=1)
    fresh["misc"]["vals"] = {}
    fixed = trial(1, age=1)
    fixed["misc"]["vals"]["kernel"] = [0]  # hyperopt's index of the only choice
    reading = Reading(DATABASE, NOW, {}, [fresh, fixed], [])
    new, done = snapshot(reading, "tuned", 50, Space(kernel=IntegerRange(low=5, high=5)), LEASE).trials
    assert (new.values, new.epochs, new.loss, new.best, new.seconds) == ({}, 0, None, None, 1.0)
    assert done.values["kernel"] == 5


def test_failures_show_the_last_line_of_their_error() -> None:
    failed = trial(3, 3, age=5)
    now = snap([failed])
    assert [t.error for t in now.failures] == ["OutOfMemoryError: CUDA out of memory"]
    assert f"trial 3, attempt {failed['attempts']}: OutOfMemoryError: CUDA out of memory" in text_of(now)
    assert "first line" not in text_of(now)
    lost = trial(4, 0, age=5, error=failed["error"])  # its process died and it is tried again: no failure of the trial
    assert snap([lost]).failures == []


def test_a_stopped_study_says_why() -> None:
    assert "stopped: 5 trials failed in a row" in text_of(snap([], stopped="5 trials failed in a row"))


@pytest.mark.parametrize("width", [40, 80, 100, 120, 200])
@pytest.mark.parametrize("height", [20, 24, 50, 100])
def test_a_long_study_fits(width: int, height: int) -> None:
    trials, workers, study = made_up.study(ended=130, running=32)
    now = snap(trials, workers, **{**study, "stopped": "x" * 300})
    lines = text_of(now, width, height).rstrip("\n").split("\n")
    assert len(lines) <= height
    assert max(map(len, lines)) <= width
    assert sum(" running " in line for line in lines) >= 1
    if width >= 80:
        assert any("more active" in line and "more ended" in line for line in lines)


def test_as_many_rows_as_there_is_room_for() -> None:
    trials, workers, study = made_up.study(ended=130, running=32)
    lines = text_of(snap(trials, workers, **study), 120, 60).rstrip("\n").split("\n")
    assert len(lines) >= 57
    assert sum(re.match(r" *\d+ +(done|pruned|failed) ", line) is not None for line in lines) >= 7  # 32 are running
    few, crew, study = made_up.study(ended=3, running=2)
    assert "more" not in text_of(snap(few, crew, **study))


def tampered() -> Iterator[Document]:
    """Trials as somebody might have changed them: some are left out, some are shown, none may do anything."""
    anything: list[Any] = [None, EVIL, {"$gt": ""}, [], -1, 1e308, True]
    for key, value in product(("state", "misc", "result", "worker", "error", "tid", "attempts"), anything):
        yield {**trial(1000, 2, age=5), key: value}
    for key in ("state", "misc", "result", "tid"):
        document = trial(1001, 2, age=5)
        del document[key]
        yield document
    dates = [None, 7, DatetimeMS(2**60), b"\xff", {"a": 1}, EVIL, "0001-01-01T00:00:00+14:00", "2026-05-01T00:00:00"]
    for key, value in product(("book_time", "refresh_time"), dates):
        yield {**trial(1002, 1, age=5), key: value}
    all_values: list[Any] = [{"filters": [1e308]}, {"filters": ["__import__('os')"]}, {EVIL: [1]}, {"filters": []}]
    for values in all_values:
        yield trial(1003, 2, age=5, misc={"tid": 1003, "vals": values})
    for history in ([1e308, -1e308], [0.0, -1.0], [float("nan")], [1e308] * 50, ["1"], EVIL):
        yield trial(1004, 1, age=5, result={"status": "new", "history": history, "seconds": history})
    yield trial(1005, 2, age=5, result={"status": "ok", "loss": 0.1, "history": [0.1], "seconds": [1e308, 1e308]})
    yield trial(1006, 2, age=5, result={"status": "ok", "loss": 0.1, "history": [0.1], "seconds": [1e-320]})
    yield trial(2**63, 3, age=5, error={"type": EVIL, "message": EVIL, "traceback": EVIL})
    yield trial(1007, 3, age=5, error={"type": "", "message": "\n\n", "traceback": ""})
    yield trial(1008, 1, age=5, worker={"id": EVIL, "host": EVIL, "pid": 1, "slurm_job": EVIL})
    yield {}


def test_tampered_documents_do_no_harm() -> None:
    trials = list(tampered())
    anything: list[Any] = [EVIL, None, 1e308, {}, 2**70]
    workers = [{**worker(1), key: value} for key, value in product(worker(1), anything)]
    study = {"evaluations": EVIL, "stopped": EVIL, "_id": EVIL}
    now = snap([trial(0, age=5), *copy.deepcopy(trials)], [worker(0), *workers, {}], **study)
    assert now.evaluations == 50  # the config's, since the database's is no number
    assert 0 < now.left_out < len(trials) + len(workers) + 1
    plain = text_of(now, 200, 400)
    assert all(character.isprintable() or character == "\n" for character in plain)
    assert "[red]x[/red]" in plain  # as text
    assert f"{now.left_out} documents are damaged and left out" in plain
    coloured = text_of(now, 200, 400, terminal=True)
    assert "\x1b[2J" not in coloured
    assert "\x07" not in coloured
    object_ = to_json(now)
    assert object_.isascii()
    assert json.loads(object_)["name"] == "tuned"
    for listing in (trials_as_text(now.trials), trials_as_csv(now.trials)):
        assert all(character.isprintable() or character == "\n" for character in listing)


def test_numbers_that_no_trial_of_the_study_has() -> None:
    trials = [trial(0, age=5), trial(100, age=5), trial(1, age=5, fruitless=-1)]
    now = snap(trials)  # of 100
    assert ([t.tid for t in now.trials], now.done, now.left_out) == ([0], 1, 2)


def test_sparkline() -> None:
    assert sparkline([], 8) == ""
    assert sparkline([3.0], 8) == BLOCKS[0]
    assert sparkline([2.0, 2.0], 8) == BLOCKS[0] * 2
    assert sparkline([float(2**n) for n in range(8)], 8) == BLOCKS  # equal steps of the logarithm
    assert sparkline([float(2 ** (n // 10)) for n in range(80)], 8) == BLOCKS
    assert len(sparkline([1 / (n + 1) for n in range(101)], 24)) == 24


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, "-"), (5.4, "5s"), (59.9, "60s"), (60, "1m"), (3599, "59m"), (3600, "1h00m"), (86399, "23h59m"),
     (86400, "1d00h"), (float("inf"), "-"), (float("nan"), "-"), (-1, "-")],
)  # fmt: skip
def test_durations(seconds: float | None, text: str) -> None:
    assert duration(seconds) == text


def test_shown_text_is_one_short_line() -> None:
    assert plain("a\n  b\tc", 10) == "a b c"
    assert plain("a" * 50, 10) == "a" * 9 + "…"
    assert plain(EVIL, 99) == "?[2J?]0;owned?[red]x[/red] ?gnp ?1m? next"


def filled(mongo: Mongo, trials: list[Document], workers: list[Document]) -> Study:
    """A study in a real database, of these documents."""
    study = Study(mongo, uuid.uuid4().hex, LEASE, 3)
    study.create(100, {})
    for collection, documents in ((mongo["jobs"], trials), (mongo["workers"], workers)):
        if documents:
            collection.insert_many([{**document, "exp_key": study.key} for document in documents])
    return study


def test_reading_a_database_takes_curves_only_where_they_are_wanted(mongo: Mongo) -> None:
    trials, workers, _ = made_up.study(ended=30, running=4)
    study = filled(mongo, trials, workers)
    reading = read_database(study, recent=5)
    with_curve = {d["tid"] for d in reading.trials if d["result"].get("history")}
    assert with_curve == {25, 26, 27, 28, 29, 31, 32, 33}  # 30 is running, and in its first epoch
    assert reading.study["evaluations"] == 100
    assert len(reading.workers) == 4
    assert abs(reading.now - NOW) > timedelta(0)  # the server's own clock
    assert reading.now.tzinfo is not None
    everything = read_database(study, recent=None)
    assert {d["tid"] for d in everything.trials if d["result"].get("history")} == set(range(34)) - {30}
    assert to_jsonl(everything.trials).count("\n") == 34


def test_looking_writes_nothing(mongo: Mongo) -> None:
    trials, workers, _ = made_up.study(ended=5, running=2)
    study = filled(mongo, trials, workers)
    before = mongo.command("dbHash")["collections"]
    read_database(study, recent=3)
    read_database(study, recent=None)
    assert mongo.command("dbHash")["collections"] == before


def test_a_database_with_what_python_cannot_hold_is_read(mongo: Mongo) -> None:
    broken = [document for document in tampered() if document.get("tid") in (1002, 1004)]
    broken = [d for d in broken if EVIL not in (*d.values(), d["result"]["history"])]  # BSON has no lone surrogates
    for n, document in enumerate(broken):
        document["tid"] = document["misc"]["tid"] = n
    study = filled(mongo, [*broken, trial(99, age=3)], [{**worker(9), "seen": DatetimeMS(2**60)}])
    now = snapshot(read_database(study, recent=1), "tuned", 50, Space(), LEASE)
    assert 99 in [t.tid for t in now.trials]
    assert now.left_out > 1
    assert text_of(now)


def test_without_a_database_its_export_is_shown_and_the_database_again_when_it_is_back(tmp_path: Path) -> None:
    config = Config.model_validate(
        {"name": "tuned", "runs": tmp_path, "simulations": [{"name": "s", "folder": Path("f"), "snapshots": [1]}]}
    )
    run = Run.open(config)
    peek = StudyReader(run)
    with pytest.raises(InputError, match=r"neither a database that answers .* nor trials.jsonl; massmap tune"):
        peek.snapshot()
    with database(Database(), run.database):
        study = open_study(run)
        study.create(7, {})
        study.jobs.insert_many([{**document, "exp_key": "tuned"} for document in made_up.study(4, 1)[0]])
        now = peek.snapshot()
        assert (now.source, now.evaluations, len(now.trials)) == (DATABASE, 7, 5)
        export(study, run.trials_export)
    now = peek.snapshot()
    assert now.source.startswith("database not running: from trials.jsonl of 20")
    assert (now.evaluations, len(now.trials), now.per_hour) == (100, 5, None)
    assert text_of(now).startswith(f"tuned: {now.source}\n")
    with run.trials_export.open("a") as exported:
        exported.write('{"tid": 77\n[1]\n')
    assert peek.snapshot().left_out == 2
    with database(Database(), run.database):
        assert peek.snapshot().source == DATABASE
