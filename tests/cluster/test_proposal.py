"""The site that is proposed is one that the cluster takes."""

from pathlib import Path

import pytest

from hpc_massmap.cluster import slurm as queue
from hpc_massmap.cluster.proposal import AUTO, Proposal, file_of, propose, site_at
from hpc_massmap.cluster.site import Site, load_site
from hpc_massmap.cluster.slurm import Nodes
from hpc_massmap.cluster.submit import check_site
from hpc_massmap.errors import InputError
from tests.cluster.cluster import Cluster

SMALL = Nodes(number=3, cpus=16, memory_gb=60.0, gpus=0, state="idle", disk_gb=0.0)
LARGE = Nodes(number=1, cpus=64, memory_gb=500.0, gpus=4, state="mix", disk_gb=900.0)
PARTITIONS = {
    "cpu": {"Default": "YES", "MaxTime": "2-00:00:00", "PreemptMode": "OFF", "GraceTime": "0"},
    "gpu": {"Default": "NO", "MaxTime": "04:00:00", "PreemptMode": "CANCEL", "GraceTime": "60"},
}


@pytest.fixture
def described(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A cluster of two partitions, as Slurm would describe it, seen from an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(queue, "partitions", lambda: PARTITIONS)
    monkeypatch.setattr(queue, "nodes_of", lambda name: [LARGE] if name == "gpu" else [SMALL])
    monkeypatch.setattr(queue, "ask", lambda *words: "astro\n" if "user" in words else "astro\nguests\n")
    monkeypatch.setattr(queue, "fields_of", lambda job: JOB)


JOB = {"Partition": "cpu", "Account": "guests", "QOS": "low", "Features": "(null)", "TresPerNode": "(null)"}


def test_gpus_are_preferred_and_a_worker_gets_its_share(described: None, tmp_path: Path) -> None:
    proposal = propose()
    expected = {"partition": "gpu", "account": "astro", "gpus_per_task": 1, "cpus_per_task": 8, "mem_gb": 32.0}
    expected |= {"minutes": 240, "signal_seconds": 60}
    assert proposal.site.model_dump(exclude_unset=True, exclude={"database", "setup"}) == expected
    text = proposal.text()
    for note in (
        "cpu (2-00:00:00), gpu (04:00:00)",
        "astro, guests",
        "preemption: CANCEL, 60 s",
        "disk of a node: 900",
    ):
        assert note in text
    (tmp_path / "x.yaml").write_text(text)
    assert load_site(tmp_path / "x.yaml") == proposal.site
    assert propose("cpu").site.gpus_per_task == 0
    with pytest.raises(InputError, match="--partition x: no such partition; this cluster has cpu, gpu"):
        propose("x")


def test_a_job_is_a_site(described: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    with pytest.raises(InputError, match=r"this is no job to learn from; massmap site writes one"):
        site_at(AUTO)
    for name, value in {"SLURM_JOB_ID": "7", "SLURM_JOB_PARTITION": "cpu"}.items():
        monkeypatch.setenv(name, value)
    site = site_at(AUTO)
    assert (site.partition, site.account, site.qos, site.constraint) == ("cpu", "guests", "low", None)
    assert (site.gpus_per_task, site.cpus_per_task, site.mem_gb, site.minutes) == (0, 4, 13.5, 1440)
    monkeypatch.setenv("SLURM_JOB_PARTITION", "gpu")
    monkeypatch.setenv("SLURM_GPUS_ON_NODE", "2")
    site = site_at(AUTO)
    assert site.gpus_per_task == 2
    assert load_site(file_of(AUTO, site, tmp_path)) == site
    own = tmp_path / "configs" / "sites" / "local.yaml"
    own.parent.mkdir(parents=True)
    own.write_text(Proposal(Site(partition="own")).text())
    assert site_at(AUTO).partition == "own"
    assert file_of(AUTO, site, tmp_path) == own.relative_to(tmp_path)


def test_this_cluster_takes_what_is_proposed_for_it(
    slurm: Cluster, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name, value in slurm.settings.items():
        monkeypatch.setenv(name, value)
    site = propose().site
    assert (site.partition, site.gpus_per_task, site.cpus_per_task, site.mem_gb) == ("batch", 1, 2, 1.7)
    assert "#SBATCH --gpus-per-node=1" in check_site("x", tmp_path, 1, 1, site)
