"""What the documentation tells people to type exists and is accepted."""

import re
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from hpc_massmap.config import load_config, load_site

PAGES = [Path("README.md"), *sorted(Path("docs").glob("*.md"))]
COMMANDS = [
    line.split("#")[0].strip()
    for page in PAGES
    for block in re.findall(r"```\n(.*?)```", page.read_text(), re.DOTALL)
    for line in block.splitlines()
    if re.match(r"(SITE=\S+ )?(python|mpirun|make|sbatch) ", line)
]


@pytest.mark.parametrize("command", COMMANDS)
def test_a_documented_command_names_a_job_a_config_and_keys_that_exist(command: str) -> None:
    program, *words = command.split()
    if program.startswith("SITE="):
        load_site(Path(program.removeprefix("SITE=")))
        program, *words = words
    if program == "make":
        assert f"\n{words[0]}:" in Path("Makefile").read_text()
        return
    words = words[words.index("python") + 1 :] if program == "mpirun" else words
    job, config, *rest = words if len(words) > 1 else [*words, "configs/multi3.yaml"]
    assert Path(job).is_file()
    if "--site" in rest:
        at = rest.index("--site")
        load_site(Path(rest[at + 1]))
        rest = rest[:at]
    load_config(Path(config), rest)


def test_there_are_commands_to_check() -> None:
    assert {"make demo", "make test"} <= set(COMMANDS)
    assert len(COMMANDS) >= 10


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
        assert target.startswith("http") or (page.parent / target).exists(), target


def test_the_example_of_a_config_of_one_s_own_loads(tmp_path: Path) -> None:
    (block,) = re.findall(r"```yaml\n(.*?)```", Path("docs/data.md").read_text(), re.DOTALL)
    data = {"name": "mine", **YAML(typ="safe", pure=True).load(block)}
    path = tmp_path / "mine.yaml"
    YAML(typ="safe", pure=True).dump(data, path)
    assert load_config(path).simulations[0].snapshots == [99]
