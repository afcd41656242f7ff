"""What comes with the package besides its code: configs, site files, batch scripts and the halos of the demo.

In a clone these folders are at its top, and the package has links to them; an installed package has copies.
"""

from pathlib import Path

from hpc_massmap.errors import InputError
from hpc_massmap.storage import write_text
from hpc_massmap.yamlfile import load_yaml, parents_of

HERE = Path(__file__).parent
PATTERNS = ("configs/*.yaml", "configs/instruments/*.yaml", "configs/sites/*.yaml", "slurm/*.sh")
OF_THIS_CLUSTER = "configs/sites/local.yaml"  # which `massmap site` writes


def names() -> list[str]:
    """Every file that can be copied, as `configs/multi3.yaml`."""
    found = [path.relative_to(HERE).as_posix() for pattern in PATTERNS for path in sorted(HERE.glob(pattern))]
    return [name for name in found if name != OF_THIS_CLUSTER]


def about(name: str) -> str:
    """The first sentence of a file's own comment."""
    lines = (HERE / name).read_text(encoding="utf-8").splitlines()
    said = [line.removeprefix("#").strip() for line in lines if line.startswith("# ") and "yaml-language" not in line]
    sentence = " ".join(said[:2]).partition(". ")[0]
    return sentence if len(said) > 1 and len(sentence) < 140 else said[0] if said else ""


def here_or_shipped(path: Path) -> Path:
    """A file of one's own where there is one, else the one that came with the package."""
    return path if path.exists() else HERE / path


def hint(path: Path) -> str:
    """How to get a file that is not there, if it comes with the package; else nothing."""
    known = [name for name in names() if Path(name).name == path.name]
    return f"; massmap configs copy {known[0]} puts it here" if known else ""


def chosen(words: list[str]) -> list[str]:
    """The files that some words name, with the configs they extend and what each script begins with; all for none.

    Parameters
    ----------
    words : as `configs/multi3.yaml`, `multi3.yaml`, `multi3` or `slurm`, a folder

    Raises
    ------
    InputError
        If a word names none.
    """
    found: dict[str, None] = {}
    for word in words or ["configs", "slurm"]:
        ends = tuple(f"/{word}{ending}" for ending in ("", ".yaml", ".sh"))
        its = [name for name in names() if f"/{name}".endswith(ends) or name.startswith(f"{word.rstrip('/')}/")]
        if not its:
            raise InputError(f"{word}: no such file comes with hpc_massmap; massmap configs list shows them")
        for name in its:
            found |= dict.fromkeys([*_with_parents(name), *_schema_of(name)])
    return list(found)


def copy(wanted: list[str], folder: Path, force: bool) -> list[str]:
    """Write files into a folder under their own names.

    Returns
    -------
    Those that were written; the others were there, word for word.

    Raises
    ------
    InputError
        If a file is there with another text and `force` is not given; nothing is written then.
    """
    texts = {name: (HERE / name).read_text(encoding="utf-8") for name in wanted}
    there = {name: (folder / name).read_text(encoding="utf-8") for name in wanted if (folder / name).exists()}
    for name, text in there.items():
        if text != texts[name] and not force:
            raise InputError(f"{folder / name}: is there, with changes; --force puts ours in its place")
    new = [name for name in wanted if there.get(name) != texts[name]]
    for name in new:
        write_text(folder / name, texts[name])
    return new


def _schema_of(name: str) -> list[str]:
    """The schema that a config or site file names in its first line, for editors."""
    if not name.endswith(".yaml"):
        return []
    return ["configs/sites/site.schema.json" if "/sites/" in name else "configs/config.schema.json"]


def _with_parents(name: str) -> list[str]:
    if name.endswith(".sh"):
        return list(dict.fromkeys((name, "slurm/job.sh")))
    parents = parents_of(HERE / name, load_yaml(HERE / name).get("extends", []))
    above = [_with_parents((Path(name).parent / parent).as_posix()) for parent in parents]
    return [name, *(one for its in above for one in its)]
