"""The package, the image, the environments and the lock hold what the code needs."""

import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
from importlib.metadata import distribution
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import hpc_massmap
from hpc_massmap.config import load_config
from tests.conftest import AS_ROOT
from tests.definition import SCRIPTS, SECTIONS, sections_of

PACKAGE = "hpc_massmap"
JOBS = sorted(path.stem for path in Path("hpc_massmap/jobs").glob("[!_]*.py"))
DEFINITION = Path("apptainer/massmap.def")
CONDA_NAMES = {"matplotlib": "matplotlib-base", "tensorboardX": "tensorboardx", "torch": "pytorch-{kind}"}
FROM_PYPI = {"hyperopt"}  # conda-forge's is old
OF_CONDA = {"python", "pip", "openmpi"}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the source distribution and the wheel that is built of it."""
    if shutil.which("git") is None or not Path(".git").exists():
        pytest.skip("git tells which files the package must have, and this is no clone")
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("built")
    for name in tracked("."):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(name, source / name, follow_symlinks=False)
    # what builds is installed here already
    subprocess.run([sys.executable, "-m", "build", "--no-isolation", "--outdir", out], cwd=source, check=True)
    return out


@pytest.fixture(scope="module")
def installed(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder into which `pip install` was told to install the wheel; the rest is installed here already."""
    target = tmp_path_factory.mktemp("target")
    pip = [sys.executable, "-m", "pip", "-q", "install", "--no-deps", "--no-index", "--target", str(target)]
    subprocess.run([*pip, *built.glob("*.whl")], check=True)
    return target


def massmap(installed: Path, folder: Path, *words: str, expect: int = 0) -> str:
    """What the installed command says in some folder."""
    environment = {"PYTHONPATH": str(installed), "PATH": "/usr/bin:/bin", "HOME": str(folder), **AS_ROOT}
    command = [str(installed / "bin" / "massmap"), *words]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == expect, done.stdout + done.stderr
    return done.stdout + done.stderr


def tracked(folder: str) -> list[str]:
    return subprocess.run(["git", "ls-files", folder], capture_output=True, text=True, check=True).stdout.splitlines()


def test_the_package_has_every_file_of_the_code(installed: Path) -> None:
    assert [name for name in tracked(PACKAGE) if not (installed / name).exists()] == []
    assert len(tracked(PACKAGE)) > 100


def test_the_package_has_configs_scripts_and_the_halos_of_the_demo(installed: Path) -> None:
    inside = installed / PACKAGE
    wanted = [*tracked("configs"), *tracked("slurm"), *tracked("examples/gadget4_L50")]
    assert [name for name in wanted if not (inside / name).exists()] == []
    assert not (inside / "configs" / "sites" / "local.yaml").exists()


def test_the_source_has_all_that_a_clone_has(built: Path) -> None:
    with tarfile.open(next(built.glob("*.tar.gz"))) as archive:
        inside = {name.partition("/")[2] for name in archive.getnames()}
    of_a_clone = (".ci/", ".github/", ".gitignore", ".pre-commit")
    left = [name for name in tracked(".") if name not in inside and not name.startswith(of_a_clone)]
    assert left == []
    assert {"jobs/tune.py", "hpc_massmap/configs/demo.yaml"} <= inside


def test_the_index_would_take_both(built: Path) -> None:
    """The page, too: no link of it is of a clone."""
    subprocess.run([sys.executable, "-m", "twine", "check", "--strict", *built.iterdir()], check=True)
    links = re.findall(r"\]\(([^)]+)\)", Path("docs/pypi.md").read_text())
    assert links
    assert all(link.startswith("https://") for link in links)


def test_the_command_works_in_any_folder(installed: Path, tmp_path: Path) -> None:
    assert massmap(installed, tmp_path, "--version") == f"massmap {hpc_massmap.__version__}\n"
    assert "configs/multi3.yaml" in massmap(installed, tmp_path, "configs", "list")
    refused = massmap(installed, tmp_path, "tune", "configs/multi3.yaml", expect=2)
    assert refused == (
        "error: configs/multi3.yaml: no such config file; massmap configs copy configs/multi3.yaml puts it here\n"
    )
    massmap(installed, tmp_path, "configs", "copy", "multi3", "slurm")
    assert load_config(tmp_path / "configs" / "multi3.yaml").name == "multi3"
    script = "cd $0; SLURM_SUBMIT_DIR=. PYTHON=$1 bash slurm/tune_multi3.sh --help"
    environment = {"PYTHONPATH": str(installed), "PATH": "/usr/bin:/bin"}
    words = ["bash", "-c", script, str(tmp_path), sys.executable]
    assert "usage: massmap tune" in subprocess.run(words, env=environment, capture_output=True, text=True).stdout


def test_the_demo_works_in_any_folder(installed: Path, tmp_path: Path) -> None:
    """As far as its maps; its config names the halos that came with the package."""
    asked = ["maps.lines_of_sight=1", "selection.m200_min=8e13", "tuned_by=none"]
    said = massmap(installed, tmp_path, "demo", *asked, expect=2)
    assert said.startswith("wrote configs/demo.yaml\nmake_maps: begins\n")
    assert re.search(r"runs/demo/maps.h5: (\d+) maps of \1 halos", said)
    assert said.endswith("error: runs/none/best.yaml: no such file; tune none first, or leave tuned_by out\n")
    folder = load_config(tmp_path / "configs" / "demo.yaml").simulations[0].folder
    assert folder == installed / PACKAGE / "examples" / "gadget4_L50"


def test_each_job_is_a_module_of_the_package(installed: Path, tmp_path: Path) -> None:
    """All in one process, as each imports little; torch is not needed to be told how a job is called."""
    script = (
        "import contextlib, importlib, sys, hpc_massmap\n"
        f"assert hpc_massmap.__file__.startswith({str(installed)!r}), hpc_massmap.__file__\n"
        f"for name in {JOBS}:\n"
        "    job = importlib.import_module(f'hpc_massmap.jobs.{name}')\n"
        "    sys.argv = [name, '--help']\n"
        "    with contextlib.suppress(SystemExit):\n"
        "        job.main()\n"
        "assert 'torch' not in sys.modules\n"
    )
    environment = {"PYTHONPATH": str(installed), "PATH": "/usr/bin:/bin"}
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.count("usage: ") == len(JOBS) > 10
    assert done.stdout.count("example: ") >= len(JOBS)
    asked = [sys.executable, "-m", "hpc_massmap.jobs.tune", "nothing.yaml"]
    done = subprocess.run(asked, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("error: nothing.yaml: no such config file")


def declared() -> dict[str, list[Requirement]]:
    """What pyproject.toml asks for, by extra; without one by an empty name."""
    project = tomllib.loads(Path("pyproject.toml").read_text())["project"]
    asked = {"": project["dependencies"], **project["optional-dependencies"]}
    return {extra: [Requirement(line) for line in lines] for extra, lines in asked.items()}


def test_the_lock_pins_all_that_is_installed() -> None:
    """Each package that ours needs, and those that they need, in the version that is here."""
    lines = Path("constraints.txt").read_text().split()
    pinned = {str(canonicalize_name(name)): version for name, version in (line.split("==") for line in lines)}
    here: dict[str, str] = {}
    for requirement in (one for extra in declared().values() for one in extra):
        find(requirement, {""}, here)
    assert {name: version for name, version in here.items() if pinned.get(name) != version} == {}
    assert len(here) > 80


def find(requirement: Requirement, extras: set[str], found: dict[str, str]) -> None:
    """Add a package and those it needs, in the versions that are installed, to those that were found."""
    name = str(canonicalize_name(requirement.name))
    asked = requirement.marker is None or any(requirement.marker.evaluate({"extra": extra}) for extra in extras)
    if asked and name not in found:
        package = distribution(name)
        found[name] = package.version.partition("+")[0]  # as torch's 2.13.0+cpu
        for line in package.requires or []:
            find(Requirement(line), {"", *requirement.extras}, found)


@pytest.mark.parametrize("kind", ["cpu", "cuda"])
def test_the_environments_ask_for_what_the_package_needs(kind: str) -> None:
    data = yaml.safe_load(Path(f"environments/{kind}.yml").read_text(encoding="utf-8"))
    conda = dict(re.split(r"\s+|(?==)", line, maxsplit=1) for line in data["dependencies"] if " " in line)
    (pip,) = (entry["pip"] for entry in data["dependencies"] if isinstance(entry, dict))
    torch = {"cpu": "cpu", "cuda": "gpu"}[kind]
    wanted = {
        CONDA_NAMES.get(found.name, found.name).format(kind=torch): str(found.specifier)
        for found in declared()[""]
        if found.name not in FROM_PYPI
    }
    assert {name: version for name, version in conda.items() if name not in OF_CONDA} == wanted
    assert pip == [*(str(found) for found in declared()[""] if found.name in FROM_PYPI), "-e .."]


def test_the_image_is_described_as_apptainer_reads_it() -> None:
    """Sections it knows, shell that parses, files that exist; not built: there is no Apptainer here."""
    sections = sections_of(DEFINITION)
    assert dict(line.split(": ") for line in sections.pop("").splitlines()) == {
        "Bootstrap": "docker",
        "From": "debian:bookworm-slim",
    }
    assert set(sections) <= set(SECTIONS)
    for name in SCRIPTS:
        subprocess.run(["sh", "-n"], input=sections[name], text=True, check=True)
    copied = dict(line.split() for line in sections["files"].splitlines())
    assert all(Path(source).exists() for source in copied)
    assert 'massmap "$job"' in sections["runscript"]
    assert set(re.search(r"for job in (.*); do", sections["test"])[1].split()) <= set(JOBS)  # type: ignore[index]
    needed_to_build = {"pyproject.toml", "docs/pypi.md", "LICENSE", "hpc_massmap"}
    assert needed_to_build | {"constraints.txt"} == set(copied)


def test_the_definition_is_read_as_it_stands(tmp_path: Path) -> None:
    path = tmp_path / "x.def"
    path.write_text("Bootstrap: docker\n%post\n    true\n%post\n")
    with pytest.raises(ValueError, match="%post is there twice"):
        sections_of(path)
