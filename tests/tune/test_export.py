"""The plain export of a study: whole at any moment, never behind what it held, and enough to bring a study back."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from hpc_massmap.errors import InputError
from hpc_massmap.tune import trials
from hpc_massmap.tune.export import export, export_if_due, read_export, restore
from tests.tune.studies import VALUES, MakeStudy, claim, claimed, done_by


def test_finished_trials_come_back_from_the_export(make: MakeStudy, tmp_path: Path) -> None:
    lost, fresh = make(evaluations=3), make(evaluations=3)
    trials.finish(lost, trials.suggest(lost, claimed(lost), VALUES), [0.4], [1.0])
    claimed(lost)  # running when the disk was lost
    trials.fail(lost, claimed(lost), "E", "m", "t")
    export(lost, tmp_path / "trials.jsonl")
    assert restore(fresh, read_export(tmp_path / "trials.jsonl")) == 2
    assert restore(fresh, read_export(tmp_path / "trials.jsonl")) == 0
    assert claimed(fresh).tid == 1
    assert claim(fresh) is None
    assert fresh.documents()[0]["misc"]["vals"] == VALUES
    (tmp_path / "trials.jsonl").write_text("{not json\n")
    with pytest.raises(InputError, match="line 1 is not JSON"):
        read_export(tmp_path / "trials.jsonl")


def test_the_export_outlives_the_server(make: MakeStudy, tmp_path: Path) -> None:
    study = make(evaluations=2)
    trials.finish(study, trials.suggest(study, claimed(study), VALUES), [0.4], [1.0])
    trials.fail(study, claimed(study), "E", "two\nlines", "")
    export(study, tmp_path / "trials.jsonl")
    lines = [json.loads(line) for line in (tmp_path / "trials.jsonl").read_text().splitlines()]
    assert [line["tid"] for line in lines] == [0, 1]
    assert lines[0]["result"]["loss"] == 0.4
    assert lines[0]["book_time"].startswith("20")


def test_of_many_trials_that_end_at_once_one_writes_the_export(make: MakeStudy) -> None:
    study = make(evaluations=9)
    assert not study.begin_export("before")  # nothing has ended
    assert study.begin_export("first", due=True)
    assert not study.begin_export("second", due=True)  # the first is at it
    study.end_export("first", written=True)
    study.studies.update_one({"_id": study.key}, {"$set": {"export.until": datetime(2100, 1, 1, tzinfo=UTC)}})
    assert not study.begin_export("third", due=True)  # it pauses
    assert study.begin_export("last", at_once=True)  # what the second and the third left
    assert not study.begin_export("after", at_once=True)  # nothing has ended since
    study.end_export("last", written=False)  # the disk was full
    assert study.begin_export("again", at_once=True)
    study.end_export("last", written=True)  # too late: it is the turn of another
    study.studies.update_one({"_id": study.key}, {"$set": {"export.until": datetime(2000, 1, 1, tzinfo=UTC)}})
    assert study.begin_export("heir", due=True)  # the other died while it wrote


def test_an_export_that_is_due_is_written_whole_by_whoever_is_next(make: MakeStudy, tmp_path: Path) -> None:
    study, path = make(evaluations=9), tmp_path / "trials.jsonl"
    done_by(study, 1)
    assert study.begin_export("dies", due=True)
    done_by(study, 1)
    export_if_due(study, path, due=True)
    assert not path.exists()
    export_if_due(study, path, at_once=True)
    assert [document["tid"] for document in read_export(path)] == [0, 1]
    path.unlink()
    export_if_due(study, path, at_once=True)
    assert not path.exists()  # nothing new: nothing to do
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot be written"):
        export_if_due(study, tmp_path / "file" / "trials.jsonl", due=True, at_once=True)
    export_if_due(study, path, at_once=True)  # that it failed is not forgotten
    assert len(read_export(path)) == 2


def test_an_export_never_goes_backwards(make: MakeStudy, tmp_path: Path) -> None:
    """Another database, begun anew on another node, or an older look at the same one."""
    path, full, empty = tmp_path / "trials.jsonl", make(evaluations=4), make(evaluations=4)
    done_by(full, 2)
    trials.fail(full, claimed(full), "E", "m", "t")
    claimed(full)
    export(full, path)
    before = [d for d in read_export(path) if d["state"] in (2, 3)]
    claimed(empty)
    export(empty, path)
    assert read_export(path) == before
    trials.retry(full)  # that a trial is tried again is no step back
    export(full, path)
    assert [d["state"] for d in read_export(path)] == [2, 2, 0, 1]
    with path.open("a") as file:
        file.write('{"tid": 3, "state": 2}\n{not json\n')  # damaged: nothing to keep
    export(full, path)
    assert [d["state"] for d in read_export(path)] == [2, 2, 0, 1]
