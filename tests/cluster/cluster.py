"""Start and stop a private Slurm on one machine: controller, accounting and four virtual nodes, in some seconds.

It needs root and Debian's packages (install.sh beside this file) but no systemd, touches nothing outside its folder,
listens on loopback (srun outside: where it must), and several can run side by side. Everything it starts lives in a
namespace that ends with the process that started it, see namespace.py.
"""

import os
import secrets
import shutil
import socket
import subprocess
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from string import Template
from typing import Self

from filelock import FileLock, Timeout

from hpc_massmap.errors import InputError
from tests.cluster.namespace import Namespace, unavailable
from tests.cluster.ports import Ports
from tests.patience import wait_until, within

_HERE = Path(__file__).parent
_PROGRAMS = ("munged", "mariadb-install-db", "mariadbd", "slurmdbd", "sacctmgr", "slurmctld", "slurmd", "srun", "sacct")
# the plugin opens libpmix.so by its full name, which only the -dev package has
_LIBRARIES = {
    "libpmix-dev": "*/pmix2/lib/libpmix.so",
    "slurm-wlm-mysql-plugin": "*/slurm-wlm/accounting_storage_mysql.so",
}
# Slurm wants a character device for each GPU but never opens it.
_FAKE_GPUS = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty")
_MEGABYTES_PER_CPU = 1000


def missing() -> list[str]:
    """What this machine lacks to run a cluster; empty if nothing."""
    lacking = [] if os.geteuid() == 0 else ["root"]
    lacking += [program for program in _PROGRAMS if shutil.which(program) is None]
    lacking += [package for package, where in _LIBRARIES.items() if not any(Path("/usr/lib").glob(where))]
    if not lacking and (reason := unavailable()):
        lacking.append(reason)
    return lacking


class Cluster:
    """A running Slurm: nodes n1, n2, ...; partitions batch (the default), long, short, low (preemptible) and urgent."""

    def __init__(self, folder: Path, nodes: int, cpus: int, gpus: int) -> None:
        """Only describe it; `start` makes one that runs."""
        self.folder = folder.resolve()
        self.nodes = [f"n{i + 1}" for i in range(nodes)]
        self.settings = {
            "SLURM_CONF": str(self.folder / "client.conf"),
            "OMPI_MCA_btl_tcp_if_include": "lo",  # Open MPI shuns loopback, where all our nodes are
            "GLOO_SOCKET_IFNAME": "lo",
        }
        """The variables by which Slurm's commands, and the jobs, find this cluster."""
        self._cpus, self._gpus = cpus, gpus
        self._state = self.folder / "state"
        self._log = self.folder / "log"
        self._held = ExitStack()
        self._daemons: dict[str, subprocess.Popen[bytes]] = {}

    @classmethod
    def start(cls, folder: Path, nodes: int = 4, cpus: int = 8, gpus: int = 4) -> Self:
        """Start a cluster whose files are all in one folder, and return when its nodes are idle.

        The CPUs and GPUs (at most 6) are those that each node claims to have, with 1000 MB of memory per CPU.
        """
        cluster = cls(folder, nodes, cpus, gpus)
        try:
            cluster._boot()
        except BaseException:
            cluster.stop()
            raise
        return cluster

    def stop(self) -> None:
        """End daemons and jobs at once and remove all but configuration and logs; stopping twice is fine."""
        self._held.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()

    @property
    def env(self) -> dict[str, str]:
        """The whole environment for a process that uses this cluster, free of what another Slurm or MPI left there."""
        foreign = ("SLURM_", "SBATCH_", "SRUN_", "PMI", "OMPI_")
        return {name: value for name, value in os.environ.items() if not name.startswith(foreign)} | self.settings

    def run(self, *command: str, seconds: float = 60, cwd: Path | None = None) -> str:
        """What a command of Slurm prints; a RuntimeError with all it printed if it fails."""
        done = subprocess.run(
            ["setpriv", "--pdeathsig", "KILL", *command],  # an srun without its cluster would wait for ever
            env=self.env,
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=within(seconds),
        )
        if done.returncode != 0:
            raise RuntimeError(f"{' '.join(command)}: exit {done.returncode}\n{done.stdout}{done.stderr}")
        return done.stdout

    def states(self, job: str) -> dict[str, str]:
        """The accounting's word on a job: {"12": "COMPLETED"}, or an entry for each task of an array."""
        rows = self.run("sacct", "-X", "-n", "-P", "-o", "JobID,State", "-j", job).splitlines()
        return {name: state.split()[0] for name, _, state in (row.partition("|") for row in rows)}

    def wait_for(self, job: str, *states: str, seconds: float = 60) -> None:
        """Wait until a job, or every task of its array, is in one of some states."""
        try:
            wait_until(
                lambda: (seen := set(self.states(job).values())) and seen <= set(states),
                f"job {job} to be {' or '.join(states)}",
                seconds,
                every=0.2,
            )
        except TimeoutError as error:
            error.add_note(f"{self.states(job)}\n{self.run('squeue', '--all', '--long')}")
            raise

    def _boot(self) -> None:
        self._log.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.folder / "lock", timeout=0)
        try:
            self._held.enter_context(lock)
        except Timeout:
            raise InputError(f"{self.folder}: another cluster is running here; stop it or use another folder") from None
        shutil.rmtree(self._state, ignore_errors=True)  # of one that could not stop
        self._held.callback(shutil.rmtree, self._state)
        for name in ("controller", "spool", "database"):
            (self._state / name).mkdir(parents=True)

        ports = Ports()
        self._held.callback(ports.close)
        database_port, accounting_port = ports.take(), ports.take()
        password = secrets.token_hex()
        self._configure(ports, accounting_port, database_port, password)
        self._namespace = Namespace("head", self.folder / "hosts")
        self._held.callback(self._namespace.close)

        self._start_munge()
        self._start_database(database_port, password)
        self._daemon("slurmdbd", "slurmdbd", "-D")
        self._until(lambda: self.run("sacctmgr", "-n", "list", "cluster") == "", "slurmdbd to answer")
        self.run("sacctmgr", "-i", "-Q", "add", "cluster", "virtual")
        self._daemon("slurmctld", "slurmctld", "-D")
        for node in self.nodes:
            self._daemon(node, "slurmd", "-D", "-N", node, node=node)
        idle = ("sinfo", "-h", "-N", "-p", "batch", "-t", "idle", "-o", "%N")
        self._until(lambda: self.run(*idle).split() == self.nodes, "the nodes to be idle")

    def _configure(self, ports: Ports, accounting_port: str, database_port: str, password: str) -> None:
        values = {
            "state": str(self._state),
            "accounting_port": accounting_port,
            "database_port": database_port,
            "password": password,
            "controller_port": ports.take(),
            "node_ports": ports.take(len(self.nodes)),
            "srun_ports": ports.take_rest(),
            "nodes": str(len(self.nodes)),
            "cpus": str(self._cpus),
            "memory": str(self._cpus * _MEGABYTES_PER_CPU),
            "megabytes_per_cpu": str(_MEGABYTES_PER_CPU),
            "gres": f"Gres=gpu:{self._gpus}" if self._gpus else "",
        }
        everywhere, by_name = "NoCtldInAddrAny", "NoCtldInAddrAny,NoInAddrAny"
        for name, template, listen in (
            ("slurm.conf", "slurm.conf.in", by_name),
            ("client.conf", "slurm.conf.in", by_name if _called_loopback() else everywhere),
            ("slurmdbd.conf", "slurmdbd.conf.in", ""),
        ):
            file = self.folder / name
            file.touch(mode=0o600)  # slurmdbd refuses its password in a file that others can read
            file.write_text(Template((_HERE / template).read_text()).substitute(values, listen=listen))
        gpus = [f"NodeName=n[1-{len(self.nodes)}] Name=gpu File={device}\n" for device in _FAKE_GPUS[: self._gpus]]
        (self.folder / "gres.conf").write_text("".join(gpus))
        names = ("localhost", "head", *self.nodes, socket.gethostname())
        (self.folder / "hosts").write_text("".join(f"127.0.0.1 {name}\n" for name in names))

    def _start_munge(self) -> None:
        key = self._state / "munge.key"
        key.touch(mode=0o600)
        key.write_bytes(secrets.token_bytes(128))
        self._daemon(
            "munged",
            *("munged", "--foreground", "--force"),  # force: only root can reach the socket, and shall
            f"--key-file={key}",
            *(f"--{kind}={self._state}/munge.{kind}" for kind in ("socket", "pid-file", "seed-file")),
        )
        self._until((self._state / "munge.socket").exists, "munged to listen")

    def _start_database(self, port: str, password: str) -> None:
        data = self._state / "database"
        self.run(
            *("mariadb-install-db", "--no-defaults", "--user=root", "--skip-test-db", f"--datadir={data}"),
            "--auth-root-authentication-method=socket",
            "--auth-root-socket-user=root",
        )
        script = self._state / "accounting.sql"
        script.touch(mode=0o600)
        script.write_text(
            "CREATE DATABASE accounting;\n"
            f"CREATE USER slurm@'127.0.0.1' IDENTIFIED BY '{password}';\n"
            "GRANT ALL ON accounting.* TO slurm@'127.0.0.1';\n"
        )
        self._daemon(
            "mariadbd",
            *("mariadbd", "--no-defaults", "--user=root", f"--datadir={data}", f"--init-file={script}"),
            *("--bind-address=127.0.0.1", f"--port={port}", f"--socket={self._state}/database.socket"),
            *("--skip-name-resolve", "--innodb-log-file-size=8M", "--innodb-flush-log-at-trx-commit=0"),
            *("--innodb-buffer-pool-size=64M", "--innodb-lock-wait-timeout=900"),  # else slurmdbd complains
        )
        self._until((self._state / "database.socket").exists, "mariadbd to listen")

    def _daemon(self, name: str, *command: str, node: str | None = None) -> None:
        with (self._log / f"{name}.log").open("wb") as log:
            env = self.env | {"SLURM_CONF": str(self.folder / "slurm.conf")}
            self._daemons[name] = self._namespace.spawn(command, env, log, node)

    def _until(self, condition: Callable[[], bool], what: str) -> None:
        """Wait for a step of the start, but not for a daemon that has given up; its own words are the message."""

        def reached() -> bool:
            for name, daemon in self._daemons.items():
                if daemon.poll() is not None:
                    log = (self._log / f"{name}.log").read_text(errors="replace")
                    raise RuntimeError(f"{name} ended with {daemon.returncode}:\n{log[-2000:]}")
            try:
                return condition()
            except RuntimeError:  # a command of Slurm that finds no daemon yet
                return False

        wait_until(reached, what)


def _called_loopback() -> bool:
    """Whether this machine's own name means loopback: an srun told to listen only where its name is would be deaf else.

    The daemons have a hosts file that says so; srun outside reads the machine's, and waits for nodes that never call.
    """
    try:
        return socket.gethostbyname(socket.gethostname()).startswith("127.")
    except OSError:
        return False
