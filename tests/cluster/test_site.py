"""Site files: every shipped one loads, and what it asks for is what Slurm is asked."""

from pathlib import Path

import pytest

from hpc_massmap.cluster.site import Site, load_site
from hpc_massmap.cluster.slurm import gpus_of, seconds_of
from hpc_massmap.cluster.submit import ranks_of, script
from hpc_massmap.errors import InputError

SITES = sorted(Path("configs/sites").glob("*.yaml"))


@pytest.fixture(autouse=True)
def srun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """submitit wants an srun on the PATH before it writes a script; nothing here calls it."""
    (tmp_path / "srun").touch(mode=0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")


@pytest.mark.parametrize("path", SITES, ids=lambda path: path.stem)
def test_every_shipped_site_makes_a_script(path: Path, tmp_path: Path) -> None:
    site = load_site(path)
    text = script("tune_x", tmp_path, 3, ranks_of(site, 2), site)
    lines = text.splitlines()
    assert f"#SBATCH --time={site.minutes}" in lines
    assert f"#SBATCH --signal=USR2@{site.signal_seconds}" in lines
    assert "#SBATCH --array=0-2%3" in lines
    assert "#SBATCH --requeue" in lines
    assert "--kill-on-bad-exit=1" in text
    for key in ("partition", "qos"):
        value = getattr(site, key)
        assert (f"#SBATCH --{key}={value}" in lines) == (value is not None)
    for line in site.setup:
        assert lines.index(line) < lines.index("export SUBMITIT_EXECUTOR=slurm")


def test_the_template_names_every_key() -> None:
    text = Path("configs/sites/template.yaml").read_text()
    for key in Site.model_fields:
        assert f"\n{key}:" in text or f"\n# {key}:" in text


def test_a_worker_on_two_nodes_with_gpus(tmp_path: Path) -> None:
    site = load_site(Path("configs/sites/apptainer.yaml"))
    assert ranks_of(site, 1) == 8
    lines = script("tune_x", tmp_path, 1, 8, site).splitlines()
    assert "#SBATCH --nodes=2" in lines
    assert "#SBATCH --ntasks-per-node=4" in lines
    assert "#SBATCH --gpus-per-node=4" in lines


def test_a_container_wraps_python_and_sees_code_and_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site = Site(container=Path("mass map.sif"), gpus_per_task=1, setup=["module load apptainer"])
    code, elsewhere, run = Path.cwd(), tmp_path / "elsewhere", tmp_path / "runs" / "x"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    text = script("tune_x", run / "logs" / "tune", 2, 1, site)
    binds = f"--bind {code} --bind {elsewhere} --bind {run}"
    env = f"--env PYTHONPATH={code} --env PYTHONNOUSERSITE=1"
    assert f"apptainer exec --nv {binds} {env} '{elsewhere}/mass map.sif' python3 -u -m submitit.core._submit" in text
    assert "apptainer" not in script("tune_x", run / "logs" / "tune", 2, 1, Site())


def test_ranks_that_cannot_be_spread(tmp_path: Path) -> None:
    assert ranks_of(None, 3) == 3
    assert ranks_of(Site(nodes=2), 4) == 4
    with pytest.raises(InputError, match=r"nodes = 2: 3 ranks cannot be spread evenly; set tasks_per_node"):
        ranks_of(Site(nodes=2), 3)


def test_an_option_is_asked_in_one_place(tmp_path: Path) -> None:
    path = tmp_path / "site.yaml"
    path.write_text("sbatch: {mem: 4G}\n")
    with pytest.raises(InputError, match=r"site\.yaml: sbatch\.mem: a key of the site's own says that"):
        load_site(path)
    path.write_text("sbatch: {exclusive: false}\n")
    with pytest.raises(InputError, match=r"site\.yaml: sbatch\.exclusive: must be text or a number, or true"):
        load_site(path)
    path.write_text("sbatch: {reservation: week, exclusive: true, nice: 100}\n")
    lines = script("x", tmp_path, 1, 1, load_site(path)).splitlines()
    assert {"#SBATCH --reservation=week", "#SBATCH --exclusive", "#SBATCH --nice=100"} <= set(lines)


def test_a_job_is_not_told_of_its_end_before_its_start(tmp_path: Path) -> None:
    path = tmp_path / "site.yaml"
    path.write_text("minutes: 2\n")
    with pytest.raises(InputError, match=r"site\.yaml: signal_seconds = 120: must be less than the 2 minutes"):
        load_site(path)


@pytest.mark.parametrize(
    ("resources", "gpus"),
    [("(null)", 0), ("gpu:2", 2), ("gpu:a100:4(S:0-1),lustre:1", 4), ("gpu:a100:2(S:0),gpu:t4:1(S:1)", 3)],
)
def test_gpus_of_a_node(resources: str, gpus: int) -> None:
    assert gpus_of(resources) == gpus


@pytest.mark.parametrize(
    ("clock", "seconds"),
    [("UNLIMITED", None), ("10:00", 600), ("1:00:00", 3600), ("2-00:00:00", 172800), ("INVALID", None), ("59", 59)],
)
def test_slurm_s_clock(clock: str, seconds: float | None) -> None:
    assert seconds_of(clock) == seconds
