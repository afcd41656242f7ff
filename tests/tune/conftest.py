"""A genuine mongod with authentication, one for the session of a test process."""

from collections.abc import Iterator
from typing import Any

import pytest
from pymongo.database import Database as MongoDatabase

from hpc_massmap.config import Database
from hpc_massmap.tune.database.connect import database


@pytest.fixture(scope="session")
def mongo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MongoDatabase[dict[str, Any]]]:
    with database(Database(), tmp_path_factory.mktemp("mongo")) as opened:
        yield opened
