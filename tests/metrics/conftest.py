import subprocess
from pathlib import Path

import pytest

from tests.conftest import ROOT, Launch

from .made_up import Folder, write_folder

JOB = ROOT / "jobs" / "evaluate.py"


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return write_folder(tmp_path)


@pytest.fixture
def evaluate_job(launch: Launch, folder: Folder) -> Launch:
    """The job itself on the made-up run."""

    def run(ranks: int, *words: object) -> subprocess.CompletedProcess[str]:
        return launch(ranks, JOB, folder.config_file, *words)

    return run
