"""One cluster for all tests that need one, which therefore run in one process."""

from collections.abc import Iterator

import pytest

from tests.cluster.cluster import Cluster, missing


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "slurm" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.cluster)
            item.add_marker(pytest.mark.xdist_group("cluster"))


@pytest.fixture(scope="session")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    lacking = missing()
    if lacking:
        pytest.skip(f"no virtual Slurm cluster: this machine lacks {', '.join(lacking)} (tests/install.sh)")
    with Cluster.start(tmp_path_factory.mktemp("slurm")) as cluster:
        yield cluster


@pytest.fixture
def mended(slurm: Cluster) -> Iterator[Cluster]:
    """The cluster, without jobs and with all its nodes again when the test has ended."""
    yield slurm
    slurm.run("scancel", "--user=root")
    for node in set(slurm.run("sinfo", "-h", "-N", "-t", "down,drain", "-o", "%N").split()):
        slurm.run("scontrol", "update", f"nodename={node}", "state=resume")
