"""Nobody else's code runs: folders are private, results are data."""

import os
import pickle
import stat
import subprocess
import time
from pathlib import Path

import pytest
import submitit

from hpc_massmap.cluster import submit
from hpc_massmap.cluster.pickles import make_private, outcome, refusal_of_others
from hpc_massmap.errors import InputError
from tests.patience import wait_until


def test_a_group_s_umask_opens_no_folder_of_pickles(tmp_path: Path) -> None:
    logs = tmp_path / "runs" / "x" / "logs" / "tune"
    before = os.umask(0o002)
    try:
        (job,) = submit.submit(time.sleep, 0, name="x", logs=logs, copies=1, ranks=1, site=None)
        wait_until(lambda: submit.ended(job), "the job to end")
    finally:
        os.umask(before)
    assert stat.S_IMODE(logs.stat().st_mode) == 0o700
    assert stat.S_IMODE(logs.parent.stat().st_mode) == 0o775
    assert submit.failure(job) is None
    logs.chmod(0o775)  # as an earlier version left it
    make_private(logs)
    assert stat.S_IMODE(logs.stat().st_mode) == 0o700


class Trap:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("touch sprung",)


def test_a_planted_result_is_not_executed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    job: submit.Job = submitit.LocalJob(tmp_path, "7")
    for planted in (("success", Trap()), Trap()):
        job.paths.result_pickle.write_bytes(pickle.dumps(planted))
        assert "not the plain result of a job (it names posix.system); not read" in str(submit.failure(job))
    job.paths.result_pickle.write_bytes(b"no pickle")
    assert "not the plain result of a job" in str(submit.failure(job))
    assert not (tmp_path / "sprung").exists()
    job.paths.result_pickle.write_bytes(pickle.dumps(("error", "Traceback\n  line\nValueError: no luck\n")))
    assert str(submit.failure(job)).startswith("job 7: ValueError: no luck; its log is ")


def test_what_others_can_have_written_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result = tmp_path / "result.pkl"
    result.write_bytes(pickle.dumps(("success", 3)))
    tmp_path.chmod(0o775)
    result.chmod(0o644)
    assert outcome(result) == ("success", 3)
    result.chmod(0o664)
    with pytest.raises(InputError, match="others can have written it"):
        outcome(result)
    tmp_path.chmod(0o700)
    assert outcome(result) == ("success", 3)
    line = refusal_of_others(tmp_path)
    assert subprocess.run(["bash", "-c", line], check=False).returncode == 0
    monkeypatch.setattr(os, "getuid", lambda: 4711)
    with pytest.raises(InputError, match="others can have written it"):
        outcome(result)
    with pytest.raises(InputError, match="another user's; code of theirs would run"):
        make_private(tmp_path)
    if os.geteuid() == 0:
        os.chown(tmp_path, 4711, -1)
        assert subprocess.run(["bash", "-c", line], check=False, capture_output=True).returncode == 77
