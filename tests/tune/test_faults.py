"""What a cluster does to workers, done to real ones: nothing is lost, nothing done twice, every loss as in calm."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from hpc_massmap.run import Run
from hpc_massmap.storage import read_json, write_json
from hpc_massmap.tune.connection import open_study
from hpc_massmap.tune.database.connect import database, ensure
from hpc_massmap.tune.study import Study
from tests.patience import wait_until, within
from tests.tune.crew import (
    TRIALS,
    calm_losses,
    children,
    freeze,
    freeze_in_training,
    gone,
    is_training,
    kill,
    losses,
    small_run,
    trainers,
    wait_for_training,
    working,
)
from tests.tune.proxy import Proxy

pytestmark = pytest.mark.xdist_group("faults")  # they share the calm losses


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    run = small_run(tmp_path)
    with database(run.config.database, run.database):
        open_study(run).create(TRIALS, {})
        yield run


def attempts(study: Study) -> list[int]:
    return [document["attempts"] for document in study.documents()]


def test_workers_killed_mid_epoch_one_and_then_two(run: Run) -> None:
    with working(run) as (first,), working(run) as (second,), working(run) as (third,):
        freeze_in_training(open_study(run), first, epochs=2)
        orphans = children(first.pid)
        kill(first)
        freeze(first, signal.SIGCONT)  # its processes that are left
        wait_until(lambda: gone(orphans), "the first one's processes to end with it", 10)
        freeze_in_training(open_study(run), second)
        freeze_in_training(open_study(run), third)
        for worker in (second, third):
            kill(worker)
            freeze(worker, signal.SIGCONT)
        with working(run) as (heir,):
            assert heir.wait(within(120)) == 0
    assert losses(run) == calm_losses()
    assert sum(attempts(open_study(run))) == TRIALS + 3


def test_a_worker_frozen_for_longer_than_its_lease_is_refused_when_it_thaws(run: Run) -> None:
    with working(run) as (zombie,):
        freeze_in_training(open_study(run), zombie)
        with working(run) as (heir,):
            wait_until(lambda: attempts(open_study(run))[0] == 2, "another to take the trial over", 60)
            freeze(zombie, signal.SIGCONT)
            assert heir.wait(within(120)) == 0
            assert zombie.wait(within(60)) == 0  # it was refused, and went on with other trials
    assert losses(run) == calm_losses()
    trial = open_study(run).documents("worker")[0]
    assert trial["worker"]["pid"] == heir.pid
    assert trial["version"] == 2


def test_a_training_process_that_is_killed_is_replaced_by_the_same_worker(run: Run) -> None:
    with working(run) as (worker,):
        freeze_in_training(open_study(run), worker, epochs=2)
        (trainer,) = trainers(worker)
        os.kill(trainer, signal.SIGKILL)
        freeze(worker, signal.SIGCONT)
        assert worker.wait(within(120)) == 0
    assert losses(run) == calm_losses()
    assert attempts(open_study(run))[0] == 2


def test_a_rank_that_is_killed_gives_its_trial_back_at_once(tmp_path: Path) -> None:
    run = small_run(tmp_path / "run", ranks=2, evaluations=1, lease=600.0)  # no lease runs out
    with database(run.config.database, run.database):
        study = open_study(run)
        study.create(1, {})
        with working(run, ranks=2) as (first, second):
            wait_for_training(study, first)
            kill(second)
            assert first.wait(within(40)) == 1
        with working(run, ranks=2) as heirs:
            assert [heir.wait(within(200)) for heir in heirs] == [0, 0]
        assert attempts(study) == [2]
    assert len(losses(run)) == 1


def test_a_database_that_is_killed_mid_write_is_started_again_and_nobody_notices(tmp_path: Path) -> None:
    run = small_run(tmp_path, lease=within(5))
    with database(run.config.database, run.database):
        open_study(run).create(TRIALS, {})
        with working(run) as (one,), working(run) as (two,):
            wait_for_training(open_study(run), one)
            for _ in range(2):
                os.kill(read_json(run.database / "endpoint.json")["pid"], signal.SIGKILL)
                time.sleep(1)
                ensure(run.config.database, run.database)  # as the launcher does
                wait_until(lambda: is_training(open_study(run), two.pid), "the other to go on", 60)
            assert [one.wait(within(120)), two.wait(within(60))] == [0, 0]
        assert losses(run) == calm_losses()
        assert attempts(open_study(run)) == [1] * TRIALS


def test_a_network_that_drops_everything_for_less_than_the_lease(run: Run) -> None:
    study, direct = open_study(run), read_json(run.database / "endpoint.json")
    with Proxy(direct["host"], direct["port"]) as proxy:
        write_json(run.database / "endpoint.json", {**direct, "port": proxy.port})
        with working(run) as (cut_off,):
            wait_for_training(study, cut_off)
            proxy.drop()
            time.sleep(1.5)
            proxy.restore()
            assert cut_off.wait(within(120)) == 0
    write_json(run.database / "endpoint.json", direct)
    assert losses(run) == calm_losses()
    assert attempts(study) == [1] * TRIALS


def test_a_network_that_drops_everything_for_more_than_the_lease(run: Run) -> None:
    study, direct = open_study(run), read_json(run.database / "endpoint.json")
    study.create(3 * TRIALS, {})  # enough for two
    with Proxy(direct["host"], direct["port"]) as proxy, working(run) as (heir,):
        wait_for_training(study, heir)  # it is connected to the server itself
        write_json(run.database / "endpoint.json", {**direct, "port": proxy.port})
        with working(run) as (cut_off,):
            freeze_in_training(study, cut_off)
            proxy.drop()
            freeze(cut_off, signal.SIGCONT)
            mine = [d for d in study.documents("worker") if d["worker"]["pid"] == cut_off.pid]
            trial = next(d["tid"] for d in mine if d["state"] == 1)
            wait_until(lambda: attempts(study)[trial] == 2, "another to take the trial over", 60)
            proxy.restore()
            assert [heir.wait(within(120)), cut_off.wait(within(120))] == [0, 0]
    write_json(run.database / "endpoint.json", direct)
    assert losses(run)[:TRIALS] == calm_losses()
    assert study.documents("worker")[trial]["worker"]["pid"] == heir.pid


def test_a_database_that_does_not_come_back_ends_the_worker_in_one_line(tmp_path: Path) -> None:
    run = small_run(tmp_path, wait=2.0)
    with database(run.config.database, run.database):
        open_study(run).create(TRIALS, {})
        with working(run) as (worker,):
            wait_for_training(open_study(run), worker)
            os.kill(read_json(run.database / "endpoint.json")["pid"], signal.SIGKILL)
            orphans = children(worker.pid)
            assert worker.wait(within(60)) == 1
            wait_until(lambda: gone(orphans), "its processes to end with it", 10)
