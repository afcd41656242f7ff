"""A genuine mongod with authentication, one for the session of a test process."""

import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from pymongo.database import Database as MongoDatabase

from hpc_massmap.config import Database
from hpc_massmap.tune.database.connect import database
from hpc_massmap.tune.monitor import reading
from hpc_massmap.tune.study import Study
from tests.patience import within
from tests.tune.studies import MakeStudy


@pytest.fixture(scope="session")
def mongo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MongoDatabase[dict[str, Any]]]:
    with database(Database(), tmp_path_factory.mktemp("mongo")) as opened:
        yield opened


@pytest.fixture(autouse=True)
def patient_monitors(monkeypatch: pytest.MonkeyPatch) -> None:
    """A monitor takes a server that is slow to answer for one that is gone; the tests' own load must not make it so."""
    monkeypatch.setattr(reading, "PATIENCE", within(reading.PATIENCE))


@pytest.fixture
def make(mongo: MongoDatabase[dict[str, Any]]) -> MakeStudy:
    def study(evaluations: int = 3, lease: float = 60.0, attempts: int = 3) -> Study:
        made = Study(mongo, uuid.uuid4().hex, lease, attempts)
        made.create(evaluations, {"seed": 0})
        return made

    return study
