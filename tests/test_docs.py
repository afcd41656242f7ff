"""The site builds without a warning; what it names exists, and its snippets run. test_commands.py types its commands.

Broken links between pages, pages that no table of contents has, and docstrings that it cannot read are warnings
of Sphinx.
"""

import importlib.util
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from docutils.utils.math.latex2mathml import tex2mathml  # type: ignore[import-untyped]

from hpc_massmap.config import Config, Database, load_config
from hpc_massmap.run import Run
from hpc_massmap.sims.catalogue import read_catalogue
from hpc_massmap.tune.connection import open_study
from hpc_massmap.tune.database.connect import database
from hpc_massmap.tune.export import export
from tests.documented import COMMANDS, PAGES, blocks, inline
from tests.patience import within
from tests.tune import made_up

TUNING, SIMULATION, EXTENDING = (Path("docs", f"{name}.md") for name in ("tuning", "simulation", "extending"))
SOURCES = [path for folder in ("hpc_massmap", "slurm", "tests") for path in Path(folder).rglob("*.*") if path.is_file()]
CODE = "".join(path.read_text() for path in SOURCES if path.suffix in (".py", ".sh", ".yaml"))


def loaded(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_links_lead_somewhere(page: Path) -> None:
    """On the site, which Sphinx checks too, and where the pages are read as they are."""
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if re.match(r"\w+:", target):
            assert target.startswith("https://"), target
            continue
        path, _, anchor = target.partition("#")
        leads_to = page.parent / path if path else page
        assert leads_to.exists(), target
        assert not anchor or anchor in anchors(leads_to), target


def anchors(page: Path) -> list[str]:
    """The headings of a page, as links spell them."""
    return [
        re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-")
        for heading in re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    ]


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_files_and_options_in_the_text_exist(page: Path) -> None:
    folders = "apptainer|benchmarks|configs|docs|environments|examples|hpc_massmap|jobs|slurm|tests"
    for path in re.findall(rf"(?<![\w/.<])((?:{folders})/\w[\w./]*\w)", page.read_text()):
        assert Path(path).exists() or Path(path).stem in ("mine", "local"), path
    for words in inline(page):
        for option in re.findall(r"^--[a-z-]+", words):
            assert option in CODE, option


def test_names_in_the_page_on_extending_are_names_in_the_code() -> None:
    names = [re.sub(r"\(.*\)$", "", words) for words in inline(EXTENDING)]
    named = [name for name in names if re.fullmatch(r"[A-Za-z_][\w.]*", name)]
    assert len(named) > 40
    assert [name for name in named if not re.search(rf"\b{re.escape(name)}\b", CODE)] == []


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> subprocess.CompletedProcess[str]:
    """What Sphinx says to the site, all but the writing of its pages: half the time of `make docs`."""
    words = ["-W", "--keep-going", "-q", "-b", "dummy", "-d", tmp_path_factory.mktemp("doctrees")]
    return subprocess.run(
        [sys.executable, "-m", "sphinx", *map(str, words), "docs", str(tmp_path_factory.mktemp("site"))],
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_site_builds_without_a_warning(build: subprocess.CompletedProcess[str]) -> None:
    assert build.stderr == ""
    assert build.returncode == 0


def test_equations_can_be_shown() -> None:
    equations = [
        equation
        for page in PAGES
        for block, inline in re.findall(r"\$\$(.+?)\$\$|(?<![\w$`])\$([^$`\n]+)\$(?!\d)", page.read_text(), re.DOTALL)
        for equation in [block or inline]
        if "docs" in page.parts
    ]
    assert len(equations) > 40
    for equation in equations:
        assert "<math" in tex2mathml(equation.strip())


def test_every_job_is_on_the_page_of_jobs() -> None:
    jobs = {path.stem for path in Path("hpc_massmap/jobs").glob("[!_]*.py")}
    assert set(re.findall(r"^```\{help\} (\w+)$", Path("docs/jobs.md").read_text(), re.MULTILINE)) == jobs
    site = loaded(Path("docs/conf.py"))
    shown = {job: site.help_of(job) for job in jobs}
    assert all("example: " in texts[0] for texts in shown.values())
    verbs = {job: len(texts) - 1 for job, texts in shown.items() if len(texts) > 1}
    assert verbs == {"config": 4, "configs": 2, "maps": 4, "trials": 4}
    assert len({text for texts in shown.values() for text in texts}) == len(jobs) + sum(verbs.values())


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_keys_in_the_text_are_keys_of_the_config(page: Path) -> None:
    sections = "|".join(name for name in Config.model_fields if name not in ("name", "runs", "seed", "data"))
    for key in re.findall(rf"`((?:{sections})\.(?!h5)[a-z0-9_.]+)(?!\w)", page.read_text()):
        fields: Any = Config.model_fields
        for part in key.removesuffix(".").split("."):
            assert part in fields, key
            kinds = [fields[part].annotation, *getattr(fields[part].annotation, "__args__", ())]
            fields = next((kind.model_fields for kind in kinds if hasattr(kind, "model_fields")), {})


def test_the_example_of_a_config_of_one_s_own_loads(tmp_path: Path) -> None:
    (block,) = blocks(SIMULATION, "yaml")
    shutil.copytree("configs", tmp_path / "configs")
    path = tmp_path / "configs" / "mine.yaml"
    path.write_text(block)
    assert load_config(path).simulations[0].snapshots == [99]


def test_the_example_of_a_catalogue_is_read(tmp_path: Path) -> None:
    (block,) = blocks(SIMULATION, "text")
    path = tmp_path / "mine.AHF_halos"
    path.write_text(block)
    assert read_catalogue(path).r500.tolist() == [790.0]


def test_the_documented_stages_of_the_paper_are_those_it_has(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = "massmap paper configs/paper.yaml --dry-run"
    assert command in COMMANDS
    loaded(Path("jobs/paper.py")).main([*shlex.split(command)[2:], f"runs={tmp_path}"])
    said = dict(line.split(": ", 1) for line in capsys.readouterr().out.splitlines())
    documented = {}
    for row in re.findall(r"^\| `.*\|$", Path("docs/paper.md").read_text(), re.MULTILINE):
        names, _, script = row.split("|")[1:-1]
        stage, *models = re.findall(r"`(\w+)`", names)
        for model in models or (["star", "low_mass"] if "MODEL" in stage else [""]):
            documented[stage.replace("MODEL", model)] = script.strip("` ")
    assert {name: said[name].split()[0] for name in documented} == documented
    assert len([name for name in documented if name.startswith("tune_")]) == 6
    assert {name.split("_")[0] for name in said} == {name.split("_")[0] for name in documented}


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder in which runs/multi3 has a database that runs, with 40 ended trials and 2 that run, and its export."""
    folder = tmp_path_factory.mktemp("documented")
    config = load_config(Path("configs/multi3.yaml")).model_copy(update={"runs": folder / "runs"})
    run = Run.open(config)
    with database(Database(), run.database):
        opened = open_study(run)
        opened.create(100, {})
        trials, workers, _ = made_up.study(ended=40, running=2)
        trials[17], trials[23] = made_up.trial(17, 3), made_up.trial(23, 3)
        opened.jobs.insert_many([{**trial, "exp_key": "multi3"} for trial in trials])
        opened.workers.insert_many([{**worker, "exp_key": "multi3"} for worker in workers])
        export(opened, run.trials_export)
        yield folder


BEST = "26"  # of the made-up trials


@pytest.mark.parametrize(
    ("named", "says"),
    [("MongoClient", f"{BEST} 0.1"), ("trials_from_docs", f"{BEST} 0.1"), ("json_normalize", f"{BEST}  ")],
)
def test_a_python_snippet_runs(named: str, says: str, study: Path) -> None:
    (block,) = [block for block in blocks(TUNING, "python") if f"{named}(" in block]
    if named == "json_normalize":
        pytest.importorskip("pandas")
    environment = {"PYTHONPATH": str(Path.cwd()), "MPLBACKEND": "agg", "PATH": "/usr/bin:/bin"}
    done = subprocess.run(
        [sys.executable, "-c", block], cwd=study, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert says in done.stdout


def test_the_snippets_speak_tls_as_documented(tmp_path: Path) -> None:
    ((python, address),) = re.findall(r"takes `(tls=\S+ tls\S+)` besides, .*\n.* ends with `(\S+)`", TUNING.read_text())
    (block,) = [block for block in blocks(TUNING, "python") if "MongoClient(" in block]
    scripts = [[sys.executable, "-c", block.replace('authSource="massmap"', f'authSource="massmap", {python}')]]
    if shutil.which("mongosh"):
        (block,) = [block for block in blocks(TUNING, "sh") if "--nodb" in block]
        scripts.append(["bash", "-c", block.replace("/massmap`", f"/massmap{address}`")])
    folder = tmp_path / "runs" / "multi3" / "database"
    with database(Database(tls=True), folder) as opened:
        opened["jobs"].insert_one(made_up.trial(5))
        for script in scripts:
            done = subprocess.run(script, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=within(60))
            assert done.returncode == 0, done.stderr
            assert "\n5 0." in f"\n{done.stdout}"


@pytest.mark.parametrize(
    ("command", "says"),
    [
        ("massmap trials list runs/multi3", f"\n{BEST} "),
        ("massmap trials export runs/multi3 trials.csv", "trials.csv: 42 trials"),
        ("massmap monitor runs/multi3", "33 of 100 done"),
        ("massmap database runs/multi3", ": 42 trials; docs/tuning.md says how to look into it"),
    ],
)
def test_a_documented_look_at_a_study_shows_it(
    command: str, says: str, study: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command in COMMANDS
    typed(command, study, monkeypatch)
    assert says in capsys.readouterr().out


def typed(command: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run a job in a folder as its command line says; one that waits for Ctrl-C gets it at once."""
    _, name, *words = shlex.split(command)
    job = loaded(Path(f"jobs/{name}.py"))
    with monkeypatch.context() as changed:
        changed.chdir(folder)
        changed.setattr(signal, "pause", lambda: signal.raise_signal(signal.SIGINT))
        job.main(words)


@pytest.mark.parametrize(
    ("program", "says"),
    [("jq -s", f'"tid": {BEST}'), ("jq -r 's", "7 OutOfMemoryError"), ("mongosh --nodb", f"{BEST} 0.1")],
)
def test_a_shell_snippet_runs(program: str, says: str, study: Path) -> None:
    if shutil.which(program.split()[0]) is None:
        pytest.skip(f"{program.split()[0]} is not installed here")
    scripts = [block if "<<" in block else line for block in blocks(TUNING, "sh") for line in block.splitlines()]
    script = next(script for script in scripts if script.startswith(program))
    done = subprocess.run(
        ["bash", "-c", script], cwd=study, capture_output=True, text=True, check=False, timeout=within(60)
    )
    assert done.returncode == 0, done.stderr
    assert says in done.stdout, done.stdout


def test_no_password_stands_on_a_documented_command_line() -> None:
    for block in blocks(TUNING, "sh"):
        assert "password" not in block.splitlines()[0]
        assert "--password" not in block


def test_what_the_trouble_table_quotes_is_what_the_code_says() -> None:
    rows = TUNING.read_text().partition("## When something is wrong")[2].splitlines()
    quoted = [quote for row in rows for quote in re.findall(r"`([^`]+)`", row.split("|")[1] if "|" in row else "")]
    code = "".join(path.read_text() for folder in ("hpc_massmap", "jobs") for path in Path(folder).rglob("*.py"))
    assert len(quoted) >= 10
    assert [quote for quote in quoted if quote not in code] == []


def test_the_documented_changes_of_a_study(
    study: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """After all that only look at it."""
    (study / "elsewhere").mkdir()
    shutil.copy(study / "runs" / "multi3" / "trials.jsonl", study / "elsewhere")
    for words, says in (
        ("import elsewhere/trials.jsonl", "0 of 42 trials of elsewhere/trials.jsonl were taken over"),
        ("retry 17 23", "2 trials will be tried again"),
        ("retry", "5 trials will be tried again"),
    ):
        command = f"massmap trials {words.split()[0]} runs/multi3 {' '.join(words.split()[1:])}".strip()
        assert command in COMMANDS
        typed(command, study, monkeypatch)
        assert says in capsys.readouterr().out
